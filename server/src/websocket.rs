//! One WebSocket: received messages go to its session, the frames of its outbox are sent, and the
//! connection ends with the close code for its reason.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pondwire::Limits;
use pondwire::deflate::Inflater;
use pondwire::frame::Control;
use pondwire::websocket::{Event, MaxPayload, MessageKind, MessageReader, ReadError, close_code};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::budget::{self, Budget};
use crate::echo::Echo;
use crate::keepalive::Liveness;
use crate::options::Times;
use crate::rate_limit::Decision;
use crate::session::{ReceiveError, Session, Sessions};
use crate::socket::{discard, linger};
use crate::writers::{HandBack, SendHalf, WriterHandle, WriterPool, in_form};

thread_local! {
    /// One inflater for all connections of the thread: no message depends on an earlier one.
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// The reason why a connection ends.
enum End {
    /// The client has disconnected.
    Gone,
    /// The client sent a close frame; holds the code to answer with.
    Closed(u16),
    /// The client violated the protocol or a limit; holds the close code for it.
    Refused(u16),
    /// The client reads more slowly than frames are queued for it.
    TooSlow,
    /// The client has not answered a ping.
    Silent,
    /// The client has not sent a message for too long.
    Idle,
    /// The server stops.
    Stopping,
    /// A frame is partly written and cannot be completed.
    Stuck,
}

/// Serves WebSockets, and holds the parts of the server that they share.
pub(crate) struct WebSockets {
    sessions: Arc<Sessions>,
    writers: WriterPool,
    limits: Limits,
    times: Times,
}

impl WebSockets {
    pub(crate) const fn new(
        sessions: Arc<Sessions>,
        writers: WriterPool,
        limits: Limits,
        times: Times,
    ) -> Self {
        Self { sessions, writers, limits, times }
    }

    /// Serves a connection from its completed handshake to its end. `received` holds the bytes that arrived
    /// after the handshake; `deflates` is `true` if permessage-deflate was negotiated. With an `echo`,
    /// messages go there instead of to the session.
    pub(crate) async fn run(
        &self,
        stream: TcpStream,
        received: BytesMut,
        deflates: bool,
        echo: Option<Echo>,
        stopped: impl Future<Output = ()>,
    ) {
        // A message over the codec's limit is refused by its announced length, before it is buffered.
        let plain = self.limits.max_bytes;
        let compressed = deflates.then_some(Inflater::max_payload(plain));
        let reader = MessageReader::new(received, MaxPayload { plain, compressed });
        let (mut session, queue) = self.sessions.open();
        if echo.is_none() {
            session.greet();
        }
        let _counted = session.counted();
        let aborted = queue.aborted();
        let liveness = Arc::clone(session.liveness());
        let ping_timeout = liveness.ping_timeout(&self.times, session.outbox().clone());
        let mut ending = pin!(async {
            tokio::select! {
                _ = aborted => End::TooSlow,
                () = stopped => End::Stopping,
                () = ping_timeout => End::Silent,
                () = liveness.idle_timeout(self.times.idle) => End::Idle,
            }
        });
        let (stream, writer) = stream.into_split();
        let writer = self.writers.register(SendHalf { stream: writer, queue, deflates });
        let (limits, closing) = (self.limits, self.times.closing);
        let budget = Budget::new(budget::CONNECTION);
        let mut incoming = Incoming { stream, reader, echo, limits, closing, budget };
        let end = incoming.relay(&mut session, &writer, &liveness, &mut ending).await;
        drop(session);
        let Some((send_half, hand_back)) = writer.take() else { return };
        // The connection has ended, whether or not this succeeds.
        let _ = timeout(closing, incoming.close(send_half, hand_back, end)).await;
    }
}

/// The receiving half of a connection; a writer holds the sending half.
struct Incoming {
    stream: OwnedReadHalf,
    reader: MessageReader,
    echo: Option<Echo>,
    limits: Limits,
    /// The timeout for closing.
    closing: Duration,
    budget: Budget,
}

impl Incoming {
    /// Receives until the connection ends, or `ending` completes.
    ///
    /// While the client does not read its own frames, the server does not read from it.
    async fn relay(
        &mut self,
        session: &mut Session,
        writer: &WriterHandle,
        liveness: &Liveness,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> End {
        loop {
            let mut handed_back = None;
            let is_ping = tokio::select! {
                taken = writer.handed_back() => {
                    handed_back = Some(taken);
                    false
                }
                received = self.receive(liveness) => match received {
                    Ok(Some(event)) => {
                        if let Some(end) = self.handle(event, session) {
                            return end;
                        }
                        event == Event::Ping
                    }
                    Ok(None) => return End::Gone,
                    Err(fault) => {
                        if fault == ReadError::TooLarge {
                            session.refuse_malformed(&self.limits.too_large());
                        }
                        return End::Refused(fault.close_code());
                    }
                },
                end = &mut *ending => return end,
            };
            let echoed = self.echo.as_mut().and_then(Echo::take);
            let taken = match handed_back {
                Some((send_half, why)) => Some((send_half, Some(why))),
                // The outbox keeps only the latest pong, and each ping must be answered.
                None if is_ping || echoed.is_some() => writer.take(),
                None => None,
            };
            if let Some((mut send_half, why)) = taken {
                if let Some(end) = self.write(&mut send_half, why, echoed, liveness, ending).await {
                    writer.park(send_half);
                    return end;
                }
                writer.resume(send_half);
            }
        }
    }

    /// Writes the bytes that a writer could not, then the echo, then the frames queued now.
    async fn write(
        &self,
        send_half: &mut SendHalf,
        why: Option<HandBack>,
        echoed: Option<impl Buf>,
        liveness: &Liveness,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> Option<End> {
        let rest = match why {
            None => None,
            Some(HandBack::Full(rest)) => Some(rest),
            Some(HandBack::Over) => return Some(End::TooSlow),
            Some(HandBack::Gone) => return Some(End::Gone),
        };
        let (stream, closing) = (&mut send_half.stream, self.closing);
        if let Some(mut rest) = rest
            && let Some(end) = send(stream, &mut rest, liveness, ending, closing).await
        {
            return Some(end);
        }
        if let Some(mut echoed) = echoed
            && let Some(end) = send(stream, &mut echoed, liveness, ending, closing).await
        {
            return Some(end);
        }
        let batch = send_half.queue.try_batch()?;
        let mut batch = in_form(batch, send_half.deflates);
        send(stream, &mut batch, liveness, ending, closing).await
    }

    /// The next event, once the connection's budget allows; `None` at the end of the stream. Cancel-safe:
    /// it waits only for the budget and for readability, and holds no data meanwhile.
    async fn receive(&mut self, liveness: &Liveness) -> Result<Option<Event>, ReadError> {
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
                    liveness.saw_traffic();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    fn handle(&mut self, event: Event, session: &mut Session) -> Option<End> {
        let Self { reader, echo, limits, budget, .. } = self;
        let payload = reader.payload();
        let mut deliver = |message: &[u8], kind, session: &mut Session| match echo {
            Some(echo) => {
                echo.add(message, kind).err().map(|fault| End::Refused(fault.close_code()))
            }
            None => deliver_to(session, message, kind),
        };
        let end = match event {
            Event::Message(kind) if kind.is_compressed => INFLATER.with_borrow_mut(|inflater| {
                match inflater.inflate(payload, limits.max_bytes) {
                    Ok(message) => {
                        budget.charge(message.len() * (1 + budget::INFLATED));
                        deliver(message, kind, session)
                    }
                    Err(error) => {
                        if error.is_too_large() {
                            budget.charge(limits.max_bytes * budget::INFLATED);
                            session.refuse_malformed(&limits.too_large());
                        }
                        Some(End::Refused(error.close_code()))
                    }
                }
            }),
            Event::Message(kind) => deliver(payload, kind, session),
            // The bytes of a fragment are charged with its message. An empty fragment is charged as a
            // message, or it would be free.
            Event::Fragment if !payload.is_empty() => None,
            Event::Ping | Event::Pong | Event::Fragment
                if session.try_acquire(payload.len()) == Decision::Exhausted =>
            {
                Some(End::Refused(close_code::POLICY_VIOLATION))
            }
            Event::Ping => {
                let pong = Control::pong(payload).expect("a ping has the same limit");
                session.outbox().control(pong);
                None
            }
            Event::Pong | Event::Fragment => None,
            Event::Close(code) => Some(End::Closed(code.unwrap_or(close_code::NORMAL))),
        };
        budget.charge(session.take_work());
        end
    }

    /// Sends the remaining frames, and closes the connection.
    async fn close(
        mut self,
        mut send_half: SendHalf,
        why: Option<HandBack>,
        end: End,
    ) -> io::Result<()> {
        let code = match end {
            End::Gone | End::Stuck => return Ok(()),
            End::Closed(code) | End::Refused(code) => code,
            End::TooSlow => close_code::TRY_AGAIN_LATER,
            // No code fits better, and other servers use this one.
            End::Silent => close_code::INTERNAL_ERROR,
            End::Idle => close_code::NORMAL,
            End::Stopping => close_code::GOING_AWAY,
        };
        match why {
            Some(HandBack::Full(rest)) => send_half.stream.write_all(&rest).await?,
            // The last write may have ended within a frame.
            Some(HandBack::Gone) => return Ok(()),
            Some(HandBack::Over) | None => {}
        }
        while let Some(batch) = send_half.queue.try_batch() {
            let mut batch = in_form(batch, send_half.deflates);
            send_half.stream.write_all_buf(&mut batch).await?;
        }
        let close = Control::close(code, "").expect("a code that may be sent");
        send_half.stream.write_all(close.wire()).await?;
        if !matches!(end, End::Closed(_) | End::Refused(_)) {
            let liveness = Liveness::default();
            while !matches!(
                self.receive(&liveness).await,
                Ok(None | Some(Event::Close(_))) | Err(_)
            ) {}
        }
        let stream = self.stream.reunite(send_half.stream).expect("two halves of one stream");
        match end {
            End::Refused(_) => discard(stream).await,
            _ => linger(stream).await,
        }
    }
}

/// Writes whole frames, or the rest of partly written ones. If `ending` completes meanwhile, they are still
/// written first: the close frame must not come within another frame.
async fn send(
    stream: &mut OwnedWriteHalf,
    frames: &mut impl Buf,
    liveness: &Liveness,
    ending: &mut (impl Future<Output = End> + Unpin),
    closing: Duration,
) -> Option<End> {
    tokio::select! {
        written = write(stream, frames, liveness) => written.is_err().then_some(End::Gone),
        end = ending => {
            let written = timeout(closing, stream.write_all_buf(frames)).await;
            Some(if matches!(written, Ok(Ok(()))) { end } else { End::Stuck })
        }
    }
}

/// Writes all of the frames. Space in a socket that was full counts as traffic: it shows that the client
/// reads, while the server reads nothing from it.
async fn write(
    stream: &mut OwnedWriteHalf,
    frames: &mut impl Buf,
    liveness: &Liveness,
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
            liveness.saw_traffic();
        }
    }
    Ok(())
}

/// Hands a message to the session. An invalid message is answered; text that is not UTF-8 ends the
/// connection.
fn deliver_to(session: &mut Session, message: &[u8], kind: MessageKind) -> Option<End> {
    match session.receive(message).err()? {
        // A valid message is UTF-8, so only an invalid one has to be checked.
        ReceiveError::Malformed(_) if kind.is_text && std::str::from_utf8(message).is_err() => {
            Some(End::Refused(ReadError::NotUtf8.close_code()))
        }
        ReceiveError::Malformed(error) => {
            session.refuse_malformed(&error);
            None
        }
        ReceiveError::TooMany => Some(End::Refused(close_code::POLICY_VIOLATION)),
        ReceiveError::Panicked => Some(End::Refused(close_code::INTERNAL_ERROR)),
    }
}
