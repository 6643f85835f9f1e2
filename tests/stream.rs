//! What happens in Postgres after the first rows were read reaches the index.

use serde_json::json;

use crate::harness::World;

const PRODUCTS: &str = "streams:
  - name: products
    from: public.products
    where: in_stock = true
    columns: [name, price, in_stock]
    index: products";

fn shop(story: &str) -> World {
    let world = World::new(story);
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY, name text, price numeric, in_stock boolean, secret text);
         INSERT INTO products VALUES (1, 'lamp', 12.50, true, 'x'), (2, 'chair', 99.90, false, 'x'), (3, 'cup', 3, true, 'x')",
    );
    world.config(PRODUCTS);
    world
}

#[test]
fn rows_that_are_there_and_changes_that_come() {
    let world = shop("changes");
    world.catch_up();
    let lamp = json!({ "name": "lamp", "price": 12.50, "in_stock": true });
    let cup = json!({ "name": "cup", "price": 3, "in_stock": true });
    assert_eq!(world.documents("products"), [("1".into(), lamp.clone()), ("3".into(), cup)].into());

    world.sql.run(
        "INSERT INTO products VALUES (4, 'vase \"Ü\"', 12345678901234567890.123456789, true, 'x');
         UPDATE products SET price = 4.25 WHERE id = 3;
         DELETE FROM products WHERE id = 1",
    );
    world.catch_up();
    let documents = world.documents("products");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["3", "4"]);
    assert_eq!(documents["3"]["price"], json!(4.25));
    assert_eq!(documents["4"]["name"], json!("vase \"Ü\""));
    world.drop_slot();
}

/// DEFECTS 1.
#[test]
fn a_row_that_leaves_the_filter_leaves_the_index() {
    let world = shop("filter");
    world.catch_up();
    world.sql.run("UPDATE products SET in_stock = NOT in_stock");
    world.catch_up();
    assert_eq!(world.documents("products").keys().collect::<Vec<_>>(), ["2"]);
    world.drop_slot();
}

/// DEFECTS 2.
#[test]
fn a_changed_key_moves_the_document() {
    let world = shop("key");
    world.catch_up();
    world.sql.run("UPDATE products SET id = 11 WHERE id = 1; BEGIN; UPDATE products SET id = 33 WHERE id = 3; UPDATE products SET id = 3 WHERE id = 11; COMMIT");
    world.catch_up();
    let documents = world.documents("products");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["3", "33"]);
    assert_eq!((&documents["3"]["name"], &documents["33"]["name"]), (&json!("lamp"), &json!("cup")));
    world.drop_slot();
}

/// DEFECTS 9: one version for a row's changes in one transaction, so only their order can be right.
#[test]
fn the_last_change_of_a_row_in_a_transaction_wins() {
    let world = shop("ties");
    world.catch_up();
    world.sql.run(
        "BEGIN; DELETE FROM products WHERE id = 1; INSERT INTO products VALUES (1, 'first', 1, true, ''); UPDATE products SET name = 'second' WHERE id = 1; COMMIT;
         BEGIN; UPDATE products SET name = 'gone' WHERE id = 3; DELETE FROM products WHERE id = 3; COMMIT;
         DO $$ BEGIN FOR i IN 1..500 LOOP UPDATE products SET price = i, in_stock = true WHERE id = 2; END LOOP; END $$",
    );
    world.catch_up();
    let documents = world.documents("products");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((&documents["1"]["name"], &documents["2"]["price"]), (&json!("second"), &json!(500)));
    world.drop_slot();
}

/// DEFECTS 24: pgoutput sends the delete first, with the higher change LSN.
#[test]
fn a_deferred_unique_key_does_not_lose_the_row() {
    let world = World::new("deferred");
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text);
         ALTER TABLE products REPLICA IDENTITY FULL;
         INSERT INTO products VALUES (1, 'old')",
    );
    world.config("streams: [{ name: products, from: public.products, index: products }]");
    world.catch_up();
    let second = crate::harness::Sql::connect(&world.url());
    second.run("BEGIN; INSERT INTO products VALUES (1, 'new')");
    world.sql.run("DELETE FROM products WHERE id = 1 AND name = 'old'");
    second.run("COMMIT");
    world.catch_up();
    assert_eq!(world.documents("products"), [("1".into(), json!({ "id": 1, "name": "new" }))].into());
    world.drop_slot();
}

