//! Any header gives a verdict or an error with its place; a verdict does not depend on how the
//! list is cut into lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondwire::websocket::PermessageDeflate;

fuzz_target!(|header: &[u8]| {
    let verdict = PermessageDeflate::negotiate([header]);
    match verdict {
        Ok(agreed) => {
            if let Some(agreed) = agreed {
                assert!(header.windows(18).any(|part| part == b"permessage-deflate"));
                // The client, too, must be able to read the answer.
                let response = agreed.response().as_bytes();
                assert_eq!(PermessageDeflate::negotiate([response]), Ok(Some(agreed)));
            }
            let spaced: Vec<u8> = header.iter().flat_map(|&byte| space(byte)).collect();
            assert_eq!(PermessageDeflate::negotiate([&spaced[..]]), Ok(agreed));
            // No comma stands within quotes where all is well-formed.
            let lines = header.split(|&byte| byte == b',');
            assert_eq!(PermessageDeflate::negotiate(lines), Ok(agreed));
        }
        Err(error) => {
            assert!(error.offset() <= header.len() && error.line() == 0);
            let behind = PermessageDeflate::negotiate([b"permessage-deflate".as_slice(), header]);
            // Nothing but commas is an empty list, which may stand behind one that is not.
            match behind {
                Ok(_) => assert!(header.iter().all(|byte| b", \t".contains(byte))),
                Err(behind) => assert_eq!((behind.line(), behind.offset()), (1, error.offset())),
            }
        }
    }
});

/// Separators with as much space around them as is allowed.
fn space(byte: u8) -> Vec<u8> {
    if matches!(byte, b',' | b';' | b'=') { vec![b' ', b'\t', byte, b' '] } else { vec![byte] }
}
