//! Reads the inbox in order and decodes, one step ahead of the journal.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use switchboard_contract::storage::QuarantineReason;
use switchboard_contract::{
    CallbackCodec, Clock, Clues, EventKey, Inbound, InboundData, InboundPlace, KeyClass, RawCallback, TenantId,
    Timestamp, Unrecognised, VerifiedCallback,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::inbox::{Framed, Inbox};
use super::record::{self, Address, Disposition};
use super::retry::Backoff;
use super::source::{Source, Sources};
use super::work::{Batch, Item, Parcel, Work};

/// Records decoded before other tasks get a turn.
const TURN: usize = 64;

/// Reads the inbox for the line, one step ahead of it.
pub(super) struct Decoder {
    pub(super) reader: Reader,
    pub(super) backoff: Backoff,
    pub(super) paused: watch::Receiver<bool>,
    pub(super) stop: CancellationToken,
}

/// Reads records of the inbox and decodes them.
pub(super) struct Reader {
    pub(super) inbox: Inbox,
    pub(super) sources: Arc<Sources>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) batch_bytes: usize,
    pub(super) unregistered_within: std::time::Duration,
    /// Addresses read so far; as many as there are providers.
    pub(super) addresses: HashMap<Bytes, Arc<Address>>,
    /// Addresses whose provider is not registered, and until when it is waited for.
    pub(super) missing: HashMap<Arc<Address>, Timestamp>,
}

impl Decoder {
    /// Works from `position` on until stopped.
    pub(super) async fn run(mut self, mut position: u64, batches: mpsc::Sender<Batch>) {
        let stop = self.stop.clone();
        let work = async move {
            let mut durable = self.reader.inbox.durable();
            let mut waits = self.backoff.waits();
            loop {
                // Errors mean that the other side is gone, which the stop signal says as well.
                if self.paused.wait_for(|paused| !paused).await.is_err()
                    || durable.wait_for(|end| *end > position).await.is_err()
                {
                    return;
                }
                match self.reader.read(position).await {
                    Ok((frames, next)) => {
                        waits = self.backoff.waits();
                        let records = frames.len() as u64;
                        let works = self.reader.decode(frames, None).await;
                        position = next;
                        if batches.send(Batch { works, end: next, records }).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, op = "read_inbox", "the inbox could not be read");
                        self.reader.clock.sleep(waits.next()).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }
}

impl Reader {
    /// Some records from `position` on, and where they end.
    pub(super) async fn read(&self, position: u64) -> switchboard_contract::Result<(Vec<Framed>, u64)> {
        let (inbox, want) = (self.inbox.clone(), self.batch_bytes);
        tokio::task::spawn_blocking(move || inbox.read(position, want)).await.unwrap_or_else(|error| {
            Err(switchboard_contract::Error::new(switchboard_contract::ErrorKind::Internal, "reading the inbox failed")
                .with_source(error))
        })
    }

    /// Decodes records: all, or one tenant's alone.
    pub(super) async fn decode(&mut self, frames: Vec<Framed>, only: Option<&TenantId>) -> Vec<Work> {
        let mut works = Vec::with_capacity(frames.len());
        for (at, frame) in frames.into_iter().enumerate() {
            self.unpack(frame, only, &mut works).await;
            if at % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        works
    }

    async fn unpack(&mut self, frame: Framed, only: Option<&TenantId>, works: &mut Vec<Work>) {
        let Some(found) = record::decode(frame.payload) else {
            // Its checksum was good, so a later version wrote it.
            tracing::error!(offset = frame.offset, "a record of the inbox is of an unknown version and is skipped");
            metrics::counter!("switchboard_inbox_damaged_total").increment(1);
            return;
        };
        let Some(address) = self.address(found.address) else {
            tracing::error!(offset = frame.offset, "a record of the inbox names no provider and is skipped");
            metrics::counter!("switchboard_inbox_damaged_total").increment(1);
            return;
        };
        if only.is_some_and(|tenant| *tenant != address.tenant) {
            return;
        }
        let parcel = |raw: RawCallback| Arc::new(Parcel { offset: frame.offset, address: address.clone(), raw });
        if found.disposition == Disposition::Stale {
            works.push(Work::Aside(parcel(found.raw), QuarantineReason::Stale));
            return;
        }
        let source = self.source(&address).await;
        let Some((source, codec)) = source.as_ref().and_then(|source| Some((source, source.provider.callbacks()?)))
        else {
            works.push(Work::Aside(parcel(found.raw), QuarantineReason::Refused));
            return;
        };
        let verified = VerifiedCallback::assume_verified(found.raw, found.disposition == Disposition::Signed);
        let decoded = decode(codec, &verified);
        let parcel = parcel(verified.into_raw());
        for inbound in decoded {
            if let InboundData::Unrecognised(unrecognised) = &inbound.data {
                source.count_unknown(&unrecognised.kind);
            }
            works.push(Work::Event(Item { parcel: parcel.clone(), source: source.clone(), inbound }));
        }
    }

    fn address(&mut self, encoded: Bytes) -> Option<Arc<Address>> {
        if let Some(known) = self.addresses.get(&encoded) {
            return Some(known.clone());
        }
        let address = Arc::new(Address::decode(encoded.clone())?);
        // A copy: the slice would keep its whole read buffer alive.
        self.addresses.insert(Bytes::copy_from_slice(&encoded), address.clone());
        Some(address)
    }

    /// Who decodes it; waits a while for one to register, since the inbox is open before the providers are. Once for
    /// each address: what an app that is gone for good left behind must not hold up everybody else's.
    async fn source(&mut self, address: &Arc<Address>) -> Option<Arc<Source>> {
        let mut registered = self.sources.registered();
        if let Some(source) = self.sources.by_address(address) {
            return Some(source);
        }
        let now = self.clock.now();
        let until = *self.missing.entry(address.clone()).or_insert(now + self.unregistered_within);
        let mut give_up = self.clock.sleep(until.since(now).min(self.unregistered_within));
        loop {
            tokio::select! {
                () = &mut give_up => return None,
                changed = registered.changed() => changed.ok()?,
            }
            if let Some(source) = self.sources.by_address(address) {
                return Some(source);
            }
        }
    }
}

/// Decodes; a codec that panics, which none may, costs its own callback the decoding and nothing else.
fn decode(codec: &dyn CallbackCodec, callback: &VerifiedCallback) -> Vec<Inbound> {
    catch_unwind(AssertUnwindSafe(|| codec.decode(callback))).unwrap_or_else(|_| {
        let raw = callback.raw();
        tracing::error!(op = "decode", "a codec panicked; the callback is kept as it came");
        vec![Inbound {
            key: EventKey::new(KeyClass::Unrecognised, hex::encode(Sha256::digest(&raw.body))),
            place: InboundPlace::Nowhere,
            sent_at: raw.received_at,
            sort_key: String::new(),
            data: InboundData::Unrecognised(Unrecognised::keep("decoder_panic", &raw.body)),
            mark: None,
            clues: Clues::default(),
            raw: raw.body.clone(),
        }]
    })
}
