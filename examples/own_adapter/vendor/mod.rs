//! Pigeon Post, the vendor: a service kept in memory, seen by its customers only as requests, replies and sealed
//! notices. It stands where the network would be, and shares no code with the adapter: a misreading in one of them
//! must not be repeated silently in the other.
//!
//! Its words: a *letter* is a message, a *flock* a group, a *square* a room, a *loft* an app.

mod letters;
mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) use letters::Address;
use letters::Letter;
use people::{Place, User};

/// Events in one notice, at most.
const BATCH: usize = 8;

/// What a customer asks.
pub(crate) struct Request<'a> {
    pub(crate) path: &'static str,
    pub(crate) token: Option<&'a str>,
    pub(crate) body: &'a Value,
}

/// What comes back over the wire; a proxy on the way may have written it.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) media_type: &'static str,
    pub(crate) body: Bytes,
}

/// The connection ended before an answer came.
#[derive(Debug)]
pub(crate) struct Lost;

/// A request of the vendor to the customer's address for notices.
pub(crate) struct Notice {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// What can go wrong with the next letter sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Breakage {
    LosesTheAnswer,
    TooFast,
    ProxyPage,
}

/// A letter as the console lists it.
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) to: Address,
    pub(crate) recalled: bool,
}

struct Refusal {
    status: u16,
    code: &'static str,
    after_ms: Option<u64>,
}

impl Refusal {
    const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, after_ms: None }
    }

    fn reply(&self) -> Reply {
        let mut body = json!({ "error": self.code });
        if let Some(after_ms) = self.after_ms {
            body["after_ms"] = json!(after_ms);
        }
        Reply::json(self.status, &body)
    }
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, media_type: "application/json", body: body.to_string().into() }
    }
}

#[derive(Default)]
struct State {
    now: i64,
    last: u64,
    users: BTreeMap<String, User>,
    places: BTreeMap<String, Place>,
    letters: Vec<Letter>,
    events: Vec<Value>,
    sessions: BTreeSet<String>,
    breakage: Option<Breakage>,
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// The whole vendor, for one loft.
pub(crate) struct PigeonPost {
    loft: &'static str,
    secret: &'static str,
    state: Mutex<State>,
}

impl fmt::Debug for PigeonPost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PigeonPost").field("loft", &self.loft).finish_non_exhaustive()
    }
}

impl PigeonPost {
    /// Opens for business with these users, all of them members of one flock and one square.
    pub(crate) fn open(loft: &'static str, secret: &'static str, users: &[&str], flock: &str, square: &str) -> Self {
        let mut state = State { now: 1_767_600_000_000, ..State::default() };
        for user in users {
            state.users.insert((*user).to_owned(), User::default());
        }
        for (id, open_air) in [(flock, false), (square, true)] {
            state.places.insert(id.to_owned(), Place::new(open_air, users));
        }
        Self { loft, secret, state: Mutex::new(state) }
    }

    /// One request and what becomes of it.
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Reply, Lost> {
        let mut state = self.state.lock();
        let breakage = if request.path == "letters/send" { state.breakage.take() } else { None };
        match breakage {
            Some(Breakage::TooFast) => {
                return Ok(Refusal { after_ms: Some(200), ..Refusal::new(429, "too_fast") }.reply());
            }
            Some(Breakage::ProxyPage) => {
                let body = Bytes::from_static(b"<html><body>502 Bad Gateway</body></html>");
                return Ok(Reply { status: 502, media_type: "text/html", body });
            }
            Some(Breakage::LosesTheAnswer) | None => {}
        }
        let reply = match self.answer(&mut state, &request) {
            Ok(body) => Reply::json(200, &body),
            Err(refusal) => refusal.reply(),
        };
        if breakage.is_some() { Err(Lost) } else { Ok(reply) }
    }

    fn answer(&self, state: &mut State, request: &Request<'_>) -> Result<Value, Refusal> {
        let body = request.body;
        if request.path == "session" {
            if body["loft"] != self.loft || body["secret"] != self.secret {
                return Err(Refusal::new(401, "bad_credentials"));
            }
            let token = format!("session-{}", state.next());
            state.sessions.insert(token.clone());
            return Ok(json!({ "token": token }));
        }
        if !request.token.is_some_and(|token| state.sessions.contains(token)) {
            return Err(Refusal::new(401, "session_over"));
        }
        match request.path {
            "ping" => Ok(json!({})),
            "letters/send" => state.send(body),
            "letters/recall" => state.recall(text(body, "from")?, text(body, "id")?),
            "letters/history" => state.history(body),
            "users/put" => state.put_user(body),
            "users/token" => state.user_token(body),
            "users/kick" => state.kick(text(body, "user")?),
            "users/ban" => state.ban(text(body, "user")?, true),
            "users/unban" => state.ban(text(body, "user")?, false),
            "users/presence" => state.presence(&texts(body, "users")?),
            "places/put" => state.put_place(body),
            "places/join" => state.join(body),
            "places/leave" => state.leave(body),
            "places/members" => state.members(body),
            "places/close" => state.close(body),
            "places/kind" => state.kind(text(body, "id")?),
            _ => Err(Refusal::new(404, "no_such_path")),
        }
    }

    /// Everything that happened since this was asked last, as the notices that tell of it.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let events = std::mem::take(&mut self.state.lock().events);
        events.chunks(BATCH).map(|batch| self.seal(json!({ "events": batch }).to_string().into())).collect()
    }

    /// A notice with this body, sealed now.
    pub(crate) fn seal(&self, body: Bytes) -> Notice {
        let time = self.now().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(format!("{}.{time}.", self.loft).as_bytes());
        mac.update(&body);
        let seal = hex::encode(mac.finalize().into_bytes());
        let headers = [("pigeon-loft", self.loft.to_owned()), ("pigeon-time", time), ("pigeon-seal", seal)];
        Notice { headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), body }
    }

    /// The vendor's clock, Unix milliseconds.
    pub(crate) fn now(&self) -> i64 {
        self.state.lock().now
    }

    /// Moves the vendor's clock.
    pub(crate) fn pass(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let mut state = self.state.lock();
        state.now = state.now.saturating_add(ms);
    }

    /// Breaks the next letter sent through a session.
    pub(crate) fn break_next(&self, breakage: Breakage) {
        self.state.lock().breakage = Some(breakage);
    }

    /// Ends every session at once.
    pub(crate) fn end_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    /// Every letter accepted so far, in order.
    pub(crate) fn letters(&self) -> Vec<Listed> {
        self.state.lock().letters.iter().map(Letter::listed).collect()
    }

    /// A user's own client logs in and sends a text; the letter's id, or `None` when the vendor refuses it.
    pub(crate) fn client_sends(&self, from: &str, to: &Value, words: &str) -> Option<String> {
        let mut state = self.state.lock();
        state.log_in(from)?;
        let body = json!({ "from": from, "to": to, "parcel": { "kind": "note", "words": words } });
        let sent = state.send(&body).ok()?;
        sent["letters"][0]["id"].as_str().map(str::to_owned)
    }

    /// A user's own client recalls a letter.
    pub(crate) fn client_recalls(&self, from: &str, id: &str) -> bool {
        self.state.lock().recall(from, id).is_ok()
    }
}

fn text<'a>(body: &'a Value, key: &str) -> Result<&'a str, Refusal> {
    body[key].as_str().ok_or(Refusal::new(400, "bad_request"))
}

fn texts(body: &Value, key: &str) -> Result<Vec<String>, Refusal> {
    let bad = || Refusal::new(400, "bad_request");
    let list = body[key].as_array().ok_or_else(bad)?;
    list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(bad)).collect()
}
