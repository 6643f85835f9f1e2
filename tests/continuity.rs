//! What the state knows and what the source is do not always belong together: a database that was restored, a slot that
//! somebody else moved on, a state from a backup. What went missing between the two is told, never passed over.

use std::path::Path;
use std::process::Command;

use tidemill::private_postgres::{Options, PrivatePostgres};

use crate::harness::World;

const ITEMS: &str = "streams: [{ name: items, from: public.items, index: items }]";

fn items(world: World) -> World {
    world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'first')");
    world.config(ITEMS);
    world
}

fn private(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres")
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
