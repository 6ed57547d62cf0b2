//! No module of the server or of the bus imports itself through others.

use std::path::Path;

use pondwire_test_support::layering::{Sources, circle, imports, sources};

fn of(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn no_modules_import_each_other() {
    for (src, least) in [("src", 40), ("../redis/src", 20)] {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(src));
        let imports = imports(&sources);
        let count: usize = imports.values().map(|used| used.len()).sum();
        assert!(count >= least, "the test reads imports: {count} in {src}");
        assert_eq!(circle(&imports), None, "{src}");
    }
}

#[test]
fn circles_are_found_however_they_are_written() {
    let none =
        [("", "mod a;\nmod b;\npub use a::A;"), ("a", "use crate::b;"), ("b", "// crate::a")];
    assert_eq!(circle(&imports(&of(&none))), None);
    for back in [
        "use crate::a;",
        "use crate::a::A as B;",
        "use crate::{\n    c::{self, C},\n    a::A,\n};",
        "use super::a::A;",
        "fn f(a: &crate::a::A) {}",
        "use self::super::a;",
        "// A comment.\nlet x = super::super::a(); // Another.",
    ] {
        let found = of(&[("", ""), ("a", "use crate::b::B;"), ("b", back), ("c", "")]);
        assert_eq!(circle(&imports(&found)), Some(vec!["a", "b"]), "{back}");
    }
    // Through a third module, through the crate's root, and between a module and its child.
    let third =
        of(&[("", ""), ("a", "use crate::b::B;"), ("b", "use super::c;"), ("c", "crate::a::f()")]);
    assert_eq!(circle(&imports(&third)), Some(vec!["a", "b", "c"]));
    let root = of(&[("", "mod a;\npub use a::A;"), ("a", "use crate::A;")]);
    assert_eq!(circle(&imports(&root)), Some(vec!["", "a"]));
    let child = of(&[("", ""), ("a", "pub(crate) mod b;\nuse b::B;"), ("a::b", "use super::A;")]);
    assert_eq!(circle(&imports(&child)), Some(vec!["a", "a::b"]));
    // Test modules and the paths of other crates do not count.
    let tests = of(&[
        ("", ""),
        ("a", "use crate::b::B;"),
        ("b", "use x::a;\n\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}"),
    ]);
    assert_eq!(circle(&imports(&tests)), None);
}
