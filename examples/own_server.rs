//! A chat server of one's own on `pondwire` and tokio, from the request to the close frame, in one file: the patterns of
//! `pondwire::docs::patterns` joined. Clients of npm and PyPI can use it.
//!
//! ```text
//! cargo run --release --example own_server          # ws://127.0.0.1:8080/api/socket, channels /chat/…
//! cargo run --release --example own_server -- 9000  # on another port
//! ```
//!
//! It has what a server on the Internet must have of its own: bounds on the time and size of a request, on the size and
//! rate of a client's messages, on what waits for it, on its silence, its channels and their names, and on all rooms.
//! `pondwire-server` has more: TLS, event streams, limits of connections, per address and in all, metrics, a log, a
//! graceful end.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pondwire::frame::Control;
use pondwire::protocol::{Headers, Pattern};
use pondwire::websocket::{Event, MaxPayload, MessageReader, close_code, handshake};
use pondwire::{
    ClientAction, ClientMessage, Frame, Limits, Membership, Outbox, OutboxOptions, OutboxReader,
    Room, uuid,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long a client may take for its request, for the last frames, and to close the connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client that sends nothing for this long is pinged; after as long again it is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The events of a client in a second, pings included: fewer than the frames that an outbox holds, so that one client
/// cannot fill those of all others before their tasks are run. A client that sends more is read later.
const MOST_EVENTS: u32 = 200;

/// The events after which a task lets others run.
const EVENTS_AT_ONCE: u32 = 32;

const MOST_ROOMS: usize = 10_000;
const MOST_CHANNELS_OF_A_USER: usize = 128;
const LONGEST_NAME: usize = 256;

/// The rooms with members.
pub(crate) struct Rooms {
    /// The channels that there are.
    pattern: Pattern,
    pub(crate) open: Mutex<HashMap<String, Room>>,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        let pattern = Pattern::new("/chat/:id").expect("a pattern");
        Self { pattern, open: Mutex::default() }
    }

    /// Acknowledges a join and makes the user a member; or the code and the text of the refusal.
    fn join(
        &self,
        user: &User,
        channel: &str,
        request: &str,
    ) -> Result<(Room, Membership), (i64, &'static str)> {
        if channel.len() > LONGEST_NAME || self.pattern.matches(channel).is_none() {
            return Err((404, "No such channel"));
        }
        if user.joined.len() == MOST_CHANNELS_OF_A_USER {
            return Err((429, "Too many channels"));
        }
        let mut rooms = self.open.lock().unwrap();
        if !rooms.contains_key(channel) && rooms.len() == MOST_ROOMS {
            return Err((503, "Too many channels"));
        }
        // A handle: its clones are the same room.
        let room = rooms.entry(channel.to_owned()).or_default().clone();
        // First: clients discard everything about a channel before its acknowledgement.
        user.answer(Frame::acknowledge(channel, request));
        // It fails only if somebody calls `Room::close`, which nobody does here.
        let membership = room.join(&user.id, user.outbox.clone());
        Ok((room, membership.map_err(|_| (503, "The channel is closed"))?))
    }

    /// Under the same lock as a join, so that nobody joins a room that is being dropped.
    fn leave(&self, channel: &str, membership: Membership) {
        // Also while a panic unwinds: a second one would end the process.
        let mut rooms = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(membership);
        if rooms.get(channel).is_some_and(Room::is_empty) {
            rooms.remove(channel);
        }
    }
}

/// A connected client. Dropping it leaves all its channels.
struct User {
    id: String,
    outbox: Outbox,
    joined: HashMap<String, (Room, Membership)>,
    rooms: Arc<Rooms>,
}

impl Drop for User {
    fn drop(&mut self) {
        for (channel, (_, membership)) in self.joined.drain() {
            self.rooms.leave(&channel, membership);
        }
    }
}

impl User {
    /// In the order of events: the outbox's policy drops no frames.
    fn answer(&self, frame: Frame) {
        self.outbox.push(frame);
    }

