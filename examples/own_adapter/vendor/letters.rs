//! Letters: sent, recalled and read again.

use serde_json::{Value, json};

use super::people::User;
use super::{Listed, Refusal, State, text, texts};

const MOST_BYTES: usize = 10_000;
const MOST_USERS: usize = 100;
const MOST_IN_A_PAGE: u64 = 20;
const RECALL_MS: i64 = 120_000;

/// Where a letter goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    User(String),
    Flock(String),
    Square(String),
}

impl Address {
    fn json(&self) -> Value {
        match self {
            Self::User(id) => json!({ "user": id }),
            Self::Flock(id) => json!({ "flock": id }),
            Self::Square(id) => json!({ "square": id }),
        }
    }
}

pub(super) struct Letter {
    number: u64,
    from: String,
    to: Address,
    at: i64,
    json: Value,
    recalled: bool,
}

impl Letter {
    fn id(&self) -> String {
        format!("PP-{}", self.number)
    }

    pub(super) fn listed(&self) -> Listed {
        Listed { id: self.id(), to: self.to.clone(), recalled: self.recalled }
    }

    /// Whether it belongs to what `viewer` sees of a conversation.
    fn is_between(&self, viewer: &str, with: &Address) -> bool {
        match (&self.to, with) {
            (Address::User(to), Address::User(with)) => {
                (self.from == viewer && to == with) || (self.from == *with && to == viewer)
            }
            (to, with) => to == with,
        }
    }
}

impl State {
    pub(super) fn send(&mut self, body: &Value) -> Result<Value, Refusal> {
        let from = text(body, "from")?;
        self.user(from)?;
        if body["parcel"].to_string().len() + body["tags"].to_string().len() > MOST_BYTES {
            return Err(Refusal::new(413, "too_heavy"));
        }
        let addresses = self.addresses(from, &body["to"])?;
        let letters: Vec<Value> = addresses
            .into_iter()
            .map(|to| {
                let address = to.json();
                json!({ "id": self.post(from, to, body), "to": address })
            })
            .collect();
        Ok(json!({ "letters": letters }))
    }

    fn addresses(&mut self, from: &str, to: &Value) -> Result<Vec<Address>, Refusal> {
        if to.get("users").is_none() {
            return self.address(from, to).map(|one| vec![one]);
        }
        let users = texts(to, "users")?;
        if !(1..=MOST_USERS).contains(&users.len()) {
            return Err(Refusal::new(400, "bad_request"));
        }
        for user in &users {
            self.user(user)?;
        }
        Ok(users.into_iter().map(Address::User).collect())
    }

    /// One user, or a flock or square that `member` belongs to.
    fn address(&mut self, member: &str, to: &Value) -> Result<Address, Refusal> {
        let id = |key: &str| to[key].as_str().map(str::to_owned);
        let (id, square) = match (id("user"), id("flock"), id("square")) {
            (Some(user), None, None) => {
                self.user(&user)?;
                return Ok(Address::User(user));
            }
            (None, Some(flock), None) => (flock, false),
            (None, None, Some(square)) => (square, true),
            _ => return Err(Refusal::new(400, "bad_request")),
        };
        if !self.place(&id, square)?.has(member) {
            return Err(Refusal::new(403, "not_a_member"));
        }
        Ok(if square { Address::Square(id) } else { Address::Flock(id) })
    }

    fn post(&mut self, from: &str, to: Address, body: &Value) -> String {
        let (number, at) = (self.next(), self.now);
        let mut letter = Letter { number, from: from.to_owned(), to, at, json: Value::Null, recalled: false };
        let id = letter.id();
        letter.json = json!({
            "id": id, "number": number, "at": at, "from": from, "to": letter.to.json(),
            "from_card": self.users.get(from).map(User::card),
            "parcel": body["parcel"], "tags": body.get("tags").unwrap_or(&json!({})),
            "mentions": body.get("mentions").unwrap_or(&json!([])),
            "mention_all": body["mention_all"] == true, "quiet": body["quiet"] == true,
        });
        self.events.push(json!({ "kind": "letter.sent", "letter": letter.json }));
        self.letters.push(letter);
        id
    }

    pub(super) fn recall(&mut self, from: &str, id: &str) -> Result<Value, Refusal> {
        let (number, now) = (self.next(), self.now);
        let letter = self.letters.iter_mut().find(|letter| letter.id() == id);
        let letter = letter.ok_or(Refusal::new(404, "no_such_letter"))?;
        if letter.from != from {
            return Err(Refusal::new(403, "not_yours"));
        }
        if !letter.recalled {
            if now - letter.at > RECALL_MS {
                return Err(Refusal::new(409, "too_late"));
            }
            letter.recalled = true;
            self.events.push(json!({
                "kind": "letter.recalled", "number": number, "at": now, "by": from,
                "letter": { "id": id, "from": letter.from, "to": letter.to.json() },
            }));
        }
        Ok(json!({}))
    }

    /// The page looks at so many letters and leaves recalled ones out: it can be shorter than asked and not the last.
    pub(super) fn history(&mut self, body: &Value) -> Result<Value, Refusal> {
        let bad = || Refusal::new(400, "bad_request");
        let viewer = text(body, "viewer")?;
        let with = self.address(viewer, &body["with"])?;
        let time = |key: &str| body[key].as_i64().ok_or_else(bad);
        let (since, until) = (time("since")?, time("until")?);
        let after: u64 = match body["after"].as_str() {
            Some(after) => after.parse().map_err(|_| bad())?,
            None => 0,
        };
        let most = body["limit"].as_u64().ok_or_else(bad)?.clamp(1, MOST_IN_A_PAGE);
        let mut rest = self.letters.iter().filter(|letter| {
            letter.number > after && (since..=until).contains(&letter.at) && letter.is_between(viewer, &with)
        });
        let page: Vec<&Letter> = rest.by_ref().take(usize::try_from(most).unwrap_or(1)).collect();
        let next = rest.next().and(page.last()).map(|last| last.number.to_string());
        let letters: Vec<&Value> = page.iter().filter(|one| !one.recalled).map(|one| &one.json).collect();
        Ok(json!({ "letters": letters, "next": next }))
    }
}
