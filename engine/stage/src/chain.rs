//! A stream's stages, one after the other, over batches of any of its tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take;
use tidemill_change::{ChangeBatch, Former, Named, Names, OldImage, Reject, Relation, Staged, TableId};

use crate::World;
use crate::error::{Error, Kind};
use crate::frame::{Finished, Frame};
use crate::limits::OPENED_MAX;
use crate::plan::{ID, INDEX, ROUTING};
use crate::removal::{self, Asked};
use crate::said::{Logs, Metric};
use crate::shape::{Naming, Shape};
use crate::stage::{OpenStage, Required, Shared, Stage, StageStats};

/// The stages of one stream. It belongs to one worker: a batch passes all stages in one call.
///
/// Each table, and each shape that a table takes on, gets instances of its own, opened when its first batch comes.
#[derive(Debug)]
pub struct Chain {
    stages: Vec<Stage>,
    stats: Vec<StageStats>,
    opened: HashMap<TableId, Opened>,
    /// Of tables, by the columns' names.
    primary_keys: HashMap<TableId, Vec<String>>,
    /// Counts batches, to tell which table was not seen for longest.
    now: u64,
    shared: Shared,
}

/// The stages as they are opened on one table.
#[derive(Debug)]
struct Opened {
    relation: Arc<Relation>,
    stages: Vec<OpenStage>,
    /// What documents of this table consist of.
    schema: SchemaRef,
    /// They are JSON that a stage wrote.
    is_whole: bool,
    /// Where the names of documents are among the last columns; none where the configuration gives all of them.
    named: Option<NamePlaces>,
    used: u64,
}

/// The columns that name documents, and how they are made.
#[derive(Debug)]
struct NamePlaces {
    index: Option<usize>,
    id: Option<usize>,
    routing: Option<usize>,
    naming: Naming,
}

/// What the stages say about a table.
#[derive(Clone, Debug)]
pub struct OpenedInfo {
    /// What its documents consist of; nothing where that is known only when they come.
    pub schema: SchemaRef,
    /// Where each of those columns comes from.
    pub columns: Vec<OutColumn>,
    /// The table's columns that some stage reads or that a document shows, as places in the relation, ascending. The others
    /// need not be decoded.
    pub needed: Vec<usize>,
    /// What stages name themselves.
    pub named: Option<NamedInfo>,
}

/// How stages name a table's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedInfo {
    pub id: bool,
    /// What the indices match that stages name; none where they name none.
    pub index: Option<Arc<str>>,
    pub routing: bool,
    /// Names are made of more than the key: an update or delete tells them only under REPLICA IDENTITY FULL.
    pub of_row: bool,
    /// One row may become several documents.
    pub many: bool,
}

/// A column of the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutColumn {
    pub name: String,
    /// The table's column that it is, whatever it is called now; none where a stage made it.
    pub source: Option<usize>,
}

impl Chain {
    pub fn new(stages: Vec<Stage>) -> Chain {
        let stats = vec![StageStats::default(); stages.len()];
        Chain { stages, stats, opened: HashMap::new(), primary_keys: HashMap::new(), now: 0, shared: Shared::default() }
    }

    /// The primary keys of tables, by name: what plugins are told under REPLICA IDENTITY FULL, of which the stream says only that
    /// every column is part of it.
    #[must_use]
    pub fn with_primary_keys(mut self, keys: impl IntoIterator<Item = (TableId, Vec<String>)>) -> Chain {
        self.primary_keys = keys.into_iter().filter(|(_, key)| !key.is_empty()).collect();
        self
    }

    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Opens all stages on a table, unless they are. What a plugin refuses is told before any row flows.
    pub fn open(&mut self, relation: &Arc<Relation>) -> Result<OpenedInfo, Error> {
        self.ensure_open(relation)?;
        let opened = &self.opened[&relation.id];
        Ok(opened.info())
    }

    /// Passes a batch through all stages. After an error the batch was not passed and may be tried again.
    pub fn run(&mut self, batch: Arc<ChangeBatch>) -> Result<Staged, Error> {
        self.ensure_open(&batch.relation)?;
        let opened = self.opened.get_mut(&batch.relation.id).expect("opened above");
        let mut frame = Frame::new(Arc::clone(&batch), false);
        for ((stage, open), stats) in self.stages.iter().zip(&mut opened.stages).zip(&mut self.stats) {
            open.run(stage, &mut frame, &mut self.shared, stats)?;
        }
        let finished = frame.finish()?;
        let named = opened.name(&self.stages, &finished, &batch, &mut self.stats, &mut self.shared)?;
        let Finished { columns, of, rejects } = finished;
        let columns = match &opened.named {
            None => columns,
            Some(places) => places.without(columns),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(of.len()));
        let documents = RecordBatch::try_new_with_options(Arc::clone(&opened.schema), columns, &options)
            .expect("columns have the plan's types and the selection's length");
        Ok(Staged { source: batch, documents, of, rejects, named })
    }

    /// What each stage asked for of a table on which it was opened.
    pub fn requires(&self, table: TableId) -> Vec<Vec<Required>> {
        self.opened
            .get(&table)
            .map(|opened| opened.stages.iter().map(OpenStage::asked_for).collect())
            .unwrap_or_default()
    }

