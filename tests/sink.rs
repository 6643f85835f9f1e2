//! What a sink may do to a running engine, and how it is asked: an index that goes, secrets that change, compressed requests.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::items::{ITEMS, items};
use crate::harness::scripted::{Answer, ScriptedSink};
use crate::harness::search_server::free_port;
use crate::harness::{Outcome, PATIENCE, Stall, World, await_some, says};

/// The first stream of `status`, once it is as it should be.
#[track_caller]
fn await_stream(world: &World, right: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = await_some(PATIENCE, || {
        let outcome = world.tidemill(&["status", "--json"]);
        last = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        right(&last["streams"][0]).then(|| last["streams"][0].clone())
    });
    found.unwrap_or_else(|| panic!("never so: {last}"))
}

/// The server makes it again with the next document, empty and with a mapping of its own.
#[test]
fn an_index_that_is_deleted_while_the_stream_runs() {
    let world = items("index_deleted", 3);
    let mut engine = world.start();
    world.await_documents("items", |documents| documents.len() == 3);
    let mapping = || world.http().call("GET", "/items/_mapping", None).1["items"]["mappings"].clone();
    let right = mapping();
    assert_eq!(world.http().call("DELETE", "/items", None).0, 200);
    world.sql.run("INSERT INTO items VALUES (4, 'after')");
    world.await_documents("items", |documents| documents.keys().eq(["4"]));
    engine.await_log("stream paused");
    let stream = await_stream(&world, |stream| stream["state"] == "paused");
    let reason = stream["reason"].as_str().unwrap_or_default();
    for word in ["index `items`", "tidemill backfill items", "tidemill resume items"] {
        assert!(says(reason, word), "{reason}");
    }
    // Neither a resume alone nor a new start takes it for what it was.
    world.tidemill(&["resume", "items"]).succeeded();
    await_stream(&world, |stream| stream["state"] == "paused");
    assert_eq!(engine.stop(), 0);
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["index `items`", "tidemill backfill items"]);

    let mut engine = world.start();
    engine.await_log("stream paused");
    world.sql.run("DELETE FROM items WHERE id = 1; UPDATE items SET name = 'second' WHERE id = 2");
    assert_eq!(world.http().call("DELETE", "/items", None).0, 200);
    world.tidemill(&["backfill", "items"]).succeeded();
    world.tidemill(&["resume", "items"]).succeeded();
    world.await_documents("items", |documents| documents.len() == 3 && documents["2"]["name"] == "second");
    assert_eq!(mapping(), right);
    world.sql.run("INSERT INTO items VALUES (5, 'and on')");
    world.await_documents("items", |documents| documents.keys().eq(["2", "3", "4", "5"]));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn requests_are_compressed_where_that_is_asked_for() {
    let world = items("gzip", 500);
    let (compressed, plain) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (yes, no) = (Arc::clone(&compressed), Arc::clone(&plain));
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        if request.is_bulk() {
            let is_gzip = request.header("content-encoding") == Some("gzip") && request.body.starts_with(&[0x1f, 0x8b]);
            // 500 documents are 50 KB of lines.
            let counter = if is_gzip && request.body.len() < 20_000 { &yes } else { &no };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        None
    });
    let source = format!("url: {}", world.url());
    world.config_with(&source, &format!("url: {}\ngzip: true", sink.url), ITEMS);
    world.catch_up();
    assert_eq!(world.documents("items").len(), 500);
    assert!(compressed.load(Ordering::SeqCst) > 0 && plain.load(Ordering::SeqCst) == 0);

    world.config_with(&source, &format!("url: {}", sink.url), ITEMS);
    world.sql.run("INSERT INTO items VALUES (501, 'plain')");
    world.catch_up();
    assert!(plain.load(Ordering::SeqCst) > 0);
    world.drop_slot();
}

