//! What was said before the demo began: weeks of it, so that every tier of history has something to show.
//!
//! It is said through the service itself, under a clock that stands at the time of each line. Then everybody was last
//! here some days ago: what came since waits for them as their backlog.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use switchboard_contract::storage::{ConversationMarks, DeviceCursor, Timelines};
use switchboard_contract::{
    Body, CallHeaders, Clock, ConversationId, Error, ErrorKind, Ext, GroupId, Link as _, NewGroup, OutboundMessage,
    Provider as _, Result, SendOptions, Sequence, Sleep, Target, TenantId, Timestamp, UserId, UserProfile,
    VendorUserId,
};
use switchboard_selfhosted::{Listen, SelfHosted, SelfHostedConfig, Surroundings};

use crate::clock::SystemClock;
use crate::config::Config;

/// Days ago, sender, recipient (`#` before a group), words.
const LINES: &str = include_str!("past.txt");
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "support"];
/// The page's name as a device.
const DEVICE: &str = "chat-page";
/// When everybody was last here, in days.
const LAST_VISIT: f64 = 6.5;
const DAY: f64 = 86_400_000.0;

/// A clock that shows what it is told.
#[derive(Debug)]
struct Then(AtomicI64);

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[derive(Debug)]
struct Said<'a> {
    days_ago: f64,
    from: &'a str,
    to: &'a str,
    words: &'a str,
}

fn said(line: &str) -> Option<Said<'_>> {
    let (days_ago, rest) = line.split_once(' ')?;
    let (from, rest) = rest.trim_start().split_once(' ')?;
    let (to, words) = rest.trim_start().split_once(' ')?;
    Some(Said { days_ago: days_ago.parse().ok()?, from, to, words: words.trim() })
}

impl Said<'_> {
    fn target(&self) -> Target {
        match self.to.strip_prefix('#') {
            Some(group) => Target::Group { group: group.into(), channel: None, audience: Vec::new() },
            None => Target::Users(vec![self.to.into()]),
        }
    }

    fn conversation(&self) -> ConversationId {
        match self.to.strip_prefix('#') {
            Some(group) => ConversationId::group(&GroupId::from(group)),
            None => ConversationId::direct(&UserId::from(self.from), &UserId::from(self.to)),
        }
    }
}

/// Tells the past to a service that has none.
pub(super) async fn tell(config: &Config) -> Result<()> {
    let store = crate::assembly::store(&config.store).await?;
    let quiet = SelfHostedConfig { websocket: Listen(None), tcp: Listen(None), ..SelfHostedConfig::default() };
    let log = store.timelines(&TenantId::default(), &quiet.app()).await?;
    let told = match log.tail().await?.0 {
        0 => speak(quiet, log).await,
        _ => Ok(()),
    };
    store.close().await;
    told
}

async fn speak(config: SelfHostedConfig, log: Arc<dyn Timelines>) -> Result<()> {
    let clock = Arc::new(Then(AtomicI64::new(0)));
    let today = SystemClock.now().0;
    let at = |days_ago: f64| clock.0.store(today - (days_ago * DAY) as i64, Ordering::Relaxed);
    // No token is ever signed with it: nobody can log in here.
    let secret = rand::random::<[u8; 32]>().to_vec();
    let around = Surroundings { log: log.clone(), clock: clock.clone(), secret, verifier: None, push: None };
    let service = SelfHosted::start(config, around).await?;
    at(61.0);
    gather(&service).await?;
    let mut visited = false;
    for line in LINES.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        let said = said(line).ok_or_else(|| Error::new(ErrorKind::Internal, "a line of the past has no sense"))?;
        if said.days_ago < LAST_VISIT && !visited {
            visit(&*log, Timestamp(today - (LAST_VISIT * DAY) as i64)).await?;
            visited = true;
        }
        at(said.days_ago);
        service.messaging().send(&message(&said)).await?;
    }
    service.close().await;
    Ok(())
}

async fn gather(service: &SelfHosted) -> Result<()> {
    let unsupported = || Error::unsupported("users and groups");
    let users = service.users().ok_or_else(unsupported)?;
    for person in PEOPLE {
        let profile = UserProfile { name: Some(person.to_owned()), ..UserProfile::default() };
        users.ensure(&VendorUserId::from(person), &profile).await?;
    }
    let group = NewGroup {
        id: Some("hikers".into()),
        room: false,
        name: "Saturday hikers".to_owned(),
        owner: "carol".into(),
        members: vec!["alice".into(), "bob".into()],
    };
    service.groups().ok_or_else(unsupported)?.create(&group).await.map(drop)
}

fn message(said: &Said<'_>) -> OutboundMessage {
    OutboundMessage {
        from: said.from.into(),
        target: said.target(),
        body: Body::text(said.words),
        ext: Ext::new(),
        mark: None,
        mentions_everyone: false,
        mentions: Vec::new(),
        options: SendOptions::default(),
        headers: CallHeaders::new(),
    }
}

/// Everybody has seen and read all there is.
async fn visit(log: &dyn Timelines, when: Timestamp) -> Result<()> {
    let low = log.tail().await?;
    let mut marks = Vec::new();
    for conversation in conversations() {
        let newest = log.messages_before(&conversation, Sequence(u64::MAX), 1).await?;
        let Some(read) = newest.first().and_then(|line| line.sequence) else { continue };
        for person in PEOPLE.map(UserId::from) {
            if log.takes_part(&person, &conversation).await? {
                let mark = ConversationMarks { user: person, delivered: read, read };
                marks.push((conversation.clone(), mark));
            }
        }
    }
    log.raise_marks(marks).await?;
    let device = |person| DeviceCursor { user: UserId::from(person), device: DEVICE.to_owned(), low, seen_at: when };
    log.save_devices(PEOPLE.map(device).to_vec()).await
}

fn conversations() -> std::collections::BTreeSet<ConversationId> {
    LINES.lines().filter_map(said).map(|said| said.conversation()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_tier_has_a_past_and_it_runs_forward() {
        let lines: Vec<_> = LINES.lines().filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
        let all: Vec<_> = lines.iter().map(|line| said(line).unwrap_or_else(|| panic!("{line}"))).collect();
        assert!(all.iter().all(|one| PEOPLE.contains(&one.from) && !one.words.is_empty()));
        assert!(all.is_sorted_by(|one, next| one.days_ago >= next.days_ago), "time runs forward");
        for (most, least) in [(60.0, 30.5), (29.5, 7.5), (LAST_VISIT, 0.0)] {
            let then = all.iter().filter(|one| one.days_ago <= most && one.days_ago > least);
            let with_bob = then.filter(|one| one.to == "bob" || one.from == "bob").count();
            assert!(with_bob >= 10, "{with_bob} lines between {most} and {least} days ago");
        }
        // Nothing stands so near a bound that the demo's own running time moves it across.
        assert!(all.iter().all(|one| [7.0, 30.0].iter().all(|bound| (one.days_ago - bound).abs() > 0.4)));
    }
}
