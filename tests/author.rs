//! The tools for authors of plugins, as an author uses them: folders, files, exit codes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::toolchain;
use crate::harness::{Outcome, World, tidemill};

mod first_plugin;

/// A plugin with all that it depends on, compiled from nothing on a busy machine.
const BUILD_PATIENCE: Duration = Duration::from_secs(400);

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/shipped/{name}.wasm"))
}

/// A command in a folder.
fn typed(folder: &Path, args: &[&str]) -> Command {
    let mut command = tidemill();
    command.current_dir(folder).args(args);
    command
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    Outcome::of(typed(folder, args))
}

/// A folder with a case for the shipped `where`, and the component beside it.
fn case(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(folder.path().join("cases/cheap")).expect("it is writable");
    std::fs::copy(shipped("where"), folder.path().join("mine.wasm")).expect("it is writable");
    for (name, text) in files {
        std::fs::write(folder.path().join("cases/cheap").join(name), text).expect("it is writable");
    }
    folder
}

const CONFIG: (&str, &str) = ("config.json", r#"{"predicate": "price < 10"}"#);
const SCHEMA: (&str, &str) = (
    "schema.json",
    r#"{"table": "public.products", "key": ["id"], "columns": [{"name": "id", "type": "bigint"},
       {"name": "price", "type": "numeric(10,2)"}, {"name": "tags", "type": "text[]"}]}"#,
);
const ROWS: (&str, &str) = (
    "rows.ndjson",
    r#"{"id": 1, "price": 9.99, "tags": ["a b", null]}
{"id": 2, "price": 10}
{"id": 3, "price": 0.10}
{"op": "update", "row": {"id": 3, "price": 30}}
{"op": "delete", "old": {"id": 1}}
"#,
);

/// What `where` makes of it, and what stands in the index's place for rows that leave.
const DOCUMENTS: &str = r#"{"id":1,"price":9.99,"tags":["a b",null]}
{"id":3,"price":0.10,"tags":null}
{"delete":"3"}
{"delete":"1"}
"#;

#[test]
fn a_case_is_accepted_and_then_holds_the_plugin_to_it() {
    let folder = case(&[CONFIG, SCHEMA, ROWS]);
    let test = |more: &[&str]| run(folder.path(), &[&["plugin", "test", "mine.wasm"], more].concat());
    test(&[]).refused(3, &["came out differently"]);
    test(&["--accept"]).succeeded();
    let documents = folder.path().join("cases/cheap/documents.ndjson");
    assert_eq!(std::fs::read_to_string(&documents).expect("it was written"), DOCUMENTS);
    let passed = test(&["--json"]).succeeded().json();
    let one = &passed["cases"][0];
    assert_eq!((&passed["ok"], &one["rows"], &one["documents"]), (&json!(true), &json!(5), &json!(2)), "{passed}");

    // One value is another, one line is missing, one is too many.
    let wrong = DOCUMENTS.replace("9.99", "8.99").replace("{\"delete\":\"3\"}\n", "") + "{\"id\":7}\n";
    std::fs::write(&documents, wrong).expect("it is writable");
    let told = test(&[]);
    assert_eq!(told.code, 3, "{told}");
    for line in ["row 1, line 1 of documents.ndjson", "- price: 8.99", "+ price: 9.99", "row 4 gave", "line 4 of"] {
        assert!(told.stdout.contains(line), "no `{line}` in {told}");
    }
    let told = test(&["--json"]);
    let differences = &told.json()["cases"][0]["differences"];
    assert_eq!(told.code, 3, "{told}");
    assert_eq!(differences[0]["kind"], "changed", "{differences}");
    assert_eq!(differences[0]["row"], 1, "{differences}");
    assert_eq!(differences[0]["fields"], json!([{ "field": "price", "expected": 8.99, "found": 9.99 }]));
}

