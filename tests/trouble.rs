//! What must neither lose nor keep a document when things go wrong: pauses and resumes, sinks that refuse, settings that
//! change, locks, ends.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::items::{ITEMS, items};
use crate::harness::{Faults, PATIENCE, Sql, World, await_some, postgres};

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

/// What a stream could not write down is written down once it can be.
#[test]
fn a_dead_letter_that_cannot_be_written_waits_for_resume() {
    let world = items("letters", 1);
    std::fs::write(world.dir.path().join("mapping.json"), r#"{ "properties": { "n": { "type": "integer" } } }"#)
        .unwrap();
    world.sql.run("CREATE TABLE t (id text PRIMARY KEY, n text)");
    world.config("streams: [{ name: t, from: public.t, index: t, mapping: mapping.json }]");
    let mut engine = world.start();
    engine.await_log("streaming");
    let state = rusqlite::Connection::open(world.dir.path().join("tidemill.db")).unwrap();
    for bad in ["('no number', 'x')", "(repeat('too long ', 100), '2')"] {
        state.execute_batch("BEGIN IMMEDIATE").unwrap();
        let before = engine.log().matches("stream paused").count();
        world.sql.run(&format!("INSERT INTO t VALUES {bad}, ('good {before}', '1')"));
        let start = Instant::now();
        while engine.log().matches("stream paused").count() == before {
            assert!(start.elapsed() < PATIENCE, "not paused: {}", engine.log());
            std::thread::yield_now();
        }
        state.execute_batch("ROLLBACK").unwrap();
        assert_eq!(world.tidemill(&["resume", "t"]).code, 0);
        await_confirmed(&world);
    }
    assert_eq!(ids(&world, "t"), ["good 0", "good 1"]);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(2), "{letters}");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// Rows without an id have nothing to tell them apart but where they stood.
#[test]
fn each_refused_row_of_a_backfill_has_its_letter() {
    let world = World::new("refused");
    world.sql.run(
        "CREATE TABLE t (id text PRIMARY KEY);
         INSERT INTO t SELECT repeat('too long ', 100) || n FROM generate_series(1, 25) n",
    );
    world.config("streams: [{ name: t, from: public.t, index: t, batch: { documents: 10 } }]");
    world.catch_up();
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(25), "{letters}");
    world.drop_slot();
}

