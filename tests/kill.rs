//! The engine dies without a word at bad moments; after a start, documents equal rows.

use crate::harness::{Engine, Stall, World};

const PRODUCTS: &str = "streams:
  - name: products
    from: public.products
    where: price >= 10
    index: products";

fn table(world: &World, rows: u32) {
    world.sql.run(&format!(
        "CREATE TABLE products (id bigint PRIMARY KEY, name text, price numeric);
         INSERT INTO products SELECT n, 'first ' || n, n % 100 FROM generate_series(1, {rows}) n"
    ));
}

fn churn(world: &World, rows: u32) {
    world.sql.run(&format!(
        "UPDATE products SET price = (price + 37) % 100, name = 'then ' || id WHERE id % 3 = 0;
         DELETE FROM products WHERE id % 7 = 0;
         UPDATE products SET id = id + 1000000 WHERE id % 11 = 0;
         INSERT INTO products SELECT n + 2000000, 'new ' || n, n % 100 FROM generate_series(1, {rows} / 10) n"
    ));
}

#[track_caller]
fn equal(world: &World) {
    let rows = world.sql.rows("SELECT id::text, name FROM products WHERE price >= 10");
    let documents = world.documents("products");
    for row in &rows {
        let name = documents.get(&row[0]).map(|document| document["name"].as_str().unwrap_or_default().to_owned());
        assert_eq!(name.as_deref(), Some(row[1].as_str()), "row {}", row[0]);
    }
    assert_eq!(documents.len(), rows.len());
}

/// Starts the engine against the world's index with something between them that can hold answers back.
fn start_behind(world: &World, stall: &Stall) -> Engine {
    world.config_with(&format!("url: {}", world.url()), &format!("url: http://{}", stall.address), PRODUCTS);
    world.start()
}

#[test]
fn in_the_middle_of_the_backfill() {
    let world = World::new("kill_backfill");
    table(&world, 40_000);
    let stall = Stall::before(world.index.address());
    let mut engine = start_behind(&world, &stall);
    engine.await_log("backfill");
    stall.hold(true);
    stall.await_held();
    engine.kill();
    stall.hold(false);
    // What happens while nobody looks is in the WAL that the slot keeps.
    churn(&world, 40_000);
    world.catch_up();
    equal(&world);
    world.drop_slot();
}

#[test]
fn in_the_middle_of_the_stream_with_a_request_in_flight() {
    let world = World::new("kill_stream");
    table(&world, 5_000);
    let stall = Stall::before(world.index.address());
    let mut engine = start_behind(&world, &stall);
    engine.await_log("streaming");
    stall.hold(true);
    churn(&world, 5_000);
    stall.await_held();
    // The index carried the request out; the engine never hears of it.
    engine.kill();
    stall.hold(false);
    world.sql.run("UPDATE products SET name = 'last' WHERE id % 5 = 0");
    world.catch_up();
    equal(&world);
    world.drop_slot();
}

#[test]
fn again_and_again_under_load() {
    let world = World::new("kill_again");
    table(&world, 2_000);
    world.config(PRODUCTS);
    for round in 0..5 {
        let mut engine = world.start();
        engine.await_log("streaming");
        world.sql.run(&format!("UPDATE products SET name = 'round {round} ' || id, price = (price + 13) % 100"));
        engine.kill();
    }
    world.catch_up();
    equal(&world);
    world.drop_slot();
}

#[test]
fn the_index_dies_and_comes_back() {
    let mut world = World::new("kill_index");
    table(&world, 1_000);
    world.config(PRODUCTS);
    let mut engine = world.start();
    engine.await_log("streaming");
    let (dir, address) = (world.index.dir.clone(), world.index.address().to_owned());
    world.index.kill();
    churn(&world, 1_000);
    world.index = crate::harness::Index::start(&dir, &address);
    let left = world.sql.rows("SELECT id FROM products WHERE price >= 10").len();
    world.await_documents("products", |documents| documents.len() == left && documents.contains_key("2000010"));
    assert_eq!(engine.stop(), 0);
    world.catch_up();
    equal(&world);
    world.drop_slot();
}

#[test]
fn the_walsender_is_ended() {
    let world = World::new("kill_walsender");
    table(&world, 1_000);
    world.config(PRODUCTS);
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run(&format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{}'",
        world.name
    ));
    churn(&world, 1_000);
    let left = world.sql.rows("SELECT id FROM products WHERE price >= 10").len();
    world.await_documents("products", |documents| documents.len() == left && documents.contains_key("2000010"));
    assert_eq!(engine.stop(), 0);
    equal(&world);
    world.drop_slot();
}

/// A deferred key lets rows take each other's places, and a large transaction does that over several buckets.
#[test]
fn rows_that_move_to_each_others_keys_in_a_large_transaction() {
    let world = World::new("kill_moves");
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text, price numeric DEFAULT 10);
         ALTER TABLE products REPLICA IDENTITY FULL;
         INSERT INTO products SELECT n, 'row ' || n FROM generate_series(1, 25000) n",
    );
    let stall = Stall::before(world.index.address());
    world.config_with(&format!("url: {}", world.url()), &format!("url: http://{}", stall.address), PRODUCTS);
    world.catch_up();
    world.sql.run("UPDATE products SET id = id + 1");
    world.catch_up();
    equal(&world);

    // Two rows far apart, and the engine dies between the buckets.
    let mut engine = world.start();
    engine.await_log("streaming");
    stall.hold(true);
    world.sql.run(
        "UPDATE products SET id = CASE id WHEN 5 THEN 24000 WHEN 24000 THEN 5 ELSE id END, price = price + 1;
         UPDATE products SET id = id - 1",
    );
    stall.await_held();
    engine.kill();
    stall.hold(false);
    world.catch_up();
    equal(&world);
    world.drop_slot();
}
