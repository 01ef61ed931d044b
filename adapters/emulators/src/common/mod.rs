//! What both vendors' emulators share: a clock that can be driven, faults, the ledger of ground truth, the sender of
//! callbacks with retry and ban rules, a listener that can cut connections, and the control surface.
//!
//! Nothing here knows a vendor's paths, bodies or error codes; those arrive through [`FaultReplies`] and
//! [`CallbackJob`].

mod ban;
mod callbacks;
mod chance;
mod control;
mod faults;
mod gate;
mod job;
mod ledger;
mod listener;
mod time;

pub use ban::{BanAction, BanPolicy};
pub use callbacks::CallbackSender;
pub use chance::{CallbackPlan, FaultEngine, RestPlan};
pub use control::{ActionError, Controlled, control_router};
pub use faults::{CallbackFaults, FaultAction, FaultScript, FaultStep, Faults, HistoryFaults, RestFaults, Trigger};
pub use gate::{FaultReplies, GateState, gate};
pub use job::{
    Accepts, CallbackJob, CallbackPolicy, DirectFailure, DirectReply, OutcomeHook, OutgoingCallback, Render,
};
pub use ledger::{
    AttemptRecord, CallbackRecord, Counters, DropReason, Ledger, LedgerLimits, LedgerMessage, RequestRecord, Source,
};
pub use listener::{Connection, Domains, StartError};
pub use time::{Elapsed, Time};
