//! A small Redis pub/sub server that misbehaves on request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// How the server handles commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Serve,
    /// Reads and never answers.
    Hang,
    /// Carries out a command only in the next mode.
    Late,
    /// Does not even read.
    Deaf,
    /// Closes at once.
    Close,
    /// Answers the first command of a connection with this, and no later command.
    Garbage(Vec<u8>),
    /// Answers with an endless line.
    Flood,
}

type Writer = UnboundedSender<Vec<u8>>;

struct State {
    mode: Mode,
    subscribers: HashMap<Vec<u8>, Vec<(u64, Writer)>>,
    connections: HashMap<u64, (JoinHandle<()>, Writer)>,
    next_id: u64,
    /// The names of all commands, with their first argument.
    commands: Vec<(String, Vec<u8>)>,
}

/// Listens on a port of its own until dropped, which closes every connection.
pub struct FakeRedis {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl FakeRedis {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Serve,
            subscribers: HashMap::new(),
            connections: HashMap::new(),
            next_id: 0,
            commands: Vec::new(),
        }));
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    pub fn set(&self, mode: Mode) {
        self.state.lock().mode = mode;
    }

    /// Closes all connections.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.subscribers.clear();
        for (_, (connection, _)) in state.connections.drain() {
            connection.abort();
        }
    }

    /// Sends this to every connection, whatever it expects.
    pub fn say(&self, bytes: &[u8]) {
        for (_, writer) in self.state.lock().connections.values() {
            writer.send(bytes.to_vec()).ok();
        }
    }

    pub fn connections(&self) -> usize {
        let mut state = self.state.lock();
        state.connections.retain(|_, (connection, _)| !connection.is_finished());
        state.connections.len()
    }

    /// The number of times that a command was received with this first argument.
    pub fn count(&self, command: &str, argument: &str) -> usize {
        let state = self.state.lock();
        let wanted = |(name, first): &&(String, Vec<u8>)| {
            name == command && (argument.is_empty() || first == argument.as_bytes())
        };
        state.commands.iter().filter(wanted).count()
    }

    pub fn subscribers(&self, topic: &str) -> usize {
        self.state.lock().subscribers.get(topic.as_bytes()).map_or(0, Vec::len)
    }
}

impl Drop for FakeRedis {
    fn drop(&mut self) {
        self.accepting.abort();
        self.kill();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut locked = state.lock();
        let id = locked.next_id;
        locked.next_id += 1;
        let (writer, mut written) = unbounded_channel::<Vec<u8>>();
        let connection = tokio::spawn({
            let (state, writer) = (Arc::clone(&state), writer.clone());
            async move {
                let (reading, mut writing) = stream.into_split();
                let answering = async {
                    while let Some(bytes) = written.recv().await {
                        if writing.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                };
                tokio::select! {
                    () = answering => {}
                    () = serve(reading, &state, id, &writer) => {}
                }
                for subscribers in state.lock().subscribers.values_mut() {
                    subscribers.retain(|(subscriber, _)| *subscriber != id);
                }
            }
        });
        locked.connections.insert(id, (connection, writer));
    }
}

async fn serve(reading: OwnedReadHalf, state: &Mutex<State>, id: u64, writer: &Writer) {
    let mut reading = BufReader::new(reading);
    loop {
        let mode = state.lock().mode.clone();
        if mode == Mode::Deaf {
            return std::future::pending().await;
        }
        let Ok(command) = command(&mut reading).await else { return };
        while state.lock().mode == Mode::Late {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mode = state.lock().mode.clone();
        match mode {
            Mode::Serve => answer(&command, &mut state.lock(), id, writer),
            Mode::Hang | Mode::Late | Mode::Deaf => {}
            Mode::Close => return,
            Mode::Garbage(bytes) => {
                writer.send(bytes).ok();
                return std::future::pending().await;
            }
            Mode::Flood => {
                writer.send(b"+".to_vec()).ok();
                while writer.send(vec![b'x'; 16 << 10]).is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return;
            }
        }
    }
}

fn answer(command: &[Vec<u8>], state: &mut State, id: u64, writer: &Writer) {
    let name = String::from_utf8_lossy(&command[0]).to_uppercase();
    let argument = command.get(1).cloned().unwrap_or_default();
    state.commands.push((name.clone(), argument.clone()));
    let forbidden = argument.starts_with(b"secret");
    let reply = match name.as_str() {
        "HELLO" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
        "CLIENT" => b"+OK\r\n".to_vec(),
        "PING" => b"+PONG\r\n".to_vec(),
        "SUBSCRIBE" | "PUBLISH" if forbidden => b"-NOPERM no access to the channel\r\n".to_vec(),
        "SUBSCRIBE" => {
            assert_eq!(command.len(), 2, "a topic a command");
            let subscribers = state.subscribers.entry(argument.clone()).or_default();
            if !subscribers.iter().any(|(subscriber, _)| *subscriber == id) {
                subscribers.push((id, writer.clone()));
            }
            push(&[b"subscribe", &argument], true)
        }
        "UNSUBSCRIBE" => {
            let subscribers = state.subscribers.entry(argument.clone()).or_default();
            subscribers.retain(|(subscriber, _)| *subscriber != id);
            push(&[b"unsubscribe", &argument], true)
        }
        "PUBLISH" => {
            let message = push(&[b"message", &argument, &command[2]], false);
            let subscribers = state.subscribers.get(&argument).map_or(&[][..], Vec::as_slice);
            for (_, subscriber) in subscribers {
                subscriber.send(message.clone()).ok();
            }
            format!(":{}\r\n", subscribers.len()).into_bytes()
        }
        _ => b"-ERR unknown command\r\n".to_vec(),
    };
    writer.send(reply).ok();
}

/// A push message of strings and, if `counted`, a count.
pub fn push(strings: &[&[u8]], counted: bool) -> Vec<u8> {
    let mut bytes = format!(">{}\r\n", strings.len() + usize::from(counted)).into_bytes();
    for string in strings {
        bytes.extend(format!("${}\r\n", string.len()).into_bytes());
        bytes.extend_from_slice(string);
        bytes.extend_from_slice(b"\r\n");
    }
    if counted {
        bytes.extend_from_slice(b":1\r\n");
    }
    bytes
}

async fn command(reading: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<Vec<u8>>> {
    let count = number(reading, b'*').await?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let mut part = vec![0; number(reading, b'$').await? + 2];
        reading.read_exact(&mut part).await?;
        part.truncate(part.len() - 2);
        parts.push(part);
    }
    Ok(parts)
}

async fn number(reading: &mut BufReader<OwnedReadHalf>, kind: u8) -> io::Result<usize> {
    let mut line = Vec::new();
    reading.read_until(b'\n', &mut line).await?;
    let text = line.strip_prefix(&[kind]).and_then(|line| std::str::from_utf8(line).ok());
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether a server listens at this address.
pub async fn listens(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).await.is_ok()
}
