//! The hourly log files: when they exist, what their lines say, and their archive.

use std::{
    collections::HashMap,
    io::{Cursor, Write},
};

use serde::Serialize;
use serde_json::value::RawValue;
use sha1::{Digest, Sha1};
use zip::{CompressionMethod, DateTime, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::{
    local_time::{self, HOUR_MS},
    model::{ConversationKind, Message, Sensitivity},
    settings::{LogKeys, LogSettings, RongCloudSettings},
    state::Core,
};
use crate::common::HistoryFaults;

/// What the log service remembers besides the messages.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    recording: bool,
    /// Hours whose file was deleted, and when it is gone.
    deleted: HashMap<i64, i64>,
}

impl LogState {
    /// A service that is on or off.
    pub(crate) fn new(enabled: bool) -> Self {
        Self { recording: enabled, deleted: HashMap::new() }
    }

    /// Turns the service on or off; what was not recorded meanwhile stays missing.
    pub(crate) fn switch(&mut self, enabled: bool) {
        self.recording = enabled;
    }

    /// Whether messages are being recorded.
    pub(crate) fn is_recording(&self) -> bool {
        self.recording
    }

    /// Deletes an hour's file; it stays available for the vendor's delay.
    pub(crate) fn delete(&mut self, hour_ms: i64, gone_ms: i64) {
        self.deleted.entry(hour_ms).or_insert(gone_ms);
    }
}

/// How much of an hour's file can be had now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Not yet, no longer, or never.
    Absent,
    /// Published, but only with the first half of its lines.
    Growing,
    /// Complete.
    Complete,
}

/// Looks up an hour's file.
pub(crate) fn availability(core: &Core, faults: &HistoryFaults, hour_ms: i64, name: &str, now_ms: i64) -> Availability {
    let log: &LogSettings = &core.settings.log;
    let ended_ms = hour_ms + HOUR_MS;
    let delay_ms = faults.file_delay_ms.unwrap_or_else(|| signed(log.delay_ms));
    let gone = core.log.deleted.get(&hour_ms).is_some_and(|gone_ms| now_ms >= *gone_ms);
    let expired = now_ms >= ended_ms + signed(log.lifetime_ms);
    let missing = faults.file_missing_hours.iter().any(|hour| hour == name);
    let empty = core.messages.logged_in_hour(hour_ms).next().is_none();
    if now_ms < ended_ms + delay_ms || gone || expired || missing || empty {
        Availability::Absent
    } else if faults.file_grows && now_ms < ended_ms + delay_ms + signed(log.growth_ms) {
        Availability::Growing
    } else {
        Availability::Complete
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

/// A stable, unguessable-looking name of an hour's archive.
pub(crate) fn archive_name(app_key: &str, date: &str) -> String {
    let digest = hex::encode(Sha1::digest(format!("{app_key}/{date}").as_bytes()));
    format!("{}-{}-{}-{}-{}.zip", &digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32])
}

/// The text of an hour: one record per line in time order, a line break after each.
pub(crate) fn text(core: &Core, hour_ms: i64, availability: Availability) -> String {
    let messages: Vec<&Message> = core.messages.logged_in_hour(hour_ms).collect();
    let count = match availability {
        Availability::Absent => 0,
        Availability::Growing => messages.len() / 2,
        Availability::Complete => messages.len(),
    };
    let mut text = String::new();
    for message in &messages[..count] {
        push_line(&mut text, &core.app_key, message, &core.settings);
    }
    text
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    app_id: &'a str,
    from_user_id: &'a str,
    target_id: &'a str,
    target_type: i64,
    #[serde(rename = "GroupId")]
    group_id: &'a str,
    classname: &'a str,
    content: LineContent<'a>,
    date_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    #[serde(rename = "msgUID")]
    msg_uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_sensitive_word: Option<&'static str>,
}

/// Content is an object in the log, unlike in the Server API; what is no object stays text.
#[derive(Serialize)]
#[serde(untagged)]
enum LineContent<'a> {
    Object(Box<RawValue>),
    Text(&'a str),
}

fn line_content(content: &str) -> LineContent<'_> {
    if content.trim_start().starts_with('{') {
        // Outside of strings, where JSON allows no raw line break, a line break is just white space.
        let one_line = content.trim().replace(['\n', '\r'], " ");
        if let Ok(object) = RawValue::from_string(one_line) {
            return LineContent::Object(object);
        }
    }
    LineContent::Text(content)
}

fn push_line(text: &mut String, app_key: &str, message: &Message, settings: &RongCloudSettings) {
    let (log, centre) = (&settings.log, settings.data_centre);
    let new = log.keys == LogKeys::New;
    let in_group = matches!(
        message.kind,
        ConversationKind::Group
            | ConversationKind::Chatroom
            | ConversationKind::UltraGroup
            | ConversationKind::Discussion
    );
    let line = Line {
        app_id: app_key,
        from_user_id: &message.from,
        target_id: &message.target,
        target_type: message.kind.number(),
        group_id: if in_group && log.group_id { &message.target } else { "" },
        classname: &message.object_name,
        content: line_content(&message.content),
        date_time: local_time::millis(message.time_ms, centre),
        timestamp: new.then_some(message.time_ms),
        msg_uid: &message.uid,
        source: new.then(|| message.origin.source()),
        is_sensitive_word: new.then(|| if message.sensitivity == Sensitivity::None { "false" } else { "true" }),
    };
    if log.prefix {
        text.push_str(&local_time::line_prefix(message.time_ms, centre));
    }
    text.push_str(&serde_json::to_string(&line).unwrap_or_default());
    text.push('\n');
}

/// Packs an hour's text into a ZIP with one entry named `YYYY-MM-DD-HH`, without extension.
///
/// # Errors
/// When the archive cannot be written.
pub(crate) fn archive(text: &str, hour_ms: i64, settings: &RongCloudSettings) -> Result<Vec<u8>, ZipError> {
    let centre = settings.data_centre;
    let written = local_time::civil(hour_ms + HOUR_MS + signed(settings.log.delay_ms), centre);
    let part = |number: i8| number.unsigned_abs();
    let modified = DateTime::from_date_and_time(
        written.year().unsigned_abs(),
        part(written.month()),
        part(written.day()),
        part(written.hour()),
        part(written.minute()),
        part(written.second()),
    )
    .unwrap_or_default();
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(modified);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(local_time::entry_name(hour_ms, centre), options)?;
    zip.write_all(text.as_bytes())?;
    Ok(zip.finish()?.into_inner())
}
