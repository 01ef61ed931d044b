//! Both emulators beside a sidecar, and a customer who writes.

use std::time::Duration;

use switchboard_emulators::huanxin::{HuanxinEmulator, HuanxinSettings};
use switchboard_emulators::rongcloud::{ClientMessage, RongCloudEmulator, RongCloudSettings, Target as RongTarget};

/// The app keys and secrets of the emulated apps.
pub const HUANXIN_APP: &str = "acme#test";
pub const HUANXIN_SECRET: &str = "huanxin-callback-secret";
pub const RONGCLOUD_APP: &str = "testappkey";
pub const RONGCLOUD_SECRET: &str = "rongcloud-secret";

/// Both vendors.
#[derive(Clone, Debug)]
pub struct Vendors {
    pub huanxin: HuanxinEmulator,
    pub rongcloud: RongCloudEmulator,
}

impl Vendors {
    /// Starts both with everything that limits a test's customers switched off.
    pub async fn start(seed: u64) -> Self {
        let mut settings = HuanxinSettings::default();
        settings.ledger.requests = 10_000;
        let huanxin = HuanxinEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials(HUANXIN_APP, "id", "secret")
            .settings(settings)
            .seed(seed)
            .start()
            .await
            .unwrap();
        let mut settings = RongCloudSettings::default();
        settings.routing.server_api = true;
        settings.messages.client_per_second = u32::MAX;
        let rongcloud = RongCloudEmulator::builder()
            .listen("127.0.0.1:0")
            .credentials(RONGCLOUD_APP, RONGCLOUD_SECRET)
            .settings(settings)
            .seed(seed)
            .start()
            .await
            .unwrap();
        Self { huanxin, rongcloud }
    }

    /// The providers at addresses nobody listens on, for tests that only receive.
    pub fn nowhere() -> String {
        Self::config_of("http://127.0.0.1:9", "http://127.0.0.1:9")
    }

    /// The providers `huanxin` and `rongcloud`, the first carrying new messages.
    pub fn config(&self) -> String {
        Self::config_of(&self.huanxin.base_url(), &self.rongcloud.base_url())
    }

    fn config_of(huanxin: &str, rongcloud: &str) -> String {
        format!(
            "[providers.huanxin]\nkind = \"huanxin\"\napp_key = \"{HUANXIN_APP}\"\nclient_id = \"id\"\n\
             client_secret = \"secret\"\ncallback_secret = \"{HUANXIN_SECRET}\"\nbase_url = \"{huanxin}\"\n\
             [providers.rongcloud]\nkind = \"rongcloud\"\napp_key = \"{RONGCLOUD_APP}\"\n\
             app_secret = \"{RONGCLOUD_SECRET}\"\nbase_url = \"{rongcloud}\"\ncallbacks = {{ server_messages = true }}\n\
             [routing]\ndefault = \"huanxin\"\n"
        )
    }

    /// Points both vendors' callbacks at a sidecar.
    pub fn call_back(&self, url: &str) {
        self.huanxin.set_callback_url(&format!("{url}/callbacks/huanxin"), HUANXIN_SECRET);
        self.rongcloud.set_callback_url(&format!("{url}/callbacks/rongcloud"));
    }

    /// A customer writes to another on Huanxin; the vendor's id.
    pub async fn on_huanxin(&self, from: &str, to: &str, text: &str) -> String {
        let to = switchboard_emulators::huanxin::Target::User(to.to_owned());
        self.huanxin.user(from).send_text(to, text).await.unwrap()
    }

    /// A customer writes to another on RongCloud; the vendor's id.
    pub async fn on_rongcloud(&self, from: &str, to: &str, text: &str) -> String {
        let message = ClientMessage::text(RongTarget::User(to.to_owned()), text);
        self.rongcloud.user(from).send(message).await.unwrap().uid
    }

    /// Waits until no callback of either vendor is on its way.
    pub async fn idle(&self) {
        tokio::time::timeout(Duration::from_secs(60), async {
            self.huanxin.wait_idle().await;
            self.rongcloud.wait_idle().await;
        })
        .await
        .unwrap();
    }
}
