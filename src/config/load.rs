//! From text and environment to a [`Config`], or to a list of everything that is wrong.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use switchboard_contract::{Error, ErrorKind};

use super::faults::{ConfigFault, ConfigFaults};
use super::sections::Config;

/// A file full of nonsense is told about up to here.
const MAX_FAULTS: usize = 64;

impl Config {
    /// Reads a TOML file and lays the environment (`SWITCHBOARD__SERVER__LISTEN=…`) over it.
    ///
    /// # Errors
    /// `Config`, with every fault and its line; [`ConfigFaults`] is the source.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(ErrorKind::Config, format!("{}: cannot be read: {error}", path.display())).with_source(error)
        })?;
        Ok(load(&text, &path.display().to_string(), true)?)
    }

    /// Reads TOML text alone, without the environment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(load(text, "configuration", false)?)
    }
}

fn load(text: &str, source: &str, with_environment: bool) -> Result<Config, ConfigFaults> {
    let lines = Lines::of(text);
    let report = |mut faults: Vec<ConfigFault>| {
        for fault in &mut faults {
            fault.line = fault.line.or_else(|| lines.line_of(&fault.path));
        }
        faults.sort_by_key(|fault| (fault.line.unwrap_or(usize::MAX), fault.path.clone()));
        ConfigFaults { source: source.to_owned(), faults }
    };

    let mut tree = merged(text, with_environment).map_err(|fault| report(vec![fault]))?;
    let mut faults = Vec::new();
    resolve_secrets(&mut tree, "", &mut faults);
    let config: Option<Config> = deserialize(tree, &mut faults);
    if let Some(config) = &config {
        super::validate::check(config, &mut faults);
    }
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(report(faults)),
    }
}

/// The file with the environment laid over it, as one tree.
fn merged(text: &str, with_environment: bool) -> Result<Value, ConfigFault> {
    if let Err(error) = text.parse::<toml::Table>() {
        let mut fault = ConfigFault::new("", format!("not TOML: {}", error.message()));
        fault.line = error.span().map(|span| line_at(text, span.start));
        return Err(fault);
    }
    let mut builder = config::Config::builder().add_source(config::File::from_str(text, config::FileFormat::Toml));
    if with_environment {
        builder = builder.add_source(
            config::Environment::with_prefix("SWITCHBOARD").prefix_separator("__").separator("__").try_parsing(true),
        );
    }
    builder
        .build()
        .and_then(config::Config::try_deserialize::<Value>)
        .map_err(|error| ConfigFault::new("", error.to_string()))
}

/// Replaces every `{ env = "…" }` and `{ file = "…" }` by what it names.
fn resolve_secrets(value: &mut Value, path: &str, faults: &mut Vec<ConfigFault>) {
    match value {
        Value::Object(map) => {
            if let Some(resolved) = resolve_reference(map, path) {
                match resolved {
                    Ok(text) => *value = Value::String(text),
                    Err(fault) => {
                        // A stand-in keeps the missing secret from being reported a second time.
                        *value = Value::String("unresolved".to_owned());
                        faults.push(fault);
                    }
                }
                return;
            }
            for (key, child) in map {
                resolve_secrets(child, &join(path, key), faults);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter_mut().enumerate() {
                resolve_secrets(child, &format!("{path}[{index}]"), faults);
            }
        }
        _ => {}
    }
}

fn resolve_reference(map: &Map<String, Value>, path: &str) -> Option<Result<String, ConfigFault>> {
    let mut entries = map.iter();
    let (Some((key, Value::String(name))), None) = (entries.next(), entries.next()) else { return None };
    match key.as_str() {
        "env" => Some(std::env::var(name).map_err(|_| {
            ConfigFault::new(path, format!("the environment has no variable {name}"))
                .with_hint("set it, or write the secret or { file = \"…\" } here")
        })),
        "file" => Some(
            std::fs::read_to_string(name)
                .map(|text| text.trim_end().to_owned())
                .map_err(|error| ConfigFault::new(path, format!("the file {name} cannot be read: {error}"))),
        ),
        _ => None,
    }
}

/// One section, with every fault in it told under `path`.
#[cfg_attr(
    not(any(feature = "huanxin", feature = "rongcloud")),
    allow(dead_code, reason = "adapters read their own section with it")
)]
pub(crate) fn deserialize_section<T: DeserializeOwned>(path: &str, tree: Value) -> Result<T, Vec<ConfigFault>> {
    let mut faults = Vec::new();
    let section = deserialize(tree, &mut faults);
    for fault in &mut faults {
        fault.path = join(path, &fault.path);
    }
    section.filter(|_| faults.is_empty()).ok_or(faults)
}

