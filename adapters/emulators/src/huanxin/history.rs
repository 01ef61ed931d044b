//! Hourly history files: names, publication, content, signed addresses.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use sha1::Sha1;

use super::app::App;
use super::error::ApiError;
use super::model::Message;
use super::settings::{EmptyHour, HistorySettings, Zone};
use crate::common::Source;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const SLOT: i64 = 600_000;

fn zone(zone: Zone) -> TimeZone {
    match zone {
        Zone::Beijing => TimeZone::fixed(Offset::constant(8)),
        Zone::Utc => TimeZone::UTC,
    }
}

/// Start of a ten-minute slot.
pub(crate) fn ten_minutes(at_ms: i64) -> i64 {
    at_ms.div_euclid(SLOT) * SLOT
}

/// `yyyyMMddHHmm` of a slot.
pub(crate) fn slot_name(start_ms: i64, in_zone: Zone) -> String {
    named(start_ms, in_zone, "%Y%m%d%H%M")
}

/// `yyyyMMddHH` of the hour that holds a moment.
pub(crate) fn hour_name(at_ms: i64, in_zone: Zone) -> String {
    named(at_ms, in_zone, "%Y%m%d%H")
}

fn named(at_ms: i64, in_zone: Zone, format: &str) -> String {
    let moment = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone(in_zone)).strftime(format).to_string()
}

/// Start of a named hour; none for a malformed name.
pub(crate) fn hour_start(name: &str, in_zone: Zone) -> Option<i64> {
    if name.len() != 10 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let minutes = format!("{name}00");
    let civil = DateTime::strptime("%Y%m%d%H%M", minutes).ok()?;
    Some(zone(in_zone).to_timestamp(civil).ok()?.as_millisecond())
}

/// A published hour.
pub(crate) struct HourFile {
    pub(crate) parts: usize,
}

impl App {
    /// Whether the file of an hour is there, or how the vendor refuses.
    pub(crate) fn hour_file(&self, name: &str) -> Result<HourFile, ApiError> {
        let settings = self.settings();
        let history = &settings.history;
        let arguments = format!("illegal arguments: appkey: {}, time: {name}", self.app_key);
        let Some(start_ms) = hour_start(name, history.zone) else {
            return Err(ApiError::argument(arguments));
        };
        let now_ms = self.now_ms();
        let published_ms = start_ms + HOUR + self.publish_delay(history);
        if now_ms < published_ms || now_ms - start_ms > history.depth_days * DAY + HOUR {
            let text = format!("{arguments}, maybe chat message history is expired or unstored");
            return Err(ApiError::argument(text));
        }
        let missing =
            self.faults.with(|faults| faults.history.file_missing_hours.iter().any(|missing| missing == name));
        let empty = history.empty_hour == EmptyHour::NotFound && !self.hour_has_messages(start_ms);
        if missing || empty {
            let text =
                format!("Failed to find chat message history download url for appkey: {}, time: {name}", self.app_key);
            return Err(ApiError::new(404, "storage_object_not_found", text));
        }
        Ok(HourFile { parts: history.files_per_hour.max(1) })
    }

    fn publish_delay(&self, history: &HistorySettings) -> i64 {
        self.faults.with(|faults| faults.history.file_delay_ms).unwrap_or(history.publish_delay_ms)
    }

    fn hour_has_messages(&self, start_ms: i64) -> bool {
        !self.hour_lines(start_ms, self.now_ms(), 1).is_empty()
    }

    /// The gzip bytes of one part of an hour, as published now.
    pub(crate) fn hour_bytes(&self, name: &str, part: usize) -> Option<Vec<u8>> {
        let settings = self.settings();
        let history = &settings.history;
        let start_ms = hour_start(name, history.zone)?;
        let now_ms = self.now_ms();
        let published_ms = start_ms + HOUR + self.publish_delay(history);
        let as_of_ms = if history.rewrites { now_ms } else { published_ms };
        let mut lines = self.hour_lines(start_ms, as_of_ms, usize::MAX);
        let grows = self.faults.with(|faults| faults.history.file_grows);
        if grows && now_ms < published_ms + history.grow_ms {
            lines.truncate(lines.len() / 2);
        }
        let parts = history.files_per_hour.max(1);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        for line in lines.iter().skip(part).step_by(parts) {
            // Writing to memory cannot fail.
            encoder.write_all(line.as_bytes()).ok()?;
            encoder.write_all(b"\n").ok()?;
        }
        encoder.finish().ok()
    }

    fn hour_lines(&self, start_ms: i64, as_of_ms: i64, limit: usize) -> Vec<String> {
        let settings = self.settings();
        let history = &settings.history;
        let data = self.data.lock();
        let in_hour = |message: &&Message| (start_ms..start_ms + HOUR).contains(&message.time_ms);
        let shown = |message: &&Message| {
            message.recalled_ms.is_none_or(|recalled| recalled > as_of_ms)
                && (history.commands || message.type_word() != "cmd")
                && (history.online_only || !message.online_only)
                && (history.imports || message.source != Source::Import)
                && (history.streams || message.source != Source::Stream)
        };
        data.messages
            .iter()
            .filter(in_hour)
            .filter(shown)
            .take(limit)
            .map(|message| message.history_line(as_of_ms).to_string())
            .collect()
    }

    /// A signed address of one part of an hour, on the domain the request came to.
    pub(crate) fn signed_url(&self, host: &str, name: &str, part: usize) -> String {
        let suffix = if part == 0 { String::new() } else { format!("-{part}") };
        let path = format!("/history/14D/{}/{}/{name}{suffix}.gz", self.id.org, self.id.app);
        let expires = self.now_ms() / 1_000 + self.settings().history.url_lifetime_s;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("Expires", &expires.to_string())
            .append_pair("OSSAccessKeyId", "EMULATORKEYID")
            .append_pair("Signature", &self.url_signature(&path, expires))
            .finish();
        format!("http://{host}{path}?{query}")
    }

    /// As the object store signs: HMAC-SHA1 over the method, the expiry and the path.
    pub(crate) fn url_signature(&self, path: &str, expires: i64) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.url_key).expect("HMAC takes keys of any length");
        mac.update(format!("GET\n\n\n{expires}\n{path}").as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_zones_name_the_same_hour_differently() {
        let at_ms = 1_795_140_000_101;
        assert_eq!(hour_name(at_ms, Zone::Utc), "2026112002");
        assert_eq!(hour_name(at_ms, Zone::Beijing), "2026112010");
        assert_eq!(hour_start("2026112010", Zone::Beijing), Some(1_795_140_000_000));
        assert_eq!(slot_name(ten_minutes(at_ms + 2_580_000), Zone::Utc), "202611200240");
    }

    #[test]
    fn malformed_hours_are_refused() {
        for name in ["20261101", "2026113025", "20261301xx", "2026110108 "] {
            assert_eq!(hour_start(name, Zone::Utc), None, "{name}");
        }
    }
}
