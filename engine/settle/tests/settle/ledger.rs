//! The ledger against a model that keeps every span for ever.

use proptest::prelude::*;
use tidemill_change::Lsn;
use tidemill_settle::{Ledger, SpanId};

struct ModelSpan {
    id: Option<SpanId>,
    to: Option<u64>,
    expected: u32,
    settled: u32,
}

#[derive(Default)]
struct Model {
    start: u64,
    spans: Vec<ModelSpan>,
}

impl Model {
    fn end(&self) -> u64 {
        self.spans.iter().rev().find_map(|span| span.to).unwrap_or(self.start)
    }

    fn settled(&self) -> u64 {
        let done = self.spans.iter().take_while(|span| span.to.is_some() && span.settled == span.expected);
        done.last().and_then(|span| span.to).unwrap_or(self.start)
    }

    fn outstanding(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.expected - span.settled)).sum()
    }

    fn undone(&self) -> usize {
        self.spans.iter().filter(|span| span.to.is_none() || span.settled < span.expected).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    Expect(u32),
    Close(u64),
    Keepalive(u64),
    Settle { which: prop::sample::Index, parts: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Open),
        2 => (0..4_u32).prop_map(Step::Expect),
        2 => (0..3_u64).prop_map(Step::Close),
        2 => (0..3_u64).prop_map(Step::Keepalive),
        5 => (any::<prop::sample::Index>(), 0..3_u32).prop_map(|(which, parts)| Step::Settle { which, parts }),
    ]
}

fn open(model: &Model) -> Option<usize> {
    model.spans.iter().position(|span| span.to.is_none())
}

fn take_step(ledger: &mut Ledger, model: &mut Model, step: Step) {
    let end = model.end();
    match step {
        Step::Open => match open(model) {
            Some(_) => assert!(ledger.open(Lsn(end)).is_err(), "one span at a time"),
            None => {
                let id = Some(ledger.open(Lsn(end)).unwrap());
                model.spans.push(ModelSpan { id, to: None, expected: 0, settled: 0 });
            }
        },
        Step::Expect(parts) => {
            if let Some(at) = open(model) {
                ledger.expect(model.spans[at].id.unwrap(), parts).unwrap();
                model.spans[at].expected += parts;
            }
        }
        Step::Close(length) => {
            if let Some(at) = open(model) {
                ledger.close(model.spans[at].id.unwrap(), Lsn(end + length)).unwrap();
                model.spans[at].to = Some(end + length);
            }
        }
        Step::Keepalive(length) => {
            let passed = ledger.pass(Lsn(end), Lsn(end + length));
            assert_eq!(passed.is_ok(), open(model).is_none());
            if passed.is_ok() {
                model.spans.push(ModelSpan { id: None, to: Some(end + length), expected: 0, settled: 0 });
            }
        }
        Step::Settle { which, parts } => {
            let mut named: Vec<_> = model.spans.iter_mut().filter(|span| span.id.is_some()).collect();
            if named.is_empty() {
                return;
            }
            let at = which.index(named.len());
            let span = &mut named[at];
            let fits = span.settled + parts <= span.expected;
            let settled = ledger.settle(span.id.unwrap(), parts);
            assert_eq!(settled.is_ok(), fits);
            match settled {
                Ok(()) => span.settled += parts,
                Err(error) => assert!(error.is_over_settled()),
            }
        }
    }
}

proptest! {
    #[test]
    fn the_settled_prefix_is_the_models(start in 0..1000_u64, steps in prop::collection::vec(step(), 0..200)) {
        let mut ledger = Ledger::new(Lsn(start));
        let mut model = Model { start, ..Model::default() };
        let mut before = ledger.settled();
        for step in steps {
            take_step(&mut ledger, &mut model, step);
            assert_eq!(ledger.settled(), Lsn(model.settled()));
            assert_eq!(ledger.outstanding(), model.outstanding());
            assert!(ledger.settled() >= before);
            assert!(ledger.span_count() <= 2 * model.undone(), "done neighbours merge");
            before = ledger.settled();
        }
    }
}

#[test]
fn a_gap_and_an_overlap_are_told_apart() {
    let mut ledger = Ledger::new(Lsn(10));
    ledger.pass(Lsn(10), Lsn(20)).unwrap();
    let gap = ledger.open(Lsn(21)).unwrap_err();
    let overlap = ledger.open(Lsn(19)).unwrap_err();
    assert!(gap.is_gap() && !gap.is_overlap() && overlap.is_overlap());
    assert_eq!(gap.to_string(), "a span begins at 0/15, after the end 0/14 of the one before it");
    let span = ledger.open(Lsn(20)).unwrap();
    assert!(ledger.close(span, Lsn(19)).is_err());
    ledger.close(span, Lsn(30)).unwrap();
    assert!(ledger.expect(span, 1).is_err() && ledger.close(span, Lsn(40)).is_err());
    assert_eq!(ledger.settled(), Lsn(30));
}

#[test]
fn a_million_keepalives_behind_a_span_that_waits_are_one() {
    let mut ledger = Ledger::new(Lsn(0));
    let span = ledger.open(Lsn(0)).unwrap();
    ledger.expect(span, 1).unwrap();
    ledger.close(span, Lsn(1)).unwrap();
    for lsn in 1..1_000_000 {
        ledger.pass(Lsn(lsn), Lsn(lsn + 1)).unwrap();
    }
    assert_eq!((ledger.span_count(), ledger.settled()), (2, Lsn(0)));
    ledger.settle(span, 1).unwrap();
    assert_eq!((ledger.span_count(), ledger.settled()), (0, Lsn(1_000_000)));
}

#[test]
fn the_first_span_may_begin_where_the_slowest_stream_stands() {
    let mut ledger = Ledger::new(Lsn(50));
    assert!(ledger.open(Lsn(51)).unwrap_err().is_gap());
    ledger.pass(Lsn(20), Lsn(30)).unwrap();
    assert_eq!(ledger.settled(), Lsn(50), "never falls");
    ledger.pass(Lsn(30), Lsn(60)).unwrap();
    assert_eq!(ledger.settled(), Lsn(60));
}

#[test]
fn after_a_new_connection_late_settlements_count_for_nothing() {
    let mut ledger = Ledger::new(Lsn(0));
    let lost = ledger.open(Lsn(0)).unwrap();
    ledger.expect(lost, 2).unwrap();
    ledger.rewind();
    let again = ledger.open(Lsn(0)).unwrap();
    ledger.expect(again, 1).unwrap();
    ledger.close(again, Lsn(9)).unwrap();
    ledger.settle(lost, 2).unwrap();
    assert_eq!((ledger.settled(), ledger.outstanding()), (Lsn(0), 1));
    ledger.settle(again, 1).unwrap();
    assert_eq!(ledger.settled(), Lsn(9));
}
