//! The floor: the least work for a server in one thread. It uses epoll, one read for the received
//! messages and one write for each client, alone or with others through io_uring; it looks into no message and
//! checks nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::frame;
use crate::poll::{Interest, Poll};

use super::ring::Ring;

const LISTENER: u64 = u64::MAX;

/// The response to the key that all clients of the race send, the example of RFC 6455.
pub(super) const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzhZRbK+xOo=\r\n\r\n";

struct Client {
    stream: TcpStream,
    is_open: bool,
    /// Part of a request or of a frame.
    received: Vec<u8>,
    /// The bytes that the socket did not take.
    unsent: Vec<u8>,
}

/// Serves until an error; with a ring, that sends to all clients.
pub(super) fn run(mut ring: Option<Ring>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    super::announce(listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    // The received messages, as the frames that go to every client.
    let mut said = Vec::new();
    loop {
        for (token, writable) in poll.wait(None)? {
            if token == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let place = &mut clients[token as usize];
            let Some(client) = place else { continue };
            let lives = (!writable || flush(client, &poll, token).is_ok())
                && receive(client, &mut buffer, &mut said).is_ok();
            if !lives {
                *place = None;
            }
            if !said.is_empty() {
                tell(&mut clients, &poll, &said, ring.as_mut())?;
                said.clear();
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poll.add(&stream, clients.len() as u64)?;
        let (received, unsent) = (Vec::new(), Vec::new());
        clients.push(Some(Client { stream, is_open: false, received, unsent }));
    }
}

/// Appends the client's messages to `said`, as frames.
fn receive(client: &mut Client, buffer: &mut [u8], said: &mut Vec<u8>) -> io::Result<()> {
    let len = match client.stream.read(buffer) {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    client.received.extend_from_slice(&buffer[..len]);
    if !client.is_open {
        if !client.received.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        client.received.clear();
        client.is_open = true;
        return client.stream.write_all(ACCEPTED);
    }
    let mut read = 0;
    while let Some((head, len)) = frame::client_frame(&client.received[read..]) {
        let (start, end) = (read + head, read + head + len);
        let mask: [u8; 4] = client.received[start - 4..start].try_into().expect("four bytes");
        frame::text_head(said, len);
        said.extend(
            client.received[start..end].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m),
        );
        read = end;
    }
    client.received.drain(..read);
    if client.received.is_empty() {
        // A silent client holds no memory.
        client.received = Vec::new();
    }
    Ok(())
}

fn tell(
    clients: &mut [Option<Client>],
    poll: &Poll,
    said: &[u8],
    ring: Option<&mut Ring>,
) -> io::Result<()> {
    let took = |place: &mut Option<Client>, token: usize, written: io::Result<usize>| {
        let Some(client) = place else { return };
        let written = match written {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                *place = None;
                return;
            }
        };
        if written < said.len() {
            client.unsent.extend_from_slice(&said[written..]);
            drop(poll.want(&client.stream, token as u64, Interest::Both));
        }
    };
    let mut current = Vec::new();
    for (token, place) in clients.iter_mut().enumerate() {
        let Some(client) = place.as_mut().filter(|client| client.is_open) else { continue };
        if !client.unsent.is_empty() {
            took(place, token, Ok(0));
        } else if ring.is_some() {
            current.push(token);
        } else {
            let written = client.stream.write(said);
            took(place, token, written);
        }
    }
    let Some(ring) = ring else { return Ok(()) };
    let sockets: Vec<_> =
        current.iter().filter_map(|&token| Some(&clients[token].as_ref()?.stream)).collect();
    let mut sent = Vec::with_capacity(sockets.len());
    ring.send(&sockets, said, |place, written| sent.push((current[place], written)))?;
    for (token, written) in sent {
        took(&mut clients[token], token, written);
    }
    Ok(())
}

fn flush(client: &mut Client, poll: &Poll, token: u64) -> io::Result<()> {
    match client.stream.write(&client.unsent) {
        Ok(written) => drop(client.unsent.drain(..written)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    if client.unsent.is_empty() {
        client.unsent = Vec::new();
        poll.want(&client.stream, token, Interest::Read)?;
    }
    Ok(())
}
