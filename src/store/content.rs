//! What the stores know of an event's content: as little as dedupe, recall and history need.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::{BackfillPart, Draft, GroupRecord};
use switchboard_contract::{Event, EventData, KeyClass, Message, MessageId, MessageRef, Origin, VendorMessageId};

/// Conflicting callbacks kept of one app, the newest: a sender of forgeries must not fill the disk.
pub(crate) const CONFLICTS_KEPT: u32 = 1000;

/// What a part of a job is named by.
pub(crate) fn backfill_part(part: &BackfillPart) -> String {
    match part {
        BackfillPart::Hour(hour) => format!("hour/{}", hour.0),
        BackfillPart::Conversation(id) => format!("conversation/{id}"),
    }
}

/// The message, if the event is one.
pub(crate) fn message(event: &Event) -> Option<&Message> {
    match &event.data {
        EventData::Message(message) => Some(message),
        _ => None,
    }
}

/// The first bytes of a content's hash: whether it is still what was archived.
pub(crate) fn fingerprint(json: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(json)[..8]);
    short
}

/// Turns a message into its tombstone.
pub(crate) fn bury(event: &mut Event) {
    if let EventData::Message(message) = &mut event.data {
        message.body = None;
        message.ext = switchboard_contract::Ext::new();
        message.recalled = true;
    }
}

/// Whether an event contradicts the one journalled under its key: the vendor itself pushed both to us, and they say
/// something else. Of most kinds the key holds all that makes the event one, and what two reports of it add (who, why,
/// through which device) one source may know and another not; only messages and edits have content of their own.
pub(crate) fn contradicts(first: Origin, event: &Event) -> bool {
    let pushed = |origin| matches!(origin, Origin::Callback | Origin::Reissue);
    let has_content = matches!(event.data, EventData::Message(_) | EventData::Edit(_));
    has_content && pushed(first) && pushed(event.origin)
}

/// The vendor ids under which a recall may have named this message before it came.
pub(crate) fn vendor_names(draft: &Draft) -> impl Iterator<Item = &str> {
    let key = (draft.key.class == KeyClass::Message).then_some(draft.key.id.as_str());
    let own = message(&draft.event).and_then(|message| message.vendor_id.as_ref()).map(VendorMessageId::as_str);
    key.into_iter().chain(own.filter(move |own| key != Some(*own)))
}

/// The event as it is journalled: our id of its target filled in.
pub(crate) fn with_target(event: &Event, id: Option<MessageId>) -> Cow<'_, Event> {
    let Some(id) = id else { return Cow::Borrowed(event) };
    let mut event = event.clone();
    match event.data.target_mut() {
        Some(target) if target.id.is_none() => target.id = Some(id),
        _ => {}
    }
    Cow::Owned(event)
}

/// What the event is about, other than a message itself.
pub(crate) fn target(event: &Event) -> Option<&MessageRef> {
    match &event.data {
        EventData::Recall(recall) => Some(&recall.target),
        EventData::Edit(edit) => Some(&edit.target),
        EventData::Receipt(receipt) => receipt.target.as_ref(),
        EventData::RecipientOffline(offline) => Some(&offline.target),
        EventData::Reaction(reaction) => Some(&reaction.target),
        EventData::Moderation(moderation) => Some(&moderation.target),
        EventData::PushResult(push) => push.target.as_ref(),
        _ => None,
    }
}

/// A message that was recalled before it came: a tombstone, under the id the recall gave it if it gave one.
pub(crate) fn buried(event: &Event, id: Option<MessageId>) -> Event {
    let mut event = event.clone();
    if let (EventData::Message(message), Some(id)) = (&mut event.data, id) {
        message.id = id;
    }
    bury(&mut event);
    event
}

/// Cuts a page of groups, read one longer than `limit`, so that it never ends between a group and a room of one id:
/// the next page begins behind an id. Where one id alone is longer than the page, it comes whole.
pub(crate) fn whole_ids(mut groups: Vec<GroupRecord>, limit: usize) -> Vec<GroupRecord> {
    if groups.len() <= limit || limit == 0 {
        groups.truncate(limit);
        return groups;
    }
    let split = groups[limit - 1].id == groups[limit].id;
    if split && limit > 1 {
        groups.truncate(limit - 1);
    } else if !split {
        groups.truncate(limit);
    }
    groups
}
