//! Databases behind the storage traits of the contract. Knows nothing of who subscribes.
