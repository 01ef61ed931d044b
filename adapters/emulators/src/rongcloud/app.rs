//! One emulated app: its memory, its clock, and what leaves it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    callback::{ChatroomStatus, OnlineStatus, Signer},
    callback_settings::{CallbackSettings, CallbackUrls},
    reply::Refusal,
    settings::RongCloudSettings,
    state::{Core, Event},
};
use crate::common::{
    Accepts, BanAction, BanPolicy, CallbackPolicy, CallbackSender, FaultAction, FaultEngine, FaultReplies, Ledger, Time,
};

/// Everything behind the listeners, shared by all of them.
pub(crate) struct App {
    pub(crate) app_key: Arc<str>,
    pub(crate) app_secret: Arc<str>,
    pub(crate) time: Time,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Arc<FaultEngine>,
    pub(crate) sender: CallbackSender,
    pub(crate) signer: Signer,
    pub(crate) core: Mutex<Core>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    batches: Mutex<Batches>,
}

#[derive(Default)]
struct Batches {
    online: Vec<OnlineStatus>,
    rooms: Vec<ChatroomStatus>,
    flush_planned: bool,
}

impl App {
    pub(crate) fn new(
        (app_key, app_secret): (&str, &str),
        settings: RongCloudSettings,
        time: Time,
        faults: Arc<FaultEngine>,
    ) -> Result<Self, reqwest::Error> {
        let ledger = Ledger::new(settings.ledger);
        let policy = policy(&settings.callbacks);
        let sender = CallbackSender::new(policy, time.clone(), ledger.clone(), Arc::clone(&faults), None)?;
        let (app_key, app_secret): (Arc<str>, Arc<str>) = (app_key.into(), app_secret.into());
        let signer = Signer {
            app_key: Arc::clone(&app_key),
            app_secret: Arc::clone(&app_secret),
            time: time.clone(),
            faults: Arc::clone(&faults),
        };
        Ok(Self {
            core: Mutex::new(Core::new(&app_key, settings, ledger.clone())),
            app_key,
            app_secret,
            time,
            ledger,
            faults,
            sender,
            signer,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            batches: Mutex::default(),
        })
    }

    /// Changes the app's memory and lets the callbacks that follow leave.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut Core, i64) -> T) -> T {
        let now_ms = self.time.now_ms();
        let (result, events) = {
            let mut core = self.core.lock();
            let result = change(&mut core, now_ms);
            (result, core.take_outbox())
        };
        self.deliver(events);
        result
    }

    /// Changes settings while running.
    pub(crate) fn update_settings(&self, change: impl FnOnce(&mut RongCloudSettings)) {
        let mut core = self.core.lock();
        let mut settings = RongCloudSettings::clone(&core.settings);
        change(&mut settings);
        core.set_settings(settings);
    }

    /// Sends every asynchronous callback to one address from now on.
    pub(crate) fn set_callback_url(&self, url: &str) {
        self.update_settings(|settings| {
            let pre_send = settings.callbacks.urls.pre_send.take();
            settings.callbacks.urls = CallbackUrls { pre_send, ..CallbackUrls::all(url) };
        });
    }

    /// Hands callbacks to the sender; status events of one occasion share an array.
    pub(crate) fn deliver(self: &Arc<Self>, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let settings = Arc::clone(&self.core.lock().settings);
        let callbacks = &settings.callbacks;
        let mut batches = self.batches.lock();
        for event in events {
            match event {
                Event::Online(status) => batches.online.push(status),
                Event::Chatroom(status) => batches.rooms.push(status),
                other => {
                    if let Some(job) = self.signer.job(other, callbacks) {
                        self.sender.submit(job);
                    }
                }
            }
        }
        let waiting = !batches.online.is_empty() || !batches.rooms.is_empty();
        if !waiting || batches.flush_planned {
            return;
        }
        if callbacks.batch_ms == 0 {
            drop(batches);
            self.flush_batches();
            return;
        }
        batches.flush_planned = true;
        let (app, wait) = (Arc::clone(self), Duration::from_millis(callbacks.batch_ms));
        self.tasks.spawn(async move {
            if app.stop.clone().run_until_cancelled(app.time.sleep(wait)).await.is_some() {
                app.flush_batches();
            }
        });
    }

    fn flush_batches(&self) {
        let Batches { online, rooms, .. } = std::mem::take(&mut *self.batches.lock());
        let settings = Arc::clone(&self.core.lock().settings);
        let jobs = [
            self.signer.online_job(&online, &settings.callbacks),
            self.signer.chatroom_job(&rooms, &settings.callbacks),
        ];
        for job in jobs.into_iter().flatten() {
            self.sender.submit(job);
        }
    }

    /// Ends what is due, lets collected status events go, and waits until no callback is under way.
    pub(crate) async fn wait_idle(self: &Arc<Self>) {
        self.change(Core::sweep_rooms);
        self.flush_batches();
        self.sender.wait_idle().await;
    }

    /// Destroys rooms that are due, again and again until the emulator stops.
    pub(crate) fn spawn_sweeper(self: &Arc<Self>) {
        let app = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let every_ms = app.core.lock().settings.chatrooms.sweep_ms.max(1);
                let slept = app.time.sleep(Duration::from_millis(every_ms));
                if app.stop.run_until_cancelled(slept).await.is_none() {
                    return;
                }
                app.change(Core::sweep_rooms);
            }
        });
    }

    /// Facts for the control surface; no secret among them.
    pub(crate) fn describe(&self) -> Value {
        let core = self.core.lock();
        json!({
            "vendor": "rongcloud",
            "app_key": &*self.app_key,
            "users": core.users.len(),
            "groups": core.groups.len(),
            "ultra_groups": core.ultra_groups.len(),
            "chatrooms": core.rooms.len(),
            "messages_kept": core.messages.len(),
            "callbacks_pending": self.sender.pending(),
            "callbacks_paused_until": self.sender.banned_until(&self.app_key),
            "settings": &*core.settings,
        })
    }
}

