//! The results as tables in Markdown.

use std::fmt::Write;

use crate::contenders::{FLOOR, RIVAL};
use crate::turn::{Case, Idle, Outcome};

/// The results of a server, or the reason why it has none.
pub(crate) type Line<T> = (&'static str, Result<T, String>);

pub(crate) fn case(out: &mut String, case: Case, lines: &[Line<Outcome>]) {
    let Case { clients, bytes, in_flight, stuck } = case;
    let flight = if in_flight == 1 { "one".to_owned() } else { in_flight.to_string() };
    let and_stuck =
        if stuck > 0 { format!(" and {stuck} that do not read") } else { String::new() };
    writeln!(out, "\n### {clients} clients{and_stuck}, {bytes} B, {flight} in flight\n").unwrap();
    out.push_str(
        "| | deliveries/s | server CPU, µs | × floor | × pondsocket-axum | p50, ms | p99, ms | \
         × floor | × pondsocket-axum | KiB per connection | crowd CPU, µs |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let of = |name| {
        let found = lines.iter().find(|(line, _)| *line == name);
        found.and_then(|(_, outcome)| outcome.as_ref().ok())
    };
    let times = |value: f64, other: Option<f64>| match other {
        Some(other) => format!("{:.2}×", value / other),
        None => "–".to_owned(),
    };
    for (name, outcome) in lines {
        let Ok(o) = outcome else { continue };
        let (floor, rival) = (of(FLOOR), of(RIVAL));
        writeln!(
            out,
            "| {name} | {:.0} | {:.2} | {} | {} | {:.2} | {:.2} | {} | {} | {:.1} | {:.2} |",
            o.deliveries_per_second,
            o.server_cpu,
            times(o.server_cpu, floor.map(|floor| floor.server_cpu)),
            times(o.server_cpu, rival.map(|rival| rival.server_cpu)),
            o.p50,
            o.p99,
            times(o.p99, floor.map(|floor| floor.p99)),
            times(o.p99, rival.map(|rival| rival.p99)),
            o.memory,
            o.crowd_cpu,
        )
        .unwrap();
    }
    for (name, outcome) in lines {
        if let Ok(Outcome { out_of_order, .. }) = outcome
            && *out_of_order > 0.0
        {
            let percent = out_of_order / 1e4;
            writeln!(out, "\n{name} gave {percent:.1} % of the messages out of order.").unwrap();
        }
    }
    failures(out, lines);
}

pub(crate) fn idle(out: &mut String, clients: usize, lines: &[Line<Idle>]) {
    writeln!(out, "\n### {clients} idle connections\n").unwrap();
    out.push_str(
        "| | all joined, s | server CPU, µs for each | KiB per connection |\n|---|---:|---:|---:|\n",
    );
    for (name, outcome) in lines {
        let Ok(Idle { seconds, server_cpu, memory }) = outcome else { continue };
        writeln!(out, "| {name} | {seconds:.2} | {server_cpu:.1} | {memory:.1} |").unwrap();
    }
    failures(out, lines);
}

fn failures<T>(out: &mut String, lines: &[Line<T>]) {
    for (name, outcome) in lines {
        if let Err(reason) = outcome {
            writeln!(out, "\n{name} failed: {reason}").unwrap();
        }
    }
}
