//! `examples/server` in this process, on a port of its own.

#![allow(dead_code, reason = "each test uses a part")]

use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

#[path = "../../examples/server/main.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod server;

#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use server::{
    Options, access, allowance,
    node::Node,
    options::{NodeOptions, Times, help},
    serve, stop_signal, writers,
};

/// The example, serving until it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_as(Options::default())
    }

    pub(crate) fn start_with(times: Times) -> Self {
        Self::start_as(Options { times, ..Options::default() })
    }

    pub(crate) fn start_as(options: Options) -> Self {
        Self::start_in(tokio::runtime::Builder::new_multi_thread(), options)
    }

    /// Serving with so many workers.
    pub(crate) fn start_on(workers: usize, options: Options) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(workers);
        Self::start_in(runtime, options)
    }

    fn start_in(mut runtime: tokio::runtime::Builder, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let node = options.node.as_ref().map(|node| Node::start(node).expect("a node"));
                serve(listener, options, node, async { drop(stopped.await) }).await;
            });
        });
        Self { addr, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells it to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for its end.
    pub(crate) fn join(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends well");
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