fn policy(settings: &CallbackSettings) -> CallbackPolicy {
    let ban = (settings.pause_after_failures > 0).then(|| BanPolicy {
        failures: settings.pause_after_failures,
        window: Duration::from_millis(settings.pause_window_ms),
        ladder: vec![Duration::from_millis(settings.pause_ms)],
        memory: Duration::ZERO,
        action: if settings.pause_holds { BanAction::Hold } else { BanAction::Drop },
    });
    let spacing = match settings.retry_spacing_ms {
        0 => Vec::new(),
        ms => vec![Duration::from_millis(ms)],
    };
    CallbackPolicy {
        concurrency: settings.concurrency,
        timeout: Duration::from_millis(settings.timeout_ms),
        attempts: settings.attempts,
        spacing,
        accepts: Accepts::Only200,
        ban,
        ..CallbackPolicy::default()
    }
}

/// The vendor's form of injected failures.
#[derive(Debug)]
pub(crate) struct Replies;

impl FaultReplies for Replies {
    fn reply(&self, fault: FaultAction, _path: &str) -> Response {
        refusal(&match fault {
            FaultAction::RateLimited | FaultAction::MessageLimit => Refusal::too_frequent(),
            FaultAction::Unauthorized => Refusal::bad_signature(),
            FaultAction::TimeoutAnswer => Refusal::internal_timeout(),
            _ => Refusal::internal(),
        })
    }

    fn is_send(&self, path: &str) -> bool {
        path.contains("/publish") || path.ends_with("/broadcast.json") || path.ends_with("/message/ultragroup/send")
    }

    fn is_secret(&self, _path: &str) -> bool {
        false
    }

    fn has_credentials(&self, request: &Request) -> bool {
        request.headers().keys().any(|name| name.as_str().ends_with("signature"))
    }
}

/// A refusal as a response.
pub(crate) fn refusal(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.http).unwrap_or(StatusCode::BAD_REQUEST);
    json_response(status, refusal.body())
}

/// A JSON body with its type.
pub(crate) fn json_response(status: StatusCode, body: String) -> Response {
    let json = HeaderValue::from_static("application/json;charset=utf-8");
    (status, [(header::CONTENT_TYPE, json)], body).into_response()
}
