use std::time::Duration;

use super::server::{Database, own, shared};
use super::stream::rows;
use crate::config::TablePattern;
use crate::source::catalog::{self, TableInfo};
use crate::source::reread::{KEYS_MAX, Reread, Wanted};
use crate::source::snapshot::{Selection, SnapshotSource};
use crate::source::{Kind, Session};

async fn table(session: &Session, name: &str) -> TableInfo {
    catalog::tables(session, &[TablePattern::parse(name).unwrap()], &[]).await.unwrap().remove(0)
}

#[tokio::test]
async fn rows_are_read_again_by_their_keys() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE TABLE t (\"k 1\" varchar(20), n numeric, big text, PRIMARY KEY (\"k 1\", n)); \
         INSERT INTO t SELECT 'it''s \\ ' || i, i + 0.10, repeat('x', i) FROM generate_series(1, 2500) i",
    )
    .await;
    let table = table(&db.sql, "t").await;
    let mut reread = Reread::open(&db.connector).await.unwrap();
    let wanted = Wanted { table: &table, key: &table.primary_key, columns: &[2, 1], xids: &[] };
    // Another spelling of the number: found all the same, under its place.
    let keys: Vec<_> = (0..2_600).map(|i| vec![format!("it's \\ {i}"), format!("{i}.1000")]).collect();
    assert!(keys.len() > 2 * KEYS_MAX);
    let mut found = reread.fetch(wanted, &keys).await.unwrap();
    found.sort_by_key(|found| found.key);
    assert_eq!(found.len(), 2_500);
    for (at, found) in found.iter().enumerate() {
        let i = at + 1;
        assert_eq!((found.key, found.values.text(0).unwrap().len()), (i, i));
        assert_eq!(found.values.text(1).unwrap(), format!("{i}.10"));
    }
    assert!(reread.fetch::<String>(wanted, &[]).await.unwrap().is_empty());
    db.run("DROP TABLE t").await;
    assert_eq!(reread.fetch(wanted, &keys).await.unwrap_err().kind(), Kind::TableMissing);
    assert!(reread.fetch::<String>(wanted, &[]).await.is_ok(), "an error leaves the session usable");
}

#[tokio::test]
async fn a_row_is_not_read_before_its_transaction_is_visible() {
    let server = own(&[]);
    let db = Database::on(&server).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')").await;
    let table = table(&db.sql, "t").await;
    let writer = db.connector.sql().await.unwrap();
    // Stands for a commit whose WAL is out and which is not visible yet: to others it is the same.
    writer.batch_execute("BEGIN; UPDATE t SET v = 'new'").await.unwrap();
    let xid: String = writer.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let xid: u32 = xid.parse().unwrap();
    let keys = [vec!["1"]];
    let wanted = Wanted { table: &table, key: &[0], columns: &[1], xids: &[3, xid] };

    let mut hasty = Reread::open(&db.connector).await.unwrap().within(Duration::from_millis(20));
    let error = hasty.fetch(wanted, &keys).await.unwrap_err();
    assert!(error.kind() == Kind::NotVisible && error.is_transient(), "{error}");

    let mut patient = Reread::open(&db.connector).await.unwrap();
    let read = patient.fetch(wanted, &keys);
    tokio::pin!(read);
    assert!(futures_util::FutureExt::now_or_never(&mut read).is_none());
    let (found, committed) = tokio::join!(read, writer.batch_execute("COMMIT"));
    committed.unwrap();
    assert_eq!(found.unwrap()[0].values.text(0).unwrap(), "new");
    assert_eq!(hasty.fetch(wanted, &keys).await.unwrap()[0].values.text(0).unwrap(), "new");
}

#[tokio::test]
async fn a_locked_table_is_not_waited_for_without_end() {
    let db = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'old')").await;
    let table = table(&db.sql, "t").await;
    let other = db.connector.sql().await.unwrap();
    other.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let wanted = Wanted { table: &table, key: &[0], columns: &[1], xids: &[] };
    let mut reread = Reread::open(&db.connector).await.unwrap().within(Duration::from_millis(20));
    let error = reread.fetch(wanted, &[vec!["1"]]).await.unwrap_err();
    assert!(error.is_transient() && error.sqlstate() == Some("55P03"), "{error}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(reread.fetch(wanted, &[vec!["1"]]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_transactions_number_is_taken_as_the_nearest() {
    let server = own(&[]);
    let db = Database::on(&server).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let table = table(&db.sql, "t").await;
    let now: String = db.sql.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let now: u32 = now.parse().unwrap();
    let mut reread = Reread::open(&db.connector).await.unwrap().within(Duration::ZERO);
    let mut sees = async |xid: u32| {
        let wanted = Wanted { table: &table, key: &[0], columns: &[], xids: &[xid] };
        reread.fetch::<String>(wanted, &[]).await.is_ok()
    };
    assert!(sees(now).await && sees(now - 1).await);
    // Ahead of the snapshot: not of this epoch's past, but of the next moment.
    assert!(!sees(now + 2).await && !sees(now + 1_000_000).await);
}

#[tokio::test]
async fn a_fresh_snapshot_stands_still_and_says_where() {
    let db = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let table = table(&db.sql, "t").await;
    let mut source = SnapshotSource::fresh(&db.connector).await.unwrap();
    db.run("INSERT INTO t VALUES (2)").await;
    let mark = source.mark().unwrap().clone();
    assert!(mark.low.0 > 0 && mark.snapshot.split(':').count() == 3, "{mark:?}");
    let copy = Selection { table: &table, columns: None, condition: None };
    source.copy(copy).await.unwrap();
    assert_eq!(rows(&mut source).await, ["1\n"]);
    source.finish().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_fails_says_why_and_at_which_row_it_was_is_not_lost() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE ROLE copier LOGIN; CREATE TABLE closed (id int PRIMARY KEY); CREATE TABLE guarded (id int PRIMARY KEY); \
         GRANT SELECT ON guarded TO copier; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; \
         CREATE TABLE t (id int PRIMARY KEY, d int); INSERT INTO t SELECT i, 3000 - i FROM generate_series(1, 5000) i",
    )
    .await;
    let copier = db.as_role("copier");
    let session = copier.sql().await.unwrap();
    for (name, kind) in [("closed", Kind::NoSelect), ("guarded", Kind::RowSecurity)] {
        let table = table(&session, name).await;
        let mut source = SnapshotSource::fresh(&copier).await.unwrap();
        let copy = Selection { table: &table, columns: None, condition: None };
        let error = source.copy(copy).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    // An error in the middle comes after all rows that were sent before it.
    let table = table(&db.sql, "t").await;
    let mut source = SnapshotSource::fresh(&db.connector).await.unwrap();
    source.copy(Selection { table: &table, columns: None, condition: Some("1 / d IS NOT NULL") }).await.unwrap();
    let mut count = 0;
    let error = loop {
        match source.read().await {
            Ok(read) => count += read.frames.len(),
            Err(error) => break error,
        }
    };
    assert_eq!((count, error.sqlstate()), (2_999, Some("22012")), "{error}");
}
