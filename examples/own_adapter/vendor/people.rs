//! Users with their logins, and the flocks and squares they gather in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Refusal, State, text, texts};

const TOKEN_MS: i64 = 86_400_000;

#[derive(Default)]
pub(super) struct User {
    name: Option<String>,
    avatar: Option<String>,
    online: bool,
    banned: bool,
}

impl User {
    /// What recipients are shown of a sender.
    pub(super) fn card(&self) -> Value {
        json!({ "name": self.name, "avatar": self.avatar })
    }
}

pub(super) struct Place {
    square: bool,
    name: String,
    owner: String,
    members: BTreeSet<String>,
}

impl Place {
    pub(super) fn new(square: bool, members: &[&str]) -> Self {
        let owner = members.first().copied().unwrap_or_default().to_owned();
        Self { square, name: String::new(), owner, members: members.iter().map(|&member| member.to_owned()).collect() }
    }

    pub(super) fn has(&self, member: &str) -> bool {
        self.members.contains(member)
    }
}

impl State {
    pub(super) fn user(&mut self, id: &str) -> Result<&mut User, Refusal> {
        self.users.get_mut(id).ok_or(Refusal::new(404, "no_such_user"))
    }

    /// A client comes online, unless its user is unknown or banned.
    pub(super) fn log_in(&mut self, id: &str) -> Option<()> {
        let user = self.users.get_mut(id).filter(|user| !user.banned)?;
        user.online = true;
        Some(())
    }

    pub(super) fn put_user(&mut self, body: &Value) -> Result<Value, Refusal> {
        let user = self.users.entry(text(body, "user")?.to_owned()).or_default();
        for (key, field) in [("name", &mut user.name), ("avatar", &mut user.avatar)] {
            if let Some(given) = body[key].as_str() {
                *field = Some(given.to_owned());
            }
        }
        Ok(json!({}))
    }

    pub(super) fn user_token(&mut self, body: &Value) -> Result<Value, Refusal> {
        let id = text(body, "user")?;
        self.put_user(body)?;
        if self.user(id)?.banned {
            return Err(Refusal::new(403, "banned"));
        }
        Ok(json!({ "token": format!("perch-{id}-{}", self.next()), "expires_at": self.now + TOKEN_MS }))
    }

    pub(super) fn kick(&mut self, id: &str) -> Result<Value, Refusal> {
        self.user(id)?.online = false;
        Ok(json!({}))
    }

    pub(super) fn ban(&mut self, id: &str, banned: bool) -> Result<Value, Refusal> {
        let user = self.user(id)?;
        user.banned = banned;
        user.online &= !banned;
        Ok(json!({}))
    }

    pub(super) fn presence(&self, users: &[String]) -> Result<Value, Refusal> {
        let online: Vec<bool> = users.iter().map(|user| self.users.get(user).is_some_and(|user| user.online)).collect();
        Ok(json!({ "online": online }))
    }

    pub(super) fn place(&mut self, id: &str, square: bool) -> Result<&mut Place, Refusal> {
        let place = self.places.get_mut(id).filter(|place| place.square == square);
        place.ok_or(Refusal::new(404, "no_such_place"))
    }

    fn named_place(&mut self, body: &Value) -> Result<&mut Place, Refusal> {
        self.place(text(body, "id")?, body["square"] == true)
    }

    pub(super) fn put_place(&mut self, body: &Value) -> Result<Value, Refusal> {
        let (id, owner, square) = (text(body, "id")?, text(body, "owner")?, body["square"] == true);
        let mut members: BTreeSet<String> = texts(body, "members")?.into_iter().collect();
        members.insert(owner.to_owned());
        for member in &members {
            self.user(member)?;
        }
        match self.places.get(id) {
            Some(place) if place.square != square || place.owner != owner => Err(Refusal::new(409, "taken")),
            Some(_) => Ok(json!({})),
            None => {
                let (name, owner) = (text(body, "name")?.to_owned(), owner.to_owned());
                self.places.insert(id.to_owned(), Place { square, name, owner, members });
                Ok(json!({}))
            }
        }
    }

    pub(super) fn join(&mut self, body: &Value) -> Result<Value, Refusal> {
        let users = texts(body, "users")?;
        for user in &users {
            self.user(user)?;
        }
        self.named_place(body)?.members.extend(users);
        Ok(json!({}))
    }

    pub(super) fn leave(&mut self, body: &Value) -> Result<Value, Refusal> {
        let users = texts(body, "users")?;
        self.named_place(body)?.members.retain(|member| !users.contains(member));
        Ok(json!({}))
    }

    pub(super) fn members(&mut self, body: &Value) -> Result<Value, Refusal> {
        let place = self.named_place(body)?;
        Ok(json!({ "name": place.name, "members": place.members }))
    }

    pub(super) fn close(&mut self, body: &Value) -> Result<Value, Refusal> {
        if self.named_place(body)?.owner != text(body, "by")? {
            return Err(Refusal::new(403, "not_yours"));
        }
        self.places.remove(text(body, "id")?);
        Ok(json!({}))
    }

    pub(super) fn kind(&self, id: &str) -> Result<Value, Refusal> {
        let kind = self.places.get(id).map(|place| if place.square { "square" } else { "flock" });
        Ok(json!({ "kind": kind }))
    }
}
