//! End users: what their devices do, with the vendor's answers to them.

use std::sync::Arc;

use super::{
    api::{Withdrawal, edit, on_top, withdraw},
    app::App,
    callback::Operated,
    client_message::{ClientMessage, ClientRefusal, RecallOptions, Received, Sent, Target},
    model::{ConversationKind, Message, Origin, Push, Sensitivity},
    pre_send::{self, Question, Verdict},
    presence::Departure,
    quota::Quota,
    state::{Core, Draft, Event},
};

const DEFAULT_OS: &str = "iOS";
const DEFAULT_IP: &str = "203.0.113.20:52710";

/// An end user of the emulated app. Cheap to clone; acting needs no login unless stated.
#[derive(Clone)]
pub struct EndUser {
    pub(crate) app: Arc<App>,
    pub(crate) id: String,
}

impl std::fmt::Debug for EndUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndUser").field("id", &self.id).finish_non_exhaustive()
    }
}

impl EndUser {
    /// The user's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends a message: membership and mutes are checked, then the pre-send hook is asked (if configured; no answer in time
    /// means yes), then the word filter, then the message is accepted, logged and routed.
    ///
    /// # Errors
    /// [`ClientRefusal`] with the client code: 405 blocked by the peer, 20604 too fast, 20112 rejected by the hook, 21501
    /// blocked by a word, 22406 and 22408 not in the group and muted, 23406 and 23408 the same for rooms, 24406 not in the
    /// ultra group, 31009 blocked user.
    pub async fn send(&self, message: ClientMessage) -> Result<Sent, ClientRefusal> {
        let ClientMessage { target, object_name, content, directed, expansion, os, push_content, uid } = message;
        let (mut draft, reserved, hook) = self.app.change(|core, now_ms| {
            self.may_send(core, &target, now_ms)?;
            let mut draft = Draft::server(target.kind(), &self.id, target.id()).with_content(&object_name, &content);
            draft.origin = self.origin(core, os);
            target.channel().clone_into(&mut draft.bus_channel);
            draft.directed = directed;
            draft.push = Some(Push { content: push_content.clone(), ..Push::default() });
            draft.expandable = expansion.is_some();
            draft.expansion = expansion.unwrap_or_default();
            let mut reserved = core.reserve(&draft, now_ms);
            if let Some(uid) = uid {
                reserved.uid = uid;
            }
            let callbacks = core.settings.callbacks.clone();
            Ok((draft, reserved, callbacks.urls.pre_send.is_some().then_some(callbacks)))
        })?;
        let mut filter = true;
        if let Some(callbacks) = hook {
            let question = Question { draft: &draft, reserved: &reserved, push_content: &push_content };
            match pre_send::ask(&self.app, question, &callbacks).await {
                Verdict::Deliver { replaced, skip_checks } => {
                    filter = !skip_checks;
                    replaced.apply(&mut draft);
                }
                Verdict::Reject { extra } => return Err(ClientRefusal::new(20_112, extra)),
            }
        }
        self.app.change(|core, _| {
            if filter {
                (draft.content, draft.sensitivity) = core.filter_words(&draft.object_name, &draft.content);
            }
            let blocked = draft.sensitivity == Sensitivity::Blocked;
            core.accept_as(draft, &reserved);
            if blocked { Err(ClientRefusal::new(21_501, "word filter")) } else { Ok(reserved.into()) }
        })
    }

    fn origin(&self, core: &Core, os: Option<String>) -> Origin {
        let session = core.users.get(&self.id).and_then(|user| user.sessions.values().next());
        Origin::Client {
            os: os.or_else(|| session.map(|session| session.os.clone())).unwrap_or_else(|| DEFAULT_OS.to_owned()),
            ip: session.map_or_else(|| DEFAULT_IP.to_owned(), |session| session.ip.clone()),
        }
    }

    fn may_send(&self, core: &mut Core, target: &Target, now_ms: i64) -> Result<(), ClientRefusal> {
        self.may_connect(core, now_ms)?;
        let id = self.id.as_str();
        match target {
            Target::User(peer) if core.has_blacklisted(peer, id) => {
                return Err(ClientRefusal::new(405, "blocked by the peer"));
            }
            Target::User(_) => {
                if core.users.get(id).is_some_and(|user| user.chat_muted) {
                    return Err(ClientRefusal::new(20_605, "muted in private chats"));
                }
            }
            Target::Group(group) => may_speak_in_group(core, group, id, now_ms)?,
            Target::Room(room) => may_speak_in_room(core, room, id, now_ms)?,
            Target::UltraGroup { group, .. } => {
                if !core.ultra_groups.get(group).is_some_and(|group| group.members.contains(id)) {
                    return Err(ClientRefusal::new(24_406, "not in the ultra group"));
                }
            }
        }
        let per_second = core.settings.messages.client_per_second;
        if per_second > 0 {
            let name = format!("client/{id}");
            core.quotas
                .take(&[(&name, Quota::per_second(per_second))], 1, now_ms)
                .map_err(|_| ClientRefusal::new(20_604, "too fast"))?;
        }
        Ok(())
    }

