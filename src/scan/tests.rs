//! Compares every tier with the scalar scanner: the same verdict and the same members.

use std::convert::Infallible;
use std::mem::MaybeUninit;

use super::arch::{self, Algorithm, Detected, Tier};
use super::blocks::{Outline, Prefix};
use super::{
    Fault, Ignored, Malformed, Members, RECURSION_LIMIT, Span, Text, document_by, scalar, skip,
};

/// A scanner's verdict on a document: its members, or `None` if it is malformed.
type Verdict = Option<Vec<(Text, Span)>>;

impl Members for Vec<(Text, Span)> {
    const QUOTES_AHEAD: usize = 18;

    type Key = Infallible;

    fn member(&mut self, key: Text, value: Span) {
        self.push((key, value));
    }

    fn known(&mut self, key: Infallible, _: Span) {
        match key {}
    }
}

/// Every tier but the scalar one, with every algorithm.
fn tiers() -> impl Iterator<Item = Detected> {
    let tiers = Tier::ALL.iter().copied().filter(|tier| *tier != Tier::Scalar);
    let with_each = |tier: Detected| Algorithm::ALL.iter().map(move |&with| tier.with(with));
    tiers.filter_map(Detected::of).flat_map(with_each)
}

fn scalar_tier() -> Detected {
    Detected::of(Tier::Scalar).expect("every CPU has it")
}

fn name(tier: Detected) -> String {
    format!("{} {}", tier.tier(), tier.algorithm(b""))
}

fn by_scalar(bytes: &[u8], max_depth: usize) -> Verdict {
    let mut members = Vec::new();
    let root = scalar::document(bytes, max_depth, &mut members);
    root.is_ok().then_some(members)
}

/// The verdict of a tier that begins by quotes, or does not.
fn by_tier(tier: Detected, quotes: bool, bytes: &[u8], max_depth: usize) -> Verdict {
    let mut members = Vec::new();
    let mut prefix = Prefix::NONE;
    let mut ascii = None;
    if quotes {
        ascii = arch::prefix(tier, bytes, max_depth, &mut prefix, &mut members)?;
    }
    match tier.algorithm(bytes) {
        _ if prefix.root.is_some() => {}
        Algorithm::Blocks => {}
        Algorithm::Tokens => {
            ascii = arch::tokens(tier, bytes, max_depth, &mut prefix, &mut members)?.ok()?;
        }
        Algorithm::Walk => {
            ascii = arch::walk(tier, bytes, max_depth, &mut prefix, &mut members)?.ok()?;
        }
    }
    if prefix.root.is_some() {
        assert_eq!(ascii.is_some(), bytes.is_ascii());
        return Some(members);
    }
    let mut outline = Outline::new();
    let ascii = arch::outline(tier, bytes, &prefix, max_depth, &mut outline)?.ok()?;
    assert_eq!(ascii.is_some(), bytes.is_ascii());
    let root = outline.root(bytes);
    if bytes[root.start()] == b'{' {
        assert!(outline.members(bytes, root.start(), &prefix, &mut members).is_some());
    }
    Some(members)
}