    /// What each stage did so far.
    pub fn stats(&self) -> impl ExactSizeIterator<Item = (&str, &StageStats)> {
        self.stages.iter().map(|stage| stage.name.as_str()).zip(&self.stats)
    }

    /// What guests logged since the last call; ask after every batch.
    pub fn take_logs(&mut self) -> Logs {
        self.shared.heard.take_logs()
    }

    /// The guests' own metrics by stage and name; counts are what was added since the last call.
    pub fn take_metrics(&mut self) -> BTreeMap<(String, String), Metric> {
        self.shared.heard.take_metrics()
    }

    fn ensure_open(&mut self, relation: &Arc<Relation>) -> Result<(), Error> {
        self.now += 1;
        if let Some(opened) = self.opened.get_mut(&relation.id)
            && (Arc::ptr_eq(&opened.relation, relation) || opened.relation == *relation)
        {
            opened.used = self.now;
            return Ok(());
        }
        let mut shape = Shape::of(relation, self.primary_keys.get(&relation.id).map(Vec::as_slice));
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            if shape.is_whole() {
                let message =
                    "an earlier stage brings whole documents, so that no columns are left for it: put it before";
                return Err(Error::new(Kind::Open, &stage.name, message));
            }
            let open = OpenStage::open(stage, &shape, &mut self.shared)?;
            shape = open.shape().clone();
            stages.push(open);
        }
        if self.opened.len() >= OPENED_MAX && !self.opened.contains_key(&relation.id) {
            self.close_oldest();
        }
        let named = NamePlaces::of(&shape);
        if shape.naming.many && named.as_ref().is_none_or(|named| named.id.is_none()) {
            let stage = self.stages.iter().zip(&stages).find(|(_, open)| open.shape().naming.many);
            let name = stage.map(|(stage, _)| stage.name.as_str()).unwrap_or_default();
            let message =
                format!("it makes several documents of one row, and no stage gives each an `{ID}` of its own");
            return Err(Error::new(Kind::Open, name, message));
        }
        let opened = Opened {
            relation: Arc::clone(relation),
            stages,
            schema: shape.documents(),
            is_whole: shape.is_whole(),
            named,
            used: self.now,
        };
        self.opened.insert(relation.id, opened);
        Ok(())
    }

    fn close_oldest(&mut self) {
        let oldest = self.opened.iter().min_by_key(|(_, opened)| opened.used).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.opened.remove(&id);
        }
    }
}

impl Opened {
    /// What stages say of names: those of the documents, and those of rows that are there no more.
    fn name(
        &mut self,
        stages: &[Stage],
        finished: &Finished,
        source: &ChangeBatch,
        stats: &mut [StageStats],
        shared: &mut Shared,
    ) -> Result<Option<Box<Named>>, Error> {
        let Some(places) = &self.named else { return Ok(None) };
        let mut named = places.names(finished);
        if let Some(asked) = removal::ask(source, finished, &places.naming) {
            let mut frame = Frame::new(Arc::clone(&asked.batch), true);
            let transforms = stages.iter().zip(&mut self.stages).zip(stats);
            for ((stage, open), stats) in transforms.filter(|((stage, _), _)| stage.plugin.world() == World::Transform)
            {
                // These rows count for nothing but the time that they take.
                let mut spent = StageStats::default();
                let run = open.run(stage, &mut frame, shared, &mut spent);
                stats.calls += spent.calls;
                stats.failures += spent.failures;
                stats.restarts += spent.restarts;
                stats.memory_bytes = stats.memory_bytes.max(spent.memory_bytes);
                stats.busy += spent.busy;
                run?;
            }
            let told = frame.finish()?;
            if let Some(change) = places.perjured(&asked, &told, finished, source, &named) {
                return Err(places.perjury(stages, source, change));
            }
            places.former(&asked, told, source, &mut named);
        }
        Ok(Some(Box::new(named)))
    }

    fn info(&self) -> OpenedInfo {
        let mut needed = vec![false; self.relation.columns.len()];
        // For each column behind the stages so far, the table's column that it is.
        let mut sources: Vec<Option<usize>> = (0..needed.len()).map(Some).collect();
        for stage in &self.stages {
            for source in stage.requires().filter_map(|place| sources[place]).chain(stage.old()) {
                needed[source] = true;
            }
            sources = stage.trace(&sources);
        }
        for source in sources.iter().flatten() {
            needed[*source] = true;
        }
        let documents = match &self.named {
            None => sources,
            Some(places) => places.without(sources),
        };
        let names = self.schema.fields().iter().map(|field| field.name().clone());
        let columns = names.zip(documents).map(|(name, source)| OutColumn { name, source }).collect();
        let needed = (0..needed.len()).filter(|place| needed[*place]).collect();
        let named = self.named.as_ref().map(|named| NamedInfo {
            id: named.id.is_some(),
            index: named.naming.index_pattern.clone().filter(|_| named.index.is_some()),
            routing: named.routing.is_some(),
            of_row: named.naming.of_row,
            many: named.naming.many,
        });
        let (schema, columns) = match self.is_whole {
            // What whole documents consist of is known only when they come.
            true => (Arc::new(Schema::empty()), Vec::new()),
            false => (Arc::clone(&self.schema), columns),
        };
        OpenedInfo { schema, columns, needed, named }
    }
}