    fn may_connect(&self, core: &Core, now_ms: i64) -> Result<(), ClientRefusal> {
        let Some(user) = core.users.get(&self.id) else { return Ok(()) };
        if user.deactivated || user.blocked_until_ms.is_some_and(|until| until > now_ms) {
            return Err(ClientRefusal::new(31_009, "user is blocked"));
        }
        Ok(())
    }

    /// Connects a device. Returns the session id of the online-status callback.
    ///
    /// # Errors
    /// 31009 for a blocked or deactivated user.
    pub fn login(&self, os: &str) -> Result<String, ClientRefusal> {
        self.app.change(|core, now_ms| {
            self.may_connect(core, now_ms)?;
            Ok(core.connect(&self.id, os, DEFAULT_IP, now_ms))
        })
    }

    /// Connects a device with a token, as a real client does.
    ///
    /// # Errors
    /// 31004 for a token that is unknown or has expired, 31009 for a blocked or deactivated user.
    pub fn login_with_token(&self, token: &str, os: &str) -> Result<String, ClientRefusal> {
        let valid = self.app.core.lock().users.get(&self.id).is_some_and(|user| user.tokens.contains_key(token));
        if valid { self.login(os) } else { Err(ClientRefusal::new(31_004, "token is incorrect")) }
    }

    /// Logs out: one session, or all of them when none is named. Returns how many ended.
    pub fn logout(&self, session: Option<&str>) -> usize {
        self.app.change(|core, now_ms| core.leave(&self.id, session, Departure::Logout, now_ms))
    }

    /// Loses the connection: one session, or all of them when none is named. Returns how many ended.
    pub fn disconnect(&self, session: Option<&str>) -> usize {
        self.app.change(|core, now_ms| core.leave(&self.id, session, Departure::Offline, now_ms))
    }

    /// Withdraws a message of one's own.
    ///
    /// # Errors
    /// 25101 when the message is unknown, withdrawn already, or of someone else.
    pub fn recall(&self, uid: &str) -> Result<Sent, ClientRefusal> {
        self.recall_with(uid, RecallOptions::default())
    }

    /// Withdraws a message, anyone's as an administrator.
    ///
    /// # Errors
    /// 25101 when the message is unknown, withdrawn already, or of someone else without being an administrator.
    pub fn recall_with(&self, uid: &str, options: RecallOptions) -> Result<Sent, ClientRefusal> {
        self.app.change(|core, now_ms| {
            let known = core.messages.get(uid).filter(|message| !message.recalled);
            let message = known.filter(|message| options.as_admin || message.from == self.id);
            let message = message.ok_or_else(|| ClientRefusal::new(25_101, "message cannot be recalled"))?;
            let withdrawal = Withdrawal {
                by: self.id.clone(),
                kind: message.kind,
                target: message.target.clone(),
                bus_channel: message.bus_channel.clone(),
                uid: uid.to_owned(),
                sent_ms: None,
                is_admin: options.as_admin,
                is_delete: options.without_trace,
                extra: options.extra,
                origin: self.origin(core, None),
            };
            Ok(withdraw(core, withdrawal, now_ms).into())
        })
    }

    /// Deletes one's own copy of a message; others keep theirs.
    ///
    /// # Errors
    /// 25101 when the message is unknown.
    pub fn delete(&self, uid: &str) -> Result<(), ClientRefusal> {
        self.app.change(|core, now_ms| {
            let origin = self.origin(core, None);
            let message = core.messages.get_mut(uid);
            let message = message.ok_or_else(|| ClientRefusal::new(25_101, "message does not exist"))?;
            message.deleted_by.insert(self.id.clone());
            let body = Operated {
                by: &self.id,
                at_ms: now_ms,
                source: origin.source(),
                kind: message.kind,
                target: &message.target,
                bus_channel: &message.bus_channel,
                uid,
                sent_ms: message.time_ms,
            }
            .delete_body();
            core.emit(Event::Operation { uid: uid.to_owned(), body });
            Ok(())
        })
    }

    /// Changes the content of a message of one's own.
    ///
    /// # Errors
    /// 20114 when the message is unknown, of someone else, withdrawn, or too old.
    pub fn edit(&self, uid: &str, content: &str) -> Result<Sent, ClientRefusal> {
        self.app.change(|core, now_ms| {
            let refused = || ClientRefusal::new(20_114, "message cannot be edited");
            core.messages.get(uid).filter(|message| message.from == self.id).ok_or_else(refused)?;
            let origin = self.origin(core, None);
            edit(core, uid, content, origin, now_ms).map(Sent::from).map_err(|_| refused())
        })
    }

    /// Tells a peer that their messages up to one of them were read: a message of type `RC:ReadNtf`.
    ///
    /// # Errors
    /// As [`EndUser::send`].
    pub async fn read(&self, peer: &str, uid: &str) -> Result<Sent, ClientRefusal> {
        let sent_ms = self.app.core.lock().messages.get(uid).map_or(0, |message| message.time_ms);
        let content = serde_json::json!({ "lastMessageSendTime": sent_ms, "messageUId": uid, "type": 1 }).to_string();
        self.send(ClientMessage::new(Target::User(peer.to_owned()), "RC:ReadNtf", &content)).await
    }

