//! The checked fields of a message, as places in its frame.

use std::fmt;

use crate::payload::Payload;
use crate::scan::{Span, text};

/// The fields of a valid message. Its frame is stored beside it and passed to each method.
#[derive(Clone)]
pub(super) struct Fields<A> {
    pub(super) action: A,
    event: Span,
    channel_name: Span,
    request_id: Span,
    /// Absent only when a missing payload may be read as `{}`.
    pub(super) payload: Option<Span>,
    /// The strings that are written with escapes, without these, each between two quotes: their
    /// spans refer to this text instead of the frame. Usually empty, without an allocation.
    unescaped: Box<str>,
}

/// The spans of the five fields, before the strings that are written with escapes are read.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) event: Span,
    pub(super) channel_name: Span,
    pub(super) request_id: Span,
    pub(super) payload: Option<Span>,
}

impl<A> Fields<A> {
    /// The fields at `places`, if no string among them is written with escapes.
    #[inline(always)]
    pub(super) fn plain(action: A, places: Places) -> Self {
        let Places { event, channel_name, request_id, payload } = places;
        Self { action, event, channel_name, request_id, payload, unescaped: Box::default() }
    }

    /// The fields at `places` of `frame`, whose strings were checked to hold no lone surrogate.
    pub(super) fn new(frame: &str, action: A, places: Places) -> Self {
        let mut fields = Self::plain(action, places);
        let strings = [&mut fields.event, &mut fields.channel_name, &mut fields.request_id];
        let strings = strings.map(|string| string.is_escaped().then_some(string));
        // An escape is at least as long as the character that it stands for.
        let most = strings.iter().flatten().map(|string| string.range().len()).sum();
        let mut unescaped = String::with_capacity(most);
        for string in strings.into_iter().flatten() {
            let (text, start) = (string.text(), unescaped.len());
            unescaped.push('"');
            text::push_unescaped(&frame[text.start..text.end], &mut unescaped);
            unescaped.push('"');
            *string = Span::string(start, unescaped.len(), true);
        }
        fields.unescaped = unescaped.into_boxed_str();
        fields
    }

    #[inline]
    fn text<'a>(&'a self, frame: &'a str, string: Span) -> &'a str {
        let text = string.text();
        let from = if text.escaped { &*self.unescaped } else { frame };
        &from[text.start..text.end]
    }

    #[inline]
    pub(super) fn event<'a>(&'a self, frame: &'a str) -> &'a str {
        self.text(frame, self.event)
    }

    #[inline]
    pub(super) fn channel_name<'a>(&'a self, frame: &'a str) -> &'a str {
        self.text(frame, self.channel_name)
    }

    #[inline]
    pub(super) fn request_id<'a>(&'a self, frame: &'a str) -> &'a str {
        self.text(frame, self.request_id)
    }

    #[inline]
    pub(super) fn payload<'a>(&self, frame: &'a str) -> Payload<'a> {
        self.payload.map_or(Payload::EMPTY, |span| Payload::from_span(frame, span))
    }

    /// Whether the five fields are equal, the payload by its text.
    pub(super) fn equals(&self, frame: &str, other: &Self, other_frame: &str) -> bool
    where
        A: PartialEq,
    {
        self.action == other.action
            && self.event(frame) == other.event(other_frame)
            && self.channel_name(frame) == other.channel_name(other_frame)
            && self.request_id(frame) == other.request_id(other_frame)
            && self.payload(frame) == other.payload(other_frame)
    }

    /// The `Debug` output of a view with this `name`.
    pub(super) fn debug(&self, frame: &str, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result
    where
        A: fmt::Debug,
    {
        f.debug_struct(name)
            .field("action", &self.action)
            .field("event", &self.event(frame))
            .field("channel_name", &self.channel_name(frame))
            .field("request_id", &self.request_id(frame))
            .field("payload", &self.payload(frame))
            .finish()
    }
}
