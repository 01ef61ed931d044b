//! The provider: one app, its client, and the capabilities it has.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use switchboard_contract::{
    App, CallbackCodec, GroupNaming, Groups, HistoryFiles, Messaging, Naming, Provider, Result, Roaming, Spelling,
    Timestamp, Users,
};
use switchboard_outbound::{CallBody, Method, Outbound, VendorCall, VendorReply};

use crate::callbacks::RongCloudCallbacks;
use crate::codec::Codec;
use crate::config::RongCloudConfig;
use crate::limits::{MAX_ID_BYTES, group};
use crate::wire::form::Form;

/// Whether the vendor admits this byte in an id: letters, digits and `+ = - _`.
pub(crate) const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'=' | b'-' | b'_')
}

/// Users, groups and rooms are spelled alike; the pages name an alphabet for users alone, and the narrower reading is
/// safe. `=` introduces an escaped byte; ordinary ids do not begin with `x=`.
const SPELLING: Spelling = Spelling { allowed: is_id_byte, prefix: "x=", escape: b'=', max_bytes: MAX_ID_BYTES };

/// One app at RongCloud. Cheap to clone.
#[derive(Clone)]
pub struct RongCloud {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) app: App,
    pub(crate) config: RongCloudConfig,
    pub(crate) outbound: Outbound,
    pub(crate) codec: Codec,
    callbacks: RongCloudCallbacks,
}

impl RongCloud {
    pub(crate) fn new(config: RongCloudConfig, outbound: Outbound) -> Self {
        let app = config.app();
        let codec = Codec::new(&config.mark_key);
        let mut secrets = vec![config.app_secret.clone()];
        secrets.extend(config.former_secrets.iter().cloned());
        let callbacks = RongCloudCallbacks {
            app_key: app.key.clone(),
            secrets,
            window: config.callbacks.window,
            pre_send_path: config.callbacks.pre_send_path.clone(),
            codec: codec.clone(),
        };
        Self { inner: Arc::new(Inner { app, config, outbound, codec, callbacks }) }
    }

    pub(crate) async fn call(&self, call: VendorCall) -> Result<VendorReply> {
        self.inner.outbound.call(call).await
    }

    /// A form posted to a path that may be repeated without harm.
    pub(crate) async fn post(
        &self,
        operation: &'static str,
        quota: &'static str,
        path: &'static str,
        form: Form,
    ) -> Result<VendorReply> {
        let call = VendorCall::read(Method::POST, operation, quota, path).with_body(CallBody::Form(form.into_bytes()));
        self.call(call).await
    }
}

/// Shows the app alone.
impl fmt::Debug for RongCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RongCloud").field("app", &self.inner.app).finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for RongCloud {
    fn app(&self) -> &App {
        &self.inner.app
    }

    fn naming(&self) -> Naming {
        Naming { users: SPELLING, groups: GroupNaming::Business(SPELLING), rooms: GroupNaming::Business(SPELLING) }
    }

    fn charge_earlier(&self, ended: Timestamp) {
        self.inner.outbound.charge_earlier(ended, &group::KNOWN);
    }

    async fn probe(&self) -> Result<()> {
        let form = Form::new().pair("userId", &self.inner.config.probe_user);
        self.post("probe", group::GENERAL, "/user/checkOnline.json", form).await.map(drop)
    }

    fn messaging(&self) -> &dyn Messaging {
        self
    }

    fn callbacks(&self) -> Option<&dyn CallbackCodec> {
        Some(&self.inner.callbacks)
    }

    fn roaming(&self) -> Option<&dyn Roaming> {
        Some(self)
    }

    fn history_files(&self) -> Option<&dyn HistoryFiles> {
        Some(self)
    }

    fn users(&self) -> Option<&dyn Users> {
        Some(self)
    }

    fn groups(&self) -> Option<&dyn Groups> {
        Some(self)
    }
}
