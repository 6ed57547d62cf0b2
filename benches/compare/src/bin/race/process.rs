//! A server in a process of its own, and what the system says it costs.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Resident memory in bytes before anybody connected.
    idle: u64,
}

impl Server {
    /// Starts it and waits until it tells where it listens.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on http://");
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            // It is ending or does not speak to us; either way it is not wanted any more.
            let _ = child.kill();
            let status = child.wait()?;
            return Err(io::Error::other(format!("did not start ({status}): {line}")));
        };
        let mut server = Self { child, addr, idle: 0 };
        server.idle = server.memory("VmRSS")?;
        Ok(server)
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// What the most memory so far was above that of the idle server, in bytes.
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

/// User and system time of a process, `self` for this one.
pub(crate) fn cpu(process: &str) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may have anything in it.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs(ticks) / clock_ticks_per_second() as u32)
}
