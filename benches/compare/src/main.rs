//! pondwire beside its peers, as Markdown tables of times and ratios.
//!
//! ```text
//! cargo run --release -- [--rounds N] [--section NAME] [--workload NAME] [--markdown-out FILE]
//! cargo run --release -- --tier           # prints the tier that the codec would scan with
//! ```
//!
//! `--section` takes `codec`, `thresholds`, `fanout`, `outbox`, `shard`, `cache`, `deflate`, `distributed` or `redis`,
//! and `--workload` the name of one row. All contenders of a row take turns in every round, so that a machine that
//! speeds up or slows down does so for all; a time is the median of the rounds. sonic-rs picks its instruction set when
//! it is compiled, the others when they start: build with `RUSTFLAGS=-Ctarget-cpu=native` too before judging it. C++
//! simdjson is measured if `peers/install.sh` ran before the build. `--features mimalloc` replaces the system's
//! allocator for all.

mod bench;
mod cache;
mod decode;
mod deflate;
mod distributed;
mod encode;
mod fanout;
mod field;
mod inbound;
mod machine;
mod outbox;
mod payloads;
mod peers;
mod redis_bus;
mod refusal;
mod report;
mod roster;
mod shard;
mod text;
mod thresholds;
mod workloads;

use std::process::ExitCode;
use std::{env, fs};

use bench::Plan;
use pondwire::scan::Tier;
use report::Section;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: compare [--rounds N] [--section codec|thresholds|fanout|outbox|shard|cache|deflate|distributed|redis] [--workload NAME] [--markdown-out FILE]";

type Measure = fn(&Plan) -> Section;

const CODEC: &[Measure] = &[
    inbound::section,
    inbound::beside_simdjson,
    refusal::section,
    encode::section,
    text::escapes,
    text::newlines,
    decode::section,
    field::section,
];
/// Runs only on request: it compares nothing with peers.
const THRESHOLDS: &[Measure] = &[thresholds::section];
const FANOUT: &[Measure] =
    &[fanout::publish, fanout::churn, fanout::publishing, fanout::subscribing];
const OUTBOX: &[Measure] = &[outbox::section];
const SHARD: &[Measure] = &[shard::section];
const CACHE: &[Measure] = &[cache::hits, cache::threads, roster::frames, roster::joins];
const DEFLATE: &[Measure] =
    &[deflate::compress, deflate::recipients, deflate::inflate, deflate::bombs];
const DISTRIBUTED: &[Measure] = &[distributed::decode, distributed::encode, distributed::relay];
/// Runs only on request, because it needs a Redis.
const REDIS: &[Measure] = &[redis_bus::section];

struct Options {
    plan: Plan,
    sections: Vec<Measure>,
    markdown_out: Option<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            plan: Plan { rounds: 51, only: None },
            sections: [CODEC, FANOUT, OUTBOX, SHARD, CACHE, DEFLATE, DISTRIBUTED].concat(),
            markdown_out: None,
        };
        while let Some(flag) = args.next() {
            let value = args.next()?;
            match flag.as_str() {
                "--rounds" => options.plan.rounds = value.parse().ok().filter(|&n| n > 0)?,
                "--section" if value == "codec" => options.sections = CODEC.to_vec(),
                "--section" if value == "thresholds" => options.sections = THRESHOLDS.to_vec(),
                "--section" if value == "fanout" => options.sections = FANOUT.to_vec(),
                "--section" if value == "outbox" => options.sections = OUTBOX.to_vec(),
                "--section" if value == "shard" => options.sections = SHARD.to_vec(),
                "--section" if value == "cache" => options.sections = CACHE.to_vec(),
                "--section" if value == "deflate" => options.sections = DEFLATE.to_vec(),
                "--section" if value == "distributed" => options.sections = DISTRIBUTED.to_vec(),
                "--section" if value == "redis" => options.sections = REDIS.to_vec(),
                "--workload" => options.plan.only = Some(value),
                "--markdown-out" => options.markdown_out = Some(value),
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("--tier") {
        println!("{}", Tier::current());
        return ExitCode::SUCCESS;
    }
    let Some(Options { plan, sections, markdown_out }) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let sections: Vec<Section> = sections.iter().map(|measure| measure(&plan)).collect();
    if sections.iter().all(|section| section.rows.is_empty()) {
        eprintln!("no row has this name; see profiles/workloads and the table");
        return ExitCode::FAILURE;
    }
    let report = report::markdown(&plan, &sections);
    print!("{report}");
    if let Some(path) = markdown_out
        && let Err(error) = fs::write(&path, report)
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
