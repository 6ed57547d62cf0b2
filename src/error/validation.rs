//! The error of a refused frame: its reason, the field and the byte offset.

use std::fmt;

/// The class of a [`ValidationError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not UTF-8.
    Utf8,
    /// The text is not one JSON document.
    Json,
    /// A field is missing or of the wrong type, or a server's own check refused it.
    Schema,
    /// The frame is larger or deeper than [`Limits`](crate::Limits) allow.
    Limit,
    /// `event`, `channelName`, `requestId` or another string that is read contains a lone
    /// surrogate.
    Unicode,
}

impl ErrorKind {
    /// A stable lower-case name: `utf8`, `json`, `schema`, `limit` or `unicode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Json => "json",
            Self::Schema => "schema",
            Self::Limit => "limit",
            Self::Unicode => "unicode",
        }
    }
}

/// The exact error, with the numbers and names that its text needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Utf8,
    Json(&'static str),
    TooDeep {
        limit: usize,
    },
    TooLarge {
        limit: usize,
    },
    Missing,
    ExpectedString,
    ExpectedObject,
    ExpectedArray,
    ExpectedUnsigned,
    ExpectedOneOf(&'static [&'static str]),
    ExpectedUnicode,
    /// The message of a server's own check.
    Other(&'static str),
}

/// The part of the message that an error refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// A field, or a root by its name (`clientMessage`, `wireMessage`).
    Named(&'static str),
    /// One item of a list by its name.
    Item(&'static str, usize),
    /// One item of `recipientDescriptor`.
    Recipient(usize),
    /// One item of `users`.
    User(usize, UserPart),
}

/// A part of an item of `users`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserPart {
    Whole,
    Id,
    Assigns,
    Presence,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Item(list, index) => write!(f, "{list}.{index}"),
            Self::Recipient(index) => write!(f, "recipientDescriptor.{index}"),
            Self::User(index, part) => {
                let part = match part {
                    UserPart::Whole => "",
                    UserPart::Id => ".id",
                    UserPart::Assigns => ".assigns",
                    UserPart::Presence => ".presence",
                };
                write!(f, "users.{index}{part}")
            }
        }
    }
}

/// The error of a refused frame: the reason, the field and the byte offset.
///
/// Its text is `path: message`, the form of the Python package, or the message alone if the path
/// is empty. Making, copying and dropping one allocates nothing, so that a malformed frame costs
/// no more than a good one.
///
/// ```
/// use pondwire::error::ErrorKind;
/// use pondwire::ClientMessage;
///
/// let error = ClientMessage::parse(br#"{"event":7}"#).unwrap_err();
/// assert_eq!(error.to_string(), "event: Expected string");
/// assert_eq!((error.kind(), error.offset()), (ErrorKind::Schema, 9));
/// assert_eq!(error.path().to_string(), "event"); // it can only be displayed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationError {
    detail: Detail,
    field: Field,
    offset: usize,
}

