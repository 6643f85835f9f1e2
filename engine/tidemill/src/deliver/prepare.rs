//! What a stream needs of its sink before the first document: indices that are there, with their mapping, and that are ours.

use std::collections::HashSet;

use reqwest::header::HeaderValue;
use serde_json::Value;
use tidemill_change::{Epoch, TableId};

use super::client::{Sink, SinkError, SinkOptions};
use super::index::{Ensured, IndexInfo};
use super::mapping::{Origin, propose};
use super::tls;
use crate::config::{self, Create};
use crate::error::{Error, Result};
use crate::plan::StreamPlan;

/// How a sink is reached, from the configuration.
pub fn options(sink: &config::Sink) -> Result<SinkOptions> {
    let authorization = match sink.auth.header() {
        None => None,
        Some(header) => Some(HeaderValue::from_str(header.expose()).map_err(|_| {
            Error::usage(format!("the credentials of sink `{}` have characters that no header can carry", sink.name))
        })?),
    };
    Ok(SinkOptions {
        name: sink.name.clone(),
        urls: sink.urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect(),
        authorization,
        tls: Some(tls::client(&sink.tls)?),
        timeout: sink.timeout,
        gzip: sink.gzip,
    })
}

/// The indices of a stream, and the mapping that a missing one is made with.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    stream: String,
    system: u64,
    indices: Vec<Index>,
}

#[derive(Clone, Debug)]
struct Index {
    name: String,
    tables: Vec<TableId>,
    /// What it is made with; `None` where it is not to be made.
    mapping: Option<Value>,
}

impl Preparation {
    pub fn of(stream: &StreamPlan, system: u64, epoch: Epoch) -> Result<Preparation> {
        let origin = Origin { stream: &stream.name, system, epoch: epoch.get() };
        let mapping = |documents: &arrow_schema::Schema| -> Result<Option<Value>> {
            Ok(match &stream.create {
                None => None,
                Some(Create::Proposed) => Some(propose(documents, &origin)),
                Some(Create::Mapping(path)) => {
                    let shown = path.display();
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        Error::failed(format!("mapping `{shown}` cannot be read")).with_cause(error)
                    })?;
                    let mut mapping: Value = serde_json::from_str(&text)
                        .map_err(|error| Error::failed(format!("mapping `{shown}` is not JSON")).with_cause(error))?;
                    if !mapping.is_object() {
                        return Err(Error::failed(format!("mapping `{shown}` is no object with `properties`")));
                    }
                    mapping["_meta"]["tidemill"] = origin.meta();
                    Some(mapping)
                }
            })
        };
        let indices = stream.indices.iter().map(|index| {
            let tables = index.tables.iter().map(|table| table.relation.id).collect();
            Ok(Index { name: index.name.clone(), tables, mapping: mapping(&index.documents)? })
        });
        Ok(Preparation { stream: stream.name.clone(), system, indices: indices.collect::<Result<_>>()? })
    }

    /// Makes what is missing. Gives the indices that were there and are this stream's own: what no row belongs to may be
    /// removed from them.
    ///
    /// An index whose tables were `read` into it is not made anew: whoever removed it has to know that their documents are
    /// not in the new one.
    pub async fn carry_out(&self, sink: &Sink, read: &HashSet<TableId>) -> Result<HashSet<String>> {
        let mut sweepable = HashSet::new();
        for Index { name, tables, mapping } in &self.indices {
            let was_filled = tables.iter().any(|table| read.contains(table));
            let found = match mapping.as_ref().filter(|_| !was_filled) {
                Some(mapping) => {
                    match sink.ensure_index(name, mapping).await.map_err(|error| self.failed(name, &error))? {
                        Ensured::Made => {
                            tracing::info!(stream = self.stream, index = name, "index made");
                            continue;
                        }
                        Ensured::WasThere(found) => found,
                    }
                }
                None => match sink.index(name).await.map_err(|error| self.failed(name, &error))? {
                    Some(found) => found,
                    None if mapping.is_some() => {
                        let stream = &self.stream;
                        return Err(Error::failed(format!(
                            "index `{name}` is gone, and with it the documents that were in it: `tidemill backfill {stream}` \
                             reads all rows anew, then `tidemill resume {stream}` goes on"
                        )));
                    }
                    None => {
                        return Err(Error::failed(format!(
                            "index `{name}` is not there, and `create: false` says not to make it: make it, or leave `create` out"
                        )));
                    }
                },
            };
            if self.is_ours(name, &found)? {
                sweepable.insert(name.clone());
            }
        }
        Ok(sweepable)
    }

    /// Looks without making anything: a line for each index.
    pub async fn look(&self, sink: &Sink) -> Vec<Result<String>> {
        let mut lines = Vec::new();
        for Index { name, mapping, .. } in &self.indices {
            let line = match (sink.index(name).await, mapping) {
                (Err(error), _) => Err(self.failed(name, &error)),
                (Ok(None), Some(_)) => Ok(format!("index `{name}` is not there yet: it will be made")),
                (Ok(None), None) => Err(Error::failed(format!(
                    "index `{name}` is not there, and `create: false` says not to make it: make it, or leave `create` out"
                ))),
                (Ok(Some(found)), _) => self.is_ours(name, &found).map(|ours| match ours {
                    true => format!("index `{name}` is there, made by this stream"),
                    false => format!("index `{name}` is there, made by others: documents without a row stay in it"),
                }),
            };
            lines.push(line);
        }
        lines
    }

    /// Whether this stream made the index; an error where another cluster's documents are in it.
    fn is_ours(&self, name: &str, found: &IndexInfo) -> Result<bool> {
        let Some(meta) = found.meta() else { return Ok(false) };
        let system = meta["system"].as_str().unwrap_or_default();
        if system != self.system.to_string() {
            return Err(Error::failed(format!(
                "index `{name}` holds documents of another database cluster ({system}, this one is {}), whose versions may be \
                 higher: name another index, or delete that one",
                self.system
            )));
        }
        Ok(meta["stream"] == self.stream.as_str())
    }

    fn failed(&self, index: &str, error: &SinkError) -> Error {
        let message = format!("index `{index}`: {error}");
        if error.is_transient() { Error::transient(message) } else { Error::failed(message) }
    }
}
