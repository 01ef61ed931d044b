//! The vendor's side of a trial: what happened there, and ways to make things happen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use switchboard_contract::{
    ConversationKind, Provider, RawCallback, Target, Timestamp, VendorGroupId, VendorMessageId, VendorUserId,
};

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next send is carried out and its answer is lost.
    LostAnswer,
    /// The next send is refused for its rate.
    RateLimited,
    /// The next send is answered by a proxy's page of HTML.
    HtmlPage,
    /// The token in use is no longer good.
    ExpiredToken,
}

/// A message as the vendor accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The vendor's id.
    pub id: VendorMessageId,
    /// The kind of conversation it went to.
    pub kind: ConversationKind,
    /// The user, group or room it went to.
    pub target: String,
    /// Whether it has been recalled since.
    pub recalled: bool,
}

/// A place where a provider can be tried. Every method may be slow; none may share state with another world.
#[async_trait]
pub trait World: fmt::Debug + Send + Sync {
    /// The provider on trial.
    fn provider(&self) -> Arc<dyn Provider>;

    /// The same provider with wrong credentials, if one can be made.
    fn stranger(&self) -> Option<Arc<dyn Provider>>;

    /// Three users who exist and are members of [`group`](Self::group) and [`room`](Self::room).
    fn users(&self) -> [VendorUserId; 3];

    /// A group.
    fn group(&self) -> VendorGroupId;

    /// A room.
    fn room(&self) -> VendorGroupId;

    /// The present moment at the vendor.
    fn now(&self) -> Timestamp;

    /// Lets time pass at the vendor; `false` where it cannot be moved.
    async fn pass(&self, time: Duration) -> bool;

    /// Everything the vendor has accepted so far, in order; `None` where that cannot be seen.
    async fn accepted(&self) -> Option<Vec<Accepted>>;

    /// A user's own client sends a text.
    async fn client_sends(&self, from: &VendorUserId, to: &Target, text: &str) -> Option<VendorMessageId>;

    /// The sender's own client recalls a message.
    async fn client_recalls(&self, from: &VendorUserId, message: &VendorMessageId) -> bool;

    /// The callbacks that came since this was asked last, as they came off the wire, once nothing is on its way.
    async fn callbacks(&self) -> Vec<RawCallback>;

    /// Adds a field the adapter cannot know to a callback about a message, keeping its signature good.
    fn with_unknown_field(&self, callback: &RawCallback, name: &str, value: &str) -> RawCallback;

    /// Changes the signature of a callback by one bit.
    fn with_flipped_signature(&self, callback: &RawCallback) -> RawCallback;

    /// A correctly signed callback of a kind nobody knows.
    fn invented_callback(&self) -> RawCallback;

    /// Makes something break once; `false` where it cannot be arranged.
    async fn break_next(&self, fault: Fault) -> bool;
}
