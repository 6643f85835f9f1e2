//! The main job, and that it leaves nothing behind.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::processes::Family;
use crate::harness::search_server::free_port;
use crate::harness::{Index, Outcome, await_some, http, says, tidemill};

/// The demo's children end by themselves when it is gone; each has some seconds for it.
const END_MAX: Duration = Duration::from_secs(30);
/// A demo of some thousand rows takes ten seconds, on a machine that does nothing else.
const DEMO_MAX: Duration = Duration::from_secs(180);

fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = tidemill();
    command.arg("demo").args(args).env("TMPDIR", temporary);
    command
}

/// Runs a demo to its end and looks at whoever works for it meanwhile.
fn play(args: &[&str]) -> (Outcome, Family, tempfile::TempDir) {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = demo(temporary.path(), args);
    let (stdout, stderr) = (temporary.path().join("stdout"), temporary.path().join("stderr"));
    let file = |path: &PathBuf| std::fs::File::create(path).expect("the folder is writable");
    let mut child = command.stdout(file(&stdout)).stderr(file(&stderr)).spawn().expect("the demo starts");
    let mut family = Family::default();
    let status = await_some(DEMO_MAX, || {
        family.look(child.id());
        child.try_wait().expect("a child")
    });
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("written by the demo");
    let outcome = Outcome {
        code: status.and_then(|status| status.code()).unwrap_or(-1),
        stdout: text(&stdout),
        stderr: text(&stderr),
    };
    if status.is_none() {
        child.kill().expect("it was running");
        child.wait().expect("it ends");
        panic!("the demo does not end: {outcome}");
    }
    std::fs::remove_file(stdout).and_then(|()| std::fs::remove_file(stderr)).expect("our own files");
    (outcome, family, temporary)
}

