//! Callbacks: believed only when signed, decoded once and in order, with nothing lost.

use serde_json::json;
use switchboard_contract::{
    Body, CallbackCodec, Inbound, InboundData, KeyClass, Provider, RawCallback, RecallRequest, Rejection, Target,
    VendorMessageId,
};

use super::{Failure, Outcome, Verdict, ensure, message, skipped};
use crate::world::World;

fn codec(provider: &dyn Provider) -> Result<&dyn CallbackCodec, Failure> {
    provider.callbacks().ok_or_else(|| Failure::new("the provider has no callbacks"))
}

fn decode(world: &dyn World, raw: RawCallback) -> Result<Vec<Inbound>, Failure> {
    let provider = world.provider();
    let codec = codec(&*provider)?;
    let verified = codec
        .verify(raw, world.now())
        .map_err(|refused| Failure::new(format!("the vendor's own callback was refused: {:?}", refused.rejection)))?;
    Ok(codec.decode(&verified))
}

/// Everything in the callbacks that came since the last look.
pub(super) async fn decoded(world: &dyn World) -> Result<Vec<Inbound>, Failure> {
    let mut items = Vec::new();
    for raw in world.callbacks().await {
        items.extend(decode(world, raw)?);
    }
    Ok(items)
}

/// Lets a user's client send texts and returns their ids, with the raw callbacks that came of them.
async fn texts(world: &dyn World, count: usize) -> Option<(Vec<VendorMessageId>, Vec<RawCallback>)> {
    let [alice, bob, _] = world.users();
    world.callbacks().await;
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(world.client_sends(&alice, &Target::Users(vec![bob.clone()]), &format!("text {n}")).await?);
    }
    Some((ids, world.callbacks().await))
}

fn messages(items: Vec<Inbound>) -> Vec<(VendorMessageId, Inbound)> {
    items
        .into_iter()
        .filter_map(|item| match &item.data {
            InboundData::Message(message) => Some((message.id.clone(), item)),
            _ => None,
        })
        .collect()
}

pub(super) async fn callbacks_come_out_once_and_in_order(world: &dyn World) -> Verdict {
    if world.provider().callbacks().is_none() {
        return skipped("it has no callbacks");
    }
    let Some((ids, raw)) = texts(world, 20).await else { return skipped("no client can act here") };
    let mut items = Vec::new();
    for one in raw {
        let some = messages(decode(world, one)?);
        // The sort key orders events of one millisecond only.
        let in_order =
            some.is_sorted_by(|(_, one), (_, other)| (one.sent_at, &one.sort_key) <= (other.sent_at, &other.sort_key));
        ensure!(in_order, "a batch came out in disorder");
        items.extend(some);
    }
    // The network may reorder requests; the sort key must put them right.
    items.sort_by(|one, other| (one.1.sent_at, &one.1.sort_key).cmp(&(other.1.sent_at, &other.1.sort_key)));
    let found: Vec<_> = items.iter().map(|(id, _)| id.clone()).collect();
    ensure!(found == ids, "sent {} messages, decoded {found:?}", ids.len());
    let keys: std::collections::BTreeSet<_> = items.iter().map(|(_, item)| item.key.clone()).collect();
    ensure!(keys.len() == ids.len(), "two messages share a key");
    Ok(Outcome::Passed)
}

pub(super) async fn a_wrong_signature_is_refused(world: &dyn World) -> Verdict {
    let provider = world.provider();
    let Ok(codec) = codec(&*provider) else { return skipped("it has no callbacks") };
    let Some((_, raw)) = texts(world, 1).await else { return skipped("no client can act here") };
    for one in raw {
        match codec.verify(world.with_flipped_signature(&one), world.now()) {
            Err(refused) if matches!(refused.rejection, Rejection::BadSignature) => {}
            Err(refused) => return Err(Failure::new(format!("refused for another reason: {:?}", refused.rejection))),
            Ok(_) => return Err(Failure::new("a wrong signature was believed")),
        }
    }
    Ok(Outcome::Passed)
}

pub(super) async fn nothing_unknown_is_lost(world: &dyn World) -> Verdict {
    if world.provider().callbacks().is_none() {
        return skipped("it has no callbacks");
    }
    let Some((_, raw)) = texts(world, 1).await else { return skipped("no client can act here") };
    for one in raw {
        let items = decode(world, world.with_unknown_field(&one, "invented_field", "kept-7f3a"))?;
        for (_, item) in messages(items) {
            let raw = String::from_utf8_lossy(&item.raw).into_owned();
            ensure!(raw.contains("invented_field") && raw.contains("kept-7f3a"), "an unknown field was lost");
        }
    }
    let invented = world.invented_callback();
    let items = decode(world, invented.clone())?;
    ensure!(!items.is_empty(), "a callback of an unknown kind was dropped");
    for item in items {
        ensure!(
            matches!(item.data, InboundData::Unrecognised(_)),
            "a callback of an unknown kind was taken for another: {:?}",
            item.key
        );
        let whole = item.raw.as_ref();
        ensure!(invented.body.windows(whole.len().max(1)).any(|part| part == whole), "its bytes were changed");
    }
    Ok(Outcome::Passed)
}

pub(super) async fn a_mark_comes_back_and_leaves_no_trace(world: &dyn World) -> Verdict {
    let provider = world.provider();
    if provider.callbacks().is_none() || !provider.messaging().limits().echoes {
        return skipped("it gives nothing back");
    }
    let [alice, bob, _] = world.users();
    world.callbacks().await;
    let mut marked = message(&alice, Target::Users(vec![bob]), Body::text("marked"));
    marked.mark = Some("1.mark-7f3a".to_owned());
    marked.ext.insert("order".to_owned(), json!({ "n": 1 }));
    provider.messaging().send(&marked).await?;
    let items = messages(decoded(world).await?);
    ensure!(!items.is_empty(), "the send never came back");
    for (_, item) in items {
        ensure!(item.mark.as_deref() == Some("1.mark-7f3a"), "the mark came back as {:?}", item.mark);
        if let InboundData::Message(back) = item.data {
            ensure!(back.ext == marked.ext, "the business's own fields came back changed");
        }
    }
    Ok(Outcome::Passed)
}

pub(super) async fn a_recall_has_one_key(world: &dyn World) -> Verdict {
    let provider = world.provider();
    if provider.callbacks().is_none() {
        return skipped("it has no callbacks");
    }
    let [alice, bob, _] = world.users();
    let Some((ids, _)) = texts(world, 2).await else { return skipped("no client can act here") };
    if !world.client_recalls(&alice, &ids[0]).await {
        return skipped("no client can recall here");
    }
    let target = Target::Users(vec![bob]);
    let request = RecallRequest { id: ids[1].clone(), from: alice, target, sent_at: world.now() };
    provider.messaging().recall(&request).await?;
    let recalls: Vec<Inbound> =
        decoded(world).await?.into_iter().filter(|item| matches!(item.data, InboundData::Recall { .. })).collect();
    ensure!(recalls.iter().any(|item| item.key.id == ids[0].as_str()), "the client's recall never came");
    for item in recalls {
        ensure!(item.key.class == KeyClass::Recall, "a recall is keyed as {:?}", item.key.class);
        ensure!(ids.iter().any(|id| id.as_str() == item.key.id), "a recall is not keyed by the recalled message");
    }
    if let Some(all) = world.accepted().await {
        ensure!(all.iter().filter(|one| ids.contains(&one.id)).all(|one| one.recalled), "a message was not withdrawn");
    }
    Ok(Outcome::Passed)
}
