//! A message into bytes: every length is known before the first byte is written, so that one
//! allocation of the exact size takes it all.

mod envelope;
mod escape;
mod presence;
mod splice;

pub(crate) use envelope::Envelope;
pub(crate) use escape::{escaped_len, put_escaped};
pub(crate) use presence::{presence_len, presence_list_len, put_presence, put_presence_list};
pub(crate) use splice::put_payload;

/// Where encoded bytes go: a buffer that has room for all that its user announced.
pub(crate) trait Output {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends `bytes`, valid JSON, with a space for each CR and LF.
    fn put_with_spaces(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_with_spaces(&mut self, bytes: &[u8]) {
        self.extend(
            bytes.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
        );
    }
}
