//! The guide that people follow to bring a table into a search server, step by step.

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::search_server::{Product, SearchServer};
use crate::harness::{PATIENCE, World, await_some};

const PRODUCTS: &str = "streams:
  - name: products
    from: public.products
    actions: [insert, update, delete]
    backfill: true
    where: in_stock = true
    columns: [name, description, price, in_stock]
    index: products";

/// The open dead letters, as a program reads them.
fn letters(world: &World) -> Vec<Value> {
    let answer = world.tidemill(&["dead-letters", "list", "--stream", "products", "--json"]).succeeded().json();
    answer["dead_letters"].as_array().unwrap_or_else(|| panic!("no list of letters: {answer}")).clone()
}

#[track_caller]
fn await_count(http: &Http, count: u64) {
    let mut last = 0;
    let right = await_some(PATIENCE, || {
        last = http.count("products");
        (last == count).then_some(())
    });
    assert!(right.is_some(), "{last} documents, not {count}");
}

#[test]
fn the_guide() {
    let Some(server) = SearchServer::start(Product::SecuredElasticsearch("8.19.21")) else { return };
    let http = &server.http;
    let mut world = World::new("guide");
    world.variables.push(("API_KEY", server.api_key.clone().expect("a secured server")));

    // A table with some rows, and an index whose mapping is the user's own.
    world.sql.run(
        "CREATE TABLE products (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, description text,
           price numeric(10,2), in_stock boolean, supplier text);
         INSERT INTO products (name, description, price, in_stock, supplier)
           SELECT 'product ' || n, 'it is number ' || n, n + 0.99, n % 4 <> 0, 'secret' FROM generate_series(1, 400) n",
    );
    let mapping = json!({ "mappings": { "properties": {
        "name": { "type": "keyword" }, "description": { "type": "text" }, "price": { "type": "short" }, "in_stock": { "type": "boolean" }
    } } });
    assert_eq!(http.call("PUT", "/products", Some(&mapping)).0, 200);

    // The configuration, with the key from the environment and the default batch size.
    world.config_with(&format!("url: {}", world.url()), &server.sink(), PRODUCTS);
    world.tidemill(&["check"]).succeeded();
    let engine = world.start();
    await_count(http, 300);

    // The count rises as rows come, and falls as they go.
    for (n, count) in [(1, 301), (2, 302), (3, 303)] {
        world.sql.run(&format!(
            "INSERT INTO products (name, description, price, in_stock) VALUES ('new {n}', 'fresh', {n}, true)"
        ));
        await_count(http, count);
    }
    world.sql.run("INSERT INTO products (name, price, in_stock) VALUES ('sold out', 1, false)");
    world.sql.run("UPDATE products SET in_stock = false WHERE id = 1; DELETE FROM products WHERE id = 2");
    world.sql.run("UPDATE products SET description = 'changed' WHERE id = 3");
    await_count(http, 301);

    // Searching with the key shows them, and only with the key.
    let all = json!({ "query": { "match_all": {} }, "size": 1000 });
    let hits = await_some(PATIENCE, || {
        http.call("POST", "/products/_refresh", None);
        let (status, answer) = http.call("POST", "/products/_search", Some(&all));
        assert_eq!(status, 200, "{answer}");
        let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
        let changed = hits.iter().any(|hit| hit["_id"] == "3" && hit["_source"]["description"] == "changed");
        changed.then_some(hits)
    });
    let hits = hits.expect("the changed row is found");
    assert_eq!(hits.len(), 301);
    let third = hits.iter().find(|hit| hit["_id"] == "3").expect("found above");
    let document = json!({ "name": "product 3", "description": "changed", "price": 3.99, "in_stock": true });
    assert_eq!((&third["_source"], &third["_index"]), (&document, &json!("products")));
    assert!(hits.iter().all(|hit| hit["_id"] != "1" && hit["_id"] != "2"));
    let stranger = Http::guarded(&http.url, None, server.ca().as_deref());
    assert_eq!(stranger.call("POST", "/products/_search", Some(&all)).0, 401);

    conflicts(&world, http);
    assert_eq!(engine.stop(), 0);
    engine_log_is_clean(&world);
    world.tidemill(&["teardown", "--yes"]).succeeded();
}

/// Two prices that do not fit the mapping: one is mended in the mapping, the other in Postgres, and both are retried.
fn conflicts(world: &World, http: &Http) {
    world.sql.run(
        "INSERT INTO products (name, description, price, in_stock) VALUES ('yacht', 'dear', 99999, true), ('villa', 'dearer', 88888, true)",
    );
    let found = await_some(PATIENCE, || Some(letters(world)).filter(|letters| letters.len() == 2));
    let found = found.unwrap_or_else(|| panic!("not two letters: {:#?}", letters(world)));
    let key = |name: &str| world.sql.one(&format!("SELECT id::text FROM products WHERE name = '{name}'"));
    let (yacht, villa) = (key("yacht"), key("villa"));
    let of =
        |key: &str| found.iter().find(|letter| letter["key"] == key).unwrap_or_else(|| panic!("{key}: {found:#?}"));
    for letter in [of(&yacht), of(&villa)] {
        assert_eq!(letter["error_type"], json!("document_parsing_exception"), "{letter}");
        assert!(letter["error"].as_str().is_some_and(|error| error.contains("out of range")), "{letter}");
        assert_eq!((&letter["stream"], &letter["table"]), (&json!("products"), &json!("public.products")), "{letter}");
        assert_eq!((&letter["index"], &letter["kind"]), (&json!("products"), &json!("index")), "{letter}");
    }
    let status = world.tidemill(&["status", "--json"]).succeeded().json();
    assert_eq!(status["streams"][0]["dead_letters"], json!(2), "{status}");

    // The row is mended: what comes of it is newer than its letter.
    world.sql.run("UPDATE products SET price = 8.50 WHERE name = 'villa'");
    http.await_documents("products", |documents| documents.contains_key(&villa));

    // The mapping is mended: the letter is sent again as it was.
    let tolerant = json!({ "properties": { "price": { "type": "short", "ignore_malformed": true } } });
    assert_eq!(http.call("PUT", "/products/_mapping", Some(&tolerant)).0, 200);
    world.tidemill(&["dead-letters", "retry", &of(&yacht)["id"].to_string()]).succeeded();
    http.await_documents("products", |documents| documents.contains_key(&yacht));
    assert_eq!(http.documents("products")[&yacht]["name"], json!("yacht"));

    // The other letter is out of date, and does not overwrite what is newer.
    world.tidemill(&["dead-letters", "retry", "--stream", "products"]).succeeded();
    assert_eq!(http.documents("products")[&villa]["price"], json!(8.5));
    assert!(letters(world).is_empty(), "{:#?}", letters(world));
}

/// After the end, all is confirmed: nothing comes a second time.
fn engine_log_is_clean(world: &World) {
    let outcome = world.tidemill(&["run", "--until-caught-up"]).succeeded();
    assert!(!outcome.stderr.contains("panicked") && !outcome.stderr.contains("hunter2"), "{outcome}");
    assert!(letters(world).is_empty());
}
