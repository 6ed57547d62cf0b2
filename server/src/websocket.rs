//! One WebSocket: received messages go to its session, a writer sends its frames, and the connection ends
//! with the close code for its reason.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use pondwire::Limits;
use pondwire::deflate::Inflater;
use pondwire::frame::{Control, Form};
use pondwire::outbox::CloseReason;
use pondwire::room::Unsent;
use pondwire::websocket::{Event, MaxPayload, MessageKind, MessageReader, ReadError, close_code};
use tokio::io::{AsyncWriteExt, join};
use tokio::time::timeout;

use crate::budget::{self, Budget};
use crate::echo::Echo;
use crate::endpoints::Admitted;
use crate::keepalive::Liveness;
use crate::memory::{Memory, OutOfMemory, Partial};
use crate::options::Times;
use crate::rate_limit::Decision;
use crate::session::{ReceiveError, Session, Sessions};
use crate::socket::{discard, linger, write_unsent};
use crate::stream::{ReadHalf, Stream, WriteHalf};
use crate::trace;
use crate::writers::{WriterHandle, WriterPool, hold_wakes};

thread_local! {
    /// One inflater for all connections of the thread: no message depends on an earlier one.
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// The bytes of a client's frame besides its payload: the least, for a payload of up to 125 bytes.
const HEAD: usize = 6;

/// The reason why a connection ends.
#[cfg_attr(feature = "tracing", derive(Debug))]
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
}

impl End {
    const fn of(reason: CloseReason) -> Self {
        if reason.is_too_slow() { Self::TooSlow } else { Self::Gone }
    }
}

/// Serves WebSockets, and holds the parts of the server that they share.
pub(crate) struct WebSockets {
    sessions: Arc<Sessions>,
    writers: Arc<WriterPool>,
    limits: Limits,
    times: Times,
    memory: Arc<Memory>,
}

impl WebSockets {
    pub(crate) const fn new(
        sessions: Arc<Sessions>,
        writers: Arc<WriterPool>,
        limits: Limits,
        times: Times,
        memory: Arc<Memory>,
    ) -> Self {
        Self { sessions, writers, limits, times, memory }
    }

    /// Serves a connection from its completed handshake to its end. `received` holds the bytes that arrived
    /// after the handshake; `deflates` is `true` if permessage-deflate was negotiated.
    // No `async fn`: its arguments would have memory for as long as the connection, besides what is made of them.
    pub(crate) fn run<'a>(
        &'a self,
        stream: Stream,
        received: BytesMut,
        deflates: bool,
        admitted: Admitted,
        mut stopped: impl Future<Output = ()> + Send + Unpin + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        let form = if deflates { Form::Deflated } else { Form::WebSocket };
        let opened = self.writers.open(form);
        let mut session = self.sessions.open(opened.seat.clone(), admitted);
        let liveness = Arc::clone(session.liveness());
        let (stream, writer) = stream.into_split();
        let writer = opened.register(writer, Arc::clone(&liveness));
        session.greet();
        let mut incoming = self.incoming(stream, received, deflates);
        async move {
            let counted = session.counted();
            let end = {
                let seat = session.seat().clone();
                let mut ending = pin!(async {
                    tokio::select! {
                        () = &mut stopped => End::Stopping,
                        () = Liveness::send_messages(self.times.message_keep_alive, &seat) => End::Silent,
                        () = liveness.ping_timeout(&self.times, &seat) => End::Silent,
                        () = liveness.idle_timeout(self.times.idle) => End::Idle,
                    }
                });
                incoming.relay(&mut session, &writer, &liveness, &mut ending).await
            };
            session.span().run(|| trace::event!(DEBUG, reason = ?end, "closing"));
            drop(session);
            if matches!(end, End::TooSlow) {
                counted.too_slow();
            }
            let closing = async {
                if let Some((stream, unsent)) = writer.end().await {
                    // The connection has ended, whether or not this succeeds.
                    let _ = incoming.close(stream, unsent, end).await;
                }
            };
            // Boxed, so that an open connection has no memory for it.
            let _ = Box::pin(timeout(self.times.closing, closing)).await;
        }
    }

    /// Serves a connection whose messages are sent back.
    pub(crate) async fn run_echo(
        &self,
        stream: Stream,
        received: BytesMut,
        deflates: bool,
        stopped: impl Future<Output = ()>,
    ) {
        let (stream, mut writer) = stream.into_split();
        let mut incoming = self.incoming(stream, received, deflates);
        let liveness = Liveness::default();
        let end = {
            let echoed = async {
                let mut echo = Echo::default();
                loop {
                    let end = match incoming.receive(&liveness).await {
                        Ok(Some(event)) => incoming.handle(event, &mut echo),
                        Ok(None) => Some(End::Gone),
                        Err(fault) => Some(End::Refused(fault.close_code())),
                    };
                    if let Some(frames) = echo.take()
                        && writer.write_all(&frames).await.is_err()
                    {
                        return End::Gone;
                    }
                    if let Some(end) = end {
                        return end;
                    }
                }
            };
            tokio::select! {
                end = echoed => end,
                // A frame may be written in part, so no close frame may follow.
                () = stopped => End::Gone,
                () = liveness.idle_timeout(self.times.idle) => End::Gone,
            }
        };
        let _ = timeout(self.times.closing, incoming.close(writer, Unsent::default(), end)).await;
    }

    fn incoming(&self, stream: ReadHalf, received: BytesMut, deflates: bool) -> Incoming {
        // A message over the codec's limit is refused by its announced length, before it is buffered.
        let plain = self.limits.max_bytes;
        let compressed = deflates.then_some(Inflater::max_payload(plain));
        let reader = MessageReader::new(received, MaxPayload { plain, compressed });
        let partial = Partial::new(Arc::clone(&self.memory));
        let budget = Budget::new(budget::CONNECTION);
        Incoming { stream, reader, limits: self.limits, budget, partial, heads: 0 }
    }
}

