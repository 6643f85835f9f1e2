//! The rows that were there before the stream began.

use serde_json::json;

use crate::harness::{Outcome, Sql, World};

/// DEFECTS 16: what changes while the first rows are read is neither lost nor overwritten by an older row.
#[test]
fn changes_made_during_the_backfill_arrive() {
    let world = World::new("during");
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY, name text);
         INSERT INTO products SELECT n, 'before' FROM generate_series(1, 30000) n",
    );
    world.config("streams: [{ name: products, from: public.products, index: products }]");
    let mut engine = world.start();
    engine.await_log("backfill");
    for round in 0..30 {
        let from = round * 1000;
        world.sql.run(&format!(
            "UPDATE products SET name = 'during' WHERE id > {from} AND id <= {from} + 50;
             DELETE FROM products WHERE id > {from} + 50 AND id <= {from} + 60;
             INSERT INTO products VALUES (100000 + {round}, 'during')"
        ));
    }
    engine.await_log("streaming");
    assert_eq!(engine.stop(), 0);
    world.catch_up();
    let documents = world.documents("products");
    let count = |name: &str| documents.values().filter(|document| document["name"] == name).count();
    assert_eq!((count("during"), count("before"), documents.len()), (1530, 28_200, 29_730));
    world.drop_slot();
}

#[test]
fn every_type_as_the_stream_writes_it() {
    let world = World::new("types");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, v varchar(9), c char(4),
        u uuid, j json, jb jsonb, by bytea, d date, ts timestamp, tz timestamptz, tm time, iv interval, a int[], ta text[], e inet)");
    let row = |id: u32| {
        format!(
            "INSERT INTO t VALUES ({id}, true, -32768, 9223372036854775807, 1.5, 0.1, 12345678901234567890.10, E'tab\\tü', 'ab',
             '6f1e2a7c-0000-4000-8000-000000000001', E'{{\"a\" :\\n [1, 2.50]}}', '{{\"n\": 12345678901234567890.5}}', '\\x00ff',
             '2024-02-29', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.000001+02', '23:59:59.5', '1 day 02:03:04',
             '{{1,NULL,3}}', '{{\"a,b\",NULL,\"NULL\",\"q\\\"\"}}', '10.0.0.1/8')"
        )
    };
    world.sql.run(&row(1));
    world.config("streams: [{ name: t, from: public.t, index: t }]");
    world.catch_up();
    world.sql.run(&row(2));
    world.sql.run("INSERT INTO t (id) VALUES (3); INSERT INTO t (id, f4, f8, n) VALUES (4, 'NaN', '-Infinity', 'NaN')");
    world.catch_up();
    let mut documents = world.documents("t");
    let mut first = documents.remove("1").expect("the row that was there");
    let second = documents.remove("2").expect("the row that came");
    first["id"] = json!(2);
    assert_eq!(first, second, "one form both ways");
    for (field, value) in [
        ("i8", json!(9_223_372_036_854_775_807_i64)),
        ("f8", json!(0.1)),
        ("v", json!("tab\tü")),
        ("c", json!("ab  ")),
        ("by", json!("AP8=")),
        ("d", json!("2024-02-29")),
        ("ts", json!("2024-02-29T12:34:56.789")),
        ("tz", json!("2024-02-29T10:34:56.000001Z")),
        ("tm", json!("23:59:59.5")),
        ("iv", json!("P1DT2H3M4S")),
        ("a", json!([1, null, 3])),
        ("ta", json!(["a,b", null, "NULL", "q\""])),
        ("e", json!("10.0.0.1/8")),
    ] {
        assert_eq!(second[field], value, "{field}");
    }
    assert_eq!(documents["3"]["ta"], json!(null));
    assert_eq!((&documents["4"]["f8"], &documents["4"]["n"]), (&json!("-Infinity"), &json!("NaN")));
    world.drop_slot();
}

#[test]
fn a_composite_key_gives_ids_that_cannot_collide() {
    let world = World::new("composite");
    world.sql.run(
        "CREATE TABLE t (a text, b text, n int, PRIMARY KEY (a, b));
         INSERT INTO t VALUES ('a-b', 'c', 1), ('a', 'b-c', 2), ('100%', '', 3)",
    );
    world.config("streams: [{ name: t, from: public.t, index: t }]");
    world.catch_up();
    let documents = world.documents("t");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["100%25-", "a%2Db-c", "a-b%2Dc"]);
    world.drop_slot();
}

#[test]
fn a_stream_without_backfill_takes_only_what_comes() {
    let world = World::new("no_backfill");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    world.config("streams: [{ name: t, from: public.t, index: t, backfill: false }]");
    world.catch_up();
    world.sql.run("INSERT INTO t VALUES (2)");
    world.catch_up();
    assert_eq!(world.documents("t").keys().collect::<Vec<_>>(), ["2"]);
    world.drop_slot();
}

