//! The context of a connection's handler.

use std::fmt;

use parking_lot::Mutex;
use pondwire::error::PondError;
use pondwire::protocol::IncomingConnection;

use crate::caller::owned;
use crate::channel::Assigns;
use crate::content::Content;

/// A client that asks to connect, before the upgrade or the event stream. A handler that neither accepts nor
/// declines it declines with 403.
pub struct Connect<'a> {
    request: IncomingConnection<'a>,
    answer: Mutex<Answer>,
}

/// The decision about a connection.
pub(crate) enum Answer {
    /// None yet.
    Open {
        headers: Vec<(String, String)>,
    },
    Accepted(Admission),
    /// With this status.
    Declined(u16),
}

/// What a connection was accepted with.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) assigns: Assigns,
    pub(crate) headers: Vec<(String, String)>,
}

impl<'a> Connect<'a> {
    pub(crate) const fn new(request: IncomingConnection<'a>) -> Self {
        Self { request, answer: Mutex::new(Answer::Open { headers: Vec::new() }) }
    }

    pub(crate) fn into_answer(self) -> Answer {
        self.answer.into_inner()
    }

    /// The request: the client's address, headers and cookies, and the parameters and query of its path. Its `id` is the
    /// secret id of the connection: event streams are used by it, and in channels with a
    /// [history](crate::ChannelHandlers::history) it proves who a client was. Other clients must not see it.
    pub const fn request(&self) -> &IncomingConnection<'a> {
        &self.request
    }

    /// A parameter of the endpoint's path.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.request.route.param(name)
    }

    /// A parameter of the query, percent-decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<String> {
        self.request.route.query(name).map(Into::into)
    }

    /// The value of a request header; `None` if it is missing or not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.get_str(name)
    }

    /// The value of a cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.request.cookie(name)
    }

    /// Adds a header to the response that accepts the connection.
    ///
    /// # Errors
    /// The name is no token, the value is not visible ASCII, or the connection was answered: code 500.
    pub fn set_header(&self, name: &str, value: &str) -> Result<(), PondError> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let is_header =
            !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_visible);
        match &mut *self.answer.lock() {
            Answer::Open { headers } if is_header => headers.push((name.into(), value.into())),
            _ => return Err(PondError::internal("", format!("header {name}: not added"))),
        }
        Ok(())
    }

    /// Accepts the connection; does nothing if it was answered already.
    pub fn accept(&self) {
        self.decide(|headers| Answer::Accepted(Admission { assigns: None, headers }));
    }

    /// Accepts the connection with data with which each of its joins begins.
    ///
    /// # Errors
    /// The content does not serialize: code 500. It is larger than 64 KiB: 400.
    pub fn accept_with(&self, assigns: impl Content) -> Result<(), PondError> {
        let assigns = assigns.with(owned)??;
        self.decide(|headers| Answer::Accepted(Admission { assigns, headers }));
        Ok(())
    }

    /// Declines the connection with a status from 400 to 599, for example 401 or 403; any other is sent as 403.
    /// Does nothing if it was answered already.
    pub fn decline(&self, status: u16) {
        let status = if (400..600).contains(&status) { status } else { 403 };
        self.decide(|_| Answer::Declined(status));
    }

    fn decide(&self, answer: impl FnOnce(Vec<(String, String)>) -> Answer) {
        let mut decided = self.answer.lock();
        if let Answer::Open { headers } = &mut *decided {
            *decided = answer(std::mem::take(headers));
        }
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("request", &self.request).finish_non_exhaustive()
    }
}
