//! Deserialisation that goes on behind a fault, so that one run tells every fault.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::faults::ConfigFault;

/// A file full of nonsense is told about up to here.
const MAX_FAULTS: usize = 64;

/// One section, with every fault in it told under `path`. With faults, the section holds stand-ins.
#[cfg_attr(
    not(any(feature = "huanxin", feature = "rongcloud")),
    allow(dead_code, reason = "adapters read their own section with it")
)]
pub(crate) fn deserialize_section<T: DeserializeOwned>(path: &str, tree: Value) -> (Option<T>, Vec<ConfigFault>) {
    let mut faults = Vec::new();
    let section = deserialize(tree, &mut faults);
    for fault in &mut faults {
        fault.path = join(path, &fault.path);
    }
    (section, faults)
}

/// Deserialises again and again. What is wrong is told and taken out, what is missing is told and gets a stand-in, so
/// that the next round sees what lies behind. The result is whole only if no fault was added.
pub(super) fn deserialize<T: DeserializeOwned>(mut tree: Value, faults: &mut Vec<ConfigFault>) -> Option<T> {
    let mut repair = Repair::default();
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, T>(tree.clone()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        if !repair.step(&mut tree, path, &error.inner().to_string(), faults) {
            break;
        }
    }
    None
}

/// What was done to the tree so far.
#[derive(Default)]
struct Repair {
    /// Values taken out because they were wrong; told already.
    removed: BTreeSet<String>,
    /// Texts that were read as what they spell.
    reread: BTreeSet<String>,
    /// How many stand-ins were tried at a place.
    tried: BTreeMap<String, usize>,
}

impl Repair {
    /// Deals with one fault. `false` when nothing more can be tried.
    fn step(&mut self, tree: &mut Value, path: String, message: &str, faults: &mut Vec<ConfigFault>) -> bool {
        if let Some(unknown) = quoted(message, "unknown field `") {
            // The path already ends in the field where serde knows it.
            let path = if path.rsplit('.').next() == Some(unknown) { path } else { join(&path, unknown) };
            faults.push(fault_of(&path, message));
            return remove(tree, &path);
        }
        if let Some(missing) = quoted(message, "missing field `") {
            let path = join(&path, missing);
            if !self.removed.contains(&path) {
                faults.push(ConfigFault::new(&path, "is missing"));
            }
            return self.stand_in(tree, &path);
        }
        if self.tried.contains_key(&path) {
            return self.stand_in(tree, &path);
        }
        // The environment knows texts alone.
        if let Some(Value::String(text)) = get(tree, &path)
            && let Some(value) = spelled(text)
            && self.reread.insert(path.clone())
        {
            return put(tree, &path, value);
        }
        faults.push(fault_of(&path, message));
        self.removed.insert(path.clone());
        remove(tree, &path)
    }

    /// Puts the next stand-in where something is missing; when none fits, gives up what is around it.
    fn stand_in(&mut self, tree: &mut Value, path: &str) -> bool {
        let stand_ins = [json!("unresolved"), json!([]), json!({}), json!(1), json!(true), json!("1s")];
        let tried = self.tried.entry(path.to_owned()).or_default();
        *tried += 1;
        match stand_ins.into_iter().nth(*tried - 1) {
            Some(value) => put(tree, path, value),
            None => path.rfind('.').is_some_and(|end| remove(tree, &path[..end])),
        }
    }
}

/// The number, truth value, list or table that a text spells.
fn spelled(text: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {text}").parse().ok()?;
    let value = serde_json::to_value(table.get("value")?).ok()?;
    (table.len() == 1 && !value.is_string()).then_some(value)
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
    // serde quotes offending values in its messages, and a value may be a secret.
    match message.split_once(", expected ") {
        Some((_, expected)) => ConfigFault::new(path, format!("must be {}", in_words(expected))),
        None if message.contains('"') || message.contains('`') => ConfigFault::new(path, "cannot be read"),
        None => ConfigFault::new(path, message.to_owned()),
    }
}

/// What serde calls a type, in words of the file.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.split_once(before)?.1.split('`').next()
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub(super) fn segments(path: &str) -> Vec<String> {
    path.split('.')
        .flat_map(|part| part.split('['))
        .map(|part| part.trim_end_matches(']').to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

fn child<'a>(tree: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match tree {
        Value::Object(map) => map.get_mut(part),
        Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
        _ => None,
    }
}

fn get<'a>(tree: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    segments(path).iter().try_fold(tree, |at, part| child(at, part))
}

fn put(tree: &mut Value, path: &str, value: Value) -> bool {
    let parts = segments(path);
    let Some((last, parents)) = parts.split_last() else { return false };
    match parents.iter().try_fold(tree, |at, part| child(at, part)) {
        Some(Value::Object(map)) => {
            map.insert(last.clone(), value);
            true
        }
        Some(at @ Value::Array(_)) => match child(at, last) {
            Some(item) => {
                *item = value;
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn remove(tree: &mut Value, path: &str) -> bool {
    let parts = segments(path);
    let Some((last, parents)) = parts.split_last() else { return false };
    match parents.iter().try_fold(tree, |at, part| child(at, part)) {
        Some(Value::Object(map)) => map.remove(last).is_some(),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}
