//! Subscriptions: who gets which event, in what order, and how far each has acknowledged.
