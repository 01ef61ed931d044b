//! Switchboard as a library: send a message, receive what happens, acknowledge it.
//!
//! `cargo run --example embedded -- switchboard.toml`

use switchboard::{Config, Outgoing, Subscriber, Switchboard, To, Topic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "switchboard.toml".to_owned());
    let switchboard = Switchboard::open(Config::load(file)?).await?;
    let mut events = switchboard.subscribe(Subscriber::named("embedded").topics([Topic::Messages])).await?;

    let hello = Outgoing::text("alice", To::user("bob"), "hello from the library").client_id("hello-1");
    let receipt = switchboard.send(hello).await?;
    println!("accepted{}", if receipt.repeated { " before" } else { "" });

    // Our own message is in the journal as soon as the vendor has taken it.
    if let Some(delivery) = events.next().await {
        let event = delivery.event()?;
        println!("{} {}", delivery.kind().as_str(), event.conversation.map(|id| id.to_string()).unwrap_or_default());
        delivery.ack().await?;
    }
    drop(events);
    switchboard.shutdown().await?;
    Ok(())
}
