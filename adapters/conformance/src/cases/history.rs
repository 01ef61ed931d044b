//! History: paging to the very end, and the same message from any source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use switchboard_contract::{
    ConversationKind, ErrorKind, EventKey, HistoryFile, InboundData, RoamingQuery, Target, Timestamp,
};

use super::callbacks::decoded;
use super::{Failure, Outcome, Verdict, ensure, skipped};
use crate::world::World;

const HOUR_MS: i64 = 3_600_000;

pub(super) async fn paging_reaches_every_message_once(world: &dyn World) -> Verdict {
    let provider = world.provider();
    let Some(roaming) = provider.roaming() else { return skipped("it has no queries") };
    let limits = roaming.limits();
    if !limits.targets.contains(&ConversationKind::Direct) {
        return skipped("it cannot be asked for direct conversations");
    }
    let [alice, bob, _] = world.users();
    let began = world.now();
    let mut sent = BTreeSet::new();
    // More than two of the vendor's pages, and a caller who asks for more than a page holds.
    for n in 0..limits.max_page * 2 + 7 {
        let to = Target::Users(vec![bob.clone()]);
        let Some(id) = world.client_sends(&alice, &to, &format!("page {n}")).await else {
            return skipped("no client can act here");
        };
        sent.insert(id);
    }
    let mut query = RoamingQuery {
        viewer: alice,
        target: Target::Users(vec![bob]),
        since: began,
        until: world.now() + Duration::from_secs(1),
        limit: limits.max_page + 50,
        cursor: None,
    };
    let (mut found, mut cursors) = (Vec::new(), BTreeSet::new());
    loop {
        let page = match roaming.page(&query).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return skipped("the account has no queries"),
            page => page?,
        };
        found.extend(page.items.into_iter().filter_map(|item| match item.data {
            InboundData::Message(message) => Some(message.id),
            _ => None,
        }));
        let Some(next) = page.next else { break };
        ensure!(cursors.insert(next.clone()), "a cursor came twice: the walk never ends");
        query.cursor = Some(next);
    }
    let once: BTreeSet<_> = found.iter().cloned().collect();
    ensure!(once.len() == found.len(), "{} messages came twice", found.len() - once.len());
    ensure!(once == sent, "{} messages were sent and {} found", sent.len(), once.len());
    Ok(Outcome::Passed)
}

pub(super) async fn files_and_callbacks_agree(world: &dyn World) -> Verdict {
    let provider = world.provider();
    let Some(files) = provider.history_files() else { return skipped("it has no files") };
    let [alice, bob, _] = world.users();
    world.callbacks().await;
    let hour = Timestamp(world.now().0 / HOUR_MS * HOUR_MS);
    for text in ["one", "two", "three"] {
        if world.client_sends(&alice, &Target::Users(vec![bob.clone()]), text).await.is_none() {
            return skipped("no client can act here");
        }
    }
    let live = contents(decoded(world).await?)?;
    if !world.pass(Duration::from_millis(HOUR_MS as u64) + files.limits().final_after).await {
        return skipped("time cannot be moved here");
    }
    let file = match files.fetch(hour).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => return skipped("the account has no files"),
        file => file?,
    };
    let HistoryFile::Ready(file) = file else { return Err(Failure::new("the final file of the hour is not there")) };
    let lines = contents(file.events().collect::<switchboard_contract::Result<Vec<_>>>()?)?;
    for (key, content) in &live {
        ensure!(lines.contains_key(key), "the file does not hold {key:?}");
        ensure!(lines.get(key) == Some(content), "the same message differs between callback and file: {key:?}");
    }
    Ok(Outcome::Passed)
}

/// Messages by key, in a form that must not depend on the source.
fn contents(items: Vec<switchboard_contract::Inbound>) -> Result<BTreeMap<EventKey, String>, Failure> {
    let mut found = BTreeMap::new();
    for item in items {
        if let InboundData::Message(message) = &item.data {
            let body = serde_json::to_string(&message.body).map_err(|error| Failure::new(error.to_string()))?;
            let text = format!("{:?} {:?} {} {} {}", item.place, message.from, body, item.sent_at.0, item.sort_key);
            found.insert(item.key.clone(), text);
        }
    }
    Ok(found)
}
