//! From text and environment to a [`Config`], or to a list of everything that is wrong.

use std::path::Path;

use serde_json::{Map, Value};
use switchboard_contract::{Error, ErrorKind};

use super::faults::{ConfigFault, ConfigFaults};
use super::sections::Config;
use super::tolerant::{deserialize, join, segments};

const PREFIX: &str = "SWITCHBOARD";
const SEPARATOR: &str = "__";

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
            match with_environment.then(|| variable_of(&fault.path)).flatten() {
                Some(variable) => fault.problem = format!("{} (set by {variable})", fault.problem),
                None => fault.line = fault.line.or_else(|| lines.line_of(&fault.path)),
            }
        }
        faults.sort_by_key(|fault| (fault.line.unwrap_or(usize::MAX), fault.path.clone()));
        ConfigFaults { source: source.to_owned(), faults }
    };

    let mut tree = merged(text, with_environment).map_err(|fault| report(vec![fault]))?;
    let mut faults = Vec::new();
    resolve_secrets(&mut tree, "", &mut faults);
    let config: Option<Config> = deserialize(tree, &mut faults);
    if let Some(config) = &config {
        let mut between = Vec::new();
        super::validate::check(config, &mut between);
        // A stand-in for what is wrong or missing says nothing new.
        between.retain(|fault| !faults.iter().any(|told| told.path == fault.path));
        faults.extend(between);
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
        // Values stay texts: what looks like a number may be a secret. Where a number is wanted, the text is read as one.
        builder = builder
            .add_source(config::Environment::with_prefix(PREFIX).prefix_separator(SEPARATOR).separator(SEPARATOR));
    }
    builder
        .build()
        .and_then(config::Config::try_deserialize::<Value>)
        .map_err(|error| ConfigFault::new("", error.to_string()))
}

/// The variable of the environment that gave the setting at `path`, or something inside it.
fn variable_of(path: &str) -> Option<String> {
    let name = segments(path).iter().fold(PREFIX.to_owned(), |name, part| name + SEPARATOR + &part.to_uppercase());
    std::env::vars_os()
        .filter_map(|(variable, _)| variable.into_string().ok())
        .find(|variable| {
            let rest = variable.to_uppercase();
            rest.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
        })
        .filter(|_| !path.is_empty())
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
