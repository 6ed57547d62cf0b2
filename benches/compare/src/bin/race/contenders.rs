//! The servers of the race, and how each is started.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::connection::Protocol;

/// The folder of this workspace.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The servers in the order of the tables.
pub(crate) const NAMES: [&str; 11] = [
    FLOOR,
    "floor-io_uring",
    "pondwire",
    NO_RING,
    RIVAL,
    "axum",
    "axum-batched",
    "tokio-websockets",
    "fastwebsockets",
    "ws",
    "uws",
];

/// The example server without io_uring.
const NO_RING: &str = "pondwire-no-io_uring";

/// A second build of the example server, to measure the effect of a change.
pub(crate) const OTHER: &str = "other";

/// The arguments by which the example server takes any free port, and as much as a client sends: the other
/// contenders have no limits either.
const LISTEN: [&str; 8] = [
    "--addr",
    "127.0.0.1:0",
    "--message-rate",
    "0",
    "--byte-rate",
    "0",
    "--connections-per-address",
    "0",
];

/// The server that the others are compared with.
pub(crate) const FLOOR: &str = "floor";
pub(crate) const RIVAL: &str = "pondsocket-axum";

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Contender {
    /// Finds the server, or builds it if it is one of this repository.
    ///
    /// # Errors
    /// The reason why the server is not installed.
    pub(crate) fn find(name: &'static str) -> io::Result<Self> {
        let protocol = match name {
            "pondwire" | NO_RING | RIVAL => Protocol::PondSocket,
            _ => Protocol::Plain,
        };
        let peers = Path::new(HERE).join("peers");
        let argument = |path: &Path| path.to_string_lossy().into_owned();
        let (program, arguments) = match name {
            "pondwire" | NO_RING => {
                let mut arguments = LISTEN.to_vec();
                if name == NO_RING {
                    arguments.push("--no-io-uring");
                }
                (example()?, arguments.into_iter().map(str::to_owned).collect())
            }
            "ws" => {
                let program = PathBuf::from("node");
                try_out(&program, &["--version"], &peers)?;
                if !peers.join("node_modules/ws").is_dir() {
                    return Err(io::Error::other("not installed: run peers/install.sh"));
                }
                (program, vec![argument(&peers.join("ws.mjs"))])
            }
            "uws" => {
                let program = peers.join(".venv/bin/python");
                try_out(&program, &["-c", "import socketify"], &peers)?;
                (program, vec![argument(&peers.join("uws.py"))])
            }
            ours => (env::current_exe()?, vec!["--serve".to_owned(), ours.to_owned()]),
        };
        Ok(Self { name, protocol, program, arguments })
    }

    /// The second build of the example server, given as a program.
    pub(crate) fn other(program: &str) -> Self {
        Self {
            name: OTHER,
            protocol: Protocol::PondSocket,
            program: program.into(),
            arguments: LISTEN.map(str::to_owned).to_vec(),
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

fn try_out(program: &Path, arguments: &[&str], folder: &Path) -> io::Result<()> {
    let mut command = Command::new(program);
    let tried = command.args(arguments).current_dir(folder).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let arguments = arguments.join(" ");
    let program = program.display();
    Err(io::Error::other(format!("`{program} {arguments}` fails: run peers/install.sh")))
}

/// The crate's example server, which is built if necessary.
fn example() -> io::Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(HERE).join("../../Cargo.toml");
    let built = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--example",
            "server",
            "--message-format",
            "json-render-diagnostics",
        ])
        .arg("--manifest-path")
        .arg(manifest)
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&built.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = artifacts.filter_map(|artifact: serde_json::Value| {
        let is_ours = artifact["target"]["kind"][0] == "example";
        artifact["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
    });
    programs.next().ok_or_else(|| io::Error::other("the example server does not build"))
}