#[test]
fn a_truncate_goes_on_after_a_refusal_and_a_resume() {
    let world = items("truncate_refused", 3);
    let faults = Faults::before(world.index.address());
    world.config_to(&faults.url, ITEMS);
    let mut engine = world.start();
    engine.await_log("streaming");
    faults.answer("_bulk", 401);
    world.sql.run("TRUNCATE items; INSERT INTO items VALUES (9, 'after')");
    engine.await_log("stream paused");
    faults.pass();
    assert_eq!(world.tidemill(&["resume", "items"]).code, 0);
    world.await_documents("items", |documents| documents.keys().eq(["9"]));
    // Commands are still heard.
    assert_eq!(world.tidemill(&["pause", "items"]).code, 0);
    assert_eq!(world.tidemill(&["resume", "items"]).code, 0);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn a_truncate_waits_for_a_sink_that_is_not_available() {
    let world = items("truncate_away", 3);
    let faults = Faults::before(world.index.address());
    world.config_to(&faults.url, ITEMS);
    let mut engine = world.start();
    engine.await_log("streaming");
    faults.answer("_refresh", 503);
    world.sql.run("TRUNCATE items; INSERT INTO items VALUES (9, 'after')");
    faults.await_hits(2);
    faults.pass();
    world.await_documents("items", |documents| documents.keys().eq(["9"]));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// Truncate goes with delete: what a stream does not take in, no backfill does either.
#[test]
fn without_delete_documents_stay() {
    let world = items("stay", 3);
    world.config("streams: [{ name: items, from: public.items, index: items, actions: [insert, update] }]");
    world.catch_up();
    world.sql.run("DELETE FROM items WHERE id = 1; TRUNCATE items; INSERT INTO items VALUES (4, 'new')");
    world.catch_up();
    assert_eq!(ids(&world, "items"), ["1", "2", "3", "4"]);
    assert_eq!(world.tidemill(&["backfill", "items"]).code, 0);
    world.catch_up();
    assert_eq!(ids(&world, "items"), ["1", "2", "3", "4"]);
    world.drop_slot();
}

/// Without `insert` no backfilled row is taken in, so that none is missing either.
#[test]
fn without_insert_a_backfill_removes_nothing() {
    let world = items("no_insert", 3);
    world.config("streams: [{ name: items, from: public.items, index: items, actions: [update, delete] }]");
    world.catch_up();
    world.sql.run("UPDATE items SET name = 'second' WHERE id = 2");
    world.catch_up();
    assert_eq!(world.tidemill(&["backfill", "items"]).code, 0);
    world.catch_up();
    assert_eq!(ids(&world, "items"), ["2"]);
    world.drop_slot();
}

#[test]
fn a_truncate_of_one_table_of_an_index() {
    let world = World::new("shared");
    world.sql.run(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE a_b (id int PRIMARY KEY);
         INSERT INTO a VALUES (1), (2); INSERT INTO a_b VALUES (1), (3)",
    );
    world.config("streams: [{ name: all, from: [public.a, public.a_b], index: all, id: \"{table}-{id}\" }]");
    world.catch_up();
    assert_eq!(ids(&world, "all"), ["a-1", "a-2", "a_b-1", "a_b-3"]);
    world.sql.run("TRUNCATE a; INSERT INTO a VALUES (7)");
    world.catch_up();
    assert_eq!(ids(&world, "all"), ["a-7", "a_b-1", "a_b-3"]);

    world.config("streams: [{ name: all, from: [public.a, public.a_b], index: all, id: \"{id}-{table}\" }]");
    world.tidemill(&["check"]).refused(1, &["TRUNCATE", "{table}"]);
    world.drop_slot();
}

/// The slot went on without it.
#[test]
fn a_stream_that_was_left_out_for_a_while_is_read_again() {
    let world = World::new("left_out");
    world
        .sql
        .run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1), (2)");
    let both = "streams: [{ name: a, from: public.a, index: a }, { name: b, from: public.b, index: b }]";
    world.config(both);
    world.catch_up();
    world.config("streams: [{ name: a, from: public.a, index: a }]");
    world.sql.run("INSERT INTO b VALUES (3); DELETE FROM b WHERE id = 1");
    world.catch_up();
    world.config(both);
    world.catch_up();
    assert_eq!(ids(&world, "b"), ["2", "3"]);
    world.drop_slot();
}

#[test]
fn an_index_that_is_gone_is_not_made_anew_unnoticed() {
    let world = items("index_gone", 3);
    world.catch_up();
    crate::harness::http("DELETE", &format!("{}/items", world.index.url), None);
    world.sql.run("INSERT INTO items VALUES (4, 'new')");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["index `items`", "tidemill backfill items"]);
    assert_eq!(world.tidemill(&["backfill", "items"]).code, 0);
    world.catch_up();
    assert_eq!(ids(&world, "items"), ["1", "2", "3", "4"]);
    world.drop_slot();
}

/// A sink that is away holds back its own stream alone, also before anything was read.
#[test]
fn a_backfill_into_a_sink_that_is_away_stops_no_other() {
    let mut world = World::new("one_away");
    world.sql.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
    let away = world.dir.path().join("away");
    let address = {
        let index = crate::harness::Index::start(&away, "127.0.0.1:0");
        index.address().to_owned()
    };
    world.config(&format!(
        "sinks: {{ away: {{ url: \"http://{address}\" }} }}
streams: [{{ name: a, from: public.a, index: a, sink: away }}, {{ name: b, from: public.b, index: b, sink: main }}]"
    ));
    let engine = world.start();
    world.await_documents("b", |documents| documents.len() == 1);
    world.sql.run("INSERT INTO a VALUES (2); INSERT INTO b VALUES (2)");
    world.await_documents("b", |documents| documents.len() == 2);
    let here = world.index.url.clone();
    let index = crate::harness::Index::start(&away, &address);
    world.index.url.clone_from(&index.url);
    world.await_documents("a", |documents| documents.len() == 2);
    world.index.url = here;
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// The engine died between making the slot and writing that down; later the slot is dropped.
#[test]
fn a_slot_whose_making_was_not_written_down_is_known_all_the_same() {
    let world = items("slot_known", 1);
    let other = Sql::connect(&world.url());
    other.run("BEGIN; INSERT INTO items VALUES (2, 'open')");
    let mut engine = world.start();
    engine.await_log("waits for an open transaction");
    assert_eq!(engine.stop(), 0);
    other.run("COMMIT");
    world.sql.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", world.name));
    world.catch_up();
    world.drop_slot();
    world.sql.run("INSERT INTO items VALUES (3, 'lost to the slot')");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["is gone", "tidemill teardown"]);
}

