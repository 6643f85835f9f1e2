use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tidemill_change::{BUCKET_BYTES, TableId};

use super::*;
use crate::CopyDecoder;
use crate::testing::{copy_line, delete, fuzz_copy, fuzz_pgoutput, insert, table, update};

/// A column's oid with a value as Postgres writes it and as it shall be shown.
pub(super) type Typed = (u32, Option<(String, String)>);

fn value() -> impl Strategy<Value = Typed> {
    let same = |text: String| Some((text.clone(), text));
    let micros = -200_000_000_000_000_000i64..200_000_000_000_000_000;
    prop_oneof![
        any::<u32>().prop_map(|oid| ([16, 20, 25, 1114, 17][oid as usize % 5], None)),
        any::<bool>().prop_map(|v| (16, Some((if v { "t" } else { "f" }.to_owned(), v.to_string())))),
        any::<i16>().prop_map(move |v| (21, same(v.to_string()))),
        any::<i32>().prop_map(move |v| (23, same(v.to_string()))),
        any::<i64>().prop_map(move |v| (20, same(v.to_string()))),
        any::<f64>()
            .prop_filter("finite", |v| v.is_finite())
            .prop_map(|v| (701, Some((format!("{v:e}"), v.to_string())))),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?".prop_map(move |v| (1700, same(v))),
        "[^\0]{0,30}".prop_map(move |v| (25, same(v))),
        "[\\x01-\\x7f\\\\\t\n]{0,30}".prop_map(move |v| (25, same(v))),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(|v| {
            let hex: String = v.iter().map(|byte| format!("{byte:02x}")).collect();
            (17, Some((format!("\\x{hex}"), format!("{v:?}"))))
        }),
        micros.prop_map(|v| (1114, Some((written_timestamp(v), v.to_string())))),
    ]
}

/// The timestamp as Postgres writes it, found by counting days from year to year.
fn written_timestamp(us: i64) -> String {
    let (mut days, us) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |year: i64| if leap(year) { 366 } else { 365 };
    let mut year = 1970 + days.div_euclid(146_097) * 400;
    days = days.rem_euclid(146_097);
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut month = 0;
    for len in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        month += 1;
        if days < len {
            break;
        }
        days -= len;
    }
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (s, fraction) = (us / 1_000_000, us % 1_000_000);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    let fraction = fraction.trim_end_matches('0');
    format!("{shown:04}-{month:02}-{:02} {:02}:{:02}:{:02}{fraction}{era}", days + 1, s / 3600, s / 60 % 60, s % 60)
}

/// Some columns and some rows of them.
pub(super) fn rows() -> impl Strategy<Value = Vec<Vec<Typed>>> {
    prop::collection::vec(value(), 1..6).prop_flat_map(|first| {
        // Each row has nulls or the first row's values, shifted, so that columns keep their types.
        prop::collection::vec(prop::collection::vec(any::<bool>(), first.len()), 1..80).prop_map(move |masks| {
            let row = |mask: Vec<bool>| {
                first.iter().zip(mask).map(|((oid, value), keep)| (*oid, value.clone().filter(|_| keep))).collect()
            };
            masks.into_iter().map(row).collect()
        })
    })
}

