//! Decode: from the bytes that a socket gave to Arrow columns, on one core.
//!
//! Cost model of a row of 12 columns and about 440 bytes: a message costs its tag, table and counts once; a cell costs a
//! tag, a length and a branch on its column's kind; text costs one look at each byte (is it UTF-8?) and a view of
//! 16 bytes, and is not copied; numbers and times cost a parse of each digit; what must be rewritten (arrays, json with
//! whitespace, bytea, escapes) costs a copy. A batch costs one allocation a column. COPY finds its cells by a search for
//! three bytes, where pgoutput is told their lengths.
//!
//! The costs are separated: `skip` reads no cell (an unwanted table), `two_columns` keeps two of twelve, `text` has 12 columns of text alone, `row` is the
//! mix, `copy` the same rows as COPY text, `decode_kinds` the columns of the mix one by one.

use std::hint::black_box;
use std::ops::Range;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill_change::{Commit, LeftOut, Lsn, Relation};
use tidemill_decode::testing::{Cell, Wire, begin, commit, copy_line, insert, relation, table};
use tidemill_decode::{CopyDecoder, Decoder};

const ROW_COUNT: usize = 10_000;
/// What one read of the socket gives.
const CHUNK_BYTES: usize = 1 << 20;
const COMMIT: Commit = Commit { lsn: Lsn(1 << 20), xid: 7, time_us: 1_700_000_000_000_000 };

const MIXED: [(&str, u32); 12] = [
    ("id", 20),
    ("sku", 25),
    ("name", 25),
    ("description", 25),
    ("price", 1700),
    ("quantity", 23),
    ("in_stock", 16),
    ("rating", 701),
    ("attributes", 3802),
    ("vendor", 2950),
    ("created_at", 1184),
    ("updated_at", 1184),
];