/// Deserialises again and again, taking out what is wrong each time, so that one run tells every fault.
fn deserialize<T: DeserializeOwned>(mut tree: Value, faults: &mut Vec<ConfigFault>) -> Option<T> {
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, T>(tree.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let message = error.inner().to_string();
        let mut path = error.path().to_string();
        if path == "." {
            path.clear();
        }
        if let Some(unknown) = quoted(&message, "unknown field `") {
            // The path already ends in the field where serde knows it.
            if path.rsplit('.').next() != Some(unknown) {
                path = join(&path, unknown);
            }
        }
        faults.push(fault_of(&path, &message));
        if !remove(&mut tree, &path) {
            break;
        }
    }
    None
}

fn fault_of(path: &str, message: &str) -> ConfigFault {
    if let Some(unknown) = quoted(message, "unknown field `") {
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let close = known
            .iter()
            .map(|name| (strsim::damerau_levenshtein(name, unknown), *name))
            .filter(|(distance, _)| *distance <= 3)
            .min();
        let hint = match close {
            Some((_, name)) => format!("did you mean `{name}`?"),
            None if known.is_empty() => "take it out".to_owned(),
            None => format!("known here: {}", known.join(", ")),
        };
        return ConfigFault::new(path, "is not a setting").with_hint(hint);
    }
    if let Some(missing) = quoted(message, "missing field `") {
        return ConfigFault::new(join(path, missing), "is missing");
    }
    // serde quotes offending values in its messages, and a value may be a secret.
    match message.split_once(", expected ") {
        Some((_, expected)) => ConfigFault::new(path, format!("must be {expected}")),
        None => ConfigFault::new(path, message.to_owned()),
    }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.split_once(before)?.1.split('`').next()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn segments(path: &str) -> Vec<String> {
    path.split('.')
        .flat_map(|part| part.split('['))
        .map(|part| part.trim_end_matches(']').to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn remove(tree: &mut Value, path: &str) -> bool {
    let parts = segments(path);
    let Some((last, parents)) = parts.split_last() else { return false };
    let mut at = tree;
    for part in parents {
        let next = match at {
            Value::Object(map) => map.get_mut(part),
            Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match at {
        Value::Object(map) => map.remove(last).is_some(),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where each setting stands in the file.
struct Lines<'a> {
    text: &'a str,
    table: Option<toml::Spanned<toml::de::DeTable<'a>>>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, table: toml::de::DeTable::parse(text).ok() }
    }

    /// The line of the setting, or of the nearest table around it.
    fn line_of(&self, path: &str) -> Option<usize> {
        use toml::de::DeValue;

        let mut line = None;
        let mut table = self.table.as_ref()?.get_ref();
        let mut parts = segments(path).into_iter().peekable();
        while let Some(part) = parts.next() {
            let (key, value) = table.iter().find(|(key, _)| key.get_ref() == &part)?;
            line = Some(line_at(self.text, key.span().start));
            let mut value = value;
            while let DeValue::Array(items) = value.get_ref() {
                let Some(item) = parts.peek().and_then(|part| part.parse::<usize>().ok()).and_then(|i| items.get(i))
                else {
                    return line;
                };
                parts.next();
                line = Some(line_at(self.text, item.span().start));
                value = item;
            }
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => return line,
            }
            // A missing key is told at its table.
            if let Some(next) = parts.peek()
                && !table.iter().any(|(key, _)| key.get_ref() == next)
            {
                return line;
            }
        }
        line
    }
}
