//! One typed tree of settings: defaults, a TOML file, the environment. Every fault is reported at once.
//!
//! This module knows no vendor: what stands below `[providers.x]` beside the common keys is handed on as it is, and
//! the assembly says whether the adapter takes it.

mod faults;
mod load;
mod sections;
mod tolerant;
mod validate;

pub(crate) use tolerant::deserialize_section;

pub use faults::{ConfigFault, ConfigFaults};
pub use sections::{
    Config, LogConfig, LogFormat, ProviderConfig, RouteRule, RoutingConfig, Scope, ServerConfig, StoreConfig,
    TokenConfig,
};

/// The commented file that `switchboard check --print-default` shows: every setting with its default.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

#[cfg(test)]
mod tests;
