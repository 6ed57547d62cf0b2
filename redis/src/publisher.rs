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
    let mut told = 0;
    loop {
        let connection = reconnector.connect(|| |_| {}).await;
        reconnector.set_connected(true);
        let ended = publish(shared, connection, &mut told).await;
        reconnector.set_connected(false);
        if ended {
            return;
        }
    }
}

/// Over one connection, until it breaks or, which is `true`, there is nothing more to come. The
/// receiver is told of losses beyond those it was `told` of: what it says then can be published.
async fn publish(shared: &Shared, mut connection: Connection, told: &mut u64) -> bool {
    let mut batch = Vec::new();
    loop {
        let lost = shared.counters.unpublished();
        if lost > *told {
            shared.inbox.unpublished(lost - *told);
            *told = lost;
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

/// Messages that Redis has not answered: counted as such when the task ends here, however it does.
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
