//! A guest can fail its rows, its batch or itself, and nothing else.

use std::time::Duration;

use tidemill_change::Staged;
use tidemill_stage::{Beyond, Chain, Error, Level, Metric, Stage};

use crate::harness::{chain, check, hostile, int_column, keep, names, numbered, splitter, stage, text_column};

fn misdeed(name: &str) -> Stage {
    hostile(&format!(r#"{{"misdeed": "{name}"}}"#))
}

fn misdeed_at(name: &str, rows: &[i64]) -> Stage {
    hostile(&format!(r#"{{"misdeed": "{name}", "rows": {rows:?}}}"#))
}

/// With a deadline that a test can wait for.
fn within(deadline_ms: u64, mut stage: Stage) -> Stage {
    stage.limits.deadline = Duration::from_millis(deadline_ms);
    stage
}

fn run(chain: &mut Chain, rows: usize) -> Result<Staged, Error> {
    let staged = chain.run(numbered(rows))?;
    check(&staged);
    Ok(staged)
}

/// Whatever one stream's plugin did, another of the same engine goes on, and so does the first with a good batch.
#[track_caller]
fn others_go_on() {
    let staged = run(&mut chain(&[keep("id >= 2")]), 4).unwrap();
    assert_eq!(staged.of, [2, 3]);
}

#[track_caller]
fn rejected(stage: Stage, rows: usize, at: &[u32], code: &str, part: &str) -> Chain {
    let mut chain = chain(&[stage]);
    let staged = run(&mut chain, rows).unwrap();
    assert_eq!(staged.rejects.iter().map(|reject| reject.row).collect::<Vec<_>>(), at);
    for reject in &staged.rejects {
        assert_eq!((reject.code.as_str(), reject.stage.as_str(), reject.plugin_sha256.len()), (code, "hostile", 64));
        assert!(reject.message.contains(part), "`{part}` is not in: {}", reject.message);
    }
    let rest: Vec<u32> = (0..rows as u32).filter(|row| !at.contains(row)).collect();
    assert_eq!(staged.of, rest);
    assert_eq!(text_column(&staged, "made"), rest.iter().map(|row| format!("made of {row}")).collect::<Vec<_>>());
    assert_eq!(int_column(&staged, "id"), rest.iter().map(|row| i64::from(*row)).collect::<Vec<_>>());
    others_go_on();
    chain
}

#[track_caller]
fn fatal(stage: Stage, part: &str) {
    let mut chain = chain(&[stage]);
    let error = run(&mut chain, 100).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains(part), "{error}");
    others_go_on();
}

#[track_caller]
fn not_opened(stage: Stage, part: &str) {
    let error = chain(&[stage]).open(&numbered(1).relation).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains(part), "{error}");
    others_go_on();
}

#[test]
fn an_honest_transform_makes_a_column() {
    let staged = run(&mut chain(&[misdeed_at("none", &[-1])]), 1000).unwrap();
    assert_eq!(names(&staged), ["id", "name", "made"]);
    assert_eq!(text_column(&staged, "made")[999], "made of 999");
}

#[test]
fn a_trap_costs_the_rows_that_cause_it() {
    rejected(misdeed_at("trap", &[777]), 1000, &[777], "trap", "asked to trap");
    rejected(misdeed_at("trap", &[0, 7, 8, 999]), 1000, &[0, 7, 8, 999], "trap", "hostile/src/lib.rs");
    rejected(misdeed_at("trap", &[0]), 1, &[0], "trap", "asked to trap");
    // With the place in the plugin's source, for its author.
    rejected(misdeed_at("trap", &[0]), 1, &[0], "trap", "panicked at hostile/src/lib.rs:");
}

#[test]
fn poison_rows_are_found_in_few_calls() {
    for (rows, poison) in
        [(10_000, vec![7777]), (10_000, vec![0, 5000, 9999]), (1000, (0..64).map(|i| i * 15).collect()), (2, vec![1])]
    {
        let at: Vec<u32> = poison.iter().map(|row| *row as u32).collect();
        let chain = rejected(misdeed_at("trap", &poison), rows, &at, "trap", "asked to trap");
        let (_, stats) = chain.stats().next().unwrap();
        let bound = 2 * poison.len() as u64 * u64::from(rows.next_power_of_two().ilog2()) + 2;
        assert!(stats.calls <= bound, "{} calls for {} of {rows} rows, and {bound} may be", stats.calls, poison.len());
        assert_eq!((stats.rows_in, stats.rejects), (rows as u64, poison.len() as u64));
    }
}

#[test]
fn a_plugin_that_fails_for_row_after_row_is_broken() {
    fatal(
        misdeed("trap"),
        "its plugin `hostile` fails on more than 64 rows of one batch: mend it, or raise `limits.failing_rows`",
    );
    let most: Vec<i64> = (0..90).collect();
    fatal(misdeed_at("trap", &most), "more than 64 rows");
    let mut patient = misdeed_at("trap", &most);
    patient.limits.failing_rows = 90;
    let most: Vec<u32> = (0..90).collect();
    rejected(patient, 100, &most, "trap", "asked to trap");
    let error = run(&mut chain(&[misdeed("trap")]), 8).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("fails for 8 rows in a row and none passes"), "{error}");
}

#[test]
fn it_is_broken_however_small_its_batches_are() {
    let at = |rows: &[i64]| misdeed_at("trap", rows);
    let mut broken = chain(&[at(&[0, 1, 2])]);
    // After the error, as after `resume`, it is counted anew.
    for _ in 0..2 {
        for batch in 0..7 {
            assert_eq!(run(&mut broken, 1).unwrap().rejects.len(), 1, "{batch}");
        }
        let error = run(&mut broken, 1).unwrap_err();
        assert!(error.is_fatal(), "{error}");
        for part in ["`hostile` fails for 8 rows in a row", "raise `limits.failing_in_a_row`", "asked to trap"] {
            assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
        }
    }
    // A row that passes ends the count.
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(run(&mut broken, 3).unwrap().rejects.len(), 3);
        }
        assert_eq!(run(&mut broken, 4).unwrap().of, [3]);
    }
    let mut strict = at(&[0]);
    strict.limits.failing_in_a_row = 1;
    fatal_at_once(strict);
}

