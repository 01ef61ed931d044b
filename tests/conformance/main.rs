//! The conformance suite against both vendors' emulators and our own service, and the mutants that it must catch.

#![cfg(feature = "emulators")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod capture;
mod huanxin_world;
mod remote_world;
mod rongcloud_world;
mod selfhosted_world;

use std::sync::Arc;

use switchboard_conformance::{MUTATIONS, Mutant, Mutation, Outcome, World, run};
use switchboard_contract::Provider;

/// How a world wraps the provider on trial.
type Twist = Option<Mutation>;

fn twisted(provider: Arc<dyn Provider>, twist: Twist) -> Arc<dyn Provider> {
    match twist {
        Some(mutation) => Arc::new(Mutant::new(provider, mutation)),
        None => provider,
    }
}

mod huanxin {
    use super::*;

    async fn world() -> Box<dyn World> {
        Box::new(huanxin_world::HuanxinWorld::start(None).await)
    }

    switchboard_conformance::provider_suite!(tokio::test, world);

    #[tokio::test]
    async fn every_mutant_is_caught() {
        for (mutation, case) in MUTATIONS {
            let world = huanxin_world::HuanxinWorld::start(Some(*mutation)).await;
            must_fail(*mutation, case, &world).await;
        }
    }
}

mod rongcloud {
    use super::*;

    async fn world() -> Box<dyn World> {
        Box::new(rongcloud_world::RongCloudWorld::start(None).await)
    }

    switchboard_conformance::provider_suite!(tokio::test, world);

    #[tokio::test]
    async fn every_mutant_is_caught() {
        for (mutation, case) in MUTATIONS {
            let world = rongcloud_world::RongCloudWorld::start(Some(*mutation)).await;
            must_fail(*mutation, case, &world).await;
        }
    }
}

mod selfhosted {
    use super::*;

    async fn world() -> Box<dyn World> {
        Box::new(selfhosted_world::SelfHostedWorld::start(None).await)
    }

    switchboard_conformance::provider_suite!(tokio::test, world);

    #[tokio::test]
    async fn every_mutant_is_caught() {
        // Those that need a network to break have no place in one process.
        let elsewhere = [
            Mutation::ResendsAfterAnUnknownOutcome,
            Mutation::TreatsARateLimitAsPermanent,
            Mutation::TreatsAnHtmlErrorPageAsABadBody,
        ];
        for (mutation, case) in MUTATIONS.iter().filter(|(mutation, _)| !elsewhere.contains(mutation)) {
            let world = selfhosted_world::SelfHostedWorld::start(Some(*mutation)).await;
            must_fail(*mutation, case, &world).await;
        }
    }
}

/// The same service in another process, as far as the network between is concerned.
mod selfhosted_remote {
    use super::*;

    async fn world() -> Box<dyn World> {
        Box::new(remote_world::RemoteWorld::start(None).await)
    }

    switchboard_conformance::provider_suite!(tokio::test, world);

    #[tokio::test]
    async fn every_mutant_is_caught() {
        for (mutation, case) in MUTATIONS {
            let world = remote_world::RemoteWorld::start(Some(*mutation)).await;
            must_fail(*mutation, case, &world).await;
        }
    }
}

async fn must_fail(mutation: Mutation, case: &str, world: &dyn World) {
    match run(case, world).await {
        Err(failure) => println!("{mutation:?} caught: {failure}"),
        Ok(Outcome::Passed) => panic!("{mutation:?} went through {case}"),
        Ok(Outcome::Skipped(reason)) => panic!("{mutation:?} was never tried: {reason}"),
    }
}
