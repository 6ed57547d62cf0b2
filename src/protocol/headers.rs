//! The headers of a request: a borrowed, case-insensitive view.

use std::borrow::Cow;
use std::fmt;

/// The headers of the request that opened a connection: a borrowed, case-insensitive view.
///
/// Names are compared ignoring the case of ASCII letters; all other bytes must be equal. Names and
/// values are bytes, as in HTTP, and are not changed. A look-up allocates nothing and compares with each
/// header once. Copying the view copies a reference.
///
/// ```
/// use pondwire::protocol::Headers;
///
/// let received: [(&[u8], &[u8]); 3] =
///     [(b"Host", b"example.org"), (b"Cookie", b"id=7"), (b"cookie", b"theme=dark")];
/// let headers = Headers::new(&received);
/// assert_eq!(headers.get("HOST"), Some(&b"example.org"[..]));
/// assert_eq!(headers.get_str("cookie"), Some("id=7"));
/// assert_eq!(headers.get_all("cookie").count(), 2);
/// assert_eq!((headers.len(), headers.names().count()), (3, 2));
/// ```
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    pairs: &'a [(&'a [u8], &'a [u8])],
    /// If present, `pairs` is empty.
    #[cfg(feature = "http")]
    map: Option<&'a http::HeaderMap>,
}

impl<'a> Headers<'a> {
    /// A view of name and value pairs, in order.
    #[must_use]
    pub const fn new(pairs: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self {
            pairs,
            #[cfg(feature = "http")]
            map: None,
        }
    }

    /// The number of headers; a repeated one counts each time.
    #[must_use]
    pub fn len(&self) -> usize {
        #[cfg(feature = "http")]
        if let Some(map) = self.map {
            return map.len();
        }
        self.pairs.len()
    }

    /// Whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first value of the name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        self.get_all(name).next()
    }

    /// The first value of the name, if it is UTF-8; most values are ASCII.
    pub fn get_str(&self, name: impl AsRef<[u8]>) -> Option<&'a str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The first value of the name, decoded as ISO 8859-1 as in the Python package. Allocates only if a
    /// byte is not ASCII.
    pub fn get_latin1(&self, name: impl AsRef<[u8]>) -> Option<Cow<'a, str>> {
        let value = self.get(name)?;
        Some(match std::str::from_utf8(value) {
            Ok(text) if text.is_ascii() => Cow::Borrowed(text),
            _ => value.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
        })
    }

    /// Every value of the name, in order.
    pub fn get_all<N: AsRef<[u8]>>(&self, name: N) -> impl Iterator<Item = &'a [u8]> + use<'a, N> {
        let pairs = self.iter();
        pairs.filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_ref())).map(|(_, value)| value)
    }

    /// Whether a header of the name that is a comma-separated list, such as `Connection`, has the element
    /// `token`, ignoring the case of ASCII letters. Parameters of an element (after `;`) do not matter.
    ///
    /// ```
    /// use pondwire::protocol::Headers;
    ///
    /// let received: [(&[u8], &[u8]); 2] =
    ///     [(b"Connection", b"keep-alive, Upgrade"), (b"Accept", b"text/html;q=0.9")];
    /// let headers = Headers::new(&received);
    /// assert!(headers.has_token("connection", "upgrade") && headers.has_token("accept", "text/html"));
    /// assert!(!headers.has_token("connection", "up"));
    /// ```
    #[must_use]
    pub fn has_token(&self, name: impl AsRef<[u8]>, token: impl AsRef<[u8]>) -> bool {
        let mut elements = self.get_all(name).flat_map(|line| line.split(|&byte| byte == b','));
        elements.any(|element| {
            let value = element.split(|&byte| byte == b';').next().unwrap_or_default();
            value.trim_ascii().eq_ignore_ascii_case(token.as_ref())
        })
    }

    /// Whether there is a header of the name.
    pub fn contains(&self, name: impl AsRef<[u8]>) -> bool {
        self.get(name).is_some()
    }

    /// Every name once, in its first spelling, in the order of first appearance.
    ///
    /// Compares each pair of headers; HTTP servers bound their number.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let headers = *self;
        self.iter().enumerate().filter_map(move |(i, (name, _))| {
            let seen = headers.iter().take(i).any(|(other, _)| other.eq_ignore_ascii_case(name));
            (!seen).then_some(name)
        })
    }

    /// Every name with its value, repeated names included, in the order of the source. An
    /// `http::HeaderMap` groups the values of one name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let pairs = self.pairs.iter().copied();
        #[cfg(feature = "http")]
        let pairs = {
            let of_map = self.map.into_iter().flat_map(http::HeaderMap::iter);
            pairs.chain(of_map.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
        };
        pairs
    }
}

#[cfg(feature = "http")]
impl<'a> From<&'a http::HeaderMap> for Headers<'a> {
    fn from(map: &'a http::HeaderMap) -> Self {
        Self { pairs: &[], map: Some(map) }
    }
}

/// Only the names: values hold cookies and tokens, which do not belong in a log.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().map(|name| name.escape_ascii().to_string());
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    const PAIRS: &[(&[u8], &[u8])] =
        &[(b"A", b"1"), (b"b-\xC9", b"\xE9"), (b"a", b""), (b"\xC9", b"x")];

    #[test]
    fn only_ascii_letters_match_case_insensitively() {
        let headers = Headers::new(PAIRS);
        assert_eq!(headers.get(b"B-\xC9"), Some(&b"\xE9"[..]));
        assert_eq!(headers.get(b"b-\xE9"), None);
        assert!(headers.contains(b"\xC9") && !headers.contains(b"\xE9"));
        assert!(!Headers::new(&[(b"[", b"")]).contains("{"), "one bit apart, but not letters");
    }

    #[test]
    fn values_are_decoded_by_the_requested_encoding() {
        let headers = Headers::new(PAIRS);
        assert_eq!((headers.get_str("a"), headers.get_str(b"b-\xC9")), (Some("1"), None));
        assert_eq!(headers.get_latin1(b"b-\xC9").unwrap(), "é");
        let utf8 = Headers::new(&[(b"x", b"\xC3\xA9")]);
        assert_eq!(utf8.get_str("x"), Some("é"));
        assert_eq!(utf8.get_latin1("x").unwrap(), "Ã©");
    }

    #[test]
    fn debug_hides_values() {
        let pairs: [(&[u8], &[u8]); 1] = [(b"Cookie", b"secret")];
        assert_eq!(format!("{:?}", Headers::new(&pairs)), r#"{"Cookie"}"#);
    }
}