#[track_caller]
fn fatal_at_once(stage: Stage) {
    let error = run(&mut chain(&[stage]), 1).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("fails for 1 rows in a row"), "{error}");
}

#[test]
fn a_deadline_ends_what_does_not_end() {
    let slow = within(250, misdeed_at("loop", &[3]));
    rejected(slow, 8, &[3], "deadline", "within its deadline of 250ms: raise `limits.deadline`");
    not_opened(within(50, misdeed("open-loop")), "within its deadline of 50ms");
}

#[test]
fn loops_on_every_row_do_not_hold_the_stream_for_hours() {
    fatal(
        within(20, misdeed("loop")),
        "passes its deadline again and again (33 calls of one batch): mend it, or raise `limits.deadline`",
    );
}

#[test]
fn recursion_ends() {
    rejected(misdeed_at("recursion", &[5]), 16, &[5], "limit", "stack");
}

#[test]
fn memory_has_a_limit() {
    let bomb = hostile(r#"{"misdeed": "memory", "amount": 100000000, "rows": [2]}"#);
    rejected(bomb, 8, &[2], "limit", "more than its 16 MiB of memory: raise `limits.memory`");
}

#[test]
fn a_batch_that_was_too_large_passes_in_halves_and_nothing_is_lost() {
    let mut chain = rejected(hostile(r#"{"misdeed": "memory-a-row", "amount": 20000}"#), 1000, &[], "", "");
    let failures = chain.stats().next().unwrap().1.failures;
    assert!(failures > 0);
    // From then on no batch is as large.
    assert_eq!(run(&mut chain, 1000).unwrap().of.len(), 1000);
    assert_eq!(chain.stats().next().unwrap().1.failures, failures);
}

#[test]
fn what_a_guest_says_of_a_row_a_batch_or_itself_is_heard() {
    rejected(misdeed_at("reject", &[1, 4]), 6, &[1, 4], "asked", "asked to reject");
    fatal(misdeed("fatal"), "asked to be fatal");
    let mut chain = chain(&[misdeed("retry")]);
    let error = run(&mut chain, 10).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("asked to retry"), "{error}");
    let (_, stats) = chain.stats().next().unwrap();
    assert_eq!((stats.calls, stats.failures), (1, 0));
}

#[test]
fn answers_that_are_none_are_refused_as_the_row_that_caused_them() {
    for (name, part) in [
        ("bitmap-short", "bitmap has 0 bytes, and 1 rows need 1"),
        ("bitmap-long", "bitmap has 2 bytes"),
        ("index-range", "names row 1, and there are 1"),
        ("column-missing", "brings 0 columns, and its plan makes 1"),
        ("column-extra", "brings 2 columns"),
        ("rows-twice-unannounced", "names row 0 twice, and its plan does not say `many`"),
        ("reject-range", "rejects row 1, and there are 1"),
        ("offsets-fall", "last offset|offsets fall"),
        ("offsets-negative", "offsets fall"),
        ("offsets-first", "first offset is 1"),
        ("offsets-past-end", "last offset is 2147483647"),
        ("offsets-before-end", "last offset is"),
        ("offsets-short", "4 bytes of offsets, and 1 rows need 8"),
        ("offsets-odd", "9 bytes of offsets"),
        ("values-short", "last offset is"),
        ("utf8", "not UTF-8"),
        ("utf8-cut", "last offset is 1"),
        ("reject-utf8", "its answer is none: invalid utf-8"),
        ("log-utf8", "its answer is none: invalid utf-8"),
        ("validity-short", "0 bytes of validity"),
        ("validity-long", "bytes of validity"),
    ] {
        let mut chain = chain(&[misdeed_at(name, &[3])]);
        let staged = run(&mut chain, 8).unwrap();
        assert_eq!(staged.rejects.iter().map(|reject| reject.row).collect::<Vec<_>>(), [3], "{name}");
        let message = &staged.rejects[0].message;
        assert!(part.split('|').any(|part| message.contains(part)), "{name}: {message}");
        assert_eq!((staged.of.len(), staged.rejects[0].code.as_str()), (7, "bad_answer"), "{name}");
        others_go_on();
    }
}

#[test]
fn whole_documents_are_objects_or_refused() {
    let mut whole = chain(&[keep("id > 0"), misdeed("document-honest")]);
    let info = whole.open(&numbered(1).relation).unwrap();
    assert!(info.schema.fields().is_empty() && info.columns.is_empty());
    assert_eq!(info.needed, [0]);
    let staged = run(&mut whole, 3).unwrap();
    assert_eq!(text_column(&staged, ""), [r#"{"whole":1}"#, r#"{"whole":2}"#]);
    for (name, part) in [
        ("document-list", "no JSON object on one line"),
        ("document-cut", "no JSON object on one line"),
        ("document-lines", "no JSON object on one line"),
        ("document-null", "no JSON object on one line"),
        ("document-missing", "brings 0 columns, and its plan makes 1"),
    ] {
        let staged = run(&mut chain(&[misdeed_at(name, &[3])]), 8).unwrap();
        assert_eq!(staged.rejects.iter().map(|reject| reject.row).collect::<Vec<_>>(), [3], "{name}");
        assert!(staged.rejects[0].message.contains(part), "{name}: {}", staged.rejects[0].message);
        assert_eq!(staged.of.len(), 7);
    }
    let after = [misdeed("document-honest"), keep("id > 0")];
    let error = chain(&after).open(&numbered(1).relation).unwrap_err();
    assert!(error.to_string().contains("stage `where`: an earlier stage brings whole documents"), "{error}");
}

#[test]
fn rows_may_go_and_come_twice_and_in_any_order() {
    let mut transform = chain(&[misdeed("rows-none")]);
    assert_eq!(run(&mut transform, 5).unwrap().of.len(), 0);
    let ids = splitter(r#"{"id": "made"}"#, None);
    let mut fan_out = chain(&[keep("id <> 1"), misdeed("rows-twice"), ids, keep("made <> 'from 2'")]);
    let staged = run(&mut fan_out, 5).unwrap();
    // The transform saw the rows 0, 2, 3, 4 as 0 to 3; documents stand in the order of their source.
    assert_eq!(staged.of, [0, 0, 2, 2, 4, 4]);
    assert_eq!(int_column(&staged, "id"), [0, 0, 2, 2, 4, 4]);
    assert_eq!(text_column(&staged, "made"), ["from 0", "from 0", "from 1", "from 1", "from 3", "from 3"]);
}

#[test]
fn what_a_guest_says_is_bounded() {
    let mut chain = self::chain(&[misdeed("log-flood")]);
    for _ in 0..20 {
        run(&mut chain, 1).unwrap();
    }
    let logs = chain.take_logs();
    // So many a second: the machine may be slow.
    assert!((100..=1000).contains(&logs.lines.len()), "{} lines", logs.lines.len());
    assert_eq!(logs.lines.len() as u64 + logs.beyond["hostile"].lines, 20 * 10_000);
    assert!(logs.lines.iter().all(|line| line.stage == "hostile"));
    assert_eq!((logs.lines[0].level, logs.lines[0].message.as_str()), (Level::Info, "line 0"));
    assert!(chain.take_logs().lines.is_empty());

    let mut chain = self::chain(&[misdeed("log-long")]);
    run(&mut chain, 1).unwrap();
    assert!(chain.take_logs().lines[0].message.len() <= 4096);

    let mut chain = self::chain(&[misdeed("metric-flood")]);
    run(&mut chain, 1).unwrap();
    run(&mut chain, 1).unwrap();
    let metrics = chain.take_metrics();
    assert_eq!(metrics.len(), 64);
    assert!(metrics.values().all(|metric| *metric == Metric::Count(2)));
    assert!(chain.take_metrics().is_empty());
    assert_eq!(chain.take_logs().beyond["hostile"], Beyond { metrics: 2 * (10_000 - 64), ..Beyond::default() });

    let mut long = self::chain(&[misdeed_at("reject-long", &[0])]);
    assert!(run(&mut long, 1).unwrap().rejects[0].message.len() <= 4096);
}

#[test]
fn an_answer_has_a_size() {
    rejected(
        misdeed_at("index-flood", &[3]),
        8,
        &[3],
        "limit",
        "2000000 rows come out of it, and 1048576 may: raise `limits.rows_out`",
    );
    let mut large = hostile(r#"{"misdeed": "answer-large", "amount": 2000000, "rows": [3]}"#);
    large.limits.output_bytes = 1 << 20;
    rejected(large, 8, &[3], "limit", "it answers with more than 1 MiB: raise `limits.output`");
    for name in ["answer-2g", "index-billion", "pointer"] {
        rejected(misdeed_at(name, &[3]), 8, &[3], "bad_answer", "its answer is none: ");
    }
}

#[test]
fn memory_that_cannot_be_had_costs_a_deadline() {
    let stuck = within(100, hostile(r#"{"misdeed": "realloc-loop", "amount": 4000}"#));
    // Batches whose ids take less pass.
    rejected(stuck, 1000, &[], "", "");
}

#[test]
fn what_fails_because_of_the_calls_before_is_tried_on_a_new_instance() {
    let mut chain = chain(&[hostile(r#"{"misdeed": "leak", "amount": 3000000}"#)]);
    for _ in 0..20 {
        assert_eq!(run(&mut chain, 1000).unwrap().of.len(), 1000);
    }
    let (_, stats) = chain.stats().next().unwrap();
    assert!((1..10).contains(&stats.failures), "{stats:?}");
    // No batch was cut.
    assert_eq!((stats.calls, stats.restarts), (20 + stats.failures, stats.failures));
    assert!(stats.memory_bytes <= 16 << 20 && stats.memory_bytes > 1 << 20, "{stats:?}");
}

#[test]
fn what_a_guest_keeps_cannot_move_a_row() {
    let mut chain = chain(&[misdeed("carry")]);
    assert_eq!(text_column(&run(&mut chain, 2).unwrap(), "made"), ["null", "null"]);
    // It tells of the rows before; which documents these are is the host's affair.
    let staged = run(&mut chain, 3).unwrap();
    assert_eq!(text_column(&staged, "made"), ["made of 0", "made of 1", "null"]);
    assert_eq!((staged.of.as_slice(), int_column(&staged, "id")), ([0, 1, 2].as_slice(), vec![0, 1, 2]));
    others_go_on();
}

#[test]
fn chance_costs_rows_and_never_the_others() {
    let mut chain = chain(&[misdeed("chance")]);
    // A row alone on a new instance is hit, and so is an odd number, whose halves then pass.
    let lone = run(&mut chain, 1).unwrap();
    assert_eq!((lone.of.len(), lone.rejects.len()), (0, 1));
    let staged = run(&mut chain, 39).unwrap();
    assert_eq!(staged.of.len() + staged.rejects.len(), 39);
    let stats = chain.stats().next().unwrap().1;
    assert!(stats.failures >= 2 && !staged.of.is_empty(), "{stats:?}");
    assert!(lone.rejects.iter().chain(&staged.rejects).all(|reject| reject.code == "trap"));
    others_go_on();
}

#[test]
fn a_call_that_takes_most_of_its_deadline_passes() {
    let slow = |deadline| within(deadline, hostile(r#"{"misdeed": "slow", "amount": 20000000}"#));
    // Where the machine was slower the second time, it is measured anew.
    let passed = (0..20).any(|_| {
        let mut measured = chain(&[slow(60_000)]);
        run(&mut measured, 100).unwrap();
        let deadline = measured.stats().next().unwrap().1.busy.mul_f64(1.3);
        let mut chain = chain(&[slow(deadline.as_millis() as u64)]);
        let Ok(staged) = run(&mut chain, 100) else { return false };
        let stats = *chain.stats().next().unwrap().1;
        stats.failures == 0 && stats.busy > deadline / 2 && (staged.of.len(), staged.rejects.len()) == (100, 0)
    });
    assert!(passed, "no call that took more than half of its deadline passed");
    others_go_on();
}

#[test]
fn plans_that_cannot_be_are_refused_at_open() {
    not_opened(misdeed("open-error"), "stage `hostile`: asked to fail at open");
    not_opened(misdeed("open-trap"), "asked to trap at open");
    not_opened(misdeed("open-trap"), "panicked at hostile/src/lib.rs:");
    not_opened(misdeed("plan-name-twice"), "two columns called `made`");
    not_opened(misdeed("plan-name-empty"), "without a name");
    not_opened(misdeed("plan-list"), "it makes column `list` a list, and tells no field of its elements");
    not_opened(misdeed("plan-documents"), "lets out `id` beside whole documents");
    not_opened(misdeed("plan-reserved"), "`_id`, which says where a document goes");
    not_opened(misdeed("plan-many"), "columns out: a document has 1 to 4096");
}

#[test]
fn the_stage_that_fails_is_told_by_its_name() {
    let stages = [keep("id >= 0"), misdeed_at("trap", &[5]), stage("select", r#"{"columns": ["made"]}"#)];
    let mut chain = chain(&stages);
    let staged = run(&mut chain, 10).unwrap();
    assert_eq!((staged.rejects[0].stage.as_str(), staged.rejects[0].row), ("hostile", 5));
    assert_eq!(names(&staged), ["made"]);
    // The panic is in the log, where the SDK put it.
    assert!(chain.take_logs().lines.iter().any(|line| line.message.contains("asked to trap")));
}
