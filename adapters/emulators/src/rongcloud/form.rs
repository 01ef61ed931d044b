//! Request bodies in both encodings behind one reader, and the form encoding of callbacks.

use serde_json::{Map, Value};

use super::reply::Refusal;

/// How an endpoint wants its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// `application/x-www-form-urlencoded`, arrays as repeated keys.
    Form,
    /// `application/json`.
    Json,
}

/// The parameters of one request. Empty texts count as absent, because official SDKs send empty optional fields; numbers and
/// booleans may arrive as text, because official SDKs send both.
#[derive(Default)]
pub(crate) struct Params {
    map: Map<String, Value>,
}

impl Params {
    /// Reads a body.
    ///
    /// # Errors
    /// 1002 when the body is not of the endpoint's kind or does not parse.
    pub(crate) fn parse(
        kind: BodyKind,
        content_type: Option<&str>,
        body: &[u8],
        strict_content_type: bool,
    ) -> Result<Self, Refusal> {
        let is_json = content_type.is_some_and(|value| value.to_ascii_lowercase().contains("json"));
        if body.is_empty() {
            return Ok(Self::default());
        }
        let kind = match (kind, is_json) {
            (BodyKind::Json, true) | (BodyKind::Form, false) => kind,
            _ if strict_content_type => {
                return Err(Refusal::bad_parameter("content type is not supported here"));
            }
            (_, true) => BodyKind::Json,
            (_, false) => BodyKind::Form,
        };
        match kind {
            BodyKind::Json => match serde_json::from_slice(body) {
                Ok(Value::Object(map)) => Ok(Self { map }),
                _ => Err(Refusal::bad_parameter("body is not a JSON object")),
            },
            BodyKind::Form => Ok(Self::from_form(body)),
        }
    }

