//! The head of a request, as hooks see it.

use std::borrow::Cow;

use http::request::Parts;
use pondwire::protocol::Headers;

/// The head of an HTTP request, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    parts: &'a Parts,
}

impl<'a> Request<'a> {
    /// A view of a head.
    ///
    /// ```
    /// use pondwire_server::Request;
    ///
    /// let request = http::Request::get("/api/socket?room=4%32").header("cookie", "id=abc");
    /// let (parts, ()) = request.body(())?.into_parts();
    /// let request = Request::new(&parts);
    /// assert_eq!(request.path(), "/api/socket");
    /// assert_eq!(request.query("room").as_deref(), Some("42"));
    /// assert_eq!(request.cookie("id"), Some("abc"));
    /// # Ok::<(), http::Error>(())
    /// ```
    pub const fn new(parts: &'a Parts) -> Self {
        Self { parts }
    }

    /// The method, in capitals: `GET`, for instance.
    pub fn method(&self) -> &'a str {
        self.parts.method.as_str()
    }

    /// The path, without the query and as sent (percent-encoded).
    pub fn path(&self) -> &'a str {
        self.parts.uri.path()
    }

    /// The headers; names match in any case.
    ///
    /// `Authorization` is missing if its scheme is `Basic`, `Digest`, `Negotiate` or `NTLM` and the request's origin is
    /// [foreign](Self::cookie): browsers add these by themselves, as they do cookies. `Bearer`, and any other scheme, is
    /// what the page itself has set.
    pub fn headers(&self) -> Headers<'a> {
        Headers::from(&self.parts.headers)
    }

    /// The value of this query parameter, percent-decoded, with `+` as a space; the first of several.
    /// Allocates only if something has to be decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let query = self.parts.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    }

    /// The value of this cookie, as sent; the first of several.
    ///
    /// The server removes all cookies of a request whose `Origin` is neither its host nor one of
    /// [`Options::origins`](crate::Options::origins): browsers add a site's cookies to what pages of any
    /// other site request, so they do not show that the user wanted it.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.headers().get_all("cookie");
        lines.find_map(|line| {
            let pairs = std::str::from_utf8(line).ok()?.split(';');
            let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            pairs.find_map(|(found, value)| (found == name).then_some(value))
        })
    }
}
