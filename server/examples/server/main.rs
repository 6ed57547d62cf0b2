//! A PondSocket server as a program: `cargo run --release --example server`, or with `-- --addr
//! 127.0.0.1:0` for a free port; the address is printed once it listens. `-- --help` shows the options:
//! access, connection and rate limits, slow clients and timeouts. A demo page is at `/`; the documentation of
//! the module `demo` has the channels and the events.
//!
//! For HTTPS: `cargo run --release --features tls --example server -- --tls-cert FILE --tls-key FILE`. The feature is
//! not on by default, because rustls would make the first build longer.

mod arguments;
mod demo;
/// The example of TLS, for its configuration.
#[cfg(feature = "tls")]
#[path = "../tls.rs"]
#[allow(dead_code, reason = "its application")]
mod tls;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{panic, thread};

use pondwire_server::{Options, Server, log, stop_signal};
use tokio::net::TcpListener;

use crate::arguments::Parsed;

const PAGE: &str = include_str!("page.html");

#[tokio::main]
async fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        log::line(info);
        if thread::current().name() == Some("main") {
            log::flush();
        }
    }));
    let Parsed { options, tls, public } = match arguments::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    #[cfg(not(feature = "redis"))]
    if options.node.is_some() {
        let _ = writeln!(
            io::stderr(),
            "--redis: this program was built without the feature `redis`: \
             cargo run --release --features redis --example server -- --redis …"
        );
        return ExitCode::from(2);
    }
    let options = Options { page: Some(PAGE), ..options };
    let addr = options.addr.clone();
    let pond = if public { demo::public() } else { demo::demo() };
    let server = match pond.start(options) {
        Ok(server) => server,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}\n`--help` shows the options");
            return ExitCode::from(2);
        }
    };
    match run(server, &addr, tls).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(format_args!("{addr}: {error}"));
            log::flush();
            ExitCode::FAILURE
        }
    }
}

async fn run(
    server: Server,
    addr: &str,
    tls: Option<(PathBuf, PathBuf)>,
) -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "tls")]
    let tls = tls.map(|(certificates, key)| tls::config(certificates, key)).transpose()?;
    #[cfg(not(feature = "tls"))]
    if tls.is_some() {
        return Err("--tls-cert: this program was built without the feature `tls`".into());
    }
    let listener = TcpListener::bind(addr).await?;
    // Installed before the line is printed: a parent process may send a signal once it has read it.
    let stop = stop_signal()?;
    let addr = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    // On a separate thread, so that the server serves even if the line is never read.
    thread::spawn(move || {
        let mut stdout = io::stdout();
        let _ = writeln!(stdout, "listening on {scheme}://{addr}").and_then(|()| stdout.flush());
    });
    match tls {
        #[cfg(feature = "tls")]
        Some(config) => server.serve_tls(listener, config, stop).await,
        _ => server.serve(listener, stop).await,
    }
    log::flush();
    Ok(())
}
