//! Patterns of paths and channel names: `/chat/:id`, `/room-:id`, `/files/*/raw`.

mod build;
mod percent;

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

pub use build::BuildError;
use percent::{decode, decode_strict};

/// A compiled pattern for paths and channel names.
///
/// A pattern is a sequence of segments separated by slashes. A path matches if all of its segments match
/// in order:
///
/// | segment | matches | example |
/// |---|---|---|
/// | `text` | the same text, case-sensitive | `/chat` |
/// | `:name` | one segment | `/chat/:id` |
/// | `prefix:name` | one segment longer than the prefix that begins with it | `/room-:id` |
/// | `*`, at most once | any number of segments, including none | `/files/*`, `/files/*/raw` |
///
/// **Slashes are folded**: segments are never empty, so `/chat/7`, `chat/7`, `/chat/7/` and
/// `//chat//7` are equivalent, as paths and as patterns. `/files/*` matches `/files`. The name of a
/// parameter consists of ASCII letters, digits and `_`.
///
/// **Segments are percent-decoded** after the path is split: `/ch%61t/a%2Fb` matches `/chat/:id`
/// with the value `a/b`. As in the WHATWG URL standard, a `%` not followed by two hexadecimal digits
/// stands for itself, and bytes that are not UTF-8 become U+FFFD; `+` is a plus. A value may therefore
/// contain any character, including slashes, `..` and NUL: check it before using it in a file name. The
/// text of a pattern is decoded too (malformed escapes are an error there), so that a literal colon can
/// be written `%3A`, an asterisk `%2A` and a question mark `%3F`.
///
/// Channels are identified by their names as sent. Two names that differ only in slashes or escapes match
/// the same patterns but are two channels, unless a server uses the path that [`build`](Self::build)
/// makes from the values, which is the same for both.
///
/// **The query** follows the first `?` of a path. It is ignored in matching; its names and values are
/// decoded when they are looked up, with `+` as a space.
///
/// ```
/// use pondwire::protocol::Pattern;
///
/// let pattern = Pattern::new("/chat/room-:id/*")?;
/// let found = pattern.matches("/chat/room-7/a/b%20c?token=x%3D&v=2").unwrap();
/// assert_eq!(found.param("id"), Some("7"));
/// assert_eq!(found.wildcard(), Some("a/b c"));
/// assert_eq!(found.query("token").as_deref(), Some("x="));
/// assert!(pattern.matches("/chat/room-/a").is_none());
/// # Ok::<(), pondwire::protocol::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    head: Box<[Segment]>,
    /// The segments after `*`; `None` in a pattern without one.
    tail: Option<Box<[Segment]>>,
}

/// One segment; literals and prefixes are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Param { prefix: Box<str>, name: Box<str> },
}

/// The reason why a text is not a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// A `*` that is not a whole segment, or a second `*`.
    Wildcard,
    /// A `:` that no name of ASCII letters, digits and `_` follows.
    ParamName,
    /// Two parameters have the same name.
    DuplicateParam,
    /// A `?`: patterns have no query.
    Query,
    /// A `%` not followed by two hexadecimal digits, or bytes that are not UTF-8.
    Encoding,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wildcard => "`*` must be a whole segment, and the only `*`",
            Self::ParamName => "`:` must be followed by a name of letters, digits and `_`",
            Self::DuplicateParam => "two parameters have the same name",
            Self::Query => "a pattern has no query",
            Self::Encoding => "`%` must be followed by two hexadecimal digits and encode UTF-8",
        })
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// The text is not a pattern; see [`PatternError`].
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.contains('?') {
            return Err(PatternError::Query);
        }
        let (mut head, mut tail) = (Vec::new(), None);
        for text in pattern.split('/').filter(|text| !text.is_empty()) {
            if text == "*" && tail.is_none() {
                tail = Some(Vec::new());
            } else {
                tail.as_mut().unwrap_or(&mut head).push(Segment::new(text)?);
            }
        }
        let pattern = Self { text: pattern.into(), head: head.into(), tail: tail.map(Into::into) };
        let mut names: Vec<_> = pattern.names().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(PatternError::DuplicateParam);
        }
        Ok(pattern)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of the parameters, in order, without the wildcard.
    fn names(&self) -> impl Iterator<Item = &str> {
        let tail = self.tail.as_deref().unwrap_or_default();
        self.head.iter().chain(tail).filter_map(Segment::name)
    }

    /// Matches a path, with or without a query, or a channel name.
    ///
    /// The result borrows from the path, and its parameters' names from the pattern. Time is
    /// linear in the length of the path for every pattern: each byte is read a bounded number of times,
    /// without backtracking or recursion. Allocates at most a segment's length for each segment that has
    /// a `%`, and for more than four parameters.
    #[must_use]
    pub fn matches<'a>(&'a self, path: &'a str) -> Option<PathMatch<'a>> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let mut rest = Segments(path);
        let mut params = SmallVec::new();
        for segment in &self.head {
            segment.accept(rest.next()?, &mut params)?;
        }
        let wildcard = match &self.tail {
            None if rest.next().is_some() => return None,
            None => None,
            Some(tail) => {
                let behind = params.len();
                for segment in tail.iter().rev() {
                    segment.accept(rest.next_back()?, &mut params)?;
                }
                params[behind..].reverse();
                Some(decode(rest.0.trim_matches('/'), false))
            }
        };
        Some(PathMatch { path, params, wildcard, query })
    }
}

