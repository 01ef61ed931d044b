//! The hourly log of the whole app: asked for by hour, fetched as an archive, read line by line.
//!
//! Vendor document: the history pages of docs.rongcloud.cn. The log is named and written in Beijing time in the
//! Chinese data centre and in UTC elsewhere, normally there within an hour after its hour, and gone after three days.

mod archive;
mod line;

use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::Offset;
use switchboard_contract::{
    Error, ErrorKind, HistoryFile, HistoryFileLimits, HistoryFiles, HourFile, HourLines, Result, Timestamp,
};
use switchboard_outbound::{Download, Downloaded, HeaderMap, Url};

use crate::config::LogZone;
use crate::limits::group;
use crate::provider::RongCloud;
use crate::wire::form::Form;
use crate::wire::replies::LogReply;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl LogZone {
    pub(crate) const fn offset(self) -> Offset {
        match self {
            Self::Beijing => Offset::constant(8),
            Self::Utc => Offset::UTC,
        }
    }
}

impl RongCloud {
    fn log_zone(&self) -> LogZone {
        let config = &self.inner.config;
        config.history.log_zone.unwrap_or(config.data_centre.log_zone())
    }
}

/// The vendor's name of an hour, `YYYYMMDDHH` in its own zone.
///
/// # Errors
/// `InvalidInput` for a time that does not begin an hour.
fn hour_name(hour: Timestamp, zone: LogZone) -> Result<String> {
    let begins = hour.as_millis() % 3_600_000 == 0;
    let time = jiff::Timestamp::from_millisecond(hour.as_millis()).ok().filter(|_| begins);
    let time = time.ok_or_else(|| Error::invalid("hour", "must be the beginning of an hour"))?;
    Ok(zone.offset().to_datetime(time).strftime("%Y%m%d%H").to_string())
}

#[async_trait]
impl HistoryFiles for RongCloud {
    fn limits(&self) -> HistoryFileLimits {
        HistoryFileLimits {
            earliest: self.inner.config.history.log_earliest,
            final_after: self.inner.config.history.log_final_after,
            kept: 3 * DAY,
            own_sends: true,
            quota: self.inner.config.quotas.history(),
        }
    }

    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile> {
        let form = Form::new().pair("date", hour_name(hour, self.log_zone())?);
        let reply = self.post("history_file", group::HISTORY, "/message/history.json", form).await?;
        let answer: LogReply = serde_json::from_slice(&reply.body)
            .map_err(|error| reply.undecodable(error).with_operation("history_file"))?;
        if answer.url.is_empty() {
            return Ok(HistoryFile::Absent);
        }
        let url = Url::parse(&answer.url).map_err(|error| reply.undecodable(error).with_operation("history_file"))?;
        let download = Download { url, headers: HeaderMap::new(), operation: "history_file" };
        let downloaded = match self.inner.outbound.download(&download).await {
            // Named and not there (any more): the vendor deletes files after three days.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HistoryFile::Absent),
            other => other?,
        };
        let (bytes, digest) = (downloaded.bytes, downloaded.sha256);
        let lines = self.lines(hour, downloaded.file).await?;
        Ok(HistoryFile::Ready(HourFile { bytes, digest, lines }))
    }

    fn hour_of(&self, name: &str) -> Option<Timestamp> {
        hour_named(name, self.log_zone())
    }

    async fn open(&self, hour: Timestamp, file: File) -> Result<HourFile> {
        hour_name(hour, self.log_zone())?;
        let Downloaded { file, bytes, sha256: digest } = blocking(move || Downloaded::of(file)).await?;
        Ok(HourFile { bytes, digest, lines: self.lines(hour, file).await? })
    }
}

impl RongCloud {
    /// The lines of a packed log.
    async fn lines(&self, hour: Timestamp, packed: File) -> Result<Box<dyn HourLines>> {
        let limit = self.inner.config.history.max_log_bytes;
        let unpacked = blocking(move || archive::unpack(packed, limit)).await?;
        let (app_key, codec) = (self.inner.app.key.clone(), self.inner.codec.clone());
        let decoder = line::LineDecoder { app_key, zone: self.log_zone(), codec, otherwise_at: hour + HOUR };
        Ok(Box::new(line::Lines::new(BufReader::with_capacity(64 << 10, unpacked), decoder)))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "reading the log failed").with_source(error)))
}

/// The hour of a name that begins as the vendor's: `2026111910` or `2026-11-19-10`, with whatever behind it.
fn hour_named(name: &str, zone: LogZone) -> Option<Timestamp> {
    let stem = name.split('.').next().unwrap_or(name);
    let digits: String = stem.chars().filter(char::is_ascii_digit).collect();
    if digits.len() != 10 || !stem.chars().all(|one| one.is_ascii_digit() || one == '-') {
        return None;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H", &digits).ok()?;
    Some(Timestamp(zone.offset().to_timestamp(time).ok()?.as_millisecond()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_hour_has_the_name_of_the_vendors_zone() {
        // 2026-11-19 10:00 in Beijing.
        let hour = Timestamp(1_795_053_600_000);
        assert_eq!(hour_name(hour, LogZone::Beijing).unwrap(), "2026111910");
        assert_eq!(hour_name(hour, LogZone::Utc).unwrap(), "2026111902");
        for name in ["2026111910.zip", "2026-11-19-10", "2026111910"] {
            assert_eq!(hour_named(name, LogZone::Beijing), Some(hour), "{name}");
        }
        for other in ["20261119.zip", "2026111925.zip", "log-2026111910.zip"] {
            assert_eq!(hour_named(other, LogZone::Beijing), None, "{other}");
        }
        for wrong in [Timestamp(1_795_053_600_001), Timestamp(i64::MAX)] {
            assert_eq!(hour_name(wrong, LogZone::Utc).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
