//! Groups looked at when the vendor says that one changed, and all of them when the provider comes online: where its
//! members are not those of the directory, a notice says so. The directory is the business's own and stays as it is.

use std::collections::BTreeSet;

use serde_json::json;
use switchboard_contract::storage::{BindingKind, GroupRecord};
use switchboard_contract::{ErrorKind, GroupId, GroupRef, Result, UserId};

use super::app::Source;
use super::slots::Request;
use super::telling::Telling;
use crate::identity::Identity;

/// Which groups to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) all: bool,
    /// With whether it is a room.
    pub(super) some: BTreeSet<(GroupId, bool)>,
}

impl Request for Wanted {
    fn merge(mut self, newer: Self) -> Self {
        self.some.extend(newer.some);
        Self { all: self.all || newer.all, ..self }
    }
}

pub(super) async fn look(source: &Source, identity: &Identity, telling: &Telling, wanted: Wanted) {
    let outcome = match run(source, identity, telling, wanted).await {
        Ok(true) => "done",
        Ok(false) => "nothing",
        Err(error) => {
            tracing::warn!(provider = %source.alias, %error, op = "members", "groups could not be looked at");
            "failed"
        }
    };
    telling.fetched("groups", outcome);
}

async fn run(source: &Source, identity: &Identity, telling: &Telling, wanted: Wanted) -> Result<bool> {
    let (store, tenant, most) = (&source.store, &source.tenant, source.config.automatic.max_groups);
    if source.provider.groups().is_none() {
        return Ok(false);
    }
    let mut records = Vec::new();
    if wanted.all {
        records = store.groups(tenant, None, most).await?;
    }
    for (id, room) in wanted.some.into_iter().take(most) {
        if !records.iter().any(|record| record.id == id && record.room == room) {
            records.extend(store.group(tenant, &id, room).await?);
        }
    }
    let mut looked = false;
    // Who is in a room comes and goes.
    for record in records.into_iter().filter(|record| !record.room) {
        let made = [(BindingKind::Group, record.id.as_str().to_owned(), String::new())];
        if store.provisioned(tenant, source.app(), &made).await? == [true] {
            looked = true;
            compare(source, identity, telling, &record).await?;
        }
    }
    Ok(looked)
}

async fn compare(source: &Source, identity: &Identity, telling: &Telling, record: &GroupRecord) -> Result<()> {
    let (provider, tenant) = (&*source.provider, &source.tenant);
    let Some(groups) = provider.groups() else { return Ok(()) };
    let Some(id) = identity.vendor_group(tenant, provider, &record.id, false).await? else { return Ok(()) };
    let there = match groups.members(&GroupRef { id, room: false }).await {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            telling.group_differs(json!({ "group": record.id, "gone": true })).await;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut members = BTreeSet::new();
    for user in &there {
        members.insert(identity.business_user(tenant, provider, user).await?);
    }
    let here: BTreeSet<UserId> = record.members.iter().cloned().collect();
    let (absent, extra): (Vec<_>, Vec<_>) = (here.difference(&members).collect(), members.difference(&here).collect());
    if !absent.is_empty() || !extra.is_empty() {
        telling.group_differs(json!({ "group": record.id, "only_here": absent, "only_there": extra })).await;
    }
    Ok(())
}
