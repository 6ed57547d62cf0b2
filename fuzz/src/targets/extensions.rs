//! Any header gives a verdict or an error with its place; a verdict does not depend on how the
//! list is cut into lines.

use pondwire::websocket::PermessageDeflate;

pub fn check(header: &[u8]) {
    let verdict = PermessageDeflate::negotiate([header]);
    match verdict {
        Ok(agreed) => {
            if let Some(agreed) = agreed {
                assert!(header.windows(18).any(|part| part == b"permessage-deflate"));
                // The client must be able to read the answer, too.
                let response = agreed.response().as_bytes();
                assert_eq!(PermessageDeflate::negotiate([response]), Ok(Some(agreed)));
            }
            let spaced: Vec<u8> = header.iter().flat_map(|&byte| space(byte)).collect();
            assert_eq!(PermessageDeflate::negotiate([&spaced[..]]), Ok(agreed));
            // In a well-formed list no comma stands within quotes.
            let lines = header.split(|&byte| byte == b',');
            assert_eq!(PermessageDeflate::negotiate(lines), Ok(agreed));
        }
        Err(error) => {
            assert!(error.offset() <= header.len() && error.line() == 0);
            let behind = PermessageDeflate::negotiate([b"permessage-deflate".as_slice(), header]);
            // A line of nothing but commas is an empty list, which may follow one that is not
            // empty.
            match behind {
                Ok(_) => assert!(header.iter().all(|byte| b", \t".contains(byte))),
                Err(behind) => assert_eq!((behind.line(), behind.offset()), (1, error.offset())),
            }
        }
    }
}

/// A separator with space around it, as the grammar allows.
fn space(byte: u8) -> Vec<u8> {
    if matches!(byte, b',' | b';' | b'=') { vec![b' ', b'\t', byte, b' '] } else { vec![byte] }
}
