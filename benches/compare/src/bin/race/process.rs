//! A server in a process of its own, and its cost as the operating system reports it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// The resident memory in bytes before the first connection.
    idle: u64,
}

impl Server {
    /// Starts the process and waits until it prints the address on which it listens.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on http://");
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            // The process is ending or prints no address; either way it is no longer needed.
            let _ = child.kill();
            let status = child.wait()?;
            return Err(io::Error::other(format!("did not start ({status}): {line}")));
        };
        let mut server = Self { child, addr, idle: 0 };
        server.idle = server.memory("VmRSS")?;
        Ok(server)
    }

    /// The user and system time so far.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// The peak memory so far above that of the idle server, in bytes.
    pub(crate) fn peak(&self) -> io::Result<u64> {
        Ok(self.memory("VmHWM")?.saturating_sub(self.idle))
    }

    fn memory(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let value = lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim());
        let kib: Option<u64> = value.and_then(|value| value.strip_suffix(" kB")?.parse().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other(format!("no {name} in {status}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The user and system time of a process, `self` for this one.
pub(crate) fn cpu(process: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The fields after the name, which may contain any character.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs(ticks) / clock_ticks_per_second() as u32)
}
