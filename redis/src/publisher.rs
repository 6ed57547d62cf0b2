//! The task that publishes: batch by batch, each answered before the next.

use redis::{Pipeline, Value};
use tokio::time::sleep;

use crate::connection::{Connection, command};
use crate::event::BusMessage;
use crate::outgoing::Batch;
use crate::shared::{Reconnector, Shared};
use crate::stats::Counters;

/// Publishes until the queue is closed and empty.
pub(crate) async fn run(shared: &Shared) {
    let mut reconnector = Reconnector::new(shared, &shared.counters.publisher_connected);
    let mut reported = 0;
    loop {
        let connection = reconnector.connect(|| |_| {}).await;
        reconnector.set_connected(true);
        let ended = publish(shared, connection, &mut reported).await;
        reconnector.set_connected(false);
        if ended {
            return;
        }
    }
}

/// Publishes over one connection until it breaks, or until the queue is closed and empty; returns `true` in
/// the latter case. Losses beyond those already `reported` become an event for the receiver here, because
/// the state that it then publishes again can now be sent.
async fn publish(shared: &Shared, mut connection: Connection, reported: &mut u64) -> bool {
    let mut batch = Vec::new();
    loop {
        let lost = shared.counters.unpublished();
        if lost > *reported {
            shared.inbox.unpublished(lost - *reported);
            *reported = lost;
        }
        match shared.outgoing.take(&mut batch, &shared.counters) {
            Batch::End => return true,
            Batch::Messages => {
                if let Err(error) = send(&mut connection, &mut batch, &shared.counters).await {
                    shared.note(&error);
                    return false;
                }
            }
            Batch::Nothing => {
                tokio::select! {
                    () = shared.outgoing.ready.notified() => {}
                    () = connection.gone() => return false,
                    () = sleep(shared.options.ping_interval) => {
                        if let Err(error) = connection.ping().await {
                            shared.note(&error);
                            return false;
                        }
                    }
                }
            }
        }
    }
}

async fn send(
    connection: &mut Connection,
    batch: &mut Vec<BusMessage>,
    counters: &Counters,
) -> redis::RedisResult<()> {
    let mut commands = Pipeline::with_capacity(batch.len());
    for message in &*batch {
        commands.add_command(command("PUBLISH", &[message.topic.as_bytes(), &message.payload]));
    }
    batch.clear();
    let unconfirmed = Unconfirmed { count: commands.len() as u64, counters };
    let answers = connection.send(&commands).await?;
    let count = |is: fn(&Value) -> bool| answers.iter().filter(|answer| is(answer)).count() as u64;
    let refused = count(|answer| matches!(answer, Value::ServerError(_)));
    counters.refused.add(refused);
    counters.unheard.add(count(|answer| *answer == Value::Int(0)));
    counters.published.add(unconfirmed.answered() - refused);
    Ok(())
}

/// Messages that Redis has not answered. They are counted as unconfirmed on drop, however the task ends.
struct Unconfirmed<'a> {
    count: u64,
    counters: &'a Counters,
}

impl Unconfirmed<'_> {
    fn answered(mut self) -> u64 {
        std::mem::take(&mut self.count)
    }
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        self.counters.unconfirmed.add(self.count);
    }
}
