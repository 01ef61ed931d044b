//! The walk, step by step.
