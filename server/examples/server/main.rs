//! A PondSocket server as a program: `cargo run --release --example server`, or with `-- --addr
//! 127.0.0.1:0` for a free port; the address is printed once it listens. `-- --help` shows the options:
//! access, connection and rate limits, slow clients and timeouts. A demo page is at `/`; the documentation of
//! the module `demo` has the channels and the events.

mod arguments;
mod demo;

use std::io::{self, Write};
use std::process::ExitCode;
use std::{panic, thread};

use pondwire_server::{Options, Server, log, stop_signal};
use tokio::net::TcpListener;

const PAGE: &str = include_str!("page.html");

#[tokio::main]
async fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        log::line(info);
        if thread::current().name() == Some("main") {
            log::flush();
        }
    }));
    let options = match arguments::parse(std::env::args_os()) {
        Ok(options) => Options { page: Some(PAGE), ..options },
        Err(error) => error.exit(),
    };
    let addr = options.addr.clone();
    let server = match demo::demo().start(options) {
        Ok(server) => server,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}\n`--help` shows the options");
            return ExitCode::from(2);
        }
    };
    match run(server, &addr).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(format_args!("{addr}: {error}"));
            log::flush();
            ExitCode::FAILURE
        }
    }
}

async fn run(server: Server, addr: &str) -> io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    // Installed before the line is printed: a parent process may send a signal once it has read it.
    let stop = stop_signal()?;
    let addr = listener.local_addr()?;
    // On a separate thread, so that the server serves even if the line is never read.
    thread::spawn(move || {
        let mut stdout = io::stdout();
        let _ = writeln!(stdout, "listening on http://{addr}").and_then(|()| stdout.flush());
    });
    server.serve(listener, stop).await;
    log::flush();
    Ok(())
}
