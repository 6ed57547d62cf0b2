//! The published packages hold all that their files need, and no test that could not compile there.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The packages and their folders.
const PACKAGES: [(&str, &str); 3] =
    [("pondwire", ""), ("pondwire-redis", "redis"), ("pondwire-server", "server")];

/// The files of a package, within its folder.
fn published(package: &str) -> BTreeSet<PathBuf> {
    let listed = Command::new(env::var_os("CARGO").expect("cargo runs the tests"))
        .args(["package", "--list", "--offline", "--allow-dirty", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// The files that the code of `file` includes as text.
fn included(file: &Path, text: &str) -> Vec<PathBuf> {
    let relative =
        text.split("include_str!(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let resolve = |relative| {
        let mut path = PathBuf::new();
        for part in file.with_file_name("").join(relative).components() {
            if part == Component::ParentDir { assert!(path.pop()) } else { path.push(part) }
        }
        path
    };
    relative.map(resolve).collect()
}

#[test]
fn published_files_need_nothing_that_is_left_out() {
    let mut includes = 0;
    for (package, folder) in PACKAGES {
        let files = published(package);
        assert!(files.contains(Path::new("src/lib.rs")), "{package}: {files:?}");
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let inside = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file);
            let text = fs::read_to_string(inside).unwrap();
            let file_name = file.display();
            let unpublished = text.contains("pondwire_test_support");
            assert!(!unpublished, "{package}: {file_name} needs tests/support");
            for needed in included(file, &text) {
                includes += 1;
                assert!(files.contains(&needed), "{package}: {file_name} needs {needed:?}");
            }
        }
    }
    assert!(includes >= 8, "the test reads what is included: {includes}");
}

/// A string of a package's manifest.
fn of_manifest<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let line = manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    Some(line.trim_end_matches('"'))
}

/// The targets of Markdown's links and pictures.
fn links(markdown: &str) -> Vec<&str> {
    let text = markdown.split("```").step_by(2);
    let inline = text.clone().flat_map(|text| text.split("](").skip(1));
    let inline = inline.map(|rest| rest.split([')', ' ']).next().unwrap());
    let html = text.flat_map(|text| ["src=\"", "href=\"", "srcset=\""].map(|start| (text, start)));
    let html = html.flat_map(|(text, start)| text.split(start).skip(1));
    inline.chain(html.map(|rest| rest.split('"').next().unwrap())).collect()
}

#[test]
fn a_registry_can_show_each_package() {
    for (package, folder) in PACKAGES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let documentation = format!("https://docs.rs/{package}");
        assert_eq!(of_manifest(&manifest, "documentation"), Some(&*documentation));
        assert!(of_manifest(&manifest, "description").is_some_and(|text| text.len() > 20));
        assert!(
            manifest.contains("[package.metadata.docs.rs]\nall-features = true\n"),
            "{package}"
        );
        let files = published(package);
        let readme = of_manifest(&manifest, "readme").expect("a README");
        for needed in [readme, "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(files.contains(Path::new(needed)), "{package} has no {needed}");
        }
        // A registry knows no file of the repository unless the manifest says where that is.
        let readme = fs::read_to_string(root.join(readme)).unwrap();
        let links = links(&readme);
        assert!(!links.is_empty(), "the test reads links");
        let is_dead = |link: &&str| !link.starts_with("https://") && !link.starts_with('#');
        let dead: Vec<_> = links.into_iter().filter(is_dead).collect();
        assert!(dead.is_empty(), "{package}: {dead:?}");
    }
}