#[test]
fn a_stream_added_later_is_read_from_its_beginning() {
    let world = World::new("later");
    world.sql.run("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1)");
    world.config("streams: [{ name: a, from: public.a, index: a }]");
    world.catch_up();
    world.sql.run("INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)");
    world.config("streams: [{ name: a, from: public.a, index: a }, { name: b, from: public.b, index: b }]");
    world.catch_up();
    world.sql.run("INSERT INTO b VALUES (2)");
    world.catch_up();
    assert_eq!((world.documents("a").len(), world.documents("b").len()), (2, 2));
    world.drop_slot();
}

#[test]
fn a_backfill_asked_for_later_mends_what_was_lost() {
    let world = World::new("again");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1), (2, 2)");
    world.config("streams: [{ name: t, from: public.t, index: t }]");
    world.catch_up();
    Sql::connect(&world.url()).run("UPDATE t SET n = 3 WHERE id = 2");
    world.catch_up();
    crate::harness::http("DELETE", &format!("{}/t/_doc/1", world.index.url), None);
    assert_eq!(world.documents("t").len(), 1);
    assert_eq!(world.tidemill(&["backfill", "t"]).code, 0);
    world.catch_up();
    assert_eq!(
        world.documents("t"),
        [("1".into(), json!({ "id": 1, "n": 1 })), ("2".into(), json!({ "id": 2, "n": 3 }))].into()
    );
    world.drop_slot();
}

/// Its document is an older one than the row, and there is a row: it is not swept away with those that have none.
#[test]
fn a_row_that_the_index_refused_keeps_the_document_it_has() {
    let world = World::new("sweep_letters");
    world.sql.run("CREATE TABLE t (id bigint PRIMARY KEY, n text); INSERT INTO t VALUES (1, '1'), (2, '2')");
    world.file("mapping.json", r#"{ "properties": { "n": { "type": "integer" } } }"#);
    world.config("streams: [{ name: t, from: public.t, index: t, mapping: mapping.json }]");
    world.catch_up();
    let version = world.http().call("GET", "/t/_doc/1", None).1["_version"].as_u64().unwrap();
    let stray = format!("/t/_doc/9?version={version}&version_type=external");
    assert_eq!(world.http().call("PUT", &stray, Some(&json!({ "n": 9 }))).0, 201);
    world.sql.run("UPDATE t SET n = 'x' WHERE id = 1; UPDATE t SET n = '3' WHERE id = 2");
    world.catch_up();
    world.tidemill(&["backfill", "t"]).succeeded();
    world.catch_up();
    let documents = world.documents("t");
    assert_eq!(
        documents,
        [("1".into(), json!({ "id": 1, "n": "1" })), ("2".into(), json!({ "id": 2, "n": "3" }))].into()
    );
    world.drop_slot();
}

/// What a table's reading brought over the wire, and who filtered it.
fn read(run: &Outcome) -> (u64, bool) {
    let line = run.stderr.lines().find(|line| line.contains("is read")).unwrap_or_else(|| panic!("{}", run.stderr));
    let bytes = line.split_once("bytes=").unwrap().1.split(' ').next().unwrap();
    (bytes.parse().unwrap(), line.contains("postgres"))
}

#[test]
fn rows_that_the_filter_drops_do_not_cross_the_wire_where_postgres_can_tell() {
    let world = World::new("pushed");
    // Operators of the application that an unqualified one would find first.
    world.sql.run(
        "CREATE TABLE products (id bigint PRIMARY KEY, name text, amount int);
         INSERT INTO products SELECT n, repeat('x', 200), n % 100 FROM generate_series(1, 5000) n;
         CREATE FUNCTION never(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR ~~ (FUNCTION = never, LEFTARG = text, RIGHTARG = text)",
    );
    let run = |filter: &str| {
        world.config(&format!("streams: [{{ name: products, from: public.products, where: {} }}]", json!(filter)));
        world.catch_up()
    };
    let (all, by_postgres) = read(&run("(amount + 0) = 7 and name like 'x%'"));
    assert!(!by_postgres, "a sum can overflow");
    assert!(all > 5000 * 200);
    let before = world.documents("products");
    assert_eq!(before.len(), 50);
    // The row leaves the filter, and nobody hears of it: only the sweep can tell.
    world.tidemill(&["teardown", "--yes"]).succeeded();
    world.sql.run("UPDATE products SET amount = 8 WHERE id = 107");
    let (some, by_postgres) = read(&run("amount = 7 and name like 'x%'"));
    assert!(by_postgres);
    assert!(some * 50 < all, "{some} of {all} bytes");
    let after = world.documents("products");
    assert_eq!(after.len(), 49);
    assert!(before.contains_key("107") && !after.contains_key("107"));
    world.drop_slot();
}
