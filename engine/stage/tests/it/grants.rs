//! What is granted is there, and nothing else is.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use tempfile::TempDir;
use tidemill_stage::{Chain, Folder, Grants, Level, Limits, Logs, Plugin, Stage};

use crate::harness::{ENGINE, batch, component, ints, numbered};

static OUTSIDER: LazyLock<Arc<Plugin>> =
    LazyLock::new(|| Arc::new(Plugin::load(&ENGINE, "outsider", &component("fixtures", "outsider")).unwrap()));

/// Enough to be instantiated, and nothing in it.
fn bare() -> Grants {
    Grants { identity: None, env: Some(Vec::new()), dirs: Some(Vec::new()), clocks: true, random: true, stdio: true }
}

/// What the plugin says of a deed, and what it printed.
fn deed(grants: &Grants, what: &str, path: &str) -> (String, Logs) {
    let stage = Stage {
        name: "outsider".to_owned(),
        plugin: Arc::clone(&OUTSIDER),
        config: json!({ "do": what, "path": path }),
        limits: Limits::default(),
        grants: grants.clone(),
    };
    let mut chain = Chain::new(vec![stage]);
    let error = chain.open(&batch(&[("id", 20, ints([1]))]).relation).unwrap_err();
    (error.message().to_owned(), chain.take_logs())
}

fn said(grants: &Grants, what: &str, path: &str) -> String {
    deed(grants, what, path).0
}

#[test]
fn what_is_not_granted_is_refused_before_anything_runs() {
    let (message, logs) = deed(&Grants::default(), "env", "");
    assert!(message.contains("imports `wasi:") && message.contains("which is not granted"), "{message}");
    assert!(message.contains("`grants: { clocks: {}, dirs: [], env: {}, random: {}, stdio: {} }`"), "{message}");
    assert!(logs.lines.is_empty(), "{logs:?}");
    let message = said(&Grants { clocks: false, ..bare() }, "env", "");
    assert!(message.contains("`wasi:clocks/") && message.contains("`grants: { clocks: {} }`"), "{message}");
}

#[test]
fn the_environment_is_what_was_granted() {
    let key = "PATH";
    assert!(std::env::var_os(key).is_some());
    assert_eq!(said(&bare(), "env", ""), "[]");
    let env = Some(vec![("LANG".to_owned(), "de".to_owned())]);
    assert_eq!(said(&Grants { env, ..bare() }, "env", ""), r#"[("LANG", "de")]"#);
}

fn folder() -> (TempDir, Grants) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inside")).unwrap();
    fs::write(folder.path().join("inside/rates"), "EUR 1").unwrap();
    fs::write(folder.path().join("secret"), "hunter2").unwrap();
    symlink(folder.path().join("secret"), folder.path().join("inside/absolute")).unwrap();
    symlink("../secret", folder.path().join("inside/relative")).unwrap();
    let inside = Folder { path: folder.path().join("inside"), at: "/data".to_owned() };
    (folder, Grants { dirs: Some(vec![inside]), ..bare() })
}

#[test]
fn a_folder_is_read_and_nothing_else() {
    let (folder, grants) = folder();
    assert!(said(&bare(), "read", "rates").contains("no-entry"));
    assert_eq!(said(&grants, "read", "rates"), r#"Ok("EUR 1")"#);
    for path in ["../secret", "absolute", "relative", "/etc/passwd", "../../../../../../etc/passwd"] {
        let answer = said(&grants, "read", path);
        assert!(answer.contains("not-permitted"), "{path}: {answer}");
    }
    for (what, path) in [("create", "new"), ("create", "rates"), ("remove", "rates")] {
        let answer = said(&grants, what, path);
        assert!(answer.starts_with("Err("), "{what} {path}: {answer}");
    }
    let names = fs::read_dir(folder.path().join("inside")).unwrap().count();
    assert_eq!((names, fs::read_to_string(folder.path().join("inside/rates")).unwrap().as_str()), (3, "EUR 1"));

    let missing = Folder { path: folder.path().join("nowhere"), at: "/".to_owned() };
    let message = said(&Grants { dirs: Some(vec![missing]), ..bare() }, "env", "");
    assert!(message.contains("`grants.dirs`") && message.contains("nowhere cannot be read"), "{message}");
}

#[test]
fn open_files_have_a_limit() {
    let (_folder, grants) = folder();
    let message = said(&grants, "hoard", "rates");
    assert!(
        message.contains("more than 64 files, streams and the like open at once: raise `limits.handles`"),
        "{message}"
    );
}

#[test]
fn clocks_and_random_numbers() {
    let seconds: u64 = said(&bare(), "time", "").parse().unwrap();
    assert!(seconds > 1_700_000_000);
    assert_ne!(said(&bare(), "random", ""), said(&bare(), "random", ""));
}

#[test]
fn nobody_sleeps_through_a_deadline() {
    let message = said(&bare(), "sleep", "");
    assert!(message.contains("a plugin may not wait"), "{message}");
}

#[test]
fn what_is_printed_is_logged_up_to_a_limit() {
    let (message, logs) = deed(&bare(), "print", "one\ntwo");
    assert_eq!(message, "1 lines");
    let lines: Vec<_> = logs.lines.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(lines, [(Level::Info, "one"), (Level::Info, "two")]);
    let (_, logs) = deed(&bare(), "print", &"flood\n".repeat(100_000));
    let dropped = logs.beyond.values().map(|beyond| beyond.lines).sum::<u64>();
    assert_eq!((logs.lines.len(), dropped), (100, 99_900));
}

#[test]
fn a_plugin_that_opens_differently_each_time_is_broken() {
    let stage = Stage {
        name: "outsider".to_owned(),
        plugin: Arc::clone(&OUTSIDER),
        config: json!({ "do": "waver" }),
        limits: Limits::default(),
        grants: bare(),
    };
    let error = Chain::new(vec![stage]).run(numbered(10_000)).unwrap_err();
    assert!(error.is_fatal() && error.message().contains("gives another plan than before"), "{error}");
}
