//! Rows that cannot be read: each is a dead letter, or pauses its own stream where it cannot be completed, and stops no other.

use serde_json::{Value, json};

use crate::harness::{PATIENCE, World, await_some};

const STREAMS: &str = "streams: [{ name: s, from: public.s, index: s }, { name: o, from: public.o, index: o }]";
/// Postgres keeps it, and no count of microseconds since 1970 reaches it.
const FAR: &str = "294276-12-31 00:00:00";

fn letters(world: &World) -> Vec<Value> {
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    letters["dead_letters"].as_array().cloned().unwrap_or_default()
}

/// Waits until stream `s` is paused for a reason that says this.
#[track_caller]
fn await_paused(world: &World, words: &[&str]) {
    let mut status = Value::Null;
    let paused = await_some(PATIENCE, || {
        status = world.tidemill(&["status", "--json"]).json();
        let stream = status["streams"].as_array()?.iter().find(|stream| stream["name"] == "s")?;
        let reason = stream["reason"].as_str().unwrap_or_default();
        (stream["state"] == "paused" && words.iter().all(|word| reason.contains(word))).then_some(())
    });
    assert!(paused.is_some(), "{status}");
}

/// The other stream goes on, now and after a start, while `s` stays paused for the same reason.
#[track_caller]
fn only_s_is_paused(world: &World, words: &[&str]) {
    for n in 1..3 {
        let mut engine = world.start();
        engine.await_log("streaming");
        world.sql.run(&format!("INSERT INTO o VALUES ({n})"));
        world.await_documents("o", |documents| documents.len() == n);
        await_paused(world, words);
        assert!(engine.runs());
        assert_eq!(engine.stop(), 0);
    }
}

#[test]
fn a_value_that_no_column_can_hold() {
    let world = World::new("far");
    world.sql.run(&format!(
        "CREATE TABLE s (id int PRIMARY KEY, name text, at timestamp); CREATE TABLE o (id int PRIMARY KEY);
         INSERT INTO s VALUES (1, 'far', '{FAR}'), (2, 'near', '2024-02-29')"
    ));
    world.config(STREAMS);
    world.catch_up();
    assert_eq!(world.documents("s").into_keys().collect::<Vec<_>>(), ["2"]);
    let letter = &letters(&world)[0];
    assert_eq!((&letter["key"], &letter["error_type"]), (&json!("1"), &json!("value_out_of_range")), "{letter}");

    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run(&format!("UPDATE s SET name = 'gone far', at = '{FAR}' WHERE id = 2"));
    world.sql.run(&format!("INSERT INTO s VALUES (3, 'far', '{FAR}'), (4, 'near', NULL); INSERT INTO o VALUES (1)"));
    world.await_documents("o", |documents| documents.len() == 1);
    world.await_documents("s", |documents| documents.keys().eq(["2", "4"]) && documents["2"]["name"] == "near");
    assert_eq!(engine.stop(), 0);

    world.sql.run(&format!("INSERT INTO s VALUES (5, 'far', '{FAR}'); DELETE FROM s WHERE id = 4"));
    world.catch_up();
    assert_eq!(world.documents("s").into_keys().collect::<Vec<_>>(), ["2"]);
    let found = letters(&world);
    let mut keys: Vec<_> = found.iter().filter_map(|letter| letter["key"].as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["1", "2", "3", "5"]);
    let shown = world.tidemill(&["dead-letters", "show", &found[0]["id"].to_string(), "--json"]).succeeded().stdout;
    assert!(shown.contains("column `at`") && shown.contains(FAR), "{shown}");

    // Mending the row is all that is needed.
    world.sql.run("UPDATE s SET at = '2024-03-01'");
    world.catch_up();
    assert_eq!(world.documents("s").len(), 4);
    assert_eq!(letters(&world), Vec::<Value>::new());
    world.drop_slot();
}

/// No document can be named by it, so none is wrong: the row is kept as a letter without a name, in the stream and in a
/// backfill, until the table is read anew.
#[test]
fn a_key_that_cannot_be_read() {
    let world = World::new("far_key");
    world.sql.run(&format!(
        "CREATE TABLE s (at timestamp PRIMARY KEY, name text); CREATE TABLE o (id int PRIMARY KEY);
         INSERT INTO s VALUES ('2024-01-01', 'near'), ('2024-01-02', 'will go far'), ('{FAR}', 'far')"
    ));
    world.config(STREAMS);
    world.catch_up();
    assert_eq!(world.documents("s").len(), 2);
    let found = letters(&world);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["key"], &found[0]["error_type"]), (&json!(""), &json!("value_out_of_range")), "{found:?}");
    let shown = world.tidemill(&["dead-letters", "show", &found[0]["id"].to_string(), "--json"]).succeeded().stdout;
    assert!(shown.contains("column `at`") && shown.contains(FAR), "{shown}");

    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run(&format!(
        "DELETE FROM s WHERE at = '{FAR}'; UPDATE s SET at = '{FAR}' WHERE name = 'will go far';
         UPDATE s SET name = 'went far' WHERE at = '{FAR}'; INSERT INTO s VALUES ('2024-01-03', 'late')"
    ));
    world.await_documents("s", |documents| {
        documents.values().map(|document| document["name"].as_str().unwrap_or_default()).eq(["near", "late"])
    });
    assert_eq!(letters(&world).len(), 3, "each change of it is one");
    world.sql.run(&format!("UPDATE s SET at = '2024-01-02' WHERE at = '{FAR}'"));
    world.await_documents("s", |documents| documents.len() == 3);
    assert_eq!(engine.stop(), 0);

    assert_eq!(world.tidemill(&["backfill", "s"]).code, 0);
    world.catch_up();
    assert_eq!(world.documents("s").len(), 3);
    assert_eq!(letters(&world), Vec::<Value>::new());
    world.drop_slot();
}

#[test]
fn a_large_value_of_a_column_that_is_gone_pauses_its_own_stream() {
    let world = World::new("gone_column");
    world.sql.run(
        "CREATE TABLE s (id int PRIMARY KEY, name text, manual text); ALTER TABLE s ALTER manual SET STORAGE EXTERNAL;
         CREATE TABLE o (id int PRIMARY KEY); INSERT INTO s VALUES (1, 'lamp', repeat('read me ', 1000))",
    );
    world.config(STREAMS);
    world.catch_up();
    world.sql.run("UPDATE s SET name = 'big lamp'; ALTER TABLE s DROP manual");
    only_s_is_paused(&world, &["column `manual`", "was dropped", "tidemill teardown"]);
    world.drop_slot();
}
