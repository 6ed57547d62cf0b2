//! Percent-encoding as in the WHATWG URL standard.

use std::borrow::Cow;

/// Decodes percent-encoding, and `+` as a space if `plus` is set. Malformed escapes stand for themselves;
/// bytes that are not UTF-8 become U+FFFD. Borrows when nothing is encoded, else makes one allocation of
/// at most the text's length, or two if there is a U+FFFD.
pub(super) fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let (bytes, _) = decoded_bytes(text, plus);
    Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|error| {
        // Three bytes of text decode to at most one invalid byte, which becomes U+FFFD, three bytes.
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    }))
}

/// The decoded text; `None` if an escape is malformed or the bytes are not UTF-8.
pub(super) fn decode_strict(text: &str) -> Option<Box<str>> {
    let (bytes, well_formed) = decoded_bytes(text, false);
    String::from_utf8(bytes).ok().filter(|_| well_formed).map(Into::into)
}

/// The decoded bytes, and whether all escapes are well-formed.
fn decoded_bytes(text: &str, plus: bool) -> (Vec<u8>, bool) {
    let mut bytes = Vec::with_capacity(text.len());
    let mut well_formed = true;
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        bytes.push(match byte {
            b'+' if plus => b' ',
            b'%' => match escaped(behind) {
                Some((byte, behind)) => {
                    rest = behind;
                    byte
                }
                None => {
                    well_formed = false;
                    b'%'
                }
            },
            byte => byte,
        });
    }
    (bytes, well_formed)
}

/// The byte of the two hexadecimal digits at the start, and the rest.
fn escaped(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], behind) = digits.split_first_chunk()?;
    let digit = |byte| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    Some((byte, behind))
}

/// Appends `text`, writing `%XX` for each byte that `keep` refuses.
pub(super) fn encode(text: &str, keep: impl Fn(u8) -> bool, output: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if keep(byte) {
            output.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            output.extend(['%', char::from(digits[0]), char::from(digits[1])]);
        }
    }
}

/// Whether JavaScript's `encodeURIComponent` leaves the byte unencoded.
pub(super) const fn kept_in_values(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
}

/// Whether a path segment may contain the byte unencoded (`pchar` of RFC 3986).
pub(super) const fn kept_in_segments(byte: u8) -> bool {
    kept_in_values(byte) || matches!(byte, b'$' | b'&' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}
