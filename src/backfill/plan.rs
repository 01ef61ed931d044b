//! Which parts a job has: the files its vendor may still have, and the conversations known.

use std::collections::BTreeSet;

use switchboard_contract::storage::{BackfillItem, BackfillJob, BackfillPart, BackfillScope, Store};
use switchboard_contract::{
    ConversationId, ConversationKind, GroupId, HistoryFileLimits, Result, RoamingLimits, TenantId, Timestamp, UserId,
};

use crate::reconcile::{HOUR, hour_of};

/// Rows read from the store at once.
const PAGE: usize = 1_000;

/// What a vendor can be asked for.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) files: Option<HistoryFileLimits>,
    pub(super) queries: Option<RoamingLimits>,
}

impl Sources {
    /// Whether anything could bring this.
    pub(super) fn serve(&self, scope: &BackfillScope) -> bool {
        match scope {
            BackfillScope::App => self.files.is_some() || self.queries.is_some(),
            BackfillScope::User(_) => self.queries.is_some(),
            BackfillScope::Conversation(id) => self.queried(id.kind()),
        }
    }

    fn queried(&self, kind: ConversationKind) -> bool {
        self.queries.as_ref().is_some_and(|queries| queries.targets.contains(&kind))
    }
}

fn item(part: BackfillPart, rank: Timestamp, since: Timestamp, until: Timestamp) -> BackfillItem {
    BackfillItem {
        part,
        rank: rank.0,
        since,
        until,
        cursor: None,
        reached: None,
        messages: 0,
        attempts: 0,
        outcome: None,
        fault: None,
    }
}

/// The files of a job: hours that are over, not before `since`, and not gone yet.
pub(super) fn hours(job: &BackfillJob, sources: &Sources, now: Timestamp) -> Vec<BackfillItem> {
    let (BackfillScope::App, Some(files)) = (&job.scope, &sources.files) else { return Vec::new() };
    let newest = hour_of(job.until.min(now - files.earliest - HOUR));
    let oldest = hour_of(job.since.unwrap_or(Timestamp(0)).max(now - files.kept));
    let mut hours = Vec::new();
    let mut hour = newest;
    while hour >= oldest {
        hours.push(item(BackfillPart::Hour(hour), hour, hour, hour + HOUR));
        hour = hour - HOUR;
    }
    hours
}

/// One conversation of a job.
fn conversation(job: &BackfillJob, queries: &RoamingLimits, id: ConversationId, last: Timestamp) -> BackfillItem {
    let since = job.since.unwrap_or(Timestamp(0));
    let since = queries.depth.map_or(since, |depth| since.max(job.until - depth));
    item(BackfillPart::Conversation(id), last, since, job.until)
}

/// Plans the conversations of a job, page by page. Repeating it adds only what is new.
pub(super) async fn conversations(
    store: &dyn Store,
    tenant: &TenantId,
    job: &BackfillJob,
    sources: &Sources,
) -> Result<()> {
    let Some(queries) = sources.queries.as_ref() else { return Ok(()) };
    if let BackfillScope::Conversation(id) = &job.scope {
        let one = conversation(job, queries, id.clone(), job.until);
        return store.plan_backfill(tenant, job.id, &[one]).await;
    }
    let user = match &job.scope {
        BackfillScope::User(user) => Some(user),
        _ => None,
    };
    let groups = match user {
        Some(user) => groups_of(store, tenant, user).await?,
        None => BTreeSet::new(),
    };
    // Groups in which nothing has happened yet have a past at the vendor all the same.
    let found: Vec<BackfillItem> = groups
        .iter()
        .map(|(id, room)| if *room { ConversationId::room(id) } else { ConversationId::group(id) })
        .filter(|id| sources.queried(id.kind()))
        .map(|id| conversation(job, queries, id, Timestamp(0)))
        .collect();
    let mut after: Option<ConversationId> = None;
    loop {
        let page = store.conversations(tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        let wanted = page
            .into_iter()
            .filter(|one| sources.queried(one.id.kind()) && user.is_none_or(|user| takes_part(&one.id, user, &groups)));
        let items: Vec<_> = wanted.map(|one| conversation(job, queries, one.id, one.last_at)).collect();
        store.plan_backfill(tenant, job.id, &items).await?;
    }
    // Last, so that those with something in them keep the rank of it.
    for part in found.chunks(PAGE) {
        store.plan_backfill(tenant, job.id, part).await?;
    }
    Ok(())
}

fn takes_part(id: &ConversationId, user: &UserId, groups: &BTreeSet<(GroupId, bool)>) -> bool {
    match id.kind() {
        ConversationKind::Direct | ConversationKind::System => id.parts().iter().any(|part| part == user.as_str()),
        kind => id.group_id().is_some_and(|group| groups.contains(&(group, kind == ConversationKind::Room))),
    }
}

/// Groups and rooms of a user, as far as the business told of them.
async fn groups_of(store: &dyn Store, tenant: &TenantId, user: &UserId) -> Result<BTreeSet<(GroupId, bool)>> {
    let mut found = BTreeSet::new();
    let mut after: Option<GroupId> = None;
    loop {
        let page = store.groups(tenant, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id.clone());
        let own = page.into_iter().filter(|group| group.members.contains(user) || group.owner == *user);
        found.extend(own.map(|group| (group.id, group.room)));
    }
}
