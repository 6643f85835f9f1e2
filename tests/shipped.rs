//! The shipped plugins at a running engine: what rows become, and that nothing of what they were is left.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::World;

fn stream(name: &str, stage: &str, more: &str) -> String {
    format!("streams:\n  - name: {name}\n    from: public.{name}\n    stages: [{{ {stage} }}]\n{more}")
}

/// `index/id` of each document, with one of its fields.
fn places(world: &World, indices: &[&str], field: &str) -> BTreeMap<String, Value> {
    let of_index = |index: &&str| {
        let documents = world.documents(index).into_iter();
        let (index, field) = ((*index).to_owned(), field.to_owned());
        documents.map(move |(id, document)| (format!("{index}/{id}"), document[&field].clone()))
    };
    indices.iter().flat_map(of_index).collect()
}

#[track_caller]
fn holds(world: &World, indices: &[&str], field: &str, expected: &[(&str, Value)]) {
    let expected: BTreeMap<String, Value> =
        expected.iter().map(|(place, value)| ((*place).to_owned(), value.clone())).collect();
    assert_eq!(places(world, indices, field), expected);
}

#[test]
fn redacted_values_are_nowhere() {
    let world = World::new("redact");
    world.sql.run(
        "CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, ssn text, age int);
         INSERT INTO people VALUES (1, 'ann@example.com', '030-12345', '078-05-1120', 7), (2, NULL, NULL, NULL, NULL)",
    );
    // A mapping that refuses what comes: the letter holds the document as it would have been.
    world.file("mapping.json", r#"{"properties": {"age": {"type": "boolean"}}}"#);
    let key = world.file("key", "correct horse battery staple\n");
    let stage =
        "plugin: redact, config: { hash: [email], mask: { phone: 3 }, drop: [ssn] }, secrets: { key: { file: key } }";
    world.config(&stream("people", stage, ""));
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    // As openssl's `dgst -sha256 -hmac` has it.
    let email = "2539c163ce5decf783226f790e8a6899fb8eead4568c544451d6629b0ad0c3b8";
    let documents = world.documents("people");
    assert_eq!(documents["1"], json!({ "id": 1, "email": email, "phone": "******345", "age": 7 }));
    assert_eq!(documents["2"], json!({ "id": 2, "email": null, "phone": null, "age": null }));

    // Another key gives other documents; it is told from the one before, and neither is in the state.
    world.file("key", "another horse and its staple\n");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["--backfill-changed"]);
    world.config(&stream("people", stage, "    mapping: mapping.json\n    index: strict\n"));
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().stdout;
    let export = world.tidemill(&["dead-letters", "show", "1", "--json"]).stdout;
    assert!(
        letters.contains("mapper_parsing_exception") || letters.contains("document_parsing_exception"),
        "{letters}"
    );
    let state = std::fs::read(key.with_file_name("tidemill.db")).unwrap();
    let state = String::from_utf8_lossy(&state);
    for secret in ["ann@example.com", "030-12345", "078-05-1120", "horse"] {
        assert!(!letters.contains(secret) && !export.contains(secret) && !state.contains(secret), "{secret} is told");
    }

    world.config(&stream("people", "plugin: redact, config: { hash: [email] }", ""));
    world.tidemill(&["check"]).refused(1, &["hashes need a key", "secrets: { key: { file: … } }"]);
    world.drop_slot();
}

