//! Event streams: frames are sent as server-sent events, and messages arrive in separate requests that name
//! the stream.
//!
//! A stream's id is sent only to the client that opened it. Pages of other origins can read it if they are
//! allowed to; see `cors`.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use ahash::HashMap;
use bytes::BytesMut;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use pondwire::frame::Form;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, join};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::budget::Budget;
use crate::endpoints::Admitted;
use crate::keepalive::Liveness;
use crate::memory::Partial;
use crate::metrics::Counted;
use crate::options::Times;
use crate::session::{ReceiveError, Session, Sessions, Wait};
use crate::socket::{linger, write_unsent};
use crate::stream::{ReadHalf, Stream};
use crate::writers::{OpenSeat, WriterPool};

/// The header that names a stream, in the response that opens it and in the requests of its client.
pub(crate) const CONNECTION_ID: HeaderName = HeaderName::from_static("x-connection-id");

/// The most bytes that a client may send on the connection of its stream, where there is nothing to send. Some send the
/// body of a request that has none.
const IGNORED: usize = 16 << 10;

/// The most messages of one stream that arrive or wait at a time, besides the one that is carried out: as many requests
/// as a browser or a proxy makes at once over one connection of HTTP/2.
const MOST_WAITING: usize = 128;

/// The event streams that are open, by connection id.
pub(crate) struct EventStreams {
    table: Arc<Table>,
    sessions: Arc<Sessions>,
    writers: Arc<WriterPool>,
    times: Times,
}

#[derive(Default)]
struct Table(Mutex<HashMap<Arc<str>, Arc<Open>>>);

/// A stream that is about to open. Its client's messages are received from now on, because the client can send
/// the first one before it is known here that it has the response.
pub(crate) struct Prepared {
    seat: OpenSeat,
    entry: Entry,
    liveness: Arc<Liveness>,
    counted: Counted,
    /// Those that the connection was admitted with.
    headers: HeaderMap,
}

impl Prepared {
    /// Takes the headers of the response that opens the stream.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        let mut headers = mem::take(&mut self.headers);
        let id = HeaderValue::from_str(&self.entry.id).expect("a UUID");
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONNECTION_ID, id);
        headers
    }
}

/// An open stream, shared with the requests that name it.
struct Open {
    /// One permit, held until the handler of a message has ended: messages of one stream are carried out one at a time.
    /// Closed with the session.
    turn: Semaphore,
    /// The number of [places](Place) that are taken.
    waiting: AtomicUsize,
    session: Mutex<Option<Session>>,
    /// Notified when the session has ended.
    closed: Notify,
}

