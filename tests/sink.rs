//! What a sink may do to a running engine, and how it is asked: an index that goes, secrets that change, compressed requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, World, await_some, says};

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

/// The first stream of `status`, once it is as it should be.
#[track_caller]
fn await_stream(world: &World, right: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = await_some(PATIENCE, || {
        let outcome = world.tidemill(&["status", "--json"]);
        last = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        right(&last["streams"][0]).then(|| last["streams"][0].clone())
    });
    found.unwrap_or_else(|| panic!("never so: {last}"))
}

/// The server makes it again with the next document, empty and with a mapping of its own.
#[test]
fn an_index_that_is_deleted_while_the_stream_runs() {
    let world = items("index_deleted", 3);
    let mut engine = world.start();
    world.await_documents("items", |documents| documents.len() == 3);
    let mapping = || world.http().call("GET", "/items/_mapping", None).1["items"]["mappings"].clone();
    let right = mapping();
    assert_eq!(world.http().call("DELETE", "/items", None).0, 200);
    world.sql.run("INSERT INTO items VALUES (4, 'after')");
    world.await_documents("items", |documents| documents.keys().eq(["4"]));
    engine.await_log("stream paused");
    let stream = await_stream(&world, |stream| stream["state"] == "paused");
    let reason = stream["reason"].as_str().unwrap_or_default();
    for word in ["index `items`", "tidemill backfill items", "tidemill resume items"] {
        assert!(says(reason, word), "{reason}");
    }
    // Neither a resume alone nor a new start takes it for what it was.
    world.tidemill(&["resume", "items"]).succeeded();
    await_stream(&world, |stream| stream["state"] == "paused");
    assert_eq!(engine.stop(), 0);
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["index `items`", "tidemill backfill items"]);

    let mut engine = world.start();
    engine.await_log("stream paused");
    world.sql.run("DELETE FROM items WHERE id = 1; UPDATE items SET name = 'second' WHERE id = 2");
    assert_eq!(world.http().call("DELETE", "/items", None).0, 200);
    world.tidemill(&["backfill", "items"]).succeeded();
    world.tidemill(&["resume", "items"]).succeeded();
    world.await_documents("items", |documents| documents.len() == 3 && documents["2"]["name"] == "second");
    assert_eq!(mapping(), right);
    world.sql.run("INSERT INTO items VALUES (5, 'and on')");
    world.await_documents("items", |documents| documents.keys().eq(["2", "3", "4", "5"]));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}
