//! A WebSocket that the library reads and whose frames are written from here: put together once, with whatever else is to
//! go out, in memory that is used again.

use std::cell::Cell;
use std::io::{IoSlice, Write as _};
use std::ops::Range;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use futures::{FutureExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::sidecar::problem::Problem;

/// A peer that takes nothing for this long is gone; it goes on from its last acknowledgement when it comes back.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// Small: a thousand idle streams must not cost megabytes. A consumer's frames are acknowledgements.
const BUFFER: usize = 1 << 10;
/// The largest frame of a consumer.
const LARGEST: usize = 1 << 20;
/// Room for the head of any frame.
const HEAD: usize = 10;
/// More memory than this is not kept for the next frame.
const SPARE: usize = 1 << 20;

thread_local! {
    /// Where frames are put together. One for each thread, so that an idle stream keeps none.
    static FRAMES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Answers the handshake. The socket is there once the answer is written.
pub(super) fn accept(
    mut request: Request,
) -> Result<(Response, impl Future<Output = Result<Socket, hyper::Error>> + use<>), Problem> {
    let refused = |status, text: &str| Problem::new(status, "invalid_input", text);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (parts, _) = request.into_parts();
    let answer = create_response(&axum::http::Request::from_parts(parts, ()))
        .map_err(|error| refused(StatusCode::BAD_REQUEST, &error.to_string()))?;
    let upgrade =
        upgrade.ok_or_else(|| refused(StatusCode::UPGRADE_REQUIRED, "the connection cannot become a WebSocket"))?;
    let socket = async move {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(LARGEST)
            .max_message_size(Some(LARGEST));
        let io = TokioIo::new(upgrade.await?);
        let inner = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Ok(Socket { inner, bytes: Vec::new(), frames: Vec::new() })
    };
    Ok((answer.map(|()| Body::empty()), socket))
}

/// What a consumer sent.
pub(super) enum Heard {
    Text(Utf8Bytes),
    /// A sign of life.
    Life,
}

pub(super) struct Socket {
    inner: WebSocketStream<TokioIo<Upgraded>>,
    /// What goes out next: frames, with gaps between them.
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
}

impl Socket {
    /// The next frame of the consumer; `None` when it is gone. Giving up the wait loses nothing.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        match self.inner.next().await?.ok()? {
            Message::Text(text) => Some(Heard::Text(text)),
            Message::Ping(_) | Message::Pong(_) => Some(Heard::Life),
            Message::Close(_) | Message::Binary(_) | Message::Frame(_) => None,
        }
    }

    /// Puts a text out, as `write` writes it.
    pub(super) fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.put_frame(OpCode::Data(Data::Text), write);
    }

    /// Asks for a sign of life.
    pub(super) fn put_ping(&mut self) {
        self.put_frame(OpCode::Control(Control::Ping), |_| {});
    }

    fn put_frame(&mut self, opcode: OpCode, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.capacity() == 0 {
            self.bytes = FRAMES.take();
        }
        // How long the head is shows only when the rest is there.
        let begin = self.bytes.len() + HEAD;
        self.bytes.resize(begin, 0);
        write(&mut self.bytes);
        let length = (self.bytes.len() - begin) as u64;
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        let start = begin - header.len(length);
        let mut gap = &mut self.bytes[start..begin];
        let written = header.format(length, &mut gap);
        debug_assert!(written.is_ok() && gap.flush().is_ok(), "the head has the room it takes");
        self.frames.push(start..self.bytes.len());
    }

    /// How much is put out and not written, in bytes.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Writes what was put out; `false` when the peer is gone, or takes nothing.
    pub(super) async fn flush(&mut self) -> bool {
        if self.frames.is_empty() {
            return true;
        }
        let written = {
            let mut writing = std::pin::pin!(self.write());
            // Mostly the system takes it at once, and no clock is needed.
            match writing.as_mut().now_or_never() {
                Some(written) => written.is_ok(),
                None => matches!(tokio::time::timeout(SEND_WITHIN, writing).await, Ok(Ok(()))),
            }
        };
        self.frames = Vec::new();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() <= SPARE {
            FRAMES.set(bytes);
        }
        written
    }

    async fn write(&mut self) -> std::io::Result<()> {
        // Nothing of the library's own, a pong, may be half written.
        futures::SinkExt::flush(&mut self.inner).await.map_err(std::io::Error::other)?;
        let io = self.inner.get_mut();
        let mut slices: Vec<IoSlice<'_>> =
            self.frames.iter().map(|frame| IoSlice::new(&self.bytes[frame.clone()])).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = io.write_vectored(rest).await?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, written);
        }
        io.flush().await
    }

    /// Writes what was put out, and says good-bye. A peer that is gone does not hear it.
    pub(super) async fn close(&mut self, farewell: Option<CloseFrame>, within: Duration) {
        let closing = async {
            if self.flush().await {
                // An error means the same: nobody hears it.
                drop(self.inner.close(farewell).await);
            }
        };
        let _ = tokio::time::timeout(within, closing).await;
    }
}
