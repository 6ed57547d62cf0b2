//! One event stream: frames go out as server-sent events, and messages come in by requests of
//! their own that name it.
//!
//! Only who opened the stream knows its id, and without a CORS header no page of another origin
//! can read it.

use std::io;
use std::sync::Arc;

use ahash::HashMap;
use parking_lot::Mutex;
use pondwire::OutboxReader;
use tokio::io::{AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Server;
use super::budget::Budget;
use super::connection::{NOT_FOUND, linger};
use super::http::Status;
use super::metrics::Metrics;
use super::user::{Failure, User};

/// The streams there are, by connection id.
#[derive(Default)]
pub(crate) struct EventStreams {
    table: Mutex<HashMap<Arc<str>, Arc<Open>>>,
}

/// What requests know of a stream.
struct Open {
    user: Mutex<Option<User>>,
    /// Told when the user is gone.
    closed: Notify,
}

impl EventStreams {
    fn open(&self, user: User) -> Arc<Open> {
        let id = Arc::clone(user.connection_id());
        let open = Arc::new(Open { user: Mutex::new(Some(user)), closed: Notify::new() });
        self.table.lock().insert(id, Arc::clone(&open));
        open
    }

    /// Does what a message of this client asks for, all of it before this returns; one after
    /// another. The answer to the request that brought it; some are the end of the stream. It is
    /// charged to the `budget` of the request's connection.
    pub(crate) fn receive(&self, id: &str, message: &[u8], budget: &mut Budget) -> Status {
        let Some(open) = self.table.lock().get(id).map(Arc::clone) else { return NOT_FOUND };
        let failure = {
            let mut user = open.user.lock();
            let Some(user) = &mut *user else { return NOT_FOUND };
            let received = user.receive(message);
            budget.charge(message.len() + user.take_work());
            match received {
                Ok(()) => return "204 No Content",
                Err(Failure::Malformed(error)) => {
                    user.refuse_malformed(&error);
                    return "204 No Content";
                }
                Err(failure) => failure,
            }
        };
        self.close(id);
        match failure {
            Failure::TooMany => "429 Too Many Requests",
            _ => "500 Internal Server Error",
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Lets the client leave its channels; the stream ends once it has been sent what waits.
    /// `false` when there is no such stream.
    pub(crate) fn close(&self, id: &str) -> bool {
        let Some(open) = self.table.lock().remove(id) else { return false };
        // A message may be on its way with a reference of its own; it finds nobody.
        drop(open.user.lock().take());
        open.closed.notify_one();
        true
    }
}

/// Serves an event stream to its end.
pub(crate) async fn run(
    mut stream: TcpStream,
    server: Arc<Server>,
    stopped: impl Future<Output = ()>,
) {
    let (user, mut queue) = User::connect(Arc::clone(&server));
    user.greet();
    let _counted = Metrics::count(&server, &user);
    let (id, pulse) = (Arc::clone(user.connection_id()), Arc::clone(user.pulse()));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
         cache-control: no-cache, no-transform\r\nx-accel-buffering: no\r\n\
         x-connection-id: {id}\r\nconnection: close\r\n\r\n"
    );
    let open = server.event_streams.open(user);
    let aborted = queue.aborted();
    let (mut reader, mut writer) = stream.split();
    let sends = async {
        writer.write_all(head.as_bytes()).await?;
        send(&mut writer, &mut queue, &server).await
    };
    let late = async {
        tokio::select! {
            () = open.closed.notified() => {}
            // What waits is sent nevertheless.
            () = stopped => drop(server.event_streams.close(&id)),
            () = pulse.idle(server.options.times.idle) => drop(server.event_streams.close(&id)),
        }
        sleep(server.options.times.closing).await;
    };
    let mut nowhere = sink();
    let is_over = tokio::select! {
        // It has been closed, and all was sent.
        sent = sends => sent.is_ok(),
        // The client is gone; it sends nothing here.
        _ = copy(&mut reader, &mut nowhere) => false,
        // It has been closed, and what waits is not read.
        () = late => false,
        _ = aborted => false,
    };
    server.event_streams.close(&id);
    if is_over && !queue.closed().is_some_and(|reason| reason.is_too_slow()) {
        // The connection is over either way, and there is nobody left to tell.
        let _ = timeout(server.options.times.closing, linger(stream)).await;
    }
}

/// Writes whole events, many at a time, from the memory that all members' streams share, until no
/// more will come.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    queue: &mut OutboxReader,
    server: &Server,
) -> io::Result<()> {
    loop {
        match timeout(server.options.times.keep_alive, queue.next_batch()).await {
            Ok(Some(batch)) => writer.write_all_buf(&mut batch.into_sse()).await?,
            Ok(None) => return Ok(()),
            Err(_) => writer.write_all(b": keepalive\n\n").await?,
        }
    }
}
