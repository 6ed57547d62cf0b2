//! `Sec-WebSocket-Extensions`: offers that are accepted, declined, and malformed.

use pondwire::websocket::{ExtensionsError, PermessageDeflate};
use pondwire_test_support::{Random, cases};

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const WITH_WINDOW: &str = "permessage-deflate; server_no_context_takeover; \
                           client_no_context_takeover; server_max_window_bits=15";

fn negotiate(line: &[u8]) -> Result<Option<&'static str>, ExtensionsError> {
    Ok(PermessageDeflate::negotiate([line])?.map(|agreed| agreed.response()))
}

#[test]
fn offers_that_are_accepted() {
    let offers = [
        "permessage-deflate",
        // The offers of Chromium, Firefox and Safari, and of the npm and Python clients.
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits=\"10\"",
        "permessage-deflate;client_max_window_bits=\"1\\0\"",
        " \tpermessage-deflate\t;\tclient_max_window_bits\t=\t9 \t",
        ", ,permessage-deflate, ,",
        // Other extensions are ignored.
        "x-webkit-deflate-frame, permessage-deflate",
        "foo; bar=\"baz\"; bar=\"baz\", permessage-deflate, foo",
        "permessage-deflate, permessage-deflate; server_max_window_bits=15",
    ];
    for offer in offers {
        assert_eq!(negotiate(offer.as_bytes()), Ok(Some(PLAIN)), "{offer}");
    }
    // An offer that names a window for the server is answered with one.
    for offer in [
        "permessage-deflate; server_max_window_bits=15",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=\"15\"",
        // As in RFC 7692, section 7.1.3: the preferred offer first, then a fallback.
        "permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=15",
    ] {
        assert_eq!(negotiate(offer.as_bytes()), Ok(Some(WITH_WINDOW)), "{offer}");
    }
}

#[test]
fn the_examples_of_rfc_7692_section_5_and_7() {
    let accepted = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
        "permessage-foo; use_y, permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
    ];
    for offer in accepted {
        assert_eq!(negotiate(offer.as_bytes()), Ok(Some(PLAIN)), "{offer}");
    }
    for none in [
        "permessage-foo",
        "permessage-foo; x=10",
        "permessage-foo; use_y, permessage-foo",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    ] {
        assert_eq!(negotiate(none.as_bytes()), Ok(None), "{none}");
    }
}

#[test]
fn offers_that_are_declined() {
    let parameters = [
        // A smaller window than the one that shared frames are compressed with.
        "server_max_window_bits=8",
        "server_max_window_bits=14",
        // Values that are out of range, malformed, missing or superfluous.
        "server_max_window_bits",
        "server_max_window_bits=16",
        "server_max_window_bits=7",
        "server_max_window_bits=015",
        "server_max_window_bits=1",
        "server_max_window_bits=150",
        "server_max_window_bits=+15",
        "client_max_window_bits=16",
        "client_max_window_bits=7",
        "client_max_window_bits=08",
        "client_max_window_bits=\"08\"",
        "client_max_window_bits=0",
        "client_max_window_bits=a",
        "client_max_window_bits=99999999999999999999999",
        "server_no_context_takeover=true",
        "client_no_context_takeover=\"15\"",
        "client_no_context_takeover=10",
        // Twice.
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=10; client_max_window_bits=10",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; server_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=15; server_max_window_bits=15",
        // Unknown; names are exact.
        "mode=fast",
        "Client_Max_Window_Bits",
        "client_max_window_bits2",
        "permessage-deflate",
    ];
    for parameter in parameters {
        let offer = format!("permessage-deflate; {parameter}");
        assert_eq!(negotiate(offer.as_bytes()), Ok(None), "{offer}");
        let first = format!("permessage-deflate; client_max_window_bits; {parameter}");
        assert_eq!(negotiate(first.as_bytes()), Ok(None), "{first}");
        let fallback = format!("{offer}, permessage-deflate");
        assert_eq!(negotiate(fallback.as_bytes()), Ok(Some(PLAIN)), "{fallback}");
    }
    assert_eq!(negotiate(b"Permessage-Deflate"), Ok(None));
    assert_eq!(negotiate(b"permessage-deflate2"), Ok(None));
}

