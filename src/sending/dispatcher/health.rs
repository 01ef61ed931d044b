//! What subscribers hear of an app that cannot be reached, and of one that can again.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_contract::Topic;

use super::Dispatcher;
use super::calls::Done;
use crate::notices::Notices;
use crate::recovery::AppHealth;

/// Pauses in a row from which on an app counts as not reachable: one alone is a hiccup.
const TRIPS: u32 = 2;

impl Dispatcher {
    /// Tells the tenants of the app when it stops being reachable, and when it is again.
    pub(super) fn tell(&mut self, health: &AppHealth) {
        match (self.told_paused, health.since) {
            (None, Some(since)) if health.trips >= TRIPS => {
                self.told_paused = Some(since);
                let reason = health.reason.map(switchboard_contract::ErrorKind::as_str);
                let detail = json!({ "since": since, "reason": reason });
                self.announce("provider_paused", &since.0.to_string(), &detail);
            }
            (Some(since), None) => {
                self.told_paused = None;
                let away: Duration = self.ctx.clock.now().since(since);
                tracing::info!(provider = %self.alias, op = "resume", away_ms = away.as_millis() as u64, "the app is back");
                let detail = json!({ "since": since, "away_ms": away.as_millis() as u64 });
                self.announce("provider_resumed", &since.0.to_string(), &detail);
            }
            _ => {}
        }
    }

    fn announce(&mut self, kind: &'static str, which: &str, detail: &Value) {
        let tenants = self.post.setup.lock().tenants.clone();
        for (tenant, (alias, _)) in tenants {
            let app = self.post.app.clone();
            let notices = Notices::new(
                tenant,
                alias,
                app,
                std::sync::Arc::clone(&self.ctx.store),
                std::sync::Arc::clone(&self.ctx.clock),
            );
            let (which, detail) = (which.to_owned(), detail.clone());
            self.tasks.spawn(async move {
                notices.tell(Topic::ProviderHealth, kind, &which, detail).await;
                Done::Told
            });
        }
    }
}
