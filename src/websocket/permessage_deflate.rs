//! The negotiation of permessage-deflate: which of a client's offers the server accepts (RFC 7692,
//! sections 5 to 7.1).

use super::extensions::{Cursor, ExtensionsError, Parameter};

/// An accepted offer of permessage-deflate.
///
/// The answer always says that neither side carries a context from one message to the next, as RFC
/// 7692 allows a server to decide, so that one compressed frame serves every recipient.
///
/// The negotiation needs no feature. A server that accepts an offer must inflate messages with RSV1
/// set: the feature `deflate` provides an `Inflater`, and the compressed form of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermessageDeflate {
    /// An offer that names a window for the server has to be answered with one.
    names_server_window: bool,
}

impl PermessageDeflate {
    /// Chooses the first of the offers in all `Sec-WebSocket-Extensions` lines of a request that
    /// can be accepted as it is. `None` if there is none; the response then has no such header.
    /// Allocates nothing; reads each byte once or twice.
    ///
    /// An offer is declined, and the next one considered, when a parameter is unknown or repeated,
    /// has a value that it must not have, lacks one that it needs, or has one other than 8 to 15.
    /// An offer with `server_max_window_bits` below 15 is declined too, because all recipients
    /// share the compressed form of a frame, which has distances up to 32 KB. Other extensions are
    /// ignored. Names must match exactly.
    ///
    /// ```
    /// use pondwire::websocket::PermessageDeflate;
    /// use pondwire::protocol::Headers;
    ///
    /// let headers: [(&[u8], &[u8]); 1] = [(
    ///     b"Sec-WebSocket-Extensions",
    ///     b"permessage-deflate; server_max_window_bits=10, permessage-deflate",
    /// )];
    /// let lines = Headers::new(&headers);
    /// let agreed = PermessageDeflate::negotiate(lines.get_all("sec-websocket-extensions"))?;
    /// assert!(agreed.is_some(), "the second offer");
    ///
    /// let error = PermessageDeflate::negotiate([&b"permessage-deflate; =10"[..]]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "Invalid Sec-WebSocket-Extensions: expected a token at byte 20",
    /// );
    /// # Ok::<(), pondwire::websocket::ExtensionsError>(())
    /// ```
    ///
    /// # Errors
    /// A line is not a list of extensions, even if an earlier offer could be accepted, or there are
    /// lines but no extension in them: answer with status 400.
    pub fn negotiate<'a>(
        lines: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, ExtensionsError> {
        let mut agreed = None;
        let mut extensions = 0_usize;
        let mut nothing = None;
        for (number, line) in lines.into_iter().enumerate() {
            let mut cursor = Cursor::new(line);
            let located = |error: ExtensionsError| error.on_line(number);
            while let Some(name) = cursor.extension().map_err(located)? {
                extensions += 1;
                let offer = Offer::read(&mut cursor).map_err(located)?;
                if name == b"permessage-deflate" {
                    agreed = agreed.or_else(|| offer.accept());
                }
            }
            nothing = Some(located(cursor.error("expected a token")));
        }
        match nothing {
            Some(error) if extensions == 0 => Err(error),
            _ => Ok(agreed),
        }
    }

    /// The value of the response's `Sec-WebSocket-Extensions` header.
    #[must_use]
    pub const fn response(&self) -> &'static str {
        if self.names_server_window {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=15"
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }
}

/// The parameters of one offer.
#[derive(Default)]
struct Offer {
    /// A bit for each parameter of [`PARAMETERS`] that was there.
    seen: u8,
    unacceptable: bool,
}

const PARAMETERS: [&[u8]; 4] = [
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"client_max_window_bits",
    b"server_max_window_bits",
];

const SERVER_MAX_WINDOW_BITS: usize = 3;

impl Offer {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, ExtensionsError> {
        let mut offer = Self::default();
        while let Some(parameter) = cursor.parameter()? {
            offer.note(&parameter);
        }
        Ok(offer)
    }

    fn note(&mut self, parameter: &Parameter<'_>) {
        let Some(index) = PARAMETERS.iter().position(|known| *known == parameter.name) else {
            self.unacceptable = true;
            return;
        };
        let bits = parameter.value.as_ref().map(|value| window_bits(value.short()));
        let right = match index {
            0 | 1 => bits.is_none(),
            2 => bits.is_none_or(|bits| bits.is_some()),
            _ => bits == Some(Some(15)),
        };
        let bit = 1 << index;
        self.unacceptable |= !right || self.seen & bit != 0;
        self.seen |= bit;
    }

    fn accept(&self) -> Option<PermessageDeflate> {
        let names_server_window = self.seen & (1 << SERVER_MAX_WINDOW_BITS) != 0;
        (!self.unacceptable).then_some(PermessageDeflate { names_server_window })
    }
}

/// A number from 8 to 15 without leading zeros (RFC 7692, section 7.1.2).
const fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ (b'8' | b'9')] => Some(*digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + *digit - b'0'),
        _ => None,
    }
}