proptest! {
    #[test]
    fn rows_come_out_as_they_went_in(rows in rows()) {
        let names: Vec<String> = (0..rows[0].len()).map(|index| format!("c{index}")).collect();
        let columns: Vec<(&str, u32)> = names.iter().zip(&rows[0]).map(|(name, (oid, _))| (name.as_str(), *oid)).collect();
        let relation = table(1, "t", &columns);
        let mut wire = Wire::default();
        wire.push(&testing::relation(&relation)).push(&testing::begin(&commit(16)));
        let mut copy = CopyDecoder::new(relation.clone().into(), commit(16));
        for row in &rows {
            let texts: Vec<Option<&str>> = row.iter().map(|(_, value)| value.as_ref().map(|(text, _)| text.as_str())).collect();
            let cells: Vec<Cell> = texts.iter().map(|text| Cell::from(*text)).collect();
            wire.push(&insert(relation.id, &cells)).push(&update(relation.id, Some((b'O', &cells)), &cells));
            let line = Bytes::from(copy_line(&texts));
            copy.row(&line, 0..line.len()).unwrap();
        }
        wire.push(&testing::commit(&commit(16), Lsn(24)));
        let (chunk, payloads) = wire.chunk();
        let mut decoder = Decoder::new(Lsn(8));
        for payload in payloads {
            decoder.message(&chunk, payload).unwrap();
        }
        let (streamed, copied) = (decoder.cut().batches.remove(0), copy.take());
        assert_whole(&streamed);
        assert_whole(&copied);
        for (index, row) in rows.iter().enumerate() {
            for (column, (_, value)) in row.iter().enumerate() {
                let expected = value.as_ref().map_or("NULL", |(_, shown)| shown.as_str());
                for (batch, row) in [(&streamed.rows, 2 * index), (&streamed.rows, 2 * index + 1), (&streamed.old, index), (&copied.rows, index)] {
                    prop_assert_eq!(show(batch.column(column), row), expected);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_pgoutput(&data);
        fuzz_copy(&data);
    }

    /// Bytes that Postgres' text forms are made of reach further into the parsers.
    #[test]
    fn plausible_bytes_never_panic(parts in prop::collection::vec((any::<u8>(), "[-+{}\\[\\]\",:\\\\x0-9a-fNtLU. \t\nBCé]{0,24}"), 0..40)) {
        let mut data = Vec::new();
        for (choice, body) in &parts {
            data.extend([body.len() as u8, *choice]);
            data.extend(body.as_bytes());
        }
        fuzz_pgoutput(&data);
        fuzz_copy(parts.into_iter().map(|(_, body)| body).collect::<String>().as_bytes());
    }
}

/// One step of a stream for the property of cuts.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        table: u32,
        id: u8,
    },
    Delete {
        table: u32,
        id: u8,
    },
    /// A row of a table that nobody wants, large enough that few of them fill a bucket.
    Large,
    Truncate {
        table: u32,
    },
    Reshape {
        wide: bool,
    },
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..3u32, 0..4u8).prop_map(|(table, id)| Step::Insert { table, id }),
        4 => (1..3u32, 0..4u8).prop_map(|(table, id)| Step::Delete { table, id }),
        4 => Just(Step::Large),
        1 => (1..3u32).prop_map(|table| Step::Truncate { table }),
        1 => any::<bool>().prop_map(|wide| Step::Reshape { wide }),
        2 => Just(Step::Commit),
    ]
}

fn shape(id: u32, wide: bool) -> Relation {
    let columns = [("id", 23), ("note", 25)];
    table(id, &format!("t{id}"), &columns[..1 + usize::from(wide)])
}

/// The messages of the steps, in whole transactions.
fn messages(steps: &[Step]) -> Vec<Vec<u8>> {
    let large = vec![Cell::Text(vec![b'x'; BUCKET_BYTES as usize / 3])];
    let mut messages = vec![
        testing::relation(&shape(1, false)),
        testing::relation(&shape(2, true)),
        testing::relation(&table(3, "large", &[("body", 25)])),
    ];
    let (mut lsn, mut open, mut wide) = (16, false, false);
    for step in steps.iter().chain([&Step::Commit]) {
        if !open {
            messages.push(testing::begin(&commit(lsn)));
            open = true;
        }
        let width = |table| 1 + usize::from(table == 2 || wide);
        let row = |table, id: &u8| cells(&[&id.to_string(), "note"][..width(table)]);
        messages.push(match step {
            Step::Insert { table, id } => insert(TableId(*table), &row(*table, id)),
            Step::Delete { table, id } => delete(TableId(*table), (b'K', &row(*table, id))),
            Step::Large => insert(TableId(3), &large),
            Step::Truncate { table } => testing::truncate(&[TableId(*table)]),
            Step::Reshape { wide: now } => {
                wide = *now;
                testing::relation(&shape(1, wide))
            }
            Step::Commit => {
                open = false;
                lsn += 16;
                testing::commit(&commit(lsn - 16), Lsn(lsn - 8))
            }
        });
    }
    messages
}