/// The proxy that the environment names is for what is beyond this machine, and what it may see of that is its own matter.
#[test]
fn a_proxy_of_the_environment() {
    let world = items("proxied", 3);
    let run = |proxy: &str| {
        let mut command = world.command(&["run", "--until-caught-up"]);
        for name in ["NO_PROXY", "no_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command.env("HTTP_PROXY", proxy).env("http_proxy", proxy);
        Outcome::of(command)
    };
    // Nothing listens there.
    run("http://127.0.0.1:9").succeeded();
    assert_eq!(world.documents("items").len(), 3);

    let proxied = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&proxied);
    let proxy = ScriptedSink::before(&world.index.url, move |request| {
        assert_eq!(request.header("host"), Some("search.example:9200"));
        count.fetch_add(1, Ordering::SeqCst);
        None
    });
    world.config_with(&format!("url: {}", world.url()), "url: http://search.example:9200", ITEMS);
    world.sql.run("INSERT INTO items VALUES (4, 'by the proxy')");
    run(&proxy.url).succeeded();
    assert_eq!(world.documents("items").len(), 4);
    assert!(proxied.load(Ordering::SeqCst) > 0);
    world.drop_slot();
}

/// One takes connections and says nothing, one is there and does not work, one works.
#[test]
fn a_node_that_works_is_found() {
    let world = items("nodes", 3);
    // Its connections are made by the kernel, and nobody answers them.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mute_url = format!("http://{}", mute.local_addr().expect("bound"));
    let sick = ScriptedSink::before(&world.index.url, |_| {
        Some(Answer::json(503, &json!({ "error": { "type": "cluster_block_exception" }, "status": 503 })))
    });
    let sink = format!("urls: [\"{mute_url}\", \"{}\", \"{}\"]\ntimeout: 1s", sick.url, world.index.url);
    world.config_with(&format!("url: {}", world.url()), &sink, ITEMS);
    world.catch_up();
    assert_eq!(world.documents("items").len(), 3);
    world.drop_slot();
}

/// A sink that starts again between two pages has lost the scroll; one that lost a shard gives a part of the ids.
#[test]
fn a_truncate_whose_search_is_cut_off_begins_again() {
    let world = items("scroll", 3);
    let (parts, losses) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (part, lost) = (Arc::clone(&parts), Arc::clone(&losses));
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        if request.path == "/_search/scroll" && lost.fetch_add(1, Ordering::SeqCst) == 0 {
            let error = json!({ "type": "search_context_missing_exception", "reason": "No search context found" });
            return Some(Answer::json(404, &json!({ "error": error, "status": 404 })));
        }
        if request.path.contains("scroll=5m") && part.fetch_add(1, Ordering::SeqCst) == 0 {
            let shards = json!({ "total": 2, "successful": 1, "skipped": 0, "failed": 1 });
            return Some(Answer::json(
                200,
                &json!({ "_scroll_id": "part", "_shards": shards, "hits": { "hits": [] } }),
            ));
        }
        None
    });
    world.config_to(&sink.url, ITEMS);
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("items", |documents| documents.len() == 3);
    world.sql.run("TRUNCATE items; INSERT INTO items VALUES (4, 'after')");
    world.await_documents("items", |documents| documents.keys().eq(["4"]));
    assert!(parts.load(Ordering::SeqCst) > 1 && losses.load(Ordering::SeqCst) > 1);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// A key that was renewed in its file is taken up without an end of the engine.
