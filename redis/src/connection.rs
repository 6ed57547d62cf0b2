//! One connection to Redis: connecting and every command are bounded by a timeout.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limited_stream::{LimitedStream, Unfinished};
use crate::options::RedisOptions;

/// The address of Redis, and the credentials for it.
pub(crate) struct Connector {
    client: Client,
}

impl Connector {
    /// Parses the URL; does not connect.
    pub(crate) fn new(url: &str) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        Ok(Self { client: Client::open(info)? })
    }

    /// Makes one attempt. `on_push` gets each push message except the one that reports the connection's
    /// end.
    pub(crate) async fn connect(
        &self,
        options: &RedisOptions,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<Connection> {
        let gone = Arc::new(Notify::new());
        let unfinished = Unfinished::default();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender({
                let (gone, unfinished) = (Arc::clone(&gone), unfinished.clone());
                move |push: PushInfo| {
                    unfinished.clear();
                    match push.kind {
                        PushKind::Disconnection => gone.notify_one(),
                        _ => on_push(push),
                    }
                    Ok::<(), ()>(())
                }
            });
        let limit = options.max_payload.saturating_mul(4).saturating_add(64 << 10);
        let connecting = async {
            match self.client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    self.greet(LimitedStream::new(stream, unfinished.clone(), limit), config).await
                }
                #[cfg(unix)]
                ConnectionAddr::Unix(path) => {
                    let stream = tokio::net::UnixStream::connect(path).await?;
                    self.greet(LimitedStream::new(stream, unfinished.clone(), limit), config).await
                }
                // The `redis` crate handles TLS.
                _ => {
                    let redis = self.client.get_multiplexed_async_connection_with_config(&config);
                    Ok((redis.await?, None))
                }
            }
        };
        let (redis, driver) = within(options.timeout, connecting).await?;
        let timeout = options.timeout;
        let mut connection = Connection { redis, _driver: driver, gone, unfinished, timeout };
        // The greeting does not prove that the peer is Redis.
        connection.ping().await?;
        Ok(connection)
    }

    async fn greet(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        config: AsyncConnectionConfig,
    ) -> RedisResult<(MultiplexedConnection, Option<Driver>)> {
        let settings = self.client.get_connection_info().redis_settings();
        let (redis, driver) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok((redis, Some(Driver(tokio::spawn(driver)))))
    }
}

/// Reads and writes one connection, and closes it on drop.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct Connection {
    redis: MultiplexedConnection,
    /// `None` if the `redis` crate drives the connection itself.
    _driver: Option<Driver>,
    gone: Arc<Notify>,
    unfinished: Unfinished,
    timeout: Duration,
}

impl Connection {
    /// Waits until the connection is known to be broken.
    pub(crate) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Sends a pipeline and returns the answers to all of its commands, including the server's errors.
    pub(crate) async fn send(&mut self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        self.unfinished.clear();
        let answers = self.redis.send_packed_commands(commands, 0, commands.len());
        within(self.timeout, answers).await
    }

    /// Checks that Redis still answers.
    pub(crate) async fn ping(&mut self) -> RedisResult<()> {
        let mut ping = Pipeline::with_capacity(1);
        ping.add_command(command("PING", &[]));
        match self.send(&ping).await?.as_slice() {
            [Value::SimpleString(pong)] if pong == "PONG" => Ok(()),
            _ => Err(RedisError::from((ErrorKind::UnexpectedReturnType, "PING was not answered"))),
        }
    }
}

/// A command, in one allocation for its text and one for the positions of its parts.
pub(crate) fn command(name: &str, args: &[&[u8]]) -> Cmd {
    let size = name.len() + args.iter().map(|arg| arg.len()).sum::<usize>();
    let mut command = Cmd::with_capacity(1 + args.len(), size);
    command.arg(name);
    for arg in args {
        command.arg(*arg);
    }
    command
}

/// Whether Redis has answered that it does not want this client, or does not speak RESP3.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported)
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
}

async fn within<T>(limit: Duration, doing: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(limit, doing)
        .await
        .unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "Redis did not answer in time"))))
}
