use std::time::Duration;

use tidemill_change::Lsn;

use super::server::{Database, connector, own, shared};
use crate::config::TablePattern;
use crate::source::slot::{self, Blocker, SlotName, Stream};
use crate::source::snapshot::{Selection, SnapshotSource};
use crate::source::wire::{Payload, Status};
use crate::source::{Error, Kind, catalog};

/// Slot names are the cluster's.
fn name(db: &Database) -> SlotName {
    format!("s_{}", db.name).parse().unwrap()
}

async fn make(db: &Database) -> slot::Created {
    slot::create(&db.connector, &name(db), |blockers| panic!("{blockers:?}")).await.unwrap()
}

/// The next transactions: the first bytes of the plugin's messages, without those of relations, which the server says
/// again as it likes; and where each commit ends.
async fn transactions(stream: &mut Stream, count: usize) -> Vec<(String, Lsn)> {
    let mut transactions = Vec::new();
    let mut tags = String::new();
    while transactions.len() < count {
        let read = stream.read().await.unwrap();
        assert!(!read.is_end());
        for frame in &read.frames {
            let Payload::Wal { body, .. } = Payload::parse(&read.chunk, frame).unwrap() else { continue };
            let message = &read.chunk[body];
            tags.extend(Some(char::from(message[0])).filter(|tag| *tag != 'R'));
            if message[0] == b'C' {
                let end = Lsn(u64::from_be_bytes(message[10..18].try_into().unwrap()));
                transactions.push((std::mem::take(&mut tags), end));
            }
        }
    }
    transactions
}

async fn confirmed(db: &Database) -> Lsn {
    slot::inspect(&db.sql, &name(db)).await.unwrap().unwrap().confirmed_flush.unwrap()
}

#[tokio::test]
async fn what_is_confirmed_moves_the_slot_and_does_not_come_again() {
    let db = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION p FOR TABLE t").await;
    let created = make(&db).await;
    let slot = name(&db);
    let mut stream = Stream::on(&db.connector, created.connection, &slot, "p", created.consistent_point).await.unwrap();
    db.run("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 3) i").await;
    db.run("UPDATE t SET v = 'y' WHERE id = 2; DELETE FROM t WHERE id = 3; TRUNCATE t").await;
    let both = transactions(&mut stream, 2).await;
    assert_eq!((both[0].0.as_str(), both[1].0.as_str()), ("BIIIC", "BUDTC"));
    let (first, second) = (both[0].1, both[1].1);
    assert!(created.consistent_point < first && first < second);

    stream.send_status(Status { received: second, flushed: first, reply: false }).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(confirmed(&db).await, first);
    // From the very start is from what was confirmed: only the second comes again.
    let mut stream = Stream::start(&db.connector, &slot, "p", Lsn::ZERO).await.unwrap();
    assert_eq!(transactions(&mut stream, 1).await, [("BUDTC".to_owned(), second)]);
    stream.send_status(Status { received: second, flushed: second, reply: true }).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(confirmed(&db).await, second);
    assert!(slot::drop(&db.sql, &slot).await.unwrap());
    assert!(!slot::drop(&db.sql, &slot).await.unwrap());
    assert_eq!(slot::inspect(&db.sql, &slot).await.unwrap(), None);
}

