//! C++ simdjson, which `peers/install.sh` compiles: the functions of `peers/simdjson_peer.cpp`.
#![allow(unsafe_code, reason = "functions of C++")]

use std::ffi::{c_char, c_void};
use std::hint::black_box;
use std::ptr::NonNull;

use super::Peer;
use crate::workloads::{Line, PADDING};

/// Five `std::string_view`, which are not read here.
#[repr(C)]
struct Message([usize; 10]);

/// A parser of one implementation of simdjson.
struct Parser(NonNull<c_void>);

/// Defines the peers of one implementation.
macro_rules! implementation {
    ($module:ident, $new:ident, $dom:ident, $on_demand:ident) => {
        pub mod $module {
            use super::*;

            unsafe extern "C" {
                fn $new() -> *mut c_void;
                fn $dom(
                    peer: *mut c_void,
                    json: *const c_char,
                    length: usize,
                    to: &mut Message,
                ) -> bool;
                fn $on_demand(
                    peer: *mut c_void,
                    json: *const c_char,
                    length: usize,
                    capacity: usize,
                    to: &mut Message,
                ) -> bool;
            }

            /// Whether this CPU has the instructions.
            pub fn is_supported() -> bool {
                parser().is_some()
            }

            fn parser() -> Option<Parser> {
                // SAFETY: takes nothing; what it returns is never freed.
                NonNull::new(unsafe { $new() }).map(Parser)
            }

            /// Validates the whole frame.
            pub struct Dom(Parser);

            /// Does not validate the payload.
            pub struct OnDemand(Parser);

            impl Default for Dom {
                fn default() -> Self {
                    Self(parser().expect("supported"))
                }
            }

            impl Default for OnDemand {
                fn default() -> Self {
                    Self(parser().expect("supported"))
                }
            }

            impl Peer for Dom {
                const NAME: &'static str = concat!(stringify!($module), " DOM");

                fn parse(&mut self, line: &Line) -> bool {
                    let (json, length) = (line.frame.as_ptr().cast(), line.frame.len());
                    assert!(line.frame.capacity() - length >= PADDING);
                    let mut message = Message([0; 10]);
                    // SAFETY: the parser is used by this thread only, and `json` has `length` bytes
                    // and the padding, which is memory of the vector.
                    let accepted = unsafe { $dom(self.0.0.as_ptr(), json, length, &mut message) };
                    black_box(&message.0);
                    accepted
                }
            }

            impl Peer for OnDemand {
                const NAME: &'static str = concat!(stringify!($module), " On-Demand");

                fn parse(&mut self, line: &Line) -> bool {
                    let (json, length) = (line.frame.as_ptr().cast(), line.frame.len());
                    let capacity = line.frame.capacity();
                    assert!(capacity - length >= PADDING);
                    let mut message = Message([0; 10]);
                    // SAFETY: as above.
                    let accepted = unsafe {
                        $on_demand(self.0.0.as_ptr(), json, length, capacity, &mut message)
                    };
                    black_box(&message.0);
                    accepted
                }
            }
        }
    };
}

implementation!(
    westmere,
    simdjson_peer_westmere,
    simdjson_dom_westmere,
    simdjson_on_demand_westmere
);
implementation!(haswell, simdjson_peer_haswell, simdjson_dom_haswell, simdjson_on_demand_haswell);
implementation!(icelake, simdjson_peer_icelake, simdjson_dom_icelake, simdjson_on_demand_icelake);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::Side;

    /// So that the table compares what validates with what validates.
    #[test]
    fn the_dom_validates_the_whole_frame() {
        let head =
            r#"{"action":"BROADCAST","channelName":"/c","requestId":"r","event":"e","payload":"#;
        let verdict = |rest: &[u8]| {
            let mut peer = haswell::Dom::default();
            peer.parse(&Line::of(&[head.as_bytes(), rest].concat(), Side::Client))
        };
        assert!(verdict(br#"{"a":[1,"\u00e9",true]}}"#));
        for rest in [&b"{"[..], b"[]}", br#"{"a":01}}"#, br#"{"a" 1}}"#, b"{\"a\":\"\xff\"}}"] {
            assert!(!verdict(rest), "{}", rest.escape_ascii());
        }
    }
}
