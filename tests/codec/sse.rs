//! The server-sent form of frames, read by the algorithm of the HTML standard, section 9.2.6.

use pondwire::{ChannelEvent, ClientMessage, Frame, Payload, ServerAction};
use pondwire_test_support::{Random, cases, workload_frames};

/// An event that a browser would dispatch.
#[derive(Debug, PartialEq)]
struct Event {
    kind: String,
    data: String,
    last_event_id: String,
}

/// The standard's event stream interpretation, of a whole stream.
fn interpret(stream: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(stream).expect("a stream is UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut data, mut kind, mut last_event_id) = (String::new(), String::new(), String::new());
    let mut events = Vec::new();
    // A line ends with CR LF, LF or CR; text after the last line end is not processed.
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some((lines, _)) = normal.rsplit_once('\n') else { return events };
    for line in lines.split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                assert_eq!(data.pop(), Some('\n'), "every line of data ends with one");
                let kind = if kind.is_empty() { "message" } else { &kind }.to_owned();
                let (data, last_event_id) = (data.clone(), last_event_id.clone());
                events.push(Event { kind, data, last_event_id });
            }
            data.clear();
            kind.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut kind),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut last_event_id),
            // `retry`, comments (an empty field name) and unknown fields.
            _ => {}
        }
    }
    events
}

fn messages(frames: &[Frame]) -> Vec<Event> {
    let event = |frame: &Frame| Event {
        kind: "message".to_owned(),
        data: frame.as_str().to_owned(),
        last_event_id: String::new(),
    };
    frames.iter().map(event).collect()
}

fn stream(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.sse().to_vec()).collect()
}

#[test]
fn the_parser_reads_the_standards_examples() {
    let message = |kind: &str, data: &str, id: &str| Event {
        kind: kind.to_owned(),
        data: data.to_owned(),
        last_event_id: id.to_owned(),
    };
    let stock = b"data: YHOO\ndata: +2\ndata: 10\n\n";
    assert_eq!(interpret(stock), [message("message", "YHOO\n+2\n10", "")]);
    let four =
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event";
    let expected = [message("message", "first event", "1"), message("message", "second event", "")];
    assert_eq!(interpret(four), expected, "the third is not complete");
    assert_eq!(interpret(b"data\n\ndata\ndata\n\ndata:").len(), 2);
    assert_eq!(interpret(b"data:test\r\rdata: test\r\n\r\n"), {
        [message("message", "test", ""), message("message", "test", "")]
    });
    assert_eq!(interpret(b"event: add\ndata: 1\n\n"), [message("add", "1", "")]);
}

#[test]
fn every_frame_is_one_message_with_its_document_as_data() {
    let mut random = Random::from_env("every_frame_is_one_message");
    let received = workload_frames(12_000);
    let mut frames = Vec::new();
    for _ in 0..cases(2000) {
        let frame = random.pick(&received);
        let Ok(message) = ChannelEvent::parse(frame) else { continue };
        let event = message.event();
        frames.push(Frame::broadcast("/c", event, "r", message.payload()));
    }
    assert!(frames.len() > cases(2000) / 10 && frames.len() <= cases(2000));
    assert_eq!(interpret(&stream(&frames)), messages(&frames));
}

#[test]
fn newlines_and_field_names_in_a_payload_stay_data() {
    let texts = [
        "\n",
        "\r",
        "\r\n\r\ndata: forged\n\n",
        "\nevent: forged\n",
        ":",
        " leading",
        "\u{feff}",
        "\0",
        "\u{85}\u{2028}\u{2029}\u{b}\u{c}\u{1e}",
        "data: x",
        "id: 1\nretry: 1",
        "😀",
    ];
    let mut frames = Vec::new();
    for text in texts {
        let payload = serde_json::json!({ "text": text, text: text });
        frames.push(Frame::serialize(ServerAction::Broadcast, text, text, text, &payload).unwrap());
        frames.push(Frame::broadcast(text, text, text, Payload::EMPTY));
    }
    // Newlines as whitespace in a client's payload.
    for json in [
        "{\n}",
        "{\r\n\r\n\"a\" :\n\n[ 1,\r2\n]\n\n}",
        "{\"a\":1\n\n,\n\"data\"\n:\n\"x\"}",
        "{\r\r\"event\":\"\\n\\r\\u000a\"\n}",
    ] {
        let document = format!(
            "{{\"action\":\"BROADCAST\",\"event\":\"e\",\"channelName\":\"/c\",\n\n\"requestId\":\"r\",\"payload\":{json}}}"
        );
        let message = ClientMessage::parse(document.as_bytes()).unwrap();
        let frame = Frame::broadcast("/c", "e", "r", message.payload());
        let sent: serde_json::Value = serde_json::from_slice(frame.json()).unwrap();
        assert_eq!(sent["payload"], serde_json::from_str::<serde_json::Value>(json).unwrap());
        frames.push(frame);
    }
    assert_eq!(interpret(&stream(&frames)), messages(&frames));
    for frame in &frames {
        let sse = frame.sse();
        assert!(sse.starts_with(b"data: {") && sse.ends_with(b"}\n\n"));
        assert_eq!(sse.iter().filter(|&&byte| byte == b'\n' || byte == b'\r').count(), 2);
        assert_eq!(sse.len(), frame.json().len() + 8);
    }
    // Comments that keep a connection alive may stand between any two.
    let kept_alive: Vec<u8> =
        frames.iter().flat_map(|frame| [b": ping\n\n", frame.sse()].concat()).collect();
    assert_eq!(interpret(&kept_alive), messages(&frames));
}