/// Checks that all tiers agree with the scalar scanner. They know only whether the whole document
/// has newlines, so they may report them for members that have none.
fn all_agree_within(bytes: &[u8], max_depth: usize) {
    let expected = by_scalar(bytes, max_depth);
    let error = super::by_scalar(scalar_tier(), bytes, None, max_depth, &mut Ignored).err();
    if let Err(not_utf8) = std::str::from_utf8(bytes) {
        let at = not_utf8.valid_up_to();
        assert_eq!(error, Some(Malformed::new(Fault::NotUtf8, at)));
    }
    let walks = tiers().filter(|tier| tier.algorithm(b"") == Algorithm::Walk);
    for (tier, quotes) in tiers().map(|tier| (tier, true)).chain(walks.map(|tier| (tier, false))) {
        // An error must be the same, at the same place; by the usual choice of the algorithm, too.
        let by = if quotes { tier } else { Detected::of(tier.tier()).expect("supported") };
        let whole = document_by(by, bytes, None, max_depth, &mut Ignored).err();
        assert_eq!(whole, error, "{}: {:?}", name(tier), String::from_utf8_lossy(bytes));
        if max_depth == 0 {
            // Blocks are not used then.
            continue;
        }
        let verdict = by_tier(tier, quotes, bytes, max_depth);
        let (Some(expected), Some(members)) = (&expected, &verdict) else {
            assert_eq!(
                expected.is_some(),
                verdict.is_some(),
                "{}: {:?}",
                name(tier),
                String::from_utf8_lossy(bytes),
            );
            continue;
        };
        assert_eq!(expected.len(), members.len());
        for ((key, value), (tier_key, tier_value)) in expected.iter().zip(members) {
            assert_eq!(key, tier_key, "{}", name(tier));
            let place = |span: &Span| (span.range(), span.is_string(), span.is_escaped());
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(place(value), place(tier_value), "{}: {text:?}", name(tier));
            assert!(tier_value.has_newlines() || !value.has_newlines());
            let holds_mixed_list = holds_mixed_list(bytes, *value);
            assert!(value.is_mixed() || !holds_mixed_list, "scalar");
            assert!(tier_value.is_mixed() || !holds_mixed_list, "{}", name(tier));
        }
    }
}

/// The ends of containers that are known are the first ones, in order, on every tier.
#[test]
fn inner_ends_are_the_first_ones() {
    #[derive(Default)]
    struct Ends(Vec<usize>);
    impl Members for Ends {
        const QUOTES_AHEAD: usize = 18;
        type Key = Infallible;
        fn member(&mut self, _: Text, _: Span) {}
        fn known(&mut self, key: Infallible, _: Span) {
            match key {}
        }
        fn wants_inner_ends(&self) -> bool {
            true
        }
        fn inner_end(&mut self, end: usize) {
            self.0.push(end);
        }
    }
    let mut random = Random::new("inner_ends_are_the_first_ones");
    let tiers = || tiers().chain([scalar_tier()]);
    let mut known = vec![0; tiers().count()];
    for _ in 0..cases(20_000) {
        let mut json = String::from("{\"payload\":");
        value(&mut random, &mut json, 0);
        json.push('}');
        let inner = |start: usize, end: usize| {
            let items = skip::Items::new(&json.as_bytes()[start..end]);
            let ends = items.map(move |(_, from, to)| (start + from, start + to));
            ends.filter(|&(from, _)| matches!(json.as_bytes()[from], b'{' | b'['))
        };
        let members = skip::Items::new(json.as_bytes()).map(|(_, start, end)| (start, end));
        let expected: Vec<usize> =
            members.flat_map(|(start, end)| inner(start, end)).map(|(_, end)| end).collect();
        for (tier, known) in tiers().zip(&mut known) {
            let mut ends = Ends::default();
            document_by(tier, json.as_bytes(), None, RECURSION_LIMIT, &mut ends).unwrap();
            // A walk that gives up reports some of them, and the blocks then all.
            let last =
                ends.0.windows(2).rposition(|pair| pair[0] >= pair[1]).map_or(0, |at| at + 1);
            for ends in [&ends.0[..last], &ends.0[last..]] {
                assert!(expected.starts_with(ends), "{} {json}", name(tier));
            }
            *known += ends.0.len();
        }
    }
    assert!(known.iter().all(|known| *known > 0), "{known:?}");
}

/// Whether an array at depth 3 has an element that is not an object, found by walking.
fn holds_mixed_list(bytes: &[u8], member: Span) -> bool {
    let json = &bytes[member.range()];
    let lists = skip::Items::new(json).map(|(_, start, end)| &json[start..end]);
    let mut lists = lists.filter(|list| list[0] == b'[');
    lists.any(|list| skip::Items::new(list).any(|(_, start, _)| list[start] != b'{'))
}

