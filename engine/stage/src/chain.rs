//! A stream's stages, one after the other, over batches of any of its tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use tidemill_change::{ChangeBatch, Relation, Staged, TableId};

use crate::error::Error;
use crate::frame::Frame;
use crate::instance::{Logs, Metric};
use crate::limits::OPENED_MAX;
use crate::shape::Shape;
use crate::stage::{OpenStage, Shared, Stage, StageStats};

/// The stages of one stream. It belongs to one worker: a batch passes all stages in one call.
///
/// Each table, and each shape that a table takes on, gets instances of its own, opened when its first batch comes.
#[derive(Debug)]
pub struct Chain {
    stages: Vec<Stage>,
    stats: Vec<StageStats>,
    opened: HashMap<TableId, Opened>,
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
    used: u64,
}

/// What the stages say about a table.
#[derive(Clone, Debug)]
pub struct OpenedInfo {
    /// What its documents consist of.
    pub schema: SchemaRef,
    /// Where each of those columns comes from.
    pub columns: Vec<OutColumn>,
    /// The table's columns that some stage reads or that a document shows, as places in the relation, ascending. The others
    /// need not be decoded.
    pub needed: Vec<usize>,
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
        Chain { stages, stats, opened: HashMap::new(), now: 0, shared: Shared::default() }
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
        let mut frame = Frame::new(batch);
        for ((stage, open), stats) in self.stages.iter().zip(&mut opened.stages).zip(&mut self.stats) {
            open.run(stage, &mut frame, &mut self.shared, stats)?;
        }
        Ok(frame.finish(&opened.schema))
    }

    /// What each stage asked for of a table on which it was opened, in words.
    pub fn requires(&self, table: TableId) -> Vec<Vec<String>> {
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
        std::mem::take(&mut self.shared.logs)
    }

    /// The guests' own metrics by stage and name; counts are what was added since the last call.
    pub fn take_metrics(&mut self) -> BTreeMap<(String, String), Metric> {
        std::mem::take(&mut self.shared.metrics)
    }

    fn ensure_open(&mut self, relation: &Arc<Relation>) -> Result<(), Error> {
        self.now += 1;
        if let Some(opened) = self.opened.get_mut(&relation.id)
            && (Arc::ptr_eq(&opened.relation, relation) || opened.relation == *relation)
        {
            opened.used = self.now;
            return Ok(());
        }
        let mut shape = Shape::of(relation);
        let mut stages = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let open = OpenStage::open(stage, &shape, &mut self.shared)?;
            shape = open.shape().clone();
            stages.push(open);
        }
        if self.opened.len() >= OPENED_MAX && !self.opened.contains_key(&relation.id) {
            self.close_oldest();
        }
        let opened = Opened { relation: Arc::clone(relation), stages, schema: shape.arrow(), used: self.now };
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
    fn info(&self) -> OpenedInfo {
        let mut needed = vec![false; self.relation.columns.len()];
        // For each column behind the stages so far, the table's column that it is.
        let mut sources: Vec<Option<usize>> = (0..needed.len()).map(Some).collect();
        for stage in &self.stages {
            for source in stage.requires().iter().filter_map(|place| sources[*place]) {
                needed[source] = true;
            }
            sources = stage.trace(&sources);
        }
        for source in sources.iter().flatten() {
            needed[*source] = true;
        }
        let names = self.schema.fields().iter().map(|field| field.name().clone());
        let columns = names.zip(sources).map(|(name, source)| OutColumn { name, source }).collect();
        let needed = (0..needed.len()).filter(|place| needed[*place]).collect();
        OpenedInfo { schema: Arc::clone(&self.schema), columns, needed }
    }
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
