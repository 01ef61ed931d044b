//! Packets over a stream, whatever its form: plain TCP, or WebSocket in binary or JSON.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use switchboard_contract::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebError, Message};

use crate::frame::{BINARY_PROTOCOL, Decoder, FrameError, HEADER_BYTES, JSON_PROTOCOL, Packet, from_json, to_json};
use crate::outbox::{Outbox, Part, binary, message_head, write_chunks};
use crate::stream::Io;

/// Small on purpose: there are many connections, and most are silent.
const BUFFER: usize = 4096;

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The other side is gone.
    Gone,
    /// It does not take what is written to it.
    Slow,
    /// What it sends is no packet.
    Fault(FrameError),
}

/// Which end of a WebSocket this is: a client must mask what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// A connection that carries packets.
pub(crate) enum Transport {
    Tcp {
        io: Io,
        decoder: Decoder,
    },
    Binary {
        socket: Box<WebSocketStream<Io>>,
        decoder: Decoder,
        role: Side,
        /// Everything that had come was read.
        drained: bool,
        /// The library has something of its own to write, a pong.
        owes: bool,
    },
    Json {
        socket: Box<WebSocketStream<Io>>,
    },
}

fn limits(limit: u32) -> WebSocketConfig {
    let most = limit as usize + HEADER_BYTES;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(most * 2 + (1 << 20))
        .max_message_size(Some(most * 2))
        .max_frame_size(Some(most * 2))
}

impl Transport {
    pub(crate) fn tcp(io: Io, limit: u32) -> Self {
        Self::Tcp { io, decoder: Decoder::new(limit) }
    }