#[tokio::test]
async fn a_reply_that_is_asked_for_comes_at_once() {
    let db = Database::on(shared()).await;
    db.run("CREATE PUBLICATION p").await;
    let created = make(&db).await;
    let from = created.consistent_point;
    let mut stream = Stream::on(&db.connector, created.connection, &name(&db), "p", from).await.unwrap();
    stream.send_status(Status { received: from, flushed: from, reply: true }).await.unwrap();
    let read = stream.read().await.unwrap();
    // Its WAL end may lie below `from`: the server reads from the slot's restart point and says how far it has read.
    let Payload::Keepalive { sent_us, .. } = Payload::parse(&read.chunk, &read.frames[0]).unwrap() else {
        panic!("{read:?}")
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!((now - sent_us).abs() < 60_000_000, "sent at {sent_us}, now {now}");
}

#[tokio::test]
async fn many_large_and_small_messages_arrive_whole_however_reads_are_dropped() {
    let db = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION p FOR TABLE t").await;
    let created = make(&db).await;
    let from = created.consistent_point;
    let mut stream = Stream::on(&db.connector, created.connection, &name(&db), "p", from).await.unwrap();
    db.run(
        "INSERT INTO t SELECT i, CASE WHEN i % 1000 = 0 THEN repeat(chr(97 + i / 1000), 3000000) ELSE repeat('z', i % 300) END \
         FROM generate_series(1, 4000) i",
    )
    .await;
    let mut lengths = Vec::new();
    let (mut chunks, mut dropped) = (0, 0);
    'all: loop {
        // A read that is dropped at its first pause loses nothing.
        let read = match futures_util::FutureExt::now_or_never(stream.read()) {
            Some(read) => read.unwrap(),
            None => {
                dropped += 1;
                stream.read().await.unwrap()
            }
        };
        chunks += 1;
        for frame in &read.frames {
            let Payload::Wal { body, .. } = Payload::parse(&read.chunk, frame).unwrap() else { continue };
            let message = &read.chunk[body];
            match message[0] {
                b'I' => {
                    let id_length = u32::from_be_bytes(message[9..13].try_into().unwrap()) as usize;
                    let value = &message[13 + id_length + 5..];
                    assert!(value.windows(2).all(|two| two[0] == two[1]));
                    lengths.push(value.len());
                }
                b'C' => break 'all,
                _ => {}
            }
        }
    }
    let expected = (1..=4000).map(|i| if i % 1000 == 0 { 3_000_000 } else { i % 300 });
    assert!(lengths.into_iter().eq(expected));
    assert!(dropped > 0 && chunks < 4000, "several messages a read: {chunks} reads, {dropped} dropped");
}

#[tokio::test]
async fn the_slots_snapshot_has_what_its_stream_has_not() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (id) STORED); CREATE TABLE empty (); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         INSERT INTO t VALUES (1, E'a\\tb\\n\\\\'), (2, NULL); INSERT INTO parts VALUES (7); INSERT INTO empty DEFAULT VALUES; \
         CREATE PUBLICATION p FOR TABLE t",
    )
    .await;
    let created = make(&db).await;
    db.run("INSERT INTO t VALUES (3, 'late')").await;
    db.run("DELETE FROM t WHERE id = 1").await;
    let mut source = SnapshotSource::exported(&db.connector, &created.snapshot).await.unwrap();
    let include = ["t", "parts", "empty"].map(|name| TablePattern::parse(name).unwrap());
    let mut copied = Vec::new();
    for table in catalog::tables(&db.sql, &include, &[]).await.unwrap() {
        let copy = Selection { table: &table, columns: None, condition: None };
        source.copy(copy).await.unwrap();
        copied.push(rows(&mut source).await);
    }
    assert_eq!(copied, [vec!["\n"], vec!["7\n"], vec!["1\ta\\tb\\n\\\\\n", "2\t\\N\n"]]);
    let table = &catalog::tables(&db.sql, &[TablePattern::parse("t").unwrap()], &[]).await.unwrap()[0];
    source.copy(Selection { table, columns: Some(&[1, 0]), condition: Some("v IS NULL -- so") }).await.unwrap();
    assert_eq!(rows(&mut source).await, ["\\N\t2\n"]);
    source.finish().await.unwrap();

    let mut stream =
        Stream::on(&db.connector, created.connection, &name(&db), "p", created.consistent_point).await.unwrap();
    assert_eq!(
        transactions(&mut stream, 2).await.iter().map(|(tags, _)| tags.as_str()).collect::<Vec<_>>(),
        ["BIC", "BDC"]
    );
    let error = SnapshotSource::exported(&db.connector, &created.snapshot).await.unwrap_err();
    assert_eq!(error.kind(), Kind::SnapshotGone, "{error}");
}

