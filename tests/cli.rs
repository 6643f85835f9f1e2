//! The command line as operators and programs use it.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::search_server::free_port;
use crate::harness::{Outcome, PATIENCE, Stall, World, await_some, says, tidemill};

const TWO_STREAMS: &str = "streams:
  - { name: products, from: public.products, index: products }
  - { name: orders, from: public.orders, index: orders }";

fn shop(story: &str) -> World {
    let world = World::new(story);
    world.sql.run(
        "CREATE TABLE products (id int PRIMARY KEY, name text); CREATE TABLE orders (id int PRIMARY KEY, total numeric);
         INSERT INTO products VALUES (1, 'lamp'), (2, 'cup'); INSERT INTO orders VALUES (1, 9.50)",
    );
    world.config(TWO_STREAMS);
    world
}

fn run(args: &[&str]) -> Outcome {
    let mut command = tidemill();
    command.args(args);
    Outcome::of(command)
}

/// The keys of an object, in any order.
#[track_caller]
fn has_keys(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some(), "no `{key}` in {object}");
    }
}

const COMMANDS: [&str; 12] = [
    "run",
    "check",
    "status",
    "pause",
    "resume",
    "backfill",
    "dead-letters",
    "teardown",
    "index",
    "demo",
    "schema",
    "completions",
];

#[test]
fn help_names_every_command() {
    let help = run(&["--help"]).succeeded().stdout;
    for command in COMMANDS {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "`{command}` is not in:\n{help}");
        let own = run(&[command, "--help"]).succeeded().stdout;
        assert!(own.contains(&format!("tidemill {command}")), "{own}");
    }
    assert!(run(&["--version"]).succeeded().stdout.starts_with("tidemill "));
    run(&["stauts"]).refused(2, &["stauts", "status"]);
    run(&[]).refused(2, &["Usage"]);
}

#[test]
fn the_schema_is_the_one_that_is_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/tidemill.schema.json");
    let committed = std::fs::read_to_string(path).expect("the schema is committed");
    let printed = run(&["schema"]).succeeded().stdout;
    assert!(printed == committed, "they differ: run `tidemill schema > schema/tidemill.schema.json`");
    let schema: Value = serde_json::from_str(&printed).expect("JSON");
    has_keys(&schema["properties"], &["source", "sink", "sinks", "defaults", "streams", "state", "http", "ready"]);
}

#[test]
fn shells_take_the_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).succeeded().stdout;
        for words in COMMANDS.into_iter().chain(["list", "show", "retry", "drop", "until-caught-up", "state-only"]) {
            assert!(script.contains(words), "{shell} knows no `{words}`: {script}");
        }
        // A shell that is not on this machine cannot be asked.
        let parse = Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = parse else { continue };
        child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("the shell reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
    run(&["completions", "cmd"]).refused(2, &["bash"]);
}

#[test]
fn check_says_what_is_right_and_what_is_wrong() {
    let world = shop("check");
    let answer = world.tidemill(&["check", "--json"]).succeeded().json();
    assert_eq!(answer["ok"], json!(true), "{answer}");
    let findings = answer["findings"].as_array().unwrap_or_else(|| panic!("no findings: {answer}"));
    for finding in findings {
        has_keys(finding, &["verdict", "subject", "message"]);
        assert!(finding["verdict"] == "right" || finding["verdict"] == "warning", "{finding}");
    }
    for subject in ["source", "sink main", "stream products", "stream orders"] {
        assert!(findings.iter().any(|finding| finding["subject"] == subject), "nothing about {subject}: {answer}");
    }
    let text = world.tidemill(&["check"]).succeeded().stdout;
    assert!(text.contains('✓') && !text.contains('✗'), "{text}");
    for line in [
        "✓ source: PostgreSQL ",
        "✓ source: wal_level is logical",
        "✓ source: user `postgres` may replicate; ",
        "✓ source: slot `",
        "✓ source: publication `",
        "✓ stream products: table `public.products`: its replica identity, the primary key, ",
        "✓ sink main: reached: ",
        "✓ stream products: index `products` is not there yet",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}: {text}");
    }

    world.sql.run("ALTER TABLE orders DROP CONSTRAINT orders_pkey");
    let outcome = world.tidemill(&["check", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome}");
    let answer = outcome.json();
    assert_eq!(answer["ok"], json!(false), "{answer}");
    let wrong: Vec<_> =
        answer["findings"].as_array().expect("findings").iter().filter(|f| f["verdict"] == "wrong").collect();
    assert!(wrong.iter().any(|finding| finding["subject"] == "stream orders"), "{answer}");
    assert!(wrong.iter().all(|finding| finding["subject"] != "stream products"), "{answer}");
    let sql: Vec<_> = wrong.iter().filter_map(|finding| finding["sql"].as_str()).collect();
    assert!(sql.iter().any(|sql| sql.contains("ALTER TABLE")), "{answer}");
    world.tidemill(&["check"]).refused(1, &["✗", "orders", "ALTER TABLE"]);
}

