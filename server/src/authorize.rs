//! Decides who may connect, from the request's head alone and before any upgrade.

use crate::http::{Request, Status};

/// Checks a request's headers, cookies and query, and may refuse it with status 401 or 403.
///
/// It is called for every request to the endpoint: those that open WebSockets and event streams, and those
/// that carry an event stream's messages or close it.
pub type Authorize = Box<dyn Fn(&Request<'_>) -> Result<(), Status> + Send + Sync>;

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
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), Status> {
        let is_listed = |origin: &[u8]| {
            self.origins.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin))
        };
        let mut origins = request.headers().get_all("origin");
        if !self.origins.is_empty() && !origins.all(is_listed) {
            return Err("403 Forbidden");
        }
        self.authorize.as_ref().map_or(Ok(()), |authorize| authorize(request))
    }
}

/// Admits clients that present the token: as `Authorization: Bearer`, as the cookie `token`, or, since a
/// script cannot set a WebSocket's headers, as `?token=`, which proxies may log. A request without a token
/// is answered 401, one with a wrong token 403. The time of the comparison depends only on the token's
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
/// The token is empty, or would need escapes in a query.
pub fn by_token(token: String) -> Result<Authorize, &'static str> {
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

/// Compares in a time that depends only on the length, not on the number of matching bytes.
fn is_same(shown: &[u8], secret: &[u8]) -> bool {
    let differing = shown.iter().zip(secret).fold(0, |differing, (a, b)| {
        // Otherwise the compiler might end the loop at the first difference.
        std::hint::black_box(differing | (a ^ b))
    });
    shown.len() == secret.len() && differing == 0
}
