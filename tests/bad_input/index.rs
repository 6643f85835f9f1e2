//! The index: its name, and what is in it already.

use serde_json::json;

use super::{PRODUCTS, both_refuse, is_mended, shop};
use crate::harness::World;

#[test]
fn a_name_that_the_server_forbids() {
    let world = shop("index_name");
    for (name, word) in
        [("Products", "lowercase"), ("_products", "_"), ("\"pro ducts\"", "' '|space"), ("\"..\"", "..")]
    {
        world.config(&PRODUCTS.replace("index: products", &format!("index: {name}")));
        both_refuse(&world, 2, &["tidemill.yaml:", "index", word]);
    }
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

/// What only the database tells.
#[test]
fn a_tables_name_that_makes_a_forbidden_one() {
    let world = World::new("index_template");
    world.sql.run("CREATE TABLE \"Products\" (id int PRIMARY KEY); INSERT INTO \"Products\" VALUES (1)");
    let streams = "streams: [{ name: products, from: 'public.*', index: \"{schema}-{table}\" }]";
    world.config(streams);
    both_refuse(&world, 1, &["public-Products", "lower"]);
    world.sql.run("ALTER TABLE \"Products\" RENAME TO products");
    world.catch_up();
    assert_eq!(world.documents("public-products").len(), 1);
    world.drop_slot();
}

#[test]
fn a_field_that_no_index_takes() {
    let world = World::new("field_name");
    world.sql.run("CREATE TABLE products (id int PRIMARY KEY, _source text); INSERT INTO products VALUES (1, 'x')");
    world.config("streams: [{ name: products, from: public.products, index: products }]");
    both_refuse(&world, 1, &["products", "_source", "columns"]);
    world.config("streams: [{ name: products, from: public.products, index: products, columns: { source: _source } }]");
    world.catch_up();
    assert_eq!(world.documents("products"), [("1".into(), json!({ "source": "x" }))].into());
    world.drop_slot();
}

#[test]
fn two_streams_into_one_index() {
    let world = shop("index_shared");
    world.sql.run("CREATE TABLE offers (id int PRIMARY KEY)");
    let second = "\n  - { name: offers, from: public.offers, index: products }";
    world.config(&format!("{PRODUCTS}{second}"));
    both_refuse(&world, 1, &["products", "offers", "index"]);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

/// An index that is ahead of this database: a refusal as stale would be a lie, and the document would stay wrong.
#[test]
fn a_new_state_against_an_index_that_holds_newer_versions() {
    let world = shop("index_ahead");
    let newer = "{\"index\":{\"_index\":\"products\",\"_id\":\"1\",\"version\":1152921504606846976,\"version_type\":\"external_gte\"}}\n{\"name\":\"from the future\"}\n";
    let answer = crate::harness::runtime().block_on(async {
        let request = reqwest::Client::new().post(format!("{}/_bulk", world.index.url)).body(newer);
        request.header("content-type", "application/x-ndjson").send().await.expect("an answer").status().as_u16()
    });
    assert_eq!(answer, 200);
    assert_eq!(world.documents("products").len(), 1);

    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["products", "paused", "newer|ahead|above"]);
    assert_eq!(world.documents("products")["1"], json!({ "name": "from the future" }), "nothing is overwritten");
    // Nothing was taken for delivered: with the index out of the way, all of it comes.
    assert_eq!(world.http().call("DELETE", "/products", None).0, 200);
    world.tidemill(&["resume", "products"]).succeeded();
    world.tidemill(&["backfill", "products"]).succeeded();
    is_mended(&world);
    world.drop_slot();
}

/// As far as types tell it before the first document.
#[test]
fn a_mapping_that_does_not_take_the_documents() {
    let world = shop("misfit");
    let mapping = json!({ "mappings": { "properties": {
        "name": { "type": "long" }, "price": { "type": "double" }, "in_stock": { "type": "integer" } } } });
    assert_eq!(world.http().call("PUT", "/products", Some(&mapping)).0, 200);
    world.tidemill(&["check"]).refused(1, &["✗ stream products", "`in_stock` as `integer`", "a boolean"]);
    let answer = world.tidemill(&["check", "--json"]).json();
    let of = |verdict: &str| -> Vec<String> {
        let findings = answer["findings"].as_array().expect("findings");
        findings
            .iter()
            .filter(|finding| finding["verdict"] == verdict)
            .map(|finding| finding["message"].to_string())
            .collect()
    };
    assert!(of("wrong").len() == 1 && of("warning").iter().any(|line| line.contains("`name` as `long`")), "{answer}");

    // It is so: each of them is a dead letter.
    world.catch_up();
    assert!(world.documents("products").is_empty());
    assert_eq!(world.http().call("DELETE", "/products", None).0, 200);
    world.tidemill(&["teardown", "--yes"]).succeeded();

    // The mapping of a file is compared before there is an index, and looked at itself.
    world.config(&format!("{PRODUCTS}\n    mapping: own.json"));
    for (file, words) in [
        ("{ \"properties\": ", &["own.json", "JSON"][..]),
        ("[]", &["own.json", "properties"]),
        ("{ \"name\": { \"type\": \"text\" } }", &["own.json", "name", "properties"]),
        ("{ \"properties\": { \"name\": \"text\" } }", &["own.json", "properties.name", "type"]),
    ] {
        world.file("own.json", file);
        both_refuse(&world, 1, words);
    }
    world.file("own.json", "{ \"properties\": { \"name\": { \"type\": \"nested\" } } }");
    world.tidemill(&["check"]).refused(1, &["`name` as `nested`", "text"]);
    world.file("own.json", "{ \"properties\": { \"name\": { \"type\": \"keyword\" } } }");
    is_mended(&world);
    world.drop_slot();
}
