//! The report in Markdown: the machine and the command, then one table per section.

use std::fmt::Write;

use pondwire::scan::Tier;

use crate::bench::{Plan, Row};
use crate::machine;

/// A table. Its ratios are relative to the first column.
pub struct Section {
    pub title: &'static str,
    /// The quantity in the second column.
    pub size: &'static str,
    pub note: &'static str,
    pub rows: Vec<Row>,
}

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
    let mut out = machine::facts("cargo run --release --", &PEERS);
    writeln!(out, "- Tier: {}\n- Rounds: {}", Tier::current(), plan.rounds).unwrap();
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        table(&mut out, section);
    }
    out
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
        for (at, column) in columns.iter().enumerate() {
            // Not every contender does the work of every row.
            let Some((_, ns)) = row.times.iter().find(|(name, _)| name == column) else {
                out.push_str(" |");
                continue;
            };
            let digits = usize::from(*ns < 100.0);
            match at {
                0 => write!(out, " {ns:.digits$} |").unwrap(),
                _ => write!(out, " {ns:.digits$} ({:.2}×) |", ns / base).unwrap(),
            }
        }
        out.push('\n');
    }
}
