//! Shows that the models can fail: each named ordering is weakened in turn.

use std::process::Command;

/// Each named ordering, and a model that fails without it.
const NEEDED: [(&str, &str); 16] = [
    ("enter", "publish_after_publish_vs_unsubscribe"),
    ("leave", "publish_vs_unsubscribe"),
    ("drain", "publish_vs_unsubscribe"),
    ("drain is a load", "publish_vs_unsubscribe"),
    ("append", "publish_vs_subscribe"),
    ("limit", "publish_vs_subscribe"),
    ("link", "publish_vs_merge"),
    ("follow", "publish_vs_merge"),
    ("kill", "two_publishes_vs_merge_and_unsubscribe"),
    ("dead", "two_publishes_vs_merge_and_unsubscribe"),
    ("settle", "publish_vs_unsubscribe"),
    ("swap", "behavior::value_vs_publish"),
    ("read", "behavior::value_vs_publish"),
    ("mark", "behavior::replay_vs_two_publishes"),
    ("join", "behavior::replay_vs_publish"),
    ("joined", "behavior::replay_vs_publish"),
];

#[test]
fn the_models_fail_with_any_ordering_weakened() {
    let mut passed = Vec::new();
    for (name, model) in NEEDED {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("fanout::models::{model}")])
            .env("PONDWIRE_WEAKEN", name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(text.contains("running 1 test"), "{model}: {text}");
        let reason = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        println!("without `{name}`, {model}: {}", reason.unwrap_or("passed"));
        if run.status.success() {
            passed.push((name, model));
        }
    }
    assert!(passed.is_empty(), "{passed:?} passed");
}
