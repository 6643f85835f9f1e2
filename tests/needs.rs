//! Columns that no stage requires and no document shows: neither copied nor decoded, and in nobody's way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Outcome, World};

/// Postgres keeps it, and no count of microseconds since 1970 reaches it.
const FAR: &str = "294276-12-31 00:00:00";

/// What a table's reading brought over the wire, and whether Postgres filtered it.
#[track_caller]
fn read(run: &Outcome) -> (u64, bool) {
    let line = run.stderr.lines().find(|line| line.contains("is read")).unwrap_or_else(|| panic!("{}", run.stderr));
    let bytes = line.split_once("bytes=").expect("the line tells them").1.split(' ').next().expect("a number");
    (bytes.parse().expect("a number"), line.contains("postgres"))
}

#[test]
fn a_backfill_copies_what_is_needed() {
    let world = World::new("needed_bytes");
    let columns: String = (1..10).map(|n| format!(", c{n} text")).collect();
    let values = ", repeat('x', 300)".repeat(9);
    world.sql.run(&format!(
        "CREATE TABLE wide (id bigint PRIMARY KEY{columns});
         INSERT INTO wide SELECT n{values} FROM generate_series(1, 2000) n"
    ));
    let run = |more: &str| {
        world.config(&format!("streams: [{{ name: wide, from: public.wide{more} }}]"));
        let (bytes, by_postgres) = read(&world.catch_up());
        let told = world.tidemill(&["check"]).succeeded().stdout;
        let documents = world.documents("wide");
        world.tidemill(&["teardown", "--yes"]).succeeded();
        crate::harness::http("DELETE", &format!("{}/wide", world.index.url), None);
        (bytes, by_postgres, documents, told)
    };
    let (all, _, whole, told) = run("");
    assert!(all > 2000 * 2700 && whole.len() == 2000 && !told.contains("columns are read"), "{all} bytes: {told}");
    let (some, _, documents, told) = run(", columns: [id, c1]");
    assert!(some * 5 < all, "{some} of {all} bytes");
    assert!(told.contains("table `public.wide`: 2 of 10 columns are read: `id`, `c1`"), "{told}");
    assert!(documents.len() == 2000 && documents["7"] == json!({ "id": 7, "c1": "x".repeat(300) }));

    // Filters that stand before all else are one with `where`, as long as they are the shipped one and cannot fail.
    let first = "{ plugin: where, config: { predicate: \"id <= 10 or id > 3000\" } }";
    let (bytes, by_postgres, documents, _) = run(&format!(
        ", where: \"id > 5 or id < 0\", stages: [{first}, {{ plugin: where, config: {{ predicate: \"c1 like 'x%'\" }} }}]"
    ));
    assert!(by_postgres && bytes * 100 < all, "{bytes} of {all} bytes");
    assert_eq!(documents.len(), 5);
    let may_fail = "{ plugin: where, config: { predicate: \"10 / id >= 1\" } }";
    let (bytes, by_postgres, documents, _) = run(&format!(", stages: [{may_fail}, {first}]"));
    assert!(!by_postgres && bytes >= all, "what follows one that may fail is not known sooner");
    assert_eq!(documents.len(), 10);
    world.file("where.wasm", include_bytes!("../plugins/shipped/where.wasm"));
    let (bytes, by_postgres, documents, _) = run(&format!(", stages: [{}]", first.replace("where", "./where.wasm")));
    assert!(!by_postgres && bytes >= all, "a file is somebody else's");
    assert_eq!(documents.len(), 10);
    world.drop_slot();
}

/// The documents with some of their fields.
fn shown(documents: BTreeMap<String, Value>, fields: &[&str]) -> BTreeMap<String, Value> {
    let of = |document: Value| fields.iter().map(|field| ((*field).to_owned(), document[*field].clone())).collect();
    documents.into_iter().map(|(id, document)| (id, Value::Object(of(document)))).collect()
}

