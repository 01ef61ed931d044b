//! The streams of bytes that packets go over.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream of bytes both ways.
pub(crate) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Whether trying to read may bring something, which costs less than trying.
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// The connection itself, where what is written to the stream is what goes over the wire.
    fn plain(&self) -> Option<&Arc<TcpStream>> {
        None
    }
}

pub(crate) type Io = Box<dyn Bytestream>;

impl Bytestream for TcpStream {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(context).map(drop)
    }
}

impl Bytestream for tokio_rustls::server::TlsStream<TcpStream> {}
impl Bytestream for tokio_rustls::client::TlsStream<TcpStream> {}

/// A connection without TLS that others may write to as well, in turn.
#[derive(Debug)]
pub(crate) struct Plain(Arc<TcpStream>);

impl Plain {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// The stream, while nobody else holds it: then the runtime knows better what has been read.
    fn alone(&mut self) -> Option<Pin<&mut TcpStream>> {
        Arc::get_mut(&mut self.0).map(Pin::new)
    }

    fn poll_try_write(&self, context: &mut Context<'_>, write: impl Fn() -> Result<usize>) -> Poll<Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Bytestream for Plain {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ready(context).map(drop)
    }

    fn plain(&self) -> Option<&Arc<TcpStream>> {
        Some(&self.0)
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if let Some(stream) = self.alone() {
            return stream.poll_read(context, into);
        }
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(into.initialize_unfilled()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.alone() {
            Some(stream) => stream.poll_write(context, bytes),
            None => self.poll_try_write(context, || self.0.try_write(bytes)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.alone() {
            Some(stream) => stream.poll_write_vectored(context, slices),
            None => self.poll_try_write(context, || self.0.try_write_vectored(slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        // The system has it already.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.alone() {
            Some(stream) => stream.poll_shutdown(context),
            None => Poll::Ready(Err(Error::other("somebody else still writes to the connection"))),
        }
    }
}