    fn receive(&mut self, received: &[u8]) {
        let message = match ClientMessage::parse(received) {
            Ok(message) => message,
            Err(error) => return self.answer(Frame::invalid_message(&error)),
        };
        let (channel, request) = (message.channel_name(), message.request_id());
        match message.action() {
            // Only once: a connection that joins twice gets every frame twice.
            ClientAction::JoinChannel if self.joined.contains_key(channel) => {
                self.answer(Frame::acknowledge(channel, request));
            }
            ClientAction::JoinChannel => match self.rooms.join(self, channel, request) {
                Ok(joined) => drop(self.joined.insert(channel.to_owned(), joined)),
                Err((code, text)) => {
                    self.answer(Frame::unauthorized(channel, request, code, text));
                }
            },
            ClientAction::LeaveChannel => {
                if let Some((_, membership)) = self.joined.remove(channel) {
                    self.rooms.leave(channel, membership);
                }
                // A publish that another task has begun may still push a frame behind it, which clients ignore.
                self.answer(Frame::exit_acknowledge(channel, request));
            }
            ClientAction::Broadcast => match self.joined.get(channel) {
                Some((room, _)) => {
                    // With a fresh id: the sender would take the request's id for an answer.
                    let (event, payload) = (message.event(), message.payload());
                    room.publish(&Frame::broadcast(channel, event, &uuid(), payload));
                }
                None => self.answer(Frame::not_found(channel, request, "Channel not joined")),
            },
        }
    }
}

fn refusal(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

/// Answers the request that opens the WebSocket; returns what followed it, or `None` if the client was refused or left.
async fn open(stream: &mut TcpStream) -> io::Result<Option<BytesMut>> {
    let mut received = BytesMut::new();
    let (head, accepted) = loop {
        if received.len() > 8192 || stream.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
        // After each read: frames may follow the request at once.
        let mut slots = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut slots);
        let refusal = match request.parse(&received) {
            Ok(httparse::Status::Partial) => continue,
            Ok(httparse::Status::Complete(head)) => {
                // Clients send their parameters in the query.
                let path = request.path.and_then(|path| path.split('?').next());
                let asked = (request.method, request.version, path);
                let pairs: Vec<_> =
                    request.headers.iter().map(|it| (it.name.as_bytes(), it.value)).collect();
                // Here a server also checks `Origin` and who the client is.
                match handshake::accept(Headers::new(&pairs)) {
                    _ if asked != (Some("GET"), Some(1), Some("/api/socket")) => {
                        refusal("404 Not Found")
                    }
                    Ok(accepted) => break (head, accepted),
                    Err(error) => error.response(),
                }
            }
            Err(_) => refusal("400 Bad Request"),
        };
        stream.write_all(refusal.as_bytes()).await?;
        return Ok(None);
    };
    received.advance(head);
    stream.write_all(accepted.response().as_bytes()).await?;
    Ok(Some(received))
}

/// The writing half: writes until the outbox ends.
async fn write(
    socket: &mut (impl AsyncWrite + Unpin),
    frames: &mut OutboxReader,
) -> io::Result<()> {
    let mut aborted = pin!(frames.aborted());
    while let Some(mut batch) = frames.next_batch().await {
        // A peer that never reads blocks the write for ever; the outbox detects that.
        tokio::select! {
            written = socket.write_all_buf(&mut batch) => written?,
            _ = &mut aborted => break,
        }
    }
    Ok(())
}

/// What a client has done in this second.
struct Pace {
    until: Instant,
    events: u32,
}

impl Pace {
    fn new() -> Self {
        Self { until: Instant::now() + Duration::from_secs(1), events: 0 }
    }

    /// Waits until the client may do one thing more.
    async fn keep(&mut self) {
        if self.events == MOST_EVENTS {
            sleep_until(self.until).await;
        }
        if Instant::now() >= self.until {
            *self = Self::new();
        }
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_AT_ONCE) {
            yield_now().await;
        }
    }
}

