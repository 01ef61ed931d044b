//! One emulated app: its identity, clock, data and callback sender, shared by every route and handle.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use reqwest::Error as ClientError;
use serde_json::Value;

use super::data::Data;
use super::error::ApiError;
use super::model::User;
use super::msync::Links;
use super::quotas::Quotas;
use super::rules::CallbackRule;
use super::settings::HuanxinSettings;
use super::storage::Storage;
use super::tokens::Tokens;
use crate::common::{
    BanAction, BanPolicy, CallbackPolicy, CallbackSender, Domains, DropReason, FaultEngine, Ledger, Time,
};

/// Identity of the app.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) org: String,
    pub(crate) app: String,
    pub(crate) uuid: String,
    pub(crate) deploy_name: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl Identity {
    pub(crate) fn app_key(&self) -> String {
        format!("{}#{}", self.org, self.app)
    }
}

pub(crate) struct App {
    pub(crate) id: Identity,
    pub(crate) app_key: String,
    pub(crate) time: Time,
    pub(crate) faults: Arc<FaultEngine>,
    pub(crate) ledger: Ledger,
    pub(crate) data: Mutex<Data>,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) sender: CallbackSender,
    pub(crate) storage: Arc<Mutex<Storage>>,
    pub(crate) links: Mutex<Links>,
    /// Signs history addresses; drawn from the seed.
    pub(crate) url_key: [u8; 16],
    /// The listeners, for host discovery; set when the emulator starts.
    pub(crate) domains: OnceLock<Domains>,
    quotas: Mutex<Quotas>,
    settings: RwLock<Arc<HuanxinSettings>>,
}

impl App {
    pub(crate) fn new(
        id: Identity,
        settings: HuanxinSettings,
        time: Time,
        faults: Arc<FaultEngine>,
    ) -> Result<Self, ClientError> {
        let ledger = Ledger::new(settings.ledger);
        let storage: Arc<Mutex<Storage>> = Arc::default();
        let hook = {
            let (storage, time) = (Arc::clone(&storage), time.clone());
            let (keep_ms, most) = (settings.callbacks.storage_keep_ms, settings.callbacks.storage_events);
            move |job: &crate::common::CallbackJob, reason: DropReason| {
                if matches!(reason, DropReason::Attempts | DropReason::Banned) {
                    storage.lock().keep(job.clone(), time.now_ms(), keep_ms, most);
                }
            }
        };
        let policy = callback_policy(&settings);
        let sender =
            CallbackSender::new(policy, time.clone(), ledger.clone(), Arc::clone(&faults), Some(Arc::new(hook)))?;
        let mut url_key = [0; 16];
        url_key[..8].copy_from_slice(&faults.draw(0..u64::MAX).to_be_bytes());
        url_key[8..].copy_from_slice(&faults.draw(0..u64::MAX).to_be_bytes());
        Ok(Self {
            app_key: id.app_key(),
            id,
            time,
            faults,
            ledger,
            data: Mutex::default(),
            tokens: Mutex::default(),
            sender,
            storage,
            links: Mutex::default(),
            url_key,
            domains: OnceLock::new(),
            quotas: Mutex::default(),
            settings: RwLock::new(Arc::new(settings)),
        })
    }

    pub(crate) fn settings(&self) -> Arc<HuanxinSettings> {
        Arc::clone(&self.settings.read())
    }

    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut HuanxinSettings)) {
        change(Arc::make_mut(&mut self.settings.write()));
    }

    /// Replaces all rules by one that reports everything to `url`.
    pub(crate) fn set_callback_url(&self, url: &str, secret: &str) {
        let rule = CallbackRule::everything("rule1", url, secret);
        self.change_settings(|settings| settings.callbacks.rules = vec![rule]);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.time.now_ms()
    }

    /// A user id as the vendor keeps it.
    pub(crate) fn fold(&self, user: &str) -> String {
        if self.settings.read().users.fold_case { user.to_lowercase() } else { user.to_owned() }
    }

    /// Counts a call against the rate `name`; `key` separates endpoints that share a rate but not a window.
    pub(crate) fn count_call(&self, name: &str, key: &str) -> Result<(), ApiError> {
        self.quotas.lock().call(&self.settings().quotas, name, key, self.now_ms())
    }

    pub(crate) fn count_messages(&self, name: &str, count: usize) -> Result<(), ApiError> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.quotas.lock().messages(&self.settings().quotas, name, count, self.now_ms())
    }

    /// Reads a user or answers as the vendor does for an unknown one.
    pub(crate) fn with_user<T>(&self, name: &str, read: impl FnOnce(&mut User) -> T) -> Result<T, ApiError> {
        let name = self.fold(name);
        self.data.lock().users.get_mut(&name).map(read).ok_or_else(ApiError::no_user)
    }

    pub(crate) fn describe(&self) -> Value {
        let data = self.data.lock();
        serde_json::json!({
            "kind": "huanxin",
            "app_key": self.app_key,
            "users": data.users.len(),
            "messages": data.messages.len(),
            "groups": data.groups.values().filter(|group| !group.room).count(),
            "rooms": data.groups.values().filter(|group| group.room).count(),
            "callbacks_pending": self.sender.pending(),
            "banned_until_ms": self.sender.banned_until(&self.app_key),
        })
    }
}

fn callback_policy(settings: &HuanxinSettings) -> CallbackPolicy {
    let callbacks = &settings.callbacks;
    CallbackPolicy {
        concurrency: callbacks.concurrency,
        timeout: Duration::from_millis(callbacks.timeout_ms),
        attempts: 2,
        max_reply_chars: Some(callbacks.max_reply_chars),
        ban: Some(BanPolicy {
            failures: callbacks.ban_failures.max(1),
            window: Duration::from_millis(callbacks.ban_window_ms),
            ladder: callbacks.ban_ladder_ms.iter().copied().map(Duration::from_millis).collect(),
            memory: Duration::from_secs(24 * 3_600),
            action: BanAction::Drop,
        }),
        ..CallbackPolicy::default()
    }
}
