//! The recorded cases of `Headers`, and the same cases over `http::HeaderMap`.

use std::fs;
use std::path::Path;

use pondwire::protocol::Headers;
use serde_json::Value;

/// Records about operations of Python's object that a borrowed view does not have.
const NOT_IN_RUST: [(&str, &str); 3] = [
    ("raw returns a copy of the list", "a borrow cannot be changed through the view"),
    ("iterator input is consumed once", "a view is made of a slice, which is not consumed"),
    ("equality is identity", "a view has neither equality nor a hash"),
];

fn records() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/headers.json");
    let mut file: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    serde_json::from_value(file["records"].take()).unwrap()
}

/// The name and value pairs of a record's headers.
fn pairs(record: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let parts: Vec<_> = record["input"].as_array().unwrap().iter().map(part).collect();
    parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn part(part: &Value) -> Vec<u8> {
    let text = part[0].as_str().unwrap();
    match part[1].as_str().unwrap() {
        "bytes_hex" => from_hex(text),
        "str" => to_latin1(text).expect("Python encodes text as latin-1"),
        other => panic!("a part of type {other}"),
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn to_latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Python shows names in lower case; this crate keeps them.
fn lower(name: &[u8]) -> String {
    from_latin1(&name.to_ascii_lowercase())
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The reason why Python answers a query differently, if it does.
#[derive(Debug, PartialEq)]
enum Exception {
    /// It lowers queries as Unicode text, so that a letter outside ASCII may match another one.
    UnicodeCase,
    /// It raises for a query outside latin-1; here one finds nothing, as no lookup can fail.
    NotLatin1,
}

fn exception(query: &str) -> Option<Exception> {
    if query.to_lowercase() != query.to_ascii_lowercase() {
        Some(Exception::UnicodeCase)
    } else if to_latin1(query).is_none() {
        Some(Exception::NotLatin1)
    } else {
        None
    }
}

fn check_query(headers: Headers<'_>, expected: &Value) -> Option<Exception> {
    let query = expected["q"].as_str().unwrap();
    let exception = exception(query);
    if exception.is_some() {
        assert_eq!(headers.get(query), None, "{query}");
        return exception;
    }
    let query = to_latin1(query).unwrap();
    let found = headers.get_latin1(&query);
    assert_eq!(found.as_deref(), expected["get"].as_str(), "{expected}");
    assert_eq!(headers.get(&query).map(from_latin1), found.as_deref().map(str::to_owned));
    assert_eq!(found.as_deref().unwrap_or("dflt"), expected["get_default"], "{expected}");
    assert_eq!(found.as_deref(), expected["getitem"].as_str(), "{expected}");
    assert_eq!(headers.contains(&query), expected["contains"], "{expected}");
    let all: Vec<_> = headers.get_all(&query).map(from_latin1).collect();
    assert_eq!(all, strings(&expected["get_all"]), "{expected}");
    None
}

#[test]
fn recorded_headers_are_found() {
    let (mut ran, mut queries, mut not_in_rust, mut exceptions) = (0, 0, 0, Vec::new());
    for record in records() {
        let name = record["name"].as_str().unwrap();
        if NOT_IN_RUST.iter().any(|(other, _)| *other == name) {
            not_in_rust += 1;
            continue;
        }
        let pairs = pairs(&record);
        let borrowed: Vec<_> = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())).collect();
        let headers = Headers::new(&borrowed);
        assert_eq!(headers.len(), record["len"], "{name}");
        assert_eq!(!headers.is_empty(), record["bool"], "{name}");
        let names: Vec<_> = headers.names().map(lower).collect();
        assert_eq!(names, strings(&record["iter"]), "{name}");
        let items: Vec<_> = headers.iter().map(|(n, v)| [lower(n), from_latin1(v)]).collect();
        assert_eq!(serde_json::to_value(items).unwrap(), record["items"], "{name}");
        let raw = headers.iter().map(|(n, v)| vec![n.to_ascii_lowercase(), v.to_vec()]);
        let expected = record["raw_hex"].as_array().unwrap().iter();
        let expected = expected.map(|pair| strings(pair).into_iter().map(from_hex).collect());
        assert_eq!(raw.collect::<Vec<_>>(), expected.collect::<Vec<Vec<_>>>(), "{name}");
        for query in record["queries"].as_array().unwrap() {
            exceptions.extend(check_query(headers, query));
            queries += 1;
        }
        ran += 1;
    }
    println!("headers: {ran} records with {queries} queries ran; {exceptions:?}, {NOT_IN_RUST:?}");
    assert_eq!((ran, not_in_rust), (15, NOT_IN_RUST.len()));
    assert_eq!(queries, 27);
    let counted = |exception| exceptions.iter().filter(|other| **other == exception).count();
    assert_eq!((counted(Exception::UnicodeCase), counted(Exception::NotLatin1)), (3, 1));
}

/// A map cannot hold names and values that HTTP forbids, and groups the values of one name; everything
/// else is the same.
#[cfg(feature = "http")]
#[test]
fn recorded_headers_are_found_in_a_header_map() {
    use http::{HeaderMap, HeaderName, HeaderValue};

    let mut ran = 0;
    for record in records().iter().filter(|record| record["queries"].is_array()) {
        let mut map = HeaderMap::new();
        let valid = pairs(record).iter().try_for_each(|(name, value)| {
            let name = HeaderName::from_bytes(name).ok()?;
            map.append(name, HeaderValue::from_bytes(value).ok()?);
            Some(())
        });
        if valid.is_none() {
            continue;
        }
        let headers = Headers::from(&map);
        assert_eq!(headers.len(), record["len"]);
        assert_eq!(headers.is_empty(), map.is_empty());
        let names: Vec<_> = headers.names().map(from_latin1).collect();
        assert_eq!(names, strings(&record["iter"]));
        assert_eq!(headers.iter().count(), map.len());
        for query in record["queries"].as_array().unwrap() {
            check_query(headers, query);
        }
        ran += 1;
    }
    println!("headers: {ran} records ran over http::HeaderMap");
    assert_eq!(ran, 11, "the others have names or values that HTTP forbids");
}
