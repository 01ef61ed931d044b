//! Lines of the hourly log.
//!
//! A line is a JSON object, behind 19 characters of local time in the form three independent readers have seen, and
//! alone in a form nobody has ruled out. What counts is what lies between the first `{` and the last `}`.

use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::DateTime;
use switchboard_contract::{
    AppKey, Error, ErrorKind, Glance, HourDecoder, HourLine, HourLines, Inbound, Result, Timestamp,
};

use crate::codec::{Channel, Codec, Record, from_text_or_object, is_message, unrecognised};
use crate::config::LogZone;
use crate::wire::lenient::Str;
use crate::wire::records::{LogLine, LogOutline};

/// The longest line that is read; a content of 128 KiB is far below it in every escaping.
const MAX_LINE: u64 = 8 << 20;
const KIND: &str = "history_line";

/// Turns one line into an event.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    pub(crate) app_key: AppKey,
    pub(crate) zone: LogZone,
    pub(crate) codec: Codec,
    /// Dates what cannot be understood.
    pub(crate) otherwise_at: Timestamp,
}

impl HourDecoder for LineDecoder {
    fn decode(&self, line: &Bytes) -> Vec<Inbound> {
        vec![self.record(line).unwrap_or_else(|| unrecognised(KIND, line.clone(), self.otherwise_at))]
    }
}

/// The JSON of a line, and what stands before it.
fn parts(line: &[u8]) -> Option<(&[u8], &str)> {
    let begin = line.iter().position(|byte| *byte == b'{')?;
    let end = line.iter().rposition(|byte| *byte == b'}')?;
    Some((&line[..begin], std::str::from_utf8(line.get(begin..=end)?).ok()?))
}

impl LineDecoder {
    fn record(&self, line: &Bytes) -> Option<Inbound> {
        let (prefix, json) = parts(line)?;
        let record: LogLine<'_> = serde_json::from_str(json).ok()?;
        if !self.is_ours(record.app_id.as_ref()) || record.uid.0.is_empty() {
            return None;
        }
        let channel = Channel::from_text(&record.target_type.text())?;
        let bus_channel = record.bus_channel.as_ref().map(|channel| channel.0.as_ref());
        let content = from_text_or_object(record.content);
        Some(self.codec.inbound(Record {
            place: channel.place(&record.from.0, &record.target.0, bus_channel),
            from: &record.from.0,
            object_name: &record.object_name.0,
            content: &content,
            uid: &record.uid.0,
            original_uid: record.original_uid.as_ref().map(|uid| uid.0.as_ref()).unwrap_or_default(),
            sent_at: self.sent_at(&record, prefix)?,
            audience: Vec::new(),
            raw: line.clone(),
        }))
    }

    fn is_ours(&self, app: Option<&Str<'_>>) -> bool {
        app.is_none_or(|app| app.0.is_empty() || app.0 == self.app_key.as_str())
    }

    /// The message of a line that is one at first sight: its content is not looked at. Local times are left to the
    /// decoder.
    fn glance<'a>(&self, line: &'a [u8]) -> Option<Glance<'a>> {
        let outline: LogOutline<'a> = serde_json::from_str(parts(line)?.1).ok()?;
        let replaces = outline.original_uid.is_some_and(|uid| !uid.0.is_empty());
        let message = is_message(&outline.object_name.0) && !replaces && !outline.uid.0.is_empty();
        if !message || !self.is_ours(outline.app_id.as_ref()) {
            return None;
        }
        let sent_at = Timestamp(outline.timestamp?.integer()?);
        Some(Glance { id: outline.uid.0, sent_at })
    }

    /// Milliseconds in newer files; local time in older ones, and in the prefix to the second.
    fn sent_at(&self, record: &LogLine<'_>, prefix: &[u8]) -> Option<Timestamp> {
        if let Some(time) = record.timestamp.as_ref().and_then(|time| time.integer()) {
            return Some(Timestamp(time));
        }
        let local = record
            .local_time
            .as_ref()
            .and_then(|text| DateTime::strptime("%Y-%m-%d %H:%M:%S%.f", text.0.as_ref()).ok())
            .or_else(|| {
                let prefix = std::str::from_utf8(prefix).ok()?.trim();
                DateTime::strptime("%Y/%m/%d %H:%M:%S", prefix).ok()
            })?;
        let time = self.zone.offset().to_timestamp(local).ok()?;
        Some(Timestamp(time.as_millisecond()))
    }
}

/// The lines of a log, read as they are asked for.
pub(crate) struct Lines<R> {
    input: R,
    decoder: Arc<LineDecoder>,
    /// The line read last, with its end.
    line: Vec<u8>,
    done: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R, decoder: LineDecoder) -> Self {
        Self { input, decoder: Arc::new(decoder), line: Vec::new(), done: false }
    }

    /// Reads a line with its end; none at the end of the file.
    fn read(&mut self) -> io::Result<Step> {
        self.line.clear();
        if self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(Step::End);
        }
        if self.line.len() as u64 == MAX_LINE && self.line.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Step::TooLong);
        }
        Ok(if self.line.trim_ascii().is_empty() { Step::Blank } else { Step::Line })
    }
}

/// What was read.
enum Step {
    Line,
    Blank,
    TooLong,
    End,
}

