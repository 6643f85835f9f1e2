//! What a plugin does wrong is its own stream's trouble: one engine runs a stream for each misdeed, and one that is honest.

mod opening;
mod raw;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, World, await_some};

/// How a misdeed ends.
enum End {
    /// The stream is paused, and says this.
    Paused(&'static str),
    /// All rows are documents but those of these ids, which are dead letters with this code and message.
    Letters(Vec<i64>, &'static str, &'static str),
    /// Each row is a document, or a dead letter with this code and message.
    Either(&'static str, &'static str),
    /// Nothing is missing.
    All,
}

/// What a document has beside its row.
#[derive(Clone, Copy, PartialEq)]
enum Makes {
    Nothing,
    /// A text of the row's id.
    Text,
    /// A text of any row, or none.
    AnyText,
    /// The document is nothing but a number.
    Whole,
}

struct Misdeed {
    stream: &'static str,
    plugin: &'static str,
    config: Value,
    limits: Value,
    grants: Value,
    makes: Makes,
    index: &'static str,
    /// A row and the id that its document has instead of its own.
    renamed: Option<(i64, i64)>,
    /// Calls end in no answer on the way.
    fails: bool,
    end: End,
}

/// A misdeed of the fixture `hostile`.
fn of(misdeed: &'static str, rows: &[i64], end: End) -> Misdeed {
    Misdeed {
        stream: misdeed,
        plugin: "hostile",
        config: json!({ "misdeed": misdeed, "rows": rows }),
        limits: json!({ "memory": "16MiB", "deadline": "400ms" }),
        grants: json!({}),
        makes: if misdeed.starts_with("document-") { Makes::Whole } else { Makes::Text },
        index: misdeed,
        renamed: None,
        fails: matches!(end, End::Letters(_, "trap" | "limit" | "deadline" | "bad_answer", _)),
        end,
    }
}

/// A misdeed of another plugin, a filter.
fn by(plugin: &'static str, stream: &'static str, config: Value, end: End) -> Misdeed {
    Misdeed { stream, plugin, config, limits: json!({}), makes: Makes::Nothing, ..of(stream, &[], end) }
}

impl Misdeed {
    fn called(self, stream: &'static str) -> Misdeed {
        Misdeed { stream, index: stream, ..self }
    }

    fn amount(mut self, amount: u64) -> Misdeed {
        self.config["amount"] = amount.into();
        self
    }

    fn limit(mut self, name: &str, value: Value) -> Misdeed {
        self.limits[name] = value;
        self
    }

    fn granted(self, grants: Value) -> Misdeed {
        Misdeed { grants, ..self }
    }

    fn failing(self) -> Misdeed {
        Misdeed { fails: true, ..self }
    }

    /// What a row becomes that nothing is wrong with.
    fn document(&self, id: i64, row: &Value) -> Value {
        let mut document = row.clone();
        match self.makes {
            Makes::Nothing | Makes::AnyText => {}
            Makes::Text => document["made"] = format!("made of {id}").into(),
            Makes::Whole => document = json!({ "whole": id }),
        }
        document
    }

