//! Decides who may connect, from the request's head alone and before any upgrade.

use std::borrow::Cow;

use http::request::Parts;
use http::{StatusCode, header};

use crate::request::Request;

/// Checks a request's headers, cookies and query, and may refuse it with status 401 or 403.
///
/// It is called for every request to the endpoint: those that open WebSockets and event streams, and those
/// that carry an event stream's messages or close it.
pub type Authorize = Box<dyn Fn(&Request<'_>) -> Result<(), StatusCode> + Send + Sync>;

/// The rules that a request to the endpoint must pass.
pub(crate) struct AccessPolicy {
    /// The allowed origins; if empty, all are.
    origins: Vec<String>,
    authorize: Option<Authorize>,
}

impl AccessPolicy {
    pub(crate) const fn new(origins: Vec<String>, authorize: Option<Authorize>) -> Self {
        Self { origins, authorize }
    }

    /// Accepts a request, or refuses it: with 403 for its origin, or with the status from [`Authorize`].
    ///
    /// Removes the cookies of a request whose origin is neither listed nor its host.
    pub(crate) fn check(&self, head: &mut Parts) -> Result<(), StatusCode> {
        let is_listed = self.lists_origin_of(head);
        if !self.origins.is_empty() && !is_listed {
            return Err(StatusCode::FORBIDDEN);
        }
        if !is_listed && !has_own_origin(head) {
            head.headers.remove(header::COOKIE);
        }
        self.authorize.as_ref().map_or(Ok(()), |authorize| authorize(&Request::new(head)))
    }

    /// Whether the origin of the request, if it has one, is listed.
    fn lists_origin_of(&self, head: &Parts) -> bool {
        head.headers.get_all(header::ORIGIN).iter().all(|origin| {
            self.origins
                .iter()
                .any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        })
    }
}

/// Whether the origin of the request, if it has one, is the host that it was sent to.
fn has_own_origin(head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).map(|host| host.as_bytes());
    let host = host.or_else(|| head.uri.authority().map(|host| host.as_str().as_bytes()));
    head.headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.as_bytes();
        let authority = origin.windows(3).position(|three| three == b"://");
        let authority = authority.map(|at| &origin[at + 3..]);
        matches!((authority, host), (Some(one), Some(host)) if one.eq_ignore_ascii_case(host))
    })
}

/// Admits clients that present the token: as `Authorization: Bearer`, as the cookie `token` if it
/// [counts](Request::cookie), or, since a script cannot set a WebSocket's headers, as `?token=`, which
/// proxies may log. A request without a token is answered 401, one with a wrong token 403. The time of the comparison depends only on the token's
/// length.
///
/// ```
/// use pondwire_server::{Options, by_token};
///
/// let authorize = by_token("s3cret".to_owned())?;
/// let options = Options { authorize: Some(authorize), ..Options::default() };
/// # Ok::<(), &'static str>(())
/// ```
///
/// # Errors
/// The token is empty, or would need escapes in a query or a cookie.
pub fn by_token(token: String) -> Result<Authorize, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_plain) {
        return Err("expected letters, digits and -._~");
    }
    Ok(Box::new(move |request| {
        let bearer = request.headers().get_str("authorization");
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let shown = bearer.map(|(_, token)| Cow::Borrowed(token.trim_start()));
        let shown = shown.or_else(|| request.query("token"));
        match shown.or_else(|| request.cookie("token").map(Cow::Borrowed)) {
            None => Err(StatusCode::UNAUTHORIZED),
            Some(shown) if is_same(shown.as_bytes(), token.as_bytes()) => Ok(()),
            Some(_) => Err(StatusCode::FORBIDDEN),
        }
    }))
}

/// Compares in a time that depends only on the length, not on the number of matching bytes.
fn is_same(shown: &[u8], secret: &[u8]) -> bool {
    let differing = shown.iter().zip(secret).fold(0, |differing, (a, b)| {
        // Otherwise the compiler might end the loop at the first difference.
        std::hint::black_box(differing | (a ^ b))
    });
    shown.len() == secret.len() && differing == 0
}
