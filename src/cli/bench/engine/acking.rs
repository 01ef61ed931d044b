//! A subscriber that acknowledges everything it is given, page by page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switchboard_contract::Result;
use tokio::task::JoinSet;

use crate::cli::bench::measure::failed;
use crate::hub::Subscription;

/// Takes and acknowledges until `most` were given or the subscription ends, and returns when every acknowledgement is
/// durable. `acknowledged` counts those that are.
pub(in crate::cli::bench) async fn acknowledge(
    mut subscription: Subscription,
    acknowledged: Arc<AtomicU64>,
    most: u64,
) -> Result<()> {
    let (mut given, mut tasks) = (0, JoinSet::<Result<()>>::new());
    let ended = failed("an acknowledgement ended badly");
    while given < most
        && let Some(page) = subscription.next_page().await
    {
        given += page.len() as u64;
        for entry in page.entries() {
            std::hint::black_box(&entry.json);
        }
        let acknowledged = Arc::clone(&acknowledged);
        // The next page does not wait for the disk; the subscriber's own bound keeps these few.
        tasks.spawn(async move {
            let outcome = page.ack().await?;
            acknowledged.fetch_add(outcome.done as u64, Ordering::Relaxed);
            Ok(())
        });
        while let Some(done) = tasks.try_join_next() {
            done.map_err(&ended)??;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(&ended)??;
    }
    Ok(())
}
