//! The short way to a device. To wake the session of each of hundreds of devices for one and the same message costs more
//! than to write it. So a session that has nothing to do lends its connection, and whoever hands out a run for many writes
//! it there, whole messages only. The session takes its connection back before it reads or writes anything itself, and
//! learns then what was written; what could not go out as a whole is left to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard_contract::{Clock, Timestamp};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::routes::Route;
use super::run::Run;

/// Connections that one task writes to.
const TOGETHER: usize = 64;

/// Writes to connections that are lent.
#[derive(Debug)]
pub(super) struct ShortWay {
    pub(super) tasks: TaskTracker,
    pub(super) clock: Arc<dyn Clock>,
    /// No device is written to twice within this time: what comes meanwhile goes out together.
    pub(super) pause: Duration,
}

impl ShortWay {
    pub(super) fn write(&self, routes: Vec<Arc<Route>>) {
        let mut routes = routes.into_iter();
        while routes.len() > 0 {
            let together: Vec<_> = routes.by_ref().take(TOGETHER).collect();
            let (clock, pause) = (self.clock.clone(), self.pause);
            self.tasks.spawn(async move {
                let now = clock.now();
                let written = together.iter().map(|route| route.write_out(now, pause)).sum();
                metrics::counter!("switchboard_gate_shared_writes_total").increment(written);
            });
        }
    }
}

/// A connection that is lent.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) stream: Arc<TcpStream>,
    /// Packets go in WebSocket messages.
    pub(crate) websocket: bool,
    /// Entries and bytes that may go out before the device acknowledges something.
    pub(crate) room: (usize, usize),
    /// What was gathered before waits, so that it goes out with what comes meanwhile.
    pub(crate) rests_until: Timestamp,
    /// Lent until then.
    pub(crate) until: Timestamp,
    /// Everything up to this position is written, or nothing for this device.
    pub(crate) through: u64,
    /// What is missing of the last message.
    pub(crate) rest: Option<Bytes>,
}

/// When the next entries go out: mostly the pause is over when the next ones are handed out. Whoever cannot keep up rests
/// from now on, for fewer and larger writes.
pub(crate) fn rests_until(gathered_at: Timestamp, now: Timestamp, pause: Duration) -> Timestamp {
    Some(gathered_at + pause).filter(|at| *at > now).unwrap_or(now + pause)
}

impl Outlet {
    /// Whether this goes the short way.
    fn takes(&self, run: &Run, now: Timestamp) -> bool {
        let (entries, bytes) = self.room;
        let rested = run.gathered_at().is_some_and(|at| at >= self.rests_until);
        rested && now < self.until && run.first() > self.through && run.len() <= entries && run.size() <= bytes
    }