/// The remaining segments of a path.
struct Segments<'a>(&'a str);

impl<'a> Segments<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches('/');
        let (segment, behind) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        self.0 = behind;
        (!segment.is_empty()).then_some(segment)
    }

    fn next_back(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_end_matches('/');
        let (before, segment) = rest.split_at(rest.rfind('/').map_or(0, |slash| slash + 1));
        self.0 = before;
        (!segment.is_empty()).then_some(segment)
    }
}

type Params<'a> = SmallVec<[(&'a str, Cow<'a, str>); 4]>;

impl Segment {
    fn new(segment: &str) -> Result<Self, PatternError> {
        if segment.contains('*') {
            return Err(PatternError::Wildcard);
        }
        let decoded = |text| decode_strict(text).ok_or(PatternError::Encoding);
        let Some((prefix, name)) = segment.split_once(':') else {
            return Ok(Self::Literal(decoded(segment)?));
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(PatternError::ParamName);
        }
        Ok(Self::Param { prefix: decoded(prefix)?, name: name.into() })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param { name, .. } => Some(name),
        }
    }

    /// Matches a path's segment, and adds its parameter if this is one; `None` on a mismatch.
    fn accept<'a>(&'a self, segment: &'a str, params: &mut Params<'a>) -> Option<()> {
        let text = decode(segment, false);
        match self {
            Self::Literal(literal) => (text == **literal).then_some(()),
            Self::Param { prefix, name } => {
                let value = match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix(&**prefix)?),
                    Cow::Owned(mut text) => {
                        if !text.starts_with(&**prefix) {
                            return None;
                        }
                        text.drain(..prefix.len());
                        Cow::Owned(text)
                    }
                };
                (!value.is_empty()).then(|| params.push((name, value)))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::new(pattern)
    }
}

/// The result of a match: parameters, wildcard and query, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatch<'a> {
    path: &'a str,
    params: Params<'a>,
    wildcard: Option<Cow<'a, str>>,
    query: Option<&'a str>,
}

impl<'a> PathMatch<'a> {
    /// The path without its query, as it was sent.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The value of a parameter, never empty; `None` when the pattern has no parameter of the name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Every parameter's name and value, in the pattern's order.
    pub fn params(&self) -> impl ExactSizeIterator<Item = (&'a str, &str)> {
        self.params.iter().map(|(name, value)| (*name, &**value))
    }

    /// The segments that `*` matched, with the slashes between but not around them; may be empty. `None`
    /// when the pattern has no wildcard.
    ///
    /// A slash in it may have been sent as `%2F`; compare [`path`](Self::path).
    #[must_use]
    pub fn wildcard(&self) -> Option<&str> {
        self.wildcard.as_deref()
    }

    /// The first value of a query parameter, decoded; empty for one without `=`. Parses the query at each
    /// call; allocates only for names and values that have a `%` or `+`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_pairs()
            .find_map(|(n, value)| (decode(n, true) == name).then(|| decode(value, true)))
    }

    /// Every name and value of the query in order, decoded, including repeated and empty values.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        self.raw_pairs().map(|(name, value)| (decode(name, true), decode(value, true)))
    }

    fn raw_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let pairs = self.query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The query as sent: everything after the first `?`. `None` without one.
    #[must_use]
    pub const fn query_string(&self) -> Option<&'a str> {
        self.query
    }
}

/// Whether a pub/sub topic matches a pattern, as in the other PondSocket packages: the two are equal, or
/// the pattern ends with `.*` and the topic starts with the text before that.
///
/// Elsewhere `*` stands for itself. Compares each byte at most twice. This crate's own buses subscribe to
/// topics by their exact names.
///
/// ```
/// use pondwire::protocol::match_topic;
///
/// assert!(match_topic("chat.42", "chat.42"));
/// assert!(match_topic("chat.*", "chat.42.typing"));
/// assert!(!match_topic("chat.*", "game.42"));
/// assert!(!match_topic("*.42", "chat.42"));
/// ```
#[must_use]
pub fn match_topic(pattern: &str, topic: &str) -> bool {
    pattern == topic || pattern.strip_suffix(".*").is_some_and(|start| topic.starts_with(start))
}

#[cfg(test)]
mod tests;