    fn yaml(&self) -> String {
        let Misdeed { stream, plugin, config, limits, grants, .. } = self;
        format!(
            "  - {{ name: {stream}, from: public.rows, stages: [{{ plugin: {plugin}.wasm, config: {config}, limits: {limits}, \
             grants: {grants} }}] }}\n"
        )
    }
}

/// Rows before and after the backfill. The table's `id` runs from 0.
const BACKFILLED: i64 = 8000;
const ROWS: i64 = 8100;
/// The changes of so many rows come in one transaction.
const STEP: i64 = 10;
/// The first row of the transaction in which misdeeds about names are.
const NAMED: i64 = 8050;
/// Those that are updated and those that are deleted in the end. No misdeed is about one of them.
const UPDATED: [i64; 2] = [100, 8060];
const DELETED: i64 = 8080;

/// What the fixture takes for one row in 512.
fn is_poison(id: &i64) -> bool {
    (*id as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 55 == 0
}

fn misdeeds() -> Vec<Misdeed> {
    use End::{All, Either, Letters, Paused};
    let one: &[i64] = &[8050];
    let letter = |code, part| Letters(vec![8050], code, part);
    let bad = |misdeed, part| of(misdeed, one, letter("bad_answer", part));
    let named = json!({ "identity": {} });
    let outside = json!({ "clocks": {}, "dirs": [], "env": {}, "random": {}, "stdio": {} });
    let outsider = |stream, config, end| by("outsider", stream, config, end).granted(outside.clone());
    let table = |plugin, end| by(plugin, plugin, json!({}), end);
    let own_index = json!({ "identity": { "index": "index-forged-*" } });
    let any_text = |misdeed| Misdeed { makes: Makes::AnyText, ..of(misdeed, &[], All) };
    let random = (0..ROWS).filter(is_poison).collect();
    let open_loop = "failed at open: it did not answer within its deadline of 400ms: raise `limits.deadline`";
    vec![
        of("open-loop", &[], Paused(open_loop)),
        of("open-trap", &[], Paused("asked to trap at open")),
        of("trap", &[7777], Letters(vec![7777], "trap", "asked to trap")),
        of("random", &[], Letters(random, "trap", "asked to trap at random")),
        outsider("dice", json!({ "do": "dice" }), Either("trap", "the dice say so")),
        of("loop", one, letter("deadline", "raise `limits.deadline`")),
        outsider("slow", json!({ "do": "slow", "row": 8050, "ms": SLOW_MS }), All).limit("deadline", json!("5s")),
        of("recursion", one, letter("limit", "raise `limits.stack`")),
        of("memory", one, letter("limit", "raise `limits.memory`")).amount(100_000_000),
        of("memory-a-row", &[], All).amount(5000).failing(),
        // What is as large as that is first the memory for a batch's ids.
        of("realloc-loop", &[], All).amount(40_000).limit("deadline", json!("200ms")).failing(),
        of("leak", &[], All).amount(3_000_000).failing(),
        table("table-a-call", All).failing(),
        table("table-at-once", Paused("raise `limits.tables`")),
        table("table-at-open", Paused("raise `limits.tables`")),
        any_text("carry"),
        // An answer of as many rows as this one needs passes, and is about these rows.
        any_text("carry-answer").failing(),
        of("log-flood", &[], All),
        of("metric-flood", &[], All),
        of("answer-large", one, letter("limit", "raise `limits.output`"))
            .amount(9_000_000)
            .limit("output", json!("8MiB")),
        of("index-flood", one, letter("limit", "raise `limits.rows_out`")),
        of("fatal", one, Paused("asked to be fatal")),
        bad("answer-2g", "its answer is none"),
        bad("pointer", "its answer is none"),
        bad("index-billion", "its answer is none"),
        bad("index-range", "index list names row"),
        bad("bitmap-short", "bitmap has"),
        bad("utf8", "not UTF-8"),
        bad("reject-utf8", "its answer is none: invalid utf-8"),
        bad("log-utf8", "its answer is none: invalid utf-8"),
        bad("offsets-fall", "offset"),
        bad("offsets-negative", "offsets fall"),
        bad("offsets-past-end", "last offset is 2147483647"),
        bad("values-short", "last offset is"),
        bad("column-missing", "brings 0 columns"),
        bad("document-cut", "no JSON object on one line"),
        bad("document-lines", "no JSON object on one line"),
        of("id-long", one, letter("id_too_long", "the index takes 512")).granted(named.clone()),
        of("id-empty", one, letter("id_empty", "empty")).granted(named.clone()),
        // The next row is in the same batch.
        of("id-forged", one, Letters(vec![8050, 8051], "name_taken", "a row with another key was given the same name"))
            .granted(named.clone()),
        // That one was there long before: the later of the two is the document.
        Misdeed { renamed: Some((8050, 3)), ..of("id-forged", one, All).amount(3).granted(named).called("id-taken") },
        Misdeed {
            index: "index-forged-own",
            ..of("index-forged", one, letter("index_not_granted", "does not allow")).granted(own_index)
        },
        outsider("plan-waver", json!({ "do": "waver" }), Paused("gives another plan than before")),
    ]
}

/// Nine tenths of its deadline.
const SLOW_MS: u64 = 4500;

fn put_fixtures(world: &World, fixtures: &[&str]) {
    for fixture in fixtures {
        let path = format!("{}/../../plugins/fixtures/{fixture}.wasm", env!("CARGO_MANIFEST_DIR"));
        world.file(&format!("{fixture}.wasm"), fs::read(path).unwrap());
    }
}

/// The table's rows by their ids, as documents show them.
fn rows(world: &World) -> BTreeMap<i64, Value> {
    let rows = world.sql.rows("SELECT id, row_to_json(rows) FROM rows");
    rows.iter().map(|row| (row[0].parse().unwrap(), serde_json::from_str(&row[1]).unwrap())).collect()
}

#[test]
fn a_hostile_plugin_is_its_own_streams_trouble() {
    let world = World::new("misdeeds");
    put_fixtures(&world, &["hostile", "outsider"]);
    raw::put_table(&world, "table-a-call", 1, 200_000);
    raw::put_table(&world, "table-at-once", 1, 2_000_000);
    raw::put_table(&world, "table-at-open", 2_000_000, 0);
    world.sql.run(&format!(
        "CREATE TABLE rows (id bigint PRIMARY KEY, name text);
         INSERT INTO rows SELECT n, 'name ' || n FROM generate_series(0, {BACKFILLED} - 1) n"
    ));
    let misdeeds = misdeeds();
    let streams: String = misdeeds.iter().map(Misdeed::yaml).collect();
    world.config(&format!("streams:\n  - {{ name: honest, from: public.rows }}\n{streams}"));
    let mut engine = world.start();
    engine.await_log("streaming");
    // One transaction after the other, each a batch of its own, so that what a plugin does to one shows in the next.
    for from in (BACKFILLED..ROWS).step_by(STEP as usize) {
        let to = from + STEP;
        world.sql.run(&format!("INSERT INTO rows SELECT n, 'name ' || n FROM generate_series({from}, {to} - 1) n"));
        world.await_documents("honest", |documents| documents.len() as i64 == to);
        if from == 8050 {
            // It works on it still.
            assert!(!world.documents("slow").contains_key("8050"));
        }
    }
    for from in UPDATED {
        world.sql.run(&format!("UPDATE rows SET name = 'new ' || id WHERE id >= {from} AND id < {from} + {STEP}"));
    }
    world.sql.run(&format!("DELETE FROM rows WHERE id >= {DELETED} AND id < {DELETED} + {STEP}"));
    let changes = ROWS + 3 * STEP;
    let status = await_some(PATIENCE, || {
        let status = world.tidemill(&["status", "--json"]).json();
        let streams = status["streams"].as_array()?.clone();
        let ended = |stream: &Value| {
            stream["state"] == "paused" || stream["rows"].as_i64() >= Some(changes) && stream["lag_bytes"] == 0
        };
        streams.iter().all(ended).then_some(streams)
    })
    .unwrap_or_else(|| panic!("not all ended: {}", world.tidemill(&["status"]).stdout));
    let by_name: BTreeMap<&str, &Value> =
        status.iter().map(|stream| (stream["name"].as_str().unwrap(), stream)).collect();
    let rows = rows(&world);
    let honest = by_name["honest"];
    assert_eq!((&honest["state"], &honest["dead_letters"]), (&json!("streaming"), &json!(0)), "{honest}");
    let log = engine.log();
    let troubled = log.lines().find(|line| line.contains(r#"stream="honest""#) && !line.contains("INFO"));
    assert_eq!(troubled, None);
    let documents = |index: &str| -> BTreeMap<i64, Value> {
        let documents = world.documents(index);
        documents.into_iter().map(|(id, document)| (id.parse().unwrap(), document)).collect()
    };
    same("honest", &documents("honest"), &rows);
    for misdeed in &misdeeds {
        let letters =
            world.tidemill(&["dead-letters", "list", "--stream", misdeed.stream, "--limit", "10000", "--json"]).json();
        let found = Found {
            status: by_name[misdeed.stream],
            documents: documents(misdeed.index),
            letters: letters["dead_letters"].as_array().unwrap(),
        };
        look(misdeed, found, &rows);
    }
    // Nine tenths of its time, and it was given the rest.
    let slow = &by_name["slow"]["stages"][0];
    assert!(slow["busy_us"].as_u64() >= Some(SLOW_MS * 1000) && slow["failures"] == 0, "{slow}");
    assert_eq!(engine.stop(), 0);
    world.drop_slot();
}

/// What came of a misdeed.
struct Found<'a> {
    status: &'a Value,
    documents: BTreeMap<i64, Value>,
    letters: &'a [Value],
}

#[track_caller]
fn same(stream: &str, documents: &BTreeMap<i64, Value>, expected: &BTreeMap<i64, Value>) {
    let differs = |id: &&i64| documents.get(id) != expected.get(id);
    let differing: Vec<i64> = documents.keys().chain(expected.keys()).filter(differs).copied().collect();
    let first = differing.first().map(|id| (documents.get(id), expected.get(id)));
    assert!(differing.is_empty(), "{stream}: {differing:?} differ, the first is {first:?}");
}

#[track_caller]
fn look(misdeed: &Misdeed, found: Found<'_>, rows: &BTreeMap<i64, Value>) {
    let Found { status, mut documents, letters } = found;
    let stream = misdeed.stream;
    let reason = status["reason"].as_str().unwrap_or_default();
    if let End::Paused(part) = misdeed.end {
        assert!(status["state"] == "paused" && reason.contains(part), "{stream}: {status}");
        assert!(letters.is_empty(), "{stream}: {letters:?}");
        return;
    }
    assert_eq!(status["state"], "streaming", "{stream}: {reason}");
    let failures = status["stages"][0]["failures"].as_u64().unwrap();
    assert!(failures > 0 || !misdeed.fails, "{stream}: no call failed");
    // The key of a letter is what its document would have been called.
    // Where the plugin gives names, a row's place in its transaction tells which it is.
    let id = |letter: &Value| match misdeed.grants["identity"].is_object() {
        true => NAMED + letter["ordinal"].as_i64().unwrap(),
        false => letter["key"].as_str().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {letter}")),
    };
    let mut refused: Vec<i64> = letters.iter().map(id).collect();
    refused.sort_unstable();
    let (code, part) = match &misdeed.end {
        End::Letters(rows, code, part) => {
            assert_eq!(&refused, rows, "{stream}: {letters:?}");
            (*code, *part)
        }
        End::Either(code, part) => (*code, *part),
        End::Paused(_) | End::All => {
            assert_eq!(refused, [0; 0], "{stream}: {letters:?}");
            ("", "")
        }
    };
    for letter in letters {
        assert!(letter["error"].as_str().unwrap().contains(part), "{stream}: {letter}");
        assert!(code.is_empty() || letter["error_type"] == code, "{stream}: {letter}");
    }
    let left = rows.iter().filter(|(id, _)| refused.binary_search(id).is_err());
    let mut expected: BTreeMap<i64, Value> = BTreeMap::new();
    for (id, row) in left {
        let called = misdeed.renamed.filter(|(row, _)| row == id).map_or(*id, |(_, called)| called);
        expected.insert(called, misdeed.document(*id, row));
    }
    if matches!(misdeed.end, End::Either(..)) {
        // A row that is refused when it is updated keeps the document that it had.
        documents.retain(|id, _| refused.binary_search(id).is_err());
    }
    if misdeed.makes == Makes::AnyText {
        documents.values_mut().filter_map(Value::as_object_mut).for_each(|document| drop(document.remove("made")));
    }
    same(stream, &documents, &expected);
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

/// What is wrong before any row flows is refused; an engine that runs is not disturbed, and none starts that would leave it out.
#[test]
fn a_plugin_that_cannot_be_is_refused_before_it_gets_a_row() {
    let world = World::new("misdeeds_refused");
    put_fixtures(&world, &["hostile", "outsider", "clock"]);
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text)");
    let honest = "streams:\n  - { name: honest, from: public.rows }\n";
    world.config(honest);
    let mut engine = world.start();
    engine.await_log("streaming");
    let of = |misdeed, plugin| Misdeed { plugin, ..of(misdeed, &[], End::All) };
    // The index of another stream, even where it is granted.
    let of_another = of("index-forged", "hostile").granted(json!({ "identity": { "index": "hon*" } }));
    let refused = [
        (of("ungranted", "outsider"), "which is not granted"),
        (of("clock", "clock"), "nothing grants that"),
        (of("plan-name-twice", "hostile"), "two columns called `made`"),
        (of("index-forged", "hostile"), "`_index`"),
        (of_another, "`honest`"),
    ];
    for (place, (misdeed, part)) in refused.iter().enumerate() {
        world.config(&format!("{honest}{}", misdeed.yaml()));
        world.tidemill(&["check"]).refused(1, &[part]);
        world.sql.run(&format!("INSERT INTO rows VALUES ({place}, 'name')"));
        world.await_documents("honest", |documents| documents.len() == place + 1);
    }
    assert_eq!(engine.stop(), 0);
    let made = world.made();
    for (misdeed, part) in refused {
        world.config(&format!("{honest}{}", misdeed.yaml()));
        world.tidemill(&["run", "--until-caught-up"]).refused(1, &[part]);
        assert_eq!(world.made(), made);
        assert_eq!(world.http().call("GET", &format!("/{}", misdeed.index), None).0, 404);
    }
    world.drop_slot();
}
