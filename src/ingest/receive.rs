//! From a request to its reply: verify, keep, answer. Nothing here waits for the database.

use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use switchboard_contract::storage::{QuarantineReason, Quarantined};
use switchboard_contract::{
    CallbackCodec, CallbackReply, CallbackStage, Error, ErrorKind, ProviderId, RawCallback, Refused, Rejection, Topic,
};

use super::Ingest;
use super::record::{self, Disposition};
use super::source::Source;

const TEXT: &str = "text/plain; charset=utf-8";

/// What the caller of a callback URL must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// The HTTP status: what the vendor counts as success, or 400, 401, 404, 413, 503.
    pub status: u16,
    /// The media type of `body`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Why a callback's body could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than configured.
    TooLarge,
    /// The connection broke.
    Broken,
}

impl CallbackAnswer {
    fn plain(status: u16, text: &'static str) -> Self {
        Self { status, content_type: TEXT, body: Bytes::from_static(text.as_bytes()) }
    }
}

impl From<CallbackReply> for CallbackAnswer {
    fn from(reply: CallbackReply) -> Self {
        Self { status: reply.status, content_type: reply.content_type, body: reply.body }
    }
}

impl Ingest {
    /// Takes one callback for the provider registered under `alias` and says what to answer.
    ///
    /// A success status means that the request is durable, except for pre-send requests, which are answered at
    /// once. 401: no good signature, or another app; kept in quarantine as far as there is room. A good signature
    /// outside its time window gets the success reply and goes to quarantine. 400: not a callback of this vendor.
    /// 413: larger than configured. 503: it could not be made durable in time; the vendor may try again. 404: no
    /// such provider, or one without callbacks.
    pub async fn receive(&self, alias: &ProviderId, raw: RawCallback) -> CallbackAnswer {
        let core = self.core();
        let Some(source) = core.sources.by_alias(alias) else {
            metrics::counter!("switchboard_ingest_unknown_provider_total").increment(1);
            return CallbackAnswer::plain(404, "no such provider");
        };
        let Some(codec) = source.provider.callbacks() else {
            return CallbackAnswer::plain(404, "this provider has no callbacks");
        };
        let started = Instant::now();
        let answer = self.answer(&source, codec, raw).await;
        if answer.status != 200 {
            source.failed();
        }
        source.replies.record(started.elapsed());
        answer
    }

    /// Counts a callback for `alias` whose body could not be read, and says what to answer: 413, 400, or 404 when
    /// there is no such provider.
    pub fn refuse_unread(&self, alias: &ProviderId, unread: Unread) -> CallbackAnswer {
        let (status, outcome, text) = match unread {
            Unread::TooLarge => (413, "too_large", "the body is too large"),
            Unread::Broken => (400, "broken", "the body ended early"),
        };
        match self.core().sources.by_alias(alias) {
            Some(source) => {
                source.count(outcome);
                CallbackAnswer::plain(status, text)
            }
            None => {
                metrics::counter!("switchboard_ingest_unknown_provider_total").increment(1);
                CallbackAnswer::plain(404, "no such provider")
            }
        }
    }

    async fn answer(&self, source: &Source, codec: &dyn CallbackCodec, raw: RawCallback) -> CallbackAnswer {
        let core = self.core();
        if raw.body.len() > core.config.max_body_bytes {
            source.count("too_large");
            return CallbackAnswer::plain(413, "the body is too large");
        }
        let verified = match codec.verify(raw, core.clock.now()) {
            Ok(verified) => verified,
            Err(refused) => return self.refuse(source, codec, *refused).await,
        };
        let disposition = if verified.is_signed() { Disposition::Signed } else { Disposition::Unsigned };
        if codec.stage(verified.raw()) == CallbackStage::Before {
            return self.pronounce(source, codec, verified.raw(), disposition);
        }
        match self.keep(source, verified.raw(), disposition).await {
            Ok(()) => {
                source.arrived(core.clock.now());
                codec.accepted().into()
            }
            Err(error) => self.unavailable(source, verified.raw(), &error),
        }
    }

