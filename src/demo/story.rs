//! What happens in the demo: a customer and a shop on one vendor, on the other, and across the change between them.

use std::time::Duration;

use switchboard_contract::{
    Body, ConversationId, Error, ErrorKind, EventData, Result, SendState, Sequence, Topic, UserId,
};
use switchboard_emulators::common::CallbackFaults;
use switchboard_emulators::{FaultAction, FaultStep, Faults, Ledger};

use super::report::Report;
use super::stage::{Stage, Vendor};
use crate::hub::Subscription;
use crate::sending::{Outgoing, To};
use crate::switchboard::Subscriber;

/// How long a single message may take from one end to the other.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the shop has received, counted as it comes.
#[derive(Debug, Default)]
struct Received {
    texts: Vec<String>,
    last: Option<Sequence>,
    out_of_order: usize,
    vendors: Vec<String>,
}

pub(super) async fn tell(stage: &mut Stage, report: &Report, count: u32) -> Result<()> {
    let customer = UserId::from("customer");
    let conversation = ConversationId::direct(&customer, &UserId::from("shop"));
    stage.start(Vendor::Huanxin).await?;
    let mut shop = subscribe(stage).await?;
    let mut received = Received::default();

    report.chapter("1. A conversation on Huanxin, over a bad network");
    let ledger = stage.huanxin.ledger();
    talk(stage, report, Vendor::Huanxin, &ledger, &mut shop, &mut received, count).await?;

    report.chapter("2. The shop answers, and the vendor's answer is lost");
    answer(stage, report, Vendor::Huanxin, "/messages", &ledger, "Your parcel has left.").await?;
    hear(&mut shop, &mut received, "Your parcel has left.").await?;

    report.chapter("3. The vendor is changed while the conversation runs");
    report.text("Before the change, one callback is held up at Huanxin. Then, in switchboard.toml:");
    for line in [
        "   [providers.huanxin]",
        "  +receive_only = true",
        "   [providers.rongcloud]",
        "  -receive_only = true",
        "   [routing]",
        "  -default = \"huanxin\"",
        "  +default = \"rongcloud\"",
    ] {
        report.text(line);
    }
    let delayed = CallbackFaults { delay_ms: Some((1500, 1500)), ..CallbackFaults::default() };
    stage.set_faults(Vendor::Huanxin, Faults { callbacks: delayed, ..Faults::default() });
    say(stage, Vendor::Huanxin, "sent before the change").await?;
    drop(shop);
    stage.start(Vendor::RongCloud).await?;
    let mut shop = subscribe(stage).await?;
    hear(&mut shop, &mut received, "sent before the change").await?;
    report.text("The late callback of the old vendor was kept and delivered after the restart.");

    report.chapter("4. The same conversation, on RongCloud");
    let ledger = stage.rongcloud.ledger();
    talk(stage, report, Vendor::RongCloud, &ledger, &mut shop, &mut received, count).await?;
    answer(stage, report, Vendor::RongCloud, "/message/private", &ledger, "Welcome back.").await?;
    hear(&mut shop, &mut received, "Welcome back.").await?;

    report.chapter("What the business has at the end");
    conclude(stage, report, &conversation, &received).await
}

async fn subscribe(stage: &Stage) -> Result<Subscription> {
    stage.switchboard()?.subscribe(Subscriber::named("shop").topics([Topic::Messages])).await
}

async fn say(stage: &Stage, vendor: Vendor, text: &str) -> Result<()> {
    let refused =
        |why: String| Error::new(ErrorKind::Rejected, format!("the emulated vendor refused a message: {why}"));
    match vendor {
        Vendor::Huanxin => {
            let to = switchboard_emulators::huanxin::Target::User("shop".to_owned());
            stage
                .huanxin
                .user("customer")
                .send_text(to, text)
                .await
                .map(drop)
                .map_err(|error| refused(error.to_string()))
        }
        Vendor::RongCloud => {
            let to = switchboard_emulators::rongcloud::Target::User("shop".to_owned());
            let message = switchboard_emulators::rongcloud::ClientMessage::text(to, text);
            stage.rongcloud.user("customer").send(message).await.map(drop).map_err(|error| refused(error.to_string()))
        }
    }
}

