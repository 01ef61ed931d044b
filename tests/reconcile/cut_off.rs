//! A run that ends in the middle of a file: what it had journalled is counted by the next one, exactly.

use std::time::Duration;

use switchboard::reconcile::ReconcileConfig;
use switchboard_contract::{Clock, ProviderId, TenantId};
use switchboard_emulators::{Faults, common::CallbackFaults};

use crate::gated::Gate;
use crate::stage::{HOUR, START, Stage, Vendor};

const MESSAGES: u32 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i05_a_reading_that_was_cut_off_is_counted_exactly() {
    for vendor in [Vendor::Huanxin, Vendor::RongCloud] {
        let gate = Gate::new(25);
        let mut stage = Stage::without_queries(vendor).await;
        stage.gate = Some(gate.clone());
        let config = ReconcileConfig { batch_lines: 10, ..ReconcileConfig::default() };
        let run = stage.run_with(config.clone()).await;
        stage.log_in(&["ann", "bob"]);
        let callbacks = CallbackFaults { drop: 1.0, ..CallbackFaults::default() };
        stage.set_faults(Faults { callbacks, ..Faults::default() });
        for number in 0..MESSAGES {
            stage.say("ann", "bob", &format!("unheard {number}")).await;
            stage.advance(HOUR / MESSAGES);
        }
        stage.advance(HOUR + HOUR / 2);
        let half = async {
            while run.messages().await.len() < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        stage.drive(half).await;
        assert_eq!(run.messages().await.len(), 20, "{vendor:?}: two batches of ten, and the third is held up");
        let hole = run.coverage_between(START, START + HOUR).await.holes.remove(0);
        assert_eq!(hole.reason, "cut_off", "{vendor:?}: until it is over, the hour counts as never read");
        run.stop().await;
        gate.open();

        let run = stage.run_with(config).await;
        stage.pass(&run, 36).await;
        assert_eq!(run.messages().await.len(), MESSAGES as usize, "{vendor:?}");
        let coverage = run.coverage_between(START, START + HOUR).await;
        assert_eq!((coverage.percent, coverage.repaired), (100.0, u64::from(MESSAGES)), "{vendor:?}: {coverage:?}");
        let told = run.notices("repair_happened").await;
        let told: u64 = told.iter().map(|notice| notice["repaired"].as_u64().unwrap()).sum();
        assert_eq!(told, u64::from(MESSAGES), "{vendor:?}: the repairs told add up over both runs");
        let (tenant, alias) = (TenantId::default(), ProviderId::from("main"));
        let again = run.switchboard.reconciler().reconcile(&tenant, &alias, START, stage.clock.now(), true);
        assert_eq!(stage.drive(again).await.unwrap().repaired, 0, "{vendor:?}");
        run.stop().await;
    }
}
