//! The word filter's list.

use serde_json::json;

use super::{Call, Endpoint};
use crate::rongcloud::reply::{Answer, Refusal, done, fields};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::form("/sensitiveword/add.json", add),
    Endpoint::json("/sensitiveword/batch/add.json", add_many),
    Endpoint::form("/sensitiveword/delete.json", |call| remove(call, "word", 1)),
    Endpoint::form("/sensitiveword/batch/delete.json", |call| remove(call, "words", 50)),
    Endpoint::form("/sensitiveword/list.json", list).may_be_empty(),
];

fn insert(call: &mut Call<'_>, words: Vec<(String, Option<String>)>) -> Answer {
    let limit = call.core.settings.limits.sensitive_words;
    let new = words.iter().filter(|(word, _)| !call.core.words.contains_key(word)).count();
    if call.core.words.len() + new > limit {
        return Err(Refusal::word_limit());
    }
    call.core.words.extend(words);
    done()
}

fn add(call: &mut Call<'_>) -> Answer {
    let word = call.params.bounded("word", 64)?;
    let replacement = call.params.optional("replaceWord", 64)?;
    insert(call, vec![(word, replacement)])
}

fn add_many(call: &mut Call<'_>) -> Answer {
    let words = call.params.raw("words").and_then(|value| value.as_array());
    let words = words.ok_or_else(|| Refusal::required("words"))?;
    if words.is_empty() || words.len() > 50 {
        return Err(Refusal::bad_parameter("words must have 1 to 50 entries"));
    }
    let mut entries = Vec::with_capacity(words.len());
    for entry in words {
        let text = |key: &str| entry.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let word = text("word").filter(|word| !word.is_empty() && word.chars().count() <= 64);
        let word = word.ok_or_else(|| Refusal::bad_parameter("words has an entry without word"))?;
        entries.push((word, text("replaceWord").filter(|word| !word.is_empty())));
    }
    insert(call, entries)
}

fn remove(call: &mut Call<'_>, key: &str, max: usize) -> Answer {
    let words = call.params.list(key);
    if words.is_empty() {
        return Err(Refusal::required(key));
    }
    if words.len() > max {
        return Err(Refusal::bad_parameter(format!("{key} has more than {max} entries")));
    }
    for word in words {
        call.core.words.remove(&word);
    }
    done()
}

/// `type`: 0 replaced words, 1 blocking words (the default), 2 both.
fn list(call: &mut Call<'_>) -> Answer {
    let wanted = call.params.integer_or("type", 1, 0..=2)?;
    let words: Vec<_> = call
        .core
        .words
        .iter()
        .map(|(word, replacement)| (word, replacement, i64::from(replacement.is_none())))
        .filter(|(_, _, kind)| wanted == 2 || wanted == *kind)
        .map(|(word, replacement, kind)| {
            json!({
                "type": kind.to_string(),
                "word": word,
                "replaceWord": replacement.as_deref().unwrap_or_default(),
            })
        })
        .collect();
    fields(json!({ "words": words }))
}
