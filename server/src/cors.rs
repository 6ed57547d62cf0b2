//! What browsers are told about pages of other origins that use event streams (the Fetch standard's CORS protocol).
//! WebSockets need none of it.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::response::{self, ResponseBody};

/// How long a browser may keep the answer to a preflight, in seconds: as long as any does.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether the page that has made a request may read its response.
pub(crate) enum Grant {
    /// It has no origin, or one that is not allowed.
    None,
    /// All pages may, but their requests have no credentials of the user's.
    Anyone,
    /// Pages of this origin may, and the user's credentials count.
    Origin(HeaderValue),
}

impl Grant {
    /// Adds the headers of a response, unless it has them from the application.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::None => return,
            _ if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) => return,
            Self::Anyone => HeaderValue::from_static("*"),
            Self::Origin(origin) => {
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                origin.clone()
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let exposed = HeaderValue::from_static("X-Connection-ID");
        headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether a browser asks if a page may make another request.
pub(crate) fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD]
            .iter()
            .all(|name| head.headers.contains_key(name))
}

/// The answer to a preflight, without the headers of every response. Any header may be sent, because
/// [`Authorize`](crate::Authorize) may look at any.
pub(crate) fn preflight(head: &Parts, methods: &'static str) -> Response<ResponseBody> {
    let mut response = response::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    if let Some(names) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}
