//! Providers broken in one way each, to see whether the suite notices.

use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::{
    App, Body, CallbackCodec, CallbackReply, CallbackStage, Error, ErrorKind, FixedVerdict, Groups, HistoryFiles,
    Inbound, InboundData, KeptCallbacks, Messaging, MessagingLimits, Naming, OutboundMessage, Provider, RawCallback,
    RecallRequest, Refused, Result, Retry, Roaming, RoamingLimits, RoamingPage, RoamingQuery, SentTo, Target,
    Timestamp, Users, VerifiedCallback,
};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// One recipient's acknowledgement is dropped.
    DropsAnAck,
    /// Every decoded event comes twice.
    DeliversTwice,
    /// Messages change their order.
    SwapsTwoMessages,
    /// Fields nobody knows are cut out of the raw bytes.
    LosesAnUnknownField,
    /// A wrong signature is believed.
    AcceptsAWrongSignature,
    /// A send of unknown outcome is made again.
    ResendsAfterAnUnknownOutcome,
    /// A page shorter than asked is taken for the last.
    EndsPagingAtAShortPage,
    /// The cursor that was handed in is handed out again.
    RepeatsACursor,
    /// A rate limit ends the matter.
    TreatsARateLimitAsPermanent,
    /// A proxy's page of HTML is called an answer that cannot be decoded.
    TreatsAnHtmlErrorPageAsABadBody,
    /// Long texts are cut.
    TruncatesABodySilently,
    /// A message for a group goes to a room.
    ConfusesGroupAndRoom,
}

/// Every mutation with the case that must catch it.
pub const MUTATIONS: &[(Mutation, &str)] = &[
    (Mutation::DropsAnAck, "sends_are_accepted_once_and_acknowledged_for_each_recipient"),
    (Mutation::DeliversTwice, "callbacks_come_out_once_and_in_order"),
    (Mutation::SwapsTwoMessages, "callbacks_come_out_once_and_in_order"),
    (Mutation::LosesAnUnknownField, "nothing_unknown_is_lost"),
    (Mutation::AcceptsAWrongSignature, "a_wrong_signature_is_refused"),
    (Mutation::ResendsAfterAnUnknownOutcome, "a_lost_answer_is_not_repeated"),
    (Mutation::EndsPagingAtAShortPage, "paging_reaches_every_message_once"),
    (Mutation::RepeatsACursor, "paging_reaches_every_message_once"),
    (Mutation::TreatsARateLimitAsPermanent, "a_rate_limit_may_be_tried_again"),
    (Mutation::TreatsAnHtmlErrorPageAsABadBody, "a_page_of_html_means_unavailable"),
    (Mutation::TruncatesABodySilently, "bodies_arrive_whole"),
    (Mutation::ConfusesGroupAndRoom, "groups_and_rooms_are_not_confused"),
];

/// A provider that is wrong in one way and otherwise the one it wraps.
#[derive(Debug)]
pub struct Mutant {
    real: Arc<dyn Provider>,
    how: Mutation,
}

impl Mutant {
    /// Breaks a provider.
    pub fn new(real: Arc<dyn Provider>, how: Mutation) -> Self {
        Self { real, how }
    }

    fn is(&self, how: Mutation) -> bool {
        self.how == how
    }

    fn twisted(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::RateLimited if self.is(Mutation::TreatsARateLimitAsPermanent) => error.with_retry(Retry::Never),
            ErrorKind::Unavailable if self.is(Mutation::TreatsAnHtmlErrorPageAsABadBody) => {
                Error::new(ErrorKind::Decode, "expected value at line 1 column 1").with_retry(error.retry())
            }
            _ => error,
        }
    }
}

#[async_trait]
impl Provider for Mutant {
    fn app(&self) -> &App {
        self.real.app()
    }

    fn naming(&self) -> Naming {
        self.real.naming()
    }

    async fn probe(&self) -> Result<()> {
        self.real.probe().await
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        self.real.callbacks().map(|_| self as _)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        self.real.roaming().map(|_| self as _)
    }

    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        self.real.history_files()
    }

    fn kept_callbacks(&self) -> Option<&dyn KeptCallbacks> {
        self.real.kept_callbacks()
    }

    fn users(&self) -> Option<&dyn Users> {
        self.real.users()
    }

    fn groups(&self) -> Option<&dyn Groups> {
        self.real.groups()
    }
}

