//! Extracts the programs from the page, each into its own file: the code that a reader would copy,
//! without the lines that rustdoc hides.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The sections whose program is served, in order.
const SERVED: [&str; 4] =
    ["A connection", "A chat room", "Presence", "Frames that differ by recipient"];

/// The sections whose program runs only as a doc test: no client can see it, or it is an alternative to one that is
/// served, for which `examples/axum/examples/reader.rs` stands.
const ONLY_DOCUMENTATION_TESTS: [&str; 10] = [
    "The reading half",
    "A reader for each connection",
    "A reader for each connection",
    "A reader for each connection",
    "Readers of several rooms",
    "On a WebSocket library",
    "Rooms that come and go",
    "Connections that do not keep up",
    "One writer for many connections",
    "Observers that are not connections",
];

fn main() {
    let page =
        Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../../src/docs/patterns.md");
    println!("cargo::rerun-if-changed={}", page.display());
    let programs = programs(&fs::read_to_string(page).unwrap());
    let sections = programs.iter().map(|(section, _)| section.as_str());
    let (served, others): (Vec<_>, Vec<_>) = sections.partition(|section| SERVED.contains(section));
    // So that no program can be added that is never run.
    assert_eq!((&served[..], &others[..]), (&SERVED[..], &ONLY_DOCUMENTATION_TESTS[..]));
    let folder = PathBuf::from(env::var("OUT_DIR").unwrap());
    for (section, program) in programs {
        let name = section.to_lowercase().replace(' ', "_");
        fs::write(folder.join(name).with_extension("rs"), program).unwrap();
    }
}

/// Every block of Rust on the page, with its section.
fn programs(page: &str) -> Vec<(String, String)> {
    let mut programs = Vec::new();
    let mut section = "";
    let mut program: Option<String> = None;
    for line in page.lines() {
        match &mut program {
            Some(_) if line == "```" => {
                programs.push((section.to_owned(), program.take().unwrap()))
            }
            Some(_) if line == "#" || line.starts_with("# ") => {}
            Some(program) => *program += &format!("{line}\n"),
            None if line == "```" => program = Some(String::new()),
            None if line.starts_with("```") => panic!("a block of another language: {line}"),
            None => section = line.strip_prefix("# ").unwrap_or(section),
        }
    }
    assert!(program.is_none(), "a block that has no end");
    programs
}
