//! The first lines of every record: the machine, the versions and the command.

use std::process::Command;
use std::{env, fs};

const LOCK: &str = include_str!("../Cargo.lock");

const MANIFEST: &str = include_str!("../Cargo.toml");

/// A Markdown list of the machine, the compiler, the versions of these crates, the commit, the date
/// and the command; `program` is the part of the command before its arguments.
pub fn facts(program: &str, crates: &[&str]) -> String {
    let command = env::args().skip(1).fold(program.to_owned(), |line, arg| line + " " + &arg);
    let flags = env!("RUSTFLAGS_USED");
    let versions: Vec<String> =
        crates.iter().map(|name| format!("{name} {}", locked_version(name))).collect();
    let facts = [
        ("Machine", cpu()),
        ("Compiler", env!("RUSTC_VERSION").to_owned()),
        ("RUSTFLAGS", if flags.is_empty() { "none".to_owned() } else { format!("`{flags}`") }),
        ("Profile", profile()),
        ("Allocator", allocator()),
        ("Crates", versions.join(", ")),
        ("Commit", output_of("git", &["describe", "--always", "--dirty"])),
        ("Date", output_of("date", &["-u", "+%F"])),
        ("Command", format!("`{}`", command.trim_end_matches(" --"))),
    ];
    facts.iter().fold(String::new(), |out, (name, fact)| out + &format!("- {name}: {fact}\n"))
}

/// The version that `Cargo.lock` holds, from its `name = …` line and the `version = …` after it.
fn locked_version(name: &str) -> &'static str {
    let (_, entry) = LOCK.split_once(&format!("name = \"{name}\"\n")).expect("a dependency");
    entry.split('"').nth(1).expect("a version")
}

/// The settings of the release profile that decide how much is inlined: those of the manifest, or
/// of the variables that override them when this is built.
fn profile() -> String {
    let (_, release) = MANIFEST.split_once("[profile.release]\n").expect("the section");
    let settings = release.lines().map_while(|line| line.split_once(" = "));
    let overridden = |name| match name {
        "lto" => option_env!("CARGO_PROFILE_RELEASE_LTO"),
        "codegen-units" => option_env!("CARGO_PROFILE_RELEASE_CODEGEN_UNITS"),
        _ => None,
    };
    let settings = settings.map(|(name, value)| {
        format!("`{name} = {}`", overridden(name).unwrap_or(value.trim_matches('"')))
    });
    settings.collect::<Vec<_>>().join(", ")
}

fn allocator() -> String {
    if cfg!(feature = "mimalloc") {
        format!("mimalloc {}", locked_version("mimalloc"))
    } else {
        "the system's".to_owned()
    }
}

/// The CPU's model, with the numbers that distinguish generations of the same name.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map_or("unknown", |(_, value)| value.trim())
    };
    format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model"))
}

fn output_of(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
