//! From an empty folder to documents of one's own filter, by the lines of README.md alone.

use std::process::Command;

use crate::harness::toolchain;
use crate::harness::{Outcome, World, tidemill};

const README: &str = include_str!("../../README.md");

/// Rows that are called as the demo's are.
const TABLE: &str = "CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2));
    INSERT INTO products VALUES (1, 'Large Walnut Chair', 10.50), (2, 'Small Oak Desk Lamp', 3), (3, 'Steel Chair', 99),
      (4, 'Sturdy Pine Mug', 1)";

/// What stands in a fenced block of README's section on the first plugin.
fn block(kind: &str) -> &'static str {
    let (_, section) = README.split_once("\n## Your first plugin\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let (_, block) = section.split_once(&format!("```{kind}\n")).expect("a block of that kind");
    block.split_once("```").expect("it ends").0
}

/// README's configuration, with what a reader puts into it; the slots of all stories are in one Postgres.
fn configuration(world: &World) -> String {
    let fill = |text: &str, blank: &str, with: &str| {
        assert!(text.contains(blank), "README has no `{blank}`");
        text.replacen(blank, with, 1)
    };
    let text = fill(block("yaml"), "url: postgres://…", &format!("url: {}", world.url()));
    let text = fill(&text, "url: http://…", &format!("url: {}", world.index.url));
    fill(&text, "slot: chairs", &format!("slot: {}", world.name))
}

/// A line as a shell runs it, with the binary under test in the path.
fn line(world: &World, line: &str) -> Outcome {
    let binary = tidemill();
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", line])
        .current_dir(world.dir.path())
        .envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let folder = std::path::Path::new(binary.get_program()).parent().expect("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    shell.env("PATH", std::env::join_paths(folders).expect("plain folders"));
    // What plugins depend on is compiled once for all tests.
    shell.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/author"));
    Outcome::within(super::BUILD_PATIENCE, shell)
}

fn follow(language: &str) {
    if !toolchain::is_here(language) {
        return;
    }
    let world = World::new("first_plugin");
    world.sql.run(TABLE);
    world.file("tidemill.yaml", configuration(&world));
    let lines: Vec<&str> = block("sh").lines().filter(|line| line.starts_with("tidemill ")).collect();
    assert!(lines.len() > 5, "{lines:?}");
    for typed in lines {
        let typed = match typed.strip_prefix("tidemill plugin new words") {
            Some(rest) => format!("tidemill plugin new words --lang {language} {rest}"),
            None => typed.to_owned(),
        };
        if typed.starts_with("tidemill teardown") {
            look(&world);
        }
        let outcome = line(&world, &typed).succeeded();
        if typed.contains(" replay ") {
            assert!(outcome.stdout.contains("Large Walnut Chair"), "{outcome}");
            assert!(!outcome.stdout.contains("Lamp"), "{outcome}");
        }
    }
}

/// What is in the index, and what the plugin says of a configuration that is not its own.
fn look(world: &World) {
    let ids: Vec<String> = world.documents("chairs").into_keys().collect();
    assert_eq!(ids, ["1", "3"]);
    let refused = |config: &str, words: &[&str]| {
        line(world, &format!("tidemill plugin replay chairs.capture --plugin words --config '{config}'"))
            .refused(1, words);
    };
    refused("{}", &["word"]);
    refused(r#"{"word": "Chair", "wrod": "Chair"}"#, &["wrod"]);
}

#[test]
fn in_rust() {
    follow("rust");
}

#[test]
fn in_go() {
    follow("go");
}

#[test]
fn in_python() {
    follow("python");
}
