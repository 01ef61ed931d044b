//! The vendor's JSON to the contract and back. Pure: no I/O, no clock.

mod about;
mod body;
mod callbacks;
mod ext;
mod glance;
mod groups;
mod item;
mod keys;

pub(crate) use body::{encode as encode_body, wire_name};
pub(crate) use callbacks::HuanxinCallbacks;
pub(crate) use ext::{Reserved, write as write_ext};
pub(crate) use glance::glance;
pub(crate) use item::{ItemCodec, Source};
