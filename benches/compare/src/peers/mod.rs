//! The crates that are compared, one in each file.

#[cfg(cpp_simdjson)]
pub mod cpp_simdjson;
pub mod envelope;
mod pondsocket_common;
mod pondwire;
mod serde_json;
mod simd_json;
mod sonic_rs;

use std::hint::black_box;

use crate::workloads::Line;

pub use self::pondsocket_common::PondsocketCommon;
pub use self::pondwire::Pondwire;
pub use self::serde_json::SerdeJson;
pub use self::simd_json::{Scratch, SimdJson};
pub use self::sonic_rs::SonicRs;

/// A parser of frames.
pub trait Peer: Default {
    const NAME: &'static str;

    /// Reads a frame as it comes from a socket, as unchecked bytes. Afterwards the parts of the
    /// message are available: the action, three strings and an object as payload.
    fn parse(&mut self, line: &Line) -> bool;
}

/// Whether there is a message; the compiler must treat it as used.
fn accepted<T, E>(parsed: &Result<T, E>) -> bool {
    black_box(parsed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::Side;

    const HEAD: &str =
        r#"{"action":"BROADCAST","channelName":"/c","requestId":"r","event":"e","payload":"#;

    fn verdicts(rest: &[u8]) -> [bool; 5] {
        let line = Line::of(&[HEAD.as_bytes(), rest].concat(), Side::Client);
        [
            Pondwire.parse(&line),
            PondsocketCommon.parse(&line),
            SerdeJson.parse(&line),
            SimdJson::default().parse(&line),
            SonicRs.parse(&line),
        ]
    }

    /// No peer gains time by validating less of the payload.
    #[test]
    fn every_peer_validates_the_whole_frame() {
        assert_eq!(verdicts(br#"{"a":[1,"\u00e9",true]}}"#), [true; 5]);
        let malformed: [&[u8]; 11] = [
            b"{",
            b"[]}",
            b"{}}x",
            br#"{"a":01}}"#,
            br#"{"a":tru}}"#,
            br#"{"a" 1}}"#,
            br#"{"a":[1,]}}"#,
            br#"{"a":"\x"}}"#,
            br#"{"a":"\u12"}}"#,
            b"{\"a\":\"\n\"}}",
            b"{\"a\":\"\xff\"}}",
        ];
        for rest in malformed {
            assert_eq!(verdicts(rest), [false; 5], "{}", rest.escape_ascii());
        }
    }
}
