//! Sending: accepted once, to the right place, whole, or refused.

use std::collections::BTreeSet;

use serde_json::json;
use switchboard_contract::{
    Body, Command, ConversationKind, Custom, ErrorKind, InboundData, Location, Media, OutboundMessage, Target,
    VendorKind,
};

use super::callbacks::decoded;
use super::{Failure, Outcome, Verdict, ensure, group, message, skipped};
use crate::world::World;

pub(super) async fn sends_are_accepted_once_and_acknowledged_for_each_recipient(world: &dyn World) -> Verdict {
    let [alice, bob, carol] = world.users();
    let before = world.accepted().await.map_or(0, |all| all.len());
    let to = vec![bob.clone(), carol.clone()];
    let sent = world.provider().messaging().send(&message(&alice, Target::Users(to), Body::text("hi"))).await?;
    let named: BTreeSet<_> = sent.iter().filter_map(|one| one.user.clone()).collect();
    ensure!(sent.len() == 2, "two recipients, {} acknowledgements", sent.len());
    ensure!(named == BTreeSet::from([bob, carol]), "the acknowledgements name {named:?}");
    let ids: BTreeSet<_> = sent.iter().filter_map(|one| one.id.clone()).collect();
    ensure!(ids.is_empty() || ids.len() == 2, "two messages share an id");
    let Some(all) = world.accepted().await else { return Ok(Outcome::Passed) };
    let new = &all[before..];
    ensure!(new.len() == 2, "two recipients, {} messages accepted", new.len());
    for id in &ids {
        ensure!(new.iter().any(|one| one.id == *id), "the vendor never gave out the id {id}");
    }
    Ok(Outcome::Passed)
}

pub(super) async fn groups_and_rooms_are_not_confused(world: &dyn World) -> Verdict {
    let [alice, ..] = world.users();
    let provider = world.provider();
    let places = [
        (ConversationKind::Group, group(world), world.group()),
        (ConversationKind::Room, Target::Room { room: world.room() }, world.room()),
    ];
    let mut sent = Vec::new();
    for (kind, target, id) in places {
        if provider.messaging().limits().targets.contains(&kind) {
            provider.messaging().send(&message(&alice, target, Body::text("here"))).await?;
            sent.push((kind, id));
        }
    }
    if sent.is_empty() {
        return skipped("it sends neither to groups nor to rooms");
    }
    let Some(all) = world.accepted().await else { return skipped("what was accepted cannot be seen") };
    for ((kind, id), accepted) in sent.iter().zip(&all[all.len() - sent.len()..]) {
        ensure!(accepted.kind == *kind, "sent to a {}, accepted in a {}", kind.as_str(), accepted.kind.as_str());
        ensure!(accepted.target == id.as_str(), "sent to {id}, accepted in {}", accepted.target);
    }
    Ok(Outcome::Passed)
}

/// One body of every kind that a caller can build without an upload.
fn samples(vendor: &VendorKind) -> Vec<Body> {
    let url = || Some("https://files.example.test/7f3a".to_owned());
    let media = |format: &str| Media { url: url(), name: Some(format!("a.{format}")), ..Media::default() };
    let _ = vendor;
    vec![
        Body::text("text with \"quotes\", 中文 and 🦀"),
        Body::text("long ".repeat(500)),
        Body::Image(media("png")),
        Body::Audio(Media { duration: Some(7), ..media("aac") }),
        Body::Video(Media { duration: Some(8), ..media("mp4") }),
        Body::File(media("pdf")),
        Body::Location(Location {
            latitude: 39.9042,
            longitude: 116.4074,
            address: Some("here".to_owned()),
            map: None,
        }),
        Body::Command(Command { name: "refresh".to_owned(), data: None, notice: false }),
        Body::Custom(Custom { name: "order".to_owned(), data: json!({ "number": "7781" }) }),
    ]
}

pub(super) async fn bodies_arrive_whole(world: &dyn World) -> Verdict {
    let [alice, bob, _] = world.users();
    let provider = world.provider();
    let limits = provider.messaging().limits();
    if provider.callbacks().is_none() || !limits.echoes {
        return skipped("it gives nothing back to compare with");
    }
    world.callbacks().await;
    for body in samples(&provider.app().kind) {
        let message = message(&alice, Target::Users(vec![bob.clone()]), body.clone());
        if !limits.bodies.contains(&body.kind()) || provider.messaging().check(&message).is_err() {
            continue;
        }
        provider.messaging().send(&message).await?;
        let back = decoded(world).await?.into_iter().find_map(|item| match item.data {
            InboundData::Message(message) => Some(message.body),
            _ => None,
        });
        let Some(back) = back else { return Err(Failure::new(format!("a {} never came back", body.kind()))) };
        let texts = (serde_json::to_string(&body), serde_json::to_string(&back));
        ensure!(
            matches!(&texts, (Ok(sent), Ok(back)) if sent == back),
            "a {} came back as another: {texts:?}",
            body.kind()
        );
    }
    Ok(Outcome::Passed)
}

pub(super) async fn what_cannot_be_carried_is_refused_unsent(world: &dyn World) -> Verdict {
    let [alice, bob, _] = world.users();
    let provider = world.provider();
    let limits = provider.messaging().limits();
    let before = world.accepted().await.map(|all| all.len());
    let foreign = Body::Native(switchboard_contract::Native {
        vendor: VendorKind::from("another-vendor"),
        kind: "x".to_owned(),
        content: json!({}),
    });
    let to_bob = || Target::Users(vec![bob.clone()]);
    let crowd: Vec<_> = (0..=limits.max_users).map(|n| format!("user{n}").as_str().into()).collect();
    let cases: [(&str, OutboundMessage, &[ErrorKind]); 4] = [
        ("another vendor's body", message(&alice, to_bob(), foreign), &[ErrorKind::Unsupported]),
        (
            "an unrecognised body",
            message(&alice, to_bob(), Body::Unrecognised(switchboard_contract::Unrecognised::default())),
            &[ErrorKind::Unsupported],
        ),
        (
            "too large a body",
            message(&alice, to_bob(), Body::text("x".repeat(limits.max_bytes as usize + 1))),
            &[ErrorKind::TooLarge],
        ),
        (
            "too many recipients",
            message(&alice, Target::Users(crowd), Body::text("hi")),
            &[ErrorKind::InvalidInput, ErrorKind::TooLarge],
        ),
    ];
    for (what, message, kinds) in cases {
        for checked in [provider.messaging().check(&message), provider.messaging().send(&message).await.map(drop)] {
            match checked {
                Ok(()) => return Err(Failure::new(format!("{what} was let through"))),
                Err(error) => ensure!(kinds.contains(&error.kind()), "{what} is {:?}", error.kind()),
            }
        }
    }
    ensure!(world.accepted().await.map(|all| all.len()) == before, "something refused was sent all the same");
    Ok(Outcome::Passed)
}
