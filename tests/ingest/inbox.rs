//! The inbox alone, under crashes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use switchboard::ingest::inbox::{DiskDir, Found, Inbox, InboxConfig, InboxDir};
use switchboard_contract::ErrorKind;

use crate::disk::{Disk, Mutant};

const LIVES: u64 = 3;

fn config() -> InboxConfig {
    InboxConfig {
        segment_bytes: 64 << 10,
        capacity_bytes: 256 << 10,
        max_pending_bytes: 64 << 10,
        ..InboxConfig::default()
    }
}

fn open(disk: &Disk, consumed: u64) -> switchboard_contract::Result<Inbox> {
    Inbox::open(Found::look(config(), Arc::new(disk.clone()))?, consumed)
}

/// Writer and number of a record.
type Tag = (u32, u64);

fn payload(tag: Tag, filler: usize) -> Vec<u8> {
    let mut bytes = tag.0.to_le_bytes().to_vec();
    bytes.extend_from_slice(&tag.1.to_le_bytes());
    bytes.resize(12 + filler, tag.1 as u8);
    bytes
}

fn tag(payload: &[u8]) -> Tag {
    (u32::from_le_bytes(payload[..4].try_into().unwrap()), u64::from_le_bytes(payload[4..12].try_into().unwrap()))
}

/// What the world outside of the machine knows: it does not crash.
#[derive(Debug, Default)]
struct World {
    /// Records whose append was acknowledged.
    acknowledged: Vec<Tag>,
    /// What was taken out of the inbox and is durable elsewhere, with its place.
    consumed: Vec<(u64, Tag)>,
    mark: u64,
}

async fn append(inbox: Inbox, world: Arc<Mutex<World>>, writer: u32, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for number in 0.. {
        let filler = if rng.random_ratio(1, 12) { rng.random_range(0..20_000) } else { rng.random_range(0..400) };
        let bytes = payload((writer, number), filler);
        let line = inbox.append(bytes.len(), |out| out.extend_from_slice(&bytes)).await;
        let Ok(appending) = line else { return };
        match appending.durable().await {
            Ok(()) => world.lock().acknowledged.push((writer, number)),
            // Full: the consumer makes room. Anything else: the machine has stopped.
            Err(error) if error.kind() == ErrorKind::StorageFull => tokio::task::yield_now().await,
            Err(_) => return,
        }
    }
}

/// Takes records out until told to end, or until the disk fails.
async fn consume(inbox: Inbox, world: Arc<Mutex<World>>, mut until: tokio::sync::watch::Receiver<bool>) {
    let mut durable = inbox.durable();
    while !*until.borrow() {
        durable.mark_unchanged();
        match take_out(&inbox, &world) {
            None => return,
            Some(0) => tokio::select! {
                _ = durable.changed() => {}
                _ = until.changed() => {}
            },
            Some(_) => {}
        }
    }
}

/// One read: how many records it gave, `None` when the disk fails.
fn take_out(inbox: &Inbox, world: &Mutex<World>) -> Option<usize> {
    let mut world = world.lock();
    let (frames, next) = inbox.read(world.mark, 8 << 10).ok()?;
    for frame in &frames {
        world.consumed.push((frame.offset, tag(&frame.payload)));
    }
    world.mark = next;
    inbox.release(next);
    Some(frames.len())
}

/// One life of the process: writes until the machine stops. Returns the disk as the next life finds it.
async fn live(disk: Disk, world: &Arc<Mutex<World>>, life: u64, rng: &mut StdRng) -> Disk {
    disk.stop_after(rng.random_range(1..160));
    let mark = world.lock().mark;
    if let Ok(inbox) = open(&disk, mark) {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            writers.spawn(append(inbox.clone(), world.clone(), (life as u32) * 100 + writer, rng.random()));
        }
        let (end, until) = tokio::sync::watch::channel(false);
        let consumer = tokio::spawn(consume(inbox.clone(), world.clone(), until));
        while writers.join_next().await.is_some() {}
        end.send_replace(true);
        consumer.await.unwrap();
        inbox.close();
    }
    if rng.random_ratio(1, 3) { disk.kill() } else { disk.lose_power(rng.random()) }
}

