//! Event streams: frames are sent as server-sent events, and messages arrive in separate requests that name
//! the stream.
//!
//! A stream's id is sent only to the client that opened it. Without a CORS header, pages of other origins
//! cannot read it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::OutboxReader;
use tokio::io::{AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::budget::Budget;
use crate::http::{NOT_FOUND, Status};
use crate::options::Times;
use crate::session::{ReceiveError, Session, Sessions};
use crate::socket::linger;

/// The event streams that are open, by connection id.
pub(crate) struct EventStreams {
    table: Mutex<HashMap<Arc<str>, Arc<Open>>>,
    sessions: Arc<Sessions>,
    times: Times,
}

/// An open stream, shared with the requests that name it.
struct Open {
    session: Mutex<Option<Session>>,
    /// Notified when the session has ended.
    closed: Notify,
}

impl EventStreams {
    pub(crate) fn new(sessions: Arc<Sessions>, times: Times) -> Self {
        Self { table: Mutex::default(), sessions, times }
    }

    fn open(&self, session: Session) -> Arc<Open> {
        let id = Arc::clone(session.connection_id());
        let open = Arc::new(Open { session: Mutex::new(Some(session)), closed: Notify::new() });
        self.table.lock().insert(id, Arc::clone(&open));
        open
    }

    /// Carries out a message of this stream's client and returns the status for its request. Messages of
    /// one stream are carried out one at a time. Errors other than an invalid message end the stream. The
    /// work is charged to `budget`, the budget of the request's connection.
    pub(crate) fn receive(&self, id: &str, message: &[u8], budget: &mut Budget) -> Status {
        let Some(open) = self.table.lock().get(id).map(Arc::clone) else { return NOT_FOUND };
        let failure = {
            let mut session = open.session.lock();
            let Some(session) = &mut *session else { return NOT_FOUND };
            let received = session.receive(message);
            budget.charge(message.len() + session.take_work());
            match received {
                Ok(()) => return "204 No Content",
                Err(ReceiveError::Malformed(error)) => {
                    session.refuse_malformed(&error);
                    return "204 No Content";
                }
                Err(failure) => failure,
            }
        };
        self.close(id);
        match failure {
            ReceiveError::TooMany => "429 Too Many Requests",
            _ => "500 Internal Server Error",
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Ends the session; the stream ends once its queued frames have been sent. `false` if there is no such
    /// stream.
    pub(crate) fn close(&self, id: &str) -> bool {
        let Some(open) = self.table.lock().remove(id) else { return false };
        // A concurrent request may still hold a reference; it will find no session.
        drop(open.session.lock().take());
        open.closed.notify_one();
        true
    }

    /// Serves an event stream to its end.
    pub(crate) async fn run(&self, mut stream: TcpStream, stopped: impl Future<Output = ()>) {
        let (session, mut queue) = self.sessions.open();
        session.greet();
        let _counted = session.counted();
        let (id, liveness) = (Arc::clone(session.connection_id()), Arc::clone(session.liveness()));
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
             cache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n\
             x-connection-id: {id}\r\nconnection: close\r\n\r\n"
        );
        let open = self.open(session);
        let aborted = queue.aborted();
        let (mut reader, mut writer) = stream.split();
        let sends = async {
            writer.write_all(head.as_bytes()).await?;
            send(&mut writer, &mut queue, self.times.keep_alive).await
        };
        let late = async {
            tokio::select! {
                () = open.closed.notified() => {}
                // The queued frames are still sent.
                () = stopped => drop(self.close(&id)),
                () = liveness.idle_timeout(self.times.idle) => drop(self.close(&id)),
            }
            sleep(self.times.closing).await;
        };
        let mut nowhere = sink();
        let is_over = tokio::select! {
            // The stream was closed, and everything was sent.
            sent = sends => sent.is_ok(),
            // The client has disconnected; whatever it sends here is ignored.
            _ = copy(&mut reader, &mut nowhere) => false,
            // The stream was closed, and the client does not read the queued frames.
            () = late => false,
            _ = aborted => false,
        };
        self.close(&id);
        if is_over && !queue.closed().is_some_and(|reason| reason.is_too_slow()) {
            // The connection has ended, whether or not this succeeds.
            let _ = timeout(self.times.closing, linger(stream)).await;
        }
    }
}

/// Writes whole events, many at a time, from memory that the streams of all members share, until the outbox
/// ends. Writes a comment after each `keep_alive` without an event.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    queue: &mut OutboxReader,
    keep_alive: Duration,
) -> io::Result<()> {
    loop {
        match timeout(keep_alive, queue.next_batch()).await {
            Ok(Some(batch)) => writer.write_all_buf(&mut batch.into_sse()).await?,
            Ok(None) => return Ok(()),
            Err(_) => writer.write_all(b": keepalive\n\n").await?,
        }
    }
}
