//! Receipts that came before their message was known to be a send's: taken once it is, by whatever told.

use std::sync::atomic::Ordering;

use switchboard_contract::storage::{BoundReceipt, ChangeOutcome, Commit};
use switchboard_contract::{ReceiptKind, Result, SendState};

use super::Dispatcher;
use crate::sending::step::Step;

/// Receipts taken at once.
const PAGE: usize = 256;
/// Receipts of one tenant that wait for their message; of more, the oldest are forgotten.
const KEPT: u32 = 10_000;

impl Dispatcher {
    /// Moves the sends on whose receipts were there before them.
    pub(super) async fn take_receipts(&mut self) {
        if !self.receipts_due || self.store_is_down(self.ctx.clock.now()) {
            return;
        }
        self.receipts_due = false;
        if let Err(error) = self.try_take_receipts().await {
            self.receipts_due = true;
            self.store_failed("take_receipts", &error);
        }
    }

    async fn try_take_receipts(&mut self) -> Result<()> {
        loop {
            let page = self.ctx.store.early_receipts(&self.post.app, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            for receipt in &page {
                self.take_receipt(receipt).await?;
            }
            self.forget_receipts(page.iter().map(|receipt| receipt.id).collect()).await?;
        }
    }

    async fn take_receipt(&self, receipt: &BoundReceipt) -> Result<()> {
        let to = match receipt.kind {
            ReceiptKind::Delivered => SendState::Delivered,
            ReceiptKind::Read => SendState::Read,
        };
        loop {
            let leg = self.ctx.store.leg(&receipt.tenant, receipt.message_id).await?;
            // Others may have told before, and more than this.
            let Some(leg) = leg.filter(|leg| leg.state.may_become(to)) else { return Ok(()) };
            let change = Step::received(&leg, to).status_only(&leg, self.ctx.clock.now());
            let commit = Commit { changes: vec![change], ..Commit::default() };
            match self.ctx.store.commit(commit).await?.changes.first() {
                Some(ChangeOutcome::Applied(_)) => {
                    self.metrics.state(to);
                    return Ok(());
                }
                // Somebody was faster: it is looked at again.
                Some(ChangeOutcome::Stale(_)) => {}
                Some(ChangeOutcome::Unknown) | None => return Ok(()),
            }
        }
    }

    /// Now and then: looks for what no hint told of, and forgets what nothing will come of.
    pub(super) async fn rescan_receipts(&mut self) -> Result<()> {
        self.receipts_due = true;
        if self.post.early.load(Ordering::Relaxed) && self.forget_receipts(Vec::new()).await? == 0 {
            self.post.early.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn forget_receipts(&self, ids: Vec<u64>) -> Result<u64> {
        let before = self.ctx.clock.now() - self.ctx.config.in_doubt_limit;
        self.ctx.store.forget_receipts(&self.post.app, ids, before, KEPT).await
    }
}
