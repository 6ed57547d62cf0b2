//! Hostile clients: each attacks the server in one of ten ways.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::socket::{HANDSHAKE, Socket, message};
use crate::{Tally, add, random};

pub(crate) async fn run(address: SocketAddr, number: u64, tally: &'static Tally) {
    for way in number.. {
        if tally.is_over() {
            return;
        }
        // The attack usually ends in an error, as it should.
        let _ = timeout(Duration::from_secs(30), attack(address, way % 10)).await;
        add(&tally.attacks, 1);
        sleep(Duration::from_millis(random(500))).await;
    }
}

async fn attack(address: SocketAddr, way: u64) -> io::Result<()> {
    let mut raw = TcpStream::connect(address).await?;
    match way {
        // Bytes that are not HTTP.
        0 => {
            let garbage: Vec<u8> = (0..4096).map(|_| random(256) as u8).collect();
            raw.write_all(&garbage).await?;
        }
        // A handshake, one byte at a time.
        1 => {
            for byte in HANDSHAKE.bytes().take(25) {
                raw.write_all(&[byte]).await?;
                sleep(Duration::from_secs(1)).await;
            }
        }
        // Nothing at all.
        2 => sleep(Duration::from_secs(25)).await,
        // A head without an end.
        3 => {
            raw.write_all(b"GET /api/socket HTTP/1.1\r\n").await?;
            for _ in 0..10_000 {
                raw.write_all(b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n")
                    .await?;
            }
        }
        // A body that is announced and never comes.
        4 => {
            raw.write_all(b"POST /api/socket HTTP/1.1\r\ncontent-length: 1048576\r\n\r\n{").await?;
            sleep(Duration::from_secs(25)).await;
        }
        way => return in_a_socket(Socket::open(address).await?, way).await,
    }
    let mut answer = [0; 512];
    while raw.read(&mut answer).await? > 0 {}
    Ok(())
}

async fn in_a_socket(mut socket: Socket, way: u64) -> io::Result<()> {
    match way {
        // Invalid messages.
        5 => {
            for _ in 0..100 {
                socket.text("{\"action\":").await?;
            }
        }
        // A frame without a mask.
        6 => socket.raw(b"\x81\x02{}").await?,
        // A message of more bytes than there are.
        7 => socket.raw(b"\x81\xFF\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0").await?,
        // Brackets only.
        8 => {
            let deep = "[".repeat(500_000);
            socket.text(&message("BROADCAST", 0, "say", &deep)).await?;
        }
        // Fragments that never end.
        _ => {
            socket.send(0x01, &[b' '; 60_000]).await?;
            for _ in 0..40 {
                socket.send(0x00, &[b' '; 60_000]).await?;
            }
        }
    }
    while let Ok(crate::socket::Frame::Text(_)) = socket.receive().await {}
    Ok(())
}