#[test]
fn a_secret_that_changes_in_its_file() {
    let world = items("rotated", 1);
    let renewed = Arc::new(AtomicBool::new(false));
    let is_renewed = Arc::clone(&renewed);
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        let right = if is_renewed.load(Ordering::SeqCst) { "ApiKey second" } else { "ApiKey first" };
        let error = json!({ "type": "security_exception", "reason": "unable to authenticate" });
        (request.header("authorization") != Some(right))
            .then(|| Answer::json(401, &json!({ "error": error, "status": 401 })))
    });
    world.file("key", "first\n");
    let auth = format!("url: {}\nauth: {{ api_key: {{ file: key }} }}", sink.url);
    world.config_with(&format!("url: {}", world.url()), &auth, ITEMS);
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("items", |documents| documents.len() == 1);
    world.file("key", "second\n");
    renewed.store(true, Ordering::SeqCst);
    world.sql.run("INSERT INTO items VALUES (2, 'after')");
    world.await_documents("items", |documents| documents.len() == 2);

    // One that the file does not have either pauses the stream.
    world.file("key", "third\n");
    world.sql.run("INSERT INTO items VALUES (3, 'more')");
    world.await_documents("items", |documents| documents.len() == 3);
    renewed.store(false, Ordering::SeqCst);
    world.sql.run("INSERT INTO items VALUES (4, 'last')");
    let stream = await_stream(&world, |stream| stream["state"] == "paused");
    assert!(says(stream["reason"].as_str().unwrap_or_default(), "credentials"), "{stream}");
    assert!(!engine.log().contains("second") && !engine.log().contains("third"), "{}", engine.log());
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// It takes connections and says nothing: what is waited for is told all the same.
#[test]
fn a_stream_says_what_it_waits_for_from_the_first() {
    let world = items("mute", 1);
    let stall = Stall::before(world.index.address());
    stall.hold(true);
    world.config_to(&format!("http://{}", stall.address), ITEMS);
    let mut engine = world.start();
    stall.await_held();
    engine.await_log("backfill begins");
    let stream = await_stream(&world, |stream| stream["name"] == "items");
    let reason = stream["reason"].as_str().unwrap_or_default();
    assert!(stream["state"] == "waiting" && says(reason, "sink `main`"), "{stream}");
    assert_eq!(world.tidemill(&["pause", "items"]).code, 0);
    await_stream(&world, |stream| stream["state"] == "paused");
    stall.hold(false);
    world.tidemill(&["resume", "items"]).succeeded();
    world.await_documents("items", |documents| documents.len() == 1);
    await_stream(&world, |stream| stream["state"] == "streaming" && stream["reason"].is_null());
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// As `PUT index` takes it, with settings beside the mapping; or the mapping alone.
#[test]
fn a_mapping_with_settings() {
    let world = items("mapping", 1);
    let mapping = json!({ "properties": { "name": { "type": "keyword" } } });
    let settings = json!({ "index": { "refresh_interval": "7s" } });
    world.file("whole.json", json!({ "settings": settings, "mappings": mapping }).to_string());
    world.file("bare.json", mapping.to_string());
    world.file("other.json", json!({ "mappings": mapping, "alias": {} }).to_string());
    let of =
        |index: &str, file: &str| format!("{{ name: {index}, from: public.items, index: {index}, mapping: {file} }}");
    world.config(&format!("streams: [{}]", of("other", "other.json")));
    world.tidemill(&["check"]).refused(1, &["other.json", "alias", "mappings"]);
    world.config(&format!("streams: [{}, {}]", of("whole", "whole.json"), of("bare", "bare.json")));
    world.catch_up();
    for index in ["whole", "bare"] {
        let (_, found) = world.http().call("GET", &format!("/{index}"), None);
        let found = &found[index];
        assert_eq!(found["mappings"]["properties"]["name"], json!({ "type": "keyword" }), "{found}");
        assert_eq!(found["mappings"]["_meta"]["tidemill"]["stream"], json!(index), "{found}");
        let settings = &found["settings"]["index"];
        assert_eq!(settings["gc_deletes"], json!("1h"), "{found}");
        assert_eq!(settings["refresh_interval"], if index == "whole" { json!("7s") } else { Value::Null }, "{found}");
    }
    world.drop_slot();
}

/// One that was there keeps its settings, so that `check` says what they mean, and what sets them right.
#[test]
fn an_index_that_soon_forgets_what_was_deleted() {
    let world = items("forgets", 1);
    let warning = || {
        let check = world.tidemill(&["check"]).succeeded();
        check.stdout.lines().find(|line| line.starts_with("! stream items")).map(str::to_owned)
    };
    assert_eq!(warning(), None);
    let set = |gc_deletes: &str| {
        let settings = json!({ "index": { "gc_deletes": gc_deletes } });
        assert_eq!(world.http().call("PUT", "/items/_settings", Some(&settings)).0, 200);
    };
    assert_eq!(world.http().call("PUT", "/items", Some(&json!({}))).0, 200);
    let found = warning().expect("a minute is the default");
    for word in ["`items`", "60s", "PUT /items/_settings", r#"{"index":{"gc_deletes":"1h"}}"#] {
        assert!(says(&found, word), "{found}");
    }
    set("9m");
    assert!(warning().is_some());
    set("10m");
    assert_eq!(warning(), None);
    world.drop_slot();
}

/// Rows that plugins refuse, rows that cannot be sent, documents that the server refuses: all of them count.
#[test]
fn too_many_rejects_pause_the_stream() {
    let world = World::new("rejects");
    world.sql.run(
        "CREATE TABLE refused (id bigint PRIMARY KEY, n text); INSERT INTO refused SELECT n, 'x' FROM generate_series(1, 30) n;
         CREATE TABLE rejected (id bigint PRIMARY KEY); INSERT INTO rejected SELECT n FROM generate_series(1, 30) n;
         CREATE TABLE few (id bigint PRIMARY KEY, n text);
         INSERT INTO few SELECT n, CASE WHEN n > 27 THEN 'x' ELSE '1' END FROM generate_series(1, 30) n",
    );
    world.file("mapping.json", r#"{ "properties": { "n": { "type": "integer" } } }"#);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    let ids: Vec<String> = (1..=20).map(|id: u32| id.to_string()).collect();
    let ids = ids.join(", ");
    world.config(&format!(
        "defaults: {{ rejects: {{ ratio: 0.2, of: 20 }} }}
streams:
  - {{ name: refused, from: public.refused, index: refused, mapping: mapping.json }}
  - {{ name: few, from: public.few, index: few, mapping: mapping.json }}
  - name: rejected
    from: public.rejected
    index: rejected
    stages: [{{ plugin: hostile.wasm, config: {{ misdeed: reject, rows: [{ids}] }} }}]"
    ));
    let outcome = world.tidemill(&["run", "--until-caught-up"]);
    outcome.refused(1, &["`refused` is paused", "`rejected` is paused", "rejects.ratio", "tidemill dead-letters"]);
    outcome.refused(1, &["rows were rejected (20 by stage `hostile.wasm`), more than `rejects.ratio` 0.2 allows"]);
    assert!(!outcome.stderr.contains("stream `few` is paused"), "{outcome}");
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(30 + 3 + 20));
    world.drop_slot();
}

/// The slot holds more than was allowed: that is said, and nothing is lost.
#[test]
fn more_wal_is_held_than_was_allowed() {
    let world = items("wal_keep", 1);
    world.config_with(
        &format!("url: {}\nwal: {{ keep: 1MiB, then: hold }}", world.url()),
        &format!("url: {}", world.index.url),
        ITEMS,
    );
    let mut engine = world.start();
    engine.await_log("streaming");
    world.tidemill(&["pause", "items"]).succeeded();
    world.sql.run("INSERT INTO items SELECT n, repeat('x', 1000) FROM generate_series(2, 3000) n");
    engine.await_log("source.wal.keep");
    world.tidemill(&["resume", "items"]).succeeded();
    world.await_documents("items", |documents| documents.len() == 3000);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// A sink that takes a request and does not answer: no event tells of it, only the time.
#[test]
fn a_stream_that_lags_is_not_ready() {
    let world = items("ready", 1);
    let stall = Stall::before(world.index.address());
    let port = free_port();
    let streams = format!("{ITEMS}\nhttp: {{ listen: \"127.0.0.1:{port}\" }}\nready: {{ lag: 1s }}");
    world.config_to(&format!("http://{}", stall.address), &streams);
    let engine = world.start();
    let probe = Http::open(&format!("http://127.0.0.1:{port}"));
    let page = |path: &str| {
        let (status, body) = probe.try_call("GET", path, None).unwrap_or_default();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let await_page = |path: &str, right: &dyn Fn(&(u16, String)) -> bool| {
        let found = await_some(PATIENCE, || Some(page(path)).filter(right));
        assert!(found.is_some(), "{path}: {:?}", page(path));
    };
    await_page("/readyz", &|(status, _)| *status == 200);
    stall.hold(true);
    world.sql.run("INSERT INTO items VALUES (2, 'held')");
    stall.await_held();
    let start = Instant::now();
    await_page("/readyz", &|(status, text)| *status == 503 && says(text, "`items` is more than 1 s behind"));
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    let lag = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("tidemill_stream_lag_seconds{"))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    await_page("/metrics", &|(_, text)| lag(text).is_some_and(|lag| lag > 1.0));
    stall.hold(false);
    await_page("/readyz", &|(status, _)| *status == 200);
    await_page("/metrics", &|(_, text)| lag(text) == Some(0.0));
    assert!(page("/metrics").1.contains("tidemill_source_transactions_total 1\n"), "{}", page("/metrics").1);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}
