//! Chatrooms: who may enter and speak, entries, keep-alive, destruction.

use serde_json::json;
use switchboard_emulators::rongcloud::{ClientMessage, ClientRefusal, Sent, Target};

use crate::support::{MOMENT, Vendor};

async fn say(vendor: &Vendor, user: &str) -> Result<Sent, ClientRefusal> {
    let message = ClientMessage::text(Target::Room("r".to_owned()), "hi");
    vendor.emulator.user(user).send(message).await
}

#[tokio::test]
async fn mutes_and_bars() {
    let vendor = Vendor::start().await;
    let alice = vendor.emulator.user("alice");
    assert_eq!(say(&vendor, "alice").await.unwrap_err().code, 23_406);
    alice.join_room("r").unwrap();
    say(&vendor, "alice").await.unwrap();
    vendor.ok("/chatroom/user/gag/add.json", "chatroomId=r&userId=alice&minute=5").await;
    assert_eq!(say(&vendor, "alice").await.unwrap_err().code, 23_408);
    let gagged = vendor.ok("/chatroom/user/gag/list.json", "chatroomId=r").await;
    assert_eq!(gagged["users"][0]["userId"], "alice");
    vendor.ok("/chatroom/user/gag/rollback.json", "chatroomId=r&userId=alice").await;
    vendor.ok("/chatroom/user/ban/add.json", "userId=alice&minute=5").await;
    assert_eq!(say(&vendor, "alice").await.unwrap_err().code, 23_408);
    vendor.ok("/chatroom/user/ban/remove.json", "userId=alice").await;
    vendor.ok("/chatroom/ban/add.json", "chatroomId=r").await;
    assert_eq!(vendor.ok("/chatroom/ban/check.json", "chatroomId=r").await["status"], 1);
    assert_eq!(say(&vendor, "alice").await.unwrap_err().code, 23_408);
    vendor.ok("/chatroom/user/ban/whitelist/add.json", "chatroomId=r&userId=alice").await;
    say(&vendor, "alice").await.unwrap();
    vendor.ok("/chatroom/user/block/add.json", "chatroomId=r&userId=alice&minute=1").await;
    assert_eq!(alice.join_room("r").unwrap_err().code, 23_409);
    vendor.at(MOMENT + 60_000);
    alice.join_room("r").unwrap();
}

#[tokio::test]
async fn entries_have_limits_and_may_leave_with_their_owner() {
    let vendor = Vendor::start().await;
    vendor.emulator.user("alice").join_room("r").unwrap();
    vendor.ok("/chatroom/entry/set.json", "chatroomId=r&userId=alice&key=host&value=1&autoDelete=1").await;
    let batch = "chatroomId=r&entryOwnerId=alice&autoDelete=0&entryInfo={\"a\":\"1\",\"b\":\"2\"}";
    vendor.ok("/chatroom/entry/batch/set.json", batch).await;
    let long = format!("chatroomId=r&userId=alice&key={}&value=1", "k".repeat(129));
    assert_eq!(vendor.refused("/chatroom/entry/set.json", &long).await, (400, 1005));
    vendor.emulator.user("alice").quit_room("r").unwrap();
    let keys = vendor.ok("/chatroom/entry/query.json", "chatroomId=r").await;
    let left: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|entry| entry["key"].clone()).collect();
    assert_eq!(left, ["a", "b"]);
    vendor.ok("/chatroom/entry/remove.json", "chatroomId=r&userId=alice&key=a").await;
    assert_eq!(vendor.ok("/chatroom/entry/query.json", "chatroomId=r").await["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn rooms_end_by_idleness_rule_or_call_unless_kept_alive() {
    let vendor = Vendor::start().await;
    for room in ["idle", "kept", "fixed", "called"] {
        vendor.ok("/chatroom/create_new.json", &format!("chatroomId={room}")).await;
    }
    vendor.ok("/chatroom/destroy/set.json", "chatroomId=fixed&destroyType=1&destroyTime=120").await;
    vendor.ok("/chatroom/keepalive/add.json", "chatroomId=kept").await;
    assert_eq!(vendor.ok("/chatroom/keepalive/query.json", "").await["chatroomIds"], json!(["kept"]));
    vendor.ok("/chatroom/destroy.json", "chatroomId=called").await;
    let alive = || async {
        vendor.emulator.wait_idle().await;
        let ids = "chatroomId=idle&chatroomId=kept&chatroomId=fixed&chatroomId=called";
        let answer = vendor.ok("/chatroom/query.json", ids).await;
        let rooms = answer["chatRooms"].as_array().unwrap();
        rooms.iter().map(|room| room["chrmId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(alive().await, ["idle", "kept", "fixed"]);
    vendor.at(MOMENT + 3_600_000);
    assert_eq!(alive().await, ["kept", "fixed"]);
    vendor.at(MOMENT + 7_200_000);
    assert_eq!(alive().await, ["kept"]);
}

#[tokio::test]
async fn keep_alive_rooms_are_few_and_must_exist() {
    let vendor = Vendor::start().await;
    assert_eq!(vendor.refused("/chatroom/keepalive/add.json", "chatroomId=none").await, (200, 1015));
    for number in 0..6 {
        vendor.ok("/chatroom/create_new.json", &format!("chatroomId=r{number}")).await;
    }
    for number in 0..5 {
        vendor.ok("/chatroom/keepalive/add.json", &format!("chatroomId=r{number}")).await;
    }
    assert_eq!(vendor.refused("/chatroom/keepalive/add.json", "chatroomId=r5").await, (403, 1016));
    vendor.ok("/chatroom/keepalive/remove.json", "chatroomId=r0").await;
    vendor.ok("/chatroom/keepalive/add.json", "chatroomId=r5").await;
}

#[tokio::test]
async fn a_room_broadcast_reaches_every_room() {
    let vendor = Vendor::start().await;
    vendor.emulator.user("alice").join_room("one").unwrap();
    vendor.emulator.user("bob").join_room("two").unwrap();
    let body = "fromUserId=host&objectName=RC:TxtMsg&content={}";
    vendor.ok("/message/chatroom/broadcast.json", body).await;
    assert_eq!(vendor.refused("/message/chatroom/broadcast.json", body).await, (429, 1008), "one a second");
    assert_eq!(vendor.emulator.user("alice").inbox().len(), 1);
    assert_eq!(vendor.emulator.user("bob").inbox().len(), 1);
}
