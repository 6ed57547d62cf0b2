//! Any bytes of a client give the same events however they arrive, within the limits, and no event
//! after a close frame or an error.

use bytes::BytesMut;
use pondwire::frame::Control;
use pondwire::websocket::{Event, MaxPayload, MessageReader, ReadError, close_code};

pub fn check(input: &[u8]) {
    let [limits, step, sent @ ..] = input else { return };
    let plain = 1 << (limits % 13);
    let compressed = (limits & 0x80 != 0).then_some(plain + plain / 8);
    let max_payload = MaxPayload { plain, compressed };
    let at_once = read(max_payload, sent, sent.len());
    assert_eq!(read(max_payload, sent, usize::from(*step)), at_once);

    let (events, error) = at_once;
    for (event, payload) in &events {
        let most = match event {
            Event::Message(kind) if kind.is_compressed => compressed.expect("it was agreed on"),
            Event::Message(_) => plain,
            Event::Fragment => plain.max(compressed.unwrap_or(0)),
            Event::Ping | Event::Pong | Event::Close(_) => 125,
        };
        assert!(payload.len() <= most.min(sent.len()));
        match event {
            Event::Ping => assert!(Control::pong(payload).is_some()),
            Event::Close(Some(code)) => {
                let reason = std::str::from_utf8(&payload[2..]).unwrap();
                let answer = Control::close(*code, reason).expect("the client may send it too");
                assert_eq!(answer.payload(), payload);
            }
            _ => {}
        }
    }
    let closes = events.iter().filter(|(event, _)| matches!(event, Event::Close(_))).count();
    assert!(closes + usize::from(error.is_some()) <= 1);
    assert!(error.is_none_or(|error| close_code::is_sendable(error.close_code())));
}

type Read = (Vec<(Event, Vec<u8>)>, Option<ReadError>);

/// The events of these bytes when they arrive in pieces of `step`.
fn read(max_payload: MaxPayload, sent: &[u8], step: usize) -> Read {
    let mut reader = MessageReader::new(BytesMut::new(), max_payload);
    let mut events = Vec::new();
    for piece in sent.chunks(step.max(1)) {
        reader.buffer().extend_from_slice(piece);
        loop {
            match reader.next_event() {
                Ok(Some(event)) => events.push((event, reader.payload().to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_event(), Ok(None));
                    return (events, Some(error));
                }
            }
        }
    }
    (events, None)
}