fn everything(inbox: &Inbox, mut from: u64) -> Vec<(u64, Tag)> {
    let mut found = Vec::new();
    let end = *inbox.durable().borrow();
    while from < end {
        let (frames, next) = inbox.read(from, 4 << 10).unwrap();
        found.extend(frames.iter().map(|frame| (frame.offset, tag(&frame.payload))));
        from = next;
    }
    found
}

/// Every acknowledged record is read back once, in order, through crashes. An error names what went wrong.
async fn round(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = Arc::new(Mutex::new(World::default()));
    let mut disk = Disk::new(mutant);
    for life in 0..LIVES {
        disk = live(disk, &world, life, &mut rng).await;
        // What is believed once must be believed again, whatever happens right after.
        let mark = world.lock().mark;
        let first = open(&disk, mark).map_err(|error| error.to_string())?;
        let believed = everything(&first, mark);
        first.close();
        disk = disk.lose_power(rng.random());
        let again = open(&disk, mark).map_err(|error| error.to_string())?;
        let found = everything(&again, mark);
        if found != believed {
            return Err(format!("life {life}: {believed:?} was read, and then {found:?}"));
        }
        again.close();
        disk = disk.kill();
    }
    let World { acknowledged, consumed: mut found, mark } = std::mem::take(&mut *world.lock());
    let inbox = open(&disk, mark).map_err(|error| error.to_string())?;
    found.extend(everything(&inbox, mark));
    inbox.close();
    judge(&acknowledged, &found)
}

fn judge(acknowledged: &[Tag], found: &[(u64, Tag)]) -> Result<(), String> {
    let tags: HashSet<Tag> = found.iter().map(|(_, tag)| *tag).collect();
    if let Some(lost) = acknowledged.iter().find(|tag| !tags.contains(tag)) {
        return Err(format!("acknowledged and lost: {lost:?}"));
    }
    if tags.len() != found.len() {
        return Err("a record was read twice".to_owned());
    }
    if !found.is_sorted_by(|one, other| one.0 < other.0) {
        return Err("an offset was given twice".to_owned());
    }
    let mut last = HashMap::new();
    for (_, (writer, number)) in found {
        if last.insert(*writer, *number).is_some_and(|before| before >= *number) {
            return Err(format!("writer {writer}: out of order at {number}"));
        }
    }
    Ok(())
}

fn rounds(default: u64) -> u64 {
    std::env::var("SWITCHBOARD_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_every_acknowledged_record_survives_any_crash_once_and_in_order() {
    let first: u64 =
        std::env::var("SWITCHBOARD_CRASH_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    for seed in (0..rounds(200)).map(|round| first.wrapping_add(round)) {
        if let Err(fault) = round(seed, Mutant::None).await {
            panic!("SWITCHBOARD_CRASH_SEED={seed}: {fault}");
        }
    }
}

/// The test above can fail: it does as soon as any kind of sync is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i01_a_left_out_sync_is_noticed() {
    for mutant in [Mutant::FileSync, Mutant::DirectorySync] {
        let mut noticed = false;
        for seed in 0..60 {
            noticed = round(seed, mutant).await.is_err();
            if noticed {
                break;
            }
        }
        assert!(noticed, "{mutant:?} went unnoticed");
    }
}

async fn put(inbox: &Inbox, number: u64, size: usize) -> switchboard_contract::Result<()> {
    let bytes = payload((0, number), size);
    inbox.append(bytes.len(), |out| out.extend_from_slice(&bytes)).await?.durable().await
}

