//! The codec: messages parsed, navigated and decoded, frames encoded and compressed, headers, errors, and
//! the WebSocket reader; against the recorded cases, independent oracles and hostile input.

#[cfg(feature = "deflate")]
mod deflate;
mod errors_vectors;
mod extensions;
mod frames;
mod frames_vectors;
mod headers_vectors;
mod hostile;
mod navigation;
mod numbers;
mod parse_vectors;
mod properties;
mod sse;
mod websocket_reader;
