//! A customer's app on the self-hosted gate: asks the shop and prints what comes back.
//!
//! It mints its own token from the gate's secret, which only a trial may do; an app gets its token from the business.
//!
//! ```text
//! cargo run -p switchboard-selfhosted --example customer -- 127.0.0.1:7071 <secret> "where is my parcel"
//! ```

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde_json::{Value, json};
use switchboard_contract::{Result, Timestamp, UserId};
use switchboard_selfhosted::client::{Client, ClientConfig, Connection, Endpoint, TokenSource};
use switchboard_selfhosted::proto::{self, entry::Event, target::To};
use switchboard_selfhosted::service::TokenIssuer;

#[derive(Debug)]
struct Minted {
    issuer: TokenIssuer,
    user: UserId,
}

#[async_trait]
impl TokenSource for Minted {
    async fn token(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        Ok(self.issuer.issue(&self.user, now + Duration::from_secs(600)))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("the gate's TCP address is missing")?;
    let secret = arguments.next().ok_or("the gate's secret is missing")?;
    let questions: Vec<String> = arguments.collect();
    let minted = |user: &str| Minted { issuer: TokenIssuer::new(secret.as_bytes()), user: UserId::from(user) };

    // Whoever logs in with a good token is a user: so the shop is one, too.
    let shop = Connection::open(&Endpoint::tcp(&address)).await?;
    let token = minted("shop").token().await?;
    shop.login(proto::Login { user: "shop".to_owned(), token, device: "till".to_owned(), ..Default::default() })
        .await?;

    let config = ClientConfig::new(Endpoint::tcp(&address), "customer", "phone");
    let mut customer = Client::start(config, Arc::new(minted("customer")), 0);
    for question in &questions {
        let to = proto::Target { to: Some(To::User("shop".to_owned())) };
        let body = json!({ "type": "text", "text": question }).to_string();
        customer.send(to, proto::Content { body, ..Default::default() }).await?;
    }
    let mut answers = 0;
    while answers < questions.len()
        && let Some(entry) = customer.next().await
    {
        let Some(Event::Message(proto::Message { content: Some(content), .. })) = entry.event else { continue };
        if entry.by == "shop" {
            let body: Value = serde_json::from_str(&content.body)?;
            println!("shop: {}", body["text"].as_str().unwrap_or_default());
            answers += 1;
        }
    }
    Ok(())
}