#[tokio::test]
async fn a_full_inbox_refuses_cleanly_and_takes_records_again_once_there_is_room() {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    let mut taken = 0;
    let refusal = loop {
        match put(&inbox, taken, 1000).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::StorageFull);
    assert!(taken > 200, "only {taken} fit");
    let found = everything(&inbox, 0);
    assert_eq!(found.iter().map(|(_, tag)| tag.1).collect::<Vec<_>>(), (0..taken).collect::<Vec<_>>());
    assert_eq!(put(&inbox, taken, 1000).await.unwrap_err().kind(), ErrorKind::StorageFull);

    let half = found[found.len() / 2].0;
    inbox.release(half);
    put(&inbox, taken, 1000).await.unwrap();
    let left = everything(&inbox, half);
    assert_eq!(left.len(), found.len() - found.len() / 2 + 1);
    assert_eq!(left.last().unwrap().1.1, taken);
    inbox.close();
}

#[test]
fn an_inbox_without_room_for_two_segments_is_not_opened() {
    let disk = Disk::default();
    disk.limit_room(100 << 10);
    assert_eq!(open(&disk, 0).unwrap_err().kind(), ErrorKind::StorageFull);
    let disk = Disk::default();
    disk.limit_room(200 << 10);
    open(&disk, 0).unwrap().close();
}

