//! How one child tells another how far it is: a number, again and again, over a connection of its own. It closes the
//! loop where nothing else would: who makes messages does not run away from who delivers them. The server has the
//! listener, whichever side counts.

use std::net::SocketAddr;
use std::time::Duration;

use switchboard_contract::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::measure::failed;

/// Between two numbers.
const TICK: Duration = Duration::from_millis(2);

/// As a server: tells `value` to whoever connects.
pub(super) async fn tell(value: impl Fn() -> u64 + Clone + Send + 'static) -> Result<SocketAddr> {
    let (listener, address) = listen().await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send(stream, value.clone()));
        }
    });
    Ok(address)
}

/// As a client: what the server at `address` tells. The receiver is closed when it goes.
pub(super) async fn follow(address: SocketAddr) -> Result<watch::Receiver<u64>> {
    let stream = connect(address).await?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(receive(stream, sender));
    Ok(receiver)
}

/// As a server: what the one client tells. The receiver changes when the client has come, and is closed when it goes.
pub(super) async fn hear() -> Result<(SocketAddr, watch::Receiver<u64>)> {
    let (listener, address) = listen().await?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            receive(stream, sender).await;
        }
    });
    Ok((address, receiver))
}

/// As a client: tells `value` to the server at `address`.
pub(super) async fn report(address: SocketAddr, value: impl Fn() -> u64 + Send + 'static) -> Result<()> {
    let stream = connect(address).await?;
    tokio::spawn(send(stream, value));
    Ok(())
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed("a meter could not be opened"))?;
    let address = listener.local_addr().map_err(failed("a meter could not be opened"))?;
    Ok((listener, address))
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).await.map_err(failed("a meter cannot be reached"))
}

/// Ends when nobody listens any more.
async fn send(mut stream: TcpStream, value: impl Fn() -> u64) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        if stream.write_u64(value()).await.is_err() {
            break;
        }
    }
}

async fn receive(mut stream: TcpStream, sender: watch::Sender<u64>) {
    while let Ok(value) = stream.read_u64().await {
        if sender.send(value).is_err() {
            break;
        }
    }
}
