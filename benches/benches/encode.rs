//! What it costs to make Bulk NDJSON of columns.
//!
//! Cost model: a document costs its bytes (searched and copied once), a constant for each column (its name, the choice of
//! its writer) and one for its action (place, hash, line). The yardstick is `arrow_json`'s `LineDelimitedWriter` on
//! the same batch, which writes no action lines. Both write into memory that they keep; they take turns, and the ratio is
//! the lower quartile of the pairs. Besides it stand a batch of three numbers, where the action is nearly all of the
//! cost, and one of long texts, where the bytes are.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::builder::{
    BooleanBuilder, Int32Builder, Int64Builder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_json::LineDelimitedWriter;
use tidemill_change::{ChangeBatch, Column, Commit, Epoch, Kind, Lsn, Relation, ReplicaIdentity, Staged, TableId};
use tidemill_encode::{Actions, Encoder, Encoding, IdRule, LongId, Nonfinite, Numbers};

const ROWS: usize = 10_000;

/// Makes the rows of one bench.
type Rows = fn() -> ChangeBatch;

fn main() {
    // `cargo test` and `-- --test` ask only whether it runs.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let pairs = if args.iter().any(|arg| arg == "--test") { 1 } else { 41 };
    let wanted = |name: &str| args.iter().all(|arg| arg.starts_with('-') || arg == name);
    let benches: [(&str, Rows); 3] = [("encode_narrow", narrow), ("encode_long_text", long_text), ("encode", products)];
    for (name, batch) in benches.into_iter().filter(|(name, _)| wanted(name)) {
        run(name, batch(), pairs);
    }
}

fn run(name: &str, batch: ChangeBatch, pairs: usize) {
    let staged = [Staged::untouched(Arc::new(batch))];
    let documents = &staged[0].documents;
    let mut encoder = Encoder::new(encoding());
    let mut yardstick = Vec::new();
    let mut ours = || {
        let start = Instant::now();
        let encoded = encoder.encode(&staged).expect("the batch is sound");
        assert_eq!(encoded.actions.len(), documents.num_rows());
        (start.elapsed(), encoded.body.len())
    };
    let mut theirs = || {
        yardstick.clear();
        let start = Instant::now();
        let mut writer = LineDelimitedWriter::new(&mut yardstick);
        writer.write(documents).expect("the columns have a JSON form");
        writer.finish().expect("memory takes all");
        (start.elapsed(), yardstick.len())
    };
    ours();
    theirs();
    let mut ratios = Vec::new();
    let mut times = Vec::new();
    let mut bytes = (0, 0);
    for _ in 0..pairs {
        let (their, our) = (theirs(), ours());
        ratios.push(their.0.as_secs_f64() / our.0.as_secs_f64());
        times.push(our.0);
        bytes = (our.1, their.1);
    }
    ratios.sort_by(f64::total_cmp);
    times.sort();
    print(name, &ratios, times[times.len() / 2], bytes, documents.num_rows());
}

fn print(name: &str, ratios: &[f64], median: Duration, (body, document): (usize, usize), rows: usize) {
    let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
    println!(
        "{name}: {rows} rows, {} B a document, {} B a body's row, {:.0} ns a row, {:.2} GB/s, ratio {low:.2} {middle:.2} {high:.2}",
        document / rows,
        body / rows,
        median.as_nanos() as f64 / rows as f64,
        body as f64 / median.as_nanos() as f64,
    );
    println!("ratio {name} {low:.2}");
}

fn encoding() -> Encoding {
    Encoding {
        index: "products".parse().expect("a name is a template"),
        id: IdRule::Key(HashMap::from([(TableId(1), vec!["id".to_owned()])])),
        routing: None,
        pipeline: None,
        numbers: Numbers::Exact,
        nonfinite: Nonfinite::String,
        long_id: LongId::Refuse,
        actions: Actions::default(),
        epoch: Epoch::default(),
        exclusive: Default::default(),
        keys: None,
    }
}