pub(super) async fn rows(source: &mut SnapshotSource) -> Vec<String> {
    let mut rows = Vec::new();
    loop {
        let read = source.read().await.unwrap();
        if read.is_end() {
            return rows;
        }
        rows.extend(read.frames.iter().map(|frame| String::from_utf8(read.chunk[frame.clone()].into()).unwrap()));
    }
}

#[tokio::test]
async fn a_slot_that_is_not_to_be_had_says_why() {
    let db = Database::on(shared()).await;
    let other = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t").await;
    let slot = name(&db);
    let start = async || Stream::start(&db.connector, &slot, "p", Lsn::ZERO).await.map(drop);

    let error = start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::SlotGone, "{error}");
    let created = make(&db).await;
    let again = slot::create(&db.connector, &slot, |_| {}).await.unwrap_err();
    assert_eq!(again.kind(), Kind::SlotExists, "{again}");

    let pid = created.connection.process_id();
    let stream = Stream::on(&db.connector, created.connection, &slot, "p", Lsn::ZERO).await.unwrap();
    for error in [start().await.unwrap_err(), slot::drop(&db.sql, &slot).await.unwrap_err()] {
        assert!(error.kind() == Kind::SlotActive && error.is_transient(), "{error}");
        assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    }
    let info = slot::inspect(&db.sql, &slot).await.unwrap().unwrap();
    assert_eq!(info.active_pid, Some(pid));
    assert_eq!(info.require_free().unwrap_err().kind(), Kind::SlotActive);
    info.require_usable(&db.name).unwrap();
    drop(stream);

    for (make, database) in [
        ("pg_create_logical_replication_slot('x', 'test_decoding')", &db),
        ("pg_create_physical_replication_slot('x', true)", &db),
        ("pg_create_logical_replication_slot('x', 'pgoutput', false, true)", &db),
        ("pg_create_logical_replication_slot('x', 'pgoutput')", &other),
    ] {
        let unique = format!("x_{}", db.name);
        database.run(&format!("SELECT {}", make.replace("'x'", &format!("'{unique}'")))).await;
        let slot: SlotName = unique.parse().unwrap();
        let info = slot::inspect(&db.sql, &slot).await.unwrap().unwrap();
        let error = info.require_usable(&db.name).unwrap_err();
        assert_eq!(error.kind(), Kind::SlotForeign, "{make}: {error}");
        slot::drop(&database.sql, &slot).await.unwrap();
    }
}

#[tokio::test]
async fn a_publication_that_is_gone_is_told_from_a_lost_connection() {
    let db = Database::on(shared()).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let created = make(&db).await;
    let mut stream = Stream::on(&db.connector, created.connection, &name(&db), "it's", Lsn::ZERO).await.unwrap();
    db.run("INSERT INTO t VALUES (1)").await;
    let error = loop {
        match stream.read().await {
            Ok(read) => assert!(!read.is_end()),
            Err(error) => break error,
        }
    };
    assert!(error.kind() == Kind::PublicationGone && error.to_string().contains("it's"), "{error}");
}