/// The receiving half of a connection; a writer holds the sending half.
struct Incoming {
    stream: ReadHalf,
    reader: MessageReader,
    limits: Limits,
    budget: Budget,
    /// Counts the reader's memory while the connection waits for more.
    partial: Partial,
    /// The bytes of the heads of the unfinished message's fragments.
    heads: usize,
}

/// The reason why nothing more is received.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Read(ReadError),
    OutOfMemory,
}

impl Fault {
    const fn close_code(self) -> u16 {
        match self {
            Self::Read(error) => error.close_code(),
            Self::OutOfMemory => close_code::TRY_AGAIN_LATER,
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// What takes a connection's messages: its session, or an echo.
trait Receiver {
    /// Takes a message, which was `wire` bytes long as it arrived; returns the reason why the connection ends after it,
    /// if it does.
    fn receive(&mut self, message: &[u8], wire: usize, kind: MessageKind) -> Option<End>;

    /// Takes a frame that carries no message, of so many bytes: `false` if there were too many.
    fn allows(&mut self, bytes: usize) -> bool;

    fn pong(&mut self, pong: Control);

    /// Is told that a message was too large.
    fn refuse(&mut self, limits: &Limits);

    /// The work since the last call.
    fn take_work(&mut self) -> usize;
}

impl Receiver for Session {
    fn receive(&mut self, message: &[u8], wire: usize, kind: MessageKind) -> Option<End> {
        deliver_to(self, message, wire, kind)
    }

    fn allows(&mut self, bytes: usize) -> bool {
        self.try_acquire(bytes) != Decision::Exhausted
    }

    fn pong(&mut self, pong: Control) {
        self.seat().control(pong);
    }

    fn refuse(&mut self, limits: &Limits) {
        self.refuse_malformed(&limits.too_large());
    }

    fn take_work(&mut self) -> usize {
        self.take_work()
    }
}

impl Receiver for Echo {
    fn receive(&mut self, message: &[u8], _: usize, kind: MessageKind) -> Option<End> {
        self.add(message, kind).err().map(|fault| End::Refused(fault.close_code()))
    }

    fn allows(&mut self, _: usize) -> bool {
        true
    }

    fn pong(&mut self, pong: Control) {
        self.add_control(&pong);
    }

    fn refuse(&mut self, _: &Limits) {}

    fn take_work(&mut self) -> usize {
        0
    }
}

impl Incoming {
    /// Receives until the connection ends, or `ending` completes.
    ///
    /// The server does not read from a client that does not read what it is sent, or is ahead of the
    /// writers.
    async fn relay(
        &mut self,
        session: &mut Session,
        writer: &WriterHandle,
        liveness: &Liveness,
        ending: &mut (impl Future<Output = End> + Unpin),
    ) -> End {
        loop {
            let wait = session.take_wait();
            if wait.is_some() || writer.is_behind() {
                self.reader.release();
            }
            if writer.is_behind() {
                tokio::select! {
                    caught_up = writer.caught_up() => match caught_up {
                        Ok(()) => {}
                        Err(reason) => return End::of(reason),
                    },
                    end = &mut *ending => return end,
                }
            }
            // Boxed, because few connections wait.
            let mut waiting = wait.map(|wait| Box::pin(wait.over()));
            let received = tokio::select! {
                received = async {
                    if let Some(waiting) = &mut waiting {
                        waiting.await.map_err(|_| End::Refused(close_code::INTERNAL_ERROR))?;
                    }
                    Ok(self.receive(liveness).await)
                } => match received {
                    Ok(received) => received,
                    Err(end) => return end,
                },
                reason = writer.failed() => return End::of(reason),
                end = &mut *ending => return end,
            };
            let handled = match received {
                Ok(Some(event)) => self.handle_received(event, session, writer),
                Ok(None) => return End::Gone,
                Err(fault) => Err(fault),
            };
            match handled {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                Err(fault) => {
                    if fault == Fault::Read(ReadError::TooLarge) {
                        session.refuse_malformed(&self.limits.too_large());
                    }
                    return End::Refused(fault.close_code());
                }
            }
        }
    }

    /// Handles an event and those that were received with it, while the budget and the writers allow.
    fn handle_received(
        &mut self,
        event: Event,
        session: &mut Session,
        writer: &WriterHandle,
    ) -> Result<Option<End>, Fault> {
        let _held = hold_wakes();
        let mut next = Some(event);
        while let Some(event) = next {
            if let Some(end) = self.handle(event, session) {
                return Ok(Some(end));
            }
            if self.budget.is_spent() || session.must_wait() || writer.is_behind() {
                break;
            }
            next = self.reader.next_event()?;
            self.budget.charge(budget::FRAME);
        }
        Ok(None)
    }

    /// The next event, once the connection's budget allows; `None` at the end of the stream. Cancel-safe:
    /// it waits only for the budget and for readability, and holds no data meanwhile.
    async fn receive(&mut self, liveness: &Liveness) -> Result<Option<Event>, Fault> {
        loop {
            if self.budget.is_spent() {
                // While a thousand clients join, most of them wait here.
                self.reader.release();
                self.budget.yield_if_spent().await;
            }
            if let Some(event) = self.reader.next_event()? {
                self.budget.charge(budget::FRAME);
                return Ok(Some(event));
            }
            // Nothing for most connections: only a partial message has memory here.
            self.partial.set(self.reader.memory())?;
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

    fn handle(&mut self, event: Event, receiver: &mut impl Receiver) -> Option<End> {
        let Self { reader, limits, budget, heads, .. } = self;
        let payload = reader.payload();
        let mut wire = HEAD + payload.len();
        match event {
            Event::Message(_) => wire += mem::take(heads),
            Event::Fragment => *heads += HEAD,
            Event::Ping | Event::Pong | Event::Close(_) => {}
        }
        let end = match event {
            Event::Message(kind) if kind.is_compressed => INFLATER.with_borrow_mut(|inflater| {
                match inflater.inflate(payload, limits.max_bytes) {
                    Ok(message) => {
                        let inflated = message.len().max(payload.len());
                        budget.charge(message.len() + inflated * budget::INFLATED);
                        receiver.receive(message, wire, kind)
                    }
                    Err(error) => {
                        if error.is_too_large() {
                            budget.charge(limits.max_bytes * budget::INFLATED);
                            receiver.refuse(limits);
                        }
                        Some(End::Refused(error.close_code()))
                    }
                }
            }),
            Event::Message(kind) => receiver.receive(payload, wire, kind),
            // The bytes of a fragment are charged with its message. An empty fragment is charged as a
            // message, or it would be free.
            Event::Fragment if !payload.is_empty() => None,
            Event::Ping | Event::Pong | Event::Fragment if !receiver.allows(wire) => {
                Some(End::Refused(close_code::POLICY_VIOLATION))
            }
            Event::Ping => {
                receiver.pong(Control::pong(payload).expect("a ping has the same limit"));
                None
            }
            Event::Pong | Event::Fragment => None,
            Event::Close(code) => Some(End::Closed(code.unwrap_or(close_code::NORMAL))),
        };
        budget.charge(receiver.take_work());
        end
    }

    /// Sends what was not sent, and closes the connection.
    async fn close(
        mut self,
        mut stream: WriteHalf,
        mut unsent: Unsent,
        end: End,
    ) -> io::Result<()> {
        let code = match end {
            End::Gone => return Ok(()),
            End::Closed(code) | End::Refused(code) => code,
            End::TooSlow => close_code::TRY_AGAIN_LATER,
            // No code fits better, and other servers use this one.
            End::Silent => close_code::INTERNAL_ERROR,
            End::Idle => close_code::NORMAL,
            End::Stopping => close_code::GOING_AWAY,
        };
        write_unsent(&mut stream, &mut unsent).await?;
        let close = Control::close(code, "").expect("a code that may be sent");
        stream.write_all(close.wire()).await?;
        if !matches!(end, End::Closed(_) | End::Refused(_)) {
            let liveness = Liveness::default();
            while !matches!(
                self.receive(&liveness).await,
                Ok(None | Some(Event::Close(_))) | Err(_)
            ) {}
        }
        let stream = join(self.stream, stream);
        match end {
            End::Refused(_) => discard(stream).await,
            _ => linger(stream).await,
        }
    }
}

/// Hands a message to the session. An invalid message is answered; text that is not UTF-8 ends the
/// connection.
fn deliver_to(
    session: &mut Session,
    message: &[u8],
    wire: usize,
    kind: MessageKind,
) -> Option<End> {
    match session.receive(message, wire).err()? {
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
