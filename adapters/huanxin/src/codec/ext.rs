//! `ext`: the business's fields, with our mark and mentions under reserved keys.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use switchboard_contract::{Error, ErrorKind, Ext, OutboundMessage, Result, VendorUserId};

/// The text that means everybody, as the vendor's UI kits write it.
const EVERYONE: &str = "ALL";

/// The keys of `ext` that are ours.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    pub(crate) mark: String,
    pub(crate) mentions: String,
}

/// What `ext` held.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) ext: Ext,
    pub(crate) mark: Option<String>,
    pub(crate) everyone: bool,
    pub(crate) mentions: Vec<VendorUserId>,
}

/// Takes our keys out. A value that we would not have written is the business's own, whatever its key. An `ext` that is
/// no object has no place in the contract and stays in the raw bytes.
pub(crate) fn read(raw: Option<&RawValue>, reserved: &Reserved) -> Read {
    let mut read = Read::default();
    let Some(raw) = raw.map(RawValue::get).filter(|text| *text != "{}") else { return read };
    let Ok(mut ext) = serde_json::from_str::<Map<String, Value>>(raw) else { return read };
    if let Some(Value::String(_)) = ext.get(&reserved.mark)
        && let Some(Value::String(mark)) = ext.remove(&reserved.mark)
    {
        read.mark = Some(mark);
    }
    let users = match ext.get(&reserved.mentions) {
        Some(Value::String(text)) if text.eq_ignore_ascii_case(EVERYONE) => Some(None),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(Some),
        _ => None,
    };
    if let Some(users) = users {
        read.everyone = users.is_none();
        read.mentions = users.unwrap_or_default().into_iter().map(VendorUserId::from).collect();
        ext.remove(&reserved.mentions);
    }
    read.ext = ext;
    read
}

/// Puts our keys in.
///
/// # Errors
/// `InvalidInput` when the business uses a reserved key itself, `Unsupported` for mentions of everybody and of users at
/// once, which the vendor's form cannot say.
pub(crate) fn write(message: &OutboundMessage, reserved: &Reserved) -> Result<Ext> {
    let mut ext = message.ext.clone();
    for key in [&reserved.mark, &reserved.mentions] {
        if ext.contains_key(key) {
            return Err(Error::invalid("ext", format!("the key {key} is reserved")));
        }
    }
    if let Some(mark) = &message.mark {
        ext.insert(reserved.mark.clone(), Value::from(mark.as_str()));
    }
    match (message.mentions_everyone, message.mentions.is_empty()) {
        (true, false) => {
            return Err(Error::new(ErrorKind::Unsupported, "mentions: either everyone or users, not both"));
        }
        (true, true) => drop(ext.insert(reserved.mentions.clone(), Value::from(EVERYONE))),
        (false, false) => {
            let users = message.mentions.iter().map(VendorUserId::as_str).collect::<Vec<_>>();
            ext.insert(reserved.mentions.clone(), Value::from(users));
        }
        (false, true) => {}
    }
    if message.options.silent {
        ext.insert("em_ignore_notification".to_owned(), Value::Bool(true));
    }
    Ok(ext)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn reserved() -> Reserved {
        Reserved { mark: "sb".into(), mentions: "em_at_list".into() }
    }

    fn read_text(text: &str) -> Read {
        read(Some(&RawValue::from_string(text.to_owned()).unwrap()), &reserved())
    }

    #[test]
    fn our_keys_are_taken_out_and_foreign_values_are_left() {
        let ours = read_text(r#"{"sb":"m1","em_at_list":["a","b"],"k":1}"#);
        assert_eq!((ours.mark.as_deref(), ours.mentions.len(), ours.everyone), (Some("m1"), 2, false));
        assert_eq!(serde_json::to_string(&ours.ext).unwrap(), r#"{"k":1}"#);
        assert!(read_text(r#"{"em_at_list":"all"}"#).everyone);

        let foreign = read_text(r#"{"sb":{"x":1},"em_at_list":[1]}"#);
        assert_eq!((foreign.mark, foreign.mentions.len()), (None, 0));
        assert_eq!(foreign.ext.len(), 2);
        assert!(read_text("null").ext.is_empty());
    }
}
