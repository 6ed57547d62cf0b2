//! Patterns of paths and channel names: `/chat/:id`, `/room-:id`, `/files/*`.

use std::fmt;

use smallvec::SmallVec;

/// A compiled pattern that paths and channel names are matched with.
///
/// A pattern is a sequence of segments between slashes, and a path matches when all of its
/// segments do, one by one:
///
/// | segment | matches | example |
/// |---|---|---|
/// | `text` | the same text, case-sensitive | `/chat` |
/// | `:name` | a segment that is not empty | `/chat/:id` |
/// | `prefix:name` | a segment that begins with the prefix and goes on | `/room-:id` |
/// | `*`, at the end only | all that is left, with its slashes; it may be empty | `/files/*` |
///
/// A leading and a trailing slash count: `/chat/` and `/chat` differ, and `/files/*` matches
/// `/files/` but not `/files`. A name consists of ASCII letters, digits and `_`.
///
/// What follows the first `?` of a path is its query and takes no part in matching. Nothing is
/// percent-decoded, neither before matching nor in what a match returns: a pattern compares what
/// was sent, `%2F` never becomes a slash, and who wants decoded values decodes them.
///
/// ```
/// use pondwire::protocol::Pattern;
///
/// let pattern = Pattern::new("/chat/room-:id/*")?;
/// let found = pattern.matches("/chat/room-7/a/b?token=x&v=2").unwrap();
/// assert_eq!(found.param("id"), Some("7"));
/// assert_eq!(found.wildcard(), Some("a/b"));
/// assert_eq!(found.query("v"), Some("2"));
/// assert!(pattern.matches("/chat/room-/a").is_none());
/// # Ok::<(), pondwire::protocol::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    /// Whether `*` follows the segments.
    wildcard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Param { prefix: Box<str>, name: Box<str> },
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// A `*` that is not the whole of the last segment.
    Wildcard,
    /// What follows a `:` is not a name of ASCII letters, digits and `_`.
    ParamName,
    /// Two parameters have the same name.
    DuplicateParam,
    /// A `?`: a query takes no part in matching.
    Query,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wildcard => "`*` must be the whole of the last segment",
            Self::ParamName => "`:` must be followed by a name of letters, digits and `_`",
            Self::DuplicateParam => "two parameters have the same name",
            Self::Query => "a pattern has no query",
        })
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// When the text is no pattern; see [`PatternError`].
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.contains('?') {
            return Err(PatternError::Query);
        }
        let (fixed, wildcard) = match pattern.rsplit_once('/') {
            Some((fixed, "*")) => (Some(fixed), true),
            None if pattern == "*" => (None, true),
            _ => (Some(pattern), false),
        };
        let segments = fixed.map(|fixed| fixed.split('/').map(Segment::new));
        let segments: Box<[_]> = segments.into_iter().flatten().collect::<Result<_, _>>()?;
        let mut names: Vec<_> = segments.iter().filter_map(Segment::name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(PatternError::DuplicateParam);
        }
        Ok(Self { text: pattern.into(), segments, wildcard })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Matches a path, with or without a query, or a channel name.
    ///
    /// What it returns borrows from the path, and its parameters' names from the pattern. It reads
    /// each byte of the path a bounded number of times, and allocates only for more than four
    /// parameters.
    #[must_use]
    pub fn matches<'a>(&'a self, path: &'a str) -> Option<PathMatch<'a>> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let mut rest = Some(path);
        let mut params = SmallVec::new();
        for segment in &self.segments {
            let left = rest?;
            let (text, behind) = match left.split_once('/') {
                Some((text, behind)) => (text, Some(behind)),
                None => (left, None),
            };
            rest = behind;
            match segment {
                Segment::Literal(literal) if text == &**literal => {}
                Segment::Literal(_) => return None,
                Segment::Param { prefix, name } => {
                    let value = text.strip_prefix(&**prefix).filter(|value| !value.is_empty())?;
                    params.push((&**name, value));
                }
            }
        }
        // What is left must be for the wildcard, and a wildcard takes it.
        (rest.is_some() == self.wildcard).then_some(PathMatch {
            path,
            params,
            wildcard: rest,
            query,
        })
    }
}

impl Segment {
    fn new(segment: &str) -> Result<Self, PatternError> {
        if segment.contains('*') {
            return Err(PatternError::Wildcard);
        }
        let Some((prefix, name)) = segment.split_once(':') else {
            return Ok(Self::Literal(segment.into()));
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(PatternError::ParamName);
        }
        Ok(Self::Param { prefix: prefix.into(), name: name.into() })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Param { name, .. } => Some(name),
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

/// What a [`Pattern`] found in a path: parameters, wildcard and query, as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMatch<'a> {
    path: &'a str,
    params: SmallVec<[(&'a str, &'a str); 4]>,
    wildcard: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> PathMatch<'a> {
    /// The path without its query.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The value of a parameter, never empty; `None` when the pattern has none of that name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Every parameter's name and value, in the pattern's order.
    pub fn params(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        self.params.iter().copied()
    }

    /// What `*` matched, perhaps nothing; `None` when the pattern has no wildcard.
    #[must_use]
    pub const fn wildcard(&self) -> Option<&'a str> {
        self.wildcard
    }

    /// The first value of a query parameter; empty for one without `=`.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&'a str> {
        self.query_pairs().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Every name and value of the query, repeated and empty values included, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let pairs = self.query.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// All that follows the first `?`; `None` without one.
    #[must_use]
    pub const fn query_string(&self) -> Option<&'a str> {
        self.query
    }
}

#[cfg(test)]
mod tests;