    fn from_form(body: &[u8]) -> Self {
        let mut map: Map<String, Value> = Map::new();
        for (key, value) in form_urlencoded::parse(body) {
            if key.is_empty() {
                continue;
            }
            let value = Value::String(value.into_owned());
            match map.get_mut(key.as_ref()) {
                None => {
                    map.insert(key.into_owned(), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => {
                    let earlier = first.take();
                    *first = Value::Array(vec![earlier, value]);
                }
            }
        }
        Self { map }
    }

    /// Whether no parameter was given at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The raw value.
    pub(crate) fn raw(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Keys of the form `name[inner]` with their texts, as `/group/sync.json` and `/chatroom/create.json` use them.
    pub(crate) fn bracketed(&self, name: &str) -> Vec<(String, String)> {
        let inner = |key: &str| {
            let rest = key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            Some(rest.to_owned())
        };
        self.map.iter().filter_map(|(key, value)| Some((inner(key)?, scalar(value)?))).collect()
    }

    /// The text of a parameter; the first one when it was repeated.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let value = match self.map.get(key)? {
            Value::Array(values) => values.first()?,
            other => other,
        };
        scalar(value).filter(|text| !text.is_empty())
    }

    /// A parameter that must be there.
    pub(crate) fn required(&self, key: &str) -> Result<String, Refusal> {
        self.text(key).ok_or_else(|| Refusal::required(key))
    }

    /// A required id or name of at most `max` characters.
    pub(crate) fn bounded(&self, key: &str, max: usize) -> Result<String, Refusal> {
        let text = self.required(key)?;
        if text.chars().count() > max { Err(Refusal::too_long(key)) } else { Ok(text) }
    }

    /// An optional text of at most `max` characters.
    pub(crate) fn optional(&self, key: &str, max: usize) -> Result<Option<String>, Refusal> {
        match self.text(key) {
            Some(text) if text.chars().count() > max => Err(Refusal::too_long(key)),
            other => Ok(other),
        }
    }

    /// Every non-empty text under a key, whether repeated in a form or an array in JSON.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        match self.map.get(key) {
            Some(Value::Array(values)) => values.iter().filter_map(scalar).filter(|text| !text.is_empty()).collect(),
            Some(other) => scalar(other).filter(|text| !text.is_empty()).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A list with at least one and at most `max` entries of at most 64 characters.
    pub(crate) fn ids(&self, key: &str, max: usize) -> Result<Vec<String>, Refusal> {
        let ids = self.list(key);
        if ids.is_empty() {
            return Err(Refusal::required(key));
        }
        if ids.len() > max {
            return Err(Refusal::bad_parameter(format!("{key} has more than {max} entries")));
        }
        if ids.iter().any(|id| id.chars().count() > 64) {
            return Err(Refusal::too_long(key));
        }
        Ok(ids)
    }

    /// A list whose entries may themselves be joined by commas.
    pub(crate) fn comma_ids(&self, key: &str, max: usize) -> Result<Vec<String>, Refusal> {
        let split: Vec<String> = self
            .list(key)
            .iter()
            .flat_map(|text| text.split(','))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect();
        if split.is_empty() {
            return Err(Refusal::required(key));
        }
        if split.len() > max {
            return Err(Refusal::bad_parameter(format!("{key} has more than {max} entries")));
        }
        Ok(split)
    }

    /// A flag: `0`/`1`, or `true`/`false` in any case, since the official Python SDK writes its language's own spelling.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, Refusal> {
        match self.text(key).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(_) => Err(Refusal::bad_parameter(format!("{key} is not a flag"))),
        }
    }

    /// An integer, as a number or as text.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Refusal> {
        match self.text(key) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Refusal::bad_parameter(format!("{key} is not a number"))),
        }
    }

    /// A required integer within a range.
    pub(crate) fn integer_in(&self, key: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, Refusal> {
        let number = self.integer(key)?.ok_or_else(|| Refusal::required(key))?;
        if range.contains(&number) { Ok(number) } else { Err(Refusal::bad_parameter(format!("{key} is out of range"))) }
    }

    /// An optional integer within a range, with a default.
    pub(crate) fn integer_or(
        &self,
        key: &str,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, Refusal> {
        if self.text(key).is_none() { Ok(default) } else { self.integer_in(key, range) }
    }

    /// A parameter that is JSON inside a text; a JSON body may give it unencoded.
    pub(crate) fn json(&self, key: &str) -> Result<Option<Value>, Refusal> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => {
                serde_json::from_str(text).map(Some).map_err(|_| Refusal::bad_parameter(format!("{key} is not JSON")))
            }
            Some(other) => Ok(Some(other.clone())),
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Writes the form body of a callback. Spaces are `%20`, as in captured callbacks, not `+`.
#[derive(Default)]
pub(crate) struct FormWriter {
    text: String,
}

impl FormWriter {
    /// Appends one pair.
    pub(crate) fn pair(&mut self, key: &str, value: &str) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(key);
        self.text.push('=');
        for part in form_urlencoded::byte_serialize(value.as_bytes()) {
            self.text.push_str(if part == "+" { "%20" } else { part });
        }
        self
    }

    /// The finished body.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{BodyKind, FormWriter, Params};

    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    fn form(body: &str) -> Params {
        Params::parse(BodyKind::Form, FORM, body.as_bytes(), true).unwrap()
    }

    #[test]
    fn repeated_keys_are_arrays_and_empty_texts_are_absent() {
        let params = form("toUserId=a&pushData=&toUserId=b&content=%7B%7D");
        assert_eq!(params.list("toUserId"), ["a", "b"]);
        assert_eq!(params.text("toUserId").as_deref(), Some("a"));
        assert_eq!(params.text("pushData"), None);
        assert_eq!(params.json("content").unwrap(), Some(serde_json::json!({})));
    }

    #[test]
    fn unescaped_text_survives() {
        let params = form("userId=u&portraitUri=https://cdn.example.test/a.png&objectName=RC:TxtMsg");
        assert_eq!(params.text("portraitUri").as_deref(), Some("https://cdn.example.test/a.png"));
        assert_eq!(params.text("objectName").as_deref(), Some("RC:TxtMsg"));
    }

    #[test]
    fn numbers_and_numeric_texts_read_alike() {
        for body in [r#"{"pageSize":20,"includeStart":true}"#, r#"{"pageSize":"20","includeStart":"true"}"#] {
            let params = Params::parse(BodyKind::Json, Some("application/json"), body.as_bytes(), true).unwrap();
            assert_eq!(params.integer("pageSize").unwrap(), Some(20));
            assert!(params.flag("includeStart", false).unwrap());
        }
    }

    #[test]
    fn the_wrong_encoding_is_refused_unless_lenient() {
        assert!(Params::parse(BodyKind::Json, FORM, b"a=1", true).is_err());
        let params = Params::parse(BodyKind::Json, FORM, b"a=1", false).unwrap();
        assert_eq!(params.integer("a").unwrap(), Some(1));
    }

    #[test]
    fn bracketed_keys_yield_their_inner_name() {
        let params = form("userId=u&group%5Bg1%5D=Team&group%5Bg2%5D=Ops");
        let pair = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        assert_eq!(params.bracketed("group"), [pair("g1", "Team"), pair("g2", "Ops")]);
    }

    #[test]
    fn callback_pairs_use_percent_twenty_for_spaces() {
        let mut writer = FormWriter::default();
        writer.pair("content", "{\"content\":\"on my way+1\"}").pair("source", "iOS");
        assert_eq!(writer.finish(), "content=%7B%22content%22%3A%22on%20my%20way%2B1%22%7D&source=iOS");
    }
}
