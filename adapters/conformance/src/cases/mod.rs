//! The cases, and how one is run.

mod callbacks;
mod errors;
mod history;
mod people;
mod sending;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use switchboard_contract::{Body, CallHeaders, Error, Ext, OutboundMessage, SendOptions, Target, VendorUserId};

use crate::world::World;

/// How a case ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The provider keeps the contract here.
    Passed,
    /// It does not apply, for this reason.
    Skipped(String),
}

/// What a provider did against the contract.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(format!("a call that should work failed: {error:?}"))
    }
}

type Verdict = Result<Outcome, Failure>;
type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// One case: a name and what it does.
pub struct Case {
    /// The name, a statement that the provider makes true.
    pub name: &'static str,
    run: for<'a> fn(&'a dyn World) -> Running<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every case, in the order in which they are worth reading.
        pub const CASES: &[Case] = &[$(Case { name: stringify!($name), run: |world| Box::pin($module::$name(world)) }),*];
    };
}

cases![
    errors::probe_accepts_good_credentials,
    errors::probe_refuses_wrong_credentials,
    sending::sends_are_accepted_once_and_acknowledged_for_each_recipient,
    sending::groups_and_rooms_are_not_confused,
    sending::bodies_arrive_whole,
    sending::what_cannot_be_carried_is_refused_unsent,
    errors::a_lost_answer_is_not_repeated,
    errors::a_rate_limit_may_be_tried_again,
    errors::a_page_of_html_means_unavailable,
    errors::an_expired_token_is_renewed,
    callbacks::callbacks_come_out_once_and_in_order,
    callbacks::a_wrong_signature_is_refused,
    callbacks::nothing_unknown_is_lost,
    callbacks::a_mark_comes_back_and_leaves_no_trace,
    callbacks::a_recall_has_one_key,
    history::paging_reaches_every_message_once,
    history::files_and_callbacks_agree,
    people::users_are_made_once,
    people::groups_hold_their_members,
];

/// Runs the case of that name in a fresh world.
///
/// # Errors
/// What the provider did against the contract; also an unknown name.
pub async fn run(name: &str, world: &dyn World) -> Result<Outcome, Failure> {
    let Some(case) = CASES.iter().find(|case| case.name == name) else {
        return Err(Failure::new(format!("there is no case {name}")));
    };
    (case.run)(world).await.map_err(|failure| Failure::new(format!("{name}: {failure}")))
}

fn skipped(reason: &str) -> Verdict {
    Ok(Outcome::Skipped(reason.to_owned()))
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::cases::Failure::new(format!($($text)*)));
        }
    };
}
use ensure;

fn message(from: &VendorUserId, target: Target, body: Body) -> OutboundMessage {
    OutboundMessage {
        from: from.clone(),
        target,
        body,
        ext: Ext::new(),
        mark: None,
        mentions_everyone: false,
        mentions: Vec::new(),
        options: SendOptions::default(),
        headers: CallHeaders::new(),
    }
}

fn group(world: &dyn World) -> Target {
    Target::Group { group: world.group(), channel: None, audience: Vec::new() }
}
