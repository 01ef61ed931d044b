//! Hourly history files (REST/message_historical).

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::tz::{Offset, TimeZone};
use sha2::{Digest, Sha256};
use switchboard_contract::{
    Error, ErrorKind, HistoryFile, HistoryFileLimits, HistoryFiles, HourDecoder, HourFile, HourLine, HourLines,
    Inbound, Result, Timestamp,
};
use switchboard_outbound::{Download, Downloaded, HeaderMap, Method, Url, VendorCall};

use super::lines::Lines;
use super::read;
use crate::Huanxin;
use crate::codec::{ItemCodec, Source, glance};
use crate::config::Zone;
use crate::error::{detail, is};
use crate::limits::{self, group};
use crate::wire::FilesReply;

const HOUR: i64 = 3_600_000;

/// How the vendor names an hour: `yyyyMMddHH` in the cluster's zone.
fn hour_name(hour: Timestamp, zone: Zone) -> Result<String> {
    let invalid = || Error::invalid("hour", "must be the beginning of a whole hour");
    if hour.0.rem_euclid(HOUR) != 0 {
        return Err(invalid());
    }
    let zone = match zone {
        Zone::Beijing => TimeZone::fixed(Offset::constant(8)),
        Zone::Utc => TimeZone::UTC,
    };
    let moment = jiff::Timestamp::from_millisecond(hour.0).map_err(|_| invalid())?;
    Ok(moment.to_zoned(zone).strftime("%Y%m%d%H").to_string())
}

impl Huanxin {
    /// The addresses of an hour's files; none when the vendor has no file.
    async fn file_links(&self, name: &str) -> Result<Vec<Url>> {
        let path = self.path(&format!("/chatmessages/{name}"));
        let reply =
            match self.outbound.call(VendorCall::read(Method::GET, "hour_link", group::HISTORY_FILES, path)).await {
                Ok(reply) => reply,
                // Too old, not written yet, or nothing said in that hour: the vendor does not tell these apart.
                Err(error) if is(&error, detail::UNSTORED) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
        let answer: FilesReply<'_> = read(&reply)?;
        answer.data.iter().map(|link| link.url.parse().map_err(|error| reply.undecodable(error))).collect()
    }

    async fn download_all(&self, links: Vec<Url>) -> Result<Vec<Downloaded>> {
        let mut files = Vec::with_capacity(links.len());
        for url in links {
            files.push(
                self.outbound.download(&Download { url, headers: HeaderMap::new(), operation: "hour_file" }).await?,
            );
        }
        Ok(files)
    }
}

/// One digest for one file or several.
fn digest(files: &[Downloaded]) -> [u8; 32] {
    match files {
        [one] => one.sha256,
        _ => files.iter().fold(Sha256::new(), |sha, file| sha.chain_update(file.sha256)).finalize().into(),
    }
}

#[async_trait]
impl HistoryFiles for Huanxin {
    fn limits(&self) -> HistoryFileLimits {
        let history = &self.config.history;
        HistoryFileLimits {
            earliest: history.earliest,
            final_after: history.final_after,
            kept: history.kept,
            own_sends: true,
            quota: limits::history_files(&self.config),
        }
    }

    async fn fetch(&self, hour: Timestamp) -> Result<HistoryFile> {
        let name = hour_name(hour, self.config.history.zone)?;
        let mut links = self.file_links(&name).await?;
        let mut renewed = false;
        let files = loop {
            if links.is_empty() {
                return Ok(HistoryFile::Absent);
            }
            match self.download_all(std::mem::take(&mut links)).await {
                Ok(files) => break files,
                // Addresses are signed for half an hour; a slow download of many files can outlive them once.
                Err(error) if error.kind() == ErrorKind::Forbidden && !renewed => {
                    renewed = true;
                    links = self.file_links(&name).await?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HistoryFile::Absent),
                Err(error) => return Err(error),
            }
        };
        let (bytes, digest) = (files.iter().map(|file| file.bytes).sum(), digest(&files));
        let lines = self.lines(hour, files.into_iter().map(|file| file.file).collect());
        Ok(HistoryFile::Ready(HourFile { bytes, digest, lines }))
    }

    fn hour_of(&self, name: &str) -> Option<Timestamp> {
        hour_named(name, self.config.history.zone)
    }

    async fn open(&self, hour: Timestamp, file: File) -> Result<HourFile> {
        hour_name(hour, self.config.history.zone)?;
        let Downloaded { file, bytes, sha256: digest } = tokio::task::spawn_blocking(move || Downloaded::of(file))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "reading a file failed").with_source(error))??;
        Ok(HourFile { bytes, digest, lines: self.lines(hour, VecDeque::from([file])) })
    }
}

/// The hour of a name such as `2026112015`, `2026112015.gz` or `2026112015-1.gz`.
fn hour_named(name: &str, zone: Zone) -> Option<Timestamp> {
    let digits = name.get(..10).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    if name[10..].starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    super::kept::slot_start(&format!("{digits}00"), zone)
}

impl Huanxin {
    /// The lines of files, one after another.
    fn lines(&self, hour: Timestamp, files: VecDeque<File>) -> Box<dyn HourLines> {
        let decoder = Arc::new(Decoder { items: self.items.clone(), hour });
        Box::new(Hour { lines: Lines::of(files, self.config.history.max_line_bytes), decoder })
    }
}

struct Hour {
    lines: Lines,
    decoder: Arc<Decoder>,
}

impl HourLines for Hour {
    fn next(&mut self) -> Option<Result<HourLine<'_>>> {
        Some(self.lines.next_line()?.map(|text| HourLine { text, glance: glance(text) }))
    }

    fn decoder(&self) -> Arc<dyn HourDecoder> {
        self.decoder.clone()
    }
}

#[derive(Debug)]
struct Decoder {
    items: ItemCodec,
    /// Dates what carries no time.
    hour: Timestamp,
}

impl HourDecoder for Decoder {
    fn decode(&self, line: &Bytes) -> Vec<Inbound> {
        self.items.decode(line, Source::Record, self.hour)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn hours_are_named_in_the_clusters_zone() {
        let hour = Timestamp(1_795_197_600_000);
        assert_eq!(hour_name(hour, Zone::Utc).unwrap(), "2026112018");
        assert_eq!(hour_name(hour, Zone::Beijing).unwrap(), "2026112102");
        for (name, zone) in
            [("2026112018.gz", Zone::Utc), ("2026112102", Zone::Beijing), ("2026112018-1.gz", Zone::Utc)]
        {
            assert_eq!(hour_named(name, zone), Some(hour), "{name}");
        }
        for other in ["202611201", "20261120181.gz", "2026112025.gz", "history.gz"] {
            assert_eq!(hour_named(other, Zone::Utc), None, "{other}");
        }
        assert_eq!(hour_name(Timestamp(hour.0 + 1), Zone::Utc).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
