//! What must neither lose nor keep a document when things go wrong: pauses and resumes, sinks that refuse, settings that
//! change, locks, ends.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Faults, PATIENCE, Sql, World, postgres};

const ITEMS: &str = "streams: [{ name: items, from: public.items, index: items }]";

fn items(story: &str, rows: u32) -> World {
    let world = World::new(story);
    world.sql.run(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         INSERT INTO items SELECT n, 'first' FROM generate_series(1, {rows}) n"
    ));
    world.config(ITEMS);
    world
}

fn ids(world: &World, index: &str) -> Vec<String> {
    world.documents(index).into_keys().collect()
}

/// Waits until a statement says `t`.
#[track_caller]
fn await_sql(sql: &Sql, query: &str) {
    let start = Instant::now();
    while sql.one(query) != "t" {
        assert!(start.elapsed() < PATIENCE, "never true: {query}");
        std::thread::yield_now();
    }
}

/// Everything that is committed now is confirmed, without an end of the engine.
#[track_caller]
fn await_confirmed(world: &World) {
    let end = world.sql.one("SELECT pg_current_wal_flush_lsn()::text");
    let query = format!(
        "SELECT confirmed_flush_lsn >= '{end}'::pg_lsn FROM pg_replication_slots WHERE slot_name = '{}'",
        world.name
    );
    await_sql(&world.sql, &query);
}

/// Where a cut may not come yet, reading has to go on, or the cut never comes.
#[test]
fn a_transaction_larger_than_a_batch_and_smaller_than_a_bucket() {
    let world = items("between", 1);
    world.config("streams: [{ name: items, from: public.items, index: items, batch: { documents: 100 } }]");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run("INSERT INTO items SELECT n, repeat(n::text, 200) FROM generate_series(2, 9000) n");
    world.await_documents("items", |documents| documents.len() == 9000);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

fn toast(story: &str) -> World {
    let world = World::new(story);
    world.sql.run(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, manual text);
         ALTER TABLE items ALTER manual SET STORAGE EXTERNAL;
         INSERT INTO items VALUES (1, 'lamp', repeat('read me ', 1000))",
    );
    world.config(ITEMS);
    world
}
