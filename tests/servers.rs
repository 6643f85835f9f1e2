//! Against real OpenSearch and Elasticsearch, one server a test. `make test-servers` runs these.

mod guide;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::search_server::{Product, SearchServer};
use crate::harness::{Outcome, PATIENCE, World, await_some, runtime, tidemill};

const PRODUCTS: &str = "streams:
  - name: products
    from: public.products
    where: in_stock = true
    columns: [name, description, price, in_stock, tags]
    index: products";

const ROWS: &str = "INSERT INTO products SELECT n, 'product ' || n, CASE WHEN n % 50 = 0 THEN repeat('read me ', 1000) ELSE 'ü ' || n END,
    n * 1.25, n % 10 <> 0, ARRAY['a', 'b ' || n] FROM generate_series";

/// The rows that belong in the index, as Postgres itself renders them.
fn expected(world: &World) -> BTreeMap<String, Value> {
    let query = "SELECT id::text, json_build_object('name', name, 'description', description, 'price', price,
         'in_stock', in_stock, 'tags', tags)::text FROM products WHERE in_stock";
    let parse = |text: &str| serde_json::from_str(text).expect("Postgres writes JSON");
    world.sql.rows(query).into_iter().map(|row| (row[0].clone(), parse(&row[1]))).collect()
}

#[track_caller]
fn equal(world: &World, http: &Http, when: &str) {
    let (documents, rows) = (http.documents("products"), expected(world));
    for (id, row) in &rows {
        assert_eq!(documents.get(id), Some(row), "document {id} {when}");
    }
    let extra: Vec<_> = documents.keys().filter(|id| !rows.contains_key(*id)).collect();
    assert!(extra.is_empty(), "{when} the index has {extra:?}, which no row belongs to");
}

/// What happens in a shop, each kind of change at least once.
fn workload(server: &SearchServer, story: &str) {
    let mut world = World::new(story);
    world.variables.extend(server.api_key.clone().map(|key| ("API_KEY", key)));
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY, name text, description text, price numeric, in_stock boolean, tags text[]);
         ALTER TABLE products ALTER description SET STORAGE EXTERNAL",
    );
    world.sql.run(&format!("{ROWS}(1, 3000) n"));
    world.config_with(&format!("url: {}", world.url()), &server.sink(), PRODUCTS);
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    equal(&world, &server.http, "after the backfill");

    world.sql.run(&format!("{ROWS}(3001, 3500) n"));
    world.sql.run(
        "UPDATE products SET price = price + 1, name = 'changed ' || id WHERE id % 3 = 0;
         DELETE FROM products WHERE id % 17 = 0;
         UPDATE products SET id = id + 100000 WHERE id % 13 = 0;
         UPDATE products SET in_stock = NOT in_stock WHERE id % 5 = 0",
    );
    world.catch_up();
    equal(&world, &server.http, "after changes");

    // One version for all that happens to a row in one transaction.
    world.sql.run("BEGIN; DELETE FROM products WHERE id = 1; INSERT INTO products VALUES (1, 'first', '', 1, true, '{}'); UPDATE products SET name = 'second' WHERE id = 1; COMMIT");
    world.sql.run("BEGIN; UPDATE products SET name = 'gone' WHERE id = 2; DELETE FROM products WHERE id = 2; COMMIT");
    world
        .sql
        .run("BEGIN; UPDATE products SET id = 200000 WHERE id = 3; UPDATE products SET id = 3 WHERE id = 4; COMMIT");
    world.sql.run("DO $$ BEGIN FOR i IN 1..300 LOOP UPDATE products SET price = i, in_stock = i % 2 = 0 WHERE id = 7; END LOOP; END $$");
    world.catch_up();
    equal(&world, &server.http, "after ties");

    world.sql.run(&format!("TRUNCATE products; {ROWS}(100, 200) n"));
    world.catch_up();
    equal(&world, &server.http, "after a truncate");

    let mut engine = world.start();
    engine.await_log("streaming");
    for round in 0..20 {
        world.sql.run(&format!(
            "UPDATE products SET name = 'round {round} ' || id, in_stock = (id + {round}) % 4 <> 0;
             DELETE FROM products WHERE id = 100 + {round}"
        ));
    }
    let same = await_some(PATIENCE, || (server.http.documents("products") == expected(&world)).then_some(()));
    if same.is_none() {
        equal(&world, &server.http, "live");
    }
    assert_eq!(engine.stop(), 0);
    world.tidemill(&["teardown", "--yes"]).succeeded();
    assert_eq!(server.http.call("DELETE", "/products", None).0, 200);
}

#[track_caller]
fn bulk_cases(server: &SearchServer) {
    let wrong = runtime().block_on(crate::bulk_cases::run(&server.http.url, &server.http.client));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn opensearch_2() {
    let Some(server) = SearchServer::start(Product::OpenSearch("2.19.6")) else { return };
    workload(&server, "opensearch_2");
    demo(&server);
    bulk_cases(&server);
}

#[test]
fn opensearch_3() {
    let Some(server) = SearchServer::start(Product::OpenSearch("3.4.0")) else { return };
    workload(&server, "opensearch_3");
    bulk_cases(&server);
}

#[test]
fn elasticsearch_8() {
    let Some(server) = SearchServer::start(Product::SecuredElasticsearch("8.19.21")) else { return };
    workload(&server, "elasticsearch_8");
    bulk_cases(&server);
}

#[test]
fn elasticsearch_9() {
    let Some(server) = SearchServer::start(Product::Elasticsearch("9.2.0")) else { return };
    workload(&server, "elasticsearch_9");
    bulk_cases(&server);
}

/// The main job into a server of the user's own.
fn demo(server: &SearchServer) {
    let mut command = tidemill();
    command.args([
        "demo",
        "--sink",
        &server.http.url,
        "--api-key",
        "any:key",
        "--rows",
        "2000",
        "--seconds",
        "3",
        "--json",
    ]);
    let outcome = Outcome::within(Duration::from_secs(180), command).succeeded();
    let report = outcome.json();
    for comparison in report["comparisons"].as_array().expect("comparisons") {
        let counts = ["missing", "extra", "different"].map(|key| &comparison[key]);
        assert_eq!(counts, [&json!(0); 3], "{outcome}");
        assert!(comparison["equal"].as_u64().is_some_and(|equal| equal > 0), "{outcome}");
    }
}
