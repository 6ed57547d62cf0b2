//! One WebSocket: what is received goes to its user, what waits in its outbox is sent, and it ends
//! with the close code that says why.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Buf;
use pondwire::deflate::Inflater;
use pondwire::outbox::Batch;
use pondwire::{Control, OutboxReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Server;
use super::allowance::Verdict;
use super::connection::{discard, linger};
use super::http::Http;
use super::metrics::Metrics;
use super::pulse::Pulse;
use super::user::{Failure, User};
use super::websocket_echo::Echo;
use super::websocket_reader::{Event, Fault, Kind, MaxPayload, MessageReader};

thread_local! {
    /// No message depends on one before it, so one for all connections of the thread.
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// The client breaks a rule that is not the protocol's.
const TOO_MANY: u16 = 1008;

/// Why a connection ends.
enum End {
    /// The client is not there any more.
    Gone,
    /// The client closed it, or nearly so: the code to answer with.
    Closed(u16),
    /// The client sent what must not be; the code that says what.
    Refused(u16),
    /// The client does not read as fast as frames come for it.
    TooSlow,
    /// The client has not answered a ping.
    Silent,
    /// The client has not sent a message for too long.
    Idle,
    /// The server ends.
    Stopping,
    /// A frame is half written and will never be written whole.
    Stuck,
}

pub(crate) struct WebSocket {
    stream: TcpStream,
    reader: MessageReader,
    /// Whether permessage-deflate was agreed on.
    deflates: bool,
    /// Where messages go instead of to the user, if they do.
    echo: Option<Echo>,
    server: Arc<Server>,
}

impl WebSocket {
    /// A connection whose handshake is done; `http` has what came behind it.
    pub(crate) fn new(http: Http, deflates: bool, echo: Option<Echo>, server: Arc<Server>) -> Self {
        // A message beyond the codec's limit is refused by its length, before it is buffered.
        let plain = server.options.limits.max_bytes;
        let compressed = deflates.then_some(Inflater::max_payload(plain));
        let reader = MessageReader::new(http.received, MaxPayload { plain, compressed });
        Self { stream: http.stream, reader, deflates, echo, server }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self, stopped: impl Future<Output = ()>) {
        let server = Arc::clone(&self.server);
        let (mut user, mut queue) = User::connect(Arc::clone(&server));
        if self.echo.is_none() {
            user.greet();
        }
        let _counted = Metrics::count(&server, &user);
        let aborted = queue.aborted();
        let pulse = Arc::clone(user.pulse());
        let times = &server.options.times;
        let lost = pulse.lost(times, user.outbox().clone());
        let mut ending = pin!(async {
            tokio::select! {
                _ = aborted => End::TooSlow,
                () = stopped => End::Stopping,
                () = lost => End::Silent,
                () = pulse.idle(times.idle) => End::Idle,
            }
        });
        let end = self.relay(&mut user, &mut queue, &pulse, &mut ending).await;
        drop(user);
        // The connection is over either way, and there is nobody left to tell.
        let _ = timeout(times.closing, self.close(queue, end)).await;
    }

    /// Receives and sends until one of them ends, or `ending` says so.
    ///
    /// What is being sent is written before the next message is received. So a client that does
    /// not read its answers is not read from either.
    async fn relay(
        &mut self,
        user: &mut User,
        queue: &mut OutboxReader,
        pulse: &Pulse,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> End {
        loop {
            let is_ping = tokio::select! {
                batch = queue.next_batch() => {
                    // Without a batch it was aborted, as `ending` knows.
                    let Some(batch) = batch else { return ending.await };
                    if let Some(end) = self.send(batch, pulse, ending).await {
                        return end;
                    }
                    false
                }
                received = self.receive(pulse) => match received {
                    Ok(Some(event)) => {
                        if let Some(end) = self.handle(event, user) {
                            return end;
                        }
                        event == Event::Ping
                    }
                    Ok(None) => return End::Gone,
                    Err(fault) => {
                        if fault == Fault::TooLarge {
                            let limits = self.server.options.limits;
                            user.refuse_malformed(&limits.too_large());
                        }
                        return End::Refused(fault.close_code());
                    }
                },
                end = &mut *ending => return end,
            };
            if let Some(mut echoed) = self.echo.as_mut().and_then(Echo::take)
                && let Some(end) = self.write(&mut echoed, pulse, ending).await
            {
                return end;
            }
            // Of pongs only the last waits, and each ping is to have one.
            if is_ping
                && let Some(batch) = queue.try_batch()
                && let Some(end) = self.send(batch, pulse, ending).await
            {
                return end;
            }
        }
    }

    /// What comes next; `None` when nothing will. Cancel-safe: it is waited for bytes only.
    async fn receive(&mut self, pulse: &Pulse) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.reader.next()? {
                return Ok(Some(event));
            }
            let Ok(1..) = self.stream.read_buf(self.reader.space()).await else { return Ok(None) };
            pulse.heard();
        }
    }

    fn handle(&mut self, event: Event, user: &mut User) -> Option<End> {
        let Self { reader, echo, server, .. } = self;
        let payload = reader.payload();
        let limits = server.options.limits;
        let mut take = |message: &[u8], kind, user: &mut User| match echo {
            Some(echo) => {
                echo.add(message, kind).err().map(|fault| End::Refused(fault.close_code()))
            }
            None => take(message, kind, user),
        };
        match event {
            Event::Message(kind) if kind.is_compressed => INFLATER.with_borrow_mut(|inflater| {
                match inflater.inflate(payload, limits.max_bytes) {
                    Ok(message) => take(message, kind, user),
                    Err(error) => {
                        if error.is_too_large() {
                            user.refuse_malformed(&limits.too_large());
                        }
                        Some(End::Refused(error.close_code()))
                    }
                }
            }),
            Event::Message(kind) => take(payload, kind, user),
            Event::Ping if user.spend(payload.len()) == Verdict::Exhausted => {
                Some(End::Refused(TOO_MANY))
            }
            Event::Ping => {
                let pong = Control::pong(payload).expect("a ping is as short");
                user.outbox().control(pong);
                None
            }
            Event::Close(code) => Some(End::Closed(code.unwrap_or(1000))),
        }
    }

    /// Writes whole WebSocket frames, many at a time, from the memory that all members'
    /// connections share.
    async fn send(
        &mut self,
        batch: Batch<'_>,
        pulse: &Pulse,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> Option<End> {
        let mut batch = self.in_form(batch);
        self.write(&mut batch, pulse, ending).await
    }

    /// Writes whole frames. When it is told to end meanwhile it writes the rest of them first, or
    /// else a close frame would come within another.
    async fn write(
        &mut self,
        frames: &mut impl Buf,
        pulse: &Pulse,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> Option<End> {
        tokio::select! {
            written = write(&mut self.stream, frames, pulse) => {
                written.is_err().then_some(End::Gone)
            }
            end = ending => {
                let rest = self.stream.write_all_buf(frames);
                let written = timeout(self.server.options.times.closing, rest).await;
                Some(if matches!(written, Ok(Ok(()))) { end } else { End::Stuck })
            }
        }
    }

    fn in_form<'a>(&self, batch: Batch<'a>) -> Batch<'a> {
        if self.deflates { batch.into_deflated() } else { batch }
    }

    /// Sends what is left and closes.
    async fn close(mut self, mut queue: OutboxReader, end: End) -> io::Result<()> {
        let code = match end {
            End::Gone | End::Stuck => return Ok(()),
            End::Closed(code) | End::Refused(code) => code,
            End::TooSlow => 1013,
            // As other servers do; the code has no better.
            End::Silent => 1011,
            End::Idle => 1000,
            End::Stopping => 1001,
        };
        while let Some(batch) = queue.try_batch() {
            let mut batch = self.in_form(batch);
            self.stream.write_all_buf(&mut batch).await?;
        }
        let close = Control::close(code, "").expect("a code that may be sent");
        self.stream.write_all(close.wire()).await?;
        match end {
            End::Closed(_) => linger(self.stream).await,
            End::Refused(_) => discard(self.stream).await,
            _ => {
                let pulse = Pulse::default();
                while !matches!(
                    self.receive(&pulse).await,
                    Ok(None | Some(Event::Close(_))) | Err(_)
                ) {}
                linger(self.stream).await
            }
        }
    }
}

/// Writes all of the frames. It is a sign of life when there is space where there was none: somebody
/// reads, though nothing is read from them meanwhile.
async fn write(stream: &mut TcpStream, frames: &mut impl Buf, pulse: &Pulse) -> io::Result<()> {
    while frames.has_remaining() {
        let mut was_full = false;
        let mut write = pin!(stream.write_buf(frames));
        let written = poll_fn(|context| {
            let written = write.as_mut().poll(context);
            was_full |= written.is_pending();
            written
        });
        if written.await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if was_full {
            pulse.heard();
        }
    }
    Ok(())
}

/// Gives the user a message; a bad one is answered, but for text that is none.
fn take(message: &[u8], kind: Kind, user: &mut User) -> Option<End> {
    match user.receive(message).err()? {
        // What was read as a message is UTF-8; only what was not needs a look.
        Failure::Malformed(_) if kind.is_text && std::str::from_utf8(message).is_err() => {
            Some(End::Refused(Fault::NotUtf8.close_code()))
        }
        Failure::Malformed(error) => {
            user.refuse_malformed(&error);
            None
        }
        Failure::TooMany => Some(End::Refused(TOO_MANY)),
        Failure::Panicked => Some(End::Refused(1011)),
    }
}
