//! The bodies of fuzz targets: any plan and any answer of a guest, any component.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow_array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use tidemill_change::{ChangeBatch, Column, Commit, Kind, Lsn, Relation, ReplicaIdentity, TableId};

use crate::abi::{
    Buffers, DataType, Fact, Field, FilterPlan, Keep, Naming, Output, Outputs, Passed, Reject, Rows, Source,
    TransformPlan, Transformed, Verdict,
};
use crate::check;
use crate::frame::Frame;
use crate::grants::{Grants, Identity};
use crate::instance::{GuestAnswer, GuestPlan};
use crate::plan::Plan;
use crate::shape::Shape;
use crate::stage::without_refused;
use crate::{Chain, Engine, Inspection, Limits, Plugin, Stage, World, granted_by, inspect};

/// Inserts into a table with a key, a text and a boolean.
fn batch(rows: usize) -> Arc<ChangeBatch> {
    let column = |name: &str, type_oid| Column {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        kind: Kind::from_oid(type_oid),
        identity: name == "id",
    };
    let columns = vec![column("id", 20), column("name", 25), column("shown", 16)];
    let relation = Relation::new(TableId(1), "public", "products", ReplicaIdentity::Default, columns);
    let names: StringViewArray =
        (0..rows).map(|row| (row % 3 > 0).then(|| format!("a name that is not short {row}"))).collect();
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..rows as i64)),
        Arc::new(names),
        Arc::new((0..rows).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()),
    ];
    let rows = RecordBatch::try_new(Arc::clone(relation.arrow()), arrays).expect("columns of the table's types");
    Arc::new(ChangeBatch::inserts(Arc::new(relation), Commit { lsn: Lsn(8), xid: 1, time_us: 0 }, rows))
}

