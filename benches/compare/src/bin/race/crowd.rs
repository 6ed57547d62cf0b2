//! All clients of one server, driven by one thread, which must not be the bottleneck of the race.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::net::sockopt::set_tcp_quickack;

use crate::connection::{Connection, Protocol};
use crate::message::Message;
use crate::poll::Poll;

/// The most connections that are being opened at a time: a server's accept queue is short.
const OPENING: usize = 128;

/// The time without any event after which the race gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest burst.
pub(crate) const MOST_IN_FLIGHT: usize = 64;

pub(crate) struct Crowd {
    poll: Poll,
    clients: Vec<Connection>,
    /// For each client, the messages of the burst that it has got, one bit for each.
    got: Vec<u64>,
    /// The number of messages that arrived before one that was sent earlier.
    pub(crate) out_of_order: u64,
    /// The place at which the payload began in the last message.
    payload_at: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Connects and joins `clients` clients.
    pub(crate) fn gather(addr: SocketAddr, protocol: Protocol, clients: usize) -> io::Result<Self> {
        let mut crowd = Self {
            poll: Poll::new()?,
            clients: Vec::with_capacity(clients),
            got: vec![0; clients],
            out_of_order: 0,
            payload_at: 0,
            buffer: vec![0; 256 << 10],
        };
        let mut joined = 0;
        while joined < clients {
            while crowd.clients.len() < clients.min(joined + OPENING) {
                let client = Connection::open(addr, protocol)?;
                crowd.poll.add(&client.stream, crowd.clients.len() as u64)?;
                crowd.clients.push(client);
            }
            let mut ready = crowd.poll.wait(Some(PATIENCE))?.peekable();
            if ready.peek().is_none() {
                return Err(io::Error::other(format!("{joined} of {clients} joined, then none")));
            }
            for (token, _) in ready {
                let client = &mut crowd.clients[token as usize];
                let was_joined = client.is_joined();
                client.read(&mut crowd.buffer, |message| {
                    let message = String::from_utf8_lossy(message);
                    Err(io::Error::other(format!("before anything was said: {message}")))
                })?;
                joined += usize::from(client.is_joined() && !was_joined);
            }
        }
        // A socket that has sent something after it received something, as a join does, delays its acknowledgements,
        // for which the kernel sets a timer at the server's expense; one that has only listened does not. All
        // servers are to have the same clients.
        for client in &crowd.clients {
            set_tcp_quickack(&client.stream, true)?;
        }
        Ok(crowd)
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// The first client sends all `messages` at once, at most [`MOST_IN_FLIGHT`]. Returns when every
    /// client has got each of them once and whole, with the time for each until the last client had
    /// got it.
    ///
    /// # Errors
    /// A client receives anything else, or nothing for too long.
    pub(crate) fn burst(&mut self, messages: &[Message]) -> io::Result<Vec<Duration>> {
        let wire: Vec<u8> = messages.iter().flat_map(|message| &message.wire).copied().collect();
        let mut unsent = &wire[..];
        let mut took = Vec::with_capacity(messages.len());
        let mut have = vec![0; messages.len()];
        let all = self.clients.len();
        self.got.fill(0);
        let start = Instant::now();
        while took.len() < messages.len() {
            let mut patience = PATIENCE;
            if !unsent.is_empty() {
                match self.clients[0].stream.write(unsent) {
                    Ok(written) => unsent = &unsent[written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                if !unsent.is_empty() {
                    patience = Duration::from_millis(1);
                }
            }
            let mut ready = self.poll.wait(Some(patience))?.peekable();
            if ready.peek().is_none() && unsent.is_empty() {
                let have = have.iter().find(|&&have| have < all).unwrap_or(&0);
                return Err(io::Error::other(format!("{have} of {all} got a message, then none")));
            }
            for (token, _) in ready {
                let (got, likely) = (&mut self.got[token as usize], &mut self.payload_at);
                let out_of_order = &mut self.out_of_order;
                self.clients[token as usize].read(&mut self.buffer, |message| {
                    let due = got.trailing_ones() as usize;
                    let mut missing = (due..messages.len()).filter(|n| *got & (1 << n) == 0);
                    let found = missing.find_map(|n| {
                        find(message, &messages[n].payload, *likely).map(|at| (n, at))
                    });
                    let Some((n, at)) = found else { return Err(unexpected(message, due)) };
                    *likely = at;
                    *out_of_order += u64::from(n != due);
                    *got |= 1 << n;
                    have[n] += 1;
                    if have[n] == all {
                        took.push(start.elapsed());
                    }
                    Ok(())
                })?;
            }
        }
        Ok(took)
    }
}

/// The place of the payload in the message, most likely the same as in the message before.
fn find(message: &[u8], payload: &[u8], likely: usize) -> Option<usize> {
    let is_there = message.get(likely..likely + payload.len()) == Some(payload);
    if is_there { Some(likely) } else { memmem::find(message, payload) }
}

fn unexpected(message: &[u8], due: usize) -> io::Error {
    let start = String::from_utf8_lossy(&message[..message.len().min(240)]);
    io::Error::other(format!("a client whose message {due} of a burst is due got {start}"))
}