/// Streams of the same tables with other needs: each has the documents that it has where all is read. `d` tells the key of a row
/// that changes, `f` all of it, and `s` lets rows take each other's keys.
#[test]
fn documents_are_what_they_are_where_all_is_read() {
    let world = World::new("needed_documents");
    let table = |name: &str, key: &str| {
        format!(
            "CREATE TABLE {name} (id int {key}, n int, body text, hidden text, at timestamp);
             ALTER TABLE {name} ALTER body SET STORAGE EXTERNAL; ALTER TABLE {name} ALTER hidden SET STORAGE EXTERNAL;
             INSERT INTO {name} SELECT i, i % 3, repeat('body ' || i, 800), repeat('hidden ' || i, 800), now() FROM generate_series(1, 40) i;"
        )
    };
    world.sql.run(&format!(
        "{}{}{} ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE s REPLICA IDENTITY FULL",
        table("d", "PRIMARY KEY"),
        table("f", "PRIMARY KEY"),
        table("s", "PRIMARY KEY DEFERRABLE INITIALLY DEFERRED")
    ));
    let narrow: [(&str, &[&str]); 3] = [("body", &["id", "body"]), ("n", &["id", "n"]), ("at", &["id", "at", "n"])];
    let mut streams =
        String::from("streams:\n  - { name: whole, from: [public.d, public.f, public.s], index: \"whole-{table}\" }\n");
    for (name, columns) in narrow {
        streams += &format!(
            "  - {{ name: {name}, from: [public.d, public.f, public.s], index: \"{name}-{{table}}\", columns: [{}] }}\n",
            columns.join(", ")
        );
    }
    world.config(&streams);
    world.catch_up();
    let same = |rows: &str| {
        for table in ["d", "f", "s"] {
            let whole = world.documents(&format!("whole-{table}"));
            assert_eq!(
                whole.len().to_string(),
                world.sql.one(&format!("SELECT count(*)::text FROM {table}")),
                "{rows}"
            );
            for (name, columns) in narrow {
                let documents = world.documents(&format!("{name}-{table}"));
                assert!(documents == shown(whole.clone(), columns), "{name}-{table} {rows}");
            }
        }
    };
    same("as they were");
    for table in ["d", "f", "s"] {
        world.sql.run(&format!(
            "INSERT INTO {table} VALUES (101, 1, repeat('new', 2000), repeat('new', 2000), now()), (102, NULL, NULL, NULL, NULL);
             UPDATE {table} SET n = n + 10 WHERE id <= 10;
             UPDATE {table} SET hidden = repeat('other', 2000) WHERE id BETWEEN 8 AND 12;
             UPDATE {table} SET body = repeat('other', 2000) WHERE id BETWEEN 11 AND 15;
             UPDATE {table} SET id = id + 1000 WHERE id BETWEEN 14 AND 20;
             DELETE FROM {table} WHERE id BETWEEN 21 AND 25 OR id = 1015"
        ));
    }
    // Two rows that differ only in what the streams `n` and `body` do not show take each other's keys.
    world.sql.run("UPDATE s SET n = 7, body = 'same' WHERE id IN (30, 31)");
    world.sql.run("UPDATE s SET id = CASE id WHEN 30 THEN 31 ELSE 30 END WHERE id IN (30, 31)");
    world.catch_up();
    same("as they became");
    let told = world.tidemill(&["check"]).succeeded().stdout;
    for line in ["`public.d`: 2 of 5 columns are read: `id`, `n`", "`public.f`: 2 of 5 columns are read: `id`, `body`"]
    {
        assert!(told.contains(line), "{told}");
    }
    assert!(!told.contains("`public.s`: 2 of 5"), "all of a row tells it from another: {told}");
    world.drop_slot();
}

#[test]
fn a_value_that_nobody_reads_rejects_no_row() {
    let world = World::new("needed_far");
    world.sql.run(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamp);
         INSERT INTO t VALUES (1, 'far', '{FAR}'), (2, 'near', '2024-02-29')"
    ));
    let narrow = "{ name: narrow, from: public.t, columns: [id, name] }";
    world.config(&format!("streams: [{narrow}]"));
    world.catch_up();
    world.sql.run(&format!(
        "INSERT INTO t VALUES (3, 'far', '{FAR}'); UPDATE t SET at = '{FAR}', name = 'gone far' WHERE id = 2"
    ));
    world.catch_up();
    let letters = || {
        let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
        letters["dead_letters"].as_array().cloned().unwrap_or_default()
    };
    let expected = |names: &[&str]| -> BTreeMap<String, Value> {
        (1..).zip(names).map(|(id, name)| (id.to_string(), json!({ "id": id, "name": name }))).collect()
    };
    assert_eq!(world.documents("narrow"), expected(&["far", "gone far", "far"]));
    assert_eq!(letters(), Vec::<Value>::new());

    // Another stream that reads the column has its letters, and this one none of them.
    world.config(&format!("streams: [{narrow}, {{ name: whole, from: public.t }}, {{ name: picky, from: public.t, columns: [id, name], where: \"10 / (id - 5) < 99\" }}]"));
    world.catch_up();
    world.sql.run(&format!(
        "INSERT INTO t VALUES (4, 'far', '{FAR}'), (5, 'near', NULL); UPDATE t SET name = 'far away' WHERE id = 1"
    ));
    world.catch_up();
    assert_eq!(world.documents("narrow"), expected(&["far away", "gone far", "far", "far", "near"]));
    assert_eq!(world.documents("whole").into_keys().collect::<Vec<_>>(), ["5"]);
    let found = letters();
    assert!(found.iter().all(|letter| letter["stream"] != "narrow"), "{found:?}");
    // A letter holds what its stream reads.
    let of_picky = found.iter().find(|letter| letter["stream"] == "picky").expect("10 / 0 is refused");
    let letter = world.tidemill(&["dead-letters", "show", &of_picky["id"].to_string(), "--json"]).succeeded().stdout;
    assert!(letter.contains("near") && !letter.contains("\\\"at\\\"") && !letter.contains("\"at\""), "{letter}");
    world.drop_slot();
}

