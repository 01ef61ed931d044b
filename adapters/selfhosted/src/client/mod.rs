//! Clients of the gate: [`Client`] stays whatever the network does; [`Connection`] is one connection with its requests
//! and what the service tells.
//!
//! ```no_run
//! use switchboard_selfhosted::client::{Connection, Endpoint, Told};
//! use switchboard_selfhosted::proto;
//!
//! # async fn example(token: String) -> switchboard_contract::Result<()> {
//! let mut connection = Connection::open(&Endpoint::tcp("127.0.0.1:7071")).await?;
//! let login = proto::Login { user: "alice".into(), token, device: "phone-1".into(), ..Default::default() };
//! connection.login(login).await?;
//! // The backlog, page by page; each pull acknowledges the page before, and the empty page is the end of it.
//! let mut after = 0;
//! loop {
//!     let page = connection.pull(after, 100).await?;
//!     if page.entries.is_empty() {
//!         break;
//!     }
//!     after = page.cursor;
//! }
//! while let Some(told) = connection.next().await {
//!     if let Told::Entry(entry) = told {
//!         connection.acknowledge(entry.position).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod connection;
mod session;

pub use connection::{Connection, Endpoint, Told};
pub use session::{Client, ClientConfig, ClientState, Sender, TokenSource};
