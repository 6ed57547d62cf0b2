//! The status codes of [`PondError`](crate::error::PondError) and of error payloads, as in HTTP.

/// The request is malformed.
pub const BAD_REQUEST: i64 = 400;
/// The client is not authenticated.
pub const UNAUTHORIZED: i64 = 401;
/// The user lacks the permission.
pub const FORBIDDEN: i64 = 403;
/// The requested object does not exist.
pub const NOT_FOUND: i64 = 404;
/// The request conflicts with the current state.
pub const CONFLICT: i64 = 409;
/// The client sends too many requests; temporary.
pub const TOO_MANY_REQUESTS: i64 = 429;
/// The server failed.
pub const INTERNAL_SERVER_ERROR: i64 = 500;
/// The server cannot serve now; temporary.
pub const SERVICE_UNAVAILABLE: i64 = 503;
/// An operation took too long; temporary.
pub const GATEWAY_TIMEOUT: i64 = 504;
