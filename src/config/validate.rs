//! Rules that hold between settings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::faults::ConfigFault;
use super::sections::Config;

/// Shorter API tokens can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Adds what is wrong across the whole tree.
/// A stream is to bring what happens when it happens.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) fn check(config: &Config, faults: &mut Vec<ConfigFault>) {
    server(config, faults);
    tokens(config, faults);
    store(config, faults);
    parts(config, faults);
    archive(config, faults);
    routing(config, faults);
    providers(config, faults);
}

fn server(config: &Config, faults: &mut Vec<ConfigFault>) {
    let limits = [
        ("max_calls_per_token", config.server.max_calls_per_token),
        ("max_streams_per_token", config.server.max_streams_per_token),
    ];
    for (name, limit) in limits {
        if !(1..=Semaphore::MAX_PERMITS).contains(&limit) {
            let problem = format!("must be between 1 and {}", Semaphore::MAX_PERMITS);
            faults.push(ConfigFault::new(format!("server.{name}"), problem));
        }
    }
    if config.server.flush_every > LONGEST_PAUSE {
        faults.push(ConfigFault::new("server.flush_every", "must be at most 10s"));
    }
}

/// What the parts of the engine say of their own settings.
fn parts(config: &Config, faults: &mut Vec<ConfigFault>) {
    let hub = &config.hub;
    for (good, name, problem) in [
        (hub.shards >= 1, "shards", "must be at least 1"),
        (!hub.poll.is_zero(), "poll", "must not be zero"),
        (!hub.retry_base.is_zero(), "retry_base", "must not be zero"),
        (hub.retry_base <= hub.retry_cap, "retry_cap", "must not be below retry_base"),
    ] {
        if !good {
            faults.push(ConfigFault::new(format!("hub.{name}"), problem));
        }
    }
    let outcomes = [
        config.ingest.check(),
        config.ingest.inbox.check(),
        config.sending.validate(),
        config.reconcile.check(),
        config.history.check(),
        config.catchup.check(),
        config.retention.check(config.history.tiers.recent),
        config.backfill.check(),
        config.silence.check(),
    ];
    for outcome in outcomes {
        if let Err(error) = outcome {
            faults.extend(told(error.message()));
        }
    }
}

fn archive(config: &Config, faults: &mut Vec<ConfigFault>) {
    for fault in config.archive.faults() {
        let (path, problem) = fault.split_once(": ").unwrap_or(("archive", &fault));
        faults.push(ConfigFault::new(path, problem));
    }
    if config.archive.location.is_some() && !config.store.url.starts_with("sqlite://") {
        faults.push(
            ConfigFault::new("archive.location", "needs a store that keeps what it archived")
                .with_hint("store.url = \"sqlite://path\""),
        );
    }
}

/// The faults in a part's own words: `section.field: problem`, or `section: field problem; field problem`.
fn told(message: &str) -> Vec<ConfigFault> {
    let Some((place, problems)) = message.split_once(": ") else { return vec![ConfigFault::new("", message)] };
    match place.split_once('.') {
        Some(_) => {
            // Where one problem names several fields, the first gives the line.
            let (first, others) = place.split_once(", ").unwrap_or((place, ""));
            let problem = if others.is_empty() { problems.to_owned() } else { format!("(and {others}) {problems}") };
            vec![ConfigFault::new(first, problem)]
        }
        None => problems
            .split("; ")
            .map(|problem| {
                let (field, problem) = problem.split_once(' ').unwrap_or(("", problem));
                ConfigFault::new(format!("{place}.{field}"), problem)
            })
            .collect(),
    }
}

fn tokens(config: &Config, faults: &mut Vec<ConfigFault>) {
    let (mut names, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for (index, token) in config.tokens.iter().enumerate() {
        let at = |field: &str| format!("tokens[{index}].{field}");
        if !names.insert(&token.name) {
            faults.push(ConfigFault::new(at("name"), "another token has this name"));
        }
        let secret = token.secret.expose_secret();
        if secret.len() < MIN_TOKEN_BYTES && secret != "unresolved" {
            faults.push(
                ConfigFault::new(at("secret"), format!("must have at least {MIN_TOKEN_BYTES} characters"))
                    .with_hint("for example: openssl rand -hex 32"),
            );
        }
        if !secrets.insert(secret) && secret != "unresolved" {
            faults.push(ConfigFault::new(at("secret"), "another token has this secret"));
        }
        if token.scopes.is_empty() {
            faults.push(
                ConfigFault::new(at("scopes"), "a token without scopes may do nothing")
                    .with_hint("choose from messages, subscribe, history, admin"),
            );
        }
    }
}

fn store(config: &Config, faults: &mut Vec<ConfigFault>) {
    let url = &config.store.url;
    if !url.starts_with("sqlite://") && url != "memory://" {
        faults.push(
            ConfigFault::new("store.url", "this build has no such store")
                .with_hint("sqlite://path, or memory:// for trials"),
        );
    }
    if config.store.readers == 0 {
        faults.push(ConfigFault::new("store.readers", "must be at least 1"));
    }
}

fn routing(config: &Config, faults: &mut Vec<ConfigFault>) {
    let mut named = Vec::new();
    if let Some(default) = &config.routing.default {
        named.push(("routing.default".to_owned(), default));
    }
    for (index, rule) in config.routing.rules.iter().enumerate() {
        named.push((format!("routing.rules[{index}].provider"), &rule.provider));
    }
    for (path, alias) in named {
        match config.providers.get(alias) {
            None => faults.push(
                ConfigFault::new(path, format!("there is no provider {alias}"))
                    .with_hint(format!("add [providers.{alias}]")),
            ),
            Some(provider) if provider.receive_only => {
                faults.push(ConfigFault::new(path, format!("{alias} only receives")));
            }
            Some(_) => {}
        }
    }
    if config.routing.default.is_none()
        && config.providers.values().filter(|provider| !provider.receive_only).count() > 1
    {
        faults.push(
            ConfigFault::new("routing.default", "is missing, and there is more than one provider")
                .with_hint("name the one that carries what no rule names"),
        );
    }
}

fn providers(config: &Config, faults: &mut Vec<ConfigFault>) {
    let mut apps = BTreeMap::new();
    for (alias, provider) in &config.providers {
        match crate::assembly::check(alias, provider) {
            Ok(app) => {
                if let Some(other) = apps.insert(app, alias) {
                    faults.push(ConfigFault::new(
                        format!("providers.{alias}"),
                        format!("is the same app as providers.{other}"),
                    ));
                }
            }
            Err(found) => faults.extend(found),
        }
    }
}
