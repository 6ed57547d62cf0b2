//! The ways into a view, the same for all of them.

/// Adds `parse` and its siblings to a view that has `from_document`, and `owned_fields` for an
/// `OwnedMessage` of the action `$action`; `$errors` says which message errors there are.
macro_rules! parse_methods {
    ($action:ty, $errors:literal) => {
        /// Validates a whole frame within [`Limits::default`](crate::Limits) and views it. Linear
        /// in its length; allocates nothing unless a header string has an escape.
        ///
        /// # Errors
        /// The frame is larger or deeper than the limits, no UTF-8, no JSON document, or
        #[doc = $errors]
        pub fn parse(frame: &'a [u8]) -> Result<Self, ValidationError> {
            Self::parse_with(frame, ParseOptions::default())
        }

        /// [`parse`](Self::parse) with other [`Limits`](crate::Limits) or [`ParseOptions`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        pub fn parse_with(
            frame: &'a [u8],
            options: impl Into<ParseOptions>,
        ) -> Result<Self, ValidationError> {
            Self::from_document(&Document::scan(frame, None, &options.into())?)
        }

        /// [`parse`](Self::parse) for text that is known to be UTF-8, as WebSocket libraries hand
        /// it out: not checked twice.
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        pub fn parse_str(frame: &'a str) -> Result<Self, ValidationError> {
            Self::parse_str_with(frame, ParseOptions::default())
        }

        /// [`parse_str`](Self::parse_str) with other [`Limits`](crate::Limits) or
        /// [`ParseOptions`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        pub fn parse_str_with(
            frame: &'a str,
            options: impl Into<ParseOptions>,
        ) -> Result<Self, ValidationError> {
            Self::from_document(&Document::scan(frame.as_bytes(), Some(frame), &options.into())?)
        }

        /// A view that owns its frame; see [`OwnedMessage`].
        ///
        /// # Errors
        /// As [`parse`](Self::parse).
        pub fn parse_owned(
            frame: Bytes,
            options: impl Into<ParseOptions>,
        ) -> Result<OwnedMessage<$action>, ValidationError> {
            OwnedMessage::parse(frame, &options.into(), Self::owned_fields)
        }
    };
}
pub(super) use parse_methods;
