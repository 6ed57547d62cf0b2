//! A soak of the example server: `cargo run --release --bin soak -- SERVER [seconds] [clients]`, where
//! SERVER is its binary, by default for 600 seconds and 1,000 clients.
//!
//! Nine in ten clients behave: they join one of the rooms, track their presence, send a message a
//! second, check that every other member's messages come in order and without a gap, and reconnect
//! after 5 to 60 seconds. One in twenty reads nothing until it is cut off; one in a hundred is
//! hostile in one of ten ways. The server's memory is read every few seconds; at the end, when all
//! clients have left, it must be flat, no message may be lost, and the server's counters must show
//! no client.

mod hostile;
mod member;
mod server;
mod slow;
mod socket;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use server::Server;

/// The counts of all clients together.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sessions: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Messages of a member that another member, present all the time, did not get.
    pub(crate) lost: AtomicU64,
    /// Connections of members that ended unexpectedly, or answers that never came.
    pub(crate) broken: AtomicU64,
    pub(crate) slow: AtomicU64,
    pub(crate) attacks: AtomicU64,
    pub(crate) ended: AtomicBool,
}

impl Tally {
    pub(crate) fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// A number below `bound`; good enough to spread clients over time.
pub(crate) fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now()) % bound
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(binary) = arguments.next() else {
        eprintln!("usage: soak SERVER [seconds] [clients]");
        return ExitCode::from(2);
    };
    let mut number =
        |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (seconds, clients) = (number(600), number(1000));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(run(&binary, seconds, clients))
}

async fn run(binary: &str, seconds: u64, clients: u64) -> ExitCode {
    let server = Server::start(binary).await;
    let tally: &'static Tally = Box::leak(Box::default());
    let address = server.address;
    let idle = server.memory_kib();
    println!("{clients} clients for {seconds} s; the server takes {idle} KiB with none");
    println!(
        "| s | memory, KiB | connections | members' sessions | sent | received | lost | broken | slow | attacks |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..clients {
        match number % 100 {
            0 => drop(tasks.spawn(hostile::run(address, number / 100, tally))),
            1..=5 => drop(tasks.spawn(slow::run(
                address,
                number % rooms(clients),
                clients + number,
                tally,
            ))),
            _ => drop(tasks.spawn(member::run(address, number % rooms(clients), number, tally))),
        }
    }
    let began = Instant::now();
    let mut memory = Vec::new();
    let step = (seconds / 20).clamp(1, 15);
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(step)).await;
        memory.push(server.memory_kib());
        line(&server, began, tally).await;
    }
    tally.ended.store(true, Ordering::Relaxed);
    let all_gone = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(90), all_gone).await.is_err() {
        println!("some clients did not come to an end");
        add(&tally.broken, 1);
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    line(&server, began, tally).await;
    verdict(server, &memory, tally).await
}

/// Some twenty members in each.
fn rooms(clients: u64) -> u64 {
    (clients / 20).max(1)
}

async fn line(server: &Server, began: Instant, tally: &Tally) {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        began.elapsed().as_secs(),
        server.memory_kib(),
        server.metric("connections").await,
        of(&tally.sessions),
        of(&tally.sent),
        of(&tally.received),
        of(&tally.lost),
        of(&tally.broken),
        of(&tally.slow),
        of(&tally.attacks),
    );
}

async fn verdict(mut server: Server, memory: &[u64], tally: &Tally) -> ExitCode {
    let third = memory.len() / 3;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (middle, last) = (most(&memory[third..2 * third]), most(&memory[2 * third..]));
    let cut_off = server.metric("slow_consumers_total").await;
    println!("{cut_off} slow consumers cut off");
    let checks = [
        ("memory of the last third within 5 % of the second's", last <= middle + middle / 20),
        ("nothing lost", tally.lost.load(Ordering::Relaxed) == 0),
        ("no member's connection broken", tally.broken.load(Ordering::Relaxed) == 0),
        (
            "slow consumers cut off, each of them",
            cut_off > 0 && cut_off >= tally.slow.load(Ordering::Relaxed),
        ),
        ("attacks made", tally.attacks.load(Ordering::Relaxed) > 0),
        ("nobody left", server.metric("connections").await == 0),
        ("no channel left", server.metric("channels").await == 0),
        ("no panic", !server.has_panicked()),
        ("still running", server.stop()),
    ];
    println!();
    for (name, holds) in checks {
        println!("{} {name}", if holds { "ok  " } else { "FAIL" });
    }
    println!("memory: {middle} KiB at most in the second third, {last} in the last");
    if checks.iter().all(|(_, holds)| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
