//! The files that the documentation and the README name exist, and are in the published package, or the
//! documentation says that they are in the repository.

use std::fs;
use std::path::Path;

use super::files;

/// The repository's folders; a word that begins with one of them and a slash is a path.
const FOLDERS: [&str; 9] =
    [".ci", "benches", "examples", "fuzz", "profiles", "redis", "server", "src", "tests"];

/// The start of the README's list of folders that the package leaves out; it covers all paths in the README.
const README_LIST: &str = "the published package leaves out: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folders that the package leaves out: the manifest's `exclude`, and the other members and
/// workspaces, which have a manifest of their own.
fn left_out() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lists = manifest.split("exclude = [").skip(1);
    let mut folders: Vec<String> = lists
        .flat_map(|rest| rest.split(']').next().unwrap().split('"').skip(1).step_by(2))
        .map(|folder| folder.trim_start_matches('/').to_owned())
        .collect();
    folders.sort();
    folders.dedup();
    assert!(folders.len() > 3, "the test reads the manifest: {folders:?}");
    folders
}

/// The paths in a text, without the punctuation around them.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || "`()[]\"',;".contains(c));
    let named = words
        .filter(|word| word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder)));
    named.map(|word| word.trim_end_matches(['.', ':', '/']))
}

/// Whether there is such a file or folder; its last name may have one `*`.
fn exists(path: &str) -> bool {
    let Some((before, after)) = path.split_once('*') else { return root().join(path).exists() };
    let (folder, before) = before.rsplit_once('/').unwrap();
    fs::read_dir(root().join(folder)).is_ok_and(|mut entries| {
        entries.any(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.starts_with(before) && name.ends_with(after)
        })
    })
}

/// The paragraphs of a file's documentation: all of a page, the doc comments of a source file.
fn paragraphs(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let text = if file.extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().map(|line| {
            let line = line.trim_start();
            line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).unwrap_or("")
        });
        lines.map(|line| line.trim_start().to_owned() + "\n").collect()
    } else {
        text
    };
    text.split("\n\n").map(str::to_owned).collect()
}

#[test]
fn files_named_in_the_documentation_exist_or_are_said_to_be_in_the_repository() {
    let left_out = left_out();
    let mut documents = files(&root().join("src"));
    documents.push(root().join("CHANGELOG.md"));
    let (mut named, mut dead) = (0, Vec::new());
    for document in documents {
        for paragraph in paragraphs(&document) {
            for path in paths(&paragraph) {
                let document = document.strip_prefix(root()).unwrap().display();
                named += 1;
                if left_out.iter().any(|folder| Path::new(path).starts_with(folder)) {
                    if !paragraph.contains("repository") {
                        dead.push(format!("{document}: say that {path} is in the repository"));
                    }
                } else if !exists(path) {
                    dead.push(format!("{document}: there is no {path}"));
                }
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(named > 10, "the test finds paths: {named}");
}

#[test]
fn the_readme_lists_the_folders_that_the_package_leaves_out() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, list) = readme.split_once(README_LIST).expect("the README has the list");
    let list: Vec<&str> = paths(list.split_once(".\n").unwrap().0).collect();
    let left_out = left_out();
    let mut named = Vec::new();
    for path in paths(&readme) {
        match left_out.iter().find(|folder| Path::new(path).starts_with(folder)) {
            Some(folder) => named.push(folder.as_str()),
            None => assert!(exists(path), "there is no {path}"),
        }
    }
    named.sort_unstable();
    named.dedup();
    assert_eq!(list, named, "the list names each folder once, in order");
}

#[test]
fn the_server_in_the_readme_is_an_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("server/examples/hello.rs")).unwrap();
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust,ignore\n{code}```\n")), "{code}");
}

#[test]
fn tests_named_in_the_security_policy_exist() {
    let policy = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let folder = root().join("server/tests/server");
    let tests: Vec<(String, String)> = files(&folder)
        .iter()
        .map(|file| {
            let module = file.file_stem().unwrap().to_str().unwrap();
            (module.to_owned(), fs::read_to_string(file).unwrap())
        })
        .collect();
    // A name is `module::test`; `module::` is all of a module.
    let spans = policy.split('`').skip(1).step_by(2);
    let is_test = |span: &&str| span.chars().all(|c| c.is_ascii_lowercase() || "_:".contains(c));
    let mut named = 0;
    for (module, test) in spans.filter(is_test).filter_map(|span| span.split_once("::")) {
        let test = if test.is_empty() { "fn ".to_owned() } else { format!("fn {test}(") };
        let is_there = |(name, code): &(String, String)| name == module && code.contains(&test);
        assert!(tests.iter().any(is_there), "there is no {module}::{test}");
        named += 1;
    }
    assert!(named > 20, "the test reads names: {named}");
}