#[test]
fn status_with_an_engine_and_without() {
    let world = shop("status");
    let before = world.tidemill(&["status", "--json"]).succeeded().json();
    assert_eq!(before["running"], json!(false), "{before}");
    let text = world.tidemill(&["status"]).succeeded().stdout;
    assert!(says(&text, "nothing has run yet") && says(&text, "tidemill run"), "{text}");
    assert!(!world.dir.path().join("tidemill.db").exists(), "asking makes no state");

    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("products", |documents| documents.len() == 2);
    let answer = world.tidemill(&["status", "--json"]).succeeded().json();
    assert_eq!((&answer["running"], &answer["phase"]), (&json!(true), &json!("streaming")), "{answer}");
    has_keys(&answer, &["confirmed_lsn", "wal_end_lsn", "lag_bytes", "streams"]);
    let streams = answer["streams"].as_array().expect("streams");
    assert_eq!(
        streams.iter().map(|stream| &stream["name"]).collect::<Vec<_>>(),
        [&json!("products"), &json!("orders")]
    );
    for stream in streams {
        assert_eq!(stream["state"], json!("streaming"), "{answer}");
        has_keys(stream, &["reason", "settled_lsn", "lag_bytes", "rows", "documents", "dead_letters", "latency_ms"]);
    }
    assert_eq!(streams[0]["documents"], json!(2), "{answer}");
    let text = world.tidemill(&["status"]).succeeded().stdout;
    assert!(["products", "orders", "streaming"].iter().all(|word| says(&text, word)), "{text}");

    assert_eq!(engine.stop(), 0);
    let after = world.tidemill(&["status", "--json"]).succeeded().json();
    assert_eq!(after["running"], json!(false), "{after}");
    let names: Vec<_> =
        after["streams"].as_array().expect("streams").iter().map(|stream| stream["name"].clone()).collect();
    assert!(names.contains(&json!("products")) && names.contains(&json!("orders")), "{after}");
    world.tidemill(&["status"]).succeeded();
    world.drop_slot();
}

