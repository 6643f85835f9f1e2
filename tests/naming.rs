//! Plugins that name documents, make several of a row, and write down what is known of its change: whatever the row becomes,
//! nothing of what it was is left.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{World, says};

/// A world with the splitter in it.
fn world(story: &str) -> World {
    let world = World::new(story);
    let splitter = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/splitter.wasm");
    world.file("splitter.wasm", fs::read(splitter).unwrap());
    world
}

fn stream(name: &str, config: &str, index: &str, more: &str) -> String {
    format!(
        "streams:\n  - name: {name}\n    from: public.{name}\n    stages: [{{ plugin: splitter.wasm, config: {config}, \
         grants: {{ identity: {index} }} }}]\n{more}"
    )
}

/// `index/id` of each document, with one of its fields.
fn places(world: &World, indices: &[&str], field: &str) -> BTreeMap<String, Value> {
    let of_index = |index: &&str| {
        let documents = world.documents(index).into_iter();
        let index = (*index).to_owned();
        let field = field.to_owned();
        documents.map(move |(id, document)| (format!("{index}/{id}"), document[&field].clone()))
    };
    indices.iter().flat_map(of_index).collect()
}

#[track_caller]
fn holds(world: &World, indices: &[&str], expected: &[(&str, i64)]) {
    let expected: BTreeMap<String, Value> =
        expected.iter().map(|(place, id)| ((*place).to_owned(), json!(id))).collect();
    assert_eq!(places(world, indices, "id"), expected);
}

#[test]
fn what_is_known_of_a_change_is_in_its_document() {
    let world = world("provenance");
    world.sql.run(
        "CREATE TABLE notes (id bigint PRIMARY KEY, name text); INSERT INTO notes VALUES (1, 'there'), (2, 'there')",
    );
    world.sql.run("ALTER TABLE notes REPLICA IDENTITY FULL");
    let stages = "streams: [{ name: notes, from: public.notes, stages: [{ plugin: splitter.wasm, config: { provenance: true, old: [name] } }] }]";
    world.config(stages);
    world.catch_up();
    world.sql.run("INSERT INTO notes VALUES (3, 'new'); UPDATE notes SET name = 'changed' WHERE id = 2");
    world.catch_up();
    let documents = world.documents("notes");
    let of = |id: &str, field: &str| documents[id][field].clone();
    assert_eq!(["1", "2", "3"].map(|id| of(id, "change_op")), ["read", "update", "insert"]);
    assert_eq!(["1", "2", "3"].map(|id| of(id, "seen_op")), ["read", "update", "insert"]);
    assert_eq!(["1", "2", "3"].map(|id| of(id, "old_name")), [Value::Null, json!("there"), Value::Null]);
    assert_eq!((of("1", "change_time"), of("1", "change_table")), (Value::Null, json!("notes")));
    assert!(of("3", "change_time").as_str().is_some_and(|time| time.starts_with("20")), "{documents:?}");
    assert!(documents.values().all(|document| document["change_lsn"].as_str().unwrap().contains('/')));
    let (_, mapping) = world.http().call("GET", "/notes/_mapping", None);
    let properties = &mapping["notes"]["mappings"]["properties"];
    for (field, of) in
        [("change_op", "keyword"), ("change_lsn", "keyword"), ("change_time", "date"), ("old_name", "text")]
    {
        assert_eq!(properties[field]["type"], of, "{field}");
    }
    world.drop_slot();
}

#[test]
fn a_plugin_may_write_the_whole_document() {
    let world = World::new("whole_documents");
    let hostile = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", fs::read(hostile).unwrap());
    world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'a'), (2, 'b')");
    world.config(
        "streams: [{ name: items, from: public.items, stages: [{ plugin: hostile.wasm, config: { misdeed: document-honest } }] }]",
    );
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    world.sql.run("UPDATE items SET id = 3 WHERE id = 2");
    world.catch_up();
    let documents = world.documents("items");
    assert_eq!(
        documents.into_iter().collect::<Vec<_>>(),
        [("1".to_owned(), json!({ "whole": 1 })), ("3".to_owned(), json!({ "whole": 3 }))]
    );
    world.drop_slot();
}