impl ValidationError {
    /// The error of a server's own check, of kind [`Schema`](ErrorKind::Schema) and at offset 0.
    /// `path` names the field as the parsers do (`payload.text`), or is empty for the message
    /// itself. [`Frame::invalid_message_as`](crate::Frame::invalid_message_as) makes the answer,
    /// with the message's request id.
    ///
    /// Both are static, since an error is `Copy` and allocates nothing. For text that is made at
    /// run time use [`Frame::refuse`](crate::Frame::refuse), or
    /// [`PondError`](crate::error::PondError) with [`Frame::error`](crate::Frame::error).
    ///
    /// ```
    /// use pondwire::{ClientMessage, Frame, ValidationError};
    ///
    /// fn check(message: &ClientMessage<'_>) -> Result<(), ValidationError> {
    ///     let text = message.payload().get("text").and_then(|text| text.as_str());
    ///     let text = text.ok_or(ValidationError::new("payload.text", "Expected string"))?;
    ///     if text.len() > 500 {
    ///         return Err(ValidationError::new("payload.text", "Expected at most 500 bytes"));
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let frame = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"r-1","event":"say","payload":{"text":7}}"#;
    /// let message = ClientMessage::parse(frame)?;
    /// let error = check(&message).unwrap_err();
    /// assert_eq!(error.to_string(), "payload.text: Expected string");
    /// let answer = Frame::invalid_message_as(message.request_id(), &error);
    /// assert!(answer.as_str().contains(r#""requestId":"r-1""#));
    /// # Ok::<(), ValidationError>(())
    /// ```
    #[must_use]
    pub const fn new(path: &'static str, message: &'static str) -> Self {
        Self::at(Field::Named(path), Detail::Other(message), 0)
    }

    /// [`new`](Self::new) for one item of the list that `path` names, counted from 0: the error's
    /// path is `path.index`.
    ///
    /// ```
    /// use pondwire::ValidationError;
    ///
    /// let error = ValidationError::of_item("payload.tags", 2, "Expected string");
    /// assert_eq!(error.to_string(), "payload.tags.2: Expected string");
    /// ```
    #[must_use]
    pub const fn of_item(path: &'static str, index: usize, message: &'static str) -> Self {
        Self::at(Field::Item(path, index), Detail::Other(message), 0)
    }

    pub(crate) const fn at(field: Field, detail: Detail, offset: usize) -> Self {
        Self { detail, field, offset }
    }

    /// An error of the bytes rather than of a field.
    pub(crate) const fn wire(detail: Detail, offset: usize) -> Self {
        Self::at(Field::Named("wireMessage"), detail, offset)
    }

    /// The class of the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self.detail {
            Detail::Utf8 => ErrorKind::Utf8,
            Detail::Json(_) => ErrorKind::Json,
            Detail::TooDeep { .. } | Detail::TooLarge { .. } => ErrorKind::Limit,
            Detail::ExpectedUnicode => ErrorKind::Unicode,
            Detail::Missing
            | Detail::ExpectedString
            | Detail::ExpectedObject
            | Detail::ExpectedArray
            | Detail::ExpectedUnsigned
            | Detail::ExpectedOneOf(_)
            | Detail::Other(_) => ErrorKind::Schema,
        }
    }

    /// Whether the frame was refused for its size alone; a server then closes with code 1009.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self.detail, Detail::TooLarge { .. })
    }

    /// The place in the message: a field (`event`, `payload.presence.0`, `users.0.id`), the message
    /// itself (`clientMessage`), or `wireMessage` if the bytes are not a JSON document within the
    /// limits. Empty only for an error made by [`new`](Self::new) with an empty path. It can only be displayed: its
    /// text is made then, so that an error allocates nothing.
    #[must_use]
    pub fn path(&self) -> impl fmt::Display + use<> {
        self.field
    }

    /// The reason, without the path.
    #[must_use]
    pub fn message(&self) -> impl fmt::Display + use<> {
        Message(self.detail, self.offset)
    }

    /// The place in the frame, or in the text that a payload was made of, in bytes from its start; at most its length.
    ///
    /// For a missing field it is the start of the object that lacks it; for a field of the wrong type, an unknown
    /// action or half of a surrogate pair the start of its value; for malformed JSON the first byte that cannot be
    /// valid, and in an escape the byte behind the backslash; for text that is not UTF-8 the start of the malformed
    /// character; for too many levels the bracket that opens one too many; for a frame that is too large the limit. It
    /// is 0 for the error of a server's own check.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

struct Message(Detail, usize);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(detail, offset) = self;
        match detail {
            Detail::Utf8 => write!(f, "Invalid UTF-8 at byte {offset}"),
            Detail::Json(reason) => write!(f, "Invalid JSON: {reason} at byte {offset}"),
            Detail::TooDeep { limit } => {
                write!(f, "Nesting exceeds {limit} levels at byte {offset}")
            }
            Detail::TooLarge { limit } => write!(f, "Message exceeds {limit} bytes"),
            Detail::Missing => f.write_str("Missing required field"),
            Detail::Other(message) => f.write_str(message),
            Detail::ExpectedString => f.write_str("Expected string"),
            Detail::ExpectedObject => f.write_str("Expected object"),
            Detail::ExpectedArray => f.write_str("Expected array"),
            Detail::ExpectedUnsigned => f.write_str("Expected unsigned integer"),
            Detail::ExpectedUnicode => f.write_str("Expected valid Unicode"),
            Detail::ExpectedOneOf(names) => {
                f.write_str("Expected one of [")?;
                for (i, name) in names.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { ", " })?;
                    f.write_str(name)?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Field::Named("") => write!(f, "{}", self.message()),
            field => write!(f, "{field}: {}", self.message()),
        }
    }
}

impl std::error::Error for ValidationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_error_has_the_form_of_the_parsers() {
        const ERROR: ValidationError = ValidationError::new("payload.text", "Too long");
        let copy = ERROR;
        assert_eq!((copy, copy.to_string()), (ERROR, "payload.text: Too long".to_owned()));
        assert_eq!(ERROR.path().to_string(), "payload.text");
        assert_eq!(ERROR.message().to_string(), "Too long");
        assert_eq!((ERROR.kind(), ERROR.offset()), (ErrorKind::Schema, 0));
        assert!(!ERROR.is_too_large());
        assert_ne!(ERROR, ValidationError::new("payload.text", "Too short"));
        let item = ValidationError::of_item("payload.tags", 17, "Too long");
        assert_eq!(item.to_string(), "payload.tags.17: Too long");
        assert_eq!(item.path().to_string(), "payload.tags.17");
    }

    #[test]
    fn without_a_path_there_is_the_message_alone() {
        let error = ValidationError::new("", "Not now");
        assert_eq!((error.to_string(), error.path().to_string()), ("Not now".into(), "".into()));
        assert_eq!(ValidationError::new("event", "").to_string(), "event: ");
    }
}
