//! Each algorithm of the scanner, by the size of a message: where the thresholds of
//! `src/scan/arch/algorithm.rs` should be.

use std::fmt::Write;
use std::hint::black_box;

use pondwire::ClientMessage;
use pondwire::scan::{Algorithm, Tier};

use crate::bench::{Contender, Plan, Row};
use crate::report::Section;

const SIZES: [usize; 9] = [200, 256, 320, 400, 512, 600, 800, 1200, 2400];

/// Messages in a pass, so that the selection of the algorithm before each does not count.
const MESSAGES: usize = 256;

/// Appends a payload's members until the message has `bytes` bytes.
type Fill = fn(&mut String, usize);

const KINDS: [(&str, Fill); 3] = [("text", text), ("users", users), ("numbers", numbers)];

pub fn section(plan: &Plan) -> Section {
    let rows = KINDS
        .into_iter()
        .flat_map(|(kind, fill)| SIZES.into_iter().map(move |bytes| (kind, fill, bytes)))
        .filter_map(|(kind, fill, bytes)| row(plan, kind, fill, bytes))
        .collect();
    Section {
        size: "bytes",
        title: "Algorithms, ns per message",
        note: "A message with one long text, a list of users or a list of numbers, by each \
               algorithm for all documents, and by the one that the tier chooses.",
        rows,
    }
}

fn row(plan: &Plan, kind: &str, fill: Fill, bytes: usize) -> Option<Row> {
    let name = format!("{kind} {bytes} B");
    if !plan.wants(&name) {
        return None;
    }
    let mut json = r#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"6de7f22d-a688-49d1-af45-1c4a729d6cd0","event":"say","payload":{"#.to_owned();
    fill(&mut json, bytes);
    json += "}}";
    let by = |name, algorithm: Option<Algorithm>| {
        let (tier, json) = (Tier::current(), json.as_bytes());
        Contender::checked(name, &MESSAGES, move || {
            match algorithm {
                Some(algorithm) => tier.select_with(algorithm),
                None => tier.select(),
            };
            let parsed = || ClientMessage::parse(black_box(json)).map(black_box);
            Some((0..MESSAGES).filter(|_| parsed().is_ok()).count())
        })
    };
    let contenders = vec![
        by("best", None),
        by("blocks", Some(Algorithm::Blocks)),
        by("tokens", Some(Algorithm::Tokens)),
        by("walk", Some(Algorithm::Walk)),
    ];
    let row = plan.race(name, MESSAGES, json.len() * MESSAGES, contenders);
    Tier::current().select();
    Some(row)
}

fn text(json: &mut String, bytes: usize) {
    *json += r#""text":""#;
    while json.len() + 3 < bytes {
        json.push_str(&"a word "[..(bytes - 3 - json.len()).min(7)]);
    }
    json.push('"');
}

fn users(json: &mut String, bytes: usize) {
    *json += r#""users":["#;
    for user in 0.. {
        let comma = if user > 0 { "," } else { "" };
        write!(json, r#"{comma}{{"id":"u_{user:04}","name":"somebody","online":true}}"#).unwrap();
        if json.len() + 30 > bytes {
            break;
        }
    }
    json.push(']');
}

fn numbers(json: &mut String, bytes: usize) {
    *json += r#""points":["#;
    for point in 0.. {
        let comma = if point > 0 { "," } else { "" };
        write!(json, "{comma}[{}.25,-{},7]", 100 + point, 3 * point).unwrap();
        if json.len() + 10 > bytes {
            break;
        }
    }
    json.push(']');
}