/// DEFECTS 5: by key from a snapshot that sees the change, or from the old image.
#[test]
fn a_large_value_that_did_not_change_stays() {
    for identity in ["DEFAULT", "FULL"] {
        let world = World::new("toast");
        world.sql.run(&format!(
            "CREATE TABLE products (id bigint PRIMARY KEY, name text, manual text);
             ALTER TABLE products ALTER manual SET STORAGE EXTERNAL, REPLICA IDENTITY {identity};
             INSERT INTO products VALUES (1, 'lamp', repeat('read me ', 1000)), (2, 'cup', repeat('and me ', 1000))"
        ));
        world.config("streams: [{ name: products, from: public.products, index: products }]");
        world.catch_up();
        world.sql.run("UPDATE products SET name = 'big lamp' WHERE id = 1; UPDATE products SET id = 3 WHERE id = 2");
        world.catch_up();
        let documents = world.documents("products");
        assert_eq!(documents.keys().collect::<Vec<_>>(), ["1", "3"], "{identity}");
        assert_eq!(documents["1"], json!({ "id": 1, "name": "big lamp", "manual": "read me ".repeat(1000) }));
        assert_eq!(documents["3"]["manual"], json!("and me ".repeat(1000)));
        world.drop_slot();
    }
}

/// DEFECTS 15.
#[test]
fn a_truncate_empties_the_index() {
    let world = shop("truncate");
    world.catch_up();
    world.sql.run("TRUNCATE products; INSERT INTO products VALUES (3, 'new cup', 5, true, '')");
    world.catch_up();
    let documents = world.documents("products");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["3"]);
    assert_eq!(documents["3"]["name"], json!("new cup"));
    world.drop_slot();
}

#[test]
fn an_idle_database_moves_its_slot_on() {
    let world = shop("idle");
    let mut engine = world.start();
    engine.await_log("streaming");
    let before: String = world.slot_confirmed();
    // Another database writes; nothing of it is ours.
    let other = World::new("busy");
    other
        .sql
        .run("CREATE TABLE noise (t text); INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    let moved = format!(
        "SELECT (confirmed_flush_lsn - '{before}')::bigint > 10000000 FROM pg_replication_slots WHERE slot_name = '{}'",
        world.name
    );
    let start = std::time::Instant::now();
    while world.sql.one(&moved) != "t" {
        assert!(start.elapsed() < crate::harness::PATIENCE, "the slot stays at {}", world.slot_confirmed());
        std::thread::yield_now();
    }
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn a_stop_settles_what_is_in_flight_and_confirms_it() {
    let world = shop("stop");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run("INSERT INTO products SELECT n, 'n' || n, n, true, '' FROM generate_series(10, 5000) n");
    let end = world.sql.one("SELECT pg_current_wal_insert_lsn()::text");
    world.await_documents("products", |documents| documents.len() == 4993);
    assert_eq!(engine.stop(), 0);
    assert_eq!(world.sql.one(&format!("SELECT '{}'::pg_lsn >= '{end}'::pg_lsn", world.slot_confirmed())), "t");
    world.drop_slot();
}

#[test]
fn a_transaction_larger_than_a_bucket_arrives_whole() {
    let world = shop("large");
    world.catch_up();
    world.sql.run(
        "BEGIN;
         INSERT INTO products SELECT n, 'n' || n, n, true, '' FROM generate_series(10, 35000) n;
         UPDATE products SET name = 'u' || id WHERE id % 2 = 0;
         DELETE FROM products WHERE id % 5 = 0;
         COMMIT",
    );
    world.catch_up();
    let documents = world.documents("products");
    let rows = world.sql.rows("SELECT id::text, name FROM products WHERE in_stock");
    assert_eq!(documents.len(), rows.len());
    for row in rows {
        assert_eq!(documents[&row[0]]["name"], json!(row[1]));
    }
    world.drop_slot();
}

#[test]
fn two_streams_of_one_table_and_one_stream_of_two_tables() {
    let world = World::new("streams");
    world.sql.run(
        "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (id int PRIMARY KEY, t text);
         INSERT INTO a VALUES (1, 'a1'), (2, 'a2'); INSERT INTO b VALUES (1, 'b1')",
    );
    world.config(
        "streams:
  - { name: both, from: [public.a, public.b], index: \"{schema}-{table}\" }
  - { name: some, from: public.a, where: id > 1, index: some }",
    );
    world.catch_up();
    world.sql.run("UPDATE a SET t = 'changed' WHERE id = 2; INSERT INTO b VALUES (2, 'b2')");
    world.catch_up();
    assert_eq!(world.documents("public-a").len(), 2);
    assert_eq!(world.documents("public-b").len(), 2);
    assert_eq!(world.documents("some"), [("2".into(), json!({ "id": 2, "t": "changed" }))].into());
    world.drop_slot();
}
