//! Passes the compiler's version and flags to the binary, for its reports, and links C++ simdjson if
//! `peers/install.sh` has compiled it.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").expect("cargo sets RUSTC");
    let version = Command::new(rustc).arg("-V").output().expect("rustc runs").stdout;
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\x1f', " ");
    println!("cargo::rustc-env=RUSTC_VERSION={}", String::from_utf8_lossy(&version).trim());
    println!("cargo::rustc-env=RUSTFLAGS_USED={flags}");
    println!("cargo::rerun-if-changed=build.rs");
    let simdjson = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/simdjson");
    let library = simdjson.join("libsimdjson_peers.a");
    println!("cargo::rerun-if-changed={}", library.display());
    println!("cargo::rustc-check-cfg=cfg(cpp_simdjson)");
    if library.exists() {
        println!("cargo::rustc-cfg=cpp_simdjson");
        println!("cargo::rustc-link-search=native={}", simdjson.display());
        println!("cargo::rustc-link-lib=static=simdjson_peers");
        println!("cargo::rustc-link-lib=stdc++");
    }
}
