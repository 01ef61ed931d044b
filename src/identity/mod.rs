//! Business ids and vendor ids: the map between them, and making users and groups at a vendor on first use.
