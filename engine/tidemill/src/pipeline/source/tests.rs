use std::collections::HashSet;

use bytes::Bytes;
use tidemill_change::{Column, Commit, Kind, Relation, ReplicaIdentity, TableId, Truncate};
use tidemill_decode::CopyDecoder;
use tokio::sync::watch;

use super::*;
use crate::pipeline::stream::{Report, Standing, Wish};

const TABLE: TableId = TableId(7);

/// What a stream's handle hangs on.
struct Held {
    handle: StreamHandle,
    report: watch::Sender<Report>,
    _jobs: mpsc::Receiver<Job>,
    _wishes: mpsc::Receiver<Wish>,
}

fn stream(settled: u64) -> Held {
    let (jobs, jobs_out) = mpsc::channel(1);
    let (wishes, wishes_out) = mpsc::channel(1);
    let report = Report { settled: Lsn(settled), standing: Standing::Running, failed: None, read: (0, HashSet::new()) };
    let (sender, report) = watch::channel(report);
    let tables = [TABLE].into();
    let (name, left_out, from) = ("s".into(), HashMap::new(), Lsn(settled));
    let handle = StreamHandle { name, jobs, wishes, report, tables, left_out, attached: true, from };
    Held { handle, report: sender, _jobs: jobs_out, _wishes: wishes_out }
}

/// A row of a transaction that commits at this LSN.
fn batch(commit: u64) -> ChangeBatch {
    let column = Column { name: "id".into(), type_oid: 23, type_modifier: -1, kind: Kind::Int4, identity: true };
    let relation = Relation::new(TABLE, "public", "t", ReplicaIdentity::Default, vec![column]);
    let mut decoder = CopyDecoder::new(Arc::new(relation), Commit { lsn: Lsn(commit), xid: 1, time_us: 0 });
    decoder.row(&Bytes::from_static(b"1\n"), 0..2).unwrap();
    decoder.take()
}

/// A stream that is ahead of another gets what the other lacks, without the beginnings of what it has itself: the end of
/// such a transaction, where a row of it may be deleted again, would not follow.
#[test]
fn no_stream_gets_a_part_of_what_it_has_settled() {
    let cut = |commit: u64, to: Option<u64>| {
        Shareable::from(Cut { batches: vec![batch(commit)], truncate: None, from: Lsn(40), to: to.map(Lsn) })
    };
    let held = stream(100);
    let gets = |cut: &Shareable| held.handle.job(cut, 1).is_some();
    assert!(!gets(&cut(48, Some(56))) && !gets(&cut(88, Some(100))));
    assert!(gets(&cut(96, Some(120))), "it ends beyond what has settled");
    assert!(!gets(&cut(88, None)), "the first buckets of a transaction that has settled");
    assert!(gets(&cut(104, None)));

    let commit = Commit { lsn: Lsn(88), xid: 1, time_us: 0 };
    let truncate = Some(Truncate { tables: vec![TABLE], commit, bucket: 0 });
    assert!(!gets(&Shareable::from(Cut { batches: Vec::new(), truncate, from: Lsn(40), to: None })));
}

/// A stream that was let go still has to deliver: it is not caught up. One that is paused will not.
#[test]
fn all_but_the_paused_have_to_catch_up() {
    let mut held = stream(100);
    held.handle.attached = false;
    let streams = [held.handle];
    let caught_up = |streams: &[StreamHandle]| settled_by(streams, |stream| !stream.is_paused());
    assert_eq!(caught_up(&streams), Lsn(100));
    assert_eq!(settled_by(&streams, StreamHandle::is_running), Lsn(u64::MAX), "an end does not wait for it");
    held.report.send_modify(|report| report.standing = Standing::Paused("asked".into()));
    assert_eq!(caught_up(&streams), Lsn(u64::MAX));
}
