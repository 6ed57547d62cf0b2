//! Well-behaved members, which check that no message is missing.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::socket::{Frame, Socket, message};
use crate::{Tally, add, random};

/// The time after which an answer counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Received<'a> {
    event: &'a str,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    /// A member's session, which numbers its messages.
    session: Option<&'a str>,
    number: Option<u64>,
}

pub(crate) async fn run(address: SocketAddr, room: u64, name: u64, tally: &'static Tally) {
    sleep(Duration::from_millis(random(5000))).await;
    for session in 0.. {
        if tally.is_over() {
            return;
        }
        let life = Duration::from_millis(5000 + random(55_000));
        match live(address, room, &format!("{name}-{session}"), life, tally).await {
            Ok(()) => add(&tally.sessions, 1),
            Err(error) => {
                println!("member {name}: {error}");
                add(&tally.broken, 1);
            }
        }
        sleep(Duration::from_millis(random(1000))).await;
    }
}

/// One session, from its handshake to its close.
async fn live(
    address: SocketAddr,
    room: u64,
    session: &str,
    life: Duration,
    tally: &Tally,
) -> io::Result<()> {
    let opening = timeout(PATIENCE, Socket::open(address)).await;
    let mut socket = opening.map_err(|_| io::Error::other("no handshake in time"))??;
    socket.text(&message("JOIN_CHANNEL", room, "JOIN_CHANNEL", "{}")).await?;
    let track = format!(r#"{{"session":"{session}"}}"#);
    socket.text(&message("BROADCAST", room, "track", &track)).await?;
    let end = Instant::now() + life;
    let mut next = Instant::now() + Duration::from_millis(random(1000));
    let mut sent = 0;
    let mut heard: HashMap<String, u64> = HashMap::new();
    while Instant::now() < end && !tally.is_over() {
        if Instant::now() >= next {
            next += Duration::from_secs(1);
            let payload = format!(r#"{{"session":"{session}","number":{sent}}}"#);
            socket.text(&message("BROADCAST", room, "say", &payload)).await?;
            sent += 1;
            add(&tally.sent, 1);
        }
        match timeout(next - Instant::now(), socket.readable()).await {
            Ok(readable) => readable?,
            Err(_) => continue,
        }
        hear(&mut socket, &mut heard, tally).await?;
    }
    // Everything sent here has come back, or comes before the answer to this.
    socket.text(&message("BROADCAST", room, "echo", "{}")).await?;
    let rest = async {
        while !hear(&mut socket, &mut heard, tally).await? {}
        io::Result::Ok(())
    };
    timeout(PATIENCE, rest).await.map_err(|_| io::Error::other("no echo in time"))??;
    let own = heard.get(session).map_or(0, |last| last + 1);
    add(&tally.lost, sent - own);
    timeout(PATIENCE, socket.close()).await.map_err(|_| io::Error::other("no close in time"))?
}

/// Handles a received frame; returns whether it was the echo.
async fn hear(
    socket: &mut Socket,
    heard: &mut HashMap<String, u64>,
    tally: &Tally,
) -> io::Result<bool> {
    let whole = timeout(PATIENCE, socket.receive()).await;
    let Frame::Text(text) = whole.map_err(|_| io::Error::other("half a frame"))?? else {
        return Err(io::Error::other("closed by the server"));
    };
    let received: Received<'_> = serde_json::from_slice(&text)?;
    if let ("say", Some(session), Some(number)) =
        (received.event, received.payload.session, received.payload.number)
    {
        add(&tally.received, 1);
        match heard.get_mut(session) {
            Some(last) => {
                // Numbers must come in order, each once; a number that is too small counts as a
                // huge gap.
                add(&tally.lost, number.wrapping_sub(*last + 1));
                *last = number;
            }
            // The first message that was sent after this member joined.
            None => drop(heard.insert(session.to_owned(), number)),
        }
    }
    Ok(received.event == "echo")
}
