//! How the engine learns of everything that happens here: it reads the log as a device reads its timeline. The next
//! look acknowledges the last.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use switchboard_contract::storage::DeviceCursor;
use switchboard_contract::{Error, ErrorKind, Position, RawCallback, Result, UserId};
use tokio::sync::Mutex;

use super::callbacks::Seal;
use super::codec;
use crate::service::Service;

/// Lines in one notice, and its size from which on no more are added.
const LINES: usize = 128;
const BYTES: usize = 256 << 10;
/// The longest look without anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Under which the engine's cursor is kept: no user has an empty name.
const DEVICE: &str = "business";

#[derive(Debug)]
pub(super) struct HubLink {
    service: Service,
    seal: Seal,
    /// What is acknowledged, and what was handed out and is not. `None` until it is read.
    cursor: Mutex<Option<(Position, Position)>>,
}

impl HubLink {
    pub(super) fn new(service: Service, seal: Seal) -> Self {
        Self { service, seal, cursor: Mutex::new(None) }
    }

    pub(super) async fn next(&self) -> Result<Vec<RawCallback>> {
        let mut cursor = self.cursor.lock().await;
        let (acked, out) = match *cursor {
            Some(known) => known,
            None => {
                let stored = self.service.log().device(&UserId::from(""), DEVICE).await?;
                let low = stored.map_or(Position::START, |stored| stored.low);
                (low, low)
            }
        };
        if out > acked {
            self.acknowledge(out).await?;
        }
        *cursor = Some((out, out));
        self.wait(out).await?;
        let lines = self.service.log().log(out, LINES).await?;
        let mut body = BytesMut::from(&b"{\"events\":["[..]);
        let mut last = out;
        for line in lines {
            if last > out {
                body.put_u8(b',');
            }
            body.put_slice(&codec::told(&line)?);
            last = line.position;
            if body.len() >= BYTES {
                break;
            }
        }
        if last == out {
            return Ok(Vec::new());
        }
        body.put_slice(b"]}");
        *cursor = Some((out, last));
        Ok(vec![self.seal.notice(body.freeze(), self.service.clock().now())])
    }

    async fn acknowledge(&self, low: Position) -> Result<()> {
        let seen_at = self.service.clock().now();
        let cursor = DeviceCursor { user: UserId::from(""), device: DEVICE.to_owned(), low, seen_at };
        if self.service.saver().save(cursor).await?.await.unwrap_or(false) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Storage, "the engine's cursor could not be stored"))
        }
    }

    async fn wait(&self, out: Position) -> Result<()> {
        let mut tail = self.service.tail();
        let closed = || Error::new(ErrorKind::Closed, "the service is stopping");
        tokio::select! {
            () = self.service.stopping().cancelled() => Err(closed()),
            found = tail.wait_for(|tail| *tail > out.0) => found.map(drop).map_err(|_| closed()),
            () = self.service.clock().sleep(PATIENCE) => Ok(()),
        }
    }
}
