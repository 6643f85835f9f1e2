//! The memory that bodies are written into, taken back once a body's last reader has dropped it.

use std::sync::Arc;

use bytes::Bytes;

/// How many written bodies are remembered, to be taken back: as many as are in flight at once.
const REMEMBERED_MAX: usize = 3;
/// A body larger than this goes back to the system: it came of an exceptional cut.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Behind what is written there must be room for a block.
const SLACK: usize = 4 << 10;

/// Bodies that are being sent, and one that is being written.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    sent: Vec<Arc<Vec<u8>>>,
}

impl Bodies {
    /// Memory for a body of about that size: its length is its capacity, its content anything.
    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let wanted = bytes + SLACK;
        let found = self.sent.iter().position(|body| Arc::strong_count(body) == 1);
        let kept = found.and_then(|at| Arc::try_unwrap(self.sent.swap_remove(at)).ok());
        // What is fresh comes as zeroed pages that cost nothing until they are written.
        kept.filter(|body| body.len() >= wanted).unwrap_or_else(|| vec![0; wanted + wanted / 8])
    }

    /// Hands out the first `len` bytes of what was written.
    pub(crate) fn give(&mut self, body: Vec<u8>, len: usize) -> Bytes {
        if body.len() > KEPT_BYTES_MAX {
            return Bytes::from(body).slice(..len);
        }
        let body = Arc::new(body);
        if self.sent.len() == REMEMBERED_MAX {
            self.sent.remove(0);
        }
        self.sent.push(body.clone());
        Bytes::from_owner(Shared(body)).slice(..len)
    }
}

/// Makes a body longer, for a row that did not fit.
#[cold]
pub(crate) fn grow(body: &mut Vec<u8>, written: usize) {
    let mut longer = vec![0; 2 * body.len() + SLACK];
    longer[..written].copy_from_slice(&body[..written]);
    *body = longer;
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_once_nobody_reads_it() {
        let mut bodies = Bodies::default();
        let body = bodies.take(100);
        let at = body.as_ptr();
        let first = bodies.give(body, 10);
        let part = first.slice(2..5);
        drop(first);
        let second = bodies.take(100);
        assert_ne!(second.as_ptr(), at, "a part of the first is still read");
        drop(part);
        let third = bodies.take(100);
        assert_eq!(third.as_ptr(), at);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut bodies = Bodies::default();
        let given: Vec<_> = (0..10)
            .map(|_| {
                let body = bodies.take(10);
                bodies.give(body, 1)
            })
            .collect();
        assert_eq!((bodies.sent.len(), given.len()), (REMEMBERED_MAX, 10));
    }
}