impl NamePlaces {
    fn of(shape: &Shape) -> Option<NamePlaces> {
        let (index, id, routing) = (shape.name(INDEX), shape.name(ID), shape.name(ROUTING));
        let any = index.or(id).or(routing);
        any.map(|_| NamePlaces { index, id, routing, naming: shape.naming.clone() })
    }

    /// What is left when the names are taken out.
    fn without<T>(&self, columns: Vec<T>) -> Vec<T> {
        let is_name = |at: usize| [self.index, self.id, self.routing].contains(&Some(at));
        columns.into_iter().enumerate().filter(|(at, _)| !is_name(*at)).map(|(_, column)| column).collect()
    }

    /// The names among the last columns, of these rows or of all.
    fn pick(&self, columns: &[ArrayRef], rows: Option<&UInt32Array>) -> Names {
        let pick = |at: Option<usize>| -> Option<StringViewArray> {
            let column = &columns[at?];
            let column = match rows {
                Some(rows) => take(column, rows, None).expect("rows that are there"),
                None => Arc::clone(column),
            };
            Some(column.as_string_view().clone())
        };
        Names { index: pick(self.index), id: pick(self.id), routing: pick(self.routing) }
    }

    /// The names of the documents that a batch became.
    fn names(&self, finished: &Finished) -> Named {
        Named {
            documents: self.pick(&finished.columns, None),
            index_pattern: self.naming.index_pattern.clone(),
            of_row: self.naming.of_row,
            ..Named::default()
        }
    }

    /// The change of a row that is called otherwise once nothing but its key is given.
    fn perjured(
        &self,
        asked: &Asked,
        told: &Finished,
        finished: &Finished,
        source: &ChangeBatch,
        named: &Named,
    ) -> Option<u32> {
        let again = self.pick(&told.columns, None);
        let changes = (0..).zip(&asked.of).skip(asked.refused);
        changes.map(|(row, change)| (row, *change)).find_map(|(row, change)| {
            let new = source.changes[change as usize].row;
            let names = names_of_row(&named.documents, &finished.of, new);
            (names != names_of_row(&again, &told.of, row)).then_some(change)
        })
    }

    fn perjury(&self, stages: &[Stage], source: &ChangeBatch, change: u32) -> Error {
        let stage = stages.iter().rev().find(|stage| stage.grants.identity.is_some());
        let lsn = source.commit_of(&source.changes[change as usize]).lsn;
        let message = format!(
            "it says that it names documents by the key of `{}` alone, and a row of the commit at {lsn} is called otherwise where only its \
             key is given: what an update or a delete of it must remove could not be told. Let its plan say `naming: row`",
            source.relation
        );
        Error::new(Kind::Fatal, stage.map(|stage| stage.name.as_str()).unwrap_or_default(), message)
    }

    /// Adds the names that were asked for.
    fn former(&self, asked: &Asked, told: Finished, source: &ChangeBatch, named: &mut Named) {
        let until = |asked: usize| told.of.partition_point(|row| (*row as usize) < asked);
        let (were, refused) = (until(asked.were), until(asked.refused));
        let former = |rows: std::ops::Range<usize>| {
            let of = told.of[rows.clone()].iter().map(|row| asked.of[*row as usize]).collect();
            let rows = UInt32Array::from_iter_values(rows.map(|row| row as u32));
            Former { of, names: self.pick(&told.columns, Some(&rows)) }
        };
        (named.were, named.refused) = (former(0..were), former(were..refused));
        // A whole row that is refused now was refused when it came: it has no document. Of a part that cannot be said.
        let rejects = told.rejects.into_iter().filter(|reject| (reject.row as usize) < asked.were);
        let rejects = rejects.map(|reject| Reject { row: asked.of[reject.row as usize], ..reject });
        named.untold =
            rejects.filter(|reject| source.changes[reject.row as usize].old_image != OldImage::Full).collect();
    }
}

/// The names of a row's documents, in an order of their own: index, id and routing of each.
fn names_of_row<'a>(names: &'a Names, of: &[u32], row: u32) -> Vec<[Option<&'a str>; 3]> {
    let documents = of.partition_point(|other| *other < row)..of.partition_point(|other| *other <= row);
    let name = |names: &'a Option<StringViewArray>, at: usize| {
        names.as_ref().filter(|names| names.is_valid(at)).map(|names| names.value(at))
    };
    let mut names: Vec<_> =
        documents.map(|at| [name(&names.index, at), name(&names.id, at), name(&names.routing, at)]).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker takes its chain with it, and errors go from thread to thread.
    #[test]
    fn a_chain_can_be_sent() {
        fn is_send<T: Send>() {}
        fn is_shared<T: Send + Sync>() {}
        is_send::<Chain>();
        is_shared::<Error>();
        is_shared::<Stage>();
        is_shared::<crate::Plugin>();
    }
}