impl<R: BufRead + Send> HourLines for Lines<R> {
    fn next(&mut self) -> Option<Result<HourLine<'_>>> {
        while !self.done {
            match self.read() {
                Ok(Step::Line) => {
                    let text = self.line.trim_ascii();
                    return Some(Ok(HourLine { text, glance: self.decoder.glance(text) }));
                }
                Ok(Step::Blank) => {}
                Ok(Step::TooLong) => {
                    let why = format!("a line of the log is longer than {MAX_LINE} bytes");
                    return Some(Err(Error::new(ErrorKind::TooLarge, why)));
                }
                Ok(Step::End) => self.done = true,
                Err(error) => {
                    self.done = true;
                    let error = Error::new(ErrorKind::Storage, "the log cannot be read").with_source(error);
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn decoder(&self) -> Arc<dyn HourDecoder> {
        self.decoder.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::{Body, EventKey, InboundData, KeyClass};

    use super::*;

    fn decoder(zone: LogZone) -> LineDecoder {
        let otherwise_at = Timestamp(7);
        LineDecoder { app_key: "demoappkey01".into(), zone, codec: Codec::new("sb"), otherwise_at }
    }

    fn decode(zone: LogZone, line: &str) -> Inbound {
        decoder(zone).decode(&Bytes::copy_from_slice(line.trim().as_bytes())).remove(0)
    }

    const OLD: &str = include_str!("../../fixtures/history_line_raw_old_form.txt");
    const NEW: &str = include_str!("../../fixtures/history_line_raw.txt");

    #[test]
    fn every_form_of_a_line_says_the_same() {
        let new = decode(LogZone::Beijing, NEW);
        let bare = &NEW[NEW.find('{').unwrap()..];
        let without_local_time = OLD.replace(r#""dateTime":"2026-11-19 10:15:30.123","#, "");
        for line in [OLD, bare] {
            let other = decode(LogZone::Beijing, line);
            assert_eq!((&other.key, &other.place, other.sent_at), (&new.key, &new.place, new.sent_at));
            assert_eq!(other.data, new.data);
        }
        assert_eq!(new.sent_at, Timestamp(1_795_054_530_123));
        assert_eq!(decode(LogZone::Beijing, &without_local_time).sent_at, Timestamp(1_795_054_530_000));
    }

    #[test]
    fn local_times_are_read_in_the_zone_of_the_data_centre() {
        assert_eq!(decode(LogZone::Utc, OLD).sent_at, Timestamp(1_795_054_530_123 + 8 * 3_600_000));
        assert_eq!(decode(LogZone::Utc, NEW).sent_at, Timestamp(1_795_054_530_123), "milliseconds need no zone");
    }

    #[test]
    fn a_content_may_be_text() {
        let line = OLD.replace("RC:TxtMsg", "app:raw");
        let start = line.find("\"content\":{").unwrap() + 10;
        let end = line.find(",\"dateTime\"").unwrap();
        let custom = |content: &str| {
            let line = format!("{}{content}{}", &line[..start], &line[end..]);
            let InboundData::Message(message) = decode(LogZone::Beijing, &line).data else { panic!("no message") };
            let Body::Custom(custom) = message.body else { panic!("not custom") };
            custom.data
        };
        assert_eq!(custom("\"no json\""), serde_json::json!("no json"));
        assert_eq!(custom("\"{\\\"a\\\":1}\""), serde_json::json!({"a": 1}));
        assert_eq!(custom("{\"a\":1}"), serde_json::json!({"a": 1}));
    }

    #[test]
    fn what_is_no_record_is_kept_and_blank_lines_are_not() {
        let mut blank = Lines::new(b" \r\n\n".as_slice(), decoder(LogZone::Beijing));
        assert!(blank.next().is_none());
        let other_app = OLD.replace("demoappkey01", "another");
        let no_id = OLD.replace("D1U6-B6SI-O124-3K1R", "");
        for line in ["no braces", "}{", "2026/11/19 10:15:30{\"a\":", &other_app, &no_id] {
            let inbound = decode(LogZone::Beijing, line);
            let InboundData::Unrecognised(kept) = &inbound.data else { panic!("understood: {line}") };
            assert_eq!((kept.kind.as_str(), kept.raw.as_str()), (KIND, line.trim()));
            assert_eq!(inbound.sent_at, Timestamp(7));
        }
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut text = vec![b'x'; MAX_LINE as usize + 10];
        text.extend_from_slice(b"\n");
        text.extend_from_slice(NEW.trim_end().as_bytes());
        let mut lines = Lines::new(text.as_slice(), decoder(LogZone::Beijing));
        assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(lines.next().unwrap().unwrap().glance.unwrap().id, "D1U6-B6SI-O124-3K1R");
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_glance_says_what_the_decoder_says() {
        let seen = decoder(LogZone::Beijing);
        let line = NEW.trim();
        let told = seen.glance(line.as_bytes()).unwrap();
        let event = decode(LogZone::Beijing, line);
        assert_eq!((EventKey::new(KeyClass::Message, told.id), told.sent_at), (event.key, event.sent_at));
        for other in [
            line.replace("demoappkey01", "another"),
            line.replace("D1U6-B6SI-O124-3K1R", ""),
            line.replace("RC:TxtMsg", "RC:RcCmd"),
            line.replace("RC:TxtMsg", "RC:ReadNtf"),
            line.replace(r#""msgUID":"#, r#""originalMsgUID":"another","msgUID":"#),
            OLD.trim().to_owned(),
            "no braces".to_owned(),
        ] {
            assert_ne!(other, line);
            assert_eq!(seen.glance(other.as_bytes()), None, "{other}");
        }
    }
}
