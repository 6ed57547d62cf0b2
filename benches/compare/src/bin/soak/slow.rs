//! Slow readers: each joins and reads nothing until the server cuts it off. It is in a room with
//! members; its queue is filled by messages to a room of its own, sent by a second connection,
//! which does read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::socket::{Frame, Socket, message};
use crate::{Tally, add, random};

pub(crate) async fn run(address: SocketAddr, room: u64, own_room: u64, tally: &'static Tally) {
    while !tally.is_over() {
        // An error is expected: the server cuts the reader off.
        let _ = live(address, room, own_room, tally).await;
        sleep(Duration::from_millis(random(2000))).await;
    }
}

async fn live(address: SocketAddr, room: u64, own_room: u64, tally: &Tally) -> io::Result<()> {
    let (mut deaf, mut loud) = (Socket::open(address).await?, Socket::open(address).await?);
    for room in [room, own_room] {
        deaf.text(&message("JOIN_CHANNEL", room, "JOIN_CHANNEL", "{}")).await?;
    }
    loud.text(&message("JOIN_CHANNEL", own_room, "JOIN_CHANNEL", "{}")).await?;
    let payload = format!(r#"{{"text":"{}"}}"#, "x".repeat(60_000));
    let said = message("BROADCAST", own_room, "loud", &payload);
    // Twice as much as may wait in the server and in the sockets.
    for _ in 0..500 {
        if tally.is_over() {
            return Ok(());
        }
        loud.text(&said).await?;
        while matches!(loud.receive().await?, Frame::Text(text) if text.len() < said.len() / 2) {}
        sleep(Duration::from_millis(100)).await;
    }
    // The frames that were written before the cut-off, and then the end.
    while let Ok(Ok(Frame::Text(_))) = timeout(Duration::from_secs(10), deaf.receive()).await {}
    add(&tally.slow, 1);
    loud.close().await
}
