//! What the file may say, and what each mistake is answered with.

use std::path::Path;
use std::time::Duration;

use super::*;

/// Variables that every test has.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "ES_API_KEY" => "id:key",
        "TOKEN" => "hunter2",
        "PASSWORD" => "p@ss/w:rd",
        "DOCUMENTS" => "500",
        "NUMBER" => "0123",
        "ON" => "true",
        "WORD" => "strings",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("t.yaml"), &variable)
}

/// A small configuration to which the lines of a case are added, or whose keys they replace.
const SMALL: &str = "\
source: { url: postgres://u@h/db }
sink: { url: http://h:9200 }
streams:
  - name: products
    from: public.products
";

fn with(lines: &str) -> String {
    format!("{SMALL}{lines}")
}

fn ok(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Asserts the error's exact text, without the file's name, which every error begins with.
fn refused(text: &str, expected: &str) {
    let error = parse(text).err().unwrap_or_else(|| panic!("this should be refused:\n{text}"));
    assert!(error.is_usage());
    let message = error.to_string();
    let message = message.strip_prefix("t.yaml:").unwrap_or_else(|| panic!("no file in: {message}"));
    assert_eq!(message, expected, "\n{text}");
}

/// The example of the documentation, each key there is.
const EXAMPLE: &str = r#"
source:
  url: postgres://tidemill@db.example:5432/shop?sslmode=require
  password: { file: PASSWORD_FILE }     # or inside the url
  slot: tidemill
  publication: tidemill
  wal: { keep: 10GiB, spill: 20GiB, then: hold }
sink:
  url: https://localhost:9200
  auth: { api_key: "${ES_API_KEY}" }
  tls: { ca: ca.pem, cert: cert.pem, key: key.pem }
  timeout: 30s
  gzip: false
sinks:
  audit: { url: http://other:9200 }
defaults:
  batch: { documents: 10000, bytes: 8MiB }
streams:
  - name: products
    from: public.products
    actions: [insert, update, delete]
    backfill: true
    where: in_stock = true
    stages:
      - plugin: plugins/enrich.wasm
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        config: { currency: EUR }
        limits: { memory: 256MiB, deadline: 10s }
        grants: {}
    columns: [name, description, price, in_stock]
    sink: main
    index: products
    create: true
    id: "{id}"
    routing: "{tenant_id}"
    pipeline: embeddings
    numbers: exact
    nonfinite: string
    long_id: refuse
    dead_letters: { rows: 100000, bytes: 1GiB, then: pause }
    rejects: { ratio: 0.5, of: 1000 }
state: tidemill.db
http: { listen: 127.0.0.1:7070, token: "${TOKEN}" }
ready: { lag: 60s }
"#;

#[test]
fn the_example_has_every_key_and_means_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pg"), "secret\n").unwrap();
    let text = EXAMPLE.replace("PASSWORD_FILE", "pg");
    let path = dir.path().join("tidemill.yaml");
    // All is read and typed; what is not there yet is then refused by name.
    let error = Config::parse(&text, &path, &variable).unwrap_err().to_string();
    assert!(
        error
            .ends_with("tidemill.yaml:7:30: source.wal.spill: spilling changes to disk is not there yet: leave it out"),
        "{error}"
    );

    let config = Config::parse(&text.replace(" spill: 20GiB,", ""), &path, &variable).unwrap();
    assert_eq!(config.source.password.as_ref().unwrap().expose(), "secret");
    assert_eq!(config.source.slot.as_str(), "tidemill");
    assert_eq!(config.source.wal_keep_bytes, Some(10 << 30));
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["audit", "main"]);
    let main = &config.sinks["main"];
    assert_eq!(main.urls[0].as_str(), "https://localhost:9200/");
    assert_eq!(main.auth.header().unwrap().expose(), "ApiKey aWQ6a2V5");
    assert_eq!(main.tls.ca.as_deref(), Some(dir.path().join("ca.pem").as_path()));
    assert_eq!((main.timeout, main.gzip), (Duration::from_secs(30), false));
    let stream = &config.streams[0];
    assert_eq!(stream.batch, Batch { documents_max: 10_000, bytes_max: 8 << 20 });
    assert!(stream.from.matches("public", "products") && stream.backfill);
    assert_eq!(stream.filter.as_deref(), Some("in_stock = true"));
    assert_eq!(stream.stages[0].plugin, Plugin::File(dir.path().join("plugins/enrich.wasm")));
    assert_eq!(stream.stages[0].config, Some(serde_json::json!({ "currency": "EUR" })));
    assert_eq!(
        stream.columns,
        Some(Columns::Names(["name", "description", "price", "in_stock"].map(Into::into).into()))
    );
    assert_eq!(stream.id.as_ref().unwrap().fields().collect::<Vec<_>>(), ["id"]);
    assert_eq!(stream.create, Some(Create::Proposed));
    assert_eq!(config.state, dir.path().join("tidemill.db"));
    assert_eq!(config.http.as_ref().unwrap().listen.port(), 7070);
    assert_eq!(config.ready.lag, Duration::from_secs(60));

    let printed = format!("{config:?}");
    for secret in ["secret", "hunter2", "id:key", "EUR"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = ok(SMALL);
    assert_eq!((config.source.slot.as_str(), config.source.publication.as_str()), ("tidemill", "tidemill"));
    assert_eq!(config.state, Path::new("tidemill.db"));
    let stream = &config.streams[0];
    assert_eq!((stream.sink.as_str(), stream.index.to_string().as_str()), ("main", "products"));
    assert!(stream.backfill && stream.stages.is_empty() && stream.columns.is_none() && stream.id.is_none());
    assert_eq!(stream.actions, Actions { insert: true, update: true, delete: true });
    assert_eq!(stream.dead_letters.then, DeadLettersThen::Pause);
    let directory = |name: &str| (name == "STATE_DIRECTORY").then(|| "/var/lib/tidemill:/x".to_owned());
    let config = Config::parse(SMALL, Path::new("/etc/t.yaml"), &directory).unwrap();
    assert_eq!(config.state, Path::new("/var/lib/tidemill/tidemill.db"));
}

#[test]
fn variables_take_the_type_that_is_asked_for() {
    let config = ok(&with(
        "    batch: { documents: \"${DOCUMENTS}\" }
    backfill: ${ON}
    numbers: ${WORD}
    rejects: { of: ${NONE:-7} }
    where: price = '$${x}'
    pipeline: ${NUMBER}
    stages: [{ plugin: a.wasm, config: { a: \"${NUMBER}\", b: 1, c: [null, 1.5, \"x\"] } }]
"
        .replace("${NONE:-7}", "\"${NONE:-7}\"")
        .as_str(),
    ));
    let stream = &config.streams[0];
    assert_eq!((stream.batch.documents_max, stream.backfill, stream.rejects.of), (500, true, 7));
    assert_eq!(stream.numbers, Numbers::Strings);
    assert_eq!(stream.filter.as_deref(), Some("price = '${x}'"));
    assert_eq!(stream.pipeline.as_deref(), Some("0123"));
    let config = stream.stages[0].config.as_ref().unwrap();
    assert_eq!(*config, serde_json::json!({ "a": "0123", "b": 1, "c": [null, 1.5, "x"] }));
}

#[test]
fn a_stages_secrets_stand_beside_its_configuration_and_print_nowhere() {
    let stage = |lines: &str| with(&format!("    stages: [{{ plugin: a.wasm, {lines} }}]\n"));
    let config = ok(&stage("config: { fields: { a: hash } }, secrets: { key: hunter2 }"));
    let [(name, secret)] = config.streams[0].stages[0].secrets.as_slice() else { panic!("one") };
    assert_eq!((name.as_str(), secret.expose()), ("key", "hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    refused(
        &stage("config: { key: b }, secrets: { key: hunter2 }"),
        "6:68: streams[0].stages[0].secrets.key: `config` has `key` too: leave one of them out",
    );
    refused(
        &stage("config: [key], secrets: { key: hunter2 }"),
        "6:56: streams[0].stages[0].secrets: secrets stand beside the settings of `config`, and that is no map here",
    );
}

#[test]
fn a_password_in_a_variable_may_hold_any_character() {
    let config = ok(&SMALL.replace("postgres://u@h/db", "\"postgres://u:${PASSWORD}@h/db?sslmode=${MODE:-prefer}\""));
    assert_eq!(config.source.url.expose(), "postgres://u:p%40ss%2Fw%3Ard@h/db?sslmode=prefer");
    let config = ok(&SMALL.replace("http://h:9200", "\"https://es:${PASSWORD}@h:9200/prefix\""));
    let sink = &config.sinks["main"];
    assert_eq!(sink.urls[0].as_str(), "https://h:9200/prefix/");
    assert_eq!(sink.auth, Auth::Basic { user: "es".into(), password: Secret::new("p@ss/w:rd") });
    assert_eq!(sink.auth.header().unwrap().expose(), "Basic ZXM6cEBzcy93OnJk");
}

#[test]
fn defaults_reach_every_stream() {
    let text = "\
source: { url: postgres://u@h/db }
sinks: { a: { urls: [http://h:9200, http://i:9200] }, b: { url: http://h:9201, auth: none } }
defaults:
  sink: a
  batch: { documents: 7, bytes: 1MiB }
  columns: { x: y }
streams:
  - { name: one, from: [a.b, c.*], batch: { bytes: 2MiB } }
  - { name: two, from: { include: ['s.*'], exclude: [s.secret] }, sink: b, columns: [z] }
";
    let config = ok(text);
    let [one, two] = config.streams.as_slice() else { panic!("two streams") };
    assert_eq!(one.batch, Batch { documents_max: 7, bytes_max: 2 << 20 });
    assert_eq!(one.columns, Some(Columns::Fields(vec![("x".into(), "y".into())])));
    assert_eq!(two.columns, Some(Columns::Names(vec!["z".into()])));
    assert_eq!((one.sink.as_str(), two.sink.as_str()), ("a", "b"));
    assert!(two.from.matches("s", "x") && !two.from.matches("s", "secret"));
    assert_eq!(config.sinks["a"].urls.len(), 2);
    // What is wrong in the defaults is shown where it was typed.
    refused(
        &text.replace("documents: 7", "documents: 70000"),
        "5:23: streams[0].batch.documents: a request has 1 to 10000 documents",
    );
    refused(&text.replace("sink: a\n", "sinc: a\n"), "4:3: defaults: unknown key `sinc`: did you mean `sink`?");
    refused(
        &text.replace("sink: a\n", "name: a\n"),
        "4:9: defaults.name: a name belongs to one stream: write it there",
    );
}

#[test]
fn what_is_not_yaml_is_placed() {
    refused("", "1:1: the file is empty: it needs at least `source`, `sink` and `streams`");
    refused("# nothing\n", "1:1: the file is empty: it needs at least `source`, `sink` and `streams`");
    refused("hello", "1:1: expected a map with `source`, `sink` and `streams`, found a text");
    refused("- a\n", "1:1: expected a map with `source`, `sink` and `streams`, found a list");
    refused("source: [\n", "2:1: this is not YAML: while parsing a node, did not find expected node content");
    refused(
        "source: { url: ${X} }\n",
        "1:17: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}' (inside braces a variable stands in quotes: \"${X}\")",
    );
    refused(
        "a: 1\n\tb: 2\n",
        "1:4: this is not YAML: while scanning a plain scalar, found a tab (indent with spaces, not with tabs)",
    );
    refused(&format!("{SMALL}---\na: 1\n"), "6:1: a second document begins here: a configuration is one document");
    refused(&with("state: a\nstate: b\n"), "7:1: state: this key is there twice");
    refused(&with("state: !secret a\n"), "6:8: the tag `!secret` means nothing here: leave it out");
    refused("? [a]\n: b\n", "1:3: a list or map cannot be a key: write a name");
}

#[test]
fn unknown_keys_are_refused_at_each_level() {
    refused(&with("statte: x\n"), "6:1: unknown key `statte`: did you mean `state`?");
    refused(
        &with("xyzzy: x\n"),
        "6:1: unknown key `xyzzy`: known here: `source`, `sink`, `sinks`, `defaults`, `streams`, `state`, `http`, `ready`",
    );
    let source = |keys: &str| SMALL.replace("postgres://u@h/db", &format!("postgres://u@h/db, {keys}"));
    refused(&source("pasword: x"), "1:35: source: unknown key `pasword`: did you mean `password`?");
    refused(&source("wal: { kep: 1 }"), "1:42: source.wal: unknown key `kep`: did you mean `keep`?");
    refused(&source("password: { fil: x }"), "1:47: source.password: unknown key `fil`: did you mean `file`?");
    let sink = |keys: &str| SMALL.replace("http://h:9200", &format!("http://h:9200, {keys}"));
    refused(&sink("gzipp: true"), "2:29: sink: unknown key `gzipp`: did you mean `gzip`?");
    refused(&sink("auth: { apikey: x }"), "2:37: sink.auth: unknown key `apikey`: did you mean `api_key`?");
    refused(
        &sink("auth: { basic: { usr: x, password: y } }"),
        "2:46: sink.auth.basic: unknown key `usr`: did you mean `user`?",
    );
    refused(&sink("tls: { cacert: x }"), "2:36: sink.tls: unknown key `cacert`: did you mean `cert`?");
    refused(&with("    indx: a\n"), "6:5: streams[0]: unknown key `indx`: did you mean `index`?");
    refused(
        &with("    from: a\n").replace("    from: public.products\n    from: a", "    from: { includes: [a] }"),
        "5:13: streams[0].from: unknown key `includes`: did you mean `include`?",
    );
    refused(
        &with("    stages:\n      - plugin: a.wasm\n        limits: { mem: 1 }\n"),
        "8:19: streams[0].stages[0].limits: unknown key `mem`: did you mean `memory`?",
    );
    refused(
        &with("    batch: { document: 1 }\n"),
        "6:14: streams[0].batch: unknown key `document`: did you mean `documents`?",
    );
    refused(
        &with("    dead_letters: { row: 1 }\n"),
        "6:21: streams[0].dead_letters: unknown key `row`: did you mean `rows`?",
    );
    refused(
        &with("    rejects: { ration: 1 }\n"),
        "6:16: streams[0].rejects: unknown key `ration`: did you mean `ratio`?",
    );
    refused(
        &with("    backfill: { paralel: 1 }\n"),
        "6:17: streams[0].backfill: unknown key `paralel`: did you mean `parallel`?",
    );
    refused(&with("http: { listen: a, tokn: b }\n"), "6:20: http: unknown key `tokn`: did you mean `token`?");
    refused(&with("ready: { lagg: 1s }\n"), "6:10: ready: unknown key `lagg`: did you mean `lag`?");
}

#[test]
fn wrong_types_are_refused_without_showing_the_value() {
    let cases = [
        (
            "    batch: { documents: lots }\n",
            "6:25: streams[0].batch.documents: expected a whole number, zero or more, found a text",
        ),
        (
            "    batch: { documents: -1 }\n",
            "6:25: streams[0].batch.documents: this value does not fit: expected a whole number, zero or more",
        ),
        (
            "    batch: { bytes: 1.5 }\n",
            "6:21: streams[0].batch.bytes: expected a size such as 8MiB, 500KB or a number of bytes, found a number",
        ),
        (
            "    batch: { bytes: 8M }\n",
            "6:21: streams[0].batch.bytes: `8M` is no size: write one as 8MiB, 500KB or a number of bytes",
        ),
        ("    batch: 5\n", "6:12: streams[0].batch: expected a map with `documents` and `bytes`, found a whole number"),
        ("    batch: [5]\n", "6:12: streams[0].batch: expected a map with `documents` and `bytes`, found a list"),
        (
            "    backfill: maybe\n",
            "6:15: streams[0].backfill: expected true, false, or a map with `where`, `parallel` and `rate`, found a text",
        ),
        ("    create: \"yes\"\n", "6:13: streams[0].create: expected true or false, found a text"),
        (
            "    where: 5\n",
            "6:12: streams[0].where: expected a text, found a whole number: put it in quotes if it is meant as text",
        ),
        ("    where: [a]\n", "6:12: streams[0].where: expected a text, found a list"),
        (
            "    columns: name\n",
            "6:14: streams[0].columns: expected a list of columns, or a map from field to expression, found a text",
        ),
        ("    columns: [a, [b]]\n", "6:18: streams[0].columns[1]: expected a text, found a list"),
        ("    actions: insert\n", "6:14: streams[0].actions: expected a list, found a text"),
        (
            "    actions: [insert, updat]\n",
            "6:23: streams[0].actions[1]: expected one of `insert`, `update`, `delete`: did you mean `update`?",
        ),
        ("    numbers: 5\n", "6:14: streams[0].numbers: expected one of `exact`, `strings`"),
        ("    numbers: [exact]\n", "6:14: streams[0].numbers: expected one of `exact`, `strings`"),
        ("    stages: { plugin: x }\n", "6:13: streams[0].stages: expected a list, found a map"),
        ("    stages: [{ config: x }]\n", "6:14: streams[0].stages[0]: the key `plugin` is missing"),
        (
            "    stages: [{ plugin: a.wasm, config: [.inf] }]\n",
            "6:41: streams[0].stages[0].config[0]: only a finite number can stand here",
        ),
        ("    rejects: { ratio: half }\n", "6:23: streams[0].rejects.ratio: expected a number, found a text"),
        ("ready: { lag: 60 }\n", "6:15: ready.lag: expected a time such as 250ms, 5s, 10m or 1h, found a whole number"),
        ("ready: { lag: 60 sec }\n", "6:15: ready.lag: `60 sec` is no time: write one as 250ms, 5s, 10m or 1h"),
        (
            "http: { listen: a, token: 12345 }\n",
            "6:27: http.token: expected a text or { file: path }, found a whole number: put it in quotes if it is meant as text",
        ),
        (
            "http: { listen: a, token: [hunter2] }\n",
            "6:27: http.token: expected a text or { file: path }, found a list",
        ),
        ("http: true\n", "6:7: http: expected a map with `listen` and `token`, found true or false"),
    ];
    for (lines, expected) in cases {
        refused(&with(lines), expected);
    }
    refused(
        "source: postgres://h\nsink: {}\nstreams: []\n",
        "1:9: source: expected a map with the key `url`, found a text",
    );
    refused(&SMALL.replace("postgres://u@h/db", "[]"), "1:16: source.url: expected a text, found a list");
    refused("sink: {}\nstreams: []\n", "1:1: the key `source` is missing");
    refused("source: { url: postgres://h/d }\nsink: { url: http://h }\n", "1:1: the key `streams` is missing");
}

#[test]
fn values_that_cannot_be_are_refused() {
    let cases = [
        ("    index: Products\n", "6:12: streams[0].index: an index's name must be lowercase: write `products`"),
        ("    index: a b\n", "6:12: streams[0].index: the server forbids ' ' in an index's name: leave it out"),
        (
            "    index: _a\n",
            "6:12: streams[0].index: `_a` begins with `-`, `_` or `+`, which the server forbids for an index: begin with a letter",
        ),
        (
            "    index: \"{id}\"\n",
            "6:12: streams[0].index: an index is named by {schema} and {table} alone, not by {id}: an index by the row's values is not there yet",
        ),
        ("    id: fixed\n", "6:9: streams[0].id: every row would have this id: name a column, as in \"{id}\""),
        ("    id: \"{id\"\n", "6:9: streams[0].id: `{` stands alone: a value is written {name}, the brace itself {{"),
        (
            "    id: \"{a}{b}\"\n",
            "6:9: streams[0].id: two rows could have one id, since nothing tells where {a} ends and {b} begins: put a sign between them, as in \"{a}-{b}\"",
        ),
        (
            "    id: \"{a}%-{b}\"\n",
            "6:9: streams[0].id: a `%` behind {a} could be taken for an escaped sign of its value: begin with another sign what stands between {a} and {b}",
        ),
        ("    where: \" \"\n", "6:12: streams[0].where: the condition is empty: leave the key out"),
        ("    actions: []\n", "6:14: streams[0].actions: no action is named: leave the key out to take in all"),
        ("    columns: []\n", "6:14: streams[0].columns: no column is named: leave the key out to take all"),
        ("    columns: [a, b, a]\n", "6:21: streams[0].columns[2]: the column `a` is there twice"),
        ("    sink: mian\n", "6:11: streams[0].sink: there is no sink `mian`: did you mean `main`?"),
        ("    batch: { documents: 0 }\n", "6:25: streams[0].batch.documents: a request has 1 to 10000 documents"),
        ("    batch: { bytes: 1GiB }\n", "6:21: streams[0].batch.bytes: a request has 4KiB to 100MiB"),
        (
            "    dead_letters: { rows: 0 }\n",
            "6:27: streams[0].dead_letters.rows: at least one dead letter must have room",
        ),
        ("    rejects: { ratio: 1.5 }\n", "6:23: streams[0].rejects.ratio: a share is between 0 and 1"),
        (
            "    create: false\n    mapping: m.json\n",
            "7:14: streams[0].mapping: a mapping is for an index that is made, but `create` is false: leave one out",
        ),
        (
            "    stages: [{ plugin: wehre }]\n",
            "6:24: streams[0].stages[0].plugin: no shipped plugin is named `wehre`, and a file ends in .wasm: did you mean `where`?",
        ),
        (
            "    stages: [{ plugin: a.wasm, sha256: abc }]\n",
            "6:40: streams[0].stages[0].sha256: a SHA-256 digest has 64 hexadecimal digits: `sha256sum FILE` gives it",
        ),
        (
            "    stages: [{ plugin: a.wasm, limits: { memory: 1KiB } }]\n",
            "6:50: streams[0].stages[0].limits.memory: a plugin's `memory` is between 1MiB and 4GiB",
        ),
        (
            "  - { name: products, from: a.b }\n",
            "6:13: streams[1].name: another stream has the name `products`: each needs its own",
        ),
        (
            "  - { name: a b, from: a.b }\n",
            "6:13: streams[1].name: `a b` is no name for a stream: letters, digits, `_`, `-` and `.`, beginning with a letter or digit, up to 63",
        ),
        ("  - { from: a.b }\n", "6:5: streams[1]: the key `name` is missing"),
        ("  - { name: a }\n", "6:5: streams[1]: the key `from` is missing: name a table, as in public.products"),
        (
            "  - { name: a, from: a.b.c }\n",
            "6:22: streams[1].from: `a.b.c` names no table: there is a schema and a table, no more; write it as public.products, sales.* or \"My Schema\".\"a.b\"",
        ),
        ("  - { name: a, from: [] }\n", "6:22: streams[1].from: no table is named"),
        (
            "http: { listen: nowhere }\n",
            "6:17: http.listen: `nowhere` is no address with a port: write it as 127.0.0.1:7070",
        ),
        (
            "http: { listen: 0.0.0.0:80 }\n",
            "6:7: http.token: 0.0.0.0:80 is open to other hosts: set `token`, or listen on 127.0.0.1",
        ),
        (
            "http: { listen: localhost:80, token: { file: nope } }\n",
            "6:46: http.token.file: the secret file `nope` cannot be read: No such file or directory (os error 2)",
        ),
        (
            "http: { listen: \"${NOPE}\" }\n",
            "6:17: http.listen: the variable `NOPE` is not set: set it, or give a default as in ${NOPE:-value}",
        ),
        (
            "sinks: { main: { url: http://h } }\n",
            "6:16: sinks.main: `sink` is short for `sinks: { main: … }`, and both are there: leave one of them out",
        ),
        (
            "sinks: { a b: { url: http://h } }\n",
            "6:15: sinks.a b: `a b` is no name for a sink: letters, digits, `_`, `-` and `.`, beginning with a letter or digit, up to 63",
        ),
    ];
    for (lines, expected) in cases {
        refused(&with(lines), expected);
    }
}

#[test]
fn what_is_wrong_at_the_ends_is_refused() {
    let source = |keys: &str| SMALL.replace("url: postgres://u@h/db", keys);
    let sink = |keys: &str| SMALL.replace("sink: { url: http://h:9200 }", keys);
    let cases = [
        (
            source("url: mysql://h"),
            "1:16: source.url: the source's URL begins with postgres://, as in postgres://user@host:5432/database",
        ),
        (
            source("url: postgres://u:p@h/d, password: x"),
            "1:46: source.password: the URL has a password too: leave one of them out",
        ),
        (
            source("url: postgres://h, slot: Tide"),
            "1:36: source.slot: `Tide` is no name for a slot: Postgres takes a-z, 0-9 and _, up to 63 of them",
        ),
        (source("url: postgres://h, password: \"\""), "1:40: source.password: the secret is empty"),
        (sink(""), "1:1: sink: there is no sink: write where documents go, as in sink: { url: http://localhost:9200 }"),
        (sink("sink: {}"), "2:7: sink.url: the sink has no `url`, as in http://localhost:9200"),
        (
            sink("sink: { url: http://a, urls: [http://b] }"),
            "2:30: sink.urls: `url` is there too: leave one of them out",
        ),
        (
            sink("sink: { url: nonsense }"),
            "2:14: sink.url: this is no URL (relative URL without a base): write it as https://host:9200",
        ),
        (
            sink("sink: { url: ftp://h }"),
            "2:14: sink.url: a sink's URL begins with http:// or https://: write it as https://host:9200",
        ),
        (
            sink("sink: { url: http://h?a }"),
            "2:14: sink.url: a sink's URL has neither `?` nor `#`: write it as https://host:9200",
        ),
        (
            sink("sink: { url: http://h, auth: { api_key: a, bearer: b } }"),
            "2:30: sink.auth: write exactly one of `api_key`, `basic`, `bearer`",
        ),
        (
            sink("sink: { url: http://h, auth: hunter2 }"),
            "2:30: sink.auth: expected { api_key: … }, { basic: { user: …, password: … } }, { bearer: … } or none, found a text",
        ),
        (
            sink("sink: { url: http://h, auth: { api_key: \"a b\" } }"),
            "2:41: sink.auth.api_key: it has characters that no key has: is there a space or a line break in it?",
        ),
        (
            sink("sink: { url: http://u:p@h, auth: { bearer: b } }"),
            "2:14: sink.url: the URL's user and `auth` differ: leave one of them out",
        ),
        (
            sink("sink: { url: http://h, tls: { ca: a } }"),
            "2:29: sink.tls: `tls` is set, but the URL begins with http:// and not with https://",
        ),
        (sink("sink: { url: https://h, tls: { cert: a } }"), "2:30: sink.tls.key: `cert` is there without its `key`"),
        (
            sink("sinks: { a: { url: http://h }, b: { url: http://i } }"),
            "4:5: streams[0].sink: there are several sinks and none is `main`: name one of a, b",
        ),
    ];
    for (text, expected) in cases {
        refused(&text, expected);
    }
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    let cases = [
        (
            "    backfill: { parallel: 2 }\n",
            "6:27: streams[0].backfill.parallel: a backfill over several connections is not there yet: leave it out",
        ),
        (
            "    backfill: { where: a > 1 }\n",
            "6:24: streams[0].backfill.where: a condition for the backfill alone is not there yet: leave it out",
        ),
        (
            "    backfill: { rate: 5 }\n",
            "6:23: streams[0].backfill.rate: a limit on the backfill's rate is not there yet: leave it out",
        ),
        ("state: postgres://h/db\n", "6:8: state: a state in Postgres is not there yet: leave it out"),
    ];
    for (lines, expected) in cases {
        refused(&with(lines), expected);
    }
    refused(
        &SMALL.replace("u@h/db", "u@h/db, wal: { then: drop-slot }"),
        "1:48: source.wal.then: giving up the slot is not there yet: leave it out",
    );
    assert!(ok(&with("    backfill: { parallel: 1 }\n")).streams[0].backfill);
}

#[test]
fn a_plugin_may_do_what_is_granted_by_name() {
    let stage = |grants: &str| with(&format!("    stages: [{{ plugin: a.wasm, grants: {grants} }}]\n"));
    let granted = |grants: &str| ok(&stage(grants)).streams[0].stages[0].grants.identity.clone();
    assert_eq!(granted("{}"), None);
    assert_eq!(granted("{ identity: {} }"), Some(tidemill_stage::Identity { index: None }));
    assert_eq!(granted("{ identity: { index: logs-* } }").unwrap().index.as_deref(), Some("logs-*"));
    refused(
        &stage("{ identities: {} }"),
        "6:42: streams[0].stages[0].grants: unknown key `identities`: did you mean `identity`?",
    );
    refused(
        &stage("{ identity: { index: \"*\" } }"),
        "6:61: streams[0].stages[0].grants.identity.index: `*` is of everybody's indices: let it begin with letters, for instance `logs-*`",
    );
    refused(
        &stage("{ identity: { index: Logs-* } }"),
        "6:61: streams[0].stages[0].grants.identity.index: an index's name must be lowercase: write `logs-`",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.yaml");
    let error = Config::load(&path).unwrap_err();
    assert!(error.to_string().ends_with("none.yaml` is not there: name the file by --config") && error.is_usage());
    std::fs::write(&path, b"a: \xff").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("none.yaml` is not UTF-8"));
}

#[test]
fn a_plans_digest_changes_with_what_makes_documents() {
    let digest = |lines: &str, plugins: &[&str]| {
        let plugins: Vec<_> = plugins.iter().map(|plugin| (*plugin).to_owned()).collect();
        plan_digest(&ok(&with(lines)).streams[0], &plugins)
    };
    let base = digest("", &[]);
    assert_eq!(base.len(), 64);
    assert_eq!(base, digest("    batch: { documents: 5 }\n    dead_letters: { rows: 1 }\n", &[]));
    let changes = [
        digest("    where: a = 1\n", &[]),
        digest("    where: a = 1\n", &["1"]),
        digest("    stages: [{ plugin: a.wasm }]\n", &[]),
        digest("    stages: [{ plugin: a.wasm, config: { a: 1 } }]\n", &[]),
        digest("    stages: [{ plugin: a.wasm, secrets: { a: one } }]\n", &[]),
        digest("    stages: [{ plugin: a.wasm, secrets: { a: two } }]\n", &[]),
        digest("    stages: [{ plugin: a.wasm, secrets: { b: one } }]\n", &[]),
        digest("    columns: [a, b]\n", &[]),
        digest("    columns: [b, a]\n", &[]),
        digest("    columns: { a: b }\n", &[]),
        digest("    id: \"{a}\"\n", &[]),
        digest("    index: other\n", &[]),
        digest("    routing: \"{a}\"\n", &[]),
        base,
    ];
    let distinct: std::collections::HashSet<_> = changes.iter().collect();
    assert_eq!(distinct.len(), changes.len());
}

/// Bytes of the example changed, doubled, cut out and swapped, always in the same way: whatever the file holds, it is read
/// or refused, and never a panic.
#[test]
fn no_file_makes_it_panic() {
    let rounds: u32 = std::env::var("TIDEMILL_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let pieces: &[&str] = &[
        "{", "}", "[", "]", ":", "-", "&a ", "*a", "!x ", "|", ">", "'", "\"", "\t", "\n", "${", "#", "? ", "---\n",
        "%", "ü", "\0",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let example: Vec<char> = EXAMPLE.chars().collect();
    let mut read = 0;
    for _ in 0..rounds {
        let mut text = example.clone();
        for _ in 0..=random(4) {
            if text.is_empty() {
                break;
            }
            let (at, other) = (random(text.len()), random(text.len()));
            match random(5) {
                0 => text[at] = text[other],
                1 => drop(text.drain(at..(at + random(8)).min(text.len()))),
                2 => drop(text.splice(at..at, pieces[random(pieces.len())].chars())),
                3 => text.swap(at, other),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        let parsed = std::panic::catch_unwind(|| parse(&text));
        match parsed {
            Ok(Err(error)) => read += usize::from(error.to_string().contains("not there yet")),
            Ok(Ok(_)) => read += 1,
            Err(_) => panic!("it panicked over:\n{text}"),
        }
    }
    assert!(read > 0, "some must still be configurations, or nothing but the parser was tried");
}