/// The place of a message that arrives for a stream, or waits for its turn.
pub(crate) struct Place(Arc<Open>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message that a request has brought.
pub(crate) struct Posted {
    pub(crate) message: BytesMut,
    /// Its length as it arrived.
    pub(crate) wire: usize,
    /// Counts its memory until it is dropped.
    pub(crate) counted: Partial,
}

impl EventStreams {
    pub(crate) fn new(sessions: Arc<Sessions>, writers: Arc<WriterPool>, times: Times) -> Self {
        Self { table: Arc::default(), sessions, writers, times }
    }

    /// A place for a message of this stream's client.
    ///
    /// # Errors
    /// There is no such stream, or [too many](MOST_WAITING) of its messages wait; holds the status to answer with.
    pub(crate) fn place(&self, id: &str) -> Result<Place, StatusCode> {
        let open = self.table.0.lock().get(id).map(Arc::clone).ok_or(StatusCode::NOT_FOUND)?;
        // Relaxed: nothing else depends on the number.
        let waiting = open.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(open);
        if waiting < MOST_WAITING { Ok(place) } else { Err(StatusCode::TOO_MANY_REQUESTS) }
    }

    /// Carries out a message of this stream's client and returns the status for its request. Messages of
    /// one stream are carried out one at a time: this one is not if its client is `gone` before its turn. Errors other
    /// than an invalid message end the stream. The work is charged to `budget`, the budget of the request's connection.
    /// Returns late if the client is ahead of the writers.
    pub(crate) async fn receive(
        &self,
        id: &str,
        place: Place,
        posted: Posted,
        gone: impl Future<Output = ()>,
        budget: &mut Budget,
    ) -> StatusCode {
        let open = Arc::clone(&place.0);
        let turn = tokio::select! {
            biased;
            turn = open.turn.acquire() => turn,
            () = gone => return StatusCode::SERVICE_UNAVAILABLE,
        };
        let Posted { message, wire, counted } = posted;
        let received = turn.as_ref().ok().and_then(|_| open.receive(&message, wire, budget));
        // The handler has what it keeps of it.
        drop((place, message, counted));
        let Some((mut received, wait)) = received else { return StatusCode::NOT_FOUND };
        if received.is_err() {
            self.close(id);
        }
        if let Some(wait) = wait
            && let Err(error) = wait.over().await
        {
            self.close(id);
            received = Err(error);
        }
        match received {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(ReceiveError::TooMany) => StatusCode::TOO_MANY_REQUESTS,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.0.lock().len()
    }

    /// Whether a stream of this id is open.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.table.0.lock().contains_key(id)
    }

    /// Ends the session; the stream ends once its queued frames have been sent. `false` if there is no such
    /// stream.
    pub(crate) fn close(&self, id: &str) -> bool {
        self.table.close(id)
    }

    /// Prepares an event stream.
    pub(crate) fn prepare(&self, mut admitted: Admitted) -> Prepared {
        let seat = self.writers.open(Form::Sse);
        let headers = mem::take(&mut admitted.headers);
        let session = self.sessions.open(seat.seat.clone(), admitted);
        let (liveness, counted) = (Arc::clone(session.liveness()), session.counted());
        // Before any answer.
        session.greet();
        Prepared { seat, entry: self.table.open(session), liveness, counted, headers }
    }

    /// Serves an event stream to its end; `head` is sent before all else.
    pub(crate) async fn run(
        &self,
        Prepared { seat: opened, entry, liveness, counted, .. }: Prepared,
        stream: Stream,
        head: Vec<u8>,
        stopped: impl Future<Output = ()>,
    ) {
        let (mut reader, mut writer) = stream.into_split();
        if !matches!(timeout(self.times.closing, writer.write_all(&head)).await, Ok(Ok(()))) {
            return;
        }
        drop(head);
        let seat = opened.seat.clone();
        let writer = opened.register(writer, Arc::clone(&liveness));
        let messages = Liveness::send_messages(self.times.message_keep_alive, &seat);
        let stuck = liveness.stuck_timeout(&self.times, &seat, || writer.is_behind());
        let is_gone = tokio::select! {
            () = entry.open.closed.notified() => false,
            () = stopped => false,
            () = liveness.idle_timeout(self.times.idle) => false,
            // The client has disconnected, or sends here what nobody reads.
            () = ignore(&mut reader) => true,
            reason = writer.failed() => {
                if reason.is_too_slow() {
                    counted.too_slow();
                }
                true
            }
            // The client does not read.
            () = stuck => true,
            () = messages => true,
        };
        drop(entry);
        if is_gone {
            return;
        }
        let closing = async {
            let Some((mut stream, mut unsent)) = writer.end().await else { return };
            if write_unsent(&mut stream, &mut unsent).await.is_ok() {
                // The connection has ended, whether or not this succeeds.
                let _ = linger(join(reader, stream)).await;
            }
        };
        // Boxed, so that an open stream has no memory for it.
        let _ = Box::pin(timeout(self.times.closing, closing)).await;
    }
}

/// Reads what a client sends on the connection of its stream, until that ends or there is [too much](IGNORED).
async fn ignore(reader: &mut ReadHalf) {
    let mut left = IGNORED;
    poll_fn(|cx| {
        loop {
            // Not in the future, of which there is one for each stream.
            let mut bytes = [0; 512];
            let mut read = ReadBuf::new(&mut bytes);
            let is_read = ready!(Pin::new(&mut *reader).poll_read(cx, &mut read)).is_ok();
            match read.filled().len() {
                1.. if is_read && read.filled().len() <= left => left -= read.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// A stream in the table; dropping it ends the session.
struct Entry {
    table: Arc<Table>,
    id: Arc<str>,
    open: Arc<Open>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.close(&self.id);
    }
}

impl Table {
    fn open(self: &Arc<Self>, session: Session) -> Entry {
        let id = Arc::clone(session.connection_id());
        let open = Arc::new(Open {
            turn: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
            session: Mutex::new(Some(session)),
            closed: Notify::new(),
        });
        self.0.lock().insert(Arc::clone(&id), Arc::clone(&open));
        Entry { table: Arc::clone(self), id, open }
    }

    fn close(&self, id: &str) -> bool {
        let Some(open) = self.0.lock().remove(id) else { return false };
        // A concurrent request may still hold a reference; it will find no session.
        drop(open.session.lock().take());
        open.turn.close();
        open.closed.notify_one();
        true
    }
}

impl Open {
    /// Carries out a message, and answers an invalid one; returns the outcome, and what the client must wait
    /// for. `None` if the session has ended.
    fn receive(
        &self,
        message: &[u8],
        wire: usize,
        budget: &mut Budget,
    ) -> Option<(Result<(), ReceiveError>, Option<Wait>)> {
        let mut session = self.session.lock();
        let session = session.as_mut()?;
        let mut received = session.receive(message, wire);
        budget.charge(message.len() + session.take_work());
        if let Err(ReceiveError::Malformed(error)) = &received {
            session.refuse_malformed(error);
            received = Ok(());
        }
        Some((received, session.take_wait()))
    }
}