#[tokio::test]
async fn a_role_without_replication_is_told_what_it_lacks() {
    let db = Database::on(shared()).await;
    db.run("CREATE ROLE plain_role LOGIN").await;
    let plain = db.as_role("plain_role");
    let error = plain.replication().await.unwrap_err();
    assert_eq!(error.kind(), Kind::NoReplicationPrivilege, "{error}");
    assert_eq!(slot::prove(&plain, |_| {}).await.unwrap_err().kind(), Kind::NoReplicationPrivilege);
    db.run(error.sql().unwrap()).await;
    slot::prove(&plain, |_| {}).await.unwrap();
    let left =
        db.sql.query("SELECT FROM pg_replication_slots WHERE slot_name LIKE 'tidemill_check%'", &[]).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_server_without_room_for_a_slot_says_which_setting() {
    let server = own(&[("max_replication_slots", "1"), ("max_wal_senders", "1")]);
    let db = Database::on(&server).await;
    let held = make(&db).await;
    let error = db.connector.replication().await.unwrap_err();
    assert!(error.kind() == Kind::NoFreeSender && error.is_transient(), "{error}");
    drop(held);
    // The server takes a moment to notice that the walsender's client is gone.
    let full: SlotName = "another".parse().unwrap();
    let error = loop {
        match slot::create(&db.connector, &full, |_| {}).await.unwrap_err() {
            error if error.kind() == Kind::NoFreeSender => tokio::task::yield_now().await,
            error => break error,
        }
    };
    assert!(error.kind() == Kind::NoFreeSlot && error.to_string().contains("all 1 "), "{error}");

    let server = own(&[("wal_level", "replica")]);
    let connector = connector(&server.socket_url());
    let error = slot::create(&connector, &full, |_| {}).await.unwrap_err();
    assert!(error.kind() == Kind::WalLevel && error.to_string().contains("`replica`"), "{error}");
}

#[tokio::test]
async fn whom_a_slots_creation_waits_for_is_named() {
    let server = own(&[("max_prepared_transactions", "5")]);
    let db = Database::on(&server).await;
    db.run("CREATE TABLE t (id int)").await;
    let (slot, connector) = (name(&db), &db.connector);
    let open = connector.sql().await.unwrap();
    let begin = "BEGIN; INSERT INTO t VALUES (1)";
    open.batch_execute(begin).await.unwrap();
    let pid: i32 = open.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);

    // Given up by us: the server must not go on waiting.
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel::<Vec<Blocker>>();
    {
        let creation = slot::create(connector, &slot, |found| told.send(found.to_vec()).unwrap());
        tokio::select! {
            done = creation => panic!("{done:?}"),
            found = heard.recv() => {
                let found = &found.unwrap()[0];
                assert_eq!((found.pid, found.state.as_deref()), (Some(pid), Some("idle in transaction")));
                assert!(found.to_string().contains(&format!("process {pid} (postgres, tidemill, idle in")), "{found}");
            }
        }
    }
    while slot::inspect(&db.sql, &slot).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    open.batch_execute("PREPARE TRANSACTION 'half done'").await.unwrap();
    let creation = slot::create(connector, &slot, |found| told.send(found.to_vec()).unwrap());
    tokio::pin!(creation);
    tokio::select! {
        done = &mut creation => panic!("{done:?}"),
        found = heard.recv() => {
            let found = &found.unwrap()[0];
            assert!(found.to_string().starts_with("prepared transaction `half done` (postgres), open for"), "{found}");
        }
    }
    db.run("COMMIT PREPARED 'half done'").await;
    creation.await.unwrap();
}

#[tokio::test]
async fn a_slot_whose_wal_was_thrown_away_is_lost() {
    let server = own(&[("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")]);
    let db = Database::on(&server).await;
    db.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t").await;
    drop(make(&db).await);
    let slot = name(&db);
    let info = loop {
        db.run("INSERT INTO t VALUES (1); DELETE FROM t; SELECT pg_switch_wal(); CHECKPOINT").await;
        let info = slot::inspect(&db.sql, &slot).await.unwrap().unwrap();
        if info.wal_status.as_deref() == Some("lost") {
            break info;
        }
    };
    assert_eq!(info.require_usable(&db.name).unwrap_err().kind(), Kind::SlotLost);
    let error: Error = Stream::start(&db.connector, &slot, "p", Lsn::ZERO).await.unwrap_err();
    assert!(error.kind() == Kind::SlotLost && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_server_that_goes_away_is_a_passing_trouble() {
    let mut server = own(&[]);
    let db = Database::on(&server).await;
    db.run("CREATE PUBLICATION p").await;
    let created = make(&db).await;
    let mut stream = Stream::on(&db.connector, created.connection, &name(&db), "p", Lsn::ZERO).await.unwrap();
    server.crash().unwrap();
    let error = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match stream.read().await {
                Ok(read) if read.is_end() => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        }
    });
    assert!(error.await.unwrap().is_none_or(|error| error.is_transient()));
    Stream::start(&db.connector, &name(&db), "p", Lsn::ZERO).await.unwrap();
}
