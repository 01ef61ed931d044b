//! Requests captured from five official SDKs are accepted as they are.

use serde_json::Value;
use switchboard_emulators::rongcloud::{ClientMessage, Target};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Vendor, fixture};

/// Sends recorded bytes over a plain socket, so that no client tidies them up, and returns status and body.
async fn replay(vendor: &Vendor, recorded: &[u8]) -> (u16, Vec<u8>, String) {
    let recorded = String::from_utf8(recorded.to_vec()).unwrap();
    let (head, body) = recorded.trim_end_matches('\n').split_once("\n\n").unwrap();
    let mut request = head.replace('\n', "\r\n");
    if !head.to_ascii_lowercase().contains("connection:") {
        request.push_str("\r\nConnection: close");
    }
    request.push_str("\r\n\r\n");
    request.push_str(body);
    let address = vendor.emulator.base_url().replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec(), head.to_ascii_lowercase())
}

async fn answered(vendor: &Vendor, name: &str) -> Value {
    let recorded = fixture(&format!("sdk_capture_{name}.http"));
    let (status, body, head) = replay(vendor, &recorded).await;
    let body = if head.contains("content-encoding: gzip") {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        plain
    } else {
        body
    };
    let answer: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((status, answer["code"].as_i64()), (200, Some(200)), "{name}: {answer}");
    let asked_for_gzip = String::from_utf8_lossy(&recorded).contains("gzip");
    assert_eq!(head.contains("content-encoding: gzip"), asked_for_gzip, "{name}");
    answer
}

#[tokio::test]
async fn tokens() {
    let vendor = Vendor::start().await;
    for sdk in ["go", "java", "node", "php", "python"] {
        let answer = answered(&vendor, &format!("{sdk}_get_token")).await;
        assert_eq!(answer["userId"], "user_alice", "{sdk}");
        let info = vendor.ok("/user/info.json", "userId=user_alice").await;
        assert_eq!(info["userPortrait"], "https://cdn.example.test/a.png", "{sdk}");
        assert_eq!(info["userName"], if sdk == "java" { "Ann" } else { "Alice" });
    }
}

#[tokio::test]
pub(crate) async fn private_messages() {
    let vendor = Vendor::start().await;
    for sdk in ["go", "java", "node", "php", "python"] {
        let before = vendor.emulator.ledger().messages().len();
        let answer = answered(&vendor, &format!("{sdk}_private_publish")).await;
        let uids = answer["messageUIDs"].as_array().unwrap();
        let recipients: Vec<&Value> = uids.iter().map(|entry| &entry["userId"]).collect();
        assert_eq!(recipients, ["user_bob", "user_carol"], "{sdk}");
        let accepted = vendor.emulator.ledger().messages().split_off(before);
        assert_eq!(accepted.len(), 2, "{sdk}");
        for (message, uid) in accepted.iter().zip(uids) {
            assert_eq!(message.vendor_id, uid["messageUID"]);
            assert_eq!(message.from, "user_alice");
            assert_eq!(message.message_type, "RC:TxtMsg");
            assert_eq!(message.body["content"], "hello", "{sdk}");
        }
    }
    answered(&vendor, "node_private_publish_template").await;
    let message = vendor.emulator.user("user_bob").inbox().pop().unwrap();
    assert_eq!((message.from.as_str(), message.object_name.as_str()), ("user_alice", "RC:TxtMsg"));
    assert_eq!((message.content.as_str(), message.push.unwrap().content.as_str()), (r#"{"content":"x"}"#, "p"));
}

#[tokio::test]
async fn group_messages() {
    let vendor = Vendor::start().await;
    for sdk in ["go", "node", "python"] {
        let answer = answered(&vendor, &format!("{sdk}_group_publish")).await;
        assert_eq!(answer["messageUIDs"][0]["groupId"], "group_team", "{sdk}");
        let accepted = vendor.emulator.ledger().messages();
        assert_eq!(accepted.last().unwrap().kind, "group");
    }
}

#[tokio::test]
async fn queries_with_numbers_and_with_texts() {
    let vendor = Vendor::start().await;
    let sent = vendor
        .emulator
        .user("user_alice")
        .send(ClientMessage::text(Target::User("user_bob".to_owned()), "hello"))
        .await
        .unwrap();
    for sdk in ["go", "java"] {
        let answer = answered(&vendor, &format!("{sdk}_private_query")).await;
        assert_eq!(answer["data"][0]["messageUID"], sent.uid, "{sdk}");
    }
}

#[tokio::test]
pub(crate) async fn recalls_tags_and_log_files() {
    let vendor = Vendor::start().await;
    for sdk in ["node", "python"] {
        answered(&vendor, &format!("{sdk}_recall")).await;
        let command = vendor.emulator.ledger().messages().pop().unwrap();
        assert_eq!(command.message_type, "RC:RcCmd", "{sdk}");
        assert_eq!(command.body["messageUId"], "D1U6-B6SI-O124-3F9N");
        assert_eq!(command.body["sentTime"], 1_795_054_530_123_i64);
    }
    answered(&vendor, "python_user_tag_set").await;
    let tags = vendor.ok("/user/tags/get.json", "userIds=user_alice").await;
    assert_eq!(tags["result"]["user_alice"], serde_json::json!(["vip", "beta"]));
    let answer = answered(&vendor, "python_history").await;
    assert_eq!(answer["date"], "2026111910");
    assert_eq!(answer["url"], "");
}

#[tokio::test]
async fn a_flipped_bit_in_any_captured_signature_is_refused() {
    let vendor = Vendor::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/rongcloud");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with("sdk_capture_") {
            continue;
        }
        let mut recorded = fixture(&name);
        let head = String::from_utf8_lossy(&recorded).to_ascii_lowercase();
        let at = head.find("\nsignature: ").unwrap() + "\nsignature: ".len();
        recorded[at] = if recorded[at] == b'0' { b'1' } else { b'0' };
        let (status, body, _) = replay(&vendor, &recorded).await;
        let text = body.iter().map(|byte| char::from(*byte)).collect::<String>();
        assert!(status == 401, "{name}: {status} {text}");
        replayed += 1;
    }
    assert_eq!(replayed, 20);
    assert_eq!(vendor.emulator.ledger().messages().len(), 0);
}
