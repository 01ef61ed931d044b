//! The hub over a store in memory.
