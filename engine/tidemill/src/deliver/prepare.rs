//! What a stream needs of its sink before the first document: indices that are there, with their mapping, and that are ours.

use std::collections::{HashMap, HashSet};

use arrow_schema::SchemaRef;
use tidemill_change::{Epoch, TableId};
use tidemill_encode::matches;

use super::client::{Sink, SinkError, SinkOptions};
use super::index::{Ensured, GC_DELETES, GC_DELETES_LEAST, IndexInfo};
use super::making::Making;
use super::mapping::Origin;
use super::preflight::{Degree, Misfit, misfits};
use super::tls;
use crate::config::{self, Create};
use crate::error::{Error, Result};
use crate::plan::{Findings, IndexPlan, StreamPlan};

/// How a sink is reached, from the configuration.
pub fn options(sink: &config::Sink) -> Result<SinkOptions> {
    Ok(SinkOptions {
        name: sink.name.clone(),
        urls: sink.urls.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect(),
        auth: sink.auth.clone(),
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
    /// Those that stages name: their names are what they match.
    patterns: Vec<Index>,
}

#[derive(Clone, Debug)]
struct Index {
    name: String,
    tables: Vec<TableId>,
    documents: SchemaRef,
    /// What it is made with; `None` where it is not to be made.
    making: Option<Making>,
}

/// What the state knows of a stream's indices.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The tables whose rows are all in them.
    pub read: HashSet<TableId>,
    /// The UUIDs of those that documents went into.
    pub uuids: HashMap<String, String>,
}

/// Indices that can be written to.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Those that were there and are this stream's own: what no row belongs to may be removed from them.
    pub sweepable: HashSet<String>,
    pub identities: Identities,
    /// Those that stages named in an earlier run and that are not there any more.
    pub gone: Vec<String>,
}

/// Which indices a stream writes to: each by its name and the server's UUID.
///
/// No option of a bulk keeps the server from making an index that is missing. So one that is deleted under way is there
/// again with the next document, empty and without its mapping; only its UUID tells.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    stream: String,
    uuids: Vec<(String, String)>,
}

impl Identities {
    pub fn is_empty(&self) -> bool {
        self.uuids.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.uuids.iter().map(|(name, uuid)| (name.as_str(), uuid.as_str()))
    }

    /// Takes in others.
    pub fn extend(&mut self, others: &Identities) {
        self.uuids.extend(others.uuids.iter().cloned());
    }

    /// Looks whether they are what they were; gives what to say of the first that is not.
    pub async fn look(&self, sink: &Sink) -> std::result::Result<Option<Error>, SinkError> {
        for (name, uuid) in &self.uuids {
            let found = sink.uuids(name).await?;
            if found.is_empty() {
                return Ok(Some(gone(name, &self.stream)));
            }
            if !found.contains(uuid) {
                return Ok(Some(remade(name, &self.stream)));
            }
        }
        Ok(None)
    }
}

/// What to say of an index that soon forgets which documents were deleted.
fn forgets(name: &str, found: &IndexInfo) -> Option<String> {
    let kept = found.gc_deletes().filter(|kept| *kept < GC_DELETES_LEAST)?;
    Some(format!(
        "index `{name}` knows for {kept:?} only that a document was deleted (`index.gc_deletes`): a request that is delayed for \
         longer could bring it back: raise it by `PUT /{name}/_settings` with {{\"index\":{{\"gc_deletes\":\"{GC_DELETES}\"}}}}"
    ))
}

fn gone(index: &str, stream: &str) -> Error {
    Error::failed(format!(
        "index `{index}` is gone, and with it the documents that were in it: `tidemill backfill {stream}` reads all rows anew, \
         then `tidemill resume {stream}` makes it and goes on"
    ))
}

fn remade(index: &str, stream: &str) -> Error {
    Error::failed(format!(
        "index `{index}` was deleted and made anew, without the documents that were in it and with another mapping: delete it, \
         `tidemill backfill {stream}` reads all rows anew, then `tidemill resume {stream}` makes it and goes on"
    ))
}

impl Preparation {
    pub fn of(stream: &StreamPlan, system: u64, epoch: Epoch) -> Result<Preparation> {
        let origin = Origin { stream: &stream.name, system, epoch: epoch.get() };
        let making = |documents: &arrow_schema::Schema| -> Result<Option<Making>> {
            Ok(match &stream.create {
                None => None,
                Some(Create::Proposed) => Some(Making::proposed(documents, &origin)),
                Some(Create::Mapping(path)) => Some(Making::read(path, &origin)?),
            })
        };
        let resolve = |index: &IndexPlan| {
            let tables = index.tables.iter().map(|table| table.relation.id).collect();
            Ok(Index {
                name: index.name.clone(),
                tables,
                documents: index.documents.clone(),
                making: making(&index.documents)?,
            })
        };
        let of = |is_pattern: bool| {
            let indices = stream.indices.iter().filter(|index| index.is_pattern == is_pattern);
            indices.map(resolve).collect::<Result<Vec<_>>>()
        };
        Ok(Preparation { stream: stream.name.clone(), system, indices: of(false)?, patterns: of(true)? })
    }

