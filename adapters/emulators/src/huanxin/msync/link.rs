//! One client's connection: provision, unread, sync, notices.

use std::sync::Arc;

use axum::extract::ws::{Message as Packet, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;

use super::super::app::App;
use super::super::endusers::{EndUser, Outgoing, Target};
use super::super::model::{ChatType, Message};
use super::super::tokens::{Subject, verify_dynamic};
use super::Signal;
use super::content::{to_body, to_ext};
use super::roaming::{jid, meta};
use super::wire::{self, Body, Frame, Jid, Meta, Notice, Provision, Status, SyncDown, SyncUp, Unread, UnreadDown};
use crate::common::{ActionError, Connection};

/// `GET /websocket`.
pub(crate) async fn connect(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket| serve(app, connection, socket))
}

async fn serve(app: Arc<App>, connection: Connection, mut socket: WebSocket) {
    let stopping = app.domains.get().map(crate::common::Domains::stopping).unwrap_or_default();
    let Some(mut link) = provision(&app, &mut socket).await else { return };
    loop {
        let outgoing = tokio::select! {
            () = stopping.cancelled() => break,
            signal = link.signals.recv() => match signal {
                Some(Signal::New { queue, group }) => Some(link.notice(&queue, group)),
                Some(Signal::Ended) | None => break,
            },
            packet = socket.recv() => match packet {
                Some(Ok(Packet::Binary(bytes))) => match link.answer(&bytes).await {
                    Step::Reply(frame) => Some(frame),
                    Step::Nothing => None,
                    Step::End => break,
                },
                Some(Ok(_)) => None,
                Some(Err(_)) | None => break,
            },
        };
        if app.faults.is_dead(connection.domain()) {
            connection.cut();
            break;
        }
        if let Some(frame) = outgoing
            && socket.send(packet(&frame)).await.is_err()
        {
            break;
        }
    }
    app.drop_devices(&link.name, Some(&link.resource), "logout");
    // The peer may be gone already.
    let _ = socket.send(Packet::Close(None)).await;
}

fn packet(frame: &Frame) -> Packet {
    Packet::Binary(Bytes::from(frame.encode_to_vec()))
}

fn frame(command: i32, payload: Vec<u8>) -> Frame {
    Frame { version: Some(0), guid: None, auth: None, command: Some(command), payload: Some(payload) }
}

fn status(error_code: i32, reason: Option<String>) -> Option<Status> {
    Some(Status { error_code: Some(error_code), reason })
}

/// Waits for the first frame and logs the user in; none when refused or gone.
async fn provision(app: &Arc<App>, socket: &mut WebSocket) -> Option<Link> {
    let bytes = loop {
        match socket.recv().await?.ok()? {
            Packet::Binary(bytes) => break bytes,
            Packet::Close(_) => return None,
            _ => {}
        }
    };
    let first = Frame::decode(bytes).ok().filter(|first| first.command == Some(wire::PROVISION))?;
    let details = Provision::decode(first.payload.as_deref().unwrap_or_default()).ok()?;
    let outcome = open(app, &first, &details);
    let reply = match &outcome {
        Ok(link) => Provision { status: status(wire::OK, None), resource: Some(link.resource.clone()), auth: None },
        Err((code, reason)) => Provision { status: status(*code, Some(reason.clone())), ..Provision::default() },
    };
    socket.send(packet(&frame(wire::PROVISION, reply.encode_to_vec()))).await.ok()?;
    outcome.ok()
}

fn open(app: &Arc<App>, first: &Frame, details: &Provision) -> Result<Link, (i32, String)> {
    let auth = first.auth.as_ref().or(details.auth.as_ref()).map(String::as_str).unwrap_or_default();
    let token = auth.strip_prefix("$t$").unwrap_or(auth);
    let name = first.guid.as_ref().and_then(|guid| guid.name.clone()).unwrap_or_default();
    let name = app.fold(&name);
    let now_ms = app.now_ms();
    let issued = app.tokens.lock().check(token, now_ms);
    let user = match issued {
        Ok(Subject::User(user)) => user,
        Ok(Subject::App) => return Err((wire::UNAUTHORIZED, "an app token".to_owned())),
        Err(error) => {
            let expired = error.to_value()["error"] == "unauthorized";
            let id = &app.id;
            verify_dynamic(token, &id.client_id, &id.client_secret, &app.app_key, now_ms).map_err(|_| {
                let code = if expired { wire::TOKEN_EXPIRED } else { wire::UNAUTHORIZED };
                (code, "Sorry, user register or login failed".to_owned())
            })?
        }
    };
    if user != name {
        return Err((wire::UNAUTHORIZED, "the token belongs to another user".to_owned()));
    }
    let floor = app.data.lock().first_unseen(&name);
    let end_user = EndUser::new(Arc::clone(app), &name);
    let resource = end_user.login("webim").map_err(|ActionError(reason)| (wire::FAIL, reason))?;
    let signals = app.links.lock().add(&name, &resource);
    Ok(Link { app: Arc::clone(app), end_user, name, resource, floor, signals })
}

enum Step {
    Reply(Frame),
    Nothing,
    End,
}

struct Link {
    app: Arc<App>,
    end_user: EndUser,
    name: String,
    resource: String,
    /// Messages up to this id were seen by an earlier login.
    floor: u64,
    signals: mpsc::UnboundedReceiver<Signal>,
}

