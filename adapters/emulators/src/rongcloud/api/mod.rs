//! The Server API: one table of endpoints, each a plain function over the app's memory.

mod block;
mod broadcast;
mod chatroom;
mod chatroom_entry;
mod chatroom_mute;
mod conversation;
mod edit;
mod expansion;
mod group;
mod group_mute;
mod history;
mod profile;
mod publish;
mod push;
mod query;
mod recall;
mod relation;
mod template;
mod ultra_group;
mod user;
mod words;

use std::{collections::HashMap, sync::OnceLock};

use super::{
    form::{BodyKind, Params},
    quota::Quota,
    reply::{Answer, Refusal},
    state::Core,
};
use crate::common::HistoryFaults;

pub(crate) use conversation::on_top;
pub(crate) use edit::edit;
pub(crate) use recall::{Withdrawal, withdraw};

/// One request as an endpoint sees it.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) params: &'a Params,
    pub(crate) now_ms: i64,
    /// Address the request came to, for download links.
    pub(crate) base_url: &'a str,
    pub(crate) history_faults: &'a HistoryFaults,
}

impl Call<'_> {
    /// Takes permits from quotas.
    fn charge(&mut self, wants: &[(&str, Quota)], cost: usize) -> Result<(), Refusal> {
        self.core.charge(wants, cost, self.now_ms)
    }
}

/// An endpoint of the Server API.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    path: &'static str,
    /// Encoding of the request.
    pub(crate) body: BodyKind,
    /// Charges its own quota instead of the general one.
    own_quota: bool,
    /// May be called without any parameter.
    may_be_empty: bool,
    /// Belongs to the REST-style generation with its own success code.
    pub(crate) v2: bool,
    run: fn(&mut Call<'_>) -> Answer,
}

impl Endpoint {
    const fn form(path: &'static str, run: fn(&mut Call<'_>) -> Answer) -> Self {
        Self { path, body: BodyKind::Form, own_quota: false, may_be_empty: false, v2: false, run }
    }

    const fn json(path: &'static str, run: fn(&mut Call<'_>) -> Answer) -> Self {
        Self { path, body: BodyKind::Json, own_quota: false, may_be_empty: false, v2: false, run }
    }

    const fn own_quota(self) -> Self {
        Self { own_quota: true, ..self }
    }

    const fn may_be_empty(self) -> Self {
        Self { may_be_empty: true, ..self }
    }

    const fn v2(self) -> Self {
        Self { v2: true, ..self }
    }

    /// Runs the call.
    ///
    /// # Errors
    /// The vendor's refusal.
    pub(crate) fn call(&self, call: &mut Call<'_>) -> Answer {
        if call.params.is_empty() && !self.may_be_empty {
            return Err(Refusal::empty_post());
        }
        if !self.own_quota {
            let general = Quota::per_second(call.core.settings.quotas.general_per_second);
            call.charge(&[(self.path, general)], 1)?;
        }
        (self.run)(call)
    }
}

/// The endpoint at a path.
pub(crate) fn find(path: &str) -> Option<&'static Endpoint> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Endpoint>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let endpoints = MODULES.iter().copied().flatten();
        endpoints.map(|endpoint| (endpoint.path, endpoint)).collect()
    });
    table.get(path).copied()
}

const MODULES: &[&[Endpoint]] = &[
    block::ENDPOINTS,
    broadcast::ENDPOINTS,
    chatroom::ENDPOINTS,
    chatroom_entry::ENDPOINTS,
    chatroom_mute::ENDPOINTS,
    conversation::ENDPOINTS,
    edit::ENDPOINTS,
    expansion::ENDPOINTS,
    group::ENDPOINTS,
    group_mute::ENDPOINTS,
    history::ENDPOINTS,
    profile::ENDPOINTS,
    publish::ENDPOINTS,
    push::ENDPOINTS,
    query::ENDPOINTS,
    recall::ENDPOINTS,
    relation::ENDPOINTS,
    template::ENDPOINTS,
    ultra_group::ENDPOINTS,
    user::ENDPOINTS,
    words::ENDPOINTS,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MODULES, find};

    #[test]
    fn every_path_is_served_by_exactly_one_endpoint() {
        let mut seen = HashSet::new();
        for endpoint in MODULES.iter().copied().flatten() {
            assert!(seen.insert(endpoint.path), "{} twice", endpoint.path);
            assert!(endpoint.path.starts_with('/'));
            assert!(find(endpoint.path).is_some());
        }
        assert!(find("/user/nothing.json").is_none());
    }
}
