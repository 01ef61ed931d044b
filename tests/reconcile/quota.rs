//! The vendor's quota of file calls, whoever makes them.

use std::time::Duration;

use switchboard::{ConversationId, HistorySpan, Tier};
use switchboard_contract::{Clock, HistoryFile, ProviderId, TenantId, UserId};

use crate::stage::{HOUR, START, Stage, Vendor};

/// The bar: the reconciler by itself, calls for reconciliation, pulls of history and searches for evidence all at once
/// never make more file calls in any minute of the vendor's than it admits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_calls_of_all_who_make_them_stay_within_the_vendors_quota() {
    for (vendor, path) in [(Vendor::Huanxin, "/chatmessages/"), (Vendor::RongCloud, "/message/history")] {
        let stage = Stage::new(vendor, 1).await;
        stage.log_in(&["ann", "bob"]);
        let run = stage.run().await;
        for number in 0..40 {
            stage.say("ann", "bob", &format!("message {number}")).await;
            stage.quiet(&run).await;
            stage.advance(HOUR / 2);
        }
        // Nobody was there for ten hours: the reconciler has many hours to look at.
        run.stop().await;
        stage.advance(10 * HOUR);
        let run = stage.run().await;
        let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
        let (reconciler, now) = (run.switchboard.reconciler().clone(), stage.clock.now());
        let asked = (0..4_u32).map(|number| {
            let (reconciler, tenant, alias) = (reconciler.clone(), tenant.clone(), alias.clone());
            async move { reconciler.reconcile(&tenant, &alias, START + number * HOUR, now, true).await.unwrap() }
        });
        let conversation = ConversationId::direct(&UserId::from("ann"), &UserId::from("bob"));
        let span = HistorySpan { tier: Some(Tier::Recent), ..HistorySpan::default() };
        let acting = run.switchboard.tenant(tenant.clone());
        let pulls = (0..2).map(|_| acting.pull_history(&conversation, span, None));
        // As a search for evidence does.
        let provider = run.switchboard.provider(&alias).unwrap();
        let searches = (0..15_u32).map(|number| {
            let provider = provider.clone();
            async move { provider.history_files().unwrap().fetch(START + number * HOUR).await.unwrap() }
        });
        let all = async {
            futures::join!(
                futures::future::join_all(asked),
                futures::future::join_all(pulls),
                futures::future::join_all(searches),
                run.switchboard.reconciler().settled(),
            )
        };
        let (_, _, found, ()) = stage.drive(all).await;
        assert!(found.iter().any(|file| matches!(file, HistoryFile::Ready(_))), "{vendor:?}");
        let mut calls: Vec<i64> = stage
            .ledger()
            .requests()
            .into_iter()
            .filter(|request| request.path.contains(path))
            .map(|request| request.time_ms)
            .collect();
        calls.sort_unstable();
        assert!(calls.len() > 60, "{vendor:?}: only {} file calls", calls.len());
        let quota = provider.history_files().unwrap().limits().quota;
        if vendor == Vendor::Huanxin {
            assert_eq!((quota.calls, quota.per), (Some(10), Duration::from_secs(60)));
        }
        let (most, per) = (quota.calls.unwrap() as usize, quota.per.as_millis() as i64);
        for (first, more) in calls.iter().zip(calls.iter().skip(most)) {
            assert!(more - first >= per, "{vendor:?}: more than {most} file calls within {} ms", more - first);
        }
        assert_eq!(stage.rate_errors(), 0, "{vendor:?}");
        let took = Duration::from_millis((calls[calls.len() - 1] - calls[0]).unsigned_abs());
        println!("{vendor:?}: {} file calls in {took:?}", calls.len());
        run.stop().await;
    }
}
