//! The web server alone.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use switchboard_contract::Result;
use tokio::net::TcpListener;

use crate::cli::bench::child::Ready;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::role::{ready, told_to_stop};

/// Takes a body and answers 200 without a word.
pub(in crate::cli::bench) async fn empty_post() -> Result<Figure> {
    serve(Router::new().route("/callbacks/{provider}", post(|_: Bytes| async { StatusCode::OK }))).await
}

/// Keeps WebSockets open, with the smallest buffers that make sense.
pub(in crate::cli::bench) async fn idle_sockets() -> Result<Figure> {
    let upgrade = |upgrade: WebSocketUpgrade| async {
        upgrade.read_buffer_size(4096).write_buffer_size(4096).max_write_buffer_size(64 << 10).on_upgrade(wait)
    };
    serve(Router::new().route("/{*path}", get(upgrade))).await
}

async fn wait(mut socket: WebSocket) {
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn serve(routes: Router) -> Result<Figure> {
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(failed("a port cannot be bound"))?;
    let address = listener.local_addr().map_err(failed("a port cannot be bound"))?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    ready(Ready { address, meter: None });
    // Dropping the server ends it: whoever drives it has what it wanted.
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served.map_err(failed("the server ended"))?,
        () = told_to_stop() => {}
    }
    Ok(Figure::default())
}