/// The reading half: reads until the connection is over, and ends the outbox.
async fn read(
    socket: &mut (impl AsyncRead + Unpin),
    received: BytesMut,
    user: &mut User,
) -> io::Result<()> {
    let max_payload = MaxPayload { plain: Limits::default().max_bytes, compressed: None };
    let mut reader = MessageReader::new(received, max_payload);
    let (mut pinged, mut pace) = (false, Pace::new());
    let code = loop {
        let event = reader.next_event();
        if matches!(event, Ok(Some(_))) {
            pace.keep().await;
        }
        match event {
            // It was too slow: nothing but this half closes the outbox otherwise.
            _ if user.outbox.closed().is_some() => return Ok(()),
            Ok(Some(Event::Message(_))) => user.receive(reader.payload()),
            Ok(Some(Event::Ping)) => {
                let pong = Control::pong(reader.payload()).expect("as short as the ping");
                user.outbox.control(pong);
            }
            Ok(Some(Event::Pong | Event::Fragment)) => {}
            Ok(Some(Event::Close(code))) => break code.unwrap_or(close_code::NORMAL),
            Err(error) => break error.close_code(),
            Ok(None) => match timeout(SILENCE, socket.read_buf(reader.buffer())).await {
                Ok(Ok(1..)) => pinged = false,
                Ok(end) => {
                    user.outbox.close();
                    return end.map(drop);
                }
                Err(_) if pinged => break close_code::INTERNAL_ERROR,
                Err(_) => {
                    pinged = true;
                    user.outbox.control(Control::ping(b"").expect("short"));
                }
            },
        }
    };
    // Ahead of all that waits, which is dropped.
    let close = Control::close(code, "").expect("the client's code, or one of the table");
    user.outbox.control(close);
    Ok(())
}

async fn serve(mut stream: TcpStream, rooms: Arc<Rooms>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(received) = timeout(PATIENCE, open(&mut stream)).await?? else {
        return end(stream).await;
    };
    let (outbox, mut frames) = Outbox::new(OutboxOptions::default());
    let mut user = User { id: uuid().to_string(), outbox, joined: HashMap::new(), rooms };
    // First and unprompted: JavaScript clients send nothing before they receive it.
    user.outbox.push(Frame::connect(&uuid(), &user.id, &uuid()));
    let (mut from, mut to) = stream.split();
    {
        let mut writing = pin!(write(&mut to, &mut frames));
        tokio::select! {
            written = &mut writing => written?,
            read = read(&mut from, received, &mut user) => {
                read?;
                // The close frame, or what waits if the client only has no more to send.
                timeout(PATIENCE, writing).await??;
            }
        }
    }
    drop(user);
    if frames.closed().is_some_and(|reason| reason.is_too_slow()) {
        // Its last frame may be written in part, so that a close frame with 1013 would be read as a part of it: only
        // the end of the stream is left to say. Clients connect again.
        return Ok(());
    }
    end(stream).await
}

/// Ends a connection so that the client gets the last bytes: if some arrive that nobody reads, the kernel resets the
/// connection, and the client may lose a close frame or a refusal.
async fn end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    let _ = timeout(PATIENCE, async { while let Ok(1..) = stream.read(&mut rest).await {} }).await;
    Ok(())
}

/// Serves all who connect, for ever.
pub(crate) async fn listen(listener: TcpListener, rooms: Arc<Rooms>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No more descriptors, most likely: others end soon.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let rooms = Arc::clone(&rooms);
        // Errors are those of clients that went away; a log of them needs a bound, too.
        tokio::spawn(async move { drop(serve(stream, rooms).await) });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("ws://{}/api/socket, channels /chat/…", listener.local_addr()?);
    listen(listener, Arc::new(Rooms::new())).await;
    Ok(())
}
