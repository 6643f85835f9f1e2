//! What the state knows and what the source is do not always belong together: a database that was restored, a slot that
//! somebody else moved on, a state from a backup. What went missing between the two is told, never passed over.

use std::path::Path;
use std::process::Command;

use tidemill::private_postgres::{Options, PrivatePostgres};

use crate::harness::items::ITEMS;
use crate::harness::{Outcome, PATIENCE, World, await_some};

fn items(world: World) -> World {
    world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'first')");
    world.config(ITEMS);
    world
}

fn private(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres")
}

/// Runs until it has caught up by a configuration of the story, and with flags.
fn catch_up_by(world: &World, config: &str, flags: &[&str]) -> Outcome {
    Outcome::of(world.command_by(config, &[&["run", "--until-caught-up"], flags].concat())).succeeded()
}

/// Documents equal rows, and there are no others.
#[track_caller]
fn equal(world: &World, index: &str) {
    let rows = world.sql.rows("SELECT id::text, name FROM items ORDER BY id::text");
    let documents = world.documents(index);
    let documents =
        documents.into_iter().map(|(id, document)| vec![id, document["name"].as_str().unwrap_or("").into()]);
    assert_eq!(documents.collect::<Vec<_>>(), rows, "{index}");
}

fn ids(world: &World) -> Vec<String> {
    world.documents("items").into_keys().collect()
}

/// Owners and modes stay: the server looks at them.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// Postgres takes a position beyond its WAL's end without a word, and leaves out every commit below it.
#[test]
fn a_database_that_is_restored_under_a_running_engine() {
    let mut world = items(World::with_postgres("restored", private(&[])));
    let mut engine = world.start();
    engine.await_log("streaming");
    let backup = tempfile::tempdir().expect("a folder");
    let aside = backup.path().join("data");
    world.restart_after(|data| copy(data, &aside));
    // An orderly restart is none of that.
    world.sql.run("INSERT INTO items SELECT n, repeat('x', 100) FROM generate_series(2, 5000) n");
    world.await_documents("items", |documents| documents.len() == 5000);
    assert!(engine.runs(), "{}", engine.log());
    world.restart_after(|data| {
        std::fs::remove_dir_all(data).expect("the cluster's folder");
        copy(&aside, data);
    });
    world.sql.run("INSERT INTO items VALUES (2, 'after the restore')");
    assert_eq!(engine.wait(), 1, "{}", engine.log());
    engine.await_log("the database was restored to an earlier state");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["restored to an earlier state", "another state"]);
    world.tidemill(&["check"]).refused(1, &["restored to an earlier state", "another state"]);
}

/// What was committed before counts, whether or not it has reached the disk by then.
#[test]
fn a_commit_that_does_not_wait_for_the_disk_is_caught_up_with() {
    let settings = [("wal_writer_delay", "10s"), ("synchronous_commit", "off"), ("wal_writer_flush_after", "1GB")];
    let world = items(World::with_postgres("asynchronous", private(&settings)));
    world.catch_up();
    world.sql.run("INSERT INTO items VALUES (2, 'second')");
    world.catch_up();
    assert_eq!(ids(&world), ["1", "2"]);
}

/// Whoever reads a slot moves it on. The state that did not is told what it missed, and each way out that the error names
/// leads to right documents.
#[test]
fn two_states_on_one_slot() {
    let world = items(World::new("two_states"));
    world.sql.run("INSERT INTO items VALUES (2, 'second'), (3, 'third')");
    world.catch_up();
    let text = std::fs::read_to_string(world.dir.path().join("tidemill.yaml")).expect("written by the story");
    let streams = "streams: [{ name: others, from: public.items, index: others },
        { name: news, from: public.items, index: news, backfill: false }]";
    world.file("second.yaml", text.replace("state: tidemill.db", "state: second.db").replace(ITEMS, streams));
    world.sql.run("UPDATE items SET name = 'changed' WHERE id = 1; DELETE FROM items WHERE id = 2");
    // A new state on a slot that was there reads the rows as they are.
    let outcome = catch_up_by(&world, "second.yaml", &[]);
    equal(&world, "others");
    assert!(outcome.stderr.contains("begins with the changes from here on stream=\"news\""), "{outcome}");
    assert!(world.documents("news").len() < 2, "it begins where the slot stood");

    world.sql.run("INSERT INTO items VALUES (4, 'fourth')");
    let before = world.made();
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        world.tidemill(args).refused(1, &[&world.name, "another state", "`items`", "tidemill backfill items"]);
    }
    assert_eq!((world.made(), ids(&world)), (before, vec!["1".into(), "2".into(), "3".into()]));
    world.tidemill(&["backfill", "items"]).succeeded();
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    equal(&world, "items");

    let second = Outcome::of(world.command_by("second.yaml", &["run", "--until-caught-up"]));
    second.refused(1, &["`others`, `news`", "--backfill-changed", "--keep-old-documents"]);
    catch_up_by(&world, "second.yaml", &["--backfill-changed"]);
    equal(&world, "others");
    equal(&world, "news");

    world.sql.run("UPDATE items SET name = 'for the second' WHERE id = 3");
    catch_up_by(&world, "second.yaml", &[]);
    catch_up_by(&world, "tidemill.yaml", &["--keep-old-documents"]);
    assert_eq!(world.documents("items")["3"]["name"], "third", "left as it was, as it was asked for");
    world.sql.run("UPDATE items SET name = 'last' WHERE id = 3");
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    equal(&world, "items");
    world.drop_slot();
}

