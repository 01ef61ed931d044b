//! One suite for every provider, emulated or real.
