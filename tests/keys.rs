//! Keys of the configuration that say how documents go out: each does what it says, from the file to the wire.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::scripted::{Answer, ScriptedSink};
use crate::harness::search_server::free_port;
use crate::harness::tls::Authority;
use crate::harness::{Stall, World};

#[test]
fn what_a_stream_says_of_its_documents() {
    let world = World::new("keys");
    world.sql.run(
        "CREATE TABLE t (id text PRIMARY KEY, tenant text NOT NULL, price numeric, rate float8); ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES ('1', 'a', 12345678901234567890.5, 'NaN'), ('2', 'b', 1, 2.5), (repeat('long ', 200), 'c', 2, 'Infinity')",
    );
    let bulks = Arc::new(Mutex::new(Vec::<String>::new()));
    let seen = Arc::clone(&bulks);
    // The embedded index has no ingest pipelines.
    let sink = ScriptedSink::before(&world.index.url, move |request| {
        if !request.is_bulk() {
            return None;
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let items: Vec<_> = (0..body.lines().count() / 2).map(|_| json!({ "index": { "status": 201 } })).collect();
        seen.lock().expect("no panic while held").push(body);
        Some(Answer::json(200, &json!({ "errors": false, "items": items })))
    });
    world.config_with(
        &format!("url: {}", world.url()),
        &format!("url: {}", sink.url),
        "streams: [{ name: t, from: public.t, index: t, routing: \"{tenant}\", pipeline: embeddings, numbers: strings,
    nonfinite: \"null\", long_id: hash, batch: { documents: 2 } }]",
    );
    world.catch_up();
    let bulks = bulks.lock().expect("no panic while held");
    assert!(bulks.iter().all(|body| body.lines().count() <= 4), "{bulks:?}");
    let lines: Vec<Value> =
        bulks.iter().flat_map(|body| body.lines()).map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut documents: Vec<_> = lines.chunks(2).map(|pair| (&pair[0]["index"], &pair[1])).collect();
    documents.sort_by_key(|(action, _)| action["routing"].as_str());
    let [(first, one), (_, two), (long, three)] = documents[..] else { panic!("{documents:?}") };
    assert_eq!((&first["routing"], &first["pipeline"]), (&json!("a"), &json!("embeddings")));
    assert_eq!((&one["price"], &one["rate"]), (&json!("12345678901234567890.5"), &Value::Null));
    assert_eq!((&two["price"], &two["rate"]), (&json!("1"), &json!(2.5)));
    assert_eq!(three["rate"], Value::Null);
    assert!(long["_id"].as_str().is_some_and(|id| id.len() <= 512 && !id.contains(' ')), "{long}");
    world.drop_slot();
}

#[test]
fn what_does_not_fit_goes_to_the_dead_letters() {
    let world = World::new("keys_refuse");
    world.sql.run(
        "CREATE TABLE t (id text PRIMARY KEY, rate float8);
         INSERT INTO t VALUES ('1', 'NaN'), ('2', 2.5), (repeat('long ', 200), 1)",
    );
    world.config("streams: [{ name: t, from: public.t, index: t, nonfinite: dead-letter, long_id: refuse }]");
    world.catch_up();
    assert_eq!(world.documents("t").into_keys().collect::<Vec<_>>(), ["2"]);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(2), "{letters}");
    world.drop_slot();
}

#[test]
fn dead_letters_have_a_limit() {
    let world = World::new("letters_limit");
    world.sql.run(
        "CREATE TABLE a (id bigint PRIMARY KEY, n text); INSERT INTO a SELECT n, 'x' FROM generate_series(1, 6) n;
         CREATE TABLE b (id int PRIMARY KEY, n text); INSERT INTO b SELECT n, 'x' FROM generate_series(1, 6) n",
    );
    world.file("mapping.json", r#"{ "properties": { "n": { "type": "integer" } } }"#);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    world.config(
        "defaults: { mapping: mapping.json, dead_letters: { rows: 4 } }
streams:
  - { name: a, from: public.a, index: a }
  - { name: b, from: public.b, index: b, dead_letters: { then: drop-oldest } }
  - name: c
    from: public.a
    index: c
    dead_letters: { rows: 100, bytes: 10 }
    stages: [{ plugin: hostile.wasm, config: { misdeed: reject, rows: [1, 2, 3] } }]",
    );
    let outcome = world.tidemill(&["run", "--until-caught-up"]);
    let a = "its 6 dead letters are more than the 4 that `dead_letters.rows` allows";
    let c = "bytes of dead letters (3 by stage `hostile.wasm`) are more than the 10 that `dead_letters.bytes` allows";
    let raise = "retry or drop them or raise `dead_letters.bytes`, then `tidemill resume c`";
    outcome.refused(1, &["stream `a` is paused", a, "`tidemill resume a`", "stream `c` is paused", c, raise]);
    outcome.refused(1, &["oldest dead letters were dropped"]);
    assert!(!outcome.stderr.contains("stream `b` is paused"), "{outcome}");
    let count = |stream: &str| {
        let letters = world.tidemill(&["dead-letters", "list", "--stream", stream, "--json"]).json();
        letters["dead_letters"].as_array().map(Vec::len)
    };
    assert_eq!((count("a"), count("b")), (Some(6), Some(4)));
    world.drop_slot();
}

