//! Messages in a buffer: a tag byte, a length that counts itself, a body.

use std::ops::Range;

use bytes::Bytes;

use super::super::error::{Error, Result};
use super::MESSAGE_BYTES_MAX;

pub(super) const HEADER_BYTES: usize = 5;

/// Whole CopyData messages as they were read, and where the body of each is in `chunk`: a row of a COPY with its newline,
/// or a replication message ([`super::Payload`]).
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub chunk: Bytes,
    pub frames: Vec<Range<usize>>,
}

impl Frames {
    /// The copy has ended.
    pub fn is_end(&self) -> bool {
        self.frames.is_empty()
    }
}

/// The length of the message that the buffer begins with, header included, once its header is there.
pub(super) fn length(buffer: &[u8]) -> Result<Option<usize>> {
    let Some((header, _)) = buffer.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    match length {
        4..=MESSAGE_BYTES_MAX => Ok(Some(length + 1)),
        _ => Err(Error::protocol(format_args!("a message of {length} bytes"))),
    }
}

/// The CopyData messages at the buffer's start, up to the first that is of another kind or not whole, and the bytes
/// that they take.
pub(super) fn scan(buffer: &[u8]) -> Result<(Vec<Range<usize>>, usize)> {
    let mut frames = Vec::new();
    let mut at = 0;
    while buffer.get(at) == Some(&b'd') {
        let Some(length) = length(&buffer[at..])?.filter(|length| *length <= buffer.len() - at) else { break };
        frames.push(at + HEADER_BYTES..at + length);
        at += length;
    }
    Ok((frames, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((body.len() as u32 + 4).to_be_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn a_scan_takes_whole_copy_messages_and_no_more() {
        let first = [message(b'd', b"one"), message(b'd', b"")].concat();
        let whole = [first.clone(), message(b'd', b"three"), message(b'c', b""), message(b'd', b"x")].concat();
        for end in 0..=whole.len() {
            let (frames, consumed) = scan(&whole[..end]).unwrap();
            let (count, bytes) = match end {
                0..8 => (0, 0),
                8..13 => (1, 8),
                13..23 => (2, 13),
                _ => (3, 23),
            };
            assert_eq!((frames.as_slice(), consumed), (&[5..8, 13..13, 18..23][..count], bytes), "{end}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for length in [0u32, 3, MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut bytes = vec![b'd'];
            bytes.extend(length.to_be_bytes());
            assert!(scan(&bytes).is_err());
        }
    }
}