    /// Answers a WebSocket handshake. Without a subprotocol we know, packets are binary.
    pub(crate) async fn websocket(io: Io, limit: u32) -> Result<Self, WebError> {
        let mut json = false;
        #[allow(clippy::result_large_err, reason = "the form is tungstenite's")]
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let asked = request.headers().get_all("sec-websocket-protocol").iter();
            let mut words = asked.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
            if let Some(word) = words.find_map(|word| match word.trim() {
                JSON_PROTOCOL => Some(JSON_PROTOCOL),
                BINARY_PROTOCOL => Some(BINARY_PROTOCOL),
                _ => None,
            }) {
                json = word == JSON_PROTOCOL;
                response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(word));
            }
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async_with_config(io, choose, Some(limits(limit))).await?;
        let socket = Box::new(socket);
        if json {
            return Ok(Self::Json { socket });
        }
        Ok(Self::Binary { socket, decoder: Decoder::new(limit), role: Side::Server, drained: false, owes: false })
    }

    /// Opens a WebSocket as a client, for binary packets.
    pub(crate) async fn open_websocket(io: Io, host: &str, limit: u32) -> Result<Self, WebError> {
        let mut request = format!("ws://{host}/").into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(BINARY_PROTOCOL));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, io, Some(limits(limit))).await?;
        let (socket, decoder) = (Box::new(socket), Decoder::new(limit));
        Ok(Self::Binary { socket, decoder, role: Side::Client, drained: false, owes: false })
    }

    /// The next packet. May be dropped and called again at any time.
    pub(crate) async fn read(&mut self) -> Result<Packet, Lost> {
        match self {
            Self::Tcp { io, decoder } => loop {
                if let Some(packet) = decoder.next_packet().map_err(Lost::Fault)? {
                    return Ok(packet);
                }
                decoder.buffer().reserve(BUFFER);
                match io.read_buf(decoder.buffer()).await {
                    Ok(0) | Err(_) => return Err(Lost::Gone),
                    Ok(_) => {}
                }
            },
            Self::Binary { socket, decoder, drained, owes, .. } => loop {
                if let Some(packet) = decoder.next_packet().map_err(Lost::Fault)? {
                    return Ok(packet);
                }
                match poll_fn(|context| poll_message(socket, drained, context)).await? {
                    Message::Binary(bytes) => decoder.extend(&bytes),
                    Message::Text(_) => return Err(Lost::Fault(FrameError::Body("text on a binary link".to_owned()))),
                    _ => *owes = true,
                }
            },
            Self::Json { socket } => loop {
                match poll_fn(|context| poll_message(socket, &mut false, context)).await? {
                    Message::Text(text) => return from_json(&text).map_err(Lost::Fault),
                    Message::Binary(_) => {
                        return Err(Lost::Fault(FrameError::Body("bytes on a JSON link".to_owned())));
                    }
                    _ => {}
                }
            },
        }
    }

    /// A packet that has come already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Packet>, Lost> {
        match self {
            Self::Tcp { decoder, .. } | Self::Binary { decoder, .. } => decoder.next_packet().map_err(Lost::Fault),
            Self::Json { .. } => Ok(None),
        }
    }

    /// The connection itself and whether WebSocket messages go over it, if somebody else may write to it now: where the
    /// forms are shared, and nothing of this transport's own waits.
    pub(crate) fn plain(&self) -> Option<(&Arc<TcpStream>, bool)> {
        match self {
            Self::Tcp { io, .. } => io.plain().map(|stream| (stream, false)),
            Self::Binary { socket, role: Side::Server, owes: false, .. } => {
                socket.get_ref().plain().map(|stream| (stream, true))
            }
            Self::Binary { .. } | Self::Json { .. } => None,
        }
    }

    /// Writes packets, all of them at once where that is possible.
    pub(crate) async fn write(&mut self, out: &mut Outbox, within: Duration, clock: &dyn Clock) -> Result<(), Lost> {
        if out.is_empty() {
            return Ok(());
        }
        let mut writing = std::pin::pin!(self.write_all(out));
        // Mostly the system takes it at once, and no clock is needed.
        if let Some(written) = writing.as_mut().now_or_never() {
            return written;
        }
        tokio::select! {
            biased;
            written = writing => written,
            () = clock.sleep(within) => Err(Lost::Slow),
        }
    }

    async fn write_all(&mut self, out: &mut Outbox) -> Result<(), Lost> {
        if let Some(rest) = out.take_rest() {
            let written = match self {
                Self::Tcp { io, .. } => write_chunks(io, &[rest]).await,
                Self::Binary { socket, .. } | Self::Json { socket } => write_chunks(socket.get_mut(), &[rest]).await,
            };
            written.map_err(|_| Lost::Gone)?;
            if out.is_empty() {
                return Ok(());
            }
        }
        if let Self::Binary { socket, role: Side::Server, owes: false, .. } = self
            && let Some(message) = out.take_message()
        {
            return write_chunks(socket.get_mut(), &[message]).await.map_err(|_| Lost::Gone);
        }
        let (size, parts) = (out.size(), out.take());
        match self {
            Self::Tcp { io, .. } => {
                let chunks = binary(parts, size, |_, _| {});
                write_chunks(io, &chunks).await.map_err(|_| Lost::Gone)
            }
            Self::Binary { socket, role: Side::Server, owes, .. } => {
                let chunks = binary(parts, size, message_head);
                // Nothing of the library's own may be half written.
                if *owes {
                    socket.flush().await.map_err(|_| Lost::Gone)?;
                    *owes = false;
                }
                write_chunks(socket.get_mut(), &chunks).await.map_err(|_| Lost::Gone)
            }
            Self::Binary { socket, role: Side::Client, .. } => {
                let chunks = binary(parts, size, |_, _| {});
                let whole = match <[_; 1]>::try_from(chunks) {
                    Ok([only]) => only,
                    Err(chunks) => chunks.concat().into(),
                };
                socket.send(Message::Binary(whole)).await.map_err(|_| Lost::Gone)
            }
            Self::Json { socket } => {
                for part in parts {
                    match part {
                        Part::Packet(packet) => {
                            let text = to_json(&packet).map_err(Lost::Fault)?;
                            socket.feed(Message::text(text)).await.map_err(|_| Lost::Gone)?;
                        }
                        Part::Piece(piece) => {
                            for text in piece.json() {
                                socket.feed(Message::Text(text.clone())).await.map_err(|_| Lost::Gone)?;
                            }
                        }
                    }
                }
                socket.flush().await.map_err(|_| Lost::Gone)
            }
        }
    }

    /// Says good-bye as the form has it.
    pub(crate) async fn close(&mut self, within: Duration, clock: &dyn Clock) {
        let closing = async {
            match self {
                Self::Tcp { io, .. } => drop(io.shutdown().await),
                Self::Binary { socket, .. } | Self::Json { socket } => drop((**socket).close(None).await),
            }
        };
        tokio::select! {
            () = closing => {}
            () = clock.sleep(within) => {}
        }
    }
}

/// The next message. The library clears a buffer whenever it tries to read: what was drained is asked first.
fn poll_message(
    socket: &mut WebSocketStream<Io>,
    drained: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Result<Message, Lost>> {
    if *drained {
        ready!(socket.get_mut().poll_readable(context));
    }
    let next = socket.poll_next_unpin(context);
    *drained = next.is_pending();
    Poll::Ready(match ready!(next) {
        Some(Ok(Message::Close(_))) | None => Err(Lost::Gone),
        Some(Ok(message)) => Ok(message),
        Some(Err(WebError::Capacity(_))) => Err(Lost::Fault(FrameError::TooLong { length: u32::MAX, limit: 0 })),
        Some(Err(_)) => Err(Lost::Gone),
    })
}
