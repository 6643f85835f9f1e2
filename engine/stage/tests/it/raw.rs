//! Components by hand, for what no compiler makes.

use std::sync::Arc;

use tidemill_stage::{Beyond, Chain, Error, Grants, Limits, Metric, Plugin, Stage};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::harness::{ENGINE, check, numbered, root};

/// A filter that keeps every row: an answer of zeros says so. It gets the core functions that the contract names, in which
/// `realloc` and `process` run first, and what `more` adds to the module.
fn filter(more: &str, realloc: &str, process: &str) -> Vec<u8> {
    let open = "i32 ".repeat(12);
    let text = format!(
        r#"(module $by_hand
            {more}
            (memory $memory (export "memory") 16)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc} i32.const 65536)
            (func (export "tidemill:plugin/filtering@0.1.0#open") (param {open}) (result i32) i32.const 0)
            (func $judge (export "tidemill:plugin/filtering@0.1.0#process") (param i32 i32 i32) (result i32) {process} i32.const 0))"#
    );
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit/0.1/plugin.wit")).unwrap();
    let world = resolve.select_world(&[package], Some("filter")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn chain(component: &[u8], limits: Limits) -> Chain {
    Chain::new(vec![Stage {
        name: "raw".to_owned(),
        plugin: Arc::new(Plugin::load(&ENGINE, "raw", component).unwrap()),
        config: serde_json::json!({}),
        limits,
        grants: Grants::default(),
    }])
}

fn run(chain: &mut Chain, rows: usize) -> Result<usize, Error> {
    let staged = chain.run(numbered(rows))?;
    check(&staged);
    Ok(staged.of.len())
}

/// Of four rows, each of which breaks the plugin, the first one's fate.
#[track_caller]
fn refused(component: &[u8], limits: Limits, code: &str, part: &str) {
    let staged = chain(component, limits).run(numbered(4)).unwrap();
    check(&staged);
    assert!(staged.of.is_empty());
    let reject = &staged.rejects[0];
    assert!(reject.code == code && reject.message.contains(part), "{}: {}", reject.code, reject.message);
}

#[test]
fn a_component_by_hand_is_as_good_as_another() {
    assert_eq!(run(&mut chain(&filter("", "", ""), Limits::default()), 100).unwrap(), 100);
}

#[test]
fn a_table_has_a_limit() {
    let grow = |by| {
        format!("(if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const {by}))) (then unreachable))")
    };
    let table = "(table $t 1 funcref)";
    let few = Limits { table_elements: 1000, ..Limits::default() };
    assert_eq!(run(&mut chain(&filter(table, "", &grow(999)), few), 4).unwrap(), 4);
    refused(&filter(table, "", &grow(1000)), few, "limit", "tables of more than 1000 elements: raise `limits.tables`");
    let begin = "(table $t 2000000 funcref)";
    let error = run(&mut chain(&filter(begin, "", ""), Limits::default()), 4).unwrap_err().to_string();
    assert!(error.contains("tables of more than 1048576 elements: raise `limits.tables`"), "{error}");
}

#[test]
fn memories_count_together() {
    let second = "(memory 200)";
    let enough = Limits { memory_bytes: 216 << 16, ..Limits::default() };
    assert_eq!(run(&mut chain(&filter(second, "", ""), enough), 4).unwrap(), 4);
    let short = Limits { memory_bytes: (216 << 16) - 1, ..Limits::default() };
    let error = run(&mut chain(&filter(second, "", ""), short), 4).unwrap_err().to_string();
    assert!(error.contains("more than its 13 MiB of memory: raise `limits.memory`"), "{error}");
}

#[test]
fn a_component_has_so_many_instances_and_tables() {
    let tables = "(table 1 funcref)".repeat(8);
    let few = Limits { instances: 4, ..Limits::default() };
    let error = run(&mut chain(&filter(&tables, "", ""), few), 4).unwrap_err().to_string();
    assert!(error.contains("more than 4 core instances, memories or tables: raise `limits.instances`"), "{error}");
}

#[test]
fn taking_in_a_batch_has_the_deadline_of_the_call() {
    let short = Limits { deadline: std::time::Duration::from_millis(20), ..Limits::default() };
    let nothing = "";
    // `open` gets no memory either.
    let error = run(&mut chain(&filter("", "(loop br 0)", nothing), short), 4).unwrap_err().to_string();
    assert!(error.contains("did not answer within its deadline of 20ms: raise `limits.deadline`"), "{error}");
}

#[test]
fn a_trap_tells_where_it_was() {
    let deep = "(func $deep unreachable)";
    refused(&filter(deep, "", "call $deep"), Limits::default(), "trap", "\n  in deep\n  in judge");
}

#[test]
fn a_metric_without_a_fit_name_is_counted_as_dropped() {
    let long = "m".repeat(65);
    let names = ["fit_1", "Unfit", "1st", "a-b", "", &long];
    let import = r#"(import "tidemill:plugin/metrics@0.1.0" "count" (func $count (param i32 i32 i64)))"#;
    let data: String =
        (1..).zip(names).map(|(at, name)| format!("(data (i32.const {}) \"{name}\")", at * 1024)).collect();
    let calls: String = (1..)
        .zip(names)
        .map(|(at, name)| format!("(call $count (i32.const {}) (i32.const {}) (i64.const 7))", at * 1024, name.len()))
        .collect();
    let mut chain = chain(&filter(&format!("{import} {data}"), "", &calls), Limits::default());
    for _ in 0..2 {
        run(&mut chain, 4).unwrap();
    }
    let metrics = chain.take_metrics();
    assert_eq!(metrics.iter().collect::<Vec<_>>(), [(&("raw".to_owned(), "fit_1".to_owned()), &Metric::Count(14))]);
    let beyond = chain.take_logs().beyond["raw"];
    assert_eq!(beyond, Beyond { unfit: 10, ..Beyond::default() });
    let warnings = beyond.warnings(&Limits::default());
    assert_eq!((warnings.len(), warnings[0].dropped), (1, 10));
    assert!(warnings[0].words.contains("`[a-z][a-z0-9_]*`, 64 bytes at most"), "{}", warnings[0].words);
}

#[test]
fn an_answer_lies_where_memory_is() {
    let outside = "i32.const -16 return";
    refused(&filter("", "", outside), Limits::default(), "bad_answer", "its answer is none: ");
    let unaligned = "i32.const 3 return";
    refused(&filter("", "", unaligned), Limits::default(), "bad_answer", "its answer is none: ");
    // Something else than a verdict or a failure.
    let neither = "(i32.store8 (i32.const 0) (i32.const 7))";
    refused(&filter("", "", neither), Limits::default(), "bad_answer", "its answer is none: ");
}