#[async_trait]
impl Messaging for Mutant {
    fn limits(&self) -> MessagingLimits {
        self.real.messaging().limits()
    }

    fn check(&self, message: &OutboundMessage) -> Result<()> {
        self.real.messaging().check(message)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Vec<SentTo>> {
        let mut message = message.clone();
        match (&mut message.body, &message.target) {
            (Body::Text(text), _) if self.is(Mutation::TruncatesABodySilently) => {
                text.text = text.text.chars().take(1000).collect();
            }
            (_, Target::Group { group, .. }) if self.is(Mutation::ConfusesGroupAndRoom) => {
                message.target = Target::Room { room: group.clone() };
            }
            _ => {}
        }
        let mut sent = self.real.messaging().send(&message).await;
        if let Err(error) = &sent
            && error.retry() == Retry::OutcomeUnknown
            && self.is(Mutation::ResendsAfterAnUnknownOutcome)
        {
            sent = self.real.messaging().send(&message).await;
        }
        let mut sent = sent.map_err(|error| self.twisted(error))?;
        if self.is(Mutation::DropsAnAck) {
            sent.pop();
        }
        Ok(sent)
    }

    async fn recall(&self, recall: &RecallRequest) -> Result<()> {
        self.real.messaging().recall(recall).await
    }
}

impl CallbackCodec for Mutant {
    fn verify(&self, raw: RawCallback, now: Timestamp) -> Result<VerifiedCallback, Box<Refused>> {
        match self.codec().verify(raw, now) {
            Err(refused) if self.is(Mutation::AcceptsAWrongSignature) => {
                Ok(VerifiedCallback::assume_verified(refused.raw, true))
            }
            verified => verified,
        }
    }

    fn decode(&self, callback: &VerifiedCallback) -> Vec<Inbound> {
        let mut items = self.codec().decode(callback);
        match self.how {
            Mutation::DeliversTwice => {
                let again = items.clone();
                items.extend(again);
            }
            // Most vendors put one message into a callback: what is swapped is what orders them.
            Mutation::SwapsTwoMessages => {
                for item in &mut items {
                    item.sent_at = Timestamp(-item.sent_at.0);
                    item.sort_key = item.sort_key.chars().map(inverted).collect();
                }
            }
            Mutation::LosesAnUnknownField => {
                for item in &mut items {
                    if matches!(item.data, InboundData::Message(_)) {
                        let text = String::from_utf8_lossy(&item.raw).replace("invented_field", "");
                        item.raw = text.into_bytes().into();
                    }
                }
            }
            _ => {}
        }
        items
    }

    fn stage(&self, callback: &RawCallback) -> CallbackStage {
        self.codec().stage(callback)
    }

    fn accepted(&self) -> CallbackReply {
        self.codec().accepted()
    }

    fn verdict(&self, verdict: FixedVerdict) -> Result<CallbackReply> {
        self.codec().verdict(verdict)
    }
}

impl Mutant {
    fn codec(&self) -> &dyn CallbackCodec {
        // `callbacks` hands out this codec only where the real provider has one.
        self.real.callbacks().expect("a provider with callbacks")
    }
}

fn inverted(digit: char) -> char {
    match digit.to_digit(36) {
        Some(value) => char::from_digit(35 - value, 36).unwrap_or(digit),
        None => digit,
    }
}

#[async_trait]
impl Roaming for Mutant {
    fn limits(&self) -> RoamingLimits {
        self.real.roaming().expect("a provider with queries").limits()
    }

    async fn page(&self, query: &RoamingQuery) -> Result<RoamingPage> {
        let mut page = self.real.roaming().expect("a provider with queries").page(query).await?;
        if self.is(Mutation::EndsPagingAtAShortPage) && page.items.len() < query.limit as usize {
            page.next = None;
        }
        if self.is(Mutation::RepeatsACursor) && page.next.is_some() {
            page.next = query.cursor.clone().or(page.next);
        }
        Ok(page)
    }
}
