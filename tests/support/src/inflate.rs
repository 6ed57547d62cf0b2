//! An independent inflater for compressed messages, on `miniz_oxide`.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// The message of RFC 7692, section 7.2.2, of at most `limit` bytes; `None` if the payload is invalid or
/// larger.
pub fn message(payload: &[u8], limit: usize) -> Option<Vec<u8>> {
    // The flush's end, which is not sent, and a final empty block, which shows that the end was reached.
    let input = [payload, b"\x00\x00\xff\xff\x03\x00"].concat();
    let mut output = vec![0; limit + 1];
    let (mut read, mut written) = (0, 0);
    while read < input.len() {
        // Each stream has a window of its own.
        let mut stream = DecompressorOxide::new();
        let room = &mut output[written..];
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, consumed, produced) = decompress(&mut stream, &input[read..], room, 0, flags);
        if status != TINFLStatus::Done {
            return None;
        }
        read += consumed;
        written += produced;
    }
    output.truncate(written);
    (written <= limit).then_some(output)
}