const PAGES: &str = "CREATE TABLE pages (id bigint PRIMARY KEY, kind text, slug text UNIQUE DEFERRABLE INITIALLY DEFERRED, shown boolean);
     INSERT INTO pages VALUES (1, 'blog', 'one', true), (2, 'blog', 'two', true), (3, 'shop', 'three', true), (4, 'shop', 'four', false)";
const NAMES: &str = "{ id: slug, index: kind, prefix: pages- }";

#[test]
fn documents_are_where_their_rows_say() {
    let world = world("named_by_rows");
    let indices = ["pages", "pages-blog", "pages-shop", "pages-news"];
    world.sql.run(PAGES);
    world.config(&stream("pages", NAMES, "{ index: pages-* }", "    where: shown\n"));
    // Names are made of columns that an update does not tell.
    let refused = world.tidemill(&["check"]);
    refused.refused(
        1,
        &["names its documents by more than the key", "ALTER TABLE \"public\".\"pages\" REPLICA IDENTITY FULL;"],
    );
    world.sql.run("ALTER TABLE pages REPLICA IDENTITY FULL");
    let checked = world.tidemill(&["check"]).succeeded();
    assert!(says(&checked.stdout, "a stage gives each document its id and index"), "{}", checked.stdout);
    assert!(says(&checked.stdout, "two rows that it gives one `_id` overwrite each other"), "{}", checked.stdout);
    world.catch_up();
    holds(&world, &indices, &[("pages-blog/one", 1), ("pages-blog/two", 2), ("pages-shop/three", 3)]);
    // The index that rows named was made with the mapping that was proposed.
    let (_, mapping) = world.http().call("GET", "/pages-blog/_mapping", None);
    assert_eq!(mapping["pages-blog"]["mappings"]["properties"]["shown"]["type"], "boolean");

    // Another id, another index, a row that leaves the filter, one that comes to it, one that goes.
    world.sql.run(
        "UPDATE pages SET slug = 'first' WHERE id = 1; UPDATE pages SET kind = 'news' WHERE id = 2;
         UPDATE pages SET shown = false WHERE id = 3; UPDATE pages SET shown = true WHERE id = 4",
    );
    world.catch_up();
    holds(&world, &indices, &[("pages-blog/first", 1), ("pages-news/two", 2), ("pages-shop/four", 4)]);
    // Rows that trade names.
    world.sql.run(
        "INSERT INTO pages VALUES (5, 'blog', 'five', true);
         BEGIN; UPDATE pages SET slug = 'five' WHERE id = 1; UPDATE pages SET slug = 'first' WHERE id = 5; COMMIT",
    );
    world.catch_up();
    let traded = [("pages-blog/five", 1), ("pages-blog/first", 5), ("pages-news/two", 2), ("pages-shop/four", 4)];
    holds(&world, &indices, &traded);
    world.sql.run("DELETE FROM pages WHERE id IN (2, 4)");
    world.catch_up();
    holds(&world, &indices, &traded[..2]);

    // Another plan: what no longer belongs goes from every index that rows named before.
    world.sql.run("INSERT INTO pages VALUES (6, 'news', 'six', true)");
    world.catch_up();
    world.config(&stream("pages", NAMES, "{ index: pages-* }", "    where: shown and id > 5\n"));
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    holds(&world, &indices, &[("pages-news/six", 6)]);
    world.sql.run("TRUNCATE pages; INSERT INTO pages VALUES (7, 'shop', 'seven', true)");
    world.catch_up();
    holds(&world, &indices, &[("pages-shop/seven", 7)]);
    // The configured index has nothing to do with it.
    assert_eq!(world.http().call("GET", "/pages", None).0, 404);
    world.drop_slot();
}

