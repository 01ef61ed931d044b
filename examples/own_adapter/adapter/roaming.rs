//! Reading a conversation's history.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use switchboard_contract::{
    ConversationKind, Error, Quota, Result, Roaming, RoamingLimits, RoamingPage, RoamingQuery, Target,
};

use super::error::read;
use super::wire::{Address, History};
use super::{Pigeon, codec};

const MAX_PAGE: u32 = 20;

#[async_trait]
impl Roaming for Pigeon {
    fn limits(&self) -> RoamingLimits {
        RoamingLimits {
            max_page: MAX_PAGE,
            depth: None,
            max_span: None,
            own_sends_after: Some(Duration::ZERO),
            targets: vec![ConversationKind::Direct, ConversationKind::Group, ConversationKind::Room],
            quota: Quota { calls: Some(20), units: None, per: Duration::from_secs(1) },
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        let with = match &query.target {
            Target::Users(users) => match users.as_slice() {
                [user] => Address::User(user.to_string()),
                _ => return Err(Error::invalid("target", "must name one user")),
            },
            place => Self::place_of(place)?,
        };
        let body = json!({
            "viewer": query.viewer, "with": with, "since": query.since, "until": query.until,
            "limit": query.limit.min(MAX_PAGE), "after": query.cursor,
        });
        let reply = self.call("page", "letters/history", body).await?;
        let history: History<'_> = read(&reply)?;
        let letter =
            |raw: &serde_json::value::RawValue| codec::letter(reply.slice_ref(raw.get().as_bytes()), query.until);
        Ok(RoamingPage { items: history.letters.into_iter().map(letter).collect(), next: history.next })
    }
}