#[tokio::test]
async fn a_record_that_fits_no_segment_is_refused() {
    let inbox = open(&Disk::default(), 0).unwrap();
    assert_eq!(put(&inbox, 0, 64 << 10).await.unwrap_err().kind(), ErrorKind::TooLarge);
    put(&inbox, 0, 60 << 10).await.unwrap();
    inbox.close();
    assert_eq!(put(&inbox, 0, 1).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_store_that_knows_more_than_the_disk_kept_is_believed() {
    let disk = Disk::default();
    let inbox = open(&disk, 1_000_000).unwrap();
    put(&inbox, 1, 10).await.unwrap();
    assert_eq!(everything(&inbox, 1_000_000), vec![(1_000_000, (0, 1))]);
    inbox.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_a_sync() {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    put(&inbox, 0, 10).await.unwrap();
    let before = disk.syncs();
    disk.stall(true);
    let mut callers = tokio::task::JoinSet::new();
    for number in 1..=100 {
        let inbox = inbox.clone();
        callers.spawn(async move { put(&inbox, number, 10).await });
    }
    while inbox.accepted() < 101 * 34 {
        tokio::task::yield_now().await;
    }
    disk.stall(false);
    while let Some(outcome) = callers.join_next().await {
        outcome.unwrap().unwrap();
    }
    // One that was under way, and one for all who waited behind it.
    assert!(disk.syncs() - before <= 2, "{} syncs", disk.syncs() - before);
    inbox.close();
}

#[tokio::test]
async fn a_real_directory_is_locked_reserved_and_found_again() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/inbox");
    let look = || DiskDir::open(&path).map(|dir| Found::look(config(), Arc::new(dir)).unwrap());
    let inbox = Inbox::open(look().unwrap(), 0).unwrap();
    let name = inbox.name();
    assert_eq!(look().unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    put(&inbox, 7, 5000).await.unwrap();
    inbox.close();
    drop(inbox);
    let found = look().unwrap();
    assert_eq!(found.name(), name);
    let inbox = Inbox::open(found, 0).unwrap();
    assert_eq!(everything(&inbox, 0), vec![(0, (0, 7))]);
    assert_eq!(inbox.records(), 1);
    let sizes: Vec<u64> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".segment"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert_eq!(sizes, vec![64 << 10; 4]);
    inbox.close();
}

#[test]
fn segments_of_two_inboxes_are_never_mixed() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let disks = [Disk::default(), Disk::default()];
    for disk in &disks {
        let inbox = open(disk, 0).unwrap();
        runtime.block_on(put(&inbox, 0, 10)).unwrap();
        inbox.close();
    }
    let other = disks[1].open("000000.segment").unwrap();
    let mut bytes = vec![0; 64 << 10];
    other.read_at(&mut bytes, 0).unwrap();
    disks[0].create("foreign.segment", 64 << 10).unwrap().write_at(&bytes, 0).unwrap();
    assert_eq!(Found::look(config(), Arc::new(disks[0].clone())).unwrap_err().kind(), ErrorKind::Config);
}

/// Sixty records, each written by itself and so large that there are several segments. Bits are flipped in some of them.
async fn with_flipped_bits(records: &[u64], place: usize) -> (Disk, Vec<u64>) {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    for number in 0..60 {
        put(&inbox, number, 2_000).await.unwrap();
    }
    inbox.close();
    for number in records {
        let (name, at) = disk.find(&payload((0, *number), 2_000)).unwrap();
        disk.flip(&name, at + 100 - place);
    }
    let left = (0..60).filter(|number| !records.contains(number)).collect();
    (disk.kill(), left)
}

#[tokio::test]
async fn damage_costs_the_records_it_is_in_and_none_behind_them() {
    // A payload, its checksum, its mark, its length; in the first record, next to each other, in closed segments and in
    // the one that was written to last.
    for place in [0, 103, 106, 110] {
        let (disk, left) = with_flipped_bits(&[0, 10, 11, 12, 31, 50], place).await;
        let inbox = open(&disk, 0).unwrap();
        assert_eq!(inbox.records(), left.len() as u64, "{place}");
        put(&inbox, 60, 10).await.unwrap();
        let found: Vec<u64> = everything(&inbox, 0).into_iter().map(|(_, tag)| tag.1).collect();
        assert_eq!(found, [left, vec![60]].concat(), "{place}");
        inbox.close();
    }
}

#[tokio::test]
async fn damage_that_comes_while_it_is_open_costs_no_more() {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    for number in 0..60 {
        put(&inbox, number, 2_000).await.unwrap();
    }
    for number in [3, 4, 59] {
        let (name, at) = disk.find(&payload((0, number), 2_000)).unwrap();
        disk.flip(&name, at);
    }
    let found: Vec<u64> = everything(&inbox, 0).into_iter().map(|(_, tag)| tag.1).collect();
    assert_eq!(found, (0..59).filter(|number| ![3, 4].contains(number)).collect::<Vec<_>>());
    inbox.close();
}

#[tokio::test]
async fn a_segment_with_a_damaged_header_is_neither_read_nor_used_again() {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    for number in 0..60 {
        put(&inbox, number, 2_000).await.unwrap();
    }
    inbox.close();
    let (name, _) = disk.find(&payload((0, 40), 2_000)).unwrap();
    disk.flip(&name, 20);
    let disk = disk.kill();
    let before = content(&disk, &name);
    let inbox = open(&disk, 0).unwrap();
    let found = everything(&inbox, 0);
    assert!((20..60).contains(&found.len()), "{} are left", found.len());
    // As much room as before.
    inbox.release(*inbox.durable().borrow());
    for number in 0..80 {
        put(&inbox, number, 2_000).await.unwrap();
    }
    inbox.close();
    assert_eq!(content(&disk, &name), before);
}

fn content(disk: &Disk, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    disk.open(name).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

#[tokio::test]
async fn a_disk_that_fails_is_tried_again_by_itself() {
    let disk = Disk::default();
    let inbox = open(&disk, 0).unwrap();
    put(&inbox, 1, 1_000).await.unwrap();
    for (refusal, kind) in [
        (std::io::ErrorKind::StorageFull, ErrorKind::StorageFull),
        (std::io::ErrorKind::PermissionDenied, ErrorKind::Storage),
    ] {
        disk.refuse(Some(refusal));
        // More often than there are segments: none of them may stay behind.
        for number in 0..10 {
            assert_eq!(put(&inbox, 100 + number, 1_000).await.unwrap_err().kind(), kind);
        }
        assert_eq!(inbox.trouble().unwrap().kind(), kind);
        disk.refuse(None);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while inbox.trouble().is_some() {
            assert!(std::time::Instant::now() < deadline, "it was not tried again");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    put(&inbox, 2, 1_000).await.unwrap();
    assert_eq!(everything(&inbox, 0).into_iter().map(|(_, tag)| tag.1).collect::<Vec<_>>(), [1, 2]);
    inbox.close();
    let inbox = open(&disk.lose_power(1), 0).unwrap();
    assert_eq!(everything(&inbox, 0).into_iter().map(|(_, tag)| tag.1).collect::<Vec<_>>(), [1, 2]);
    inbox.close();
}
