//! The status codes of [`PondError`](crate::error::PondError) and of error payloads, as in HTTP.

/// What was asked for is malformed.
pub const BAD_REQUEST: i64 = 400;
/// Nobody is known to have asked.
pub const UNAUTHORIZED: i64 = 401;
/// Who asked may not.
pub const FORBIDDEN: i64 = 403;
/// What was asked for does not exist.
pub const NOT_FOUND: i64 = 404;
/// What was asked for contradicts what is.
pub const CONFLICT: i64 = 409;
/// Too much was asked for; temporary.
pub const TOO_MANY_REQUESTS: i64 = 429;
/// The server failed.
pub const INTERNAL_SERVER_ERROR: i64 = 500;
/// The server cannot serve now; temporary.
pub const SERVICE_UNAVAILABLE: i64 = 503;
/// Something took too long; temporary.
pub const GATEWAY_TIMEOUT: i64 = 504;
