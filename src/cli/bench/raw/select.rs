//! Reading a journal in order by the bare driver.

use std::path::Path;
use std::time::Instant;

use switchboard_contract::Result;

use crate::cli::bench::engine::append::FILE;
use crate::cli::bench::events::conversation;
use crate::cli::bench::measure::{Figure, failed};
use crate::cli::bench::raw::open;

/// Reads one conversation in the order of its history, in one statement by its index, and copies what a reader is given.
pub(in crate::cli::bench) fn history(source: &Path) -> Result<Figure> {
    let fail = failed("rows cannot be read");
    let db = open(&source.join(FILE))?;
    let begun = Instant::now();
    let mut statement = db
        .prepare(
            "SELECT j.head, j.json FROM histories h CROSS JOIN journal j ON j.place = h.place
             WHERE h.tenant = 1 AND h.conversation = (SELECT id FROM conversations WHERE tenant = 1 AND name = ?)
             ORDER BY h.sent_at, h.sort_key, h.message",
        )
        .map_err(&fail)?;
    let mut rows = statement.query([conversation(0).as_str()]).map_err(&fail)?;
    let mut count = 0_u64;
    while let Some(row) = rows.next().map_err(&fail)? {
        let (head, json): (Vec<u8>, Vec<u8>) = (row.get(0).map_err(&fail)?, row.get(1).map_err(&fail)?);
        std::hint::black_box((head, json));
        count += 1;
    }
    Ok(Figure::of(count, begun.elapsed()))
}

/// Reads every row once, in one statement, and copies what a subscriber is given of it.
pub(in crate::cli::bench) fn run(source: &Path) -> Result<Figure> {
    let fail = failed("rows cannot be read");
    let db = open(&source.join(FILE))?;
    let begun = Instant::now();
    let mut statement = db.prepare("SELECT place, head, json FROM journal ORDER BY place").map_err(&fail)?;
    let mut rows = statement.query([]).map_err(&fail)?;
    let (mut count, mut bytes) = (0_u64, 0_usize);
    while let Some(row) = rows.next().map_err(&fail)? {
        let json: Vec<u8> = row.get(2).map_err(&fail)?;
        let head: Vec<u8> = row.get(1).map_err(&fail)?;
        let place: i64 = row.get(0).map_err(&fail)?;
        std::hint::black_box((place, head));
        bytes += json.len();
        count += 1;
    }
    std::hint::black_box(bytes);
    Ok(Figure::of(count, begun.elapsed()))
}
