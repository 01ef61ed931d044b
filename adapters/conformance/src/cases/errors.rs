//! Credentials, and what a provider makes of answers that are none.

use switchboard_contract::{Body, ErrorKind, OutboundMessage, Retry, Target};

use super::{Failure, Outcome, Verdict, ensure, message, skipped};
use crate::world::{Fault, World};

pub(super) async fn probe_accepts_good_credentials(world: &dyn World) -> Verdict {
    world.provider().probe().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn probe_refuses_wrong_credentials(world: &dyn World) -> Verdict {
    let Some(stranger) = world.stranger() else { return skipped("no stranger here") };
    match stranger.probe().await {
        Ok(()) => Err(Failure::new("wrong credentials were found good")),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Unauthorized, "wrong credentials are {:?}", error.kind());
            ensure!(error.retry() == Retry::Never, "wrong credentials may be tried again: {:?}", error.retry());
            Ok(Outcome::Passed)
        }
    }
}

fn hello(world: &dyn World) -> OutboundMessage {
    let [alice, bob, _] = world.users();
    message(&alice, Target::Users(vec![bob]), Body::text("hello"))
}

pub(super) async fn a_lost_answer_is_not_repeated(world: &dyn World) -> Verdict {
    let before = world.accepted().await.map(|all| all.len());
    if !world.break_next(Fault::LostAnswer).await {
        return skipped("answers cannot be lost here");
    }
    let Err(error) = world.provider().messaging().send(&hello(world)).await else {
        return Err(Failure::new("a send without an answer was repeated, or reported as accepted"));
    };
    ensure!(error.retry() == Retry::OutcomeUnknown, "a send without an answer is {:?}", error.retry());
    if let (Some(before), Some(after)) = (before, world.accepted().await) {
        ensure!(after.len() == before + 1, "one attempt was accepted {} times", after.len() - before);
    }
    Ok(Outcome::Passed)
}

pub(super) async fn a_rate_limit_may_be_tried_again(world: &dyn World) -> Verdict {
    if !world.break_next(Fault::RateLimited).await {
        return skipped("rates cannot be limited here");
    }
    match world.provider().messaging().send(&hello(world)).await {
        // A provider may wait inside the call.
        Ok(_) => Ok(Outcome::Passed),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::RateLimited, "a rate limit is {:?}", error.kind());
            ensure!(matches!(error.retry(), Retry::Safe { .. }), "a rate limit is {:?}", error.retry());
            Ok(Outcome::Passed)
        }
    }
}

pub(super) async fn a_page_of_html_means_unavailable(world: &dyn World) -> Verdict {
    if !world.break_next(Fault::HtmlPage).await {
        return skipped("no proxy stands here");
    }
    match world.provider().messaging().send(&hello(world)).await {
        Ok(_) => Err(Failure::new("a page of HTML was taken for an answer, or the send was repeated")),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Unavailable, "a page of HTML is {:?}", error.kind());
            ensure!(error.retry() != Retry::Never, "a page of HTML ends the matter: {:?}", error.retry());
            Ok(Outcome::Passed)
        }
    }
}

pub(super) async fn an_expired_token_is_renewed(world: &dyn World) -> Verdict {
    world.provider().messaging().send(&hello(world)).await?;
    if !world.break_next(Fault::ExpiredToken).await {
        return skipped("this provider has no tokens");
    }
    world.provider().messaging().send(&hello(world)).await?;
    Ok(Outcome::Passed)
}
