//! The providers of a running engine, and which of them carries what.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use switchboard_contract::{
    App, Capabilities, ConversationKind, Error, ErrorKind, Provider, ProviderId, Result, TenantId, Timestamp,
};

use super::{Inner, no_route};
use crate::catchup::ProviderState;
use crate::config::RoutingConfig;
use crate::recovery::AppHealth;

/// A provider that runs.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) tenant: TenantId,
    pub(super) receive_only: bool,
    pub(super) provider: Arc<dyn Provider>,
}

/// A provider as the API and the CLI show it.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderView {
    /// Its alias in the configuration.
    pub alias: ProviderId,
    /// The vendor family.
    pub kind: String,
    /// The vendor's key of the app.
    pub app: String,
    /// The tenant it serves.
    pub tenant: TenantId,
    /// Nothing new is sent through it.
    pub receive_only: bool,
    /// `catching_up` while what was missed is fetched, then `online`.
    pub state: ProviderState,
    /// Whether it can be reached. While it cannot, nothing is sent and no message's attempts are spent.
    pub breaker: AppHealth,
    /// Since when its callbacks have not come though they should, milliseconds since the epoch; missing while they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Timestamp>,
    /// Sends that wait for it.
    pub open_sends: u64,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Providers {
    by_alias: BTreeMap<ProviderId, Registered>,
    routing: RoutingConfig,
}

impl Providers {
    pub(super) fn new(by_alias: BTreeMap<ProviderId, Registered>, routing: RoutingConfig) -> Self {
        Self { by_alias, routing }
    }

    pub(super) fn get(&self, alias: &ProviderId) -> Result<Arc<dyn Provider>> {
        self.by_alias
            .get(alias)
            .map(|registered| registered.provider.clone())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no provider {alias}")))
    }

    pub(super) fn of_tenant(&self, tenant: &TenantId, alias: Option<&ProviderId>) -> Result<Arc<dyn Provider>> {
        let found = match alias {
            Some(alias) => self.by_alias.get(alias).filter(|one| one.tenant == *tenant),
            None => {
                let app = self.route(tenant, ConversationKind::Direct)?;
                self.by_alias.values().find(|one| *one.provider.app() == app)
            }
        };
        found.map(|one| one.provider.clone()).ok_or_else(|| Error::new(ErrorKind::NotFound, "no such provider"))
    }

    /// The app that carries new sends of this tenant and kind of conversation.
    pub(super) fn route(&self, tenant: &TenantId, kind: ConversationKind) -> Result<App> {
        let serves =
            |alias: &ProviderId| self.by_alias.get(alias).filter(|one| one.tenant == *tenant && !one.receive_only);
        let by_rule = self.routing.rules.iter().filter(|rule| {
            rule.tenant.as_ref().is_none_or(|wanted| wanted == tenant)
                && rule.conversation.is_none_or(|wanted| wanted == kind)
        });
        by_rule
            .map(|rule| &rule.provider)
            .chain(&self.routing.default)
            .find_map(serves)
            .or_else(|| self.only_one(tenant))
            .map(|registered| registered.provider.app().clone())
            .ok_or_else(|| no_route(tenant))
    }

    /// Without a rule that fits, a tenant's only sending provider is the one.
    fn only_one(&self, tenant: &TenantId) -> Option<&Registered> {
        let mut candidates = self.by_alias.values().filter(|one| one.tenant == *tenant && !one.receive_only);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProviderId, &Registered)> {
        self.by_alias.iter()
    }

    pub(super) async fn views(&self, inner: &Inner) -> Result<Vec<ProviderView>> {
        let mut views = Vec::with_capacity(self.by_alias.len());
        for (alias, registered) in &self.by_alias {
            let app = registered.provider.app();
            views.push(ProviderView {
                alias: alias.clone(),
                kind: app.kind.as_str().to_owned(),
                app: app.key.as_str().to_owned(),
                tenant: registered.tenant.clone(),
                receive_only: registered.receive_only,
                state: inner.catchup.state(alias).unwrap_or(ProviderState::CatchingUp),
                breaker: inner.sending.health(app).map(|health| *health.borrow()).unwrap_or_default(),
                silent_since: inner.silence.silent_since(alias),
                open_sends: inner.store.open_count(app).await?,
                capabilities: registered.provider.capabilities(),
            });
        }
        Ok(views)
    }
}
