//! The repository itself: which module may use which, that the documentation names files that exist, and that
//! what is published needs nothing that is not.

mod coming_from;
mod documented_paths;
mod layering;
mod package;

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder and of all folders in it, but for what builds and installations left there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with('.') || ["target", "node_modules"].contains(&name) {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
