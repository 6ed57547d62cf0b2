//! Finds which module of a crate imports which, to show that no module imports itself, even through others.
//!
//! A module is a file. It imports another by `crate::`, `super::` or `self::`, in a `use` or inline, or by
//! the name of a module that it declares. Comments and inline test modules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The text of each module by its path, such as `node::link`; that of `lib.rs` is empty.
pub type Sources = BTreeMap<String, String>;

/// The modules that each module imports, by their paths.
pub type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The modules of a folder `src`, but for files of tests.
pub fn sources(src: &Path) -> Sources {
    let mut sources = Sources::new();
    collect(src, "", &mut sources);
    sources
}

fn collect(folder: &Path, path: &str, sources: &mut Sources) {
    let inside =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        if file.is_dir() {
            collect(&file, &inside(name), sources);
        } else if file.extension().is_some_and(|end| end == "rs") && name != "tests" {
            let module =
                if ["lib", "mod"].contains(&name) { path.to_owned() } else { inside(name) };
            sources.insert(module, fs::read_to_string(file).unwrap());
        }
    }
}

/// The modules that each module imports.
pub fn imports(sources: &Sources) -> Imports<'_> {
    let mut imports = BTreeMap::new();
    for (module, text) in sources {
        let text = code(text);
        let mut found = BTreeSet::new();
        for (at, _) in text.match_indices("::") {
            let start = text[..at].rfind(|c: char| !is_name(c)).map_or(0, |before| before + 1);
            // Only the first name of a path says where it begins.
            if text[..start].ends_with("::") || text[..start].ends_with('$') {
                continue;
            }
            let base = match &text[start..at] {
                "crate" => String::new(),
                "self" => module.clone(),
                "super" => parent(module).to_owned(),
                name if declares(&text, name) => join(module, name),
                _ => continue,
            };
            paths(&base, &text[at + 2..], &mut |path| {
                let used = resolve(sources, path);
                if used != module {
                    found.insert(used);
                }
            });
        }
        imports.insert(module.as_str(), found);
    }
    imports
}

/// A circle: modules of which each imports the next, and the last the first; `None` if there is none.
pub fn circle<'a>(imports: &Imports<'a>) -> Option<Vec<&'a str>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| visit(module, imports, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    module: &'a str,
    imports: &Imports<'a>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(start) = path.iter().position(|earlier| *earlier == module) {
        return Some(path[start..].to_vec());
    }
    if !done.insert(module) {
        return None;
    }
    path.push(module);
    let found = imports[module].iter().find_map(|used| visit(used, imports, path, done));
    path.pop();
    found
}

/// The text without its comments, and without what follows `#[cfg(test)] mod … {`.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut is_test = false;
    for line in text.lines() {
        let line = line.split_once(" // ").map_or(line, |(code, _)| code);
        if line.trim_start().starts_with("//") {
            continue;
        }
        if is_test && line.starts_with("mod ") && line.ends_with('{') {
            break;
        }
        is_test = line == "#[cfg(test)]";
        code.push_str(line);
        code.push('\n');
    }
    code
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.trim_end_matches(';').ends_with(&format!("mod {name}")))
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}

/// Visits each path that begins with `base` and goes on with `rest`: a name, a path, or a list in braces.
/// Returns the length of what it read.
fn paths(base: &str, rest: &str, visit: &mut impl FnMut(&str)) -> usize {
    let mut read = rest.len() - rest.trim_start().len();
    if rest[read..].starts_with('{') {
        read += 1;
        loop {
            read += rest[read..].len() - rest[read..].trim_start().len();
            match rest[read..].chars().next() {
                Some(',') => read += 1,
                Some('}') | None => return read + 1,
                Some(_) => read += paths(base, &rest[read..], visit).max(1),
            }
        }
    }
    let name = rest[read..].split(|c| !is_name(c)).next().unwrap();
    read += name.len();
    let path = match name {
        "super" => parent(base).to_owned(),
        "" | "self" => base.to_owned(),
        name => join(base, name),
    };
    if rest[read..].starts_with("::") {
        return read + 2 + paths(&path, &rest[read + 2..], visit);
    }
    visit(&path);
    // A list goes on with the next path, after a new name.
    let renamed = rest[read..].strip_prefix(" as ");
    read + renamed.map_or(0, |name| 4 + name.find(|c| !is_name(c)).unwrap_or(name.len()))
}

/// The module that a path leads to or into.
fn resolve<'a>(sources: &'a Sources, path: &str) -> &'a str {
    let mut path = path;
    loop {
        if let Some((module, _)) = sources.get_key_value(path) {
            return module;
        }
        path = parent(path);
    }
}