#[test]
fn a_column_that_is_added_under_way() {
    let world = World::new("needed_added");
    world.sql.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, hidden text); INSERT INTO t SELECT n, 'a', 'b' FROM generate_series(1, 5) n",
    );
    let config = |columns: &str| {
        world.config(&format!(
            "streams: [{{ name: narrow, from: public.t, columns: [{columns}] }}, {{ name: whole, from: public.t }}]"
        ));
    };
    config("id, name");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run("UPDATE t SET name = 'c' WHERE id = 1");
    world.sql.run("ALTER TABLE t ADD added text DEFAULT 'later'");
    world.sql.run("UPDATE t SET name = 'd' WHERE id = 2; INSERT INTO t VALUES (6, 'e', 'f', 'g')");
    world.sql.run("ALTER TABLE t DROP hidden");
    world.sql.run("UPDATE t SET name = 'h' WHERE id = 3; DELETE FROM t WHERE id = 4");
    world.await_documents("whole", |documents| {
        documents.get("6") == Some(&json!({ "id": 6, "name": "e", "hidden": "f", "added": "g" }))
            && documents["3"] == json!({ "id": 3, "name": "h", "added": "later" })
            && !documents.contains_key("4")
    });
    world.await_documents("narrow", |documents| {
        let names: Vec<_> = documents.values().map(|document| document["name"].as_str().unwrap_or_default()).collect();
        names == ["c", "d", "h", "a", "e"] && documents["6"] == json!({ "id": 6, "name": "e" })
    });
    assert_eq!(engine.stop(), 0);
    config("id, added");
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    world.sql.run("UPDATE t SET added = 'shown' WHERE id = 5");
    world.catch_up();
    let added: Vec<_> = world.documents("narrow").into_values().map(|document| document["added"].clone()).collect();
    assert_eq!(added, ["later", "later", "later", "shown", "g"]);
    world.drop_slot();
}

/// Nobody misses it, so the source neither decodes it nor asks for it: seen by the session that reads rows again.
#[test]
fn a_large_value_that_nobody_reads_is_not_read_again() {
    let world = World::new("needed_again");
    for table in ["t", "u"] {
        world.sql.run(&format!(
            "CREATE TABLE {table} (id int PRIMARY KEY, n int, body text); ALTER TABLE {table} ALTER body SET STORAGE EXTERNAL;
             INSERT INTO {table} VALUES (1, 1, repeat('read me ', 1000))"
        ));
    }
    world.config(
        "streams: [{ name: t, from: public.t, columns: [id, n] }, { name: n, from: public.t, columns: [n] },
           { name: u, from: public.u, columns: [n, body] }]",
    );
    world.catch_up();
    let mut engine = world.start();
    engine.await_log("streaming");
    let begin = world.sql.one("SELECT clock_timestamp()::text");
    let read_again = || {
        world.sql.one(&format!(
            "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
               AND query = 'COMMIT' AND query_start > '{begin}'"
        ))
    };
    world.sql.run("UPDATE t SET n = 2");
    for stream in ["t", "n"] {
        world.await_documents(stream, |documents| documents["1"]["n"] == 2);
    }
    assert_eq!(read_again(), "0");
    world.sql.run("UPDATE u SET n = 2");
    world.await_documents("u", |documents| {
        documents["1"]["n"] == 2 && documents["1"]["body"].as_str().is_some_and(|body| body.len() == 8000)
    });
    assert_eq!(read_again(), "1");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}