    /// Shows a peer that one is typing: a status message, kept nowhere.
    ///
    /// # Errors
    /// As [`EndUser::send`].
    pub async fn typing(&self, peer: &str) -> Result<Sent, ClientRefusal> {
        let content = r#"{"typingContentType":"RC:TxtMsg"}"#;
        self.send(ClientMessage::new(Target::User(peer.to_owned()), "RC:TypSts", content)).await
    }

    /// Enters a chatroom, which comes into being when it does not exist, unless rooms are strict.
    ///
    /// # Errors
    /// 23409 when barred from the room, 23410 when it does not exist.
    pub fn join_room(&self, room: &str) -> Result<(), ClientRefusal> {
        self.app.change(|core, now_ms| {
            let existing = core.rooms.get(room);
            if existing.is_none() && core.settings.chatrooms.strict {
                return Err(ClientRefusal::new(23_410, "chatroom does not exist"));
            }
            let barred = existing.and_then(|room| room.blocked.get(&self.id)).is_some_and(|until| *until > now_ms);
            if barred {
                return Err(ClientRefusal::new(23_409, "barred from the chatroom"));
            }
            core.join_room(room, &self.id, now_ms);
            Ok(())
        })
    }

    /// Leaves a chatroom.
    ///
    /// # Errors
    /// 23406 when not in it.
    pub fn quit_room(&self, room: &str) -> Result<(), ClientRefusal> {
        let left = self.app.change(|core, now_ms| core.quit_room(room, &self.id, now_ms));
        if left { Ok(()) } else { Err(ClientRefusal::new(23_406, "not in the chatroom")) }
    }

    /// What the user's devices show as received, in the order of acceptance. Status messages are shown nowhere.
    #[must_use]
    pub fn inbox(&self) -> Vec<Received> {
        let core = self.app.core.lock();
        core.messages.all().filter(|message| self.receives(&core, message)).map(received).collect()
    }

    /// Whether the user's devices show a conversation above the others.
    #[must_use]
    pub fn is_on_top(&self, conversation: &Target) -> bool {
        let core = self.app.core.lock();
        let key = on_top(conversation.kind(), conversation.id(), conversation.channel());
        core.conversation_options.get(&(self.id.clone(), key)).is_some_and(|top| *top != 0)
    }

    fn receives(&self, core: &Core, message: &Message) -> bool {
        let id = self.id.as_str();
        let addressed = match message.kind {
            // Broadcasts to the whole app name nobody.
            ConversationKind::System => message.target == id || message.target.is_empty(),
            ConversationKind::Private | ConversationKind::CustomerService => message.target == id,
            ConversationKind::Group => core.groups.get(&message.target).is_some_and(|group| group.members.contains(id)),
            ConversationKind::Chatroom => core
                .rooms
                .get(&message.target)
                .is_some_and(|room| room.members.contains_key(id) && !room.distribution_stopped),
            ConversationKind::UltraGroup => {
                core.ultra_groups.get(&message.target).is_some_and(|group| group.members.contains(id))
            }
            ConversationKind::Discussion => false,
        };
        addressed
            && message.from != id
            && !message.recalled
            && message.sensitivity != Sensitivity::Blocked
            && message.original_uid.is_none()
            && message.object_name != "RC:RcCmd"
            && !message.deleted_by.contains(id)
            && (message.directed.is_empty() || message.directed.iter().any(|user| user == id))
    }
}

fn received(message: &Message) -> Received {
    Received {
        uid: message.uid.clone(),
        kind: message.kind,
        from: message.from.clone(),
        target: message.target.clone(),
        object_name: message.object_name.clone(),
        content: message.content.clone(),
        push: message.push.clone(),
        time_ms: message.time_ms,
    }
}

fn in_force(until: Option<&i64>, now_ms: i64) -> bool {
    until.is_some_and(|until| *until > now_ms)
}

fn may_speak_in_group(core: &Core, group: &str, user: &str, now_ms: i64) -> Result<(), ClientRefusal> {
    let group = core.groups.get(group).filter(|group| group.members.contains(user));
    let group = group.ok_or_else(|| ClientRefusal::new(22_406, "not in the group"))?;
    let muted = in_force(group.gagged.get(user), now_ms)
        || in_force(core.groups_gagged.get(user), now_ms)
        || (group.banned && !group.ban_whitelist.contains(user));
    if muted { Err(ClientRefusal::new(22_408, "muted in the group")) } else { Ok(()) }
}

fn may_speak_in_room(core: &Core, room: &str, user: &str, now_ms: i64) -> Result<(), ClientRefusal> {
    let room = core.rooms.get(room).filter(|room| room.members.contains_key(user));
    let room = room.ok_or_else(|| ClientRefusal::new(23_406, "not in the chatroom"))?;
    let muted = in_force(room.gagged.get(user), now_ms)
        || in_force(core.rooms_gagged.get(user), now_ms)
        || (room.banned && !room.ban_whitelist.contains(user));
    if muted { Err(ClientRefusal::new(23_408, "muted in the chatroom")) } else { Ok(()) }
}
