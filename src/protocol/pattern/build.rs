//! Building a path from a pattern and values.

use std::fmt;

use super::percent::{encode, kept_in_segments, kept_in_values};
use super::{Pattern, Segment};

/// The reason why [`Pattern::build`] failed, with the name of the parameter (`*` for the wildcard).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The parameter has no value.
    Missing(String),
    /// The value, or a segment of the wildcard's value, is empty: the path would not match.
    Empty(String),
    /// The value produces a segment `.` or `..`, which URL parsers resolve in any encoding.
    DotSegment(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "`{name}` has no value"),
            Self::Empty(name) => write!(f, "`{name}` has an empty segment"),
            Self::DotSegment(name) => write!(f, "`{name}` makes a segment of dots"),
        }
    }
}

impl std::error::Error for BuildError {}

impl Pattern {
    /// The path for these parameters, the inverse of [`matches`](Self::matches): matching it gives the
    /// same values.
    ///
    /// `params` are names and values in any order. The wildcard's name is `*`; its value is segments
    /// separated by slashes, or empty. The first value of a name counts; unknown names are ignored.
    /// Values are encoded as by JavaScript's `encodeURIComponent`. The path begins with a slash if the
    /// pattern does, with one slash between segments and none at the end. Each name is searched from the
    /// start of `params`.
    ///
    /// ```
    /// use pondwire::protocol::{BuildError, Pattern};
    ///
    /// let pattern = Pattern::new("/chat/room-:id/*")?;
    /// let path = pattern.build(&[("id", "a/b"), ("*", "c d/e")])?;
    /// assert_eq!(path, "/chat/room-a%2Fb/c%20d/e");
    /// assert_eq!(pattern.matches(&path).unwrap().param("id"), Some("a/b"));
    /// assert_eq!(pattern.build(&[("*", "")]), Err(BuildError::Missing("id".into())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A value is missing, or the path would not match or would be changed by URL parsers; see
    /// [`BuildError`].
    pub fn build(&self, params: &[(&str, &str)]) -> Result<String, BuildError> {
        let mut path = Path { text: String::with_capacity(self.as_str().len()), slash: false };
        path.slash = self.as_str().starts_with('/');
        for segment in &self.head {
            segment.put(&mut path, params)?;
        }
        if let Some(tail) = &self.tail {
            let value = value("*", params)?;
            for part in value.split('/').filter(|_| !value.is_empty()) {
                path.put("", part, "*")?;
            }
            for segment in tail {
                segment.put(&mut path, params)?;
            }
        }
        if path.text.is_empty() && path.slash {
            path.text.push('/');
        }
        Ok(path.text)
    }
}

fn value<'a>(name: &str, params: &[(&str, &'a str)]) -> Result<&'a str, BuildError> {
    let found = params.iter().find_map(|(n, value)| (*n == name).then_some(*value));
    found.ok_or_else(|| BuildError::Missing(name.into()))
}

impl Segment {
    fn put(&self, path: &mut Path, params: &[(&str, &str)]) -> Result<(), BuildError> {
        match self {
            Self::Literal(literal) => path.begin(literal),
            Self::Param { prefix, name } => path.put(prefix, value(name, params)?, name)?,
        }
        Ok(())
    }
}

/// A path under construction.
struct Path {
    text: String,
    /// Whether a slash comes before the next segment.
    slash: bool,
}

impl Path {
    /// Appends the literal start of a segment.
    fn begin(&mut self, literal: &str) {
        if self.slash {
            self.text.push('/');
        }
        self.slash = true;
        encode(literal, kept_in_segments, &mut self.text);
    }

    /// Appends a segment with a value.
    fn put(&mut self, prefix: &str, value: &str, name: &str) -> Result<(), BuildError> {
        if value.is_empty() {
            return Err(BuildError::Empty(name.into()));
        }
        if matches!((prefix, value), ("", "." | "..") | (".", ".")) {
            return Err(BuildError::DotSegment(name.into()));
        }
        self.begin(prefix);
        encode(value, kept_in_values, &mut self.text);
        Ok(())
    }
}
