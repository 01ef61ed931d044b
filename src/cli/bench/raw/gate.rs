//! What the self-hosted service is measured against: a group served the simple way, and a backlog read and sent.

use std::path::Path;

use rusqlite::params;
use switchboard_contract::Result;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::open;
use crate::cli::bench::child::Ready;
use crate::cli::bench::engine::gate::database;
use crate::cli::bench::frames;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::role::{ready, told_to_stop};

/// A row for each member in one transaction, then a write to each member, message after message.
pub(in crate::cli::bench) async fn naive(dir: &Path, members: usize, bytes: usize) -> Result<Figure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed("a port cannot be bound"))?;
    let address = listener.local_addr().map_err(failed("a port cannot be bound"))?;
    ready(Ready { address, meter: None });
    let serving = async {
        let lost = failed("a connection was lost");
        let mut streams = Vec::with_capacity(members);
        for _ in 0..members {
            let (mut stream, _) = listener.accept().await.map_err(&lost)?;
            stream.set_nodelay(true).map_err(&lost)?;
            frames::accept(&mut stream).await?;
            streams.push(stream);
        }
        let mut db = open(&dir.join("naive.db"))?;
        let fail = failed("a raw row cannot be written");
        db.execute_batch(
            "CREATE TABLE received (user INTEGER NOT NULL, message INTEGER NOT NULL, payload BLOB NOT NULL,
             PRIMARY KEY (user, message)) WITHOUT ROWID",
        )
        .map_err(&fail)?;
        let mut frame = Vec::new();
        frames::write_server(&vec![b'x'; bytes], &mut frame);
        for message in 0_i64.. {
            let transaction = db.transaction().map_err(&fail)?;
            for user in 0..streams.len() {
                let sql = "INSERT INTO received (user, message, payload) VALUES (?, ?, ?)";
                let mut insert = transaction.prepare_cached(sql).map_err(&fail)?;
                insert.execute(params![user as i64, message, frame]).map_err(&fail)?;
            }
            transaction.commit().map_err(&fail)?;
            for stream in &mut streams {
                stream.write_all(&frame).await.map_err(&lost)?;
            }
            tokio::task::yield_now().await;
        }
        Ok(Figure::default())
    };
    tokio::select! {
        ended = serving => ended,
        () = told_to_stop() => Ok(Figure::default()),
    }
}

/// Reads what waits for the first user from a service's database and sends it to whoever connects.
pub(in crate::cli::bench) async fn backlog(dir: &Path) -> Result<Figure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed("a port cannot be bound"))?;
    let address = listener.local_addr().map_err(failed("a port cannot be bound"))?;
    let db = database(dir)?;
    ready(Ready { address, meter: None });
    let serving = async {
        let (mut stream, _) = listener.accept().await.map_err(failed("a connection was lost"))?;
        let fail = failed("a raw row cannot be read");
        let mut rows = Vec::new();
        {
            let mut select = db
                .prepare(
                    "SELECT l.place, l.payload FROM gate_inboxes i JOIN gate_lines l ON l.place = i.place
                     WHERE i.user = (SELECT id FROM gate_users WHERE name = 'u0') ORDER BY i.place",
                )
                .map_err(&fail)?;
            let mut found = select.query([]).map_err(&fail)?;
            while let Some(row) = found.next().map_err(&fail)? {
                let payload = row.get_ref(1).and_then(|value| Ok(value.as_blob()?)).map_err(&fail)?;
                rows.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                rows.extend_from_slice(payload);
            }
        }
        stream.write_all(&rows).await.map_err(failed("a connection was lost"))?;
        stream.shutdown().await.map_err(failed("a connection was lost"))?;
        told_to_stop().await;
        Ok(Figure::default())
    };
    serving.await
}

/// Reads such a backlog to its end.
pub(in crate::cli::bench) async fn take(address: std::net::SocketAddr) -> Result<Figure> {
    use tokio::io::AsyncReadExt as _;

    let begun = std::time::Instant::now();
    let lost = failed("the backlog cannot be read");
    let mut stream = tokio::net::TcpStream::connect(address).await.map_err(&lost)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map_err(&lost)?;
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        rest = behind.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
        count += 1;
    }
    Ok(Figure::of(count, begun.elapsed()))
}
