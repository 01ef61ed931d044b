//! Lines of the hourly log.
//!
//! A line is a JSON object, behind 19 characters of local time in the form three independent readers have seen, and
//! alone in a form nobody has ruled out. What counts is what lies between the first `{` and the last `}`.

use std::io::{self, BufRead, Read as _};

use bytes::Bytes;
use jiff::civil::DateTime;
use switchboard_contract::{AppKey, Error, ErrorKind, Inbound, Result, Timestamp};

use crate::codec::{Channel, Codec, Record, from_text_or_object, unrecognised};
use crate::config::LogZone;
use crate::wire::records::LogLine;

/// The longest line that is read; a content of 128 KiB is far below it in every escaping.
const MAX_LINE: u64 = 8 << 20;
const KIND: &str = "history_line";

/// Turns one line into an event.
#[derive(Debug)]
pub(crate) struct LineDecoder {
    pub(crate) app_key: AppKey,
    pub(crate) zone: LogZone,
    pub(crate) codec: Codec,
}

impl LineDecoder {
    /// `None` for a blank line. `otherwise_at` dates what cannot be understood.
    pub(crate) fn decode(&self, line: &[u8], otherwise_at: Timestamp) -> Option<Inbound> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        Some(self.record(line).unwrap_or_else(|| unrecognised(KIND, Bytes::copy_from_slice(line), otherwise_at)))
    }

    fn record(&self, line: &[u8]) -> Option<Inbound> {
        let begin = line.iter().position(|byte| *byte == b'{')?;
        let end = line.iter().rposition(|byte| *byte == b'}')?;
        let json = std::str::from_utf8(line.get(begin..=end)?).ok()?;
        let record: LogLine<'_> = serde_json::from_str(json).ok()?;
        let app = record.app_id.as_ref().map(|app| app.0.as_ref()).unwrap_or_default();
        if !app.is_empty() && app != self.app_key.as_str() || record.uid.0.is_empty() {
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
            sent_at: self.sent_at(&record, &line[..begin])?,
            audience: Vec::new(),
            raw: Bytes::copy_from_slice(line),
        }))
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
    decoder: LineDecoder,
    otherwise_at: Timestamp,
    done: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R, decoder: LineDecoder, otherwise_at: Timestamp) -> Self {
        Self { input, decoder, otherwise_at, done: false }
    }

    /// The next line without its end; `None` at the end of the file.
    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        if self.input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            self.skip_rest()?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(line)))
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let found = buffer.iter().position(|byte| *byte == b'\n');
            let used = found.map_or(buffer.len(), |at| at + 1);
            self.input.consume(used);
            if found.is_some() {
                return Ok(());
            }
        }
    }
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Inbound>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.line() {
                Ok(Some(Line::Whole(line))) => {
                    if let Some(inbound) = self.decoder.decode(&line, self.otherwise_at) {
                        return Some(Ok(inbound));
                    }
                }
                Ok(Some(Line::TooLong)) => {
                    let why = format!("a line of the log is longer than {MAX_LINE} bytes");
                    return Some(Err(Error::new(ErrorKind::TooLarge, why)));
                }
                Ok(None) => self.done = true,
                Err(error) => {
                    self.done = true;
                    let error = Error::new(ErrorKind::Storage, "the log cannot be read").with_source(error);
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::{Body, InboundData};

    use super::*;

    fn decoder(zone: LogZone) -> LineDecoder {
        LineDecoder { app_key: "demoappkey01".into(), zone, codec: Codec::new("sb") }
    }

    fn decode(zone: LogZone, line: &str) -> Inbound {
        decoder(zone).decode(line.as_bytes(), Timestamp(7)).unwrap()
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
        let decoder = decoder(LogZone::Beijing);
        assert!(decoder.decode(b" \r", Timestamp(7)).is_none());
        let other_app = OLD.replace("demoappkey01", "another");
        let no_id = OLD.replace("D1U6-B6SI-O124-3K1R", "");
        for line in ["no braces", "}{", "2026/11/19 10:15:30{\"a\":", &other_app, &no_id] {
            let inbound = decoder.decode(line.as_bytes(), Timestamp(7)).unwrap();
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
        let mut lines = Lines::new(text.as_slice(), decoder(LogZone::Beijing), Timestamp(7));
        assert_eq!(lines.next().unwrap().unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(lines.next().unwrap().unwrap().key.id, "D1U6-B6SI-O124-3K1R");
        assert!(lines.next().is_none());
    }
}