/// A customer writes `count` messages while callbacks fail, come twice and overtake one another.
async fn talk(
    stage: &Stage,
    report: &Report,
    vendor: Vendor,
    ledger: &Ledger,
    shop: &mut Subscription,
    received: &mut Received,
    count: u32,
) -> Result<()> {
    let before = ledger.callbacks().len();
    let callbacks =
        CallbackFaults { drop_first_attempt: 0.2, duplicate: 0.3, reorder: 0.3, ..CallbackFaults::default() };
    stage.set_faults(vendor, Faults { callbacks, ..Faults::default() });
    let known = received.texts.len();
    for n in 1..=count {
        say(stage, vendor, &format!("{vendor:?} message {n}")).await?;
    }
    let last = known + count as usize;
    while received.texts.len() < last {
        receive(shop, received).await?;
    }
    stage.set_faults(vendor, Faults::default());
    let callbacks = ledger.callbacks();
    let attempts: usize = callbacks[before..].iter().map(|callback| callback.attempts.len()).sum();
    report.figure("messages the customer wrote", count);
    report.figure("callback requests the vendor made for them", attempts);
    report.figure("messages the shop received", received.texts.len() - known);
    report.figure("of them out of the order of their conversation", received.out_of_order);
    Ok(())
}

/// The shop writes; the vendor takes the message and its answer never comes.
async fn answer(stage: &Stage, report: &Report, vendor: Vendor, path: &str, ledger: &Ledger, text: &str) -> Result<()> {
    let step = FaultStep::rest(1, path, FaultAction::LostAnswer);
    stage.set_faults(vendor, Faults { script: vec![step], ..Faults::default() });
    let switchboard = stage.switchboard()?;
    let outgoing = || Outgoing::text("shop", To::user("customer"), text).client_id(format!("{vendor:?}-answer"));
    let receipt = switchboard.send(outgoing()).await?;
    let again = switchboard.send(outgoing()).await?;
    let view = settled(stage, receipt.id).await?;
    let copies = ledger.messages().iter().filter(|message| message.body.to_string().contains(text)).count();
    report.figure("sends asked for under one client_message_id", 2);
    report.figure("of them recognised as a repeat", u8::from(again.repeated));
    report.figure("copies the vendor accepted", copies);
    report.text(&format!("  the send ended as {view}: its echo proved what the lost answer would have said"));
    Ok(())
}

async fn settled(stage: &Stage, send: switchboard_contract::SendId) -> Result<SendState> {
    let tenant = switchboard_contract::TenantId::default();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(view) = stage.switchboard()?.sending().status(&tenant, send).await?
            && let Some(message) = view.messages.first()
            && !message.state.is_open()
        {
            return Ok(message.state);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(ErrorKind::Timeout, "the send was not settled in time"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Receives until this text has come.
async fn hear(shop: &mut Subscription, received: &mut Received, text: &str) -> Result<()> {
    while !received.texts.iter().any(|known| known == text) {
        receive(shop, received).await?;
    }
    Ok(())
}

/// Takes one delivery, looks at its place in the conversation, and acknowledges it.
async fn receive(shop: &mut Subscription, received: &mut Received) -> Result<()> {
    let waited = tokio::time::timeout(PATIENCE, shop.next()).await;
    let Ok(Some(delivery)) = waited else {
        return Err(Error::new(ErrorKind::Timeout, "a message did not reach the shop in time"));
    };
    let event = delivery.event()?;
    let sequence = delivery.entry().sequence;
    if sequence <= received.last {
        received.out_of_order += 1;
    }
    received.last = sequence;
    if let EventData::Message(message) = &event.data
        && let Some(Body::Text(text)) = &message.body
    {
        received.texts.push(text.text.clone());
    }
    if let Some(app) = &event.app
        && received.vendors.last().map(String::as_str) != Some(app.kind.as_str())
    {
        received.vendors.push(app.kind.to_string());
    }
    delivery.ack().await
}

async fn conclude(stage: &Stage, report: &Report, conversation: &ConversationId, received: &Received) -> Result<()> {
    let (mut stored, mut cursor) = (0, None);
    loop {
        let mut request = stage.switchboard()?.history(conversation).limit(100);
        if let Some(cursor) = cursor.take() {
            request = request.cursor(cursor);
        }
        let page = request.page().await?;
        stored += page.entries.len();
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let distinct: std::collections::BTreeSet<_> = received.texts.iter().collect();
    report.figure("messages received over both vendors", received.texts.len());
    report.figure("different ones among them", distinct.len());
    report.figure("messages in the history of the one conversation", stored);
    report.figure("deliveries out of order", received.out_of_order);
    report.text(&format!("  one conversation, {conversation}, carried by {}", received.vendors.join(", then ")));
    if distinct.len() != received.texts.len() || stored != received.texts.len() || received.out_of_order > 0 {
        return Err(Error::new(
            ErrorKind::Internal,
            "the demo did not come out as it must; please report it with its seed",
        ));
    }
    Ok(())
}
