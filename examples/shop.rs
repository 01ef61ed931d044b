//! A business program: answers every customer once, whatever the vendor, however often it is restarted.
//!
//! It embeds the engine and nests the vendor's callbacks in its own web server. Nothing in it names a vendor; only the
//! configuration file does: `cargo run --features sidecar --example shop -- huanxin.toml 127.0.0.1:8081 3`

use switchboard::{Body, Config, EventData, Outgoing, Subscriber, Switchboard, To, Topic, UserId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("the configuration file is missing")?;
    let listen = arguments.next().ok_or("the address to listen on is missing")?;
    let customers: usize = arguments.next().ok_or("the number of messages to answer is missing")?.parse()?;

    let switchboard = Switchboard::open(Config::load(file)?).await?;
    let shop = UserId::from("shop");
    let mut events = switchboard.subscribe(Subscriber::named("shop").topics([Topic::Messages])).await?;
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    let routes = axum::Router::new().merge(switchboard.callback_routes());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    println!("open");

    let mut answered = 0;
    while answered < customers
        && let Some(delivery) = events.next().await
    {
        if let EventData::Message(message) = delivery.event()?.data
            && message.from != shop
            && let Some(Body::Text(text)) = &message.body
        {
            println!("{}: {}", message.from, text.text);
            let answer = format!("We have got \"{}\".", text.text);
            // The key makes a second answer impossible, even if this program dies right here and starts again.
            let answer = Outgoing::text("shop", To::user(message.from.as_str()), answer)
                .client_id(format!("answer-{}", message.id));
            switchboard.send(answer).await?;
            answered += 1;
        }
        delivery.ack().await?;
    }
    drop(events);
    switchboard.sending().idle().await;
    switchboard.shutdown().await?;
    println!("closed");
    Ok(())
}
