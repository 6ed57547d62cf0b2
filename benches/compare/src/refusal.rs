//! Refusing a frame beside accepting it: an attacker must not gain by sending what is malformed.

use std::hint::black_box;

use memchr::memmem;

use crate::bench::{Contender, Plan};
use crate::peers::{Peer, Pondwire};
use crate::report::Section;
use crate::workloads::{self, Line};

/// Makes a frame malformed. Every flaw is as late as its kind allows.
type Spoil = fn(&mut Vec<u8>);

const FLAWS: [(&str, Spoil); 5] = [
    ("cut short", |frame| frame.truncate(frame.len() - 1)),
    ("a control character", |frame| *last_string_byte(frame) = 1),
    ("not UTF-8", |frame| *last_string_byte(frame) = 0xFF),
    ("an unknown action", |frame| {
        let key = place(frame, br#""action""#) + br#""action""#.len();
        let value = key + place(&frame[key..], b"\"") + 1;
        frame[value] = b'X';
    }),
    ("no request id", |frame| {
        let key = place(frame, br#""requestId""#);
        frame[key + 1] = b'R';
    }),
];

/// The byte before the last quote: a string's last, or the quote before.
fn last_string_byte(frame: &mut [u8]) -> &mut u8 {
    let quote = memchr::memrchr(b'"', frame).expect("every message has strings");
    &mut frame[quote - 1]
}

fn place(frame: &[u8], word: &[u8]) -> usize {
    memmem::find(frame, word).expect("every message has it")
}

pub fn section(plan: &Plan) -> Section {
    let rows = workloads::rows(plan, |lines| {
        let copies = || lines.iter().map(|line| Line::of(&line.frame, line.side)).collect();
        let mut contenders = vec![contender("accepted", lines.len(), copies())];
        for (name, spoil) in FLAWS {
            let mut lines: Vec<Line> = copies();
            lines.iter_mut().for_each(|line| spoil(&mut line.frame));
            contenders.push(contender(name, 0, lines));
        }
        contenders
    });
    Section {
        size: "bytes",
        title: "Refuse, ns per message",
        note: "The frames of *Parse* by pondwire, accepted and with one flaw each, as late as its \
               kind allows; the error has its reason and its byte offset.",
        rows,
    }
}

/// Counts the lines that are accepted, which must be `accepted`.
fn contender<'a>(name: &'static str, accepted: usize, lines: Vec<Line>) -> Contender<'a> {
    Contender::checked(name, &accepted, move || {
        Some(lines.iter().filter(|line| Pondwire.parse(black_box(line))).count())
    })
}
