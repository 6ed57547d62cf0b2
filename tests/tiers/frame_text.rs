//! Frames of random text and newlines: every tier writes the same bytes.

use pondwire::scan::Tier;
use pondwire::{ChannelEvent, Frame, Payload};
use pondwire_test_support::{Random, cases, workload_frames};

use super::tier_lock;

fn text(random: &mut Random) -> String {
    let characters = ['a', '/', '"', '\\', '\n', '\0', '\u{1f}', '\u{7f}', 'é', '\u{2028}', '😀'];
    let most = *random.pick(&[40, 40, 40, 300]);
    (0..random.below(most)).map(|_| *random.pick(&characters)).collect()
}

#[test]
fn text_and_newlines_are_encoded_alike_on_every_tier() {
    let mut random = Random::from_env("texts_and_newlines");
    let frames = workload_frames(12_000);
    let breaks = ["\n", "\n", "\r\n", "\r", "\n\t", " ", "\t"];
    let _lock = tier_lock();
    let chosen = Tier::current();
    for _ in 0..cases(4000) {
        let received = random.pick(&frames);
        let Ok(message) = ChannelEvent::parse(received) else { continue };
        let value: serde_json::Value = message.payload().decode().unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let mut lines = String::new();
        for line in pretty.split('\n') {
            lines.push_str(line);
            lines.push_str(breaks[random.below(breaks.len())]);
        }
        let spliced = lines.trim().replace(['\n', '\r'], " ");
        let event = text(&mut random);
        let head = [r#"{"action":"BROADCAST","event":"#, r#","channelName":"/c","requestId":"r""#];
        let escaped = serde_json::to_string(&event).unwrap();
        let expected = format!(r#"{}{escaped}{},"payload":{spliced}}}"#, head[0], head[1]);
        for tier in Tier::ALL.iter().filter(|tier| tier.select()) {
            let frame = Frame::broadcast("/c", &event, "r", Payload::from_json(&lines).unwrap());
            assert_eq!(frame.as_str(), expected, "{tier}");
        }
        let back: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(back["event"], event);
        assert_eq!(back["payload"], value);
    }
    assert!(chosen.select());
}