/// No tier reports a presence list of objects as mixed, so that it need not be walked again.
#[test]
fn lists_of_objects_are_not_mixed() {
    let is_mixed = |json: &str, tier: Detected| {
        let mut members = Vec::new();
        document_by(tier, json.as_bytes(), None, RECURSION_LIMIT, &mut members).unwrap();
        members[0].1.is_mixed()
    };
    for tier in tiers().chain(Detected::of(Tier::Scalar)) {
        for list in ["[]", "[{}]", "[ {\"id\":[1]} , {\"a\":{\"b\":[2]}} ]"] {
            assert!(!is_mixed(&format!("{{\"payload\":{{\"presence\":{list}}}}}"), tier), "{list}");
        }
        for list in ["[1]", "[{},\"a\"]", "[{} , [] ]", "[ null,{}]"] {
            assert!(is_mixed(&format!("{{\"payload\":{{\"presence\":{list}}}}}"), tier), "{list}");
        }
    }
}

fn all_agree(bytes: &[u8]) {
    all_agree_within(bytes, RECURSION_LIMIT);
}

/// A seeded source of numbers; the seed and the number of cases may be set by environment
/// variables.
struct Random(u64);

impl Random {
    fn new(test: &str) -> Self {
        let seed = std::env::var("PONDWIRE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(20_261_123);
        println!("{test}: PONDWIRE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn cases(default: usize) -> usize {
    let number = |name| std::env::var(name).ok().and_then(|cases| cases.parse().ok());
    number("PONDWIRE_CASES")
        .unwrap_or(default)
        .min(number("PONDWIRE_MAX_CASES").unwrap_or(usize::MAX))
}

/// Pieces of JSON, valid and invalid, of which random documents are made.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\"",
    "\"key\":",
    "\"\\\"\"",
    "\\",
    "\\\\",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\u12",
    "\\x",
    "0",
    "1",
    "12",
    "-",
    "-0",
    "-1",
    "1.5",
    "1.",
    ".5",
    "1e5",
    "1E+5",
    "1e-05",
    "1e",
    "1e+",
    "01",
    "1.2.3",
    "1e5e5",
    "1e5.5",
    "--1",
    "+1",
    "true",
    "false",
    "null",
    "tru",
    "truex",
    "nulll",
    "True",
    " ",
    "\n",
    "\t",
    "\r",
    "\u{b}",
    "\u{0}",
    "é",
    "😀",
    "\u{7f}",
    "{}",
    "[]",
    "[1,2]",
    "{\"a\":1}",
    "[[",
    "]]",
    "}}",
    "\"\"",
    "        ",
    "\"long text that goes on over the end of a block of bytes, whatever its size may be\"",
    "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
    "0.00000000000000000000000000000000000000000000000000000000000000000000000000001",
    "1e00000000000000000000000000000000000000000000000000000000000000000000000000001",
];

/// A well-formed value, then perhaps a flaw in it.
fn near_json(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    value(random, &mut text, 0);
    flawed(random, text)
}

/// The text with up to two flaws.
fn flawed(random: &mut Random, text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 if at < bytes.len() => bytes[at] = random.pick(PIECES).as_bytes()[0],
            _ => {
                bytes.splice(at..at, random.pick(PIECES).bytes());
            }
        }
    }
    bytes
}

fn space(random: &mut Random, text: &mut String) {
    if random.below(6) == 0 {
        let length = random.pick(&[1, 1, 1, 2, 7, 63, 64, 65]);
        text.extend((0..length).map(|_| random.pick(&[' ', ' ', '\n', '\t', '\r'])));
    }
}

fn string(random: &mut Random, text: &mut String) {
    let pieces = ["a", "#", "key", "\\n", "\\\\", "\\\"", "\\u0041", "é", "{", "]", ",", ":", " "];
    text.push('"');
    for _ in 0..random.pick(&[0, 1, 2, 5, 5, 20, 70]) {
        text.push_str(random.pick(&pieces));
    }
    text.push('"');
}