#[test]
fn the_cases_of_the_shipped_plugins_hold() {
    for name in ["where", "select", "redact", "geo", "route", "split"] {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/{name}/cases"));
        let folder = tempfile::tempdir().expect("a folder");
        let (component, cases) = (shipped(name).display().to_string(), cases.display().to_string());
        let passed = run(folder.path(), &["plugin", "test", &component, "--cases", &cases, "--json"]);
        assert_eq!(passed.code, 0, "{name}: {passed}");
        assert!(passed.json()["cases"][0]["rows"].as_u64() > Some(0), "{name}: {passed}");
    }
}

#[test]
fn what_is_wrong_in_a_case_is_told_with_its_place() {
    let refused = |files: &[(&str, &str)], words: &[&str]| {
        let folder = case(files);
        run(folder.path(), &["plugin", "test", "mine.wasm"]).refused(2, words);
    };
    refused(&[CONFIG, SCHEMA], &["cases/cheap/rows.ndjson", "no rows"]);
    refused(
        &[CONFIG, SCHEMA, ("rows.ndjson", "{\"id\": 1}\n{\"idd\": 2}")],
        &["rows.ndjson", "line 2", "`idd`", "`id`"],
    );
    refused(&[SCHEMA, ROWS, ("config.json", "[]")], &["config.json", "JSON object"]);
    refused(&[CONFIG, ROWS, ("schema.json", "{")], &["schema.json"]);
    refused(&[CONFIG, SCHEMA, ROWS, ("documents.ndjson", "x")], &["documents.ndjson", "line 1"]);
    let empty = tempfile::tempdir().expect("a folder");
    run(empty.path(), &["plugin", "test"]).refused(2, &["no plugin's source", "tidemill plugin new"]);
    run(empty.path(), &["plugin", "test", "gone.wasm"]).refused(2, &["no case", "rows.ndjson"]);
}

