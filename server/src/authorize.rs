//! Decides who may connect, from the request's head alone and before any upgrade.

use std::borrow::Cow;

use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, StatusCode, header};

use crate::cors::Grant;
use crate::request::Request;

/// Checks a request's headers, cookies and query, and may refuse it with status 401 or 403.
///
/// It is called for every request to an endpoint: those that open WebSockets and event streams, and those
/// that carry an event stream's messages or close it, but not for preflights of browsers, which have no credentials.
/// And for requests to `/metrics`: see [`Request::path`].
pub type Authorize = Box<dyn Fn(&Request<'_>) -> Result<(), StatusCode> + Send + Sync>;

/// The schemes of `Authorization` that browsers answer by themselves, from what a user once typed or is logged in with,
/// also for pages of other origins.
const AMBIENT: [&[u8]; 4] = [b"basic", b"digest", b"negotiate", b"ntlm"];

/// The rules that a request to the endpoint must pass.
pub(crate) struct AccessPolicy {
    /// The allowed origins; if empty, all are.
    origins: Vec<String>,
    authorize: Option<Authorize>,
}

impl AccessPolicy {
    /// # Errors
    /// One of the origins is none; the text says which.
    pub(crate) fn new(origins: &[String], authorize: Option<Authorize>) -> Result<Self, String> {
        let origins = origins.iter().map(|text| {
            origin(text)
                .ok_or_else(|| format!("origin {text}: expected https://host or https://host:port"))
        });
        Ok(Self { origins: origins.collect::<Result<_, _>>()?, authorize })
    }

    /// Whether the page that has made this request may read the response.
    pub(crate) fn grant(&self, head: &Parts) -> Grant {
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (Some(_), None) if self.origins.is_empty() => Grant::Anyone,
            (Some(origin), None) if self.lists_origin_of(head) => Grant::Origin(origin.clone()),
            _ => Grant::None,
        }
    }

    /// Accepts a request, or refuses it: as [`check_origin`](Self::check_origin) does, and
    /// [`authorize`](Self::authorize).
    pub(crate) fn check(&self, head: &mut Parts) -> Result<(), StatusCode> {
        self.check_origin(head)?;
        self.authorize(head)
    }

    /// Refuses a request for its origin, with 403. Removes what the browser has added of the user's credentials to a
    /// request whose origin is neither listed nor its host.
    pub(crate) fn check_origin(&self, head: &mut Parts) -> Result<(), StatusCode> {
        let is_listed = self.lists_origin_of(head);
        if !self.origins.is_empty() && !is_listed {
            return Err(StatusCode::FORBIDDEN);
        }
        if !is_listed && !has_own_origin(head) {
            remove_ambient(&mut head.headers);
        }
        Ok(())
    }

    /// Asks [`Authorize`] about a request whose origin was checked.
    pub(crate) fn authorize(&self, head: &Parts) -> Result<(), StatusCode> {
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

/// Removes cookies, and `Authorization` of an [ambient](AMBIENT) scheme.
fn remove_ambient(headers: &mut HeaderMap) {
    headers.remove(header::COOKIE);
    let is_ambient = |value: &[u8]| {
        let value = value.trim_ascii_start();
        let scheme = value.split(|byte| b" \t,".contains(byte)).next().unwrap_or_default();
        AMBIENT.iter().any(|ambient| scheme.eq_ignore_ascii_case(ambient))
    };
    if headers.get_all(header::AUTHORIZATION).iter().any(|value| is_ambient(value.as_bytes())) {
        headers.remove(header::AUTHORIZATION);
    }
}

/// An origin as browsers send it, which is without the port that belongs to its scheme, and without a path; `None`
/// if the text is more than an origin.
fn origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let authority =
        rest.parse::<Authority>().ok().filter(|authority| authority.as_str() == rest)?;
    if scheme.parse::<Scheme>().is_err() || rest.contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let rest = Some(rest).filter(|_| !port.is_empty()).and_then(|rest| rest.strip_suffix(port));
    Some(rest.map_or(text.clone(), |host| format!("{scheme}://{host}")))
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

/// Admits clients that present the token: as `Authorization: Bearer`, as the cookie `token` if cookies
/// [count](Request::cookie) for the request, or as `?token=`, because a script cannot set a WebSocket's headers;
/// proxies may log the last. A request without a token is answered 401, one with a wrong token 403. The time of the
/// comparison depends only on the token's length.
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

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        for (text, sent) in [
            ("https://its.page", "https://its.page"),
            ("HTTPS://Its.Page/", "https://its.page"),
            ("https://its.page:443", "https://its.page"),
            ("http://its.page:80/", "http://its.page"),
            ("http://its.page:443", "http://its.page:443"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            assert_eq!(origin(text).as_deref(), Some(sent), "{text}");
        }
        let none =
            ["", "*", "null", "its.page", "its.page:443", "//its.page", "https://", "https:///"];
        let more =
            ["https://its.page/chat", "https://its.page//", "https://*.its.page/?", "https://a b"];
        for text in none.iter().chain(&more).chain(&["https://me@its.page", "ht tp://its.page"]) {
            assert_eq!(origin(text), None, "{text}");
        }
    }
}