fn mixed_row(i: usize) -> Vec<String> {
    let words = ["oak", "walnut", "linen", "brass", "steel", "wool", "glass", "cork"];
    let word = |n: usize| words[(i * 7 + n * 5) % words.len()];
    let description: Vec<&str> = (0..26).map(word).collect();
    vec![
        (i + 1).to_string(),
        format!("SKU-{i:08}"),
        format!("{} chair with a {} seat", word(1), word(2)),
        description.join(" "),
        format!("{}.{:02}", i % 1000, i % 100),
        (i % 500).to_string(),
        if i.is_multiple_of(3) { "f" } else { "t" }.into(),
        format!("{}.{}", i % 5, i % 10),
        format!(r#"{{"color": "{}", "weight": {}, "tags": ["{}", "new"]}}"#, word(3), i % 40, word(4)),
        format!("a0eebc99-9c0b-4ef8-bb6d-{i:012x}"),
        format!("2024-{:02}-{:02} {:02}:34:56.{:06}+00", i % 12 + 1, i % 28 + 1, i % 24, i % 1_000_000),
        format!("2025-{:02}-{:02} 12:{:02}:56.789+00", i % 12 + 1, i % 28 + 1, i % 60),
    ]
}

fn text_row(i: usize) -> Vec<String> {
    (0..12).map(|n| format!("column {n} of row {i}, padded to some length")).collect()
}

/// Bytes in chunks as the socket gives them, and where each piece is.
type Input = Vec<(Bytes, Vec<Range<usize>>)>;

fn pgoutput(table: &Relation, row: impl Fn(usize) -> Vec<String>) -> Input {
    let cells = |i| row(i).iter().map(|text| Cell::from(text.as_str())).collect::<Vec<_>>();
    let mut head = Wire::default();
    head.push(&relation(table)).push(&begin(&COMMIT));
    let mut input = vec![head.chunk()];
    let (mut wire, mut bytes) = (Wire::default(), 0);
    for i in 0..ROW_COUNT {
        let message = insert(table.id, &cells(i));
        bytes += message.len();
        wire.push(&message);
        if bytes >= CHUNK_BYTES {
            input.push(std::mem::take(&mut wire).chunk());
            bytes = 0;
        }
    }
    wire.push(&commit(&COMMIT, Lsn(2 << 20)));
    input.push(wire.chunk());
    input
}

fn copy(row: fn(usize) -> Vec<String>) -> Input {
    let (mut input, mut wire, mut bytes) = (Vec::new(), Wire::default(), 0);
    for i in 0..ROW_COUNT {
        let row = row(i);
        let line = copy_line(&row.iter().map(|text| Some(text.as_str())).collect::<Vec<_>>());
        bytes += line.len();
        wire.push(&line);
        if bytes >= CHUNK_BYTES || i + 1 == ROW_COUNT {
            input.push(std::mem::take(&mut wire).chunk());
            bytes = 0;
        }
    }
    input
}

fn byte_count(input: &Input) -> u64 {
    input.iter().flat_map(|(_, payloads)| payloads).map(|payload| payload.len() as u64).sum()
}

fn stream(decoder: &mut Decoder, input: &Input) -> usize {
    decoder.restart(Lsn(8));
    for (chunk, payloads) in input {
        for payload in payloads {
            black_box(decoder.message(chunk, payload.clone()).expect("the bench's own message"));
        }
    }
    black_box(decoder.cut()).change_count()
}

/// The columns of the mix one by one: what a cell of each kind costs, with the message around it.
fn kinds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_kinds");
    group.throughput(Throughput::Elements(ROW_COUNT as u64));
    for (column, (name, oid)) in MIXED.iter().enumerate() {
        let input = pgoutput(&table(1, "one", &[(*name, *oid)]), |i| vec![mixed_row(i).swap_remove(column)]);
        let mut decoder = Decoder::new(Lsn(8));
        group.bench_function(*name, |bencher| bencher.iter(|| assert_eq!(stream(&mut decoder, &input), ROW_COUNT)));
    }
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let mixed = table(1, "products", &MIXED);
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let texts = table(2, "texts", &names.iter().map(|name| (name.as_str(), 25)).collect::<Vec<_>>());
    let cases = [("row", pgoutput(&mixed, mixed_row)), ("text", pgoutput(&texts, text_row))];
    for by in ["rows", "bytes"] {
        let mut group = criterion.benchmark_group(format!("decode_{by}"));
        let throughput = |input: &Input| match by {
            "rows" => Throughput::Elements(ROW_COUNT as u64),
            _ => Throughput::Bytes(byte_count(input)),
        };
        for (name, input) in &cases {
            group.throughput(throughput(input));
            let mut decoder = Decoder::new(Lsn(8));
            group.bench_function(*name, |bencher| {
                bencher.iter(|| assert_eq!(stream(&mut decoder, input), ROW_COUNT));
            });
        }
        let mut unwanted = Decoder::new(Lsn(8));
        unwanted.ignore(mixed.id);
        group.throughput(throughput(&cases[0].1));
        group.bench_function("skip", |bencher| bencher.iter(|| assert_eq!(stream(&mut unwanted, &cases[0].1), 0)));
        let mut part = Decoder::new(Lsn(8));
        part.leave_out(mixed.clone().into(), LeftOut::but(MIXED.len(), &[0, 4]));
        group.bench_function("two_columns", |bencher| {
            bencher.iter(|| assert_eq!(stream(&mut part, &cases[0].1), ROW_COUNT));
        });
        let input = copy(mixed_row);
        let mut decoder = CopyDecoder::new(mixed.clone().into(), COMMIT);
        group.throughput(throughput(&input));
        group.bench_function("copy", |bencher| {
            bencher.iter(|| {
                for (chunk, lines) in &input {
                    for line in lines {
                        decoder.row(chunk, line.clone()).expect("the bench's own line");
                    }
                }
                assert_eq!(black_box(decoder.take()).changes.len(), ROW_COUNT);
            });
        });
        group.finish();
    }
}

criterion_group!(decode, rows, kinds);
criterion_main!(decode);
