//! WebSockets with nothing behind them: frames written once into one contiguous log, and a cursor for each connection.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use switchboard_contract::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::cli::bench::child::Ready;
use crate::cli::bench::frames;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw::fanout::BURST;
use crate::cli::bench::role::{ready, told_to_stop};

/// Bytes of the log: a ring, written over once everybody has read it.
const RING: usize = 8 << 20;
/// The most that one write takes, so that nobody waits long for a turn.
const CHUNK: usize = 256 << 10;

struct Log {
    /// Whole frames, again and again.
    frames: Vec<u8>,
    /// Bytes published since the start.
    tail: u64,
    /// Bytes each connection has written.
    cursors: Vec<u64>,
}

/// Serves until told to stop. Publishing begins when `connections` are there, and keeps within a ring of the slowest.
pub(in crate::cli::bench) async fn serve(connections: usize, bytes: usize) -> Result<Figure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed("a port cannot be bound"))?;
    let address = listener.local_addr().map_err(failed("a port cannot be bound"))?;
    ready(Ready { address, meter: None });
    let runtime = tokio::runtime::Handle::current();
    let worker = tokio::task::spawn_blocking(move || {
        runtime.block_on(LocalSet::new().run_until(async move {
            tokio::select! {
                ended = publish(listener, connections, bytes) => ended,
                () = told_to_stop() => Ok(Figure::default()),
            }
        }))
    });
    worker.await.map_err(failed("the server ended"))?
}

async fn publish(listener: TcpListener, connections: usize, bytes: usize) -> Result<Figure> {
    let lost = failed("a connection was lost");
    let mut frame = Vec::new();
    frames::write_server(&vec![b'x'; bytes], &mut frame);
    let ring = frame.repeat((RING / frame.len()).max(BURST));
    let burst = (BURST * frame.len()) as u64;
    let log = Rc::new(RefCell::new(Log { frames: ring, tail: 0, cursors: vec![0; connections] }));
    let (grown, read) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
    for connection in 0..connections {
        let (mut stream, _) = listener.accept().await.map_err(&lost)?;
        stream.set_nodelay(true).map_err(&lost)?;
        frames::accept(&mut stream).await?;
        let (log, grown, read) = (Rc::clone(&log), Rc::clone(&grown), Rc::clone(&read));
        tokio::task::spawn_local(async move { write(connection, &stream, &log, &grown, &read).await });
    }
    loop {
        let room = {
            let mut log = log.borrow_mut();
            let slowest = log.cursors.iter().copied().min().unwrap_or(log.tail);
            let room = log.frames.len() as u64 - (log.tail - slowest) >= burst;
            if room {
                log.tail += burst;
            }
            room
        };
        if room {
            grown.notify_waiters();
            tokio::task::yield_now().await;
        } else {
            read.notified().await;
        }
    }
}

/// Writes what is between a connection's cursor and the tail, again and again, until it closes.
async fn write(connection: usize, stream: &TcpStream, log: &RefCell<Log>, grown: &Notify, read: &Notify) {
    loop {
        let news = grown.notified();
        let written = {
            let log = log.borrow();
            let cursor = log.cursors[connection];
            let at = usize::try_from(cursor % log.frames.len() as u64).unwrap_or(0);
            let fresh = usize::try_from(log.tail - cursor).unwrap_or(0).min(log.frames.len() - at).min(CHUNK);
            if fresh == 0 { None } else { Some(stream.try_write(&log.frames[at..at + fresh])) }
        };
        match written {
            None => news.await,
            Some(Ok(written)) => {
                log.borrow_mut().cursors[connection] += written as u64;
                read.notify_one();
                tokio::task::yield_now().await;
            }
            Some(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                if stream.writable().await.is_err() {
                    return;
                }
            }
            Some(Err(_)) => return,
        }
    }
}
