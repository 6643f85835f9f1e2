//! What may be confirmed to Postgres: the least that all streams have settled.
//!
//! One slot serves all streams. A stream may be ahead of the others, since it resumed from a later point or is faster;
//! a paused one stands still and holds the WAL, which [`Confirm::held_by`] tells. The confirmed LSN never falls.

use std::collections::BTreeMap;

use tidemill_change::Lsn;

use crate::error::{Error, Kind};
use crate::ids::StreamId;

#[derive(Clone, Debug)]
pub struct Confirm {
    confirmed: Lsn,
    streams: BTreeMap<StreamId, Lsn>,
}

impl Confirm {
    /// Begins with what the slot has confirmed.
    pub fn new(confirmed: Lsn) -> Confirm {
        Confirm { confirmed, streams: BTreeMap::new() }
    }

    /// Takes in a stream that has settled everything up to `settled`.
    pub fn add(&mut self, stream: StreamId, settled: Lsn) -> Result<(), Error> {
        let confirmed = self.confirmed;
        if settled < confirmed {
            return Err(Error::new(Kind::BehindConfirmed { stream, settled, confirmed }));
        }
        if self.streams.contains_key(&stream) {
            return Err(Error::new(Kind::StreamTwice(stream)));
        }
        self.streams.insert(stream, settled);
        Ok(())
    }

    /// Lets a stream go: it holds nothing back any more.
    pub fn remove(&mut self, stream: StreamId) -> Result<Lsn, Error> {
        self.streams.remove(&stream).ok_or_else(|| Error::new(Kind::UnknownStream(stream)))?;
        Ok(self.recount())
    }

    /// A stream's ledger moved. Returns what is confirmed now.
    pub fn settled(&mut self, stream: StreamId, settled: Lsn) -> Result<Lsn, Error> {
        let at = self.streams.get_mut(&stream).ok_or_else(|| Error::new(Kind::UnknownStream(stream)))?;
        *at = (*at).max(settled);
        Ok(self.recount())
    }

    pub fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// The stream that stands furthest back, and where: what an alert on held WAL has to name.
    pub fn held_by(&self) -> Option<(StreamId, Lsn)> {
        self.streams.iter().map(|(&stream, &settled)| (stream, settled)).min_by_key(|&(stream, at)| (at, stream))
    }

    fn recount(&mut self) -> Lsn {
        if let Some((_, least)) = self.held_by() {
            self.confirmed = self.confirmed.max(least);
        }
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stream_decides() {
        let mut confirm = Confirm::new(Lsn(10));
        let (a, b) = (StreamId(1), StreamId(2));
        confirm.add(a, Lsn(10)).unwrap();
        confirm.add(b, Lsn(50)).unwrap();
        assert_eq!(confirm.settled(b, Lsn(60)), Ok(Lsn(10)));
        assert_eq!(confirm.settled(a, Lsn(40)), Ok(Lsn(40)));
        assert_eq!(confirm.settled(a, Lsn(30)), Ok(Lsn(40)), "never falls");
        assert_eq!(confirm.held_by(), Some((a, Lsn(40))));
        assert_eq!(confirm.remove(a), Ok(Lsn(60)));
        assert!(confirm.add(a, Lsn(59)).unwrap_err().is_behind_confirmed());
        assert!(confirm.add(b, Lsn(70)).is_err() && confirm.settled(a, Lsn(70)).is_err());
        assert_eq!(confirm.remove(b), Ok(Lsn(60)), "no stream is no reason to move");
    }

    #[test]
    fn streams_that_all_start_ahead_move_it_with_the_first_word() {
        let mut confirm = Confirm::new(Lsn(10));
        confirm.add(StreamId(1), Lsn(30)).unwrap();
        confirm.add(StreamId(2), Lsn(50)).unwrap();
        assert_eq!(confirm.confirmed(), Lsn(10));
        assert_eq!(confirm.settled(StreamId(2), Lsn(50)), Ok(Lsn(30)));
    }
}
