//! What a plugin does wrong is its own stream's trouble: one engine runs a stream for each misdeed, and one that is honest.

mod opening;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, World, await_some};

/// How a misdeed ends.
enum End {
    /// The stream is paused, and says this.
    Paused(&'static str),
    /// All rows but those of these ids, which are dead letters with this code and message; they come in the
    /// backfill or later.
    Letters(&'static [i64], &'static str, &'static str),
    /// So many rows, or more, are dead letters; the rest are documents.
    SomeLetters,
    /// Nothing is missing.
    All,
}

struct Misdeed {
    stream: &'static str,
    plugin: &'static str,
    config: Value,
    limits: Value,
    grants: Value,
    end: End,
}

/// A misdeed of the fixture `hostile`.
fn of(misdeed: &'static str, rows: &[i64], end: End) -> Misdeed {
    Misdeed {
        stream: misdeed,
        plugin: "hostile",
        config: json!({ "misdeed": misdeed, "rows": rows }),
        limits: json!({ "memory": "16MiB", "deadline": "100ms" }),
        grants: json!({}),
        end,
    }
}

impl Misdeed {
    fn amount(mut self, amount: u64) -> Misdeed {
        self.config["amount"] = amount.into();
        self
    }

    fn limit(mut self, name: &str, value: Value) -> Misdeed {
        self.limits[name] = value;
        self
    }

    fn granted(mut self, grants: Value) -> Misdeed {
        self.grants = grants;
        self
    }

    fn yaml(&self) -> String {
        let Misdeed { stream, plugin, config, limits, grants, .. } = self;
        let limits = if limits.is_null() { "{}".to_owned() } else { limits.to_string() };
        format!(
            "  - {{ name: {stream}, from: public.rows, stages: [{{ plugin: {plugin}.wasm, config: {config}, limits: {limits}, \
             grants: {grants} }}] }}\n"
        )
    }
}

/// Rows before and after the backfill. The table's `id` runs from 0.
const BACKFILLED: i64 = 8000;
const ROWS: i64 = 8100;

fn misdeeds() -> Vec<Misdeed> {
    use End::{All, Letters, Paused, SomeLetters};
    let one: &[i64] = &[8050];
    let named = json!({ "identity": {} });
    let bad = |misdeed, part| of(misdeed, one, Letters(&[8050], "bad_answer", part));
    let wavering = Misdeed {
        stream: "plan-waver",
        plugin: "outsider",
        config: json!({ "do": "waver" }),
        limits: json!({}),
        grants: json!({ "clocks": {}, "dirs": [], "env": {}, "random": {}, "stdio": {} }),
        end: Paused("gives another plan than before"),
    };
    vec![
        of("trap", &[7777], Letters(&[7777], "trap", "asked to trap")),
        of("loop", one, Letters(&[8050], "deadline", "raise `limits.deadline`")),
        of("recursion", one, Letters(&[8050], "limit", "raise `limits.stack`")),
        of("memory", one, Letters(&[8050], "limit", "raise `limits.memory`")).amount(100_000_000),
        of("memory-a-row", &[], All).amount(5000),
        of("realloc-loop", &[], All).amount(40_000).limit("deadline", json!("50ms")),
        of("random", &[], SomeLetters),
        of("leak", &[], All).amount(3_000_000),
        of("slow", one, All).amount(1_000_000).limit("deadline", json!("10s")),
        of("carry", &[], All),
        of("log-flood", &[], All),
        of("metric-flood", &[], All),
        of("answer-large", one, Letters(&[8050], "limit", "raise `limits.output`"))
            .amount(9_000_000)
            .limit("output", json!("8MiB")),
        of("index-flood", one, Letters(&[8050], "limit", "raise `limits.rows_out`")),
        of("fatal", one, Paused("asked to be fatal")),
        bad("answer-2g", "its answer is none"),
        bad("pointer", "its answer is none"),
        bad("index-billion", "its answer is none"),
        bad("index-range", "index list names row"),
        bad("bitmap-short", "bitmap has"),
        bad("utf8", "not UTF-8"),
        bad("offsets-fall", "offset"),
        bad("offsets-negative", "offsets fall"),
        bad("offsets-past-end", "last offset is 2147483647"),
        bad("values-short", "last offset is"),
        bad("column-missing", "brings 0 columns"),
        bad("document-cut", "no JSON object on one line"),
        bad("document-lines", "no JSON object on one line"),
        of("id-long", one, Letters(&[8050], "", "the index takes 512")).granted(named.clone()),
        of("id-empty", one, Letters(&[8050], "", "empty")).granted(named.clone()),
        of("id-forged", one, SomeLetters).granted(named),
        wavering,
    ]
}

fn put_fixtures(world: &World, fixtures: &[&str]) {
    for fixture in fixtures {
        let path = format!("{}/../../plugins/fixtures/{fixture}.wasm", env!("CARGO_MANIFEST_DIR"));
        world.file(&format!("{fixture}.wasm"), fs::read(path).unwrap());
    }
}

/// Documents by the `id` in them, which some of them have not.
fn ids(world: &World, index: &str) -> Vec<i64> {
    let documents = world.documents(index);
    let mut ids: Vec<i64> = documents.keys().filter_map(|id| id.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_hostile_plugin_is_its_own_streams_trouble() {
    let world = World::new("misdeeds");
    put_fixtures(&world, &["hostile", "outsider"]);
    world.sql.run(&format!(
        "CREATE TABLE rows (id bigint PRIMARY KEY, name text);
         INSERT INTO rows SELECT n, 'name ' || n FROM generate_series(0, {BACKFILLED} - 1) n"
    ));
    let misdeeds = misdeeds();
    let streams: String = misdeeds.iter().map(Misdeed::yaml).collect();
    world.config(&format!("streams:\n  - {{ name: honest, from: public.rows }}\n{streams}"));
    let mut engine = world.start();
    engine.await_log("streaming");
    // One transaction after the other, so that what a plugin does to one shows in the next.
    for from in (BACKFILLED..ROWS).step_by(10) {
        world.sql.run(&format!("INSERT INTO rows SELECT n, 'name ' || n FROM generate_series({from}, {from} + 9) n"));
    }
    world.await_documents("honest", |documents| documents.len() as i64 == ROWS);
    let status = await_some(PATIENCE, || {
        let status = world.tidemill(&["status", "--json"]).json();
        let streams = status["streams"].as_array()?.clone();
        let ended = |stream: &Value| {
            stream["state"] == "paused" || stream["rows"].as_i64() == Some(ROWS) && stream["lag_bytes"] == 0
        };
        streams.iter().all(ended).then_some(streams)
    })
    .unwrap_or_else(|| panic!("not all ended: {}", world.tidemill(&["status"]).stdout));
    let by_name: BTreeMap<&str, &Value> =
        status.iter().map(|stream| (stream["name"].as_str().unwrap(), stream)).collect();
    assert_eq!(ids(&world, "honest"), (0..ROWS).collect::<Vec<_>>());
    for misdeed in &misdeeds {
        look(&world, misdeed, by_name[misdeed.stream]);
    }
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[track_caller]
fn look(world: &World, misdeed: &Misdeed, status: &Value) {
    let stream = misdeed.stream;
    let letters = world.tidemill(&["dead-letters", "list", "--stream", stream, "--limit", "10000", "--json"]).json();
    let letters = letters["dead_letters"].as_array().unwrap().clone();
    let reason = status["reason"].as_str().unwrap_or_default();
    match misdeed.end {
        End::Paused(part) => {
            assert!(status["state"] == "paused" && reason.contains(part), "{stream}: {status}");
            assert!(letters.is_empty(), "{stream}: {letters:?}");
        }
        _ => assert_eq!(status["state"], "streaming", "{stream}: {reason}"),
    }
    match misdeed.end {
        End::Paused(_) => {}
        End::Letters(rows, code, part) => {
            let keys: Vec<String> =
                letters.iter().map(|letter| letter["key"].as_str().unwrap_or_default().to_owned()).collect();
            assert_eq!(letters.len(), rows.len(), "{stream}: {letters:?}");
            for letter in &letters {
                let error = letter["error"].as_str().unwrap();
                assert!(error.contains(part), "{stream}: {error}");
                assert!(code.is_empty() || letter["error_type"] == code, "{stream}: {letter}");
            }
            let left: Vec<i64> = (0..ROWS).filter(|id| !rows.contains(id)).collect();
            assert_eq!(ids(world, stream), left, "{stream}: {keys:?}");
        }
        End::SomeLetters => {
            assert_eq!(ids(world, stream).len() + letters.len(), ROWS as usize, "{stream}");
        }
        End::All => {
            assert!(letters.is_empty(), "{stream}: {letters:?}");
            assert_eq!(ids(world, stream).len(), ROWS as usize, "{stream}");
        }
    }
}

/// Every row comes alone: no batch tells by itself that the plugin is broken.
#[test]
fn a_plugin_that_fails_row_after_row_pauses_its_stream_and_leaves_the_dead_letters_empty_but_for_few() {
    let world = World::new("row_after_row");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    let trap = of("trap", &[], End::Paused("")).yaml();
    let patient =
        Misdeed { stream: "patient", ..of("trap", &[], End::Paused("")).limit("failing_in_a_row", json!(1000)) };
    let streams = format!("streams:\n  - {{ name: honest, from: public.rows }}\n{trap}{}", patient.yaml());
    world.config(&streams);
    let mut engine = world.start();
    engine.await_log("streaming");
    let rows = 20;
    for row in 1..=rows {
        world.sql.run(&format!("INSERT INTO rows VALUES ({row}, 'name')"));
        world.await_documents("honest", |documents| documents.len() == row);
    }
    let letters = |stream| {
        let list = world.tidemill(&["dead-letters", "list", "--stream", stream, "--json"]).json();
        list["dead_letters"].as_array().unwrap().clone()
    };
    await_some(PATIENCE, || (letters("patient").len() == rows).then_some(())).expect("a letter for each row");
    let status = await_some(PATIENCE, || {
        let status = world.tidemill(&["status", "--json"]).json()["streams"].as_array()?.clone();
        (status[1]["state"] == "paused").then_some(status)
    });
    let status = status.unwrap_or_else(|| panic!("not paused: {}", world.tidemill(&["status"]).stdout));
    let reason = status[1]["reason"].as_str().unwrap();
    for part in [
        "stage `hostile.wasm`",
        "hostile.wasm` fails for",
        "rows in a row",
        "`limits.failing_in_a_row`",
        "asked to trap",
    ] {
        assert!(reason.contains(part), "`{part}` is not in: {reason}");
    }
    // What came before the row that was too much stays a dead letter.
    let few = letters("trap");
    assert!((1..8).contains(&few.len()), "{few:?}");
    assert_eq!((&status[0]["state"], &status[2]["state"]), (&json!("streaming"), &json!("streaming")));
    assert_eq!(status[2]["dead_letters"], rows);
    // Each row cost an instance, and its letter tells of whose code that was.
    let stage = &status[2]["stages"][0];
    assert!(stage["restarts"].as_u64() >= Some(rows as u64 - 1) && stage["failures"] == rows, "{stage}");
    assert!(stage["memory_bytes"].as_u64() >= Some(64 << 10), "{stage}");
    assert_eq!((&status[2]["slowest_stage"], &status[0]["slowest_stage"]), (&json!("hostile.wasm"), &Value::Null));
    let path = world.dir.path().join("hostile.wasm");
    let digest = world.sql.one(&format!("SELECT encode(sha256(pg_read_binary_file('{}')), 'hex')", path.display()));
    let letter = world.tidemill(&["dead-letters", "show", &letters("patient")[0]["id"].to_string(), "--json"]).json();
    assert_eq!(letter["plugin_sha256"], json!(digest), "{letter}");
    // A reason of many lines is one line of the table.
    let shown = world.tidemill(&["status"]).succeeded().stdout;
    assert!(reason.lines().count() > 2 && shown.lines().count() == 5, "{shown}");
    assert!(shown.contains("panicked at") && shown.contains("…; then `tidemill resume trap`"), "{shown}");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

#[test]
fn what_a_plugin_says_has_its_level_and_what_is_too_much_is_told_with_its_limit() {
    let world = World::new("said");
    put_fixtures(&world, &["hostile"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text); INSERT INTO rows VALUES (1, 'a'), (2, 'b')");
    let streams = [of("log-flood", &[], End::All), of("metric-flood", &[], End::All), of("trap", &[1], End::All)];
    world.config(&format!("streams:\n{}", streams.iter().map(Misdeed::yaml).collect::<String>()));
    let run = world.tidemill(&["run", "--until-caught-up", "--log-level", "warn"]);
    assert_eq!(run.code, 0, "{run}");
    let said = run.stderr;
    let line = |words: &[&str]| said.lines().find(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["WARN", "log-flood", "hostile.wasm", "dropped=9900", "limit=100", "`limits.log_lines`"],
        ["WARN", "metric-flood", "hostile.wasm", "dropped=9936", "limit=64", "`limits.metrics`"],
    ] {
        assert!(line(&words).is_some(), "no line has all of {words:?}: {said}");
    }
    assert!(line(&["ERROR plugin: panicked at hostile/src/lib.rs"]).is_some(), "{said}");
    assert!(!said.contains("plugin: line 0"), "{said}");
    world.tidemill(&["backfill", "log-flood"]).succeeded();
    let said = world.catch_up().stderr;
    assert!(said.lines().any(|line| line.contains("INFO") && line.contains("plugin: line 0")), "{said}");
    world.drop_slot();
}

/// What is wrong before any row flows is refused by `check`, and nothing runs.
#[test]
fn a_plugin_that_cannot_be_is_refused_before_it_gets_a_row() {
    let world = World::new("misdeeds_refused");
    put_fixtures(&world, &["hostile", "outsider", "clock"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    let refused = [
        ("open-loop", "hostile", "did not answer within its deadline of 100ms: raise `limits.deadline`"),
        ("open-trap", "hostile", "asked to trap at open"),
        ("plan-name-twice", "hostile", "two columns called `made`"),
        ("ungranted", "outsider", "which is not granted"),
        ("clock", "clock", "nothing grants that"),
        ("index-forged", "hostile", "`_index`"),
    ];
    for (misdeed, plugin, part) in refused {
        let hostile = Misdeed { plugin, ..of(misdeed, &[], End::All) };
        world.config(&format!("streams:\n  - {{ name: honest, from: public.rows }}\n{}", hostile.yaml()));
        world.tidemill(&["check"]).refused(1, &[part]);
    }
    // The index of another stream, even where it is granted.
    let forged = of("index-forged", &[], End::All).granted(json!({ "identity": { "index": "hon*" } }));
    world.config(&format!("streams:\n  - {{ name: honest, from: public.rows }}\n{}", forged.yaml()));
    world.tidemill(&["check"]).refused(1, &["`honest`"]);
}
