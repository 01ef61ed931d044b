//! Times as text: Beijing time in the China data centre, UTC in every other.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{self, Offset},
};

use super::settings::DataCentre;

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;

fn offset(centre: DataCentre) -> Offset {
    match centre {
        DataCentre::China => tz::offset(8),
        DataCentre::Overseas => Offset::UTC,
    }
}

fn local(ms: i64, centre: DataCentre) -> DateTime {
    offset(centre).to_datetime(Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// `yyyy-MM-dd HH:mm:ss`, as user, group and room answers give times.
pub(crate) fn seconds(ms: i64, centre: DataCentre) -> String {
    local(ms, centre).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `yyyy-MM-dd HH:mm:ss.SSS`, `dateTime` of a log line.
pub(crate) fn millis(ms: i64, centre: DataCentre) -> String {
    local(ms, centre).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

/// `yyyy/MM/dd HH:mm:ss`, the 19 characters before a log line.
pub(crate) fn line_prefix(ms: i64, centre: DataCentre) -> String {
    local(ms, centre).strftime("%Y/%m/%d %H:%M:%S").to_string()
}

/// `yyyy-MM-dd-HH`, the entry name in a log archive.
pub(crate) fn entry_name(hour_ms: i64, centre: DataCentre) -> String {
    local(hour_ms, centre).strftime("%Y-%m-%d-%H").to_string()
}

/// The civil time of an archive entry.
pub(crate) fn civil(ms: i64, centre: DataCentre) -> DateTime {
    local(ms, centre)
}

/// Start of the hour named `YYYYMMDDHH`, or `None` when the text names none.
pub(crate) fn parse_hour(text: &str, centre: DataCentre) -> Option<i64> {
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let field = |range: std::ops::Range<usize>| text[range].parse::<i8>().ok();
    let year = text[0..4].parse::<i16>().ok()?;
    let date = DateTime::new(year, field(4..6)?, field(6..8)?, field(8..10)?, 0, 0, 0).ok()?;
    offset(centre).to_timestamp(date).ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::{entry_name, line_prefix, millis, parse_hour, seconds};
    use crate::rongcloud::settings::DataCentre::{China, Overseas};

    const MOMENT: i64 = 1_795_054_530_123;

    #[test]
    fn the_data_centre_decides_the_zone() {
        assert_eq!(millis(MOMENT, China), "2026-11-19 10:15:30.123");
        assert_eq!(seconds(MOMENT, Overseas), "2026-11-19 02:15:30");
        assert_eq!(line_prefix(MOMENT, China), "2026/11/19 10:15:30");
        assert_eq!(entry_name(MOMENT, Overseas), "2026-11-19-02");
    }

    #[test]
    fn hours_parse_in_their_zone_or_not_at_all() {
        assert_eq!(parse_hour("2026111910", China), Some(1_795_053_600_000));
        assert_eq!(parse_hour("2026111902", Overseas), Some(1_795_053_600_000));
        for text in ["2026111924", "20261119", "202611191o", "2026133110", ""] {
            assert_eq!(parse_hour(text, China), None, "{text}");
        }
    }
}