    /// Makes what is missing.
    ///
    /// An index whose tables were read into it is not made anew, and one that somebody else made anew is not taken:
    /// whoever removed it has to know that the documents are not in the new one.
    pub async fn carry_out(&self, sink: &Sink, known: &Known) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        prepared.identities.stream.clone_from(&self.stream);
        for Index { name, tables, making, .. } in &self.indices {
            let was_filled = tables.iter().any(|table| known.read.contains(table));
            let found = match making.as_ref().filter(|_| !was_filled) {
                Some(making) => {
                    match sink.ensure_index(name, making).await.map_err(|error| self.failed(name, &error))? {
                        Ensured::Made => {
                            tracing::info!(stream = self.stream, index = name, "index made");
                            None
                        }
                        Ensured::WasThere(found) => Some(found),
                    }
                }
                None => match sink.index(name).await.map_err(|error| self.failed(name, &error))? {
                    Some(found) => Some(found),
                    None if making.is_some() => return Err(gone(name, &self.stream)),
                    None => {
                        return Err(Error::failed(format!(
                            "index `{name}` is not there, and `create: false` says not to make it: make it, or leave `create` out"
                        )));
                    }
                },
            };
            let uuids = sink.uuids(name).await.map_err(|error| self.failed(name, &error))?;
            let before = known.uuids.get(name);
            if was_filled && before.is_some_and(|before| !uuids.contains(before)) {
                return Err(remade(name, &self.stream));
            }
            if let Some(uuid) = before.filter(|before| uuids.contains(before)).or(uuids.first()) {
                prepared.identities.uuids.push((name.clone(), uuid.clone()));
            }
            if let Some(found) = found
                && self.is_ours(name, &found)?
            {
                prepared.sweepable.insert(name.clone());
            }
        }
        for (name, uuid) in &known.uuids {
            if let Some(index) = self.pattern(name) {
                self.look_at_named(sink, index, name, uuid, known, &mut prepared).await?;
            }
        }
        Ok(prepared)
    }

    /// What is known of indices that a stage names so; none where the stream lists the index itself.
    fn pattern(&self, name: &str) -> Option<&Index> {
        let is_listed = self.indices.iter().any(|index| index.name == name);
        self.patterns.iter().find(|index| !is_listed && matches(&index.name, name))
    }

    /// An index that a stage named in an earlier run. One that is gone is made again once it is named again, but that its
    /// documents are missing has to be known.
    async fn look_at_named(
        &self,
        sink: &Sink,
        index: &Index,
        name: &str,
        before: &String,
        known: &Known,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let was_filled = index.tables.iter().any(|table| known.read.contains(table));
        let uuids = sink.uuids(name).await.map_err(|error| self.failed(name, &error))?;
        let Some(uuid) = uuids.iter().find(|uuid| *uuid == before).or(uuids.first()) else {
            if was_filled {
                return Err(gone(name, &self.stream));
            }
            prepared.gone.push(name.to_owned());
            return Ok(());
        };
        if was_filled && uuid != before {
            return Err(remade(name, &self.stream));
        }
        prepared.identities.uuids.push((name.to_owned(), uuid.clone()));
        let found = sink.index(name).await.map_err(|error| self.failed(name, &error))?;
        if let Some(found) = found
            && self.is_ours(name, &found)?
        {
            prepared.sweepable.insert(name.to_owned());
        }
        Ok(())
    }

    /// Makes an index that a stage names for the first time.
    pub async fn make_named(&self, sink: &Sink, name: &str) -> Result<Prepared> {
        // An index that is listed was made at the start.
        let Some(index) = self.pattern(name) else { return Ok(Prepared::default()) };
        let named = Index { name: name.to_owned(), tables: Vec::new(), ..index.clone() };
        let only = Preparation { indices: vec![named], patterns: Vec::new(), ..self.clone() };
        Box::pin(only.carry_out(sink, &Known::default())).await
    }

    /// Looks without making anything: a line for each index, and one for each field that does not fit its mapping.
    pub async fn look(&self, sink: &Sink, subject: &str, findings: &mut Findings) {
        for pattern in &self.patterns {
            let how =
                if pattern.making.is_some() { "are made when a row first names them" } else { "have to be there" };
            findings.right(subject, format!("indices that a stage names, `{}`, {how}", pattern.name));
        }
        for Index { name, documents, making, .. } in &self.indices {
            let found = match sink.index(name).await {
                Ok(found) => found,
                Err(error) => {
                    findings.wrong(subject, self.failed(name, &error).to_string(), None);
                    continue;
                }
            };
            let mappings =
                found.as_ref().map(|found| &found.mappings).or(making.as_ref().map(|making| &making.mappings));
            match (&found, making) {
                (None, Some(_)) => findings.right(subject, format!("index `{name}` is not there yet: it will be made")),
                (None, None) => findings.wrong(
                    subject,
                    format!("index `{name}` is not there, and `create: false` says not to make it: make it, or leave `create` out"),
                    None,
                ),
                (Some(found), _) => match self.is_ours(name, found) {
                    Ok(true) => findings.right(subject, format!("index `{name}` is there, made by this stream")),
                    Ok(false) => findings.right(
                        subject,
                        format!("index `{name}` is there, made by others: documents without a row stay in it"),
                    ),
                    Err(error) => findings.wrong(subject, error.to_string(), None),
                },
            }
            if let Some(warning) = found.as_ref().and_then(|found| forgets(name, found)) {
                findings.warn(subject, warning);
            }
            for misfit in mappings.into_iter().flat_map(|mappings| misfits(documents, mappings)) {
                say_misfit(name, &misfit, subject, findings);
            }
        }
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

fn say_misfit(index: &str, misfit: &Misfit, subject: &str, findings: &mut Findings) {
    let Misfit { field, value, mapped, degree } = misfit;
    let what = format!("index `{index}` maps field `{field}` as `{mapped}`, and documents have {value} there");
    let way_out = "change the mapping, or the field's type by a stage or a cast in `columns`";
    match degree {
        Degree::All => {
            findings.wrong(subject, format!("{what}: each document with a value would be refused; {way_out}"), None);
        }
        Degree::Some => {
            findings.warn(subject, format!("{what}: what it cannot take goes to the dead letters; {way_out}"));
        }
    }
}
