//! The paid store of failed callbacks (SRV/callback_postsending_exception_storage): slots of ten minutes, replayed to
//! the rule's own address.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use switchboard_contract::{Error, ErrorKind, KeptCallbackLimits, KeptCallbacks, KeptSlot, Result, Timestamp};
use switchboard_outbound::{Method, VendorCall, VendorReply};

use super::read;
use crate::Huanxin;
use crate::config::Zone;
use crate::limits::{self, group};
use crate::sign::json;
use crate::wire::{KeptReply, ReplayReply, ReplayRequest};

const SLOT: Duration = Duration::from_secs(600);
const SERVICE: &str = "the vendor's store of failed callbacks";
/// Pages and samples spell the path in two ways.
const PATHS: [&str; 2] = ["/callbacks/storage", "/callback/storage"];

/// The beginning of a slot from its name: `yyyyMMddHHmm` in the cluster's zone.
pub(super) fn slot_start(name: &str, zone: Zone) -> Option<Timestamp> {
    let zone = match zone {
        Zone::Beijing => TimeZone::fixed(Offset::constant(8)),
        Zone::Utc => TimeZone::UTC,
    };
    if name.len() != 12 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let moment = DateTime::strptime("%Y%m%d%H%M", name).ok()?.to_zoned(zone).ok()?;
    Some(Timestamp(moment.timestamp().as_millisecond()))
}

impl Huanxin {
    /// A call of the store under either of its paths.
    async fn storage(&self, make: impl Fn(String) -> Result<VendorCall>) -> Result<VendorReply> {
        let mut last = None;
        for path in PATHS {
            match self.outbound.call(make(self.path(path))?).await {
                Ok(reply) => return Ok(reply),
                Err(error) if unknown_path(&error) => last = Some(error),
                // The page names 403 for an account that has not bought it.
                Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unsupported) => {
                    return Err(Error::unsupported(SERVICE).with_operation("kept_callbacks").with_source(error));
                }
                Err(error) => return Err(error),
            }
        }
        let error = Error::unsupported(SERVICE).with_operation("kept_callbacks");
        Err(match last {
            Some(source) => error.with_source(source),
            None => error,
        })
    }
}

fn unknown_path(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || (error.kind() == ErrorKind::Unavailable && error.vendor_code() == Some("404"))
}

#[async_trait]
impl KeptCallbacks for Huanxin {
    fn limits(&self) -> KeptCallbackLimits {
        let kept = &self.config.kept_callbacks;
        KeptCallbackLimits { kept: kept.kept, max_repeats: kept.max_repeats, quota: limits::DEFAULT }
    }

    async fn slots(&self) -> Result<Vec<KeptSlot>> {
        let reply = self
            .storage(|path| Ok(VendorCall::read(Method::GET, "kept_slots", group::KEPT_CALLBACKS, path + "/info")))
            .await?;
        let answer: KeptReply<'_> = read(&reply)?;
        let mut slots = Vec::with_capacity(answer.data.len());
        for slot in &answer.data {
            let unreadable = || Error::new(ErrorKind::Decode, "a slot of the store has no readable time");
            let since = slot_start(&slot.date, self.config.history.zone).ok_or_else(unreadable)?;
            slots.push(KeptSlot {
                name: slot.date.to_string(),
                since,
                until: since + SLOT,
                callbacks: slot.size.max(0).cast_unsigned(),
                repeats: u32::try_from(slot.retry.max(0)).unwrap_or(u32::MAX),
            });
        }
        slots.sort_by_key(|slot| slot.since);
        Ok(slots)
    }

    async fn send_again(&self, slot: &KeptSlot) -> Result<()> {
        let request = ReplayRequest { date: &slot.name, retry: slot.repeats };
        let body = json(&request)?;
        // A second replay brings nothing new: every callback has one effect.
        let call = |path: String| {
            let call = VendorCall::read(Method::POST, "kept_send_again", group::KEPT_CALLBACKS, path + "/retry");
            Ok(call.with_body(body.clone()))
        };
        let reply = self.storage(call).await?;
        let answer: ReplayReply<'_> = read(&reply)?;
        if &*answer.data == "success" {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, "the vendor does not send this slot again")
            .with_operation("kept_send_again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_in_the_clusters_zone() {
        assert_eq!(slot_start("202611200940", Zone::Utc), Some(Timestamp(1_795_167_600_000)));
        assert_eq!(slot_start("202611200940", Zone::Beijing), Some(Timestamp(1_795_138_800_000)));
        for wrong in ["2026112009", "20261120094x", "202613200940", ""] {
            assert_eq!(slot_start(wrong, Zone::Utc), None, "{wrong}");
        }
    }
}