/// No process, and neither of its folders.
#[track_caller]
fn left_nothing(family: &Family, temporary: &Path) {
    family.await_end(END_MAX);
    let left: Vec<_> = std::fs::read_dir(temporary).expect("a folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let folders = postgres_folders(family);
    assert!(!folders.is_empty(), "no Postgres was seen");
    let gone = await_some(END_MAX, || folders.iter().all(|folder| !folder.exists()).then_some(()));
    assert!(gone.is_some(), "left behind: {folders:?}");
}

/// `postgres -D FOLDER …`
fn postgres_folders(family: &Family) -> Vec<PathBuf> {
    let folder = |command: &str| {
        let mut words = command.split(' ').skip_while(|word| *word != "-D");
        words.nth(1).filter(|_| command.contains("postgres")).map(PathBuf::from)
    };
    family.commands().filter_map(folder).collect()
}

#[track_caller]
fn sums(report: &Value) -> [u64; 4] {
    let comparisons = report["comparisons"].as_array().unwrap_or_else(|| panic!("no comparisons: {report}"));
    assert_eq!(comparisons.iter().map(|one| &one["index"]).collect::<Vec<_>>(), [&json!("products"), &json!("orders")]);
    ["equal", "missing", "extra", "different"].map(|key| {
        let count = |one: &Value| one[key].as_u64().unwrap_or_else(|| panic!("no `{key}`: {one}"));
        comparisons.iter().map(count).sum()
    })
}

#[test]
fn every_document_equals_its_row() {
    let (outcome, family, temporary) = play(&["--rows", "3000", "--seconds", "3", "--json"]);
    let outcome = outcome.succeeded();
    let report = outcome.json();
    let [equal, missing, extra, different] = sums(&report);
    assert_eq!([missing, extra, different], [0; 3], "{outcome}");
    // Nine of ten products are in stock, and there is an order to each ten.
    assert!(equal > 2500, "{outcome}");
    for (part, key) in [
        ("backfill", "rows_per_second"),
        ("backfill", "megabytes_per_second"),
        ("backfill", "engine_cpu_us_per_row"),
        ("live", "rows_per_second"),
        ("live", "engine_cpu_us_per_row"),
    ] {
        assert!(report[part][key].as_f64().is_some_and(|figure| figure > 0.0), "{part}.{key}: {outcome}");
    }
    let figure = |key: &str| report[key].as_f64().unwrap_or_default();
    let (p50, p99) = (figure("latency_p50_ms"), figure("latency_p99_ms"));
    assert!(0.0 < p50 && p50 <= p99, "{outcome}");
    let hits = report["search"]["hits"]["hits"].as_array();
    assert!(hits.is_some_and(|hits| !hits.is_empty()), "{outcome}");
    left_nothing(&family, temporary.path());
}

#[test]
fn a_document_that_differs_is_found() {
    let (outcome, family, temporary) = play(&["--rows", "2000", "--seconds", "1", "--json", "--break-one"]);
    assert_eq!(outcome.code, 3, "{outcome}");
    let report = outcome.json();
    let [equal, missing, extra, different] = sums(&report);
    assert!(equal > 1500, "{outcome}");
    assert_eq!([missing, extra, different], [0, 0, 1], "{outcome}");
    assert!(report["comparisons"][0]["examples"][0].as_str().is_some_and(|text| says(text, "broken")), "{outcome}");
    left_nothing(&family, temporary.path());
}

#[test]
fn it_tells_a_person_what_it_found() {
    let (outcome, family, temporary) = play(&["--rows", "1000", "--seconds", "1"]);
    let outcome = outcome.succeeded();
    for words in ["rows/s", "MB/s", "CPU", "p50", "p99", "equal", "missing", "extra", "different"] {
        assert!(says(&outcome.stdout, words), "nothing says `{words}`: {outcome}");
    }
    left_nothing(&family, temporary.path());
}

/// `tidemill demo 2>&1 | head -3`
#[test]
fn a_demo_that_nobody_reads_ends_quietly() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = demo(temporary.path(), &["--rows", "500", "--seconds", "600"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let said = writer.try_clone().expect("a descriptor");
    let mut child = command.stdout(writer).stderr(said).spawn().expect("the demo starts");
    drop(command);
    let mut lines = BufReader::new(reader).lines();
    for _ in 0..3 {
        assert!(lines.next().is_some_and(|line| line.is_ok()), "the demo says what it does");
    }
    drop(lines);
    let mut family = Family::default();
    let status = await_some(DEMO_MAX, || {
        family.look(child.id());
        child.try_wait().expect("a child")
    });
    if status.is_none() {
        child.kill().expect("it was running");
        child.wait().expect("it ends");
    }
    assert_eq!(status.and_then(|status| status.code()), Some(1), "neither a panic nor a success");
    left_nothing(&family, temporary.path());
}

#[test]
fn a_server_of_somebody_else_is_left_as_it_was() {
    let temporary = tempfile::tempdir().expect("a folder");
    let play = |args: &[&str]| Outcome::within(DEMO_MAX, demo(temporary.path(), args));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let away = play(&["--sink", &nobody]);
    away.refused(1, &[&nobody, "embedded index"]);
    assert!(!says(&away.stderr, "starting a private Postgres"), "{away}");
    play(&["--sink", "nowhere"]).refused(2, &["--sink: ", "no URL"]);

    let index = Index::start(&temporary.path().join("index"), "127.0.0.1:0");
    let there = |name: &str| http("GET", &format!("{}/{name}", index.url), None).0;
    assert_eq!(http("PUT", &format!("{}/orders", index.url), None).0, 200);
    play(&["--sink", &index.url]).refused(1, &["`orders` is there already", "curl -X DELETE"]);
    assert_eq!((there("orders"), there("products")), (200, 404));
    assert_eq!(http("DELETE", &format!("{}/orders", index.url), None).0, 200);
    play(&["--rows", "500", "--seconds", "0", "--sink", &index.url]).succeeded();
    assert_eq!((there("orders"), there("products")), (404, 404));
    drop(index);
    std::fs::remove_dir_all(temporary.path().join("index")).expect("the index's own");
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a folder").count(), 0);
}

/// A demo that stays up, once all who work for it are seen.
fn keep(temporary: &Path) -> (Child, Family) {
    let mut command = demo(temporary, &["--rows", "500", "--seconds", "0", "--keep"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the demo starts");
    let mut family = Family::default();
    let all = await_some(DEMO_MAX, || {
        family.look(child.id());
        assert!(child.try_wait().expect("a child").is_none(), "the demo ended by itself");
        (family.has(" run ") && family.has(" index ") && !postgres_folders(&family).is_empty()).then_some(())
    });
    if all.is_none() {
        child.kill().expect("it was running");
        child.wait().expect("it ends");
        panic!("not all were seen: {family:#?}");
    }
    (child, family)
}

#[test]
fn a_demo_that_is_killed_leaves_no_process() {
    let temporary = tempfile::tempdir().expect("a folder");
    let (mut child, family) = keep(temporary.path());
    let folders = postgres_folders(&family);
    child.kill().expect("it was running");
    child.wait().expect("it ends");
    family.await_end(END_MAX);
    let own = || std::fs::read_dir(temporary.path()).expect("a folder").count();
    let gone = await_some(END_MAX, || (own() == 0 && folders.iter().all(|folder| !folder.exists())).then_some(()));
    assert!(gone.is_some(), "left behind: {folders:?}, or a folder of its own");
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let temporary = tempfile::tempdir().expect("a folder");
        let (mut child, family) = keep(temporary.path());
        let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let ended = await_some(END_MAX, || child.try_wait().expect("a child"));
        if ended.is_none() {
            child.kill().expect("it was running");
            child.wait().expect("it ends");
            panic!("the demo does not end by SIG{signal}");
        }
        left_nothing(&family, temporary.path());
    }
}