fn batch(columns: Vec<(&str, Kind, ArrayRef)>) -> ChangeBatch {
    let column = |&(name, kind, _): &(&str, Kind, ArrayRef)| Column {
        name: name.to_owned(),
        type_oid: 0,
        type_modifier: -1,
        kind,
        identity: name == "id",
    };
    let described = columns.iter().map(column).collect();
    let relation = Arc::new(Relation::new(TableId(1), "public", "products", ReplicaIdentity::Default, described));
    let arrays: Vec<_> = columns.into_iter().map(|(_, _, array)| array).collect();
    let bytes = arrays.iter().map(|array| array.get_array_memory_size()).sum();
    let commit = Commit { lsn: Lsn(0x16_B374_D848), xid: 1, time_us: 0 };
    let rows = RecordBatch::try_new(relation.arrow().clone(), arrays).expect("the arrays are the relation's");
    ChangeBatch { bytes, ..ChangeBatch::inserts(relation, commit, rows) }
}

/// A small generator of its own, so that a run is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Words of about that many bytes, now and then with something to escape.
    fn text(&mut self, bytes: u64) -> String {
        const WORDS: [&str; 12] =
            ["steel", "oak", "a", "light", "hand-made", "with", "für", "blue", "of", "lamp", "solid", "outdoor"];
        let mut text = String::new();
        while (text.len() as u64) < bytes {
            text.push_str(WORDS[self.below(12) as usize]);
            text.push_str(if self.below(60) == 0 { " 24\" " } else { " " });
        }
        text
    }
}

fn ints(value: impl FnMut(i64) -> i64) -> ArrayRef {
    let mut builder = Int64Builder::new();
    (0..ROWS as i64).map(value).for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn small_ints(mut value: impl FnMut() -> i32) -> ArrayRef {
    let mut builder = Int32Builder::new();
    (0..ROWS).for_each(|_| builder.append_value(value()));
    Arc::new(builder.finish())
}

fn texts(mut value: impl FnMut() -> Option<String>) -> ArrayRef {
    let mut builder = StringViewBuilder::new().with_fixed_block_size(1 << 20);
    (0..ROWS).for_each(|_| builder.append_option(value()));
    Arc::new(builder.finish())
}

fn times(mut value: impl FnMut() -> i64) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::new();
    (0..ROWS).for_each(|_| builder.append_value(value()));
    // Without a zone: `arrow_json` renders those by chrono-tz alone.
    Arc::new(builder.finish())
}

/// Rows of about 400 bytes as a document: what a shop has.
fn products() -> ChangeBatch {
    let mut r = Random(7);
    let mut in_stock = BooleanBuilder::new();
    (0..ROWS).for_each(|_| in_stock.append_value(r.below(10) > 0));
    batch(vec![
        ("id", Kind::Int8, ints(|row| 1_000_000 + row)),
        ("tenant_id", Kind::Int4, small_ints(|| r.below(500) as i32)),
        ("sku", Kind::Text, texts(|| Some(format!("SKU-{:06}", r.below(1_000_000))))),
        ("name", Kind::Text, texts(|| Some(r.text(24)))),
        (
            "description",
            Kind::Text,
            texts(|| {
                let len = 40 + r.below(120);
                Some(r.text(len))
            }),
        ),
        ("price", Kind::Numeric, texts(|| Some(format!("{}.{:02}", r.below(2000), r.below(100))))),
        ("quantity", Kind::Int4, small_ints(|| r.below(10_000) as i32)),
        ("in_stock", Kind::Bool, Arc::new(in_stock.finish())),
        ("category", Kind::Text, texts(|| (r.below(5) > 0).then(|| r.text(9)))),
        (
            "attributes",
            Kind::Jsonb,
            texts(|| Some(format!("{{\"color\": \"blue\", \"weight\": {}.{}}}", r.below(40), r.below(10)))),
        ),
        ("created_at", Kind::Timestamp, times(|| 1_700_000_000_000_000 + r.below(1 << 30) as i64 * 1_000)),
        ("updated_at", Kind::Timestamp, times(|| 1_720_000_000_000_000 + r.below(1 << 30) as i64 * 999)),
    ])
}

fn narrow() -> ChangeBatch {
    let mut r = Random(3);
    batch(vec![
        ("id", Kind::Int8, ints(|row| row)),
        ("a", Kind::Int4, small_ints(|| r.below(1 << 30) as i32)),
        ("b", Kind::Int4, small_ints(|| r.below(100) as i32)),
    ])
}

fn long_text() -> ChangeBatch {
    let mut r = Random(5);
    batch(vec![("id", Kind::Int8, ints(|row| row)), ("body", Kind::Text, texts(|| Some(r.text(2_000))))])
}
