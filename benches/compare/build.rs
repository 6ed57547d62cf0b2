//! Passes the compiler's version and flags to the binary, for its reports.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let version = Command::new(rustc).arg("-V").output().expect("rustc runs").stdout;
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\x1f', " ");
    println!("cargo::rustc-env=RUSTC_VERSION={}", String::from_utf8_lossy(&version).trim());
    println!("cargo::rustc-env=RUSTFLAGS_USED={flags}");
    println!("cargo::rerun-if-changed=build.rs");
}
