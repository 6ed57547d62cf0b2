//! One WebSocket: what is received goes to its user, what waits in its outbox is sent, and it ends
//! with the close code that says why.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use pondwire::deflate::Inflater;
use pondwire::frame::Control;
use pondwire::websocket::{Event, MaxPayload, MessageKind, MessageReader, ReadError, close_code};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::Server;
use super::allowance::Verdict;
use super::budget::{self, Budget};
use super::connection::{discard, linger};
use super::http::Http;
use super::metrics::Metrics;
use super::pulse::Pulse;
use super::user::{Failure, User};
use super::websocket_echo::Echo;
use super::writers::{Halt, Job, Writing};

thread_local! {
    /// No message depends on one before it, so one for all connections of the thread.
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

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
    pub(crate) async fn run(self, stopped: impl Future<Output = ()>) {
        let Self { stream, reader, deflates, echo, server } = self;
        let (mut user, queue) = User::connect(Arc::clone(&server));
        if echo.is_none() {
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
        let (stream, writer) = stream.into_split();
        let writing = server.writers.take(Job { stream: writer, queue, deflates });
        let (server, budget) = (Arc::clone(&server), Budget::new(budget::CONNECTION));
        let mut incoming = Incoming { stream, reader, echo, server, budget };
        let end = incoming.relay(&mut user, &writing, &pulse, &mut ending).await;
        drop(user);
        let Some((job, halt)) = writing.end() else { return };
        // The connection is over either way, and there is nobody left to tell.
        let _ = timeout(times.closing, incoming.close(job, halt, end)).await;
    }
}

/// A connection without its writing half, which a writer has.
struct Incoming {
    stream: OwnedReadHalf,
    reader: MessageReader,
    echo: Option<Echo>,
    server: Arc<Server>,
    budget: Budget,
}

impl Incoming {
    /// Receives until the connection ends, or `ending` says so.
    ///
    /// While the client does not read what it is sent, it is not read from either.
    async fn relay(
        &mut self,
        user: &mut User,
        writing: &Writing,
        pulse: &Pulse,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> End {
        loop {
            let mut halted = None;
            let is_ping = tokio::select! {
                taken = writing.halted() => {
                    halted = Some(taken);
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
                        if fault == ReadError::TooLarge {
                            let limits = self.server.options.limits;
                            user.refuse_malformed(&limits.too_large());
                        }
                        return End::Refused(fault.close_code());
                    }
                },
                end = &mut *ending => return end,
            };
            let echoed = self.echo.as_mut().and_then(Echo::take);
            let taken = match halted {
                Some((job, halt)) => Some((job, Some(halt))),
                // Of pongs only the last waits, and each ping is to have one.
                None if is_ping || echoed.is_some() => writing.end(),
                None => None,
            };
            if let Some((mut job, halt)) = taken {
                if let Some(end) = self.write(&mut job, halt, echoed, pulse, ending).await {
                    writing.keep(job);
                    return end;
                }
                writing.resume(job);
            }
        }
    }

    /// Writes what a writer could not, what is echoed, and what waits now.
    async fn write(
        &self,
        job: &mut Job,
        halt: Option<Halt>,
        echoed: Option<impl Buf>,
        pulse: &Pulse,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> Option<End> {
        let closing = self.server.options.times.closing;
        let rest = match halt {
            None => None,
            Some(Halt::Full(rest)) => Some(rest),
            Some(Halt::Over) => return Some(End::TooSlow),
            Some(Halt::Gone) => return Some(End::Gone),
        };
        if let Some(mut rest) = rest
            && let Some(end) = send(&mut job.stream, &mut rest, pulse, ending, closing).await
        {
            return Some(end);
        }
        if let Some(mut echoed) = echoed
            && let Some(end) = send(&mut job.stream, &mut echoed, pulse, ending, closing).await
        {
            return Some(end);
        }
        let batch = job.queue.try_batch()?;
        let mut batch = if job.deflates { batch.into_deflated() } else { batch };
        send(&mut job.stream, &mut batch, pulse, ending, closing).await
    }

    /// The next frame, in this connection's turn; `None` when none will come. Cancel-safe: it waits
    /// for its turn and for bytes only, and without memory for them.
    async fn receive(&mut self, pulse: &Pulse) -> Result<Option<Event>, ReadError> {
        loop {
            self.budget.yield_if_spent().await;
            if let Some(event) = self.reader.next_event()? {
                self.budget.charge(budget::FRAME);
                return Ok(Some(event));
            }
            if self.stream.readable().await.is_err() {
                return Ok(None);
            }
            match self.stream.try_read_buf(self.reader.buffer()) {
                Ok(read @ 1..) => {
                    self.budget.charge(read);
                    pulse.heard();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    fn handle(&mut self, event: Event, user: &mut User) -> Option<End> {
        let Self { reader, echo, server, budget, .. } = self;
        let payload = reader.payload();
        let limits = server.options.limits;
        let mut take = |message: &[u8], kind, user: &mut User| match echo {
            Some(echo) => {
                echo.add(message, kind).err().map(|fault| End::Refused(fault.close_code()))
            }
            None => take(message, kind, user),
        };
        let end = match event {
            Event::Message(kind) if kind.is_compressed => INFLATER.with_borrow_mut(|inflater| {
                match inflater.inflate(payload, limits.max_bytes) {
                    Ok(message) => {
                        budget.charge(message.len() * (1 + budget::INFLATED));
                        take(message, kind, user)
                    }
                    Err(error) => {
                        if error.is_too_large() {
                            budget.charge(limits.max_bytes * budget::INFLATED);
                            user.refuse_malformed(&limits.too_large());
                        }
                        Some(End::Refused(error.close_code()))
                    }
                }
            }),
            Event::Message(kind) => take(payload, kind, user),
            // A fragment's bytes count as its message's. Without any it is a message of its own
            // kind, or it would be free.
            Event::Fragment if !payload.is_empty() => None,
            Event::Ping | Event::Pong | Event::Fragment
                if user.spend(payload.len()) == Verdict::Exhausted =>
            {
                Some(End::Refused(close_code::POLICY_VIOLATION))
            }
            Event::Ping => {
                let pong = Control::pong(payload).expect("a ping is as short");
                user.outbox().control(pong);
                None
            }
            Event::Pong | Event::Fragment => None,
            Event::Close(code) => Some(End::Closed(code.unwrap_or(close_code::NORMAL))),
        };
        budget.charge(user.take_work());
        end
    }

    /// Sends what is left and closes.
    async fn close(mut self, mut job: Job, halt: Option<Halt>, end: End) -> io::Result<()> {
        let code = match end {
            End::Gone | End::Stuck => return Ok(()),
            End::Closed(code) | End::Refused(code) => code,
            End::TooSlow => close_code::TRY_AGAIN_LATER,
            // As other servers do; the code has no better.
            End::Silent => close_code::INTERNAL_ERROR,
            End::Idle => close_code::NORMAL,
            End::Stopping => close_code::GOING_AWAY,
        };
        match halt {
            Some(Halt::Full(rest)) => job.stream.write_all(&rest).await?,
            // Perhaps within a frame.
            Some(Halt::Gone) => return Ok(()),
            Some(Halt::Over) | None => {}
        }
        while let Some(batch) = job.queue.try_batch() {
            let mut batch = if job.deflates { batch.into_deflated() } else { batch };
            job.stream.write_all_buf(&mut batch).await?;
        }
        let close = Control::close(code, "").expect("a code that may be sent");
        job.stream.write_all(close.wire()).await?;
        if !matches!(end, End::Closed(_) | End::Refused(_)) {
            let pulse = Pulse::default();
            while !matches!(self.receive(&pulse).await, Ok(None | Some(Event::Close(_))) | Err(_)) {
            }
        }
        let stream = self.stream.reunite(job.stream).expect("two halves of one stream");
        match end {
            End::Refused(_) => discard(stream).await,
            _ => linger(stream).await,
        }
    }
}

/// Writes whole frames, or the rest of some. When it is told to end meanwhile it writes them first,
/// or else a close frame would come within another.
async fn send(
    stream: &mut OwnedWriteHalf,
    frames: &mut impl Buf,
    pulse: &Pulse,
    ending: &mut (impl Future<Output = End> + Unpin),
    closing: Duration,
) -> Option<End> {
    tokio::select! {
        written = write(stream, frames, pulse) => written.is_err().then_some(End::Gone),
        end = ending => {
            let written = timeout(closing, stream.write_all_buf(frames)).await;
            Some(if matches!(written, Ok(Ok(()))) { end } else { End::Stuck })
        }
    }
}

/// Writes all of the frames. It is a sign of life when there is space where there was none: somebody
/// reads, though nothing is read from them meanwhile.
async fn write(
    stream: &mut OwnedWriteHalf,
    frames: &mut impl Buf,
    pulse: &Pulse,
) -> io::Result<()> {
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
fn take(message: &[u8], kind: MessageKind, user: &mut User) -> Option<End> {
    match user.receive(message).err()? {
        // What was read as a message is UTF-8; only what was not needs a look.
        Failure::Malformed(_) if kind.is_text && std::str::from_utf8(message).is_err() => {
            Some(End::Refused(ReadError::NotUtf8.close_code()))
        }
        Failure::Malformed(error) => {
            user.refuse_malformed(&error);
            None
        }
        Failure::TooMany => Some(End::Refused(close_code::POLICY_VIOLATION)),
        Failure::Panicked => Some(End::Refused(close_code::INTERNAL_ERROR)),
    }
}