#[test]
fn headers_that_are_malformed() {
    let token = "expected a token";
    let next = "expected `;`, `,` or the end";
    let endless = "a quoted value without an end";
    let quoted = "a quoted value that is no token";
    let headers: [(&[u8], &str, usize); 22] = [
        (b"", token, 0),
        (b" , ,", token, 4),
        (b";", token, 0),
        (b"; client_max_window_bits", token, 0),
        (b"permessage-deflate;", token, 19),
        (b"permessage-deflate; ;", token, 20),
        (b"permessage-deflate; =10", token, 20),
        (b"permessage-deflate; a=", token, 22),
        (b"permessage-deflate; a=;", token, 22),
        (b"permessage-deflate; a=,foo", token, 22),
        (b"permessage-deflate; a==1", token, 22),
        (b"permessage-deflate a", next, 19),
        (b"permessage-deflate; a b", next, 22),
        (b"permessage-deflate; a=1 2", next, 24),
        (b"permessage-deflate=1", next, 18),
        (b"permessage-deflate; a=\"1\"2", next, 25),
        (b"a; b=\"", endless, 6),
        (b"a; b=\"1", endless, 7),
        (b"a; b=\"1\\", endless, 8),
        (b"a; b=\"\"", quoted, 6),
        (b"a; b=\"1 2\"", quoted, 7),
        (b"permessage-deflate\r\n", next, 18),
    ];
    for (header, reason, offset) in headers {
        let error = negotiate(header).unwrap_err();
        let text = format!("Invalid Sec-WebSocket-Extensions: {reason} at byte {offset}");
        assert_eq!(error.to_string(), text, "{}", header.escape_ascii());
        assert_eq!((error.line(), error.offset()), (0, offset));
        // A good offer before it does not save the handshake.
        let later = [b"permessage-deflate, x;y=1,", header].concat();
        if !header.iter().all(|byte| b" ,".contains(byte)) {
            assert_eq!(negotiate(&later).unwrap_err().offset(), offset + 26);
        }
    }
    for byte in (0..=b' ').chain(0x7f..=0xff).chain(*b"\"(),/:;<=>?@[\\]{}") {
        let header = [b"permessage-deflate; a", [byte].as_slice(), b"a"].concat();
        let accepted = [b"a=a", b"a;a", b"a,a"].iter().any(|good| header.ends_with(*good));
        assert_eq!(negotiate(&header).is_ok(), accepted, "{}", header.escape_ascii());
    }
}

#[test]
fn lines_are_one_list() {
    let negotiate = |lines: &[&'static str]| {
        PermessageDeflate::negotiate(lines.iter().map(|line| line.as_bytes()))
    };
    assert_eq!(negotiate(&[]), Ok(None), "no such header");
    assert!(negotiate(&["foo", "", "permessage-deflate"]).unwrap().is_some());
    assert!(negotiate(&["permessage-deflate; x", "permessage-deflate"]).unwrap().is_some());
    let error = negotiate(&["permessage-deflate", "foo", "bar baz"]).unwrap_err();
    assert_eq!((error.line(), error.offset()), (2, 4));
    assert!(error.to_string().ends_with("at byte 4 of line 2"));
    let error = negotiate(&["", ","]).unwrap_err();
    assert_eq!((error.line(), error.offset()), (1, 1));
}

/// Splits unquoted headers as the grammar does, without error positions.
fn naive(header: &str) -> Result<Option<&'static str>, ()> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte))
    };
    let space: &[char] = &[' ', '\t'];
    let mut found = false;
    let mut agreed = None;
    for element in header.split(',').map(|element| element.trim_matches(space)) {
        if element.is_empty() {
            continue;
        }
        found = true;
        let mut parts = element.split(';').map(|part| part.trim_matches(space));
        let name = parts.next().unwrap();
        if !is_token(name) {
            return Err(());
        }
        let (mut seen, mut good) = (Vec::new(), true);
        for part in parts {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key.trim_matches(space), Some(value.trim_matches(space))),
                None => (part, None),
            };
            if !is_token(key) || value.is_some_and(|value| !is_token(value)) {
                return Err(());
            }
            good &= !seen.contains(&key);
            seen.push(key);
            good &= match key {
                "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
                "server_max_window_bits" => value == Some("15"),
                "client_max_window_bits" => value.is_none_or(|value| {
                    ["8", "9", "10", "11", "12", "13", "14", "15"].contains(&value)
                }),
                _ => false,
            };
        }
        if name == "permessage-deflate" && good && agreed.is_none() {
            let window = seen.contains(&"server_max_window_bits");
            agreed = Some(if window { WITH_WINDOW } else { PLAIN });
        }
    }
    if found { Ok(agreed) } else { Err(()) }
}

#[test]
fn random_headers_are_judged_as_a_naive_parser_does() {
    let mut random = Random::from_env("random_headers");
    let pieces = [
        "permessage-deflate",
        "permessage-deflate",
        "permessage-deflate",
        "; client_max_window_bits",
        "; server_max_window_bits",
        "; server_max_window_bits=15",
        "; server_no_context_takeover",
        "; client_no_context_takeover",
        "=",
        "=15",
        "=10",
        "=8",
        "8",
        ",",
        ", permessage-deflate",
        ";",
        " ",
        "\t",
        "foo",
        "-",
        "=1",
        "é",
    ];
    let mut verdicts = [0; 4];
    let count = cases(100_000);
    for _ in 0..count {
        let header: String = (0..1 + random.below(7)).map(|_| *random.pick(&pieces)).collect();
        let verdict = negotiate(header.as_bytes());
        assert_eq!(verdict.map_err(drop), naive(&header), "{header:?}");
        verdicts[match verdict {
            Err(_) => 0,
            Ok(None) => 1,
            Ok(Some(PLAIN)) => 2,
            Ok(Some(_)) => 3,
        }] += 1;
    }
    assert!(verdicts.iter().all(|&verdicts| verdicts > count / 1000), "{verdicts:?}");
    for _ in 0..cases(50_000) {
        let bytes: Vec<u8> = (0..random.below(30)).map(|_| random.next() as u8).collect();
        if let Err(error) = negotiate(&bytes) {
            assert!(error.offset() <= bytes.len());
        }
    }
}
