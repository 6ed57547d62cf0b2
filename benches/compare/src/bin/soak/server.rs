//! The example server as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Server {
    pub(crate) async fn start(binary: &str) -> Self {
        let log = std::env::temp_dir().join(format!("soak-{}.log", std::process::id()));
        let mut process = Command::new(binary)
            .args(["--addr", "127.0.0.1:0"])
            // Its clients flood from one address, so that what lies behind these limits is tested.
            .args(["--message-rate", "0", "--byte-rate", "0", "--connections-per-address", "0"])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the server's binary");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().rsplit("http://").next().expect("an address");
        Self { address: address.parse().expect("an address"), process, log }
    }

    /// The resident memory of the server now.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    /// One of the server's counters.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: soak\r\n\r\n").await?;
            let mut page = String::new();
            stream.read_to_string(&mut page).await?;
            std::io::Result::Ok(page)
        };
        let page = asked.await.unwrap_or_default();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("pondwire_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or(u64::MAX)
    }

    pub(crate) fn has_panicked(&self) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if log.contains("panicked") {
            println!("{log}");
        }
        log.contains("panicked")
    }

    /// Ends the server; returns whether it was still running.
    pub(crate) fn stop(&mut self) -> bool {
        let was_running = matches!(self.process.try_wait(), Ok(None));
        // The server may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        was_running
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