/// The fuzzer's bytes, as choices. They never end: after the last one come zeros.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, below: usize) -> usize {
        usize::from(self.byte()) % below
    }

    fn is(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte()).collect()
    }

    /// Mostly the length that is right.
    fn len(&mut self, right: usize) -> usize {
        match self.byte() {
            255 => right + 1,
            254 => right.saturating_sub(1),
            253 => 0,
            _ => right,
        }
    }

    fn list<T>(&mut self, below: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(below)).map(|_| one(self)).collect()
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 10] =
            ["id", "name", "made", "_id", "_index", "_routing", "", "logs-a", "{\"a\":1}", "-12.50"];
        TEXTS[self.below(TEXTS.len())].to_owned()
    }

    fn source(&mut self) -> Source {
        const FACTS: [Fact; 5] = [Fact::Op, Fact::Lsn, Fact::Time, Fact::Namespace, Fact::Table];
        match self.below(4) {
            0 => Source::Fact(FACTS[self.below(5)]),
            1 => Source::Old(self.below(4) as u32),
            _ => Source::Field(self.below(5) as u32),
        }
    }

    fn field(&mut self) -> Field {
        const TYPES: [DataType; 15] = [
            DataType::List,
            DataType::List,
            DataType::Utf8,
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Uint32,
            DataType::Float32,
            DataType::Float64,
            DataType::Binary,
            DataType::Date32,
            DataType::Timestamp,
            DataType::TimestampUtc,
            DataType::Time64,
        ];
        let extension = [None, None, Some("arrow.json"), Some("tidemill.numeric"), Some("other")][self.below(5)];
        Field {
            name: self.text(),
            data_type: TYPES[self.below(TYPES.len())],
            extension: extension.map(str::to_owned),
            postgres_type: None,
        }
    }

    fn plan(&mut self) -> GuestPlan {
        let requires = self.list(4, Self::source);
        if self.is() {
            return GuestPlan::Filter(FilterPlan { requires });
        }
        let outputs = self.list(6, |choices| match choices.is() {
            true => Output::Make(choices.list(3, Self::field)),
            false => Output::Pass(Passed { column: choices.source(), name: choices.text() }),
        });
        GuestPlan::Transform(TransformPlan {
            requires,
            outputs: if self.below(4) == 0 { Outputs::Documents(outputs) } else { Outputs::Columns(outputs) },
            many: self.is(),
            naming: if self.is() { Naming::Key } else { Naming::Row },
        })
    }

    fn answer(&mut self, rows: usize, plan: &Plan) -> GuestAnswer {
        let rejects = self.list(4, |choices| Reject {
            row: choices.below(rows + 2) as u32,
            code: choices.text(),
            message: choices.text(),
        });
        if plan.outputs.is_none() {
            let keep = match self.below(3) {
                0 => Keep::All,
                1 => Keep::None,
                _ => Keep::Bitmap(self.bits(rows)),
            };
            return GuestAnswer::Verdict(Verdict { keep, rejects });
        }
        let (picked, come) = match self.below(4) {
            0 => (Rows::All, rows),
            1 => (Rows::None, 0),
            2 => {
                let bits = self.bits(rows);
                let ones = (0..rows).filter(|row| bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1));
                let come = ones.count();
                (Rows::Bitmap(bits), come)
            }
            _ => {
                let indices = self.list(40, |choices| choices.below(rows + 1) as u32);
                let come = indices.len();
                (Rows::Indices(indices), come)
            }
        };
        let mut columns = Vec::new();
        plan.made.iter().for_each(|column| self.column(column.field.data_type(), come, &mut columns));
        match self.byte() {
            255 => drop(columns.pop()),
            254 => columns.push(Buffers { validity: None, offsets: Vec::new(), values: Vec::new() }),
            _ => {}
        }
        GuestAnswer::Transformed(Transformed { rows: picked, columns, rejects })
    }

    fn bits(&mut self, rows: usize) -> Vec<u8> {
        let len = self.len(rows.div_ceil(8));
        self.bytes(len)
    }

    /// A column's buffers, and behind them those of its elements.
    fn column(&mut self, of: &arrow_schema::DataType, rows: usize, into: &mut Vec<Buffers>) {
        let arrow_schema::DataType::List(element) = of else { return into.push(self.buffers(of, rows)) };
        let validity = self.is().then(|| self.bits(rows));
        let (mut offsets, mut end) = (0_i32.to_le_bytes().to_vec(), 0);
        for _ in 0..self.len(rows) {
            end += self.below(4) as i32;
            let offset = if self.byte() == 255 { -1 } else { end };
            offsets.extend(offset.to_le_bytes());
        }
        into.push(Buffers { validity, offsets, values: Vec::new() });
        self.column(element.data_type(), end as usize, into);
    }

    fn buffers(&mut self, of: &arrow_schema::DataType, rows: usize) -> Buffers {
        let validity = self.is().then(|| self.bits(rows));
        if *of == arrow_schema::DataType::Boolean {
            return Buffers { validity, offsets: Vec::new(), values: self.bits(rows) };
        }
        if let Some(width) = of.primitive_width() {
            let len = self.len(rows * width);
            return Buffers { validity, offsets: Vec::new(), values: self.bytes(len) };
        }
        let (mut offsets, mut values) = (0_i32.to_le_bytes().to_vec(), Vec::new());
        for _ in 0..self.len(rows) {
            match self.below(8) {
                0 => values.push(self.byte()),
                1 => values.extend("é".as_bytes()),
                _ => values.extend(self.text().as_bytes()),
            }
            let end = if self.byte() == 255 {
                i32::from_le_bytes(self.bytes(4).try_into().unwrap_or_default())
            } else {
                values.len() as i32
            };
            offsets.extend(end.to_le_bytes());
        }
        let len = self.len(values.len());
        values.resize(len, b'x');
        Buffers { validity, offsets, values }
    }
}

/// Feeds any plans and answers of a chain of guests to the checks, and looks whether what passes them is whole. The bytes
/// are choices.
pub fn fuzz_plugin_answer(data: &[u8]) {
    pass_answers(data);
}

