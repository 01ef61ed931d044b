//! The Huanxin (Easemob) adapter: one app of the vendor behind the contract's traits.
//!
//! Vendor words stop at `wire` and `codec`; calls go through the outbound stack. What the vendor's documents leave open
//! is a setting in [`HuanxinConfig`]. Easemob's overseas brand and its resold forms speak the same protocol.

mod calls;
mod codec;
mod config;
mod error;
mod limits;
mod settings;
mod sign;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::{
    App, CallbackCodec, Clock, GroupNaming, Groups, HistoryFiles, KeptCallbacks, Messaging, Naming, Provider, Result,
    Roaming, Spelling, Timestamp, Users,
};
use switchboard_outbound::{Method, Outbound, VendorCall, path_segment};

pub use config::{
    Addresses, CallbackConfig, GroupConfig, HistoryConfig, HuanxinConfig, KeptConfig, LoginConfig, LoginMethod,
    RoamingConfig, RoomLevel, Secrets, SendingConfig, TokenConfig, TtlUnit, UnsignedPolicy, Zone,
};

use codec::{HuanxinCallbacks, ItemCodec, Reserved};
use limits::group;
use sign::{AppToken, Credentials};

/// The vendor family, as it stands in [`App::kind`] and in every stored key.
pub const KIND: &str = "huanxin";

/// The vendor folds case and admits `a-z 0-9 _ - .` up to 64 bytes (REST/account_register_open).
const USERS: Spelling = Spelling {
    allowed: |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.'),
    prefix: "x_",
    escape: b'_',
    max_bytes: 64,
};

/// One app at Huanxin. Clones share the token, connections and quotas.
#[derive(Clone, Debug)]
pub struct Huanxin {
    app: App,
    config: Arc<HuanxinConfig>,
    clock: Arc<dyn Clock>,
    outbound: Outbound,
    paths: Arc<Paths>,
    reserved: Reserved,
    items: ItemCodec,
    callbacks: HuanxinCallbacks,
}

/// What stands before every path.
#[derive(Debug)]
struct Paths {
    app: String,
    v6: String,
}

impl Huanxin {
    /// `config` has no faults.
    fn new(config: HuanxinConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let (org, name) = config.org_and_app().unwrap_or_default();
        let (org, name) = (path_segment(org)?, path_segment(name)?);
        let paths = Paths { app: format!("/{org}/{name}"), v6: format!("/api/server/v6/{org}/{name}") };
        let app = App::new(KIND, config.app_key.as_str());
        let bare = Outbound::builder(config.outbound(), app.clone(), clock.clone(), Arc::new(error::Table))
            .with_quotas(limits::quotas(&config))
            .build()?;
        let credentials = Credentials {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            config: config.token.clone(),
            path: format!("{}/token", paths.app),
        };
        let token = AppToken::new(credentials, bare.clone(), clock.clone());
        let reserved = Reserved { mark: config.sending.mark_key.clone(), mentions: config.sending.mention_key.clone() };
        let items = ItemCodec::new(&config.app_key, reserved.clone());
        let callbacks = HuanxinCallbacks::new(
            &config.app_key,
            config.callback_secret.as_slice(),
            config.callbacks.clone(),
            items.clone(),
        );
        Ok(Self {
            app,
            outbound: bare.with_signer(Arc::new(token)),
            config: Arc::new(config),
            clock,
            paths: Arc::new(paths),
            reserved,
            items,
            callbacks,
        })
    }

    /// A path below the app.
    fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.paths.app)
    }
}

#[async_trait]
impl Provider for Huanxin {
    fn app(&self) -> &App {
        &self.app
    }

    fn naming(&self) -> Naming {
        Naming { users: USERS, groups: GroupNaming::Vendor, rooms: GroupNaming::Vendor }
    }

    fn charge_earlier(&self, ended: Timestamp) {
        self.outbound.charge_earlier(ended, &group::KNOWN);
    }

    async fn probe(&self) -> Result<()> {
        let call = VendorCall::read(Method::GET, "probe", group::USERS, self.path("/users")).with_query("limit", "1");
        self.outbound.call(call).await.map(drop)
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(&self.callbacks)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        self.config.roaming.enabled.then_some(self as &dyn Roaming)
    }

    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        Some(self)
    }

    fn kept_callbacks(&self) -> Option<&dyn KeptCallbacks> {
        self.config.kept_callbacks.enabled.then_some(self as &dyn KeptCallbacks)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }
}
