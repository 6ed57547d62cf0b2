//! Markdown: what ran where, then a table a section.

use std::fmt::Write;
use std::process::Command;
use std::{env, fs};

use crate::bench::{Plan, Row};

/// A table. Ratios are to its first column.
pub struct Section {
    pub title: &'static str,
    /// What the second column counts.
    pub size: &'static str,
    pub note: &'static str,
    pub rows: Vec<Row>,
}

const LOCK: &str = include_str!("../Cargo.lock");
const PEERS: [&str; 13] = [
    "pondwire",
    "pondsocket-common",
    "serde_json",
    "simd-json",
    "sonic-rs",
    "serde",
    "parking_lot",
    "arc-swap",
    "dashmap",
    "tokio",
    "flate2",
    "quick_cache",
    "redis",
];

pub fn markdown(plan: &Plan, sections: &[Section]) -> String {
    let mut out = header(plan);
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        table(&mut out, section);
    }
    out
}

fn header(plan: &Plan) -> String {
    let command = env::args()
        .skip(1)
        .fold("cargo run --release --".to_owned(), |line, arg| line + " " + &arg);
    let flags = env!("RUSTFLAGS_USED");
    let versions: Vec<String> =
        PEERS.iter().map(|name| format!("{name} {}", locked_version(name))).collect();
    let facts = [
        ("Machine", cpu()),
        ("Compiler", env!("RUSTC_VERSION").to_owned()),
        ("RUSTFLAGS", if flags.is_empty() { "none".to_owned() } else { format!("`{flags}`") }),
        ("Crates", versions.join(", ")),
        ("Commit", output_of("git", &["describe", "--always", "--dirty"])),
        ("Date", output_of("date", &["-u", "+%F"])),
        ("Command", format!("`{}`", command.trim_end_matches(" --"))),
        ("Rounds", plan.rounds.to_string()),
    ];
    facts.iter().fold(String::new(), |out, (name, fact)| out + &format!("- {name}: {fact}\n"))
}

fn table(out: &mut String, section: &Section) {
    let Row { times, .. } = &section.rows[0];
    let columns: Vec<&str> = times.iter().map(|(name, _)| *name).collect();
    writeln!(out, "\n### {}\n\n{}\n", section.title, section.note).unwrap();
    writeln!(out, "| | {} | {} |", section.size, columns.join(" | ")).unwrap();
    writeln!(out, "|---|{}", "---:|".repeat(columns.len() + 1)).unwrap();
    for row in &section.rows {
        let base = row.times[0].1;
        write!(out, "| {} | {} |", row.name, row.bytes).unwrap();
        for (column, (_, ns)) in row.times.iter().enumerate() {
            let digits = usize::from(*ns < 100.0);
            match column {
                0 => write!(out, " {ns:.digits$} |").unwrap(),
                _ => write!(out, " {ns:.digits$} ({:.2}×) |", ns / base).unwrap(),
            }
        }
        out.push('\n');
    }
}

/// The version that `Cargo.lock` holds, from its `name = …` line and the `version = …` after it.
fn locked_version(name: &str) -> &'static str {
    let (_, entry) = LOCK.split_once(&format!("name = \"{name}\"\n")).expect("a dependency");
    entry.split('"').nth(1).expect("a version")
}

/// The model, with the numbers that tell generations apart where the name does not.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map_or("unknown", |(_, value)| value.trim())
    };
    format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model"))
}

fn output_of(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