#[test]
fn a_backup_of_the_state_that_is_older_than_the_slot() {
    let world = items(World::new("old_state"));
    world.catch_up();
    let (state, backup) = (world.dir.path().join("tidemill.db"), world.dir.path().join("backup.db"));
    std::fs::copy(&state, &backup).expect("a state");
    world.sql.run("INSERT INTO items VALUES (2, 'second'); UPDATE items SET name = 'changed' WHERE id = 1");
    world.catch_up();
    std::fs::copy(&backup, &state).expect("a backup");
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        world.tidemill(args).refused(1, &[&world.name, "older copy", "tidemill backfill items"]);
    }
    world.sql.run("DELETE FROM items WHERE id = 1");
    catch_up_by(&world, "tidemill.yaml", &["--backfill-changed"]);
    equal(&world, "items");
    // A copy that has all is no less than the state that it was made of.
    std::fs::copy(&state, &backup).expect("a state");
    std::fs::copy(&backup, &state).expect("a backup");
    world.sql.run("INSERT INTO items VALUES (3, 'third')");
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    equal(&world, "items");
    world.drop_slot();
}

/// The slot is nobody's while the connection is away.
#[test]
fn a_slot_that_is_moved_on_while_the_connection_is_away() {
    let world = items(World::new("moved_on"));
    let mut engine = world.start();
    engine.await_log("streaming");
    world.tidemill(&["check"]).succeeded();
    engine.signal("STOP");
    let of_ours = format!("FROM pg_replication_slots WHERE slot_name = '{}'", world.name);
    world.sql.run(&format!("SELECT pg_terminate_backend(active_pid) {of_ours}"));
    let is_free = || (world.sql.one(&format!("SELECT active::text {of_ours}")) == "false").then_some(());
    assert!(await_some(PATIENCE, is_free).is_some(), "still held");
    world.sql.run("INSERT INTO items VALUES (2, 'second')");
    world.sql.run(&format!("SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn()) {of_ours}"));
    engine.signal("CONT");
    assert_eq!(engine.wait(), 1, "{}", engine.log());
    engine.await_log("tidemill backfill items");
    world.tidemill(&["backfill", "items"]).succeeded();
    world.catch_up();
    equal(&world, "items");
    world.drop_slot();
}

/// What Postgres was told is in the state by then, however the engine ends.
#[test]
fn a_kill_right_after_the_slot_moved_is_no_alarm() {
    let world = items(World::new("killed_after"));
    for round in 2..6 {
        let mut engine = world.start();
        engine.await_log("streaming");
        world.sql.run(&format!("INSERT INTO items VALUES ({round}, 'round')"));
        let end = world.sql.one("SELECT pg_current_wal_flush_lsn()::text");
        let moved = format!(
            "SELECT (confirmed_flush_lsn >= '{end}')::text FROM pg_replication_slots WHERE slot_name = '{}'",
            world.name
        );
        let is_moved = || (world.sql.one(&moved) == "true").then_some(());
        assert!(await_some(PATIENCE, is_moved).is_some(), "the slot stays: {}", engine.log());
        engine.kill();
    }
    world.catch_up();
    equal(&world, "items");
    world.drop_slot();
}