/// Whether all passed.
fn pass_answers(data: &[u8]) -> bool {
    let mut choices = Choices(data);
    let rows = 1 + choices.below(20);
    let source = batch(rows);
    let identity = choices.is().then(|| Identity { index: choices.is().then(|| Arc::from("logs-*")) });
    let grants = Grants { identity, ..Grants::default() };
    let mut shape = Shape::of(&source.relation, None);
    let mut frame = Frame::new(source, false);
    for _ in 0..1 + choices.below(3) {
        if shape.is_whole() || frame.rows() == 0 {
            break;
        }
        let Ok(plan) = Plan::check(&choices.plan(), &shape, &grants) else { return false };
        plan.known().for_each(|known| frame.make(known));
        let answer = choices.answer(frame.rows(), &plan);
        let mut answer = match check::answer(answer, frame.rows(), &plan) {
            Ok(answer) => answer,
            Err(why) => {
                assert!(!why.is_empty() && why.len() < 1000, "{why}");
                return false;
            }
        };
        assert!(answer.refused.is_sorted_by(|a, b| a.row < b.row));
        let refused = without_refused(&mut answer, frame.rows());
        assert!(refused.iter().all(|refused| (refused.row as usize) < frame.rows()));
        assert!(plan.many || answer.picked.len(frame.rows()) <= frame.rows());
        frame.apply(&plan, answer.picked, answer.made);
        shape = plan.shape;
    }
    let finished = frame.finish().expect("nothing was left out");
    assert!(finished.of.iter().all(|row| (*row as usize) < rows), "a row that is not there");
    assert!(finished.of.is_sorted(), "documents are out of order");
    assert_eq!(finished.columns.len(), shape.columns.len());
    for (array, column) in finished.columns.iter().zip(&shape.columns) {
        assert_eq!((array.len(), array.data_type()), (finished.of.len(), column.field.data_type()));
        array.to_data().validate_full().expect("an array that passed the checks is whole");
    }
    true
}

/// What `inspect` tells of any bytes: nothing that could not be shown, and of a plugin its world.
fn inspected(data: &[u8]) -> Inspection {
    let found = inspect(data);
    assert_eq!(found.world.is_some(), found.problem.is_none(), "a plugin or a reason why not: {found:?}");
    let made = found.producers.iter().flat_map(|(what, names)| std::iter::once(what).chain(names));
    let told = found.imports.iter().chain(&found.exports).chain(&found.problem).chain(made);
    told.for_each(|text| assert!(text.len() < 2_000 && !text.chars().any(char::is_control), "{text:?}"));
    found.imports.iter().for_each(|import| drop(granted_by(import)));
    found
}

/// Inspects any bytes and loads them as a component, and where that succeeds opens and runs it.
pub fn fuzz_component(data: &[u8]) {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("an engine"));
    let found = inspected(data);
    let plugin = match Plugin::load(&ENGINE, "fuzz", data) {
        Ok(plugin) => Arc::new(plugin),
        Err(error) => return assert!(error.is_refused() && !error.message().is_empty()),
    };
    let world = if plugin.world() == World::Filter { "filter" } else { "transform" };
    assert_eq!(found.world, Some(world), "`inspect` and `check` agree on what runs: {found:?}");
    let limits = Limits {
        deadline: Duration::from_millis(20),
        memory_bytes: 16 << 20,
        output_bytes: 1 << 20,
        failing_rows: 2,
        ..Limits::default()
    };
    let (config, grants) = (serde_json::json!({}), Grants::default());
    let mut chain = Chain::new(vec![Stage { name: "fuzz".to_owned(), plugin, config, limits, grants }]);
    let Ok(staged) = chain.run(batch(20)) else { return };
    assert!(staged.of.iter().all(|row| *row < 20) && staged.of.is_sorted());
    let columns = staged.documents.columns().iter();
    columns.for_each(|array| array.to_data().validate_full().expect("what passed the checks is whole"));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What the fuzzer found once, and what it began with.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
        let files = fs::read_dir(folder).expect("a folder with a corpus");
        files.map(|file| fs::read(file.expect("an entry").path()).expect("a file")).collect()
    }

    #[test]
    fn the_corpus_of_answers_is_contained() {
        corpus("plugin_answer").iter().for_each(|data| fuzz_plugin_answer(data));
    }

    #[test]
    fn the_corpus_of_components_is_contained() {
        corpus("component").iter().for_each(|data| fuzz_component(data));
    }

    #[test]
    fn random_answers_are_contained() {
        let (mut seed, mut passed) = (1_u64, 0);
        for _ in 0..20_000 {
            let byte = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 56) as u8
            };
            let data: Vec<u8> = std::iter::repeat_with(byte).take(200).collect();
            passed += u32::from(pass_answers(&data));
        }
        assert!((1000..19_000).contains(&passed), "{passed} of 20,000 pass the checks");
    }
}