/// Locks of others hold a start back; they do not hold an end back.
#[test]
fn a_stop_is_heard_while_a_lock_is_waited_for() {
    let world = items("locked_start", 1);
    let other = Sql::connect(&world.url());
    other.run("BEGIN; LOCK TABLE items IN SHARE UPDATE EXCLUSIVE MODE");
    let engine = world.start();
    let waits = format!(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock')",
        world.name
    );
    await_sql(&world.sql, &waits);
    let start = Instant::now();
    assert_eq!(engine.stop(), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    other.run("ROLLBACK");
    world.catch_up();

    // In a backfill.
    assert_eq!(world.tidemill(&["backfill", "items"]).code, 0);
    other.run("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
    let engine = world.start();
    await_sql(&world.sql, &waits);
    let start = Instant::now();
    assert_eq!(engine.stop(), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    other.run("ROLLBACK");
    world.catch_up();
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

#[test]
fn a_stop_is_heard_while_a_row_that_is_read_again_is_locked() {
    let world = toast("locked_row");
    let mut engine = world.start();
    engine.await_log("streaming");
    // Whoever waits for the table before us gets it before us.
    world.sql.run("BEGIN; UPDATE items SET name = 'big lamp'");
    let url = world.url();
    let holder = std::thread::spawn(move || {
        let other = Sql::connect(&url);
        other.run("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
        other
    });
    let waits = |count: u32| {
        format!(
            "SELECT count(*) = {count} FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
            world.name
        )
    };
    let looking = Sql::connect(&postgres().url());
    await_sql(&looking, &waits(1));
    world.sql.run("COMMIT");
    let other = holder.join().unwrap();
    await_sql(&looking, &waits(1));
    let start = Instant::now();
    assert_eq!(engine.stop(), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    other.run("ROLLBACK");
    world.catch_up();
    assert_eq!(world.documents("items")["1"]["name"], json!("big lamp"));
    world.drop_slot();
}

/// What the plan knows of a table grows old.
#[test]
fn a_large_value_in_a_column_that_came_later() {
    let world = toast("new_column");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run(
        "ALTER TABLE items ADD COLUMN review text, ALTER review SET STORAGE EXTERNAL;
         UPDATE items SET review = repeat('fine ', 2000);
         UPDATE items SET name = 'big lamp'",
    );
    world.await_documents("items", |documents| documents["1"]["name"] == "big lamp");
    let lamp = world.documents("items").remove("1").unwrap();
    assert_eq!((&lamp["review"], &lamp["manual"]), (&json!("fine ".repeat(2000)), &json!("read me ".repeat(1000))));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// Its value is nowhere any more; an engine that only tried again would try for ever.
#[test]
fn a_large_value_in_a_column_that_went() {
    let world = toast("no_column");
    world.catch_up();
    world.sql.run("UPDATE items SET name = 'big lamp'; ALTER TABLE items DROP COLUMN manual");
    let outcome = world.tidemill(&["run", "--until-caught-up"]);
    outcome.refused(1, &["`manual`", "public.items", "tidemill teardown"]);
    world.drop_slot();
}

/// Asked for while one is running, it is another one.
#[test]
fn a_backfill_asked_for_during_a_backfill() {
    let world = items("twice", 40_000);
    let stall = crate::harness::Stall::before(world.index.address());
    world.config_to(&format!("http://{}", stall.address), ITEMS);
    let mut engine = world.start();
    engine.await_log("backfill begins");
    stall.hold(true);
    stall.await_held();
    assert_eq!(world.tidemill(&["backfill", "items"]).code, 0);
    stall.hold(false);
    let start = Instant::now();
    while engine.log().matches("backfill of table public.items is done").count() < 2 {
        assert!(start.elapsed() < PATIENCE, "read once: {}", engine.log());
        std::thread::yield_now();
    }
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// A paused stream keeps its own WAL, not the others.
#[test]
fn a_paused_stream_holds_no_other_back() {
    let world = World::new("paused");
    world.sql.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)");
    world.config("streams: [{ name: a, from: public.a, index: a }, { name: b, from: public.b, index: b }]");
    let mut engine = world.start();
    engine.await_log("streaming");
    assert_eq!(world.tidemill(&["pause", "a"]).code, 0);
    let start = Instant::now();
    for n in 0..20 {
        world.sql.run(&format!("INSERT INTO a VALUES ({n}); INSERT INTO b VALUES ({n})"));
        world.await_documents("b", |documents| documents.len() == n + 1);
    }
    assert!(start.elapsed() < Duration::from_secs(8), "took {:?}", start.elapsed());
    assert_eq!(engine.stop(), 0);

    // It stays paused over a start, and what it missed comes with its resume.
    let mut engine = world.start();
    engine.await_log("streaming");
    assert_eq!(ids(&world, "a").len(), 0);
    assert_eq!(world.tidemill(&["resume", "a"]).code, 0);
    world.await_documents("a", |documents| documents.len() == 20);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// Whatever the key is made of, the row is found by it.
#[test]
fn a_large_value_of_a_row_whose_key_is_a_time() {
    let world = World::new("time_key");
    world.sql.run(
        "CREATE TABLE items (at timestamptz, day date, wall timestamp, clock time, raw bytea, part float8, name text, manual text,
            PRIMARY KEY (at, day, wall, clock, raw, part));
         ALTER TABLE items ALTER manual SET STORAGE EXTERNAL;
         INSERT INTO items SELECT at::timestamptz, at::timestamptz::date, at::timestamptz::timestamp, '23:59:59.000001', '\\x00ff',
            part::float8, 'lamp', repeat('read me ', 1000)
         FROM (VALUES ('2024-02-29 12:34:56.789012+02', '0.1'), ('0044-03-15 11:00:00+00 BC', '-1e300'), ('infinity', 'NaN'),
            ('-infinity', 'Infinity'), ('12024-12-31 23:59:59.999999+00', '-Infinity'), ('1969-12-31 23:59:59.5+00', '0')) v(at, part)",
    );
    world.config("streams: [{ name: items, from: public.items, index: items, columns: [name, manual] }]");
    world.catch_up();
    world.sql.run("UPDATE items SET name = 'big lamp'");
    world.catch_up();
    let documents = world.documents("items");
    let lamp = json!({ "name": "big lamp", "manual": "read me ".repeat(1000) });
    assert_eq!(documents.values().collect::<Vec<_>>(), [&lamp; 6]);
    world.drop_slot();
}

/// A plugin that asks for its batch again gets it for as long as it takes, and holds nobody else back meanwhile; one that
/// cannot go on pauses its stream.
#[test]
fn a_plugin_that_asks_for_its_batch_again() {
    let world = World::new("again");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    let mut streams = "streams:\n".to_owned();
    for (name, misdeed) in [
        ("plain", None),
        ("later", Some("misdeed: retry, rows: [7], amount: 3")),
        ("never", Some("misdeed: retry, rows: [7]")),
        ("fatal", Some("misdeed: fatal, rows: [7]")),
    ] {
        world.sql.run(&format!("CREATE TABLE {name} (id bigint PRIMARY KEY)"));
        let stages = misdeed.map(|misdeed| format!(", stages: [{{ plugin: hostile.wasm, config: {{ {misdeed} }} }}]"));
        let stages = stages.unwrap_or_default();
        streams.push_str(&format!("  - {{ name: {name}, from: public.{name}, index: {name}{stages} }}\n"));
    }
    world.config(&streams);
    let mut engine = world.start();
    engine.await_log("streaming");
    let stream = |name: &str| {
        let status = world.tidemill(&["status", "--json"]).succeeded().json();
        let stream = status["streams"].as_array().and_then(|all| all.iter().find(|stream| stream["name"] == name));
        let stream = stream.unwrap_or_else(|| panic!("no `{name}` in {status}"));
        (
            stream["state"].as_str().unwrap_or_default().to_owned(),
            stream["reason"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let await_state = |name: &str, state: &str, words: &str| {
        let found = await_some(PATIENCE, || {
            let (now, reason) = stream(name);
            (now == state && reason.contains(words)).then_some(())
        });
        assert!(found.is_some(), "{:?}", stream(name));
    };
    world.sql.run("INSERT INTO fatal VALUES (7); INSERT INTO never VALUES (7); INSERT INTO later VALUES (7)");
    await_state("fatal", "paused", "cannot go on: asked to be fatal");
    await_state("never", "waiting", "asks for the batch again: asked to retry");
    for n in 0..4 {
        world.sql.run(&format!("INSERT INTO plain VALUES ({n})"));
        world.await_documents("plain", |documents| documents.len() == n + 1);
    }
    world.await_documents("later", |documents| documents.keys().eq(["7"]));
    await_state("later", "streaming", "");
    await_state("never", "waiting", "asks for the batch again");
    assert_eq!(world.tidemill(&["dead-letters", "list", "--json"]).json()["dead_letters"], json!([]));
    engine.kill();
}
