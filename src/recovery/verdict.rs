//! What an error means for the item, for its app, and for the next attempt. Decided by the error's own answer alone.

use std::time::Duration;

use switchboard_contract::{Error, ErrorKind, Retry};

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole app cannot be reached or refuses us: pause it, no attempt is spent.
    AppDown {
        /// The wait it named.
        after: Option<Duration>,
    },
    /// Too fast: pause this kind of conversation, no attempt is spent.
    TooFast {
        /// The wait it named.
        after: Option<Duration>,
    },
    /// The item's own failure, before any effect: again later.
    Again {
        /// The wait it named.
        after: Option<Duration>,
    },
    /// It may have been carried out.
    Doubt {
        /// Nor did the app look well.
        app_down: bool,
    },
    /// It will fail the same way for ever.
    Fail,
}

/// Whether the failure is the whole app's.
pub(crate) fn is_app_wide(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Unauthorized | ErrorKind::Closed)
}

/// As [`is_app_wide`], of the stored name of a kind.
pub(crate) fn is_app_wide_word(word: &str) -> bool {
    let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unauthorized, ErrorKind::Closed];
    kinds.into_iter().any(|kind| is_app_wide(kind) && kind.as_str() == word)
}

fn is_ours(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Storage | ErrorKind::StorageFull)
}

/// Judges the failure of a call that was made.
pub(crate) fn of_call(error: &Error) -> Verdict {
    let kind = error.kind();
    match error.retry() {
        Retry::OutcomeUnknown => Verdict::Doubt { app_down: is_app_wide(kind) },
        // Refused credentials are nobody's fault but the app's, and are repaired without touching the item.
        _ if kind == ErrorKind::Unauthorized => Verdict::AppDown { after: None },
        Retry::Safe { after } => repeatable(kind, after),
        Retry::Exhausted { .. } => repeatable(kind, None),
        Retry::Never => Verdict::Fail,
    }
}

/// Judges the failure of what is harmless twice, as all that is done before a call and all that only reads: nothing is
/// in doubt.
pub(crate) fn of_repeatable(error: &Error) -> Verdict {
    match of_call(error) {
        _ if is_ours(error.kind()) => Verdict::AppDown { after: None },
        Verdict::Doubt { .. } => repeatable(error.kind(), None),
        verdict => verdict,
    }
}

fn repeatable(kind: ErrorKind, after: Option<Duration>) -> Verdict {
    match kind {
        ErrorKind::RateLimited => Verdict::TooFast { after },
        kind if is_app_wide(kind) || is_ours(kind) => Verdict::AppDown { after },
        _ => Verdict::Again { after },
    }
}

/// Attempts that a failure stands for: a caller below may have tried several times already.
pub(crate) fn attempts(error: &Error) -> u32 {
    match error.retry() {
        Retry::Exhausted { attempts } => u32::from(attempts).max(1),
        _ => 1,
    }
}

/// Whether a refusal of many recipients may be the fault of one of them.
pub(crate) fn may_be_one_recipient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Forbidden | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_decides() {
        let error = |kind, retry| Error::new(kind, "x").with_retry(retry);
        let safe = Retry::Safe { after: Some(Duration::from_secs(7)) };
        let after = Some(Duration::from_secs(7));
        let rows = [
            (ErrorKind::Unavailable, safe, Verdict::AppDown { after }),
            (ErrorKind::Timeout, safe, Verdict::AppDown { after }),
            (ErrorKind::Timeout, Retry::OutcomeUnknown, Verdict::Doubt { app_down: true }),
            (ErrorKind::Internal, Retry::OutcomeUnknown, Verdict::Doubt { app_down: false }),
            (ErrorKind::Unauthorized, Retry::Never, Verdict::AppDown { after: None }),
            (ErrorKind::RateLimited, safe, Verdict::TooFast { after }),
            (ErrorKind::RateLimited, Retry::Never, Verdict::Fail),
            (ErrorKind::Internal, safe, Verdict::Again { after }),
            (ErrorKind::Internal, Retry::Exhausted { attempts: 4 }, Verdict::Again { after: None }),
            (ErrorKind::Unavailable, Retry::Exhausted { attempts: 4 }, Verdict::AppDown { after: None }),
            (ErrorKind::Rejected, Retry::Never, Verdict::Fail),
        ];
        for (kind, retry, verdict) in rows {
            assert_eq!(of_call(&error(kind, retry)), verdict, "{kind} {retry:?}");
        }
        let unknown = error(ErrorKind::Internal, Retry::OutcomeUnknown);
        assert_eq!(of_repeatable(&unknown), Verdict::Again { after: None });
        assert_eq!(of_repeatable(&error(ErrorKind::Storage, Retry::Never)), Verdict::AppDown { after: None });
    }
}
