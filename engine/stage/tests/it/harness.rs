//! Tables, batches and chains in few words.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tidemill_change::{ChangeBatch, Column, Commit, Kind, Lsn, Relation, ReplicaIdentity, Staged, TableId};
use tidemill_stage::{Chain, Engine, Grants, Identity, Limits, Plugin, Stage};

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());
static WHERE: LazyLock<Arc<Plugin>> = LazyLock::new(|| load("shipped", "where"));
static SELECT: LazyLock<Arc<Plugin>> = LazyLock::new(|| load("shipped", "select"));
static HOSTILE: LazyLock<Arc<Plugin>> = LazyLock::new(|| load("fixtures", "hostile"));
static SPLITTER: LazyLock<Arc<Plugin>> = LazyLock::new(|| load("fixtures", "splitter"));

pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

pub(crate) fn component(folder: &str, name: &str) -> Vec<u8> {
    fs::read(root().join(format!("plugins/{folder}/{name}.wasm"))).unwrap()
}

fn load(folder: &str, name: &str) -> Arc<Plugin> {
    Arc::new(Plugin::load(&ENGINE, name, &component(folder, name)).unwrap())
}

/// One column of a table: its name, its type's oid, its values.
pub(crate) type Cells = (&'static str, u32, ArrayRef);

pub(crate) fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<StringViewArray>())
}

/// A batch of inserts into `public.products`, whose key is its first column.
pub(crate) fn batch(columns: &[Cells]) -> Arc<ChangeBatch> {
    batch_of(TableId(1), columns)
}

pub(crate) fn batch_of(id: TableId, columns: &[Cells]) -> Arc<ChangeBatch> {
    let named = columns.iter().enumerate().map(|(place, (name, oid, _))| Column {
        name: (*name).to_owned(),
        type_oid: *oid,
        type_modifier: -1,
        kind: Kind::from_oid(*oid),
        identity: place == 0,
    });
    let relation = Relation::new(id, "public", "products", ReplicaIdentity::Default, named.collect());
    let arrays = columns.iter().map(|(_, _, array)| Arc::clone(array)).collect();
    let rows = RecordBatch::try_new(Arc::clone(relation.arrow()), arrays).unwrap();
    Arc::new(ChangeBatch::inserts(Arc::new(relation), Commit { lsn: Lsn(8), xid: 1, time_us: 0 }, rows))
}

/// A batch with an int8 `id` from 0 and a text `name`.
pub(crate) fn numbered(rows: usize) -> Arc<ChangeBatch> {
    let names: Vec<String> = (0..rows).map(|row| format!("a name that is not short {row}")).collect();
    let names: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    batch(&[("id", 20, ints(0..rows as i64)), ("name", 25, texts(&names))])
}

pub(crate) fn stage(name: &str, config: &str) -> Stage {
    let plugin = match name {
        "where" => &WHERE,
        "select" => &SELECT,
        "splitter" => &SPLITTER,
        _ => &HOSTILE,
    };
    let config = serde_json::from_str(config).unwrap();
    Stage {
        name: name.to_owned(),
        plugin: Arc::clone(plugin),
        config,
        limits: Limits::default(),
        grants: Grants::default(),
    }
}

pub(crate) fn keep(predicate: &str) -> Stage {
    let mut stage = stage("where", "{}");
    stage.config = serde_json::json!({ "predicate": predicate });
    stage
}

/// The splitter, which may name documents.
pub(crate) fn splitter(config: &str, index: Option<&str>) -> Stage {
    let mut stage = stage("splitter", config);
    stage.grants.identity = Some(Identity { index: index.map(Arc::from) });
    stage
}

/// The hostile plugin with little memory.
pub(crate) fn hostile(config: &str) -> Stage {
    let mut stage = stage("hostile", config);
    stage.limits.memory_bytes = 16 << 20;
    stage
}

pub(crate) fn chain(stages: &[Stage]) -> Chain {
    Chain::new(stages.to_vec())
}

pub(crate) fn names(staged: &Staged) -> Vec<String> {
    staged.documents.schema().fields().iter().map(|field| field.name().clone()).collect()
}

pub(crate) fn int_column(staged: &Staged, name: &str) -> Vec<i64> {
    staged.documents.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

pub(crate) fn text_column(staged: &Staged, name: &str) -> Vec<String> {
    let column = staged.documents.column_by_name(name).unwrap();
    column.as_string_view().iter().map(|text| text.unwrap_or("null").to_owned()).collect()
}

/// What holds of every answer, whatever the stages did.
pub(crate) fn check(staged: &Staged) {
    assert_eq!(staged.of.len(), staged.documents.num_rows());
    assert!(staged.of.windows(2).all(|pair| pair[0] <= pair[1]), "documents are out of order");
    assert!(staged.of.iter().all(|row| (*row as usize) < staged.source.rows.num_rows()));
    assert!(staged.rejects.windows(2).all(|pair| pair[0].row < pair[1].row), "rejects are out of order");
    assert!(staged.rejects.iter().all(|reject| !staged.of.contains(&reject.row)), "a rejected row left a document");
    assert!(staged.documents.columns().iter().all(|column| column.len() == staged.of.len()));
}
