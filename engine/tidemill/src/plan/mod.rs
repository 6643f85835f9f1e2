//! From the configuration and the catalog to what runs. `check` and `run` share it, so what `check` passes, `run` starts.
//!
//! Looking comes before making: nothing here changes anything in Postgres or in a sink.

mod findings;
mod needs;
mod plugins;
mod script;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use findings::{Finding, Findings, Verdict};
pub use plugins::Plugins;
pub(crate) use plugins::shipped;
pub use script::script;
pub use streams::{IndexPlan, StreamPlan, Unopened};

use tidemill_change::{Epoch, LeftOut};
use tidemill_encode::overlap;

use crate::config::Config;
use crate::deliver::Preparation;
use crate::error::Result;
use crate::source::catalog::TableInfo;
use crate::source::{Connector, ServerInfo, Session};

/// The subject of findings about the database.
pub(crate) const SOURCE: &str = "source";

/// Everything resolved that a run needs.
#[derive(Debug)]
pub struct Plan {
    pub server: ServerInfo,
    pub streams: Vec<StreamPlan>,
}

impl Plan {
    /// The tables of all streams, each once, in order of their names.
    pub fn tables(&self) -> Vec<Arc<TableInfo>> {
        let mut seen = BTreeSet::new();
        let tables = self.streams.iter().flat_map(|stream| &stream.tables);
        tables.filter(|table| seen.insert(table.relation.id)).cloned().collect()
    }

    /// What no stream reads of a table: nothing, where two streams saw it in two shapes.
    pub fn left_out(&self, table: &TableInfo) -> LeftOut {
        let streams = self.streams.iter().flat_map(|stream| stream.tables.iter().zip(&stream.left_out));
        let readers = streams.filter(|(read, _)| read.relation.id == table.relation.id);
        let left_out = readers.map(|(read, left_out)| match read.relation == table.relation {
            true => left_out.clone(),
            false => LeftOut::default(),
        });
        left_out.reduce(|one, other| one.and(&other)).unwrap_or_default()
    }

    pub fn stream(&self, name: &str) -> Option<&StreamPlan> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// Looks at the server, the tables and the plugins. What is wrong is in `findings`; a plan then lacks it.
    pub async fn resolve(
        config: &Config,
        session: &Session,
        connector: &Connector,
        plugins: &mut Plugins,
        findings: &mut Findings,
    ) -> Result<Option<Plan>> {
        let Some(server) = findings.take(SOURCE, ServerInfo::read(session).await) else { return Ok(None) };
        look_at_server(&server, connector, findings);
        let mut streams = Vec::new();
        for stream in &config.streams {
            if let Some(plan) = StreamPlan::resolve(config, stream, session, &server, plugins, findings).await? {
                look_at_mapping(&plan, &server, findings);
                streams.push(plan);
            }
        }
        look_at_indices(&streams, findings);
        Ok(Some(Plan { server, streams }))
    }
}

fn look_at_server(server: &ServerInfo, connector: &Connector, findings: &mut Findings) {
    findings.right(SOURCE, format!("PostgreSQL {} at {}", server.version_text, connector.url()));
    findings.take(SOURCE, server.require_version());
    if findings.take(SOURCE, server.require_logical()).is_some() {
        findings.right(SOURCE, "wal_level is logical");
    }
    findings.take(SOURCE, server.require_not_synchronous(&connector.url().application_name));
    if server.is_standby && server.version < 16 {
        findings.wrong(
            SOURCE,
            "the server is a standby: logical decoding on one needs PostgreSQL 16; name the primary",
            None,
        );
    }
}

/// A mapping's file is read before anything is made.
fn look_at_mapping(plan: &StreamPlan, server: &ServerInfo, findings: &mut Findings) {
    if let Err(error) = Preparation::of(plan, server.system, Epoch::default()) {
        findings.wrong(&format!("stream {}", plan.name), error.to_string(), None);
    }
}

/// Two streams that write to one index would overwrite and delete each other's documents.
fn look_at_indices(streams: &[StreamPlan], findings: &mut Findings) {
    let mut owners: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for stream in streams {
        for index in &stream.indices {
            match owners.insert((&stream.sink, &index.name), &stream.name) {
                Some(other) if other != stream.name => findings.wrong(
                    &format!("stream {}", stream.name),
                    format!("index `{}` is written by stream `{other}` too: give each an index of its own", index.name),
                    None,
                ),
                _ => {}
            }
        }
    }
    look_at_patterns(streams, findings);
}

/// An index that a stage may name is nobody else's: by what is in it a TRUNCATE and a backfill could not tell whose it is.
fn look_at_patterns(streams: &[StreamPlan], findings: &mut Findings) {
    let all: Vec<_> =
        streams.iter().flat_map(|stream| stream.indices.iter().map(move |index| (stream, index))).collect();
    for (at, (stream, index)) in all.iter().enumerate() {
        for (other_stream, other) in &all[..at] {
            let are_patterns = index.is_pattern || other.is_pattern;
            let is_one = index.name == other.name && stream.name == other_stream.name;
            if are_patterns && !is_one && stream.sink == other_stream.sink && overlap(&index.name, &other.name) {
                findings.wrong(
                    &format!("stream {}", stream.name),
                    format!(
                        "`{}` and `{}` of stream `{}` may be one index: grant indices that nothing else writes to",
                        index.name, other.name, other_stream.name
                    ),
                    None,
                );
            }
        }
    }
}
