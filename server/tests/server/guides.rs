//! The guides for operators, the dashboard and the alert rules name what exists, and all that exists.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, iter};

use pondwire_server::{Options, PondServer};
use pondwire_test_support::websocket;
use serde_json::Value;

use crate::arguments;
use crate::fixture::Server;

const OPERATIONS: &str = include_str!("../../src/docs/operations.md");
const CAPACITY: &str = include_str!("../../src/docs/capacity.md");
const TROUBLESHOOTING: &str = include_str!("../../src/docs/troubleshooting.md");
const DASHBOARD: &str = include_str!("../../prometheus/grafana.json");
const ALERTS: &str = include_str!("../../prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../prometheus/alerts_test.yml");

/// The names of metrics in a text, which may name the crate, too.
fn metrics(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("pondwire_").map(|(start, _)| start);
    starts
        .map(|start| {
            let name = &text[start..];
            &name[..name.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(name.len())]
        })
        .filter(|name| *name != "pondwire_server")
        .collect()
}

/// The metrics that only a node of a cluster has.
fn is_of_node(name: &str) -> bool {
    name.starts_with("pondwire_bus_") || name.starts_with("pondwire_remote_")
}

/// The metrics of a server without gauges of an application.
fn served(options: Options) -> BTreeSet<String> {
    let server = Server::start_app(PondServer::new(), options);
    let page = websocket::get(server.addr, "/metrics");
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn check_metrics(served: &BTreeSet<String>, counts: impl Fn(&str) -> bool) {
    assert!(served.len() > 10, "{served:?}");
    for text in [OPERATIONS, CAPACITY, TROUBLESHOOTING, DASHBOARD, ALERTS, ALERTS_TEST] {
        for name in metrics(text) {
            assert!(!counts(name) || served.contains(name), "there is no {name}");
        }
    }
    let (described, drawn) = (metrics(OPERATIONS), metrics(DASHBOARD));
    for name in served {
        assert!(described.contains(&**name), "operations.md does not describe {name}");
        assert!(drawn.contains(&**name), "grafana.json does not show {name}");
    }
}

#[test]
fn metrics_in_the_guides_are_those_of_a_server() {
    check_metrics(&served(Options::default()), |name| !is_of_node(name));
}

#[test]
#[cfg(feature = "redis")]
fn metrics_in_the_guides_are_those_of_a_node() {
    use pondwire_server::NodeOptions;
    use pondwire_test_support::fake_redis::FakeRedis;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let redis = runtime.block_on(FakeRedis::start());
    let node = NodeOptions { redis: vec![redis.url()], ..NodeOptions::default() };
    check_metrics(&served(Options { node: Some(node), ..Options::default() }), |_| true);
}

#[test]
fn the_dashboard_is_valid() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let targets: Vec<_> =
        panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten().collect();
    assert!(targets.len() > 20, "{}", targets.len());
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        assert!(expression.contains(r#"{job="$job",instance=~"$instance""#), "{expression}");
        let count = |c| expression.matches(c).count();
        assert_eq!((count('('), count('{')), (count(')'), count('}')), "{expression}");
    }
}

/// The code spans of a page, not those in its blocks of code.
fn spans(page: &str) -> Vec<&str> {
    let texts = page.split("```").step_by(2);
    texts.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn flags_in_the_guides_are_those_of_the_example() {
    let help = arguments::help();
    let mut found = 0;
    for span in [OPERATIONS, CAPACITY, TROUBLESHOOTING].map(spans).into_iter().flatten() {
        let flag = span.split(' ').next().unwrap();
        if flag.starts_with("--") {
            found += 1;
            let ends = [" ", "\n", ","].map(|end| format!("{flag}{end}"));
            assert!(ends.iter().any(|end| help.contains(end)), "there is no {flag}");
        }
    }
    assert!(found > 20, "the test reads flags: {found}");
}

/// The sources of the server, but for tests.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut texts = Vec::new();
    for path in entries {
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

/// The first string in the code, with … for what is filled in.
fn first_string(code: &str) -> String {
    let literal = code.split('"').nth(1).unwrap();
    let mut parts = literal.split('{');
    let first = parts.next().unwrap().to_owned();
    iter::once(first)
        .chain(parts.map(|part| format!("…{}", part.split_once('}').unwrap().1)))
        .collect()
}

#[test]
fn the_guide_has_all_lines_of_the_log() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let calls = ["log::line(", "writeln!(io::stderr(),"];
    let logged: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| calls.iter().flat_map(|call| source.split(call).skip(1)))
        .map(first_string)
        .collect();
    let (_, table) = TROUBLESHOOTING.split_once("\n# The log\n").expect("the last section");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let described: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert!(logged.len() > 5, "the test reads calls: {logged:?}");
    assert_eq!(described, logged);
}

#[test]
fn figures_in_the_guides_are_those_of_their_records() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let records = spans(CAPACITY).into_iter().filter(|span| span.starts_with("profiles/records/"));
    let records: BTreeSet<_> = records.collect();
    let texts: Vec<_> =
        records.iter().map(|path| fs::read_to_string(root.join(path)).expect(path)).collect();
    let tables = CAPACITY.split("<!-- table ").skip(1);
    let rows: Vec<&str> = tables
        .map(|table| table.split("<!-- end -->").next().unwrap())
        .flat_map(|table| table.lines().filter(|line| line.starts_with("| pondwire |")))
        .collect();
    assert!(rows.len() > 2 && texts.len() > 1, "the test reads tables: {rows:?}, {records:?}");
    for row in rows {
        assert!(texts.iter().any(|text| text.contains(row)), "no record named here has {row}");
    }
}