    /// Makes a callback durable, or gives up in time.
    async fn keep(&self, source: &Source, raw: &RawCallback, disposition: Disposition) -> Result<(), Error> {
        let core = self.core();
        if core.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the way in is closing"));
        }
        core.progress.received(raw.received_at);
        let kept = async {
            let size = record::size_bound(&source.encoded, raw);
            let write = |out: &mut Vec<u8>| record::encode(&source.encoded, disposition, raw, out);
            core.inbox.append(size, write).await?.durable().await
        };
        tokio::select! {
            biased;
            outcome = kept => outcome,
            () = core.clock.sleep(core.config.reply_within) => {
                Err(Error::new(ErrorKind::Timeout, "the disk of the inbox did not answer in time"))
            }
        }?;
        if let Some(refusals) = source.accept() {
            core.aside.tell_refusals(source, refusals, core.clock.now());
        }
        Ok(())
    }

    fn unavailable(&self, source: &Source, raw: &RawCallback, error: &Error) -> CallbackAnswer {
        if error.kind() == ErrorKind::TooLarge {
            source.count("too_large");
            return CallbackAnswer::plain(413, "the request is too large");
        }
        source.count("unavailable");
        let refused = source.refuse(raw.received_at);
        // At a thousand a second a line for each would fill the disk that is full already.
        if refused.is_power_of_two() {
            tracing::warn!(provider = %source.alias(), op = "receive", %error, refused, "callbacks are refused");
        }
        CallbackAnswer::plain(503, "cannot be kept at present")
    }

    /// Answers a request whose message the vendor holds, and keeps the request afterwards.
    fn pronounce(
        &self,
        source: &Source,
        codec: &dyn CallbackCodec,
        raw: &RawCallback,
        disposition: Disposition,
    ) -> CallbackAnswer {
        let core = self.core();
        source.count("pre_send");
        let size = record::size_bound(&source.encoded, raw);
        let write = |out: &mut Vec<u8>| record::encode(&source.encoded, disposition, raw, out);
        match core.inbox.try_append(size, write) {
            // Nobody waits for it: the verdict is exempt from being durable.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(provider = %source.alias(), op = "pre_send", %error, "a pre-send request was not kept");
                source.count("pre_send_lost");
            }
        }
        match codec.verdict(source.verdict) {
            Ok(reply) => reply.into(),
            Err(error) => {
                tracing::warn!(provider = %source.alias(), op = "pre_send", %error, "no verdict");
                CallbackAnswer::plain(400, "this vendor has no pre-send request")
            }
        }
    }

    async fn refuse(&self, source: &Source, codec: &dyn CallbackCodec, refused: Refused) -> CallbackAnswer {
        match refused.rejection {
            Rejection::Stale { .. } => {
                source.count("stale");
                // Answered like any other, so it must be as durable; the pipeline carries it to quarantine.
                match self.keep(source, &refused.raw, Disposition::Stale).await {
                    Ok(()) => codec.accepted().into(),
                    Err(error) => self.unavailable(source, &refused.raw, &error),
                }
            }
            Rejection::Malformed(_) => {
                source.count("malformed");
                CallbackAnswer::plain(400, "not a callback of this vendor")
            }
            Rejection::WrongApp => {
                source.count("wrong_app");
                self.keep_aside(source, refused.raw);
                CallbackAnswer::plain(401, "names another app")
            }
            _ => {
                source.count("bad_signature");
                self.keep_aside(source, refused.raw);
                CallbackAnswer::plain(401, "the signature is missing or wrong")
            }
        }
    }

    fn keep_aside(&self, source: &Source, raw: RawCallback) {
        let core = self.core();
        if raw.body.len() > core.config.quarantine_max_bytes {
            source.count("not_kept");
            return;
        }
        core.aside.keep(quarantined(source, raw, QuarantineReason::BadSignature));
    }

    /// Verifies callbacks kept for a wrong signature again, after a secret was corrected, as if they came at the
    /// time they came. Those that verify now are journalled like any other and leave quarantine. Returns how many.
    ///
    /// # Errors
    /// `NotFound` for an alias not registered; `Storage`, `StorageFull`: repeating it is harmless.
    pub async fn verify_again(&self, alias: &ProviderId) -> Result<u64, Error> {
        let core = self.core();
        let unknown = || Error::new(ErrorKind::NotFound, "no such provider").with_provider(alias.clone());
        let source = core.sources.by_alias(alias).ok_or_else(unknown)?;
        let codec = source.provider.callbacks().ok_or_else(unknown)?;
        let (mut after, mut accepted) = (0, 0);
        loop {
            let page = core.store.set_aside(&source.address.tenant, after, 100).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for item in page {
                if item.app != source.address.app || item.reason != QuarantineReason::BadSignature {
                    continue;
                }
                let at = item.raw.received_at;
                if let Ok(verified) = codec.verify(item.raw, at) {
                    let signed = if verified.is_signed() { Disposition::Signed } else { Disposition::Unsigned };
                    self.keep(&source, verified.raw(), signed).await?;
                    core.store.release(&source.address.tenant, item.id).await?;
                    accepted += 1;
                }
            }
        }
        if accepted > 0 {
            let detail = json!({ "callbacks": accepted });
            core.aside.tell(&source.address.tenant, Topic::Connection, "quarantine_verified", alias, detail);
        }
        Ok(accepted)
    }
}

pub(super) fn quarantined(source: &Source, raw: RawCallback, reason: QuarantineReason) -> Quarantined {
    Quarantined { id: 0, tenant: source.address.tenant.clone(), app: source.address.app.clone(), reason, raw }
}
