//! A plugin that fails as it is opened: at the start, beside streams that go on, and when its table gets another column.

use serde_json::{Value, json};

use super::{End, Misdeed, by, of, put_fixtures};
use crate::harness::{PATIENCE, World, await_some};

/// A stream beside the honest one.
fn beside(misdeed: &Misdeed) -> String {
    format!("streams:\n  - {{ name: honest, from: public.rows }}\n{}", misdeed.yaml())
}

/// Waits until the stream is paused; gives its reason.
#[track_caller]
fn paused(world: &World, stream: &str) -> String {
    let reason = await_some(PATIENCE, || {
        let status = world.tidemill(&["status", "--json"]).json();
        let stream = status["streams"].as_array()?.iter().find(|found| found["name"] == stream)?.clone();
        (stream["state"] == "paused").then(|| stream["reason"].as_str().unwrap_or_default().to_owned())
    });
    reason.unwrap_or_else(|| panic!("not paused: {}", world.tidemill(&["status"]).stdout))
}

#[track_caller]
fn says_all(reason: &str, parts: &[&str]) {
    for part in parts {
        assert!(reason.contains(part), "`{part}` is not in: {reason}");
    }
}

fn insert(world: &World, id: usize) {
    world.sql.run(&format!("INSERT INTO rows (id, name) VALUES ({id}, 'name {id}')"));
}

#[test]
fn at_the_start_it_pauses_its_stream_until_it_is_mended_and_the_others_go_on() {
    let world = World::new("open_start");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    insert(&world, 1);
    let looping = of("open-loop", &[], End::All);
    world.config(&beside(&looping));
    let limit = "did not answer within its deadline of 400ms: raise `limits.deadline`";
    world.tidemill(&["check"]).refused(1, &[limit]);
    for round in 1..=2 {
        let mut engine = world.start();
        engine.await_log("streaming");
        insert(&world, round + 1);
        world.await_documents("honest", |documents| documents.len() == round + 1);
        let reason = paused(&world, "open-loop");
        says_all(
            &reason,
            &[
                "table `public.rows`: stage `hostile.wasm`",
                "hostile.wasm` failed at open",
                limit,
                "then `tidemill run` anew",
            ],
        );
        assert!(!reason.contains("resume"), "{reason}");
        // No plan tells what documents it would make. That somebody had paused it too is over with that.
        world.tidemill(&["pause", "open-loop"]).succeeded();
        world.tidemill(&["resume", "open-loop"]).refused(1, &["`open-loop`", limit, "then `tidemill run` anew"]);
        paused(&world, "open-loop");
        assert_eq!(engine.stop(), 0);
    }
    let run = world.tidemill(&["run", "--until-caught-up"]);
    run.refused(1, &["not all is delivered: stream `open-loop` is paused", limit]);
    // Nothing was made by it, so nothing stands against another plan.
    let honest = Misdeed { stream: "open-loop", ..of("none", &[-1], End::All) };
    world.config(&beside(&honest));
    world.catch_up();
    assert_eq!(world.documents("open-loop").len(), 3);
    assert_eq!(world.documents("honest").len(), 3);
    world.drop_slot();
}

/// What a plugin says of its configuration is the configuration's fault, which whoever starts it has just written.
#[test]
fn what_it_says_of_a_new_configuration_is_refused_and_of_a_table_that_changed_pauses() {
    let world = World::new("open_said");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    world.config(&beside(&of("open-error", &[], End::All)));
    for command in [["check"].as_slice(), &["run", "--until-caught-up"]] {
        world.tidemill(command).refused(1, &["stage `hostile.wasm`: asked to fail at open"]);
    }
    let picky = with_column("open-error", "extra");
    world.config(&beside(&picky));
    insert(&world, 1);
    world.catch_up();
    world.sql.run("ALTER TABLE rows ADD COLUMN extra text");
    insert(&world, 2);
    for _ in 0..2 {
        let mut engine = world.start();
        engine.await_log("streaming");
        let reason = paused(&world, "open-error");
        says_all(&reason, &["stage `hostile.wasm`: asked to fail at open"]);
        world.await_documents("honest", |documents| documents.len() == 2);
        assert_eq!(engine.stop(), 0);
    }
    assert_eq!(world.documents("open-error").len(), 1);
    mend(&world, &picky);
    assert_eq!(world.documents("open-error").len(), 2);
    world.drop_slot();
}

fn with_column(misdeed: &'static str, column: &str) -> Misdeed {
    let mut misdeed = of(misdeed, &[], End::All);
    misdeed.config["column"] = json!(column);
    misdeed
}

