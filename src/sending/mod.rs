//! The way out: the durable outbox and the dispatcher of each provider app.
