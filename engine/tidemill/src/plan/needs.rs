//! Which columns of a table a stream needs: what is none of them is neither decoded nor copied.
//!
//! Whatever reads a column has to be counted here. What is forgotten is not lost unnoticed: stages and encoder refuse to read a
//! column that was left out.

use tidemill_change::{LeftOut, ReplicaIdentity};
use tidemill_encode::Template;

use super::findings::Findings;
use super::streams::StreamPlan;
use crate::config;
use crate::source::catalog::{TableInfo, TableKind};

/// What reads a table's columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    pub(super) table: &'a TableInfo,
    /// The columns that stages require or documents show.
    pub(super) read: &'a [usize],
    /// What index, id and routing are made of.
    pub(super) templates: &'a [&'a Template],
    /// Two rows may be at one place within a transaction.
    pub(super) shares_places: bool,
}

impl Needs<'_> {
    pub(super) fn left_out(self) -> LeftOut {
        let relation = &self.table.relation;
        let is_full = relation.replica_identity == ReplicaIdentity::Full;
        // A partition may be FULL where its root is not.
        let may_be_full = is_full || self.table.kind == TableKind::Partitioned;
        if self.shares_places && may_be_full {
            // Old images tell rows apart that meet at a place, by all that they hold.
            return LeftOut::default();
        }
        let mut needed = self.read.to_vec();
        // Rows are read again by it, and named.
        needed.extend(&self.table.primary_key);
        if !is_full {
            needed.extend((0..relation.columns.len()).filter(|column| relation.columns[*column].identity));
        }
        let named = self.templates.iter().flat_map(|template| template.columns());
        needed.extend(named.filter_map(|name| relation.column(name)));
        LeftOut::but(relation.columns.len(), &needed)
    }
}

/// Names the columns that are read, where others are not.
pub(super) fn tell(plan: &StreamPlan, subject: &str, findings: &mut Findings) {
    for (table, left_out) in plan.tables.iter().zip(&plan.left_out).filter(|(_, left_out)| !left_out.is_empty()) {
        let columns = &table.relation.columns;
        let kept = left_out.kept(columns.len());
        let names: Vec<_> = kept.iter().map(|column| format!("`{}`", columns[*column].name)).collect();
        let (table, read, all) = (&table.relation, kept.len(), columns.len());
        findings.right(subject, format!("table `{table}`: {read} of {all} columns are read: {}", names.join(", ")));
    }
}

/// The predicate of a stage that is the shipped filter and nothing else: a file of that name is somebody else's plugin, and what
/// comes from a secret is shown to nobody.
pub(super) fn predicate(stage: &config::Stage) -> Option<&str> {
    let is_shipped = matches!(&stage.plugin, config::Plugin::Shipped(name) if name == "where");
    let config = stage.config.as_ref()?.as_object()?;
    let is_plain = is_shipped && stage.secrets.is_empty() && config.len() == 1;
    config.get("predicate").filter(|_| is_plain)?.as_str()
}