#[test]
fn a_plugin_that_refuses_its_configuration_says_so_in_its_case() {
    let folder = case(&[SCHEMA, ROWS, ("config.json", r#"{"predicate": "prize < 10"}"#), ("documents.ndjson", "")]);
    let told = run(folder.path(), &["plugin", "test", "mine.wasm"]);
    assert_eq!(told.code, 3, "{told}");
    assert!(told.stdout.contains("prize") && told.stdout.contains("error"), "{told}");
}

#[test]
fn a_component_is_inspected() {
    let folder = case(&[CONFIG, SCHEMA]);
    let inspect = |args: &[&str]| run(folder.path(), &[&["plugin", "inspect"], args].concat());
    let found = inspect(&["mine.wasm", "--json"]).succeeded().json();
    let digest = std::fs::read_to_string(shipped("where").with_file_name("DIGESTS")).expect("it is committed");
    assert!(digest.contains(found["sha256"].as_str().expect("a digest")), "{found}");
    assert_eq!(
        (&found["world"], &found["contract"], &found["requires"]),
        (&json!("filter"), &json!("0.1.0"), &Value::Null)
    );
    let schema = ["mine.wasm", "--schema", "cases/cheap/schema.json", "--config", "cases/cheap/config.json", "--json"];
    let opened = inspect(&schema).succeeded().json();
    assert_eq!(opened["requires"], json!(["price"]), "{opened}");
    assert_eq!(opened["outputs"][2], json!({ "name": "tags", "column": "tags" }), "{opened}");
    assert_eq!(opened["naming"], Value::Null, "{opened}");
    let of_name = inspect(&["where", "--json"]).succeeded().json();
    assert_eq!((&of_name["sha256"], &of_name["world"]), (&found["sha256"], &json!("filter")));
    names_are_told();
    let clock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/fixtures/clock.wasm");
    inspect(&[clock.to_str().expect("plain")])
        .refused(1, &["fixture:clock/wall@1.0.0", "granted by nobody", "exports"]);
    std::fs::write(folder.path().join("core.wasm"), b"\0asm\x01\0\0\0").expect("it is writable");
    inspect(&["core.wasm"]).refused(1, &["core module", "tidemill plugin build"]);
    inspect(&["gone.wasm"]).refused(2, &["gone.wasm"]);
    run(folder.path(), &["plugin", "build", "core.wasm"]).refused(2, &["-o"]);
    run(folder.path(), &["plugin", "build", "core.wasm", "-o", "x.wasm"]).refused(2, &["--world"]);
    run(folder.path(), &["plugin", "build", "mine.wasm", "-o", "x.wasm"]).refused(2, &["no core module"]);
}

/// What a plugin names itself is no column of its documents, and told beside them.
fn names_are_told() {
    let inspect = |name: &str, case: &str, more: &[&str]| {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/{name}/cases/{case}"));
        let file = |file: &str| case.join(file).display().to_string();
        let (schema, config, grants) = (file("schema.json"), file("config.json"), file("grants.json"));
        let args = ["plugin", "inspect", name, "--schema", &schema, "--config", &config, "--grants", &grants];
        run(&case, &[&args, more].concat()).succeeded()
    };
    let naming = &inspect("route", "first", &["--json"]).json()["naming"];
    assert!(naming["index"].is_string() && naming["of"] == "row" && naming["many"] == false, "{naming}");
    let told = inspect("route", "first", &[]).stdout;
    let of_row = "made of any column: needs REPLICA IDENTITY FULL";
    assert!(told.ends_with(&format!("\nnames    _index (within logs-*), _routing, {of_row}\n")), "{told}");
    let naming = &inspect("split", "arrays", &["--json"]).json()["naming"];
    assert!(naming["id"] == true && naming["index"] == Value::Null && naming["many"] == true, "{naming}");
    let told = inspect("split", "arrays", &[]).stdout;
    assert!(told.ends_with(&format!("\nnames    _id, {of_row}; one row may become several documents\n")), "{told}");
}

#[test]
fn a_plugin_is_measured_beside_one_that_passes_every_row() {
    let folder = case(&[CONFIG, SCHEMA, ROWS]);
    let bench = |args: &[&str]| run(folder.path(), &[&["plugin", "bench"], args, &["--seconds", "0"]].concat());
    let found = bench(&["mine.wasm", "--batch", "1000", "--json"]).succeeded().json();
    let digest = std::fs::read_to_string(shipped("where").with_file_name("DIGESTS")).expect("it is committed");
    assert!(digest.contains(found["plugin"]["sha256"].as_str().expect("a digest")), "{found}");
    assert_eq!((&found["made"], &found["rows"], &found["requires"]), (&json!(true), &json!(5000), &json!(["price"])));
    let (plugin, yardstick) = (&found["plugin"], &found["yardstick"]);
    let number = |of: &Value, name: &str| of[name].as_f64().unwrap_or_else(|| panic!("no {name} in {of}"));
    // Both get the same bytes; one answers a bit a row, the other one word.
    assert!(number(plugin, "bytes_in_per_batch") > 1000.0, "{found}");
    assert_eq!(plugin["bytes_in_per_batch"], yardstick["bytes_in_per_batch"], "{found}");
    // A batch of which no row stays needs no bits.
    let out = ["plugin", "yardstick"].map(|side| number(&found[side], "bytes_out_per_batch"));
    assert!((1.0..=125.0).contains(&out[0]) && out[1] == 0.0, "{found}");
    assert_eq!(yardstick["documents"], yardstick["rows"], "{found}");
    assert!(number(plugin, "documents") < 1000.0 && number(plugin, "failures") == 0.0, "{found}");
    for of in [plugin, yardstick] {
        assert!(number(of, "memory_bytes") >= 65_536.0 && number(of, "rows_per_second") > 0.0, "{found}");
    }
    assert!(number(&found, "ratio") > 1.0, "{found}");
    let told = bench(&["where", "--schema", "cases/cheap/schema.json", "--config", r#"{"predicate": "id > 7"}"#]);
    let told = told.succeeded().stdout;
    for line in ["50,000 rows made for public.products, in batches of 10,000; asked for: id", "ratio ", "pass-through"]
    {
        assert!(told.contains(line), "no `{line}` in {told}");
    }
    bench(&["mine.wasm", "--config", "{7}"]).refused(2, &["--config"]);
    bench(&["mine.wasm", "--config", r#"{"predicate": "prize < 10"}"#]).refused(1, &["prize"]);
    bench(&["mine.wasm", "--grants", r#"{"clock": {}}"#]).refused(2, &["--grants", "`clock`", "`clocks`"]);
}

const TABLE: &str = "CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE TABLE products (id bigint PRIMARY KEY, name text, price numeric(10,2), mood mood, tags text[], attributes jsonb,
        seen timestamptz, raw bytea);
    INSERT INTO products SELECT n, E'tab\\t' || n || E'\\n\\\\N', n / 10.0, 'sad', ARRAY['a', NULL], '{\"a\": [1, 2.50]}',
        timestamptz '2026-01-01 00:00:00+00' + n * interval '1 hour', '\\x00ff' FROM generate_series(1, 300) n";

const STREAM: &str = "streams:
  - name: products
    from: public.products
    where: price < 20
    index: products";

#[test]
fn captured_rows_become_the_documents_of_the_index_and_nothing_moves() {
    let world = World::new("capture");
    world.sql.run(TABLE);
    world.config(STREAM);
    let folder = world.dir.path();
    let capture = |args: &[&str]| world.tidemill(&[&["capture", "products"], args].concat());
    let file = folder.join("rows.capture");
    let path = file.to_str().expect("plain");
    let taken = capture(&["-o", path, "--json"]).succeeded().json();
    assert_eq!((&taken["rows"], &taken["table"]), (&json!(300), &json!("public.products")), "{taken}");
    assert_eq!(std::fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);

    world.catch_up();
    let mut replayed = replay(folder, &["rows.capture", "--plugin", "where", "--config", PRICES, "--examples", "1000"]);
    assert_eq!(replayed["plugin"]["documents"], 199, "{replayed}");
    assert_eq!(replayed["captured_with"][0]["name"], "where");
    let mut documents: Vec<Value> = world.documents("products").into_values().collect();
    let by_id = |document: &Value| document["id"].as_u64();
    documents.sort_by_key(by_id);
    let shown = replayed["documents"].as_array_mut().expect("a list");
    shown.sort_by_key(by_id);
    assert_eq!(*shown, documents);

    changes(&world);
    two_plugins(folder);
    masked(&world);
    world.drop_slot();
}

const PRICES: &str = r#"{"predicate": "price < 20"}"#;

fn replay(folder: &Path, args: &[&str]) -> Value {
    let outcome = run(folder, &[&["plugin", "replay", "--json"], args].concat());
    assert!([0, 3].contains(&outcome.code), "{outcome}");
    outcome.json()
}

/// Changes that wait in the slot are taken, and wait there as before.
fn changes(world: &World) {
    world.sql.run("UPDATE products SET price = 99 WHERE id = 1; UPDATE products SET id = 1000 WHERE id = 2; DELETE FROM products WHERE id = 3");
    let folder = world.dir.path();
    let file = folder.join("changes.capture");
    let before = world.slot_confirmed();
    let taken = world.tidemill(&["capture", "products", "--changes", "-o", file.to_str().expect("plain")]).succeeded();
    assert!(taken.stdout.contains("3 changes"), "{taken}");
    assert_eq!(world.slot_confirmed(), before);
    let replayed = replay(folder, &["changes.capture", "--plugin", "where", "--config", PRICES]);
    let documents = replayed["documents"].as_array().expect("a list");
    let deletes: Vec<_> = documents.iter().filter_map(|line| line["delete"].as_str()).collect();
    assert_eq!(deletes, ["1", "2", "3"], "{replayed}");
    assert_eq!(replayed["plugin"]["documents"], 1, "{replayed}");
    let engine = world.start();
    crate::harness::await_some(crate::harness::PATIENCE, || {
        (world.sql.one("SELECT count(active_pid) FROM pg_replication_slots WHERE slot_name = current_database()")
            == "1")
            .then_some(())
    })
    .expect("the engine streams");
    let refused = world.tidemill(&["capture", "products", "--changes", "-o", file.to_str().expect("plain")]);
    refused.refused(1, &["slot", "an engine streams from it", "--changes"]);
    assert_eq!(engine.stop(), 0);
}

fn two_plugins(folder: &Path) {
    let same = run(
        folder,
        &["plugin", "replay", "rows.capture", "--plugin", "where", "--against", "where", "--config", PRICES],
    );
    let same = same.succeeded();
    assert!(same.stdout.contains("199 equal, 0 added, 0 removed, 0 changed"), "{same}");
    let digest = std::fs::read_to_string(shipped("where").with_file_name("DIGESTS")).expect("it is committed");
    let digest = digest.lines().find_map(|line| line.strip_prefix("where ")?.split(' ').nth(1)).expect("a digest");
    // What the rows met when they were captured, and both sides now.
    assert_eq!(same.stdout.matches(digest).count(), 3, "{same}");
    let other = r#"{"predicate": "price >= 10"}"#;
    let both =
        ["rows.capture", "--plugin", "where", "--against", "where", "--config", PRICES, "--against-config", other];
    let outcome = run(folder, &[&["plugin", "replay"], &both[..]].concat());
    assert_eq!(outcome.code, 3, "{outcome}");
    let replayed = replay(folder, &both);
    let counts =
        ["equal", "added", "removed", "changed"].map(|what| replayed["differences"][what].as_u64().unwrap_or(0));
    assert_eq!(counts, [100, 99, 101, 0], "{replayed}");
    let columns = r#"{"columns": ["id", "name"]}"#;
    let fewer =
        ["rows.capture", "--plugin", "select", "--against", "where", "--config", columns, "--against-config", PRICES];
    let replayed = replay(folder, &fewer);
    assert_eq!(replayed["differences"]["changed"], 199, "{replayed}");
    assert_eq!(replayed["differences"]["fields"]["price"], 199, "{replayed}");
    run(folder, &["plugin", "replay", "rows.capture", "--plugin", "where", "--config", r#"{"predicate": "x"}"#])
        .refused(1, &["where", "x"]);
    std::fs::write(folder.join("no.capture"), "{}").expect("it is writable");
    run(folder, &["plugin", "replay", "no.capture", "--plugin", "where"]).refused(2, &["no.capture", "first line"]);
}

fn masked(world: &World) {
    let file = world.dir.path().join("masked.capture");
    let path = file.to_str().expect("plain");
    world.tidemill(&["capture", "products", "--rows", "10", "--mask", "name,price,seen", "-o", path]).succeeded();
    let text = std::fs::read_to_string(&file).expect("written");
    assert_eq!(text.lines().count(), 11);
    assert!(!text.contains(r"tab\t") && !text.contains("2026-01"), "{text}");
    let replayed = replay(
        world.dir.path(),
        &["masked.capture", "--plugin", "select", "--config", r#"{"columns": ["id", "price", "seen"]}"#],
    );
    assert_eq!(
        (&replayed["plugin"]["documents"], &replayed["masked"]),
        (&json!(10), &json!(["name", "price", "seen"]))
    );
    world.tidemill(&["capture", "products", "--mask", "nmae", "-o", path]).refused(2, &["--mask", "`nmae`", "name"]);
    world.tidemill(&["capture", "prodcts"]).refused(2, &["prodcts", "products"]);
}

#[test]
fn a_new_plugin_builds_and_passes_its_test_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = run(folder.path(), &["plugin", "new", "words", "--json"]).succeeded().json();
    assert!(made["files"].as_array().expect("a list").contains(&json!("README.md")), "{made}");
    run(folder.path(), &["plugin", "new", "words"]).refused(2, &["words", "is there already"]);
    run(folder.path(), &["plugin", "new", "two words"]).refused(2, &["two words", "small letter"]);
    run(folder.path(), &["plugin", "new", "words2", "--lang", "cobol"]).refused(2, &["cobol", "rust"]);
    run(folder.path(), &["plugin", "new", "slugs", "--kind", "transform"]).succeeded();

    // A machine without the target: what is missing is told, with the way to get it.
    let mut bare = typed(folder.path(), &["plugin", "build", "words"]);
    bare.env("RUSTC", "/nowhere/rustc").env("WASM_HOME", "/nowhere");
    Outcome::of(bare).refused(1, &["/nowhere/rustc", "rustup"]);
    if !toolchain::is_here("rust") {
        return run(folder.path(), &["plugin", "build", "words"])
            .refused(1, &["wasm32-unknown-unknown", "scripts/wasm-target.sh"]);
    }
    for name in ["words", "slugs"] {
        let mut test = typed(folder.path(), &["plugin", "test", name, "--json"]);
        // What both depend on is compiled once.
        test.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/author"));
        let passed = Outcome::within(BUILD_PATIENCE, test).succeeded().json();
        assert_eq!(passed["ok"], true, "{passed}");
        assert!(folder.path().join(name).join(format!("{name}.wasm")).is_file());
    }
    between_is_the_only_setting(folder.path(), "slugs");
    let again = run(folder.path(), &["plugin", "test", "words"]).succeeded();
    assert!(!again.stderr.contains("Compiling"), "nothing changed, so nothing is built: {again}");
}

#[test]
fn plugins_in_go_and_python_build_and_pass_their_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = |name: &str, language: &str, kind: &str| {
        run(folder.path(), &["plugin", "new", name, "--lang", language, "--kind", kind]).succeeded();
    };
    // Filters are made by README's own lines: `first_plugin`.
    new("go-slugs", "go", "transform");
    new("py-slugs", "python", "transform");

    // A machine without the tools: what is missing is told, with the way to get it.
    for (name, words) in
        [("go-slugs", ["`go`", "https://go.dev/dl"]), ("py-slugs", ["componentize-py==", "bin/pip install"])]
    {
        let mut bare = typed(folder.path(), &["plugin", "build", name]);
        bare.env("PATH", "/nowhere").env("HOME", "/nowhere").env_remove("XDG_CACHE_HOME").env_remove("TIDEMILL_CACHE");
        Outcome::of(bare).refused(1, &words);
    }
    for (name, tools, language) in [("go-slugs", "go", "Go"), ("py-slugs", "python", "Python")] {
        if !toolchain::is_here(tools) {
            continue;
        }
        let test = typed(folder.path(), &["plugin", "test", name, "--json"]);
        let passed = Outcome::within(BUILD_PATIENCE, test).succeeded().json();
        assert_eq!(passed["ok"], true, "{passed}");
        let component = format!("{name}/{name}.wasm");
        let found = run(folder.path(), &["plugin", "inspect", &component, "--json"]).succeeded().json();
        assert!(found["producers"]["language"][0].as_str().is_some_and(|of| of.starts_with(language)), "{found}");
        // WASI is answered inside, so that nothing has to be granted.
        let imports = found["imports"].as_array().expect("a list");
        assert!(imports.iter().all(|import| import["granted_by"] == "the contract, always"), "{found}");
        between_is_the_only_setting(folder.path(), name);
    }
}

/// A transform of a template says which setting it does not know.
fn between_is_the_only_setting(folder: &Path, name: &str) {
    let (component, schema) = (format!("{name}/{name}.wasm"), format!("{name}/cases/first/schema.json"));
    let opened =
        |config: &str| run(folder, &["plugin", "inspect", &component, "--schema", &schema, "--config", config]);
    opened(r#"{"between": "_"}"#).succeeded();
    opened(r#"{"betwen": "_"}"#).refused(1, &["betwen"]);
}
