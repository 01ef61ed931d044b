//! One error type, and it answers the caller's first question: may I try again?

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::ids::ProviderId;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// The caller's situation. Match on this, never on text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong; the context says which field and why.
    InvalidInput,
    /// Credentials, token or signature were refused.
    Unauthorized,
    /// The credentials are good but may not do this.
    Forbidden,
    /// The named thing does not exist.
    NotFound,
    /// Something else already holds this key.
    Conflict,
    /// This provider cannot do it; nothing was sent.
    Unsupported,
    /// A quota was reached.
    RateLimited,
    /// A size limit was passed.
    TooLarge,
    /// The vendor looked at the content and refused it.
    Rejected,
    /// The other side is down, unreachable or answers with something that is not its own protocol.
    Unavailable,
    /// No answer came in time.
    Timeout,
    /// The other side answered in its own protocol, and the answer cannot be understood.
    Decode,
    /// The store failed.
    Storage,
    /// There is no room left on the disk.
    StorageFull,
    /// The configuration is wrong.
    Config,
    /// The component is shutting down or gone.
    Closed,
    /// A failure that no other kind describes; an unknown vendor code ends here.
    Internal,
}

impl ErrorKind {
    /// A stable lower-case name for logs, metrics and problem documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Decode => "decode",
            Self::Storage => "storage",
            Self::StorageFull => "storage_full",
            Self::Config => "config",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the same request may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Repeating it will fail the same way.
    Never,
    /// Refused before any effect. `after` is the wait the other side named, if it did.
    Safe {
        /// The wait asked for.
        after: Option<Duration>,
    },
    /// It may have been carried out: repeat only what is harmless twice, or after looking.
    OutcomeUnknown,
    /// It was repeated as often as allowed.
    Exhausted {
        /// How many attempts were made in all.
        attempts: u8,
    },
}

/// What went wrong, whether to try again, and where it happened.
///
/// `Display` never contains a secret or a message body.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: String,
    operation: Option<&'static str>,
    provider: Option<ProviderId>,
    vendor_code: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error that must not be repeated, unless [`with_retry`](Self::with_retry) says otherwise.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::RateLimited => Retry::Safe { after: None },
            _ => Retry::Never,
        };
        Self(Box::new(Inner {
            kind,
            retry,
            message: message.into(),
            operation: None,
            provider: None,
            vendor_code: None,
            source: None,
        }))
    }

    /// A refusal of a field of the caller's request.
    pub fn invalid(field: &str, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, format!("{field}: {why}"))
    }

    /// A capability that this provider does not have.
    pub fn unsupported(capability: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("not supported by this provider: {capability}"))
    }

    /// Sets the retry answer.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Names the operation that failed, such as `send`.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// Names the provider.
    #[must_use]
    pub fn with_provider(mut self, provider: ProviderId) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Keeps the vendor's own code, for people.
    #[must_use]
    pub fn with_vendor_code(mut self, code: impl Into<String>) -> Self {
        self.0.vendor_code = Some(code.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The caller's situation.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// May the same request be made again?
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The text without operation, provider and code.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation that failed, if named.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The provider concerned, if any.
    pub fn provider(&self) -> Option<&ProviderId> {
        self.0.provider.as_ref()
    }

    /// The vendor's own code, if it gave one.
    pub fn vendor_code(&self) -> Option<&str> {
        self.0.vendor_code.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = &self.0.provider {
            write!(f, "{provider}: ")?;
        }
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        write!(f, "{} ({})", self.0.message, self.0.kind)?;
        if let Some(code) = &self.0.vendor_code {
            write!(f, " [vendor code {code}]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("message", &self.0.message)
            .field("operation", &self.0.operation)
            .field("provider", &self.0.provider)
            .field("vendor_code", &self.0.vendor_code)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
