//! A server in this process, on its own port.

#![allow(dead_code, reason = "`tests/fairness.rs` uses a part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::ChildStdout;
use std::thread::{self, JoinHandle};

use pondwire_server::{Options, PondServer, Times};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// The application of the example program.
#[path = "../../examples/server/demo/mod.rs"]
pub(crate) mod demo;

/// The demo page of the example program.
const PAGE: &str = include_str!("../../examples/server/page.html");

/// Completes when the server is asked to stop.
type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that serves until it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) server: pondwire_server::Server,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the server in a process of its own listens, which [serves its parent](Server::serve_parent). It can write
/// nothing once the rest of what it writes is dropped.
pub(crate) fn listening(stdout: ChildStdout) -> (SocketAddr, impl Iterator) {
    let mut lines = BufReader::new(stdout).lines();
    let addr = lines
        .find_map(|line| Some(line.unwrap().strip_prefix("listening on ")?.parse().unwrap()))
        .expect("the address");
    (addr, lines)
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(Options::default())
    }

    pub(crate) fn start_as(options: Options) -> Self {
        Self::start_in(Builder::new_multi_thread(), options)
    }

    pub(crate) fn start_with(times: Times) -> Self {
        Self::start_as(Options { times, ..Options::default() })
    }

    /// Tells the parent process where it [listens](listening), and serves until its standard input ends.
    pub(crate) fn serve_parent(self) {
        // Not `println!`, which tests capture.
        let line = format!("\nlistening on {}\n", self.addr);
        io::stdout().write_all(line.as_bytes()).unwrap();
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    /// Starts a server on `workers` workers.
    pub(crate) fn start_on(workers: usize, options: Options) -> Self {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(workers);
        Self::start_in(runtime, options)
    }

    /// Starts another application than the example's.
    pub(crate) fn start_app(pond: PondServer, options: Options) -> Self {
        Self::start_listening(Builder::new_multi_thread(), pond, options).0
    }

    fn start_in(runtime: Builder, options: Options) -> Self {
        Self::start_listening(runtime, demo::demo(), options).0
    }

    /// Also returns the listening socket.
    pub(crate) fn start_listening(
        runtime: Builder,
        pond: PondServer,
        options: Options,
    ) -> (Self, TcpListener) {
        Self::start_serving(runtime, pond, options, async |server, listener, stopped| {
            server.serve(listener, stopped).await;
        })
    }

    /// Starts an application over TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn start_tls(
        pond: PondServer,
        options: Options,
        config: std::sync::Arc<pondwire_server::rustls::ServerConfig>,
    ) -> Self {
        let serve = async |server: pondwire_server::Server, listener, stopped| {
            server.serve_tls(listener, config, stopped).await;
        };
        Self::start_serving(Builder::new_multi_thread(), pond, options, serve).0
    }

    fn start_serving(
        mut runtime: Builder,
        pond: PondServer,
        options: Options,
        serve: impl AsyncFnOnce(pondwire_server::Server, tokio::net::TcpListener, Stopped)
        + Send
        + 'static,
    ) -> (Self, TcpListener) {
        let options = Options { page: options.page.or(Some(PAGE)), ..options };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let listening = listener.try_clone().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, server) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = pond.start(options).expect("valid options");
                started.send(server.clone()).expect("the test waits");
                serve(server, listener, Box::pin(async { drop(stopped.await) })).await;
            });
        });
        let server = server.recv().expect("a server that starts");
        (Self { addr, server, stop: Some(stop), thread: Some(thread) }, listening)
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn join(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends without a panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // A second panic would hide the first.
            let _ = thread.join();
        }
    }
}
