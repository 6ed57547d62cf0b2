//! Spans and events for the subscriber of `tracing` that the application has installed: with the feature of that name.
//! Without it nothing of this is compiled.

use std::future::Future;
use std::pin::Pin;

/// A future that a handler has returned.
type Working<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An event: its level, and what `tracing::event!` takes after it.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($rest:tt)+) => {
        ::tracing::event!(target: "pondwire_server", ::tracing::Level::$level, $($rest)+)
    };
}

/// Nothing.
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $($rest:tt)+) => {{}};
}

pub(crate) use event;

/// A span that code can run in.
#[derive(Clone)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

#[cfg(feature = "tracing")]
impl Span {
    /// That of a connection, at the level `DEBUG`.
    pub(crate) fn connection(transport: &str, path: &str, user: &str, address: &str) -> Self {
        let span = tracing::debug_span!(
            target: "pondwire_server", "connection", transport, path, user, address
        );
        Self { span }
    }

    /// That of a handler of a channel, at the level `TRACE`. Its parent is the span that the code runs in.
    pub(crate) fn handler(channel: &str, event: &str) -> Self {
        Self { span: tracing::trace_span!(target: "pondwire_server", "handler", channel, event) }
    }

    pub(crate) fn run<T>(&self, run: impl FnOnce() -> T) -> T {
        self.span.in_scope(run)
    }

    pub(crate) fn wrap<T: 'static>(self, working: Working<T>) -> Working<T> {
        use tracing::Instrument as _;

        if self.span.is_disabled() {
            return working;
        }
        Box::pin(working.instrument(self.span))
    }
}

#[cfg(not(feature = "tracing"))]
impl Span {
    pub(crate) const fn connection(_: &str, _: &str, _: &str, _: &str) -> Self {
        Self {}
    }

    pub(crate) const fn handler(_: &str, _: &str) -> Self {
        Self {}
    }

    pub(crate) fn run<T>(&self, run: impl FnOnce() -> T) -> T {
        run()
    }

    pub(crate) fn wrap<T>(self, working: Working<T>) -> Working<T> {
        working
    }
}
