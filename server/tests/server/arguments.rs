//! The command line of the example program. Its environment is tested in `examples/axum/tests`.

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use pondwire::Policy;
use pondwire_server::{Options, Rate};
use pondwire_test_support::client::{Client, ROOM};

use crate::fixture::{Server, demo};

#[path = "../../examples/server/arguments.rs"]
mod program;

fn parse_all(line: &str) -> Result<program::Parsed, clap::Error> {
    program::parse(["server"].into_iter().chain(line.split_whitespace()).map(OsString::from))
}

fn parse(line: &str) -> Result<Options, clap::Error> {
    parse_all(line).map(|parsed| parsed.options)
}

/// What `--help` prints.
pub(crate) fn help() -> String {
    parse("--help").expect_err("no options").to_string()
}

fn read(line: &str) -> Options {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_option_is_read() {
    let options = read(
        "--addr 127.0.0.1:0 --connections 10 --connections-per-address 2 \
         --trusted-proxy 10.0.0.0/8 --trusted-proxy ::1 --proxy-protocol --message-rate 5:9 \
         --byte-rate 1000 --channels 4 --message-bytes 2000 --name-bytes 30 --presence-bytes 500 \
         --memory-bytes 9000 --last-broadcast-bytes 0 \
         --slow conflate --waiting-frames 16 --waiting-bytes 4096 --request-time 1.5 \
         --keep-alive-time 2 --ping-time 4 --pong-time 3 --idle-time 60 --closing-time 0.5 \
         --unready-time 7 --drain-time 8 \
         --origin https://a --origin https://b --token abc --congestion cubic",
    );
    assert_eq!(options.addr, "127.0.0.1:0");
    assert_eq!((options.connections, options.connections_per_address), (10, 2));
    let proxies: Vec<_> = options.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
    assert!(options.proxy_protocol);
    assert_eq!(options.message_rate, Some(Rate { per_second: 5, burst: 9 }));
    assert_eq!(options.byte_rate, Some(Rate { per_second: 1000, burst: 2000 }));
    assert_eq!((options.channels, options.limits.max_bytes, options.name_bytes), (4, 2000, 30));
    assert_eq!((options.presence_bytes, options.waiting.policy), (500, Policy::Conflate));
    assert_eq!((options.waiting.max_frames, options.waiting.max_bytes), (16, 4096));
    assert_eq!((options.memory_bytes, options.last_broadcast_bytes), (9000, 0));
    let times = options.times;
    assert_eq!(times.request, Duration::from_millis(1500));
    assert_eq!(times.closing, Duration::from_millis(500));
    assert_eq!(times.keep_alive, Duration::from_secs(2));
    assert_eq!((times.ping, times.pong), (Duration::from_secs(4), Duration::from_secs(3)));
    assert_eq!(times.idle, Some(Duration::from_secs(60)));
    assert_eq!((times.unready, times.drain), (Duration::from_secs(7), Duration::from_secs(8)));
    assert_eq!(options.origins, ["https://a", "https://b"]);
    assert!(options.authorize.is_some());
    assert!(options.io_uring && !options.echo);
    assert_eq!(options.congestion_control.as_deref(), Some("cubic"));
    let options = read("--no-io-uring --echo --congestion system");
    assert!(!options.io_uring && options.echo && options.congestion_control.is_none());

    let node = read("--redis redis://r --node-id a --heartbeat 0.5 --queue 7").node.unwrap();
    assert_eq!((&*node.node_id, &*node.namespace), ("a", "default"));
    assert_eq!(node.redis, ["redis://r"]);
    let two = read("--redis redis://r,redis://s --redis redis://t").node.unwrap();
    assert_eq!(two.redis, ["redis://r", "redis://s", "redis://t"]);
    assert_eq!((node.heartbeat, node.queue), (Duration::from_millis(500), 7));
    let unnamed = || read("--redis redis://r --namespace n").node.unwrap();
    assert_eq!((&*unnamed().namespace, unnamed().queue), ("n", 65_536));
    assert_ne!(unnamed().node_id, unnamed().node_id);
}

#[test]
fn a_public_server_refuses_what_not_every_member_should_do() {
    assert!(!parse_all("").unwrap().public);
    assert!(parse_all("--public").unwrap().public);
    let server = Server::start_app(demo::public(), Options::default());
    let mut client = Client::joined(server.addr, ROOM);
    for event in ["evict", "simulate"] {
        client.event(event, r#"{"viewers":1}"#);
        assert_eq!(client.next()["payload"]["code"], 403, "{event}");
    }
    client.expect_alive();
}

#[test]
fn the_files_for_tls_belong_together() {
    assert!(parse_all("").unwrap().tls.is_none());
    let (cert, key) = parse_all("--tls-cert a.pem --tls-key b.pem").unwrap().tls.unwrap();
    assert_eq!((cert.to_str(), key.to_str()), (Some("a.pem"), Some("b.pem")));
    for (line, missing) in
        [("--tls-cert a", "--tls-key <PATH>"), ("--tls-key a", "--tls-cert <PATH>")]
    {
        let error = parse_all(line).err().expect(line);
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn zero_means_no_limit() {
    let options = read(
        "--connections 0 --connections-per-address 0 --message-rate 0 --byte-rate 0 --idle-time 0",
    );
    assert_eq!((options.connections, options.connections_per_address), (usize::MAX, usize::MAX));
    assert_eq!((options.message_rate, options.byte_rate), (None, None));
    assert_eq!(options.times.idle, None);
}

#[test]
fn wrong_options_are_refused_with_the_reason() {
    for (line, reason) in [
        ("--addr", "a value is required for '--addr <HOST:PORT>'"),
        ("--nonsense 1", "unexpected argument '--nonsense'"),
        ("--rediss redis://r", "unexpected argument '--rediss'"),
        ("--trusted-proxy 10.0.0.0/33", "expected an address, or a network as 10.0.0.0/8"),
        ("--proxy-protocol", "--trusted-proxy <NETWORK>"),
        ("--channels 0", "'--channels <N>': expected a number from 1"),
        ("--connections x", "'--connections <N>': expected a number"),
        ("--message-rate 1:", "'--message-rate <N[:BURST]>': expected N or N:BURST"),
        ("--idle-time=-1", "'--idle-time <SECONDS>': expected seconds"),
        ("--idle-time inf", "'--idle-time <SECONDS>': expected seconds"),
        ("--slow wait", "[possible values: disconnect, drop-oldest, drop-newest, conflate]"),
        ("--token a&b", "--token: expected letters, digits and -._~"),
        ("--token a --token-file b", "cannot be used with"),
        ("--token-file /nowhere/token", "--token-file: "),
        ("--ping-time 1 --pong-time 2", "--pong-time: longer than --ping-time"),
        ("--node-id a", "--redis <URL>"),
        ("--namespace n --heartbeat 1", "--redis <URL>"),
        ("--redis redis://r --heartbeat 0", "expected seconds, from 0.01 to 86400"),
        ("--redis redis://r --heartbeat NaN", "expected seconds, from 0.01 to 86400"),
        ("--redis redis://r --heartbeat 1e9", "expected seconds, from 0.01 to 86400"),
        ("--redis redis://r --queue 0", "expected a number from 1"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.to_string().contains(reason), "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn without_options_the_librarys_defaults_hold_and_the_help_shows_them() {
    let (options, default) = (read(""), Options::default());
    assert_eq!((&options.addr, options.page), (&default.addr, default.page));
    assert_eq!(options.connections, default.connections);
    assert_eq!(options.connections_per_address, default.connections_per_address);
    assert_eq!(
        (options.message_rate, options.byte_rate),
        (default.message_rate, default.byte_rate)
    );
    assert_eq!((options.channels, options.name_bytes), (default.channels, default.name_bytes));
    assert_eq!(format!("{:?}", options.limits), format!("{:?}", default.limits));
    assert_eq!(format!("{:?}", options.waiting), format!("{:?}", default.waiting));
    assert_eq!(format!("{:?}", options.times), format!("{:?}", default.times));
    assert_eq!(options.presence_bytes, default.presence_bytes);
    assert!(options.origins.is_empty() && options.authorize.is_none() && options.node.is_none());
    assert_eq!((options.echo, options.io_uring), (default.echo, default.io_uring));

    let help = parse("--help").unwrap_err();
    assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
    let help = help.to_string();
    let shown = |option: &str, default: &str| {
        let line = help.lines().find(|line| line.contains(&format!("--{option} "))).unwrap();
        assert!(line.contains(&format!("[default: {default}]")), "{line}");
    };
    shown("addr", "127.0.0.1:8080");
    shown("connections", "20000");
    shown("waiting-bytes", "8388608");
    shown("ping-time", "30");
    shown("idle-time", "0");
    shown("slow", "disconnect");
}
