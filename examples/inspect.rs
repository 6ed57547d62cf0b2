//! Reads frames as NDJSON on stdin, one `{"id":…, "parse":…, "input_utf8":…}` (or `"input_hex"`) a line,
//! and writes the codec's result for each: the message, or the error and its position.
//!
//! ```text
//! $ echo '{"id":1,"parse":"client","input_utf8":"{\"event\":7}"}' | cargo run -q --example inspect
//! {"id":1,"ok":false,"kind":"schema","path":"event","message":"Expected string","offset":9}
//! ```
//!
//! `parse` is `client`, `server`, `presence` or `channelEvent`. An invalid request line is answered with
//! `"kind":"request"`.

use std::io::{self, BufRead, BufWriter, Write};

use pondwire::{ChannelEvent, ClientMessage, PresenceMessage, ServerMessage, ValidationError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    parse: Kind,
    input_utf8: Option<String>,
    input_hex: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Client,
    Server,
    Presence,
    ChannelEvent,
}

#[derive(Serialize)]
struct Accepted<'a> {
    id: &'a RawValue,
    ok: bool,
    value: &'a RawValue,
}

#[derive(Serialize)]
struct Refused<'a> {
    id: &'a RawValue,
    ok: bool,
    kind: &'a str,
    path: String,
    message: String,
    offset: usize,
}

fn main() -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().split(b'\n') {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        answer(&line, &mut output)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn answer(line: &[u8], output: &mut impl Write) -> io::Result<()> {
    let request = serde_json::from_slice::<Request<'_>>(line).map_err(|error| error.to_string());
    let (request, input) = match request.and_then(|request| Ok((input(&request)?, request))) {
        Ok((input, request)) => (request, input),
        Err(message) => {
            let refused = Refused {
                id: RawValue::NULL,
                ok: false,
                kind: "request",
                path: String::new(),
                message,
                offset: 0,
            };
            return Ok(serde_json::to_writer(output, &refused)?);
        }
    };
    match message(&request.parse, &input) {
        Ok(value) => {
            let accepted = Accepted { id: request.id, ok: true, value: &value };
            Ok(serde_json::to_writer(output, &accepted)?)
        }
        Err(error) => {
            let refused = Refused {
                id: request.id,
                ok: false,
                kind: error.kind().as_str(),
                path: error.path().to_string(),
                message: error.message().to_string(),
                offset: error.offset(),
            };
            Ok(serde_json::to_writer(output, &refused)?)
        }
    }
}

/// The bytes of the frame.
fn input(request: &Request<'_>) -> Result<Vec<u8>, String> {
    match (&request.input_utf8, &request.input_hex) {
        (Some(text), None) => Ok(text.clone().into_bytes()),
        (None, Some(hex)) => (0..hex.len())
            .step_by(2)
            .map(|i| hex.get(i..i + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| "input_hex: expected pairs of hexadecimal digits".to_owned()),
        _ => Err("expected one of input_utf8, input_hex".to_owned()),
    }
}

/// Parses the frame and renders its message as this crate would send it: five keys, the payload's raw text
/// spliced in, newlines replaced by spaces.
fn message(kind: &Kind, frame: &[u8]) -> Result<Box<RawValue>, ValidationError> {
    macro_rules! value {
        ($message:ident) => {{
            let message = $message::parse(frame)?;
            let json = serde_json::to_string(&message).expect("a view serializes");
            // The only newlines left are whitespace in the payload.
            RawValue::from_string(json.replace(['\n', '\r'], " ")).expect("a view is JSON")
        }};
    }
    Ok(match kind {
        Kind::Client => value!(ClientMessage),
        Kind::Server => value!(ServerMessage),
        Kind::Presence => value!(PresenceMessage),
        Kind::ChannelEvent => value!(ChannelEvent),
    })
}
