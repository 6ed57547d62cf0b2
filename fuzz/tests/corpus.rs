//! Each input of the committed corpora, given to its target.

use std::fs;
use std::path::Path;

use pondwire_fuzz::targets;

/// One test: the targets choose the scanner of the whole process.
#[test]
fn all_targets_hold_for_their_corpora() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, check) in targets::ALL {
        let mut count = 0;
        for entry in fs::read_dir(corpora.join(name)).unwrap() {
            let path = entry.unwrap().path();
            // Shown if the test fails.
            println!("{}", path.display());
            check(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 10, "the corpus of {name} has {count} inputs");
    }
    let folders = fs::read_dir(corpora).unwrap().count();
    assert_eq!(folders, targets::ALL.len(), "each folder is a target's");
}
