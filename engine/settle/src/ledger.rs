//! The account of one stream: which spans of the WAL have settled.
//!
//! ```text
//!   settled │ (a, b] 3 of 5 parts │ (b, c] settled │ (c, d] 0 of 2 │ (d, … open
//!           └ the first that is not done holds all that follow
//! ```
//!
//! Spans come in order and without gaps, settle in any order, and only the end of the contiguous settled prefix comes
//! out. A span is opened before its end is known, since a huge transaction comes in many cuts.
//!
//! Invariants: the first span is never done; no two neighbours are done (they merge). So memory follows the spans that
//! are not done, however many keepalives pass behind them.

use std::collections::BTreeMap;

use tidemill_change::{Lsn, LsnSpan};

use crate::error::{Error, Kind};
use crate::ids::SpanId;

#[derive(Clone, Copy, Debug)]
struct Span {
    from: Lsn,
    /// `None` while it is open.
    to: Option<Lsn>,
    expected: u64,
    settled: u64,
}

impl Span {
    /// Its end, if it is closed and all of its parts have settled.
    fn done(&self) -> Option<Lsn> {
        self.to.filter(|_| self.settled == self.expected)
    }
}

#[derive(Clone, Debug)]
pub struct Ledger {
    settled: Lsn,
    /// Where the next span must begin; `None` where it may begin at or below what has settled.
    end: Option<Lsn>,
    spans: BTreeMap<SpanId, Span>,
    next: SpanId,
    /// Spans below it were forgotten by [`Ledger::rewind`].
    rewound: SpanId,
    outstanding: u64,
}

impl Ledger {
    /// A ledger of a stream that has settled everything up to `settled`.
    ///
    /// The first span may begin below that: a source that serves several streams begins where the slowest stands, and
    /// what is delivered a second time changes nothing.
    pub fn new(settled: Lsn) -> Ledger {
        let first = SpanId(0);
        Ledger { settled, end: None, spans: BTreeMap::new(), next: first, rewound: first, outstanding: 0 }
    }

    /// Opens the span that begins after `from`.
    pub fn open(&mut self, from: Lsn) -> Result<SpanId, Error> {
        if let Some((&id, Span { to: None, .. })) = self.spans.last_key_value() {
            return Err(Error::new(Kind::StillOpen(id)));
        }
        let end = self.end.unwrap_or(self.settled);
        if from > end {
            return Err(Error::new(Kind::Gap { end, from }));
        }
        if from < end && self.end.is_some() {
            return Err(Error::new(Kind::Overlap { end, from }));
        }
        let id = self.next;
        self.next = SpanId(id.0 + 1);
        self.spans.insert(id, Span { from, to: None, expected: 0, settled: 0 });
        Ok(id)
    }

    /// Adds parts to a span that is open: a part is whatever the caller settles one by one, for instance an action.
    pub fn expect(&mut self, id: SpanId, parts: u32) -> Result<(), Error> {
        self.opened(id)?.expected += u64::from(parts);
        self.outstanding += u64::from(parts);
        Ok(())
    }

    /// Ends an open span: `to` is the end of its last commit.
    pub fn close(&mut self, id: SpanId, to: Lsn) -> Result<(), Error> {
        let span = self.opened(id)?;
        LsnSpan::new(span.from, to).map_err(|error| Error::new(Kind::EndsEarly(error)))?;
        span.to = Some(to);
        self.end = Some(to);
        self.finish(id);
        Ok(())
    }

    /// A span without parts: what a keepalive is.
    pub fn pass(&mut self, from: Lsn, to: Lsn) -> Result<(), Error> {
        LsnSpan::new(from, to).map_err(|error| Error::new(Kind::EndsEarly(error)))?;
        let id = self.open(from)?;
        self.close(id, to)
    }

    /// Settles parts of a span, open or closed.
    pub fn settle(&mut self, id: SpanId, parts: u32) -> Result<(), Error> {
        if id < self.rewound {
            return Ok(());
        }
        if id >= self.next {
            return Err(Error::new(Kind::UnknownSpan(id)));
        }
        let left = self.spans.get(&id).map_or(0, |span| span.expected - span.settled);
        if u64::from(parts) > left {
            return Err(Error::new(Kind::OverSettled { span: id, parts, left }));
        }
        if let Some(span) = self.spans.get_mut(&id) {
            span.settled += u64::from(parts);
            self.outstanding -= u64::from(parts);
            self.finish(id);
        }
        Ok(())
    }

    /// Everything up to here has settled. It never falls.
    pub fn settled(&self) -> Lsn {
        self.settled
    }

    /// Where the next span has to begin, once there was one.
    pub fn end(&self) -> Option<Lsn> {
        self.end
    }

    /// Parts that were expected and have not settled.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Spans in memory: those that are not done, and at most one more behind each.
    pub fn span_count(&self) -> usize {
        self.spans.len()
    }

    /// The source begins again from what was confirmed, for instance on a new connection. Spans that have not settled
    /// will come once more, so they are forgotten here, and what still settles of them counts for nothing.
    pub fn rewind(&mut self) {
        self.spans.clear();
        self.rewound = self.next;
        self.end = None;
        self.outstanding = 0;
    }

    fn opened(&mut self, id: SpanId) -> Result<&mut Span, Error> {
        match self.spans.get_mut(&id) {
            Some(span) if span.to.is_none() => Ok(span),
            _ if id >= self.next => Err(Error::new(Kind::UnknownSpan(id))),
            _ => Err(Error::new(Kind::NotOpen(id))),
        }
    }

    /// Restores the invariants after `id` changed.
    fn finish(&mut self, id: SpanId) {
        let Some(mut to) = self.spans.get(&id).and_then(Span::done) else { return };
        let after = self.spans.range(SpanId(id.0 + 1)..).next();
        if let Some((next, end)) = after.and_then(|(&next, span)| Some((next, span.done()?))) {
            self.spans.remove(&next);
            to = end;
        }
        let before = self.spans.range_mut(..id).next_back();
        match before {
            None => {
                self.spans.remove(&id);
                self.settled = self.settled.max(to);
            }
            Some((_, span)) if span.done().is_some() => {
                span.to = Some(to);
                self.spans.remove(&id);
            }
            Some(_) => {
                if let Some(span) = self.spans.get_mut(&id) {
                    span.to = Some(to);
                }
            }
        }
    }
}
