//! The task that subscribes to the wanted topics, and puts the messages that arrive into the inbox.

use std::sync::Arc;

use redis::{Pipeline, PushInfo, PushKind, RedisResult, Value};
use tokio::time::sleep;

use crate::connection::{Connection, command};
use crate::inbox::Epoch;
use crate::shared::{Reconnector, Shared};
use crate::topics::Change;

/// The most changes of topics in one write.
const CHANGES: usize = 256;

/// Runs until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut reconnector = Reconnector::new(&shared, &shared.counters.subscriber_connected);
    let mut worked_before = false;
    loop {
        let connection = reconnector.connect(|| on_push(&shared, shared.inbox.begin())).await;
        let worked = serve(&shared, &reconnector, connection, worked_before).await;
        reconnector.set_connected(false);
        worked_before |= worked;
        shared.inbox.lost(worked, worked_before);
    }
}

/// Serves one connection until it breaks; `false` if it never worked. `again` is `true` if an earlier one
/// worked.
async fn serve(
    shared: &Shared,
    reconnector: &Reconnector<'_>,
    mut connection: Connection,
    again: bool,
) -> bool {
    if let Err(error) = follow(shared, &mut connection).await {
        shared.note(&error);
        return false;
    }
    reconnector.set_connected(true);
    if again {
        shared.inbox.recovered();
    }
    loop {
        let done = tokio::select! {
            () = connection.gone() => return true,
            () = shared.inbox.changed.notified() => follow(shared, &mut connection).await,
            () = sleep(shared.options.ping_interval) => connection.ping().await,
        };
        if let Err(error) = done {
            shared.note(&error);
            return true;
        }
    }
}

/// Sends Redis all pending changes.
async fn follow(shared: &Shared, connection: &mut Connection) -> RedisResult<()> {
    loop {
        let changes = shared.inbox.take_changes(CHANGES);
        if changes.is_empty() {
            return Ok(());
        }
        // One topic per command: Redis then answers each command once, which keeps commands and answers in
        // step.
        let mut commands = Pipeline::with_capacity(changes.len());
        for change in &changes {
            let (name, topic) = match change {
                Change::Subscribe(topic) => ("SUBSCRIBE", topic),
                Change::Unsubscribe(topic) => ("UNSUBSCRIBE", topic),
            };
            commands.add_command(command(name, &[topic.as_bytes()]));
        }
        for answer in connection.send(&commands).await? {
            // This Redis user may not read the topic: closing the connection would not help.
            if let Value::ServerError(error) = answer {
                shared.note(&error);
            }
        }
    }
}

/// Returns the handler that puts the pushes of this epoch's connection into the inbox. Never waits.
fn on_push(shared: &Arc<Shared>, epoch: Epoch) -> impl Fn(PushInfo) + Send + Sync + use<> {
    let shared = Arc::clone(shared);
    move |push: PushInfo| {
        let mut strings = push.data.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        });
        match (push.kind, strings.next().flatten(), strings.next().flatten()) {
            (PushKind::Message, Some(topic), Some(payload)) => {
                shared.inbox.message(epoch, &topic, payload, &shared.counters);
            }
            (PushKind::Subscribe, Some(topic), _) => shared.inbox.confirmed(epoch, &topic),
            _ => {}
        }
    }
}
