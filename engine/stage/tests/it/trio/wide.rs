//! A batch that breaks a limit and passes in halves was too much at once: the trio's Python, an interpreter that reads and writes JSON,
//! on wide rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, StringViewArray};
use tidemill_change::{ChangeBatch, Staged};
use tidemill_stage::Chain;

use super::{Grants, Identity, Limits, PYTHON, Stage, kind};
use crate::harness::{batch, check, ints, texts};

const ROWS: usize = 10_000;

/// 10,000 of these rows need more, and 5,000 of them little over half.
const MEMORY_MIB: usize = 192;

/// Three kilobytes of JSON a row.
fn data(id: i64) -> String {
    let line = |at: i64| {
        format!(r#"{{"sku": "sku-{}", "quantity": {at}, "price": {id}.{at:02}, "tags": ["a", "é", null]}}"#, id + at)
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    format!(r#"{{"lines": [{}], "by": {{"name": "somebody {id}", "at": "2024-02-29"}}}}"#, lines.join(", "))
}

fn wide(first: i64) -> Arc<ChangeBatch> {
    let ids = || first..first + ROWS as i64;
    let owned: Vec<[String; 3]> = ids().map(|id| [format!("name {id}"), format!("{id}.50"), data(id)]).collect();
    let column = |at: usize| texts(&owned.iter().map(|row| Some(row[at].as_str())).collect::<Vec<_>>());
    batch(&[("id", 20, ints(ids())), ("name", 25, column(0)), ("price", 1700, column(1)), ("data", 3802, column(2))])
}

fn python(memory_mib: usize) -> Chain {
    let limits = Limits { memory_bytes: memory_mib << 20, ..Limits::default() };
    let grants = Grants { identity: Some(Identity { index: Some("things-*".into()) }), ..Grants::default() };
    let plugin = Arc::clone(&PYTHON.transform);
    Chain::new(vec![Stage { name: "wide".to_owned(), plugin, config: kind("documents"), limits, grants }])
}

/// Whether a batch's documents are what its rows say, each in its place.
#[track_caller]
fn check_whole(staged: &Staged, first: i64) {
    check(staged);
    assert!(staged.rejects.is_empty(), "{:?}", staged.rejects.first());
    let documents: &StringViewArray = staged.documents.column(0).as_string_view();
    let named = staged.named.as_deref().unwrap();
    let ids = named.documents.id.as_ref().unwrap();
    assert_eq!(ids.len(), documents.len());
    let mut out = 0;
    for row in 0..ROWS as i64 {
        let id = first + row;
        for number in 0..if id % 5 == 0 { 2 } else { 1 } {
            let data = data(id);
            let expected = format!(
                r#"{{"id":{id},"n":{number},"name":"name {id}","price":{id}.50,"words":["name","{id}"],"members":2,"data":{data}}}"#
            );
            assert_eq!(documents.value(out), expected);
            assert_eq!((staged.of[out], ids.value(out)), (row as u32, &*format!("things {id}-{number}")));
            out += 1;
        }
    }
    assert_eq!(documents.len(), out);
}

#[test]
fn a_batch_that_is_too_much_json_for_python_passes_in_halves_from_then_on() {
    let mut chain = python(MEMORY_MIB);
    let mut run = |first: i64| {
        check_whole(&chain.run(wide(first)).unwrap(), first);
        chain.stats().next().map(|(_, stats)| *stats).unwrap()
    };
    let stats = run(0);
    // The whole, its halves on a new instance, and some rows' keys, by which their names are looked at.
    assert_eq!((stats.calls, stats.failures, stats.restarts, stats.rejects), (4, 1, 1, 0));
    // From then on halves from the beginning.
    let stats = run(100_000);
    assert_eq!((stats.calls, stats.failures, stats.restarts), (7, 1, 1));
    assert!(stats.memory_bytes <= MEMORY_MIB << 20, "{stats:?}");
    // An instance that is worn by what it leaks is replaced, and that makes no batch smaller.
    let stats = run(200_000);
    let worn = stats.failures - 1;
    assert!(worn <= 1 && stats.restarts == stats.failures, "{stats:?}");
    assert_eq!((stats.calls, stats.rejects), (10 + worn, 0));
}
