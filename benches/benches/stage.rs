//! What a filter costs as a component, beside what the same source costs as native code.
//!
//! Cost model: a call costs a constant (below a microsecond), a copy of the required columns into the guest, the guest's
//! own work, and the check of its answer; a text column costs a second copy, since its views are gathered first. What is not
//! required costs nothing until the documents are taken. What a text costs on its way in is most of the ratio where the filter looks at
//! its first bytes only (`stage_text`), and little where it looks through it (`stage_find`). The yardstick is the source of the shipped `where`, built
//! natively, and a memcpy of its input. Both take turns, and the ratio is the upper quartile of the pairs. Beside the stage
//! alone stands the whole chain, which also takes what was kept out of every column.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tidemill_change::{ChangeBatch, Column, Commit, Kind, Lsn, Relation, ReplicaIdentity, TableId};
use tidemill_sdk::{Batch, Buffers, Config, DataType, Field, Filter, FilterPlan, Keep, MakeBytes, MakeNumbers, Schema};
use tidemill_stage::{Chain, Engine, Grants, Limits, Plugin, Stage};
use where_::Where;

const ROWS: usize = 10_000;
const COMPONENT: &[u8] = include_bytes!("../../plugins/shipped/where.wasm");

fn main() {
    // `cargo test` and `-- --test` ask only whether it runs.
    let pairs = if std::env::args().any(|arg| arg == "--test") { 2 } else { 401 };
    let engine = Engine::new().expect("wasmtime runs here");
    let start = Instant::now();
    let plugin = Arc::new(Plugin::load(&engine, "where", COMPONENT).expect("the shipped component is a plugin"));
    println!("stage: the component has {} bytes and compiles in {:?}", COMPONENT.len(), start.elapsed());
    let batch = products();
    let filters = [
        ("stage_i64", "price > 100", 0),
        ("stage_text", "name like 'item 1%'", 1),
        ("stage_find", "name like '%long%'", 1),
    ];
    for (name, predicate, column) in filters {
        let config = serde_json::json!({ "predicate": predicate });
        let stage = Stage {
            name: "where".into(),
            plugin: Arc::clone(&plugin),
            config,
            limits: Limits::default(),
            grants: Grants::default(),
        };
        run(name, &batch, Chain::new(vec![stage]), Native::open(predicate, &batch, column), pairs);
    }
}

fn run(name: &str, batch: &Arc<ChangeBatch>, mut chain: Chain, mut native: Native, pairs: usize) {
    let busy = |chain: &Chain| chain.stats().map(|(_, stats)| stats.busy).sum::<Duration>();
    let (mut ratios, mut stages, mut chains, mut natives) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs + 1 {
        let (kept, native) = native.run();
        let (start, before) = (Instant::now(), busy(&chain));
        let staged = chain.run(Arc::clone(batch)).expect("the batch is sound");
        let (whole, stage) = (start.elapsed(), busy(&chain) - before);
        assert_eq!(staged.of.len(), kept, "both keep the same rows");
        // The first run opens the plugin and grows its memory.
        if pair > 0 {
            ratios.push(stage.as_secs_f64() / native.as_secs_f64());
            stages.push(stage);
            chains.push(whole);
            natives.push(native);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_nanos() as f64 / 1e3
    };
    let [stage, whole, native] = [&mut stages, &mut chains, &mut natives].map(median);
    let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4]);
    println!(
        "{name}: stage {stage:.1} µs, chain {whole:.1} µs, native and memcpy {native:.1} µs, ratio {low:.2} {middle:.2} {high:.2}"
    );
    println!("figure {name}_us {stage:.1}");
    println!("ratio {name} {high:.2}");
}

/// The same source without a sandbox.
struct Native {
    filter: Where,
    input: Buffers,
    copy: Buffers,
}

impl Native {
    fn open(predicate: &str, batch: &ChangeBatch, column: usize) -> Native {
        let field = |name: &str, data_type, of: &str| Field {
            name: name.to_owned(),
            data_type,
            extension: None,
            postgres_type: Some(of.to_owned()),
        };
        let fields = vec![field("price", DataType::Int64, "int8"), field("name", DataType::Utf8, "text")];
        let schema = Schema { namespace: "public".into(), table: "products".into(), key: vec![], fields, old: vec![] };
        let config = serde_json::json!({ "predicate": predicate }).to_string();
        let mut plan = FilterPlan::new(&schema);
        let filter = Where::open(Config::new(&config), &mut plan).expect("the predicate fits the table");
        let input = match column {
            0 => MakeNumbers::of(batch.rows.column(0).as_primitive::<Int64Type>().iter()),
            _ => MakeBytes::of(batch.rows.column(1).as_string_view().iter()),
        };
        Native { filter, copy: input.clone(), input }
    }

    fn run(&mut self) -> (usize, Duration) {
        let start = Instant::now();
        self.copy.values.copy_from_slice(&self.input.values);
        self.copy.offsets.copy_from_slice(&self.input.offsets);
        let verdict = self.filter.process(&Batch::new(ROWS, std::slice::from_ref(&self.copy)));
        let elapsed = start.elapsed();
        let kept = match verdict.expect("the filter has no reason to fail").keep {
            Keep::All => ROWS,
            Keep::None => 0,
            Keep::Bitmap(bits) => bits.iter().map(|byte| byte.count_ones() as usize).sum(),
        };
        (kept, elapsed)
    }
}

/// Prices of which half pass, and names of 9 to 40 bytes of which a tenth pass.
fn products() -> Arc<ChangeBatch> {
    let prices = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 7919 % 202));
    let names = (0..ROWS).map(|row| format!("item {} {}", row % 10, &"of a kind that has a long name"[..row % 31]));
    let columns: Vec<ArrayRef> = vec![Arc::new(prices), Arc::new(StringViewArray::from_iter_values(names))];
    let column = |name: &str, oid| Column {
        name: name.to_owned(),
        type_oid: oid,
        type_modifier: -1,
        kind: Kind::from_oid(oid),
        identity: false,
    };
    let described = vec![column("price", 20), column("name", 25)];
    let relation = Arc::new(Relation::new(TableId(1), "public", "products", ReplicaIdentity::Default, described));
    let rows = RecordBatch::try_new(Arc::clone(relation.arrow()), columns).expect("the columns fit the relation");
    Arc::new(ChangeBatch::inserts(relation, Commit { lsn: Lsn(8), xid: 1, time_us: 0 }, rows))
}
