//! Names documents, makes several of a row, and lets out what is known of its change, as its configuration says:
//!
//! ```text
//! {"split": "tags"}                          a document for each part between commas, called `id-part`, and `part` in it
//! {"copies": 3}                              so many documents of each row, called `id-0` and so on
//! {"id": "slug"}                             the id is this column
//! {"index": "kind", "prefix": "logs-"}       the index is the prefix and this column
//! {"routing": "tenant"}                      the routing is this column
//! {"provenance": true, "old": ["name"]}      `change_op`, `change_lsn` …, `seen_op`; `old_name`
//! {"list": "tags", "back": "words"}          `tags_list`, the parts between commas; `words_back`, the elements of a list with `|` between
//! {"naming": "key"}                          what it says of its names
//! ```

use serde::Deserialize;
use tidemill_sdk::{
    Batch, Buffers, Column, Config, DataType, Error, Fact, Failure, List, MakeBytes, Naming, Rows, Texts, Transform,
    TransformPlan, Transformed, lists,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    split: Option<String>,
    copies: Option<usize>,
    id: Option<String>,
    index: Option<String>,
    #[serde(default)]
    prefix: String,
    routing: Option<String>,
    #[serde(default)]
    provenance: bool,
    #[serde(default)]
    old: Vec<String>,
    list: Option<String>,
    back: Option<String>,
    #[serde(default)]
    naming: String,
}

pub struct Splitter {
    key: Option<Column<i64>>,
    split: Option<Column<str>>,
    copies: Option<usize>,
    id: Option<Column<str>>,
    index: Option<(Column<str>, String)>,
    routing: Option<Column<str>>,
    op: Option<Column<str>>,
    list: Option<Column<str>>,
    back: Option<Column<List<str>>>,
}

/// A document: its row, and what it is called beside the row's key.
struct Document {
    row: usize,
    part: Option<String>,
}

impl Transform for Splitter {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Splitter, Error> {
        let settings: Settings = config.read()?;
        plan.pass_all_but(&[]);
        let is_many = settings.split.is_some() || settings.copies.is_some();
        let key = is_many.then(|| plan.require("id")).transpose()?;
        let column = |plan: &mut TransformPlan<'_>, name: &Option<String>| -> Result<Option<Column<str>>, Error> {
            name.as_ref().map(|name| plan.require(name)).transpose()
        };
        let split = column(plan, &settings.split)?;
        if is_many {
            plan.make("_id", DataType::Utf8);
            plan.many();
        }
        if split.is_some() {
            plan.make("part", DataType::Utf8);
        }
        let id = column(plan, &settings.id)?;
        if id.is_some() {
            plan.make("_id", DataType::Utf8);
        }
        let index = column(plan, &settings.index)?.map(|column| (column, settings.prefix));
        if index.is_some() {
            plan.make("_index", DataType::Utf8);
        }
        let routing = column(plan, &settings.routing)?;
        if routing.is_some() {
            plan.make("_routing", DataType::Utf8);
        }
        let mut op = None;
        if settings.provenance {
            let facts = [
                (Fact::Op, "change_op"),
                (Fact::Lsn, "change_lsn"),
                (Fact::Time, "change_time"),
                (Fact::Namespace, "change_namespace"),
                (Fact::Table, "change_table"),
            ];
            facts.into_iter().for_each(|(fact, name)| plan.pass_fact(fact, name));
            op = Some(plan.require_fact(Fact::Op)?);
            plan.make("seen_op", DataType::Utf8);
        }
        for name in &settings.old {
            plan.pass_old(name, format!("old_{name}"))?;
        }
        let list = column(plan, &settings.list)?;
        if let Some(name) = &settings.list {
            plan.make_list(format!("{name}_list"), DataType::Utf8);
        }
        let mut back = None;
        if let Some(name) = &settings.back {
            back = Some(plan.require(name)?);
            plan.make(format!("{name}_back"), DataType::Utf8);
        }
        if settings.naming == "key" {
            plan.naming(Naming::Key);
        }
        Ok(Splitter { key, split, copies: settings.copies, id, index, routing, op, list, back })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let documents = self.documents(batch);
        let made = |of: &dyn Fn(&Document) -> Option<String>| MakeBytes::of(documents.iter().map(of));
        let text = |column: Column<str>| {
            let texts: Texts<'_> = batch.column(column);
            move |document: &Document| texts.get(document.row).map(str::to_owned)
        };
        let mut columns = Vec::new();
        if let Some(key) = self.key {
            let key = batch.column(key);
            columns.push(made(&|document| {
                let key = key.get(document.row)?;
                Some(format!("{key}-{}", document.part.as_deref()?))
            }));
        }
        if self.split.is_some() {
            columns.push(made(&|document| document.part.clone()));
        }
        if let Some(id) = self.id {
            columns.push(made(&text(id)));
        }
        if let Some((index, prefix)) = &self.index {
            let index = text(*index);
            columns.push(made(&|document| Some(format!("{prefix}{}", index(document)?))));
        }
        if let Some(routing) = self.routing {
            columns.push(made(&text(routing)));
        }
        if let Some(op) = self.op {
            columns.push(made(&text(op)));
        }
        if let Some(list) = self.list {
            columns.extend(list_of(batch.column(list), &documents));
        }
        if let Some(back) = self.back {
            let lists = batch.column(back);
            columns.push(made(&|document| {
                let elements = lists.get(document.row)?.map(|at| lists.elements().get(at).unwrap_or("null"));
                Some(elements.collect::<Vec<_>>().join("|"))
            }));
        }
        let rows = match self.key {
            Some(_) => Rows::Indices(documents.iter().map(|document| document.row as u32).collect()),
            None => Rows::All,
        };
        Ok(Transformed { rows, columns, rejects: Vec::new() })
    }
}

/// The parts between commas, and null for those that are empty.
fn list_of(texts: Texts<'_>, documents: &[Document]) -> [Buffers; 2] {
    let parts = |document: &Document| texts.get(document.row).map(|text| text.split(','));
    let elements = documents.iter().filter_map(parts).flatten().map(|part| (!part.is_empty()).then_some(part));
    [lists(documents.iter().map(|document| Some(parts(document)?.count()))), MakeBytes::of(elements)]
}

impl Splitter {
    fn documents(&self, batch: &Batch<'_>) -> Vec<Document> {
        let mut documents = Vec::with_capacity(batch.rows());
        for row in 0..batch.rows() {
            if let Some(split) = self.split {
                let parts = batch.column(split).get(row).unwrap_or_default();
                let parts = parts.split(',').filter(|part| !part.is_empty());
                documents.extend(parts.map(|part| Document { row, part: Some(part.to_owned()) }));
            } else if let Some(copies) = self.copies {
                documents.extend((0..copies).map(|copy| Document { row, part: Some(copy.to_string()) }));
            } else {
                documents.push(Document { row, part: None });
            }
        }
        documents
    }
}

tidemill_sdk::transform!(Splitter);
