//! One event told by several of a vendor's sources, decoded by the real adapters: one row, whoever is first.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard::clock::ManualClock;
use switchboard_contract::storage::{Commit, Draft, Journal as _};
use switchboard_contract::*;
use switchboard_huanxin::HuanxinConfig;
use switchboard_rongcloud::RongCloudConfig;

use crate::provider::{Fake, NOW};
use crate::stage::Stage;

const ALIAS: &str = "vendor";

fn fixture(vendor: &str, file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("adapters").join(vendor).join("fixtures").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rongcloud() -> Arc<dyn Provider> {
    let config = RongCloudConfig::new("demoappkey01", "demosecret01");
    Arc::new(config.build(Arc::new(ManualClock::new(NOW))).unwrap())
}

fn huanxin() -> Arc<dyn Provider> {
    let config: HuanxinConfig = serde_json::from_value(json!({
        "app_key": "acme-im#bridge", "client_id": "id", "client_secret": "secret", "callback_secret": "secret",
        "base_url": "http://127.0.0.1:9",
    }))
    .unwrap();
    Arc::new(config.build(Arc::new(ManualClock::new(NOW))).unwrap())
}

fn decoded(provider: &dyn Provider, body: impl Into<Bytes>) -> Vec<Inbound> {
    let raw = RawCallback {
        path: String::new(),
        query: String::new(),
        headers: Vec::new(),
        body: body.into(),
        received_at: NOW,
    };
    provider.callbacks().unwrap().decode(&VerifiedCallback::assume_verified(raw, true))
}

/// The recall as we journal it ourselves once the vendor has taken it.
fn own_recall(app: &App, target: &VendorMessageId, conversation: ConversationId) -> Draft {
    let target_ref = MessageRef { id: Some(MessageId::generate()), vendor_id: Some(target.clone()) };
    let data = EventData::Recall(Recall { target: target_ref, by: Some("somebody".into()), reason: None });
    Draft {
        digest: switchboard::ingest::digest(Some(&conversation), &data),
        event: Event {
            id: EventId::generate(),
            tenant: TenantId::default(),
            app: Some(app.clone()),
            conversation: Some(conversation),
            sent_at: NOW,
            received_at: NOW,
            origin: Origin::Send,
            late: false,
            data,
        },
        key: EventKey::recall(target),
        sort_key: String::new(),
        raw: None,
    }
}

/// Submits each report as a callback, in every order and with our own recall at every place among them: one event.
async fn one_event(provider: Arc<dyn Provider>, reports: &[Vec<u8>]) {
    let items: Vec<Inbound> = reports.iter().flat_map(|body| decoded(provider.as_ref(), body.clone())).collect();
    assert_eq!(items.len(), reports.len());
    let target = VendorMessageId::from(items[0].key.id.as_str());
    assert!(items.iter().all(|item| item.key == EventKey::recall(&target)), "one key");
    let steps = items.len() + 1;
    for first in 0..steps {
        for second in (0..steps).filter(|second| *second != first) {
            let rest = (0..steps).filter(|step| *step != first && *step != second);
            let order: Vec<usize> = [first, second].into_iter().chain(rest).collect();
            let stage = Stage::new(Fake::obedient()).await;
            stage.ingest.register(ALIAS.into(), stage.tenant.clone(), provider.clone());
            for step in &order {
                match items.get(*step) {
                    Some(item) => {
                        let items = vec![item.clone()];
                        stage.ingest.submit(&stage.tenant, &ALIAS.into(), Origin::Callback, items).await.unwrap();
                    }
                    None => {
                        let draft = own_recall(provider.app(), &target, "system~a~b".parse().unwrap());
                        stage.store.commit(Commit { drafts: vec![draft], ..Commit::default() }).await.unwrap();
                    }
                }
            }
            let entries = stage.entries().await;
            assert_eq!(entries.len(), 1, "{order:?}");
            assert_eq!(stage.quarantine().await, [], "{order:?}");
            assert_eq!(stage.notices().await, Vec::<String>::new());
            let variants = stage.store.variants(&stage.tenant, Shard(0), entries[0].position).await.unwrap();
            assert_eq!(variants.len(), order.len() - 1, "what the others said is recorded");
        }
    }
}

#[tokio::test]
async fn i05_a_recall_told_by_all_of_rongclouds_sources_is_one_event() {
    let routed = fixture("rongcloud", "callback_message_route_recall.form");
    let operation = fixture("rongcloud", "callback_message_operation_recall.json");
    // An administrator's statement names somebody else, another time and a place that says less.
    let mut administrator: Value = serde_json::from_slice(&operation).unwrap();
    administrator["fromUserId"] = json!("user_admin");
    administrator["optTime"] = json!(1_795_054_799_999_i64);
    administrator["recallMsgInfo"] = json!({"isAdmin": 1, "isDelete": 1, "extra": "against the rules"});
    one_event(rongcloud(), &[routed, operation, serde_json::to_vec(&administrator).unwrap()]).await;
}

#[tokio::test]
async fn i05_a_recall_told_twice_by_huanxin_is_one_event() {
    let told = fixture("huanxin", "callback_recall.json");
    let mut by_the_server: Value = serde_json::from_slice(&told).unwrap();
    by_the_server["from"] = json!("admin");
    by_the_server["callId"] = json!("acme-im#bridge_99");
    by_the_server["msg_id"] = json!("1502300411223349999");
    by_the_server["timestamp"] = json!(1_795_200_099_999_i64);
    one_event(huanxin(), &[told, serde_json::to_vec(&by_the_server).unwrap()]).await;
}

#[tokio::test]
async fn i05_a_retry_of_what_huanxin_says_and_nobody_knows_is_one_event() {
    let provider = huanxin();
    let stage = Stage::new(Fake::obedient()).await;
    stage.ingest.register(ALIAS.into(), stage.tenant.clone(), provider.clone());
    for try_number in 1..=3 {
        let body = json!({
            "callId": format!("acme-im#bridge_{try_number}"), "eventType": "hologram", "chat_type": "hologram",
            "appkey": "acme-im#bridge", "timestamp": 1_795_200_030_101_i64, "security": format!("{try_number:032x}"),
            "payload": {"depth": 3},
        });
        let items = decoded(provider.as_ref(), serde_json::to_vec(&body).unwrap());
        stage.ingest.submit(&stage.tenant, &ALIAS.into(), Origin::Callback, items).await.unwrap();
    }
    assert_eq!(stage.entries().await.len(), 1);
    assert_eq!(stage.quarantine().await, []);
}
