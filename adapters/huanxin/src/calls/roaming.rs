//! Queries of one conversation (message_roam_single_obtain, message_roam_group_obtain; added by the vendor in 2026).

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::value::RawValue;
use switchboard_contract::{
    ConversationKind, Error, ErrorKind, Result, Roaming, RoamingLimits, RoamingPage, RoamingQuery, Target,
};
use switchboard_outbound::{Method, VendorCall, VendorReply};

use super::read;
use crate::Huanxin;
use crate::codec::Source;
use crate::limits::{self, group};
use crate::sign::json;
use crate::wire::{RoamingRequest, point};

/// What the vendor's answer lacks where the account does not have the service.
const SERVICE: &str = "queries of one conversation";

impl Huanxin {
    fn roaming_call(&self, query: &RoamingQuery) -> Result<VendorCall> {
        let (path, to, group_id) = match &query.target {
            Target::Users(users) => match users.as_slice() {
                [user] => ("chat", Some(user.as_str()), None),
                _ => return Err(Error::invalid("target", "a query names one user")),
            },
            Target::Group { channel: None, audience, group } if audience.is_empty() => {
                ("group", None, Some(group.as_str()))
            }
            _ => return Err(Error::unsupported("queries of this kind of conversation")),
        };
        if query.since > query.until {
            return Err(Error::invalid("since", "must not be after until"));
        }
        let settings = &self.config.roaming;
        let request = RoamingRequest {
            username: query.viewer.as_str(),
            to,
            group_id,
            limit: query.limit.clamp(1, settings.max_page),
            order: &settings.order,
            cursor: query.cursor.as_deref(),
            start_timestamp: query.since.0,
            end_timestamp: query.until.0,
        };
        let path = format!("{}/roaming/{path}", self.paths.v6);
        Ok(VendorCall::read(Method::POST, "roaming", group::ROAMING, path).with_body(json(&request)?))
    }

    fn roaming_page(&self, reply: &VendorReply) -> Result<RoamingPage> {
        let settings = &self.config.roaming;
        let find = |pointer: &str| point(&reply.body, pointer).map_err(|error| reply.undecodable(error));
        // A missing list is not an empty one: the names of the fields are a setting that may be wrong.
        let list = find(&settings.messages)?
            .ok_or_else(|| Error::new(ErrorKind::Decode, format!("the answer has no {}", settings.messages)))?;
        let entries: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|error| reply.undecodable(error))?;
        let now = self.clock.now();
        let decode =
            |raw: &&RawValue| self.items.decode(&reply.body.slice_ref(raw.get().as_bytes()), Source::Record, now);
        let next = match find(&settings.cursor)? {
            Some(cursor) => serde_json::from_str::<Option<crate::wire::Text<'_>>>(cursor.get())
                .map_err(|error| reply.undecodable(error))?
                .map(|cursor| cursor.0.into_owned())
                .filter(|cursor| !cursor.is_empty()),
            None => None,
        };
        let mut items: Vec<_> = entries.iter().flat_map(decode).collect();
        // Each item keeps its own bytes and not the page's.
        for item in &mut items {
            item.raw = Bytes::copy_from_slice(&item.raw);
        }
        Ok(RoamingPage { items, next })
    }
}

#[async_trait]
impl Roaming for Huanxin {
    fn limits(&self) -> RoamingLimits {
        let settings = &self.config.roaming;
        RoamingLimits {
            max_page: settings.max_page,
            depth: settings.depth,
            max_span: None,
            own_sends_after: settings.own_sends_after,
            targets: vec![ConversationKind::Direct, ConversationKind::Group],
            quota: limits::DEFAULT,
        }
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        match self.outbound.call(self.roaming_call(query)?).await {
            Ok(reply) => {
                // Anything but an object would have been refused before.
                read::<serde::de::IgnoredAny>(&reply)?;
                self.roaming_page(&reply)
            }
            // An account without the service has no such path; that is no empty history.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) || lost(&error) => {
                Err(Error::unsupported(SERVICE).with_operation("roaming").with_source(error))
            }
            Err(error) => Err(error),
        }
    }
}

/// A 404 that is not in the vendor's protocol: the path itself is unknown.
fn lost(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.vendor_code() == Some("404")
}