/// Reads the messages and cuts where it must, and where it may and `choose` says so.
fn cuts(messages: &[Vec<u8>], mut choose: impl FnMut() -> bool) -> Vec<Cut> {
    let mut decoder = Decoder::new(Lsn(8));
    decoder.ignore(TableId(3));
    let mut cuts = Vec::new();
    for message in messages {
        let chunk = Bytes::copy_from_slice(message);
        decoder.message(&chunk, 0..chunk.len()).unwrap();
        if decoder.must_cut() || (decoder.can_cut() && choose()) {
            cuts.push(decoder.cut());
        }
    }
    cuts.push(decoder.cut());
    cuts.iter().flat_map(|cut| &cut.batches).for_each(assert_whole);
    cuts
}

/// Each table's changes in order, whatever cuts they came in.
fn by_table(cuts: &[Cut]) -> HashMap<TableId, Vec<String>> {
    let mut tables: HashMap<TableId, Vec<String>> = HashMap::new();
    for cut in cuts {
        for batch in &cut.batches {
            let lines = batch.changes.iter().map(|change| tell(batch, change));
            tables.entry(batch.relation.id).or_default().extend(lines);
        }
        if let Some(truncate) = &cut.truncate {
            let line = format!("{truncate:?}");
            truncate.tables.iter().for_each(|table| tables.entry(*table).or_default().push(line.clone()));
        }
    }
    tables
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cuts_split_no_bucket_and_change_nothing(steps in prop::collection::vec(step(), 0..60), choices in prop::collection::vec(any::<bool>(), 200)) {
        let messages = messages(&steps);
        let rarely = cuts(&messages, || false);
        let always = cuts(&messages, || true);
        let mut choices = choices.into_iter().cycle();
        let sometimes = cuts(&messages, || choices.next().unwrap());
        prop_assert_eq!(by_table(&rarely), by_table(&always));
        prop_assert_eq!(by_table(&rarely), by_table(&sometimes));
        for cuts in [&rarely, &always, &sometimes] {
            // A cut owns the buckets that it has rows of, and spans follow one another without a gap.
            let (mut owned, mut from) = (HashSet::new(), Lsn(8));
            for cut in cuts {
                let of = |batch: &ChangeBatch| batch.changes.iter().map(|change| (batch.commit_of(change).lsn, change.bucket)).collect::<Vec<_>>();
                let mut buckets: HashSet<_> = cut.batches.iter().flat_map(of).collect();
                buckets.extend(cut.truncate.iter().map(|truncate| (truncate.commit.lsn, truncate.bucket)));
                prop_assert!(buckets.is_disjoint(&owned), "a bucket is in two cuts");
                owned.extend(buckets);
                prop_assert_eq!(cut.from, from);
                from = cut.to.unwrap_or(from);
            }
            let last = messages.iter().filter(|message| message[0] == b'C').count() as u64;
            prop_assert_eq!(from, Lsn(8 + 16 * last));
        }
    }
}

/// The seeds of `make fuzz`, and what it found: so the targets themselves cannot rot.
#[test]
fn the_fuzz_corpus_passes() {
    for (target, run) in [("pgoutput", fuzz_pgoutput as fn(&[u8])), ("copy", fuzz_copy)] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/").to_owned() + target;
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{folder} is empty");
        files.iter().for_each(|file| run(&std::fs::read(file).unwrap()));
    }
}
