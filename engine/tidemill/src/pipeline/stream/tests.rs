use bytes::Bytes;
use tidemill_settle::Limits;

use super::removal::deletes;
use super::*;
use crate::config::{DeadLetters, DeadLettersThen, Rejects};
use crate::deliver::{ScrolledId, SinkOptions};
use crate::metrics::Metrics;
use crate::state::State;

const TABLE: TableId = TableId(7);

/// A stream's task whose sink nobody is asked for anything: the test gives the answers.
struct Told {
    task: StreamTask,
    report: watch::Receiver<Report>,
    _wishes: mpsc::Sender<Wish>,
    _dir: tempfile::TempDir,
}

fn task() -> Told {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(&dir.path().join("state.db")).unwrap());
    let sink = Sink::new(SinkOptions {
        name: "main".into(),
        urls: vec!["http://127.0.0.1:1".into()],
        auth: crate::config::Auth::None,
        tls: None,
        timeout: Duration::from_secs(1),
        gzip: false,
    });
    let letters = DeadLetters { rows_max: 10, bytes_max: 1 << 20, then: DeadLettersThen::Pause };
    let parts = Parts {
        name: "s".into(),
        sink: sink.unwrap(),
        settled: Lsn(100),
        epoch: Epoch::default(),
        limits: Limits::default(),
        letters: Letters::new(state, "s", letters, Rejects { ratio: 0.5, of: 1000 }, Metrics::default().stream("s"))
            .expect("the state is readable"),
        observed: Arc::new(Observed::new(Metrics::default().stream("s"))),
        wal_end: Arc::new(AtomicU64::new(1000)),
        clock: Clock::start(),
        moved: Arc::new(Notify::new()),
        seed: 0,
        documents: HashMap::new(),
        sweeps: true,
        preparation: Preparation::default(),
        again: watch::channel(None).1,
        paused: None,
    };
    let (wishes, wishes_out) = mpsc::channel(1);
    let (task, report) = StreamTask::new(parts, wishes_out);
    Told { task, report, _wishes: wishes, _dir: dir }
}

/// Actions of a cut; deletes, since what they are does not matter.
fn made(generation: u32, ticket: Ticket, ids: &[&str]) -> Made {
    let ids =
        ids.iter().map(|id| ScrolledId { _index: "i".into(), _id: (*id).to_owned(), _routing: None, _version: None });
    let ids: Vec<_> = ids.collect();
    let encoded = Ok(deletes(&ids, Version::new(Epoch::default(), Lsn(100), 0).unwrap()));
    Made { generation, ticket, batches: Vec::new(), truncate: None, encoded }
}

impl Told {
    async fn take(&mut self, made: Made) {
        self.task.take(made).await;
        self.task.carry_out().await;
    }

    /// The sink took all of a request.
    async fn taken(&mut self, request: u64, documents: usize) {
        let items = vec![r#"{"delete":{"status":200}}"#; documents].join(",");
        let body = Bytes::from(format!(r#"{{"errors":false,"items":[{items}]}}"#));
        self.task.answered(RequestId(request), Ok(Answer { status: 200, retry_after: None, body, node: 0 }));
        self.task.carry_out().await;
        self.task.finish_reading().await;
    }
}

/// The source was lost in the middle of a backfill, and what it had read before is still on its way when it reads again.
#[tokio::test]
async fn a_table_is_read_once_its_last_reading_has_settled() {
    let mut told = task();
    let ticket = |last| Ticket::Backfill { table: TABLE, at: Lsn(100), bucket: 0, last };
    told.take(made(1, ticket(false), &["1", "2"])).await;
    told.take(made(2, ticket(true), &["1", "2"])).await;
    told.taken(0, 2).await;
    assert!(told.report.borrow().read.1.is_empty(), "only what was read first has settled");
    told.taken(1, 2).await;
    assert_eq!(told.report.borrow().read, (2, [TABLE].into()));
}

/// One answer can settle several tables, and after it nothing else may come for long.
#[tokio::test]
async fn all_tables_that_were_read_are_told_of() {
    let mut told = task();
    for table in [TABLE, TableId(8)] {
        told.take(made(1, Ticket::Backfill { table, at: Lsn(100), bucket: 0, last: true }, &[])).await;
    }
    told.task.finish_reading().await;
    assert_eq!(told.report.borrow().read, (1, [TABLE, TableId(8)].into()));
}

/// A worker ends by a panic alone: that must not look like a stream that has nothing to do.
#[tokio::test]
async fn a_stream_without_its_worker_is_paused() {
    let Told { task, report, _wishes, _dir } = task();
    let (made, made_out) = mpsc::channel(1);
    drop(made);
    task.run(made_out).await;
    assert!(matches!(&report.borrow().standing, Standing::Paused(reason) if reason.contains("worker has ended")));
}