    /// Writes a run. `false` when that is now the session's business: what is not written, or the rest of it.
    pub(super) fn write(&mut self, run: &Run, now: Timestamp, pause: Duration) -> bool {
        if !self.takes(run, now) {
            return false;
        }
        let message = if self.websocket { run.message() } else { run.bytes() };
        // A connection that is full or broken is so for the session as well.
        let Ok(written @ 1..) = self.stream.try_write(&message) else { return false };
        self.through = run.last();
        self.room = (self.room.0 - run.len(), self.room.1 - run.size());
        self.rests_until = rests_until(run.gathered_at().unwrap_or(now), now, pause);
        self.rest = (written < message.len()).then(|| message.slice(written..));
        self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use switchboard_contract::UserId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::proto;
    use crate::service::run::Runner;
    use crate::service::sample::line;
    use crate::service::{RouteKick, Routes};

    const PAUSE: Duration = Duration::from_millis(9);
    const NOW: Timestamp = Timestamp(1_000);

    /// A run for many devices, gathered at that time.
    fn run(positions: &[u64], bytes: usize, at: Timestamp) -> Arc<Run> {
        let mut runner = Runner::default();
        positions.iter().for_each(|position| runner.push(&line(*position, "alice", bytes)));
        runner.done(Some(at), true)
    }

    /// A device that has everything up to position 4, and room for ten entries of 10,000 bytes.
    struct Lent {
        routes: Routes,
        route: Arc<Route>,
        here: Arc<TcpStream>,
        there: TcpStream,
    }

    impl Lent {
        async fn new() -> Self {
            let routes = Routes::default();
            let (route, _) = routes.add(&"bob".into(), "phone", proto::DeviceClass::Phone, Timestamp(0));
            route.begin(4);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let here = Arc::new(listener.accept().await.unwrap().0);
            here.writable().await.unwrap();
            Self { routes, route, here, there }
        }

        fn outlet(&self) -> Outlet {
            Outlet {
                stream: self.here.clone(),
                websocket: false,
                room: (10, 10_000),
                rests_until: Timestamp(0),
                until: NOW + Duration::from_secs(1),
                through: 4,
                rest: None,
            }
        }

        /// How many connections it waits for to be written out.
        fn offer(&self, run: &Arc<Run>) -> usize {
            self.routes.offer([&UserId::from("bob")], run).1.len()
        }

        async fn reads(&mut self, bytes: usize) -> Vec<u8> {
            let mut read = vec![0; bytes];
            self.there.read_exact(&mut read).await.unwrap();
            read
        }
    }

    #[tokio::test]
    async fn what_is_written_for_a_session_it_learns_when_it_takes_its_connection_back() {
        let mut lent = Lent::new().await;
        lent.route.lend(lent.outlet()).unwrap();
        let (first, second) = (run(&[5, 7], 10, NOW), run(&[9], 10, NOW + PAUSE));
        assert_eq!((lent.offer(&first), lent.route.write_out(NOW, PAUSE)), (1, 1));
        assert_eq!(lent.route.write_out(NOW, PAUSE), 0, "once is enough");
        assert_eq!((lent.offer(&second), lent.route.write_out(NOW + PAUSE, PAUSE)), (1, 1));
        assert!(!lent.route.bell.take(), "nobody was woken");
        let expected = [first.bytes(), second.bytes()].concat();
        assert_eq!(lent.reads(expected.len()).await, expected);
        let back = lent.route.take_back().unwrap();
        assert_eq!((back.through, back.room), (9, (7, 10_000 - expected.len())));
        assert_eq!((back.rests_until, back.rest), (NOW + PAUSE * 2, None));
        // The session feeds its machine with what was written, from memory.
        let (pieces, reached) = lent.route.take(4, back.through, 10, 10_000).unwrap();
        assert_eq!((pieces.len(), reached), (2, 9));
        // A browser's neighbour gets the same as one WebSocket message.
        let third = run(&[11], 10, NOW + PAUSE * 2);
        let outlet = Outlet { websocket: true, through: 9, ..lent.outlet() };
        lent.route.lend(outlet).unwrap();
        assert_eq!((lent.offer(&third), lent.route.write_out(NOW + PAUSE * 2, PAUSE)), (1, 1));
        assert_eq!(lent.reads(third.message().len()).await, third.message());
    }

    #[tokio::test]
    async fn what_does_not_fit_the_short_way_is_the_sessions_business_and_all_that_follows() {
        let wide = run(&[5, 7], 10, NOW);
        let lent = Lent::new().await;
        let cases = [
            ("not the pause's end", Outlet { rests_until: NOW + PAUSE, ..lent.outlet() }),
            ("not lent any more", Outlet { until: NOW, ..lent.outlet() }),
            ("no room for entries", Outlet { room: (1, 10_000), ..lent.outlet() }),
            ("no room for bytes", Outlet { room: (10, 20), ..lent.outlet() }),
            ("some of it has gone out", Outlet { through: 5, ..lent.outlet() }),
        ];
        for (what, outlet) in cases {
            let lent = Lent::new().await;
            let (stream, through) = (lent.here.clone(), outlet.through);
            lent.route.lend(Outlet { stream, ..outlet }).unwrap();
            assert_eq!((lent.offer(&wide), lent.route.write_out(NOW, PAUSE)), (1, 0), "{what}");
            assert!(lent.route.bell.take(), "{what}: the session is woken");
            assert_eq!(lent.offer(&run(&[8], 10, NOW + PAUSE * 2)), 0, "{what}: the session comes first");
            assert_eq!(lent.route.write_out(NOW + PAUSE * 2, PAUSE), 0, "{what}");
            assert_eq!(lent.route.take_back().unwrap().through, through, "{what}");
            let (Lent { here, mut there, .. }, mut nothing) = (lent, Vec::new());
            drop(here);
            there.read_to_end(&mut nothing).await.unwrap();
            assert!(nothing.is_empty(), "{what}");
        }
    }

    #[tokio::test]
    async fn a_run_for_few_wakes_the_session_and_goes_before_the_next_for_many() {
        let lent = Lent::new().await;
        lent.route.lend(lent.outlet()).unwrap();
        let (first, few, last) = (run(&[5], 10, NOW), Run::of(&[line(6, "alice", 10)]), run(&[7], 10, NOW + PAUSE));
        // The first is on its way when the other comes.
        assert_eq!((lent.offer(&first), lent.offer(&few), lent.offer(&last)), (1, 0, 0));
        assert!(lent.route.bell.take());
        assert_eq!(lent.route.write_out(NOW + PAUSE, PAUSE), 0);
        assert_eq!(lent.route.take_back().unwrap().through, 4);
        let (pieces, reached) = lent.route.take(4, u64::MAX, 10, 10_000).unwrap();
        assert_eq!((pieces.len(), reached), (3, 7));
    }

    #[tokio::test]
    async fn a_session_that_takes_its_connection_back_too_soon_is_told_what_waits() {
        let lent = Lent::new().await;
        lent.route.lend(lent.outlet()).unwrap();
        assert_eq!(lent.offer(&run(&[5], 10, NOW)), 1);
        assert!(!lent.route.bell.take());
        assert_eq!(lent.route.take_back().unwrap().through, 4);
        assert!(lent.route.bell.take(), "nobody else comes for it");
        assert_eq!(lent.route.write_out(NOW, PAUSE), 0);
        assert!(lent.route.lend(lent.outlet()).is_err());
    }

    #[tokio::test]
    async fn nothing_is_lent_while_something_waits_for_the_device() {
        let lent = Lent::new().await;
        lent.offer(&run(&[5], 10, NOW));
        assert!(lent.route.lend(lent.outlet()).is_err());
        assert!(lent.route.lend(Outlet { through: 5, ..lent.outlet() }).is_ok());
        assert!(lent.route.take_back().is_some());
        assert!(lent.route.take_back().is_none());
        lent.routes.push(&"bob".into(), &proto::Push::default());
        assert!(lent.route.lend(Outlet { through: 5, ..lent.outlet() }).is_err());
        lent.route.news();
        lent.route.kick(RouteKick::new(proto::kicked::Reason::Forced));
        assert!(lent.route.lend(Outlet { through: 5, ..lent.outlet() }).is_err());
    }

    #[tokio::test]
    async fn a_full_connection_leaves_the_rest_to_the_session_and_no_byte_is_lost() {
        let lent = Lent::new().await;
        lent.route.lend(Outlet { room: (usize::MAX, usize::MAX), ..lent.outlet() }).unwrap();
        let (mut expected, mut position, mut at) = (Vec::new(), 4, NOW);
        let until = NOW + Duration::from_secs(1);
        loop {
            (position, at) = (position + 1, at + PAUSE);
            let run = run(&[position], 60_000, at);
            assert_eq!(lent.offer(&run), 1);
            let written = lent.route.write_out(at.min(until - Duration::from_millis(1)), PAUSE);
            // The session passes over what it knows to be written.
            lent.route.begin(position - 1);
            if written == 0 {
                let back = lent.route.take_back().unwrap();
                if back.through == position {
                    expected.extend(run.bytes());
                }
                assert!(lent.route.bell.take());
                let rest = back.rest.unwrap_or_default();
                assert_eq!(rest.is_empty(), back.through < position);
                let Lent { here, mut there, .. } = lent;
                let reading = tokio::spawn(async move {
                    let mut read = Vec::new();
                    there.read_to_end(&mut read).await.unwrap();
                    read
                });
                drop((lent.route, back.stream));
                let mut here = Arc::into_inner(here).unwrap();
                here.write_all(&rest).await.unwrap();
                drop(here);
                assert!(reading.await.unwrap() == expected, "the same bytes");
                return;
            }
            expected.extend(run.bytes());
        }
    }
}