#[test]
fn one_row_in_several_documents() {
    let world = world("fan_out");
    world.sql.run(
        "CREATE TABLE posts (id bigint PRIMARY KEY, tags text, body text); ALTER TABLE posts REPLICA IDENTITY FULL;
         ALTER TABLE posts ALTER body SET STORAGE EXTERNAL;
         INSERT INTO posts VALUES (1, 'a,b', repeat('long ', 2000)), (2, 'c', 'short'), (3, '', 'none')",
    );
    world.config(&stream("posts", "{ split: tags }", "{}", ""));
    world.catch_up();
    holds(&world, &["posts"], &[("posts/1-a", 1), ("posts/1-b", 1), ("posts/2-c", 2)]);
    world.sql.run(
        "UPDATE posts SET tags = 'b,c,d' WHERE id = 1; UPDATE posts SET id = 4 WHERE id = 2; UPDATE posts SET tags = 'x' WHERE id = 3;
         INSERT INTO posts VALUES (5, 'e,f', 'gone soon'); DELETE FROM posts WHERE id = 5",
    );
    world.catch_up();
    let grown = [("posts/1-b", 1), ("posts/1-c", 1), ("posts/1-d", 1), ("posts/3-x", 3), ("posts/4-c", 4)];
    holds(&world, &["posts"], &grown);
    // The large value did not change, and is in each of them.
    let documents = world.documents("posts");
    assert!(["1-b", "1-c", "1-d"].iter().all(|id| documents[*id]["body"].as_str().unwrap().len() == 10_000));
    assert_eq!((&documents["1-d"]["part"], &documents["1-d"]["_id"]), (&json!("d"), &Value::Null));
    world.sql.run("UPDATE posts SET tags = '' WHERE id = 1; DELETE FROM posts WHERE id = 4; UPDATE posts SET tags = 'y,y' WHERE id = 3");
    world.catch_up();
    // Two documents of one name are none: the row is a dead letter, and leaves what it was called before.
    holds(&world, &["posts"], &[]);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    assert!(letters.to_string().contains("several_documents"), "{letters}");
    world.drop_slot();
}

/// Its letter knows all of its names, so that a backfill sweeps none of them.
#[test]
fn a_row_that_is_refused_keeps_all_of_its_documents() {
    let world = world("fan_out_refused");
    world.sql.run(
        "CREATE TABLE posts (id bigint PRIMARY KEY, tags text, n bigint); ALTER TABLE posts REPLICA IDENTITY FULL;
         INSERT INTO posts VALUES (1, 'a,b,c', 1), (2, 'd,e', 2)",
    );
    let config = |more: &str| world.config(&stream("posts", "{ split: tags }", "{}", more));
    config("");
    world.catch_up();
    let all = [("posts/1-a", 1), ("posts/1-b", 1), ("posts/1-c", 1), ("posts/2-d", 2), ("posts/2-e", 2)];
    holds(&world, &["posts"], &all);
    config("    where: 10 / (n - 1) > 0\n");
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    holds(&world, &["posts"], &all);
    let letters = || {
        let list = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
        list["dead_letters"].as_array().unwrap().clone()
    };
    let letter = &letters()[0];
    assert_eq!((&letter["key"], &letter["error_type"]), (&json!("1-a"), &json!("22012")), "{letter}");
    assert_eq!(letter["also"], json!([{ "index": "posts", "key": "1-b" }, { "index": "posts", "key": "1-c" }]));
    let shown = world.tidemill(&["dead-letters", "show", &letter["id"].to_string()]).succeeded().stdout;
    assert!(shown.contains("posts/1-a") && shown.contains("posts/1-b, posts/1-c"), "{shown}");
    world.sql.run("UPDATE posts SET n = 3, tags = 'c,d' WHERE id = 1");
    world.catch_up();
    holds(&world, &["posts"], &[("posts/1-c", 1), ("posts/1-d", 1), ("posts/2-d", 2), ("posts/2-e", 2)]);
    assert!(letters().is_empty(), "{:?}", letters());
    world.drop_slot();
}

#[test]
fn names_of_the_key_need_no_whole_old_row() {
    let world = world("named_by_key");
    world.sql.run("CREATE TABLE things (id bigint PRIMARY KEY, name text); INSERT INTO things VALUES (1, 'a'), (2, 'b'), (3, 'c')");
    world.config(&stream("things", "{ copies: 2, naming: key }", "{}", "    where: name <> 'hidden'\n"));
    world.catch_up();
    world.sql.run(
        "UPDATE things SET name = 'changed' WHERE id = 1; UPDATE things SET id = 4 WHERE id = 2; DELETE FROM things WHERE id = 3",
    );
    world.catch_up();
    holds(&world, &["things"], &[("things/1-0", 1), ("things/1-1", 1), ("things/4-0", 4), ("things/4-1", 4)]);
    assert_eq!(places(&world, &["things"], "name")["things/1-1"], "changed");
    world
        .sql
        .run("UPDATE things SET name = 'hidden' WHERE id = 1; UPDATE things SET id = 5, name = 'hidden' WHERE id = 4");
    world.catch_up();
    holds(&world, &["things"], &[]);
    world.drop_slot();
}