impl Link {
    async fn answer(&self, bytes: &Bytes) -> Step {
        let Ok(request) = Frame::decode(bytes.clone()) else { return Step::End };
        let payload = request.payload.unwrap_or_default();
        match request.command.unwrap_or(wire::SYNC) {
            wire::UNREAD => Step::Reply(frame(wire::UNREAD, self.unread().encode_to_vec())),
            wire::SYNC => match SyncUp::decode(&payload[..]) {
                Ok(SyncUp { meta: Some(meta), .. }) => {
                    Step::Reply(frame(wire::SYNC, self.take(&meta).await.encode_to_vec()))
                }
                Ok(SyncUp { queue: Some(queue), key, .. }) => {
                    Step::Reply(frame(wire::SYNC, self.pull(&queue, key.unwrap_or(0)).encode_to_vec()))
                }
                _ => Step::End,
            },
            wire::LOGOUT => Step::End,
            _ => Step::Nothing,
        }
    }

    fn now(&self) -> Option<u64> {
        u64::try_from(self.app.now_ms()).ok()
    }

    fn jid(&self, name: &str, group: bool) -> Jid {
        jid(&self.app.app_key, name, group)
    }

    fn notice(&self, queue: &str, group: bool) -> Frame {
        frame(wire::NOTICE, Notice { queue: Some(self.jid(queue, group)) }.encode_to_vec())
    }

    /// The queue a received message belongs to: its group, or whoever is at the other end.
    fn queue_of<'a>(&self, message: &'a Message) -> (&'a str, bool) {
        match message.kind {
            ChatType::Chat if message.from == self.name => (&message.to, false),
            ChatType::Chat => (&message.from, false),
            ChatType::GroupChat | ChatType::ChatRoom => (&message.to, true),
        }
    }

    /// Messages of the inbox above a key, oldest first.
    fn received(&self, above: u64) -> Vec<Message> {
        let data = self.app.data.lock();
        let Some(user) = data.users.get(&self.name) else { return Vec::new() };
        user.inbox
            .iter()
            .filter(|id| **id > above.max(self.floor))
            .filter_map(|id| data.by_id.get(id).map(|index| data.messages[*index].clone()))
            .filter(|message| message.recalled_ms.is_none())
            .collect()
    }

    fn unread(&self) -> UnreadDown {
        let mut unread: Vec<Unread> = Vec::new();
        for message in self.received(0) {
            let (name, group) = self.queue_of(&message);
            let queue = Some(self.jid(name, group));
            match unread.iter_mut().find(|entry| entry.queue == queue) {
                Some(entry) => entry.count = entry.count.map(|count| count + 1),
                None => unread.push(Unread { queue, count: Some(1) }),
            }
        }
        UnreadDown { status: status(wire::OK, None), unread, timestamp: self.now() }
    }

    fn pull(&self, queue: &Jid, key: u64) -> SyncDown {
        let wanted = queue.name.as_deref().unwrap_or_default();
        let messages: Vec<Message> =
            self.received(key).into_iter().filter(|message| self.queue_of(message).0 == wanted).collect();
        let next = messages.last().map_or(key, |message| message.id);
        SyncDown {
            status: status(wire::OK, None),
            metas: messages.iter().map(|message| meta(&self.app.app_key, message)).collect(),
            next_key: Some(next),
            queue: Some(queue.clone()),
            // The SDK drops a queue from its list only after an empty page: a full last page makes it pull for ever.
            is_last: Some(messages.is_empty()),
            timestamp: self.now(),
            ..SyncDown::default()
        }
    }

    /// What the client puts in: a message, a receipt, a recall, or statistics nobody reads.
    async fn take(&self, meta: &Meta) -> SyncDown {
        let outcome = match meta.ns.unwrap_or(wire::NS_STATISTIC) {
            wire::NS_STATISTIC => Ok(None),
            wire::NS_CHAT => self.chat(meta).await,
            other => Err(ActionError(format!("namespace {other} is not spoken here"))),
        };
        let (code, reason, server_id) = match outcome {
            Ok(id) => (wire::OK, None, id),
            Err(ActionError(reason)) => (wire::FAIL, Some(reason), None),
        };
        SyncDown {
            status: status(code, reason),
            meta_id: meta.id,
            server_id,
            timestamp: self.now(),
            ..SyncDown::default()
        }
    }

    async fn chat(&self, meta: &Meta) -> Result<Option<u64>, ActionError> {
        let broken = || ActionError("the frame cannot be read".to_owned());
        let body = Body::decode(meta.payload.as_deref().unwrap_or_default()).map_err(|_| broken())?;
        let acked = body.ack_message_id.map(|id| id.to_string()).unwrap_or_default();
        let to = meta.to.as_ref().and_then(|to| to.name.clone()).ok_or_else(broken)?;
        let target = match body.kind.unwrap_or(wire::CHAT) {
            wire::CHAT => Target::User(to),
            wire::GROUP_CHAT => Target::Group(to),
            wire::CHAT_ROOM => Target::Room(to),
            wire::READ_ACK => return self.end_user.read(&acked).map(|()| None),
            wire::RECALL => return self.end_user.recall(&acked).map(|()| None),
            wire::CHANNEL_ACK => return self.end_user.read_conversation(&to).map(|()| None),
            wire::DELIVER_ACK => return Ok(None),
            other => return Err(ActionError(format!("message type {other} is not spoken here"))),
        };
        let content = body.contents.first().and_then(to_body).ok_or_else(broken)?;
        let message = Outgoing {
            to: target,
            body: content,
            ext: to_ext(&body.ext),
            users: (!meta.directed_users.is_empty()).then(|| meta.directed_users.clone()),
            env: None,
            group_ack: body.config.and_then(|config| config.allow_group_ack).unwrap_or(false),
        };
        let id = self.end_user.send(message).await?;
        Ok(id.parse().ok())
    }
}