/// Runs what is left through a plugin in its place that does nothing wrong.
#[track_caller]
fn mend(world: &World, misdeed: &Misdeed) {
    world.config(&beside(&Misdeed { stream: misdeed.stream, ..of("none", &[-1], End::All) }));
    world.tidemill(&["run", "--until-caught-up", "--keep-old-documents"]).succeeded();
}

#[test]
fn when_its_table_gets_another_column_it_pauses_its_stream_and_the_others_go_on() {
    let world = World::new("open_again");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    insert(&world, 1);
    world.config(&beside(&with_column("open-loop", "extra")));
    let mut engine = world.start();
    engine.await_log("streaming");
    insert(&world, 2);
    world.await_documents("open-loop", |documents| documents.len() == 2);
    world.sql.run("ALTER TABLE rows ADD COLUMN extra text DEFAULT 'more'");
    insert(&world, 3);
    let said = ["stage `hostile.wasm`", "failed at open", "within its deadline of 400ms: raise `limits.deadline`"];
    let reason = paused(&world, "open-loop");
    says_all(&reason, &said);
    says_all(&reason, &["then `tidemill resume open-loop`"]);
    world.await_documents("honest", |documents| documents.get("3").is_some_and(|row| row["extra"] == "more"));
    // It is opened again, and loops again.
    world.tidemill(&["resume", "open-loop"]).succeeded();
    insert(&world, 4);
    world.await_documents("honest", |documents| documents.len() == 4);
    says_all(&paused(&world, "open-loop"), &said);
    assert_eq!(engine.stop(), 0);
    // At the next start nothing has changed but when it is opened.
    let mut engine = world.start();
    engine.await_log("streaming");
    insert(&world, 5);
    world.await_documents("honest", |documents| documents.len() == 5);
    says_all(&paused(&world, "open-loop"), &said);
    assert_eq!(engine.stop(), 0);
    let made = world.documents("open-loop");
    assert_eq!(made.keys().collect::<Vec<_>>(), ["1", "2"], "{made:?}");
    // What came meanwhile has waited.
    mend(&world, &with_column("open-loop", "extra"));
    let rows: Value = world.documents("open-loop").values().map(|document| document["id"].clone()).collect();
    assert_eq!(rows, json!([1, 2, 3, 4, 5]));
    assert_eq!(world.tidemill(&["dead-letters", "list", "--json"]).json()["total"], 0);
    world.drop_slot();
}

/// What it may read tells it when to loop: after a trap a new instance has to be opened, and is not.
#[test]
fn when_it_is_opened_after_a_trap_it_pauses_its_stream_and_the_others_go_on() {
    let world = World::new("open_after_trap");
    put_fixtures(&world, &["outsider"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    let config = json!({ "do": "obey", "path": "order", "row": 2 });
    let folder = json!([{ "path": world.dir.path() }]);
    let grants = json!({ "clocks": {}, "dirs": folder, "env": {}, "random": {}, "stdio": {} });
    let obedient = by("outsider", "obedient", config, End::All).granted(grants).limit("deadline", json!("400ms"));
    world.config(&beside(&obedient));
    world.tidemill(&["check"]).succeeded();
    let mut engine = world.start();
    engine.await_log("streaming");
    insert(&world, 1);
    world.await_documents("obedient", |documents| documents.len() == 1);
    world.file("order", "loop");
    insert(&world, 2);
    let limit = "did not answer within its deadline of 400ms: raise `limits.deadline`";
    let reason = paused(&world, "obedient");
    says_all(&reason, &["stage `outsider.wasm`", "outsider.wasm` was opened before and now is not", limit]);
    insert(&world, 3);
    world.await_documents("honest", |documents| documents.len() == 3);
    // Nothing was lost with it: once it opens, the one row that it traps at is a dead letter.
    world.file("order", "");
    world.tidemill(&["resume", "obedient"]).succeeded();
    world.await_documents("obedient", |documents| documents.keys().eq(["1", "3"]));
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    assert_eq!((&letters["total"], &letters["dead_letters"][0]["key"]), (&json!(1), &json!("2")), "{letters}");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// How a stream goes on is known by what was done with it, and not read in what its plugin says.
#[test]
fn no_words_of_a_plugin_keep_its_stream_from_being_resumed() {
    let world = World::new("open_words");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    insert(&world, 1);
    world.config(&beside(&of("fatal-words", &[1], End::Paused(""))));
    let mut engine = world.start();
    engine.await_log("streaming");
    says_all(&paused(&world, "fatal-words"), &["asked to be fatal"]);
    world.tidemill(&["resume", "fatal-words"]).succeeded();
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}
