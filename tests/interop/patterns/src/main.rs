//! The programs of `src/docs/patterns.md` as a server, for the clients of other languages.
//!
//! `build.rs` extracts them from the page unchanged. Their items are private, as on the page, so each is
//! a module inside the previous one, and `front`, which uses all, is the innermost.

mod connection;

use connection::chat_room::presence::by_recipient::front;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [option, address] if option == "--addr" => address.clone(),
        _ => return Err(std::io::Error::other("usage: --addr HOST:PORT")),
    };
    front::listen(&address).await
}
