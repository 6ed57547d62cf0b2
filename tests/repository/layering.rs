//! Dependencies between modules go one way: no module uses one above it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest up: a module may use those before it.
const ORDER: [&str; 18] = [
    "sync",
    "error",
    "limits",
    "scan",
    "protocol",
    "websocket",
    "payload",
    "view",
    "message",
    "encode",
    "deflate",
    "frame",
    "cache",
    "fanout",
    "outbox",
    "room",
    "distributed",
    "docs",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Left there by builds and installations.
        if name.starts_with('.') || ["target", "node_modules"].contains(&name) {
            continue;
        }
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut uses = 0;
    for file in files.iter().filter(|file| !file.ends_with("lib.rs")) {
        let inside = file.strip_prefix(&root).unwrap();
        let top = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = top.trim_end_matches(".rs");
        let level = ORDER.iter().position(|name| *name == module);
        let level = level.unwrap_or_else(|| panic!("{module} has no place in the order"));
        for line in fs::read_to_string(file).unwrap().lines() {
            // Comments, and tests that show a use from outside, use the public names.
            let Some(path) = line.trim().strip_prefix("use crate::") else { continue };
            let used = path.split([':', ';', ',']).next().unwrap();
            let below = ORDER.iter().position(|name| *name == used);
            let below =
                below.unwrap_or_else(|| panic!("{}: `{line}` names no module", inside.display()));
            assert!(below <= level, "{}: {module} must not use {used}", inside.display());
            uses += 1;
        }
    }
    assert!(uses > 20, "the test reads `use crate::` lines");
}

#[test]
fn unsafe_code_is_allowed_only_where_the_design_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let named = ["scan/arch", "frame/", "fanout/", "outbox/"];
        if fs::read_to_string(&file).unwrap().contains("allow(unsafe_code)") {
            assert!(named.iter().any(|prefix| inside.starts_with(prefix)), "{inside}");
        }
    }
}

/// The places where code may differ between instruction sets; each has a form for the others.
const FOR_ONE_ARCHITECTURE: [&str; 3] =
    ["src/scan/arch/", "src/fanout/log/prefetch.rs", "server/src/writers"];

#[test]
fn architectures_are_named_only_where_the_design_names_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "examples", "tests", "benches", "fuzz", "redis", "server"] {
        sources(&root.join(folder), &mut files);
    }
    let mut named = [0; FOR_ONE_ARCHITECTURE.len()];
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let inside = file.strip_prefix(root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(file).unwrap();
        // In two parts, so as not to find itself; the option of `cfg`, `cfg!` and `cfg_attr` alike.
        let Some(at) = text.find(concat!("target_", "arch")) else { continue };
        let line = text[..at].lines().count();
        let place = FOR_ONE_ARCHITECTURE.iter().position(|prefix| inside.starts_with(prefix));
        let place = place.unwrap_or_else(|| panic!("{inside}:{line}: only for some architectures"));
        named[place] += 1;
    }
    for (prefix, files) in FOR_ONE_ARCHITECTURE.iter().zip(named) {
        assert!(files > 0, "{prefix} names no architecture: it need not be listed");
    }
}