fn value(random: &mut Random, text: &mut String, depth: usize) {
    space(random, text);
    let numbers = ["0", "-0", "7", "-12", "0.5", "10.25", "1e5", "-2E-3", "1.5e+10", "123456789"];
    match random.below(if depth < 6 { 9 } else { 4 }) {
        0 => string(random, text),
        1 | 2 => text.push_str(random.pick(&numbers)),
        3 => text.push_str(random.pick(&["true", "false", "null"])),
        4 | 5 => {
            text.push('[');
            for i in 0..random.below(5) {
                text.push_str(if i > 0 { "," } else { "" });
                value(random, text, depth + 1);
            }
            space(random, text);
            text.push(']');
        }
        _ => {
            text.push('{');
            for i in 0..random.below(6) {
                text.push_str(if i > 0 { "," } else { "" });
                space(random, text);
                string(random, text);
                space(random, text);
                text.push(':');
                value(random, text, depth + 1);
            }
            space(random, text);
            text.push('}');
        }
    }
    space(random, text);
}

#[test]
fn documents_that_are_nearly_json() {
    let mut random = Random::new("documents_that_are_nearly_json");
    let (cases, mut valid) = (cases(60_000), 0);
    for _ in 0..cases {
        let bytes = near_json(&mut random);
        valid += usize::from(by_scalar(&bytes, RECURSION_LIMIT).is_some());
        all_agree(&bytes);
    }
    println!("documents_that_are_nearly_json: {cases} cases, {valid} valid");
    assert!(valid > cases / 10 && valid < cases);
}

/// Documents of several times the bytes that are squeezed at a time, with a compact start.
#[test]
fn documents_of_several_batches() {
    let mut random = Random::new("documents_of_several_batches");
    let (cases, mut valid) = (cases(6_000), 0);
    for _ in 0..cases {
        let mut text = String::from("{\"event\":\"e\",\"payload\":[");
        let least = 1500 + random.below(5000);
        while text.len() < least {
            value(&mut random, &mut text, 3);
            text.push(',');
        }
        text.push_str(random.pick(&["1]}", "{}],\"action\":\"a\"}", "\"\"]\n}", "0] ,\"a\":[] }"]));
        let bytes = flawed(&mut random, text);
        valid += usize::from(by_scalar(&bytes, RECURSION_LIMIT).is_some());
        all_agree(&bytes);
    }
    println!("documents_of_several_batches: {cases} cases, {valid} valid");
    assert!(valid > cases / 10 && valid < cases);
}

#[test]
fn pieces_in_any_order() {
    let mut random = Random::new("pieces_in_any_order");
    for _ in 0..cases(60_000) {
        // Spaces in front move it through the block.
        let mut text = " ".repeat(random.below(70));
        let is_object = random.below(2) == 0;
        text.push_str(if is_object { "{\"payload\":" } else { "[" });
        for _ in 0..random.below(6) {
            text.push_str(random.pick(PIECES));
        }
        text.push_str(if is_object { "}" } else { "]" });
        all_agree(text.as_bytes());
    }
}

/// Each piece at each place of a block, so that it lies across every border.
#[test]
fn every_piece_across_every_border() {
    for piece in PIECES {
        for shift in 0..130 {
            let pad = " ".repeat(shift);
            let text = "x".repeat(shift);
            for document in [
                format!("{pad}{piece}"),
                format!("[{pad}{piece}]"),
                format!("\"{text}\",{piece}"),
                format!("{pad},{piece}"),
                format!("1{pad}{piece}1"),
                format!("[\"{text}\",{piece},1]"),
                format!("{{\"{text}\":{piece}}}"),
                format!("{{\"{text}{piece}\":1}}"),
                format!("{{\"a\":\"{text}{piece}\"}}"),
                format!("{{\"a\":1{piece}{pad}}}"),
                format!("{{\"a\":[\"{text}\",1{piece}1]}}"),
                format!("{{\"a\":[\"{text}\",1{piece}{piece},\"b\"]}}"),
                format!("{{\"a\":{{\"{text}\":1}}{piece}\"b\":[{pad}{piece}]}}"),
            ] {
                all_agree(document.as_bytes());
            }
        }
    }
}

#[test]
fn every_pair_and_triple_of_short_pieces() {
    let short: Vec<_> = PIECES.iter().filter(|piece| piece.len() <= 4).collect();
    let mut checked = 0;
    for first in &short {
        for second in &short {
            all_agree(format!("{first}{second}").as_bytes());
            for third in &short {
                all_agree(format!("[{first}{second}{third}]").as_bytes());
                all_agree(format!("{{\"a\":{first}{second}{third}}}").as_bytes());
                checked += 2;
            }
        }
    }
    assert!(checked > 100_000);
}

