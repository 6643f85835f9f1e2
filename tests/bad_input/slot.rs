//! The slot, the publication, and whose they are.

use serde_json::json;
use tidemill::private_postgres::{Options, PrivatePostgres};

use super::{PRODUCTS, TABLE, both_refuse, documents_are_right, furnish, is_mended, shop};
use crate::harness::{Outcome, Sql, World, await_some};

fn private(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres")
}

/// A transaction that wrote something and stays open; gives the session's process.
fn open_transaction(world: &World) -> (Sql, String) {
    let session = Sql::connect(&world.url());
    session.run("BEGIN; INSERT INTO products VALUES (4, 'late', 4, true)");
    let pid = session.one("SELECT pg_backend_pid()");
    (session, pid)
}

#[test]
fn its_creation_waits_for_an_open_transaction() {
    let world = shop("slot_waits");
    let (session, pid) = open_transaction(&world);
    let mut engine = world.start();
    engine.await_log(&pid);
    engine.await_log("open for");
    assert!(engine.runs() && world.documents("products").is_empty());
    session.run("COMMIT");
    world.await_documents("products", |documents| documents.len() == 3);
    assert_eq!(world.documents("products")["4"]["name"], json!("late"));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn a_stop_while_its_creation_waits_leaves_none() {
    let world = shop("slot_given_up");
    let (session, pid) = open_transaction(&world);
    let mut engine = world.start();
    engine.await_log(&pid);
    assert_eq!(engine.stop(), 0);
    session.run("ROLLBACK");
    world.await_no_slot();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn no_slot_is_free() {
    let world = furnish(World::with_postgres("no_slot", private(&[("max_replication_slots", "1")])));
    world.sql.run("SELECT pg_create_physical_replication_slot('forgotten')");
    both_refuse(&world, 1, &["max_replication_slots", "pg_replication_slots"]);
    world.sql.run("SELECT pg_drop_replication_slot('forgotten')");
    is_mended(&world);
}

#[test]
fn another_process_holds_it() {
    let world = shop("slot_held");
    let mut engine = world.start();
    engine.await_log("streaming");
    // Another engine: the same configuration with a state of its own.
    let text = std::fs::read_to_string(world.dir.path().join("tidemill.yaml")).expect("written by the story");
    world.file("second.yaml", text.replace("state: tidemill.db", "state: second.db"));
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        Outcome::of(world.command_by("second.yaml", args)).refused(1, &[&world.name, "in use"]);
    }
    world.sql.run("INSERT INTO products VALUES (4, 'vase', 4, true)");
    world.await_documents("products", |documents| documents.contains_key("4"));
    assert_eq!(engine.stop(), 0);
    Outcome::of(world.command_by("second.yaml", &["run", "--until-caught-up"])).succeeded();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}

#[test]
fn another_engine_has_the_state() {
    let world = shop("state_held");
    let mut engine = world.start();
    engine.await_log("streaming");
    world
        .tidemill(&["run", "--until-caught-up"])
        .refused(1, &["another engine", "tidemill.db", &engine.id().to_string()]);
    world.sql.run("INSERT INTO products VALUES (4, 'vase', 4, true)");
    world.await_documents("products", |documents| documents.contains_key("4"));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn it_belongs_to_another_plugin() {
    let world = shop("slot_plugin");
    world.sql.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'test_decoding')", world.name));
    both_refuse(&world, 1, &[&world.name, "test_decoding", "source.slot"]);
    world.drop_slot();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn it_is_a_physical_one() {
    let world = shop("slot_physical");
    world.sql.run(&format!("SELECT pg_create_physical_replication_slot('{}')", world.name));
    both_refuse(&world, 1, &[&world.name, "physical", "source.slot"]);
    world.drop_slot();
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn it_belongs_to_another_database() {
    let world = shop("slot_database");
    let other = World::new("elsewhere");
    other.sql.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", world.name));
    both_refuse(&world, 1, &[&world.name, &other.name, "source.slot"]);
    other.sql.run(&format!("SELECT pg_drop_replication_slot('{}')", world.name));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn the_server_threw_its_wal_away() {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
    let world = furnish(World::with_postgres("slot_lost", private(&settings)));
    world.catch_up();
    world.sql.run("CREATE TABLE noise (t text)");
    let lost = await_some(crate::harness::PATIENCE, || {
        world.sql.run("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
        world.sql.run("SELECT pg_switch_wal()");
        world.sql.run("CHECKPOINT");
        let status = format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{}'", world.name);
        (world.sql.one(&status) == "lost").then_some(())
    });
    assert!(lost.is_some(), "the slot is not lost");
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2");
    both_refuse(&world, 1, &[&world.name, "lost", "teardown"]);
    world.tidemill(&["teardown", "--yes"]).succeeded();
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
}

#[test]
fn it_is_gone_though_the_state_knows_it() {
    let world = shop("slot_gone");
    world.catch_up();
    world.drop_slot();
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2");
    both_refuse(&world, 1, &[&world.name, "gone", "backfill|teardown"]);
    world.await_no_slot();
    world.tidemill(&["teardown", "--yes"]).succeeded();
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}

#[test]
fn another_cluster_is_behind_the_same_url() {
    let world = shop("cluster");
    world.catch_up();
    let there = world.made();

    let other = private(&[]);
    Sql::connect(&other.url()).run(&format!("CREATE DATABASE {}", world.name));
    let sql = Sql::connect(&other.url_of(&world.name));
    sql.run(TABLE);
    sql.run("DELETE FROM products");
    let here = format!("url: {}", world.url());
    let sink = format!("url: {}", world.index.url);
    world.config_with(&format!("url: {}", other.url_of(&world.name)), &sink, PRODUCTS);
    both_refuse(&world, 1, &["another cluster", "tidemill.db", "teardown|--new-source"]);
    assert!(sql.rows("SELECT slot_name FROM pg_replication_slots").is_empty());
    assert!(sql.rows("SELECT pubname FROM pg_publication").is_empty());
    assert_eq!(world.made(), there);

    world.config_with(&here, &sink, PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn the_state_is_of_another_source() {
    let world = shop("state_of");
    world.catch_up();
    let documents = world.documents("products");
    let other = shop("state_for");
    let state = other.dir.path().join("tidemill.db");
    std::fs::copy(world.dir.path().join("tidemill.db"), &state).expect("a state");
    both_refuse(&other, 1, &["tidemill.db", "database", &world.name, "state:|teardown"]);
    other.await_no_slot();
    std::fs::remove_file(state).expect("it was there");
    is_mended(&other);
    assert_eq!(world.documents("products"), documents);
    world.drop_slot();
    other.drop_slot();
}

#[test]
fn the_publication_lacks_a_table() {
    let world = shop("publication");
    let name = &world.name;
    world.sql.run(&format!("CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION {name} FOR TABLE other"));
    both_refuse(&world, 1, &[name, "products", "ALTER PUBLICATION", "ADD TABLE"]);
    world.sql.run(&format!("ALTER PUBLICATION {name} ADD TABLE products"));
    is_mended(&world);
    let query = "SELECT tablename FROM pg_publication_tables ORDER BY 1";
    assert_eq!(world.sql.rows(query), [["other"], ["products"]], "somebody else's publication is left alone");
    world.drop_slot();
}

#[test]
fn the_publication_hides_deletes() {
    let world = shop("publication_actions");
    let name = &world.name;
    world.sql.run(&format!("CREATE PUBLICATION {name} FOR TABLE products WITH (publish = 'insert, update')"));
    both_refuse(&world, 1, &[name, "delete", "ALTER PUBLICATION"]);
    world.sql.run(&format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"));
    is_mended(&world);
    world.drop_slot();
}

/// It is made again, and where nothing was written meanwhile nothing is missing.
#[test]
fn the_publication_is_gone() {
    let world = shop("publication_gone");
    world.catch_up();
    world.sql.run(&format!("DROP PUBLICATION {}", world.name));
    is_mended(&world);
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2");
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}

/// A change is read by the publications of its time: past one that had none a slot never comes.
#[test]
fn the_publication_was_gone_when_rows_were_written() {
    let world = shop("publication_was_gone");
    world.catch_up();
    world.sql.run(&format!("DROP PUBLICATION {}", world.name));
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2");
    // The second finds a publication again, which the first has made.
    for _ in 0..2 {
        world.tidemill(&["run", "--until-caught-up"]).refused(1, &[&world.name, "publication", "teardown"]);
        documents_are_right(&world);
    }
    world.tidemill(&["teardown", "--yes"]).succeeded();
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}