#[test]
fn a_stream_is_paused_while_another_goes_on() {
    let world = shop("pause");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("products", |documents| documents.len() == 2);
    let answer = world.tidemill(&["pause", "products", "--json"]).succeeded().json();
    assert_eq!(answer, json!({ "running": true, "stream": "products", "state": "paused" }));
    let paused_at = world.slot_confirmed();

    world.sql.run("INSERT INTO products VALUES (3, 'vase'); INSERT INTO orders VALUES (2, 5)");
    world.await_documents("orders", |documents| documents.len() == 2);
    assert_eq!(world.documents("products").len(), 2);
    let status = world.tidemill(&["status", "--json"]).succeeded().json();
    assert_eq!(
        (&status["streams"][0]["state"], &status["streams"][1]["state"]),
        (&json!("paused"), &json!("streaming"))
    );
    // What the paused stream has not taken is still in the slot.
    let insert = "SELECT pg_current_wal_lsn()::text";
    let held = format!("SELECT '{}'::pg_lsn < '{}'::pg_lsn", world.slot_confirmed(), world.sql.one(insert));
    assert_eq!(world.sql.one(&held), "t", "paused at {paused_at}");

    let reason = status["streams"][0]["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, "paused by `tidemill pause`: `tidemill resume products` goes on");

    let answer = world.tidemill(&["resume", "products", "--json"]).succeeded().json();
    assert_eq!(answer, json!({ "running": true, "stream": "products", "state": "resumed" }));
    world.await_documents("products", |documents| documents.len() == 3);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// A pause is the operator's word: it holds over a restart, and can be given where no engine runs.
#[test]
fn a_pause_outlives_the_engine() {
    let world = shop("pause_stays");
    world.catch_up();
    world.tidemill(&["pause", "products"]).succeeded();
    let status = world.tidemill(&["status", "--json"]).succeeded().json();
    let reason = status["streams"].as_array().into_iter().flatten().find_map(|stream| stream["reason"].as_str());
    assert_eq!(reason, Some("paused by `tidemill pause`: `tidemill resume products` goes on"));
    world.sql.run("INSERT INTO products VALUES (3, 'vase'); INSERT INTO orders VALUES (2, 5)");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["products", "paused"]);
    assert_eq!((world.documents("products").len(), world.documents("orders").len()), (2, 2));
    world.tidemill(&["resume", "products"]).succeeded();
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}

#[test]
fn a_running_engine_reads_a_streams_rows_anew() {
    let world = shop("backfill_live");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("products", |documents| documents.len() == 2);
    // A delete that is not ours takes the next version, so the rows must be read at a later place in the WAL.
    world.http().call("DELETE", "/products/_doc/1", None);
    assert_eq!(world.documents("products").len(), 1);
    world.sql.run("UPDATE products SET name = 'mug' WHERE id = 2");
    world.await_documents("products", |documents| documents["2"]["name"] == "mug");
    let answer = world.tidemill(&["backfill", "products", "--json"]).succeeded().json();
    assert_eq!((&answer["running"], &answer["stream"]), (&json!(true), &json!("products")), "{answer}");
    engine.await_log("backfill of table public.products is done");
    world.await_documents("products", |documents| documents.len() == 2);
    world.sql.run("INSERT INTO products VALUES (3, 'vase')");
    world.await_documents("products", |documents| documents.len() == 3);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn teardown_says_what_it_drops_and_drops_it() {
    let world = shop("teardown");
    world.catch_up();
    let before = world.made();
    // Nobody is there to say yes.
    world.tidemill(&["teardown"]).refused(2, &["--yes"]);
    assert_eq!(world.made(), before);

    let outcome = world.tidemill(&["teardown", "--yes"]).succeeded();
    for words in ["slot", "publication", "tidemill.db", world.name.as_str()] {
        assert!(says(&outcome.stdout, words), "nothing says `{words}`: {outcome}");
    }
    assert!(world.sql.rows("SELECT FROM pg_publication").is_empty());
    world.await_no_slot();
    let left = std::fs::read_dir(world.dir.path()).expect("a folder").flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| says(&name.to_string_lossy(), ".db")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.documents("products").len(), 2, "documents stay");
    // Twice is not an error, and a new beginning is possible.
    world.tidemill(&["teardown", "--yes", "--json"]).succeeded().json();
    world.sql.run("INSERT INTO products VALUES (3, 'vase')");
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.tidemill(&["teardown", "--yes"]).succeeded();
}

#[test]
fn teardown_leaves_alone_what_others_made() {
    let world = shop("teardown_adopted");
    world.sql.run(&format!("CREATE PUBLICATION {} FOR TABLE products, orders", world.name));
    world.catch_up();
    let mut engine = world.start();
    engine.await_log("streaming");
    world.tidemill(&["teardown", "--yes"]).refused(1, &["engine"]);
    assert_eq!(engine.stop(), 0);
    world.tidemill(&["teardown", "--yes"]).succeeded();
    world.await_no_slot();
    assert_eq!(world.sql.rows("SELECT pubname FROM pg_publication"), [[world.name.as_str()]]);
}

/// Whatever somebody else did to the database before, a teardown gets to its end or says what is in its way.
#[test]
fn teardown_of_what_is_half_gone() {
    let mut world = shop("teardown_half");
    world.catch_up();
    let before = world.made();

    // Somebody streams from the slot: nothing is dropped.
    let holder = world.tidemill(&["check", "--json"]).succeeded().json();
    assert_eq!(holder["ok"], json!(true), "{holder}");
    let mut engine = world.start();
    engine.await_log("streaming");
    let state = world.dir.path().join("tidemill.db");
    std::fs::rename(&state, world.file("elsewhere", "")).expect("our own folder");
    std::fs::rename(world.dir.path().join("tidemill.db.sock"), world.dir.path().join("sock")).expect("our own folder");
    let held = world.tidemill(&["teardown", "--yes"]);
    held.refused(1, &[&world.name, "in use by process", "user postgres", "nothing was dropped"]);
    std::fs::rename(world.dir.path().join("elsewhere"), &state).expect("our own folder");
    assert_eq!(engine.stop(), 0);
    assert_eq!(world.made(), before);

    // The slot and the publication were dropped by hand.
    world.drop_slot();
    world.sql.run(&format!("DROP PUBLICATION {}", world.name));
    let outcome = world.tidemill(&["teardown", "--yes", "--json"]).succeeded().json();
    assert_eq!(outcome["dropped"].as_array().map(Vec::len), Some(1), "{outcome}");
    assert!(!state.exists(), "{outcome}");

    // The database is gone.
    world.catch_up();
    world.drop_slot();
    let name = world.name.clone();
    world.sql = crate::harness::Sql::connect(&crate::harness::postgres().url());
    world.sql.run(&format!("DROP DATABASE {name} WITH (FORCE)"));
    world.tidemill(&["teardown", "--yes"]).refused(1, &[&name, "does not exist", "--state-only"]);
    assert!(state.exists());
    let drop_slot = format!("SELECT pg_drop_replication_slot('{name}')");
    world.tidemill(&["teardown", "--state-only"]).refused(2, &[&drop_slot, "--yes"]);
    let outcome = world.tidemill(&["teardown", "--state-only", "--yes", "--json"]).succeeded().json();
    assert_eq!(outcome["dropped"].as_array().map(Vec::len), Some(1), "{outcome}");
    assert!(outcome["left_sql"].as_str().is_some_and(|sql| sql.contains(&drop_slot)), "{outcome}");
    assert!(!state.exists());
    world.tidemill(&["teardown", "--state-only", "--yes"]).succeeded();
}

#[test]
fn probes_and_metrics() {
    let world = shop("metrics");
    let address = format!("127.0.0.1:{}", free_port());
    world.sql.run("ALTER TABLE products ALTER id TYPE bigint");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/hostile.wasm");
    world.file("hostile.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    let stages = "index: products, where: id < 7, stages: [{ plugin: hostile.wasm, config: { misdeed: metric-flood, rows: [2] } }]";
    let streams = TWO_STREAMS.replace("index: products", stages);
    world.config(&format!("{streams}\nhttp: {{ listen: {address}, token: hunter2 }}"));
    let mut engine = world.start();
    engine.await_log("streaming");
    let open = Http::open(&format!("http://{address}"));
    let page = |http: &Http, path: &str| {
        let (status, body) = http.try_call("GET", path, None).expect("an answer");
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    assert_eq!(page(&open, "/healthz").0, 200);
    let ready = await_some(PATIENCE, || (page(&open, "/readyz").0 == 200).then_some(()));
    assert!(ready.is_some(), "{:?}", page(&open, "/readyz"));
    assert_eq!(page(&open, "/metrics").0, 401);
    let known = Http::guarded(&open.url, Some("Bearer hunter2"), None);
    world.await_documents("products", |documents| documents.len() == 2);
    let (status, text) = page(&known, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "tidemill_stream_documents_indexed_total{stream=\"products\"} 2",
        "tidemill_stream_rows_in_total{stream=\"orders\"} 1",
        "tidemill_stream_state{stream=\"products\",state=\"streaming\"} 1",
        "tidemill_source_connected 1",
        "tidemill_stage_calls_total{stream=\"products\",stage=\"where\"} 1",
        "tidemill_stage_rows_in_total{stream=\"products\",stage=\"hostile.wasm\"} 2",
        "tidemill_stage_rows_out_total{stream=\"products\",stage=\"hostile.wasm\"} 2",
        "tidemill_stage_rows_rejected_total{stream=\"products\",stage=\"hostile.wasm\"} 0",
        "tidemill_stage_failures_total{stream=\"products\",stage=\"hostile.wasm\"} 0",
        "tidemill_stage_restarts_total{stream=\"products\",stage=\"hostile.wasm\"} 0",
        "tidemill_plugin_count_total{stream=\"products\",stage=\"hostile.wasm\",name=\"m0\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let value = |name: &str| {
        let label = format!("tidemill_stage_{name}{{stream=\"products\",stage=\"hostile.wasm\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&label)?.parse::<u64>().ok())
    };
    // Whether it was compiled before, another story knows.
    assert!(value("compilations_total").is_some_and(|times| times <= 1), "{text}");
    assert!(value("memory_bytes").is_some_and(|bytes| bytes >= 64 << 10), "{text}");
    let busy = text.lines().find(|line| line.starts_with("tidemill_stage_busy_seconds_total{stream=\"products\""));
    let busy = busy.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(busy.is_some_and(|busy| busy > 0.0), "{text}");
    assert_eq!(text.matches("tidemill_plugin_count_total{").count(), 64, "a plugin can make up names, not without end");
    world.tidemill(&["pause", "orders"]).succeeded();
    let unready = await_some(PATIENCE, || Some(page(&open, "/readyz")).filter(|(status, _)| *status == 503));
    assert!(unready.as_ref().is_some_and(|(_, text)| says(text, "orders")), "{unready:?}");
    assert_eq!(page(&open, "/healthz").0, 200);
    assert!(!engine.log().contains("hunter2"));
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// The first signal waits for what is in flight; the second does not, and nothing is lost.
#[test]
fn a_second_signal_ends_it_at_once() {
    let world = shop("signals");
    let stall = Stall::before(world.index.address());
    world.config_with(&format!("url: {}", world.url()), &format!("url: http://{}", stall.address), TWO_STREAMS);
    let mut engine = world.start();
    engine.await_log("streaming");
    world.await_documents("products", |documents| documents.len() == 2);
    stall.hold(true);
    world
        .sql
        .run("INSERT INTO products SELECT n, 'n' FROM generate_series(10, 500) n; DELETE FROM products WHERE id = 1");
    stall.await_held();
    // Two signals that wait to be taken are one, so it is sent until it has been seen twice.
    let start = Instant::now();
    let ended = await_some(Duration::from_secs(10), || {
        if engine.runs() {
            engine.signal("TERM");
            None
        } else {
            Some(start.elapsed())
        }
    });
    assert!(ended.is_some(), "it did not end at once: {}", engine.log());
    stall.hold(false);
    world.catch_up();
    let keys = world.sql.rows("SELECT id::text FROM products ORDER BY id::text COLLATE \"C\"");
    assert_eq!(
        world.documents("products").keys().collect::<Vec<_>>(),
        keys.iter().map(|row| &row[0]).collect::<Vec<_>>()
    );
    world.drop_slot();
}

#[test]
fn json_logs_hold_neither_rows_nor_secrets() {
    let world = shop("logs");
    world.sql.run("INSERT INTO products VALUES (3, 'a very private name')");
    let outcome =
        world.tidemill(&["run", "--until-caught-up", "--log-format", "json", "--log-level", "debug"]).succeeded();
    assert!(!outcome.stderr.is_empty());
    for line in outcome.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        has_keys(&entry, &["timestamp", "level", "message"]);
    }
    let password = world.url().split('@').next().and_then(|start| start.rsplit(':').next()).expect("one").to_owned();
    assert!(!outcome.stderr.contains(&password) && !outcome.stderr.contains("a very private name"), "{outcome}");
    world.drop_slot();
}

#[test]
fn dead_letters_of_a_stream_that_has_none() {
    let world = shop("no_letters");
    world.catch_up();
    let answer = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    assert_eq!(answer["dead_letters"], json!([]), "{answer}");
    world.tidemill(&["dead-letters", "list"]).succeeded();
    world.tidemill(&["dead-letters", "show", "17"]).refused(1, &["17"]);
    world.tidemill(&["dead-letters", "retry", "17"]).refused(1, &["17"]);
    world.drop_slot();
}

/// A value that the index cannot take is kept with the server's error, mended and sent again.
#[test]
fn a_dead_letter_is_mended_and_retried() {
    let world = shop("letters");
    let mapping = json!({ "mappings": { "properties": { "name": { "type": "date" } } } });
    assert_eq!(world.http().call("PUT", "/products", Some(&mapping)).0, 200);
    world.sql.run("UPDATE products SET name = '2024-02-29'; UPDATE products SET name = 'soon' WHERE id = 2");
    let outcome = world.tidemill(&["run", "--until-caught-up"]).succeeded();
    assert!(says(&outcome.to_string(), "dead letter"), "{outcome}");
    assert_eq!(world.documents("products").keys().collect::<Vec<_>>(), ["1"]);
    let answer = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    let letter = &answer["dead_letters"][0];
    assert_eq!(
        (&letter["stream"], &letter["key"], &letter["index"]),
        (&json!("products"), &json!("2"), &json!("products"))
    );
    assert_eq!((&letter["table"], &letter["state"]), (&json!("public.products"), &json!("open")), "{answer}");
    let kind = letter["error_type"].as_str().unwrap_or_default();
    assert!(matches!(kind, "mapper_parsing_exception" | "document_parsing_exception"), "{answer}");
    let id = letter["id"].to_string();
    let shown = world.tidemill(&["dead-letters", "show", &id, "--json"]).succeeded().stdout;
    assert!(shown.contains("soon") && shown.contains("failed to parse"), "{shown}");

    // Retried too early it stays; after the row is mended the newer change takes its place.
    let early = world.tidemill(&["dead-letters", "retry", &id]);
    early.refused(1, &["1 refused again", "1 dead letter not delivered", &format!("{id}: failed to parse|soon")]);
    let letter = world.tidemill(&["dead-letters", "show", &id, "--json"]).succeeded().json();
    assert_eq!((&letter["attempts"], &letter["state"]), (&json!(2), &json!("open")), "{letter}");
    assert_eq!(world.documents("products").len(), 1);
    world.sql.run("UPDATE products SET name = '2024-03-01' WHERE id = 2");
    world.catch_up();
    assert_eq!(world.documents("products")["2"]["name"], json!("2024-03-01"));
    world.tidemill(&["dead-letters", "retry", "--stream", "products"]).succeeded();
    assert_eq!(world.documents("products")["2"]["name"], json!("2024-03-01"), "a newer row is never overwritten");
    world.drop_slot();
}

/// A tombstone does not live for ever, so it is not what keeps an old letter from bringing a deleted row back.
#[test]
fn a_dead_letter_of_a_row_that_is_gone_brings_nothing_back() {
    let world = shop("letter_gone");
    let index = json!({ "settings": { "index": { "number_of_shards": 1 } },
        "mappings": { "properties": { "name": { "type": "date" } } } });
    assert_eq!(world.http().call("PUT", "/products", Some(&index)).0, 200);
    let brief = json!({ "index": { "gc_deletes": "100ms" } });
    assert_eq!(world.http().call("PUT", "/products/_settings", Some(&brief)).0, 200);
    world.sql.run("UPDATE products SET name = '2024-02-29'; UPDATE products SET name = '2024-13-01' WHERE id = 2");
    world.catch_up();
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    assert_eq!(letters["dead_letters"][0]["key"], json!("2"), "{letters}");

    world.sql.run("DELETE FROM products WHERE id = 2");
    world.catch_up();
    // The mapping is mended, and the server forgets what was deleted: another id's tombstone tells when.
    let tolerant = json!({ "properties": { "name": { "type": "date", "ignore_malformed": true } } });
    assert_eq!(world.http().call("PUT", "/products/_mapping", Some(&tolerant)).0, 200);
    let version = |number: u32| format!("/products/_doc/probe?version={number}&version_type=external_gte");
    world.http().call("DELETE", &version(20), None);
    let forgotten = await_some(PATIENCE, || {
        let (status, _) = world.http().call("PUT", &version(15), Some(&json!({})));
        (status == 201).then_some(())
    });
    assert!(forgotten.is_some(), "the tombstone stays");
    let retried = world.tidemill(&["dead-letters", "retry", "--stream", "products"]).succeeded();
    assert!(!world.documents("products").contains_key("2"), "the row is gone: {retried}");
    world.drop_slot();
}

/// Letters of dates that are none, in an index whose server forgets what it deleted: only their fate keeps them away.
fn letters_that_would_come_back(story: &str) -> World {
    let world = shop(story);
    world.sql.run("DELETE FROM orders; TRUNCATE products; ALTER TABLE products ALTER name SET DEFAULT '2024-02-29'");
    world.file("mapping.json", r#"{ "properties": { "name": { "type": "date" } } }"#);
    world.config(&TWO_STREAMS.replace("index: products", "index: products, mapping: mapping.json"));
    world
}

fn open_letters(world: &World) -> Vec<String> {
    let letters = world.tidemill(&["dead-letters", "list", "--json"]).succeeded().json();
    let letters = letters["dead_letters"].as_array().unwrap_or_else(|| panic!("no list: {letters}"));
    letters.iter().map(|letter| letter["key"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The index takes anything from now on.
fn mend_mapping(world: &World) {
    let tolerant = json!({ "properties": { "name": { "type": "date", "ignore_malformed": true } } });
    assert_eq!(world.http().call("PUT", "/products/_mapping", Some(&tolerant)).0, 200);
}

/// TRUNCATE and backfill know the documents that are there; a letter's is not.
#[test]
fn a_dead_letter_goes_with_its_table_and_with_its_row() {
    let world = letters_that_would_come_back("letter_truncate");
    world.sql.run("INSERT INTO products VALUES (1, 'soon'), (2, 'later')");
    world.catch_up();
    assert_eq!(open_letters(&world), ["1", "2"]);
    world.sql.run("TRUNCATE products; INSERT INTO products VALUES (3, 'never')");
    let outcome = world.catch_up();
    assert_eq!(open_letters(&world), ["3"]);
    assert!(says(&outcome.stdout, "1 new dead letter:"), "{outcome}");

    // Its delete is one that nobody saw: the slot was somebody else's for a while.
    world.sql.run(
        "ALTER PUBLICATION letter_truncate_0 SET (publish = 'insert'); DELETE FROM products; INSERT INTO products VALUES (4, 'sometime')"
            .replace("letter_truncate_0", &world.name)
            .as_str(),
    );
    world.catch_up();
    world.tidemill(&["backfill", "products"]).succeeded();
    world.catch_up();
    assert_eq!(open_letters(&world), ["4"], "what was refused again has a new letter");
    mend_mapping(&world);
    world.tidemill(&["dead-letters", "retry", "--key", "4"]).succeeded();
    assert_eq!(world.documents("products").keys().collect::<Vec<_>>(), ["4"]);
    world.drop_slot();
}

#[test]
fn dead_letters_are_chosen_retried_and_dropped_beside_an_engine() {
    let world = letters_that_would_come_back("letters_chosen");
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run("INSERT INTO products SELECT n, 'soon' FROM generate_series(1, 5) n");
    let open = || world.tidemill(&["status", "--json"]).succeeded().json()["streams"][0]["dead_letters"].clone();
    assert!(await_some(PATIENCE, || (open() == json!(5)).then_some(())).is_some(), "{}", open());
    world.sql.run("UPDATE products SET name = 'later' WHERE id = 1");
    let superseded = || {
        let first = world.tidemill(&["dead-letters", "show", "1", "--json"]).succeeded().json();
        (first["state"] == json!("superseded")).then_some(())
    };
    assert!(await_some(PATIENCE, superseded).is_some(), "a newer letter of the same document");
    // As an end between the two would have left it.
    let state = rusqlite::Connection::open(world.dir.path().join("tidemill.db")).expect("a state");
    state.execute("UPDATE dead_letters SET state = 'open' WHERE id = 1", []).expect("the letter is there");

    let page = world.tidemill(&["dead-letters", "list", "--limit", "4"]).succeeded().stdout;
    assert!(says(&page, "2 more of 6") && says(&page, "--after 4"), "{page}");
    let page = world.tidemill(&["dead-letters", "list", "--limit", "4", "--json"]).succeeded().json();
    assert_eq!((page["dead_letters"].as_array().map(Vec::len), &page["total"]), (Some(4), &json!(6)), "{page}");

    // A number and a choice: both have to fit.
    let retry = |args: &[&str]| world.tidemill(&[&["dead-letters", "retry"], args, &["--json"]].concat());
    assert_eq!(retry(&["1", "--key", "2"]).succeeded().json()["refused"], json!(0));
    let both = retry(&["--key", "1"]);
    assert_eq!(both.code, 1, "{both}");
    let answer: Value = serde_json::from_str(&both.stdout).expect("JSON");
    assert_eq!(
        (&answer["superseded"], &answer["refused"]),
        (&json!(1), &json!(1)),
        "of two the newer is sent: {answer}"
    );
    assert_eq!(answer["refusals"][0]["id"], json!(6), "{answer}");
    assert_eq!(open(), json!(5));

    world.tidemill(&["dead-letters", "drop", "2"]).refused(2, &["gives up 1 dead letter", "--yes"]);
    assert_eq!(
        world.tidemill(&["dead-letters", "drop", "2", "--yes", "--json"]).succeeded().json()["dropped"],
        json!(1)
    );
    assert_eq!(open(), json!(4));
    world.tidemill(&["dead-letters", "retry", "2"]).refused(1, &["dropped already"]);
    let all = world.tidemill(&["dead-letters", "list", "--state", "all"]).succeeded().stdout;
    assert!(["state", "open", "superseded", "dropped"].iter().all(|word| says(&all, word)), "{all}");

    mend_mapping(&world);
    let retried = retry(&["--error-type", answer["refusals"][0]["error_type"].as_str().unwrap_or_default()]);
    assert_eq!(retried.succeeded().json()["delivered"], json!(4));
    assert_eq!(open(), json!(0));
    assert_eq!(world.documents("products").keys().collect::<Vec<_>>(), ["1", "3", "4", "5"]);
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// As behind `head`: whoever has read enough stops neither what is asked nor what runs.
#[test]
fn a_closed_pipe_stops_nothing() {
    let world = shop("closed_pipe");
    for args in [
        &["check"][..],
        &["run", "--until-caught-up"],
        &["run", "--until-caught-up", "--log-format", "json"],
        &["status"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let said = writer.try_clone().expect("a descriptor");
        let mut child = world.command(args).stdout(writer).stderr(said).spawn().expect("it starts");
        let status = await_some(PATIENCE, || child.try_wait().expect("a child"));
        if status.is_none() {
            child.kill().expect("it was running");
            child.wait().expect("it ends");
        }
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{args:?}");
    }
    assert_eq!(world.documents("products").len(), 2);
    world.drop_slot();
}

#[test]
fn the_index_names_a_port_that_is_taken() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound").to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("index").display().to_string();
    run(&["index", "--dir", &folder, "--listen", &address]).refused(1, &[&address, "in use|--listen"]);
    run(&["index", "--listen", "nowhere"]).refused(2, &["--listen", "nowhere"]);
}

/// The same table of cases that real servers are held to.
#[test]
fn the_index_answers_bulks_as_real_servers_do() {
    let world = World::new("bulk_cases");
    let http = world.http();
    let wrong = crate::harness::runtime().block_on(crate::bulk_cases::run(&http.url, &http.client));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