#[test]
fn frames_at_every_length_and_place() {
    let frame = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"6de7f22d-a688-49d1-af45-1c4a729d6cd0","event":"m\u00e9","payload":{"text":"hi \\ \"there\"","n":[1,-2.5e3,true,null,{"a":{}}],"k":"0123456789012345678901234567890123456789"}}"#;
    for place in 0..64 {
        let mut buffer = vec![b'"'; place];
        buffer.extend_from_slice(frame);
        buffer.extend_from_slice(b"\"\\{[");
        for end in place..=place + frame.len() {
            all_agree(&buffer[place..end]);
        }
    }
}

/// One flaw, alone and before bytes that are not UTF-8, which are the error then.
#[test]
fn a_flaw_at_every_place() {
    let escapes = r#"\\\n\u12aF\ud83d\ude00\\\"x"#.repeat(10);
    let payloads = [
        r#"{"text":"hi there","n":12.5,"b":true}}"#.to_owned(),
        r#"{}}"#.to_owned(),
        r#""a text","more":{"a":"b"} }"#.to_owned(),
        format!(r#"{{"text":"{escapes}","n":1}}}}"#),
        format!(r#"{{"text":"{}","user":{{"name":"é"}}}}}}"#, "日本語é😀".repeat(12)),
        format!(r#"{{"text":"{}","user":{{"id":"u1","n":[1,{{}}]}}}}}}"#, "plain ".repeat(40)),
    ];
    for payload in payloads {
        let head = r#"{"action":"BROADCAST","requestId":"6de7f22d","event":"say","payload":"#;
        let frame = [head.as_bytes(), payload.as_bytes()].concat();
        for place in 0..frame.len() {
            for flaw in *b"\x01\n \"\\{}[]:,u1\x7F\x80\xC3\xE6\xFF" {
                let mut flawed = frame.clone();
                flawed[place] = flaw;
                all_agree(&flawed);
                all_agree(&flawed[..=place]);
                if place + 8 < frame.len() && flaw < 0x80 {
                    flawed[frame.len() - 6] = 0xFF;
                    all_agree(&flawed);
                }
            }
        }
    }
}

#[test]
fn the_depth_limit_is_the_same() {
    for depth in (1..140).chain([1000]) {
        for (open, close) in
            [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]"), ("{\"a\":[[", "]]}")]
        {
            let inner = if open.ends_with('[') { "" } else { "1" };
            let document = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            for max_depth in [0, 1, 2, 63, 64, 65, 126, RECURSION_LIMIT] {
                all_agree_within(document.as_bytes(), max_depth);
            }
        }
    }
}

/// A compact start that continues after the blocks that are searched for quotes.
#[test]
fn compact_prefixes_beyond_the_first_blocks() {
    let digits = "1".repeat(300);
    for end in ["}", "}}", "},\"é\":1}", ",\"é\":\"é\"}}", "é}}", "},\"a\":[]}"] {
        all_agree(format!("{{\"a\":\"b\",\"c\":{{\"d\":{digits}{end}").as_bytes());
        all_agree(format!("{{\"a\":\"é\",\"c\":{{\"d\":{digits}{end}").as_bytes());
    }
    for quotes in 0..40 {
        let members = "\"a\":\"\",".repeat(quotes);
        all_agree(format!("{{{members}\"z\":{{}}}}").as_bytes());
        all_agree(format!("{{{members}\"z\":[{{}}]}}").as_bytes());
        all_agree(format!("{{{members}\"z\":{{\"y\":-0.5e1,\"x\":true,\"w\":01}}}}").as_bytes());
    }
}

/// Every byte of a list of numbers replaced by any that may be a part of it: the tokens leave out most digits.
#[test]
fn numbers_with_other_bytes() {
    let numbers =
        "10,0.25,-0,1790314990826,-12.5e-07,6.02E+23,0,-0.0,100,4e9,00,-012,1.,.5,".repeat(2);
    for valid_until in [numbers.find(",00").expect("there is one"), numbers.len()] {
        let list = &numbers[..valid_until];
        let document = format!("{{\"a\":\"b\",\"c\":[{list}{list},{list}7],\"d\":\"\"}}");
        let start = document.find('[').expect("there is one");
        for at in start..document.len() {
            for byte in *b"0159-+.eE,:]} \"t" {
                let mut bytes = document.clone().into_bytes();
                bytes[at] = byte;
                all_agree(&bytes);
            }
        }
    }
}

/// Containers of which each byte is a token, of many lengths up to some batches.
#[test]
fn tapes_are_filled() {
    for unit in ["[],", "{},", "-1,", "1.5,", "true,"] {
        for count in (1..4500 / unit.len()).step_by(if cfg!(miri) { 97 } else { 7 }) {
            let units = unit.repeat(count);
            for last in ["0", "[0", "01", "\"\""] {
                all_agree(format!("{{\"a\":\"b\",\"c\":[{units}{last}]}}").as_bytes());
            }
        }
    }
    // With a literal as the last token of a full tape.
    for (blocks, spaces) in (4..18).flat_map(|blocks| (0..16).map(move |spaces| (blocks, spaces))) {
        let rest = 64 * blocks - "[true]}".len() - spaces;
        let lists =
            (0..5).find(|lists| (rest - 3 * lists).is_multiple_of(5)).expect("3 and 5 are coprime");
        let (space, lists, literals) =
            (" ".repeat(spaces), "[],".repeat(lists), "true,".repeat((rest - 3 * lists) / 5));
        all_agree(format!("{{\"a\":\"b\",\"c\":[{space}{lists}{literals}true]}}").as_bytes());
    }
}

/// Of many escapes in a key the walk gives up, wherever the key's value leads it.
#[test]
fn keys_of_many_escapes() {
    for escapes in [1, 7, 8, 9, 16, 40] {
        let key = "\\n".repeat(escapes);
        for value in ["[]", "{\"a\":[]}", "\"\\n\"", "1", "["] {
            for spread in ["", "plain text between them "] {
                let key = key.replace('\\', &format!("{spread}\\"));
                all_agree(format!("{{ \"{key}\": {value}}}").as_bytes());
                all_agree(
                    format!("{{ \"a\": \"{key}\", \"{key}\" :{value}, \"b\": 1}}").as_bytes(),
                );
                all_agree(format!("{{\"{key}\":{value},\"{key}\":{{}},\"c\": []}}").as_bytes());
                all_agree(
                    format!("{{ \"a\": {{\"{key}\":{value}}}, \"{key}\": {value}}}").as_bytes(),
                );
            }
        }
    }
}

#[test]
fn more_members_than_an_outline_keeps() {
    for members in [5, 9, 10, 11, 19, 20, 21, 60] {
        for value in ["1", "\"x\"", "{}", "[{\"a\":1}]", "\"\\n\"", "true"] {
            let members: Vec<_> = (0..members).map(|i| format!("\"k{i}\" :\n{value}")).collect();
            all_agree(format!(" {{{}}} ", members.join(",")).as_bytes());
        }
    }
}

/// The end of the container whose bracket is at `start`, byte by byte.
fn container_end_by_byte(bytes: &[u8], start: usize) -> usize {
    let (mut inside, mut escaped, mut depth) = (false, false, 0);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    bytes.len()
}

#[test]
fn containers_end_where_their_bracket_closes() {
    let mut random = Random::new("containers_end_where_their_bracket_closes");
    let (cases, mut containers) = (cases(40_000), 0);
    for _ in 0..cases {
        let bytes = near_json(&mut random);
        for start in 0..bytes.len() {
            if !matches!(bytes[start], b'{' | b'[') {
                continue;
            }
            containers += 1;
            let expected = container_end_by_byte(&bytes, start);
            assert_eq!(skip::container_by_words(&bytes, start), expected);
            for tier in tiers() {
                let end = arch::container_end(tier, &bytes, start);
                // On invalid text they may differ, but must stay within it.
                assert!(end.is_some_and(|end| start < end && end <= bytes.len()));
                if by_scalar(&bytes[start..expected], RECURSION_LIMIT).is_some() {
                    assert_eq!(end, Some(expected), "{}", tier.tier());
                }
            }
        }
    }
    assert!(containers > cases);
}

#[test]
fn a_requested_tier_is_used_if_it_is_supported() {
    for &tier in Tier::ALL {
        assert_eq!(tier.as_str().parse(), Ok(tier));
        assert_eq!(Detected::of(tier).is_some(), tier.is_supported());
    }
    assert!("avx3".parse::<Tier>().is_err());
    let names: Vec<_> = tiers().map(name).collect();
    println!("tiers compared with the scalar scanner: {}", names.join(", "));
}

/// `text` in a string, byte by byte.
fn escaped_by_byte(text: &[u8]) -> Vec<u8> {
    let escape = |&byte: &u8| match byte {
        b'"' => b"\\\"".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\t' => b"\\t".to_vec(),
        0x08 => b"\\b".to_vec(),
        0x0C => b"\\f".to_vec(),
        0..0x20 => format!("\\u{byte:04x}").into_bytes(),
        plain => vec![plain],
    };
    text.iter().flat_map(escape).collect()
}

/// All tiers escape `text` alike, and find the block in which its first byte to escape is.
fn escapes_agree(text: &[u8]) {
    let expected = escaped_by_byte(text);
    let first = text.iter().position(|byte| *byte < b' ' || b"\"\\".contains(byte));
    for tier in Tier::ALL.iter().copied().filter_map(Detected::of) {
        let mut output = b"before".to_vec();
        arch::append_escaped(tier, text, &mut output);
        let escaped = output.strip_prefix(b"before").unwrap();
        assert_eq!(escaped, expected, "{}: {}", tier.tier(), text.escape_ascii());
        let plain = first.map_or(text.len(), |first| first / 64 * 64);
        let found = arch::plain_blocks(tier, text);
        assert_eq!(found, plain, "{}: {}", tier.tier(), text.escape_ascii());
    }
}

#[test]
fn every_byte_at_every_place_is_escaped_or_not() {
    for length in [1, 15, 16, 31, 32, 33, 63, 64, 65, 130, 257] {
        let mut text = vec![b'x'; length];
        for at in 0..length {
            for byte in 0..=255 {
                text[at] = byte;
                escapes_agree(&text);
            }
            text[at] = b'x';
        }
    }
}

#[test]
fn bytes_to_escape_in_random_text() {
    const BYTES: &[u8] = b"\"\\\n\x00\x01\x1F\x7F\x80\x9F\xA2\xDC\xFF !#[]0az";
    let mut random = Random::new("bytes_to_escape_in_random_text");
    for _ in 0..cases(60_000) {
        let (length, specials) = (random.below(300), random.below(4));
        let byte = |_| match random.below(4) < specials {
            true => random.pick(BYTES),
            false => b'x',
        };
        escapes_agree(&(0..length).map(byte).collect::<Vec<_>>());
    }
}

/// More than the room that is made at a time.
#[test]
fn long_texts_are_escaped_in_parts() {
    for length in (4000..4200).chain(8100..8300) {
        for text in [b"\x01".as_slice(), b"x", b"\n", b"xxxxxxxxxxx\"xxxxxxxxxxxxxxxxxxxxxxxxx\x1F"]
        {
            let text: Vec<u8> = text.iter().copied().cycle().take(length).collect();
            escapes_agree(&text);
        }
    }
}

#[test]
fn newlines_are_copied_as_spaces() {
    let all = Tier::ALL.iter().copied().filter_map(Detected::of);
    for tier in all {
        for length in 0..300 {
            for shift in 0..8 {
                let from = |i| b"\r1\t\n {\xC3\xA9"[(i + shift) % 8];
                let from: Vec<u8> = (0..length).map(from).collect();
                let expected =
                    from.iter().map(|byte| if b"\r\n".contains(byte) { &b' ' } else { byte });
                let mut to = vec![MaybeUninit::uninit(); length];
                let copied = arch::copy_with_spaces(tier, &from, &mut to);
                assert!(copied.iter().eq(expected), "{}", tier.tier());
            }
        }
    }
}
