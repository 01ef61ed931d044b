//! The HTTP stack around one vendor call: deadline, retry, rate limit, signing, fail-over.
