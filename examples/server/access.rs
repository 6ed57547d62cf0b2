//! Who may open a connection and speak for one: known before anything is upgraded, from the head of
//! the request alone.

use super::http::{Request, Status};
use super::options::Options;

/// Looks at a request's headers, cookies and query, and refuses it with 401 or 403 if it must. It
/// is asked for each request to the endpoint: WebSockets, event streams, their messages and ends.
pub(crate) type Authorize = Box<dyn Fn(&Request<'_>) -> Result<(), Status> + Send + Sync>;

/// Whether the request may be looked at any further.
///
/// # Errors
/// It may not.
pub(crate) fn check(request: &Request<'_>, options: &Options) -> Result<(), Status> {
    let is_listed = |origin: &[u8]| {
        options.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin))
    };
    let mut origins = request.headers().get_all("origin");
    if !options.origins.is_empty() && !origins.all(is_listed) {
        return Err("403 Forbidden");
    }
    options.authorize.as_ref().map_or(Ok(()), |authorize| authorize(request))
}

/// Admits who shows the token: as `Authorization: Bearer`, as the cookie `token`, or, as no script
/// can set a WebSocket's headers, as `?token=`, which proxies may write into their logs.
///
/// # Errors
/// A token that would have to be escaped in a query.
pub(crate) fn by_token(token: String) -> Result<Authorize, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_plain) {
        return Err("expected letters, digits and -._~");
    }
    Ok(Box::new(move |request| {
        let bearer = request.headers().get_str("authorization");
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let shown = bearer.or_else(|| request.query("token")).or_else(|| request.cookie("token"));
        match shown {
            None => Err("401 Unauthorized"),
            Some(shown) if is_same(shown.as_bytes(), token.as_bytes()) => Ok(()),
            Some(_) => Err("403 Forbidden"),
        }
    }))
}

/// Compares in a time that tells the length at most, not how much of it was right.
fn is_same(shown: &[u8], secret: &[u8]) -> bool {
    let differing = shown.iter().zip(secret).fold(0, |differing, (a, b)| {
        // Or else the loop might end at the first difference.
        std::hint::black_box(differing | (a ^ b))
    });
    shown.len() == secret.len() && differing == 0
}
