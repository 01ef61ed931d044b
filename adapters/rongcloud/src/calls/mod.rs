//! Calls to the vendor that change something or ask for something other than history.

mod groups;
mod messaging;
mod publish;
mod users;

pub(crate) use publish::check_id;
