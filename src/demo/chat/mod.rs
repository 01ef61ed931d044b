//! `switchboard demo --chat`: a chat page for two browser tabs, on the messaging service of our own.
//!
//! The page is the JavaScript client and some HTML around it. Behind it runs the product as anybody would run it: one
//! provider `kind = "selfhosted"`, the sidecar, a SQLite file, and a business that subscribes and answers. What is told
//! of the past was said through the same service, under an earlier clock.

mod page;
mod past;
mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use switchboard_contract::{Error, ErrorKind, Result};
use tokio::net::TcpListener;

use super::report::Report;
use crate::cli::{print_line, wait_for_stop};
use service::Chat;

/// The page's port, if it is free.
const PORT: u16 = 7080;

/// What the command line says of the chat.
#[derive(Debug, clap::Args)]
pub(super) struct ChatOptions {
    /// Serve a chat page for two browser tabs instead, on a messaging service of our own, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["messages", "keep"])]
    pub(super) chat: bool,
    /// The chat page's port; by default 7080, or a free one when that is taken.
    #[arg(long, requires = "chat")]
    port: Option<u16>,
    /// Keep the chat's files in this directory, and go on where it ended. By default they end with the demo.
    #[arg(long, requires = "chat")]
    directory: Option<PathBuf>,
}

pub(super) async fn run(options: ChatOptions, report: &Report) -> Result<()> {
    let listener = listen(options.port).await?;
    let address = listener.local_addr().map_err(unusable)?;
    let chat = Arc::new(Chat::open(options.directory).await?);
    let page = page::Page::serve(listener, chat.clone());
    tell(report, &chat, address);
    let stopped = tokio::select! {
        stopped = wait_for_stop() => stopped,
        failed = chat.restart_when_asked() => failed,
    };
    page.stop().await;
    stopped.and(chat.close().await)
}

async fn listen(port: Option<u16>) -> Result<TcpListener> {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match port {
        Some(port) => at(port).await.map_err(unusable),
        None => match at(PORT).await {
            Ok(listener) => Ok(listener),
            Err(_) => at(0).await.map_err(unusable),
        },
    }
}

fn unusable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("the chat page cannot be served: {error}")).with_source(error)
}

fn tell(report: &Report, chat: &Chat, address: SocketAddr) {
    report.title("Switchboard: a chat of your own");
    report.text("Open these in two browser tabs and talk:");
    print_line(format_args!("  http://{address}/?user=alice"));
    print_line(format_args!("  http://{address}/?user=bob"));
    report.text("There is some past in it, 60 days long. Support is a program that answers through the engine.");
    report.chapter("Where everything is");
    print_line(format_args!("  gate                 {}", chat.gate_url()));
    print_line(format_args!("  sidecar and API      {}   (token: {})", chat.api_url(), super::stage::TOKEN));
    print_line(format_args!("  database and inbox   {}", chat.directory().display()));
    report.text("\nThe business may speak, too:");
    print_line(format_args!(
        "  switchboard send --url {} --token {} --from support --user alice --text \"Good news\"",
        chat.api_url(),
        super::stage::TOKEN
    ));
    report.text("\nCtrl-C ends it.");
}
