//! Users and groups.

use std::collections::BTreeSet;

use switchboard_contract::{
    ConversationKind, ErrorKind, GroupRef, NewGroup, PresenceState, UserProfile, VendorGroupId, VendorUserId,
};

use super::{Outcome, Verdict, ensure, skipped};
use crate::world::World;

pub(super) async fn users_are_made_once(world: &dyn World) -> Verdict {
    let provider = world.provider();
    let Some(users) = provider.users() else { return skipped("it has no users") };
    let new = VendorUserId::from("dora");
    for _ in 0..2 {
        users.ensure(&new, &UserProfile { name: Some("Dora".to_owned()), avatar: None }).await?;
    }
    let token = users.login_token(&new, &UserProfile::default()).await?;
    ensure!(!token.token.is_empty(), "the login token is empty");
    ensure!(!format!("{token:?}").contains(&token.token), "the token shows in Debug");
    let asked = [VendorUserId::from("nobody-of-that-name"), new.clone()];
    let states = users.presence(&asked).await?;
    ensure!(states.len() == asked.len(), "asked for {} users, told of {}", asked.len(), states.len());
    ensure!(states.iter().all(|state| *state == PresenceState::Offline), "somebody who never logged in is {states:?}");
    if !users.limits().kick {
        match users.kick(&new).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            other => ensure!(false, "a kick it does not have ends as {other:?}"),
        }
    }
    if !users.limits().offline_count {
        match users.offline_count(&new).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            other => ensure!(false, "a count it does not have ends as {other:?}"),
        }
    }
    match users.push(&new, "suite", "{}").await {
        Ok(shown) => {
            ensure!(users.limits().push && shown == 0, "{shown} devices of somebody offline were shown a push")
        }
        Err(error) if error.kind() == ErrorKind::Unsupported && !users.limits().push => {}
        other => ensure!(false, "a push ends as {other:?}"),
    }
    Ok(Outcome::Passed)
}

pub(super) async fn groups_hold_their_members(world: &dyn World) -> Verdict {
    let provider = world.provider();
    let Some(groups) = provider.groups() else { return skipped("it has no groups") };
    let [alice, bob, carol] = world.users();
    let id = groups.limits().business_ids.then(|| VendorGroupId::from("suite-group"));
    let new = NewGroup { id, room: false, name: "suite".to_owned(), owner: alice.clone(), members: vec![bob.clone()] };
    let made = GroupRef { id: groups.create(&new).await?, room: false };
    for _ in 0..2 {
        groups.add_members(&made, std::slice::from_ref(&carol)).await?;
    }
    let members: BTreeSet<_> = groups.members(&made).await?.into_iter().collect();
    ensure!(members == BTreeSet::from([alice.clone(), bob.clone(), carol]), "the members are {members:?}");
    for _ in 0..2 {
        groups.remove_members(&made, std::slice::from_ref(&bob)).await?;
    }
    ensure!(!groups.members(&made).await?.contains(&bob), "a removed member is still there");
    let kinds = (groups.kind_of(&made.id).await?, groups.kind_of(&world.room()).await?);
    ensure!(
        kinds == (Some(ConversationKind::Group), Some(ConversationKind::Room)),
        "a group and a room are told apart as {kinds:?}"
    );
    groups.dissolve(&made, &alice).await?;
    Ok(Outcome::Passed)
}