#[test]
fn points_become_geo_points() {
    let world = World::new("geo");
    world.sql.run(
        "CREATE TABLE shops (id bigint PRIMARY KEY, lat double precision, lon double precision, at point, geom text);
         INSERT INTO shops VALUES (1, 52.5, 13.5, '(13.5,52.5)', '0101000020E61000000000000000002B400000000000404A40'),
                                  (2, NULL, NULL, NULL, 'POINT EMPTY'), (3, 91, 0, '(0,91)', 'POINT(0 91)')",
    );
    let berlin = json!({ "lat": 52.5, "lon": 13.5 });
    world.file("mapping.json", r#"{"properties": {"location": {"type": "geo_point"}}}"#);
    for (index, from) in [("two", "lat: lat, lon: lon"), ("native", "point: at"), ("postgis", "point: geom")] {
        let stage = format!("plugin: geo, config: {{ field: location, {from} }}");
        world.config(&stream("shops", &stage, &format!("    index: {index}\n")));
        world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
        holds(
            &world,
            &[index],
            "location",
            &[(&format!("{index}/1"), berlin.clone()), (&format!("{index}/2"), Value::Null)],
        );
        let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json().to_string();
        assert!(letters.contains("\"geo_range\""), "{letters}");
    }
    world.drop_slot();
}

#[test]
fn documents_move_with_their_month() {
    let world = World::new("route");
    let indices = ["logs-2024.01", "logs-2024.02"];
    world.sql.run(
        "CREATE TABLE logs (id bigint PRIMARY KEY, at timestamptz, tenant int);
         INSERT INTO logs VALUES (1, '2024-01-31 23:30+00', 1), (2, '2024-02-01 00:30+01', 1), (3, '2024-02-01 00:30+00', 2),
                                 (4, 'infinity', 1), (5, NULL, 1)",
    );
    let stage = "plugin: route, config: { index: \"logs-{at:%Y.%m}\", routing: \"tenant-{tenant}\" }, grants: { identity: { index: logs-* } }";
    world.config(&stream("logs", stage, ""));
    world.tidemill(&["check"]).refused(
        1,
        &["names its documents by more than the key", "ALTER TABLE \"public\".\"logs\" REPLICA IDENTITY FULL;"],
    );
    world.sql.run("ALTER TABLE logs REPLICA IDENTITY FULL");
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    // In UTC, whatever the zone in which it was written.
    let first = [("logs-2024.01/1", json!(1)), ("logs-2024.01/2", json!(1)), ("logs-2024.02/3", json!(2))];
    holds(&world, &indices, "tenant", &first);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json().to_string();
    assert!(letters.contains("\"route_infinite\"") && letters.contains("\"index_null\""), "{letters}");

    world.sql.run(
        "UPDATE logs SET at = '2024-02-02' WHERE id = 1; UPDATE logs SET tenant = 7 WHERE id = 2; DELETE FROM logs WHERE id = 3",
    );
    world.catch_up();
    holds(&world, &indices, "tenant", &[("logs-2024.02/1", json!(1)), ("logs-2024.01/2", json!(7))]);
    world.sql.run("UPDATE logs SET at = NULL WHERE id = 1; DELETE FROM logs WHERE id = 2");
    world.catch_up();
    holds(&world, &indices, "tenant", &[]);

    // Names of the key alone need no more than the key.
    world.sql.run("CREATE TABLE keyed (id bigint PRIMARY KEY, n int); INSERT INTO keyed VALUES (1, 1), (2, 2)");
    let stage = "plugin: route, config: { index: \"keyed-{id}\" }, grants: { identity: { index: keyed-* } }";
    world.config(&stream("keyed", stage, ""));
    world.tidemill(&["check"]).succeeded();
    world.drop_slot();
}

#[test]
fn an_array_becomes_documents() {
    let world = World::new("split");
    world.sql.run(
        "CREATE TABLE orders (id bigint PRIMARY KEY, lines jsonb, tags text[], numbers int[]);
         INSERT INTO orders VALUES (1, '[{\"sku\": \"a\"}, {\"sku\": \"b\"}, {\"sku\": \"c\"}]', '{x,NULL,\"y,z\"}', '{5,NULL}'),
                                   (2, '[]', '{}', '{}'), (3, NULL, NULL, NULL), (4, '{\"sku\": \"d\"}', '{w}', '{6}')",
    );
    let stage = |config: &str| format!("plugin: split, config: {config}, grants: {{ identity: {{}} }}");
    let lines = stage("{ column: lines, as: line, position: no }");
    world.config(&stream("orders", &lines, ""));
    world.tidemill(&["check"]).refused(
        1,
        &["names its documents by more than the key", "ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;"],
    );
    world.sql.run("ALTER TABLE orders REPLICA IDENTITY FULL");
    world.catch_up();
    let line = |sku: &str| json!({ "sku": sku });
    let all = [("orders/1-1", line("a")), ("orders/1-2", line("b")), ("orders/1-3", line("c"))];
    holds(&world, &["orders"], "line", &all);
    assert_eq!(world.documents("orders")["1-3"]["no"], 3);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json().to_string();
    assert!(letters.contains("\"split_no_array\""), "{letters}");
    // What a shorter array has no more is gone, and what another key had.
    world.sql.run("UPDATE orders SET lines = '[{\"sku\": \"c\"}]' WHERE id = 1; UPDATE orders SET lines = '[{\"sku\": \"e\"}, null]' WHERE id = 3");
    world.catch_up();
    let shorter = [("orders/1-1", line("c")), ("orders/3-1", line("e")), ("orders/3-2", Value::Null)];
    holds(&world, &["orders"], "line", &shorter);
    world.sql.run("UPDATE orders SET id = 5 WHERE id = 1; DELETE FROM orders WHERE id = 3");
    world.catch_up();
    holds(&world, &["orders"], "line", &[("orders/5-1", line("c"))]);

    world.sql.run(
        "ALTER TABLE orders ADD prices numeric[], ADD big int8[], ADD grid int2[][], ADD flags bool[], ADD days date[];
         UPDATE orders SET prices = '{0.10,12345678901234567890.123,NULL}', big = '{9007199254740993}',
                           grid = '{{1,NULL},{3,4}}', flags = '{t,f}' WHERE id = 5",
    );
    for (column, index, expected) in [
        (
            "prices",
            "priced",
            vec![
                ("priced/5-1", serde_json::from_str("0.10").unwrap()),
                ("priced/5-2", serde_json::from_str("12345678901234567890.123").unwrap()),
                ("priced/5-3", Value::Null),
            ],
        ),
        ("big", "bigs", vec![("bigs/5-1", json!(9_007_199_254_740_993_i64))]),
        ("grid", "grids", vec![("grids/5-1", json!([1, null])), ("grids/5-2", json!([3, 4]))]),
        ("flags", "flagged", vec![("flagged/5-1", json!(true)), ("flagged/5-2", json!(false))]),
        (
            "tags",
            "tagged",
            vec![
                ("tagged/5-1", json!("x")),
                ("tagged/5-2", Value::Null),
                ("tagged/5-3", json!("y,z")),
                ("tagged/4-1", json!("w")),
            ],
        ),
        (
            "numbers",
            "numbered",
            vec![("numbered/5-1", json!(5)), ("numbered/5-2", Value::Null), ("numbered/4-1", json!(6))],
        ),
    ] {
        world.config(&stream("orders", &stage(&format!("{{ column: {column} }}")), &format!("    index: {index}\n")));
        world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
        holds(&world, &[index], column, &expected);
    }
    world.config(&stream("orders", &stage("{ column: days }"), ""));
    world.tidemill(&["check"]).refused(1, &["`days` is no array and no JSON", "of Postgres' arrays those of"]);

    // Lists that an earlier stage makes; a shorter one leaves nothing behind.
    world.sql.run("ALTER TABLE orders ADD words text; UPDATE orders SET words = 'a,b,c' WHERE id = 5");
    let splitter = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/splitter.wasm");
    let made = format!("plugin: \"{splitter}\", config: {{ list: words }}");
    let stages = format!("{made} }}, {{ {}", stage("{ column: words_list, as: word }"));
    world.config(&stream("orders", &stages, "    index: worded\n"));
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    let words = ["a", "b", "c"].map(|word| json!(word));
    let [a, b, c] = words;
    holds(&world, &["worded"], "word", &[("worded/5-1", a.clone()), ("worded/5-2", b), ("worded/5-3", c.clone())]);
    world.sql.run("UPDATE orders SET words = 'c,a' WHERE id = 5");
    world.catch_up();
    holds(&world, &["worded"], "word", &[("worded/5-1", c), ("worded/5-2", a)]);
    world.drop_slot();
}