#[test]
fn names_that_cannot_be_are_dead_letters() {
    let world = world("bad_names");
    world.sql.run(
        "CREATE TABLE pages (id bigint PRIMARY KEY, kind text, slug text); ALTER TABLE pages REPLICA IDENTITY FULL;
         INSERT INTO pages VALUES (1, 'blog', 'one'), (2, 'blog', 'same'), (3, 'blog', 'same'), (4, 'blog', NULL), (5, 'blog', ''),
                                  (6, 'blog', repeat('x', 600)), (7, 'BLOG', 'seven'), (8, 'a b', 'eight'), (9, NULL, 'nine')",
    );
    world.config(&stream("pages", NAMES, "{ index: pages-b* }", ""));
    world.catch_up();
    holds(&world, &["pages-blog"], &[("pages-blog/one", 1)]);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json().to_string();
    for (code, count) in [
        ("name_taken", 2),
        ("id_null", 1),
        ("id_empty", 1),
        ("id_too_long", 1),
        ("index_illegal", 2),
        ("index_null", 1),
    ] {
        assert_eq!(letters.matches(&format!("\"{code}\"")).count(), count, "{code}: {letters}");
    }
    // What another name of it would touch stays untouched: no index but those that were granted.
    world.sql.run("INSERT INTO pages VALUES (10, 'shop', 'ten'); UPDATE pages SET kind = 'shop' WHERE id = 1");
    world.catch_up();
    holds(&world, &["pages-blog", "pages-shop"], &[]);
    assert_eq!(world.http().call("GET", "/pages-shop", None).0, 404);
    world.drop_slot();
}

#[test]
fn what_may_be_another_streams_index_is_refused() {
    let world = world("named_twice");
    world.sql.run(&format!("{PAGES}; ALTER TABLE pages REPLICA IDENTITY FULL; CREATE TABLE other (id bigint PRIMARY KEY, kind text, slug text)"));
    world.sql.run("ALTER TABLE other REPLICA IDENTITY FULL");
    let pages = stream("pages", NAMES, "{ index: pages-* }", "");
    world.config(&format!("{pages}  - {{ name: other, from: public.other, index: pages-other }}"));
    world
        .tidemill(&["check"])
        .refused(1, &["`pages-other` and `pages-*`", "grant indices that nothing else writes to"]);
    let both = pages.replace("from: public.pages", "from: [public.pages, public.other]");
    world.config(&both);
    world.tidemill(&["check"]).refused(1, &["several tables write to `pages-*`", "a stream of its own"]);
    world.config(&stream("pages", NAMES, "{}", ""));
    world.tidemill(&["check"]).refused(1, &["does not say which indices it may name", "index: \"logs-*\""]);
    world.config(&pages.replace("grants: { identity: { index: pages-* } }", "grants: {}"));
    world.tidemill(&["check"]).refused(1, &["`_id`, which says where a document goes", "grants: { identity: {} }"]);
}

#[test]
fn an_index_that_a_row_names_and_that_may_not_be_made_pauses_the_stream() {
    let world = world("named_missing");
    world.sql.run(PAGES);
    world.sql.run("ALTER TABLE pages REPLICA IDENTITY FULL; DELETE FROM pages WHERE kind = 'shop'");
    world.config(&stream("pages", NAMES, "{ index: pages-* }", "    create: false\n"));
    assert_eq!(world.http().call("PUT", "/pages-blog", Some(&json!({}))).0, 200);
    let mut engine = world.start();
    world.await_documents("pages-blog", |documents| documents.len() == 2);
    world.sql.run("INSERT INTO pages VALUES (9, 'news', 'nine', true)");
    engine.await_log("index `pages-news` is not there, and `create: false` says not to make it");
    assert_eq!(world.http().call("PUT", "/pages-news", Some(&json!({}))).0, 200);
    world.tidemill(&["resume", "pages"]).succeeded();
    world.await_documents("pages-news", |documents| documents.len() == 1);
    // It is watched like any other.
    assert_eq!(world.http().call("DELETE", "/pages-news", None).0, 200);
    engine.await_log("index `pages-news` is gone");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}
