//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455, section 9.1), for extensions of any name.

use std::fmt;

/// A `Sec-WebSocket-Extensions` header that is not a list of extensions: RFC 6455 requires the
/// handshake to fail, with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionsError {
    reason: &'static str,
    line: usize,
    offset: usize,
}

impl ExtensionsError {
    /// The index of the malformed line among the header's lines, from 0.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The position of the error in that line's value, in bytes from its start; at most its length.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    pub(super) const fn on_line(self, line: usize) -> Self {
        Self { line, ..self }
    }
}

impl fmt::Display for ExtensionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, line, offset } = self;
        write!(f, "Invalid Sec-WebSocket-Extensions: {reason} at byte {offset}")?;
        if *line > 0 { write!(f, " of line {line}") } else { Ok(()) }
    }
}

impl std::error::Error for ExtensionsError {}

/// The value of a parameter, unquoted: its first bytes and its length, which is enough to recognise
/// a number of two digits.
#[derive(Clone, Copy, Default)]
pub(super) struct Value {
    start: [u8; 2],
    len: usize,
}

impl Value {
    /// The start of the value, which is all of it up to two bytes; empty where it is longer.
    pub(super) fn short(&self) -> &[u8] {
        self.start.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.start.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }
}

/// `name` or `name=value`.
pub(super) struct Parameter<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Option<Value>,
}

/// Reads one line of the header from its start to its end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The name of the next extension, if there is one; elements of the list may be empty.
    pub(super) fn extension(&mut self) -> Result<Option<&'a [u8]>, ExtensionsError> {
        while self.takes(b',') {}
        if self.at == self.bytes.len() { Ok(None) } else { self.token().map(Some) }
    }

    /// The next parameter of the extension, if there is one.
    pub(super) fn parameter(&mut self) -> Result<Option<Parameter<'a>>, ExtensionsError> {
        if !self.takes(b';') {
            return match self.bytes.get(self.at) {
                None | Some(b',') => Ok(None),
                Some(_) => Err(self.error("expected `;`, `,` or the end")),
            };
        }
        let name = self.token()?;
        let value = if self.takes(b'=') { Some(self.value()?) } else { None };
        Ok(Some(Parameter { name, value }))
    }

    fn value(&mut self) -> Result<Value, ExtensionsError> {
        let mut value = Value::default();
        if self.bytes.get(self.at) != Some(&b'"') {
            self.token()?.iter().for_each(|&byte| value.push(byte));
            return Ok(value);
        }
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.error("a quoted value without an end")),
                Some(b'"') if value.len > 0 => break,
                Some(b'\\') => self.at += 1,
                Some(_) => {}
            }
            match self.bytes.get(self.at) {
                None => return Err(self.error("a quoted value without an end")),
                Some(&byte) if is_token(byte) => value.push(byte),
                Some(_) => return Err(self.error("a quoted value that is no token")),
            }
            self.at += 1;
        }
        self.at += 1;
        self.skip_space();
        Ok(value)
    }

    fn token(&mut self) -> Result<&'a [u8], ExtensionsError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take_while(|&&byte| is_token(byte)).count();
        if len == 0 {
            return Err(self.error("expected a token"));
        }
        self.at += len;
        self.skip_space();
        Ok(&rest[..len])
    }

    /// Takes the byte if it is next, and the space around it.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let next = self.bytes.get(self.at) == Some(&byte);
        if next {
            self.at += 1;
            self.skip_space();
        }
        next
    }

    fn skip_space(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }

    pub(super) const fn error(&self, reason: &'static str) -> ExtensionsError {
        ExtensionsError { reason, line: 0, offset: self.at }
    }
}

/// Whether it is a `tchar` of RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
    )
}