#[test]
fn one_of_several_nodes_is_enough() {
    let world = World::new("nodes");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)");
    let sink = format!("urls: [\"http://127.0.0.1:{}\", \"{}\"]", free_port(), world.index.url);
    world.config_with(&format!("url: {}", world.url()), &sink, "streams: [{ name: t, from: public.t, index: t }]");
    world.catch_up();
    assert_eq!(world.documents("t").len(), 10);
    world.drop_slot();
}

#[test]
fn a_request_has_its_time() {
    let world = World::new("timeout");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    let stall = Stall::before(world.index.address());
    let sink = format!("url: \"http://{}\"\ntimeout: 500ms", stall.address);
    world.config_with(&format!("url: {}", world.url()), &sink, "streams: [{ name: t, from: public.t, index: t }]");
    let mut engine = world.start();
    engine.await_log("streaming");
    stall.hold(true);
    let start = Instant::now();
    world.sql.run("INSERT INTO t VALUES (1)");
    engine.await_log("a request failed; it is sent again");
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    stall.hold(false);
    world.await_documents("t", |documents| documents.len() == 1);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn a_sink_that_asks_for_our_certificate() {
    let world = World::new("client_certificate");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let authority = Authority::make(world.dir.path());
    let address = authority.serve_known_before(world.index.address());
    let source = format!("url: {}", world.url());
    let streams = "streams: [{ name: t, from: public.t, index: t }]";
    world.config_with(&source, &format!("url: https://{address}\ntls: {{ ca: ca.pem }}"), streams);
    assert_eq!(world.tidemill(&["check"]).code, 1);
    let known = format!("url: https://{address}\ntls: {{ ca: ca.pem, cert: cert.pem, key: key.pem }}");
    world.config_with(&source, &known, streams);
    world.catch_up();
    assert_eq!(world.documents("t").len(), 1);
    world.drop_slot();
}

/// By the defaults this would take minutes, and the memory would suffice.
#[test]
fn a_plugin_has_its_limits() {
    let world = World::new("limits");
    world.sql.run(
        "CREATE TABLE slow (id bigint PRIMARY KEY); INSERT INTO slow SELECT generate_series(1, 9);
         CREATE TABLE large (id bigint PRIMARY KEY); INSERT INTO large SELECT generate_series(1, 9)",
    );
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    let stream = |name: &str, config: &str, limits: &str| {
        let stage = format!("{{ plugin: hostile.wasm, config: {{ rows: [7], {config} }}, limits: {{ {limits} }} }}");
        format!("{{ name: {name}, from: public.{name}, index: {name}, stages: [{stage}] }}")
    };
    let slow = stream("slow", "misdeed: loop", "deadline: 100ms");
    let large = stream("large", "misdeed: memory, amount: 100000000", "memory: 32MiB");
    world.config(&format!("streams: [{slow}, {large}]"));
    world.catch_up();
    assert_eq!((world.documents("slow").len(), world.documents("large").len()), (8, 8));
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).json();
    let letters = letters["dead_letters"].as_array().expect("a list");
    let mut refused: Vec<_> = letters.iter().map(|letter| letter["stream"].as_str().unwrap_or_default()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["large", "slow"], "{letters:?}");
    world.drop_slot();
}

#[test]
fn an_index_that_is_not_to_be_made() {
    let world = World::new("create");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    world.config("streams: [{ name: t, from: public.t, index: t, create: false }]");
    world.tidemill(&["check"]).refused(1, &["index `t`", "create"]);
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["index `t`", "create"]);
    assert_eq!(world.http().call("GET", "/t", None).0, 404, "it was not made");
    assert_eq!(world.http().call("PUT", "/t", Some(&json!({}))).0, 200);
    world.catch_up();
    assert_eq!(world.documents("t").len(), 1);
    world.drop_slot();
}

#[test]
fn a_sink_knows_us_by_any_credentials() {
    let world = World::new("auth");
    world.sql.run("CREATE TABLE t (id int PRIMARY KEY)");
    // `tidemill:secret` and `id:secret`, encoded.
    for (auth, header) in [
        ("{ basic: { user: tidemill, password: secret } }", "Basic dGlkZW1pbGw6c2VjcmV0"),
        ("{ bearer: token }", "Bearer token"),
        ("{ api_key: \"id:secret\" }", "ApiKey aWQ6c2VjcmV0"),
        ("{ api_key: aWQ6c2VjcmV0 }", "ApiKey aWQ6c2VjcmV0"),
    ] {
        let sink = ScriptedSink::before(&world.index.url, move |request| {
            (request.header("authorization") != Some(header)).then(|| Answer::json(401, &json!({ "status": 401 })))
        });
        let sink = format!("url: {}\nauth: {auth}", sink.url);
        world.config_with(&format!("url: {}", world.url()), &sink, "streams: [{ name: t, from: public.t, index: t }]");
        world.tidemill(&["check"]).succeeded();
    }
}
