//! The race: clients join one channel of a server, one of them sends messages, and all must receive
//! them, whole and in order.
//!
//! ```text
//! cargo run --release --bin race -- [--all] [--clients N,…] [--bytes B,…] [--in-flight K,…]
//!     [--servers NAME,…] [--other FILE] [--passes N] [--seconds S] [--stuck N] [--idle N]
//!     [--markdown-out FILE]
//! ```
//!
//! A server is a process of its own, started for each turn, so that its time and memory can be
//! measured alone; the clients are one thread of this process. In every pass all servers take their
//! turn, so that a machine that speeds up or slows down does so for all; a figure is the median of
//! the passes.
//!
//! | file | content |
//! |---|---|
//! | `contenders`, `process` | the servers; a running one, and its cost |
//! | `crowd`, `connection` | all clients of a server; one of them |
//! | `message`, `frame`, `poll` | the messages; WebSocket frames; epoll |
//! | `turn`, `table` | a server's turn; the tables of results |
//! | `serve` | the servers that this binary can be |

mod connection;
mod contenders;
mod crowd;
mod frame;
#[path = "../../machine.rs"]
mod machine;
mod message;
mod options;
mod poll;
mod process;
mod serve;
mod table;
mod turn;

use std::process::ExitCode;
use std::{env, fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use contenders::{Contender, NAMES};
use options::{Options, USAGE};
use turn::{Case, Outcome};

const CRATES: [&str; 8] = [
    "pondwire",
    "pondsocket-axum",
    "axum",
    "tungstenite",
    "tokio-websockets",
    "fastwebsockets",
    "tokio",
    "rustix",
];

/// File descriptors in addition to those of the connections.
const SPARE: u64 = 64;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if let (Some("--serve"), Some(name)) = (arguments.next().as_deref(), arguments.next())
        && let Some(served) = serve::run(&name)
    {
        return finish(served);
    }
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    finish(run(&options))
}

fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    allow_files(options.most_clients() as u64 + SPARE)?;
    let mut report = machine::facts("cargo run --release --bin race --", &CRATES);
    report.push_str(&format!(
        "- Passes: {}, of {} s a server; medians\n",
        options.passes, options.seconds
    ));
    let mut contenders = Vec::new();
    for name in NAMES.into_iter().filter(|name| options.servers.contains(name)) {
        match Contender::find(name) {
            Ok(contender) => contenders.push(contender),
            Err(reason) => report.push_str(&format!("- Skipped: {name}, {reason}\n")),
        }
    }
    contenders.extend(options.other.as_deref().map(Contender::other));
    print!("{report}");
    let mut tell = |section: String| {
        print!("{section}");
        report.push_str(&section);
    };
    if let Some(clients) = options.idle {
        let mut section = String::new();
        let lines: Vec<_> = contenders
            .iter()
            .map(|it| (it.name, turn::idle(it, clients).map_err(|error| error.to_string())))
            .collect();
        table::idle(&mut section, clients, &lines);
        tell(section);
    } else {
        for case in cases(options) {
            let mut section = String::new();
            table::case(&mut section, case, &race(&contenders, case, options));
            tell(section);
        }
    }
    match &options.markdown_out {
        Some(path) => fs::write(path, report),
        None => Ok(()),
    }
}

fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for &clients in &options.clients {
        for &bytes in &options.bytes {
            for &in_flight in &options.in_flight {
                cases.push(Case { clients, bytes, in_flight, stuck: options.stuck });
            }
        }
    }
    cases
}

fn race(contenders: &[Contender], case: Case, options: &Options) -> Vec<table::Line<Outcome>> {
    let mut turns: Vec<io::Result<Vec<Outcome>>> = contenders.iter().map(|_| Ok(vec![])).collect();
    for pass in 0..options.passes {
        for (contender, turns) in contenders.iter().zip(&mut turns) {
            let Ok(done) = turns else { continue };
            eprintln!(
                "{} clients, {} B, {} in flight, pass {}: {}",
                case.clients,
                case.bytes,
                case.in_flight,
                pass + 1,
                contender.name
            );
            match turn::race(contender, case, options.seconds) {
                Ok(outcome) => done.push(outcome),
                Err(error) => *turns = Err(error),
            }
        }
    }
    let lines = contenders.iter().zip(turns).map(|(contender, turns)| {
        (contender.name, turns.map(|turns| median(&turns)).map_err(|error| error.to_string()))
    });
    lines.collect()
}

/// The median of each figure on its own.
fn median(turns: &[Outcome]) -> Outcome {
    let of = |figure: fn(&Outcome) -> f64| {
        let mut figures: Vec<f64> = turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Outcome {
        deliveries_per_second: of(|turn| turn.deliveries_per_second),
        server_cpu: of(|turn| turn.server_cpu),
        crowd_cpu: of(|turn| turn.crowd_cpu),
        p50: of(|turn| turn.p50),
        p99: of(|turn| turn.p99),
        memory: of(|turn| turn.memory),
        out_of_order: of(|turn| turn.out_of_order),
    }
}

/// Raises the limit of open files, which the servers inherit.
fn allow_files(needed: u64) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = maximum.unwrap_or_default();
        let text = format!("{needed} open files are needed, {maximum} allowed: see `ulimit -Hn`");
        return Err(io::Error::other(text));
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
