//! The way in: verify, keep durably, answer, decode, deduplicate, append.
