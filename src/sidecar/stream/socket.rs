//! A WebSocket that the library reads and whose frames are written from here: put together once, with whatever else is to
//! go out, in memory that is used again.

use std::cell::Cell;
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
        Ok(Socket { inner, bytes: Vec::new() })
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
    /// The frames that go out next.
    bytes: Vec<u8>,
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

    /// Puts a text out, as `write` writes it: of about so many bytes.
    pub(super) fn put(&mut self, about: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.put_frame(OpCode::Data(Data::Text), about, write);
    }

    /// Puts a text out.
    pub(super) fn put_text(&mut self, text: &str) {
        self.put(text.len(), |out| out.extend_from_slice(text.as_bytes()));
    }

    /// Asks for a sign of life.
    pub(super) fn put_ping(&mut self) {
        self.put_frame(OpCode::Control(Control::Ping), 0, |_| {});
    }

    fn put_frame(&mut self, opcode: OpCode, about: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.capacity() == 0 {
            self.bytes = FRAMES.take();
        }
        append(&mut self.bytes, opcode, about, write);
    }

    /// How much is put out and not written, in bytes.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Writes what was put out; `false` when the peer is gone, or takes nothing.
    pub(super) async fn flush(&mut self) -> bool {
        if self.bytes.is_empty() {
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
        io.write_all(&self.bytes).await?;
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

/// Appends a frame whose payload has about so many bytes.
fn append(out: &mut Vec<u8>, opcode: OpCode, about: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let start = out.len();
    // How long the head is shows only when the rest is there; a wrong guess costs a move of the rest.
    let begin = start + header.len(about as u64);
    out.resize(begin, 0);
    write(out);
    let mut head = Vec::new();
    let formatted = header.format((out.len() - begin) as u64, &mut head);
    debug_assert!(formatted.is_ok(), "memory takes everything");
    out.splice(start..begin, head);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_frame_is_whole_however_wrong_its_size_was_guessed() {
        for length in [0, 125, 126, 65_535, 65_536] {
            for about in [0, 126, 65_536] {
                let mut out = Vec::new();
                append(&mut out, OpCode::Control(Control::Ping), 0, |_| {});
                append(&mut out, OpCode::Data(Data::Text), about, |out| out.extend(std::iter::repeat_n(b'x', length)));
                let mut read = Cursor::new(&out[..]);
                let (ping, nothing) = FrameHeader::parse(&mut read).unwrap().unwrap();
                let (text, there) = FrameHeader::parse(&mut read).unwrap().unwrap();
                assert_eq!((ping.opcode, nothing), (OpCode::Control(Control::Ping), 0));
                assert_eq!((text.opcode, there), (OpCode::Data(Data::Text), length as u64));
                let rest = &out[usize::try_from(read.position()).unwrap()..];
                assert!(rest.len() == length && rest.iter().all(|byte| *byte == b'x'), "{length} guessed as {about}");
            }
        }
    }
}
