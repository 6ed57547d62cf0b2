//! Dependencies between modules go one way: no module uses one above it.

use std::fs;
use std::path::Path;

use pondwire_test_support::layering::{circle, imports, sources};

use super::files;

/// From the lowest up: a module may use those before it.
const ORDER: [&str; 20] = [
    "sync",
    "ring",
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
    "log",
    "room",
    "distributed",
    "docs",
];

#[test]
fn modules_use_only_what_lies_below_them() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let level = |module: &str| {
        let top = module.split("::").next().unwrap();
        let level = ORDER.iter().position(|name| *name == top);
        level.unwrap_or_else(|| panic!("{module:?} has no place in the order"))
    };
    let mut uses = 0;
    for (module, used) in imports(&sources) {
        // The root takes its names from all modules, and none takes them from there.
        if module.is_empty() {
            continue;
        }
        for used in used {
            assert!(level(used) <= level(module), "{module} must not use {used}");
            uses += 1;
        }
    }
    assert!(uses > 300, "the test reads imports: {uses}");
}

/// Pairs of modules that import each other: the two are one idea in two files.
const PAIRS: [(&str, &str); 3] = [
    ("distributed::encode", "distributed::origin"),
    ("frame::shared", "frame::variant"),
    ("payload::iter", "payload::value"),
];

/// A module and those inside it may import each other: the outer one has the types that they share.
#[test]
fn no_modules_side_by_side_import_each_other() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut imports = imports(&sources);
    let is_inside = |inner: &str, outer: &str| {
        outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with("::"))
    };
    for (module, used) in &mut imports {
        used.retain(|used| !is_inside(used, module) && !is_inside(module, used));
    }
    for (one, other) in PAIRS {
        let each_other =
            imports[one].contains(other) && imports.get_mut(other).unwrap().remove(one);
        assert!(each_other, "{one} and {other} need not be listed");
    }
    assert_eq!(circle(&imports), None);
}

#[test]
fn unsafe_code_is_allowed_only_where_the_design_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&root) {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let named = ["scan/arch", "frame/", "fanout/", "ring/", "outbox/", "log/"];
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
    let folders = ["src", "examples", "tests", "benches", "fuzz", "redis", "server"];
    let files = folders.iter().flat_map(|folder| files(&root.join(folder)));
    let mut named = [0; FOR_ONE_ARCHITECTURE.len()];
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        let inside = file.strip_prefix(root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
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
