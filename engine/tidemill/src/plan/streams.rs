//! A stream, resolved: its tables, its plugins opened on them, where each document goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use serde_json::{Value, json};
use tidemill_change::{Column, LeftOut, Relation, ReplicaIdentity, TableId};
use tidemill_encode as encode;
use tidemill_stage::{Chain, Grants, Limits, NamedInfo, OpenedInfo, Stage};

use super::findings::Findings;
use super::needs::{self, Needs};
use super::plugins::Plugins;
use crate::config::{self, Config, Create, plan_digest};
use crate::error::{Error, Result};
use crate::source::catalog::{TableInfo, tables};
use crate::source::{ServerInfo, Session};

/// An index of a stream, or what those match that a stage names, and the tables whose documents are there.
#[derive(Clone, Debug)]
pub struct IndexPlan {
    pub name: String,
    /// The name is a pattern: which indices there are is known only once rows name them.
    pub is_pattern: bool,
    /// A stage names the documents there.
    pub names_ids: bool,
    pub tables: Vec<Arc<TableInfo>>,
    /// What the ids of each of them begin with; no other's do where there are several. Empty where that cannot be told.
    pub prefixes: Vec<String>,
    /// What documents consist of.
    pub documents: SchemaRef,
}

/// A stream that can run.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    pub name: String,
    pub config: config::Stream,
    pub tables: Vec<Arc<TableInfo>>,
    /// For each of the tables the columns that nobody reads.
    pub left_out: Vec<LeftOut>,
    pub stages: Vec<Stage>,
    /// The predicates of the shipped filters that stand before all else, in their order.
    pub filters: Vec<String>,
    pub sink: String,
    pub indices: Vec<IndexPlan>,
    pub create: Option<Create>,
    pub id: encode::IdRule,
    pub index: encode::Template,
    pub routing: Option<encode::Template>,
    /// What decides which document a row becomes; see [`plan_digest`].
    pub digest: String,
    /// Why its stages could not be opened, where they could not: what they would make is unknown then, and so is which columns
    /// they read. Its tables are known.
    pub unopened: Option<Unopened>,
}

/// Why a stream's stages could not be opened.
#[derive(Clone, Debug)]
pub struct Unopened {
    pub reason: String,
    /// A plugin failed, rather than saying what is wrong with its configuration or its table.
    pub is_broken: bool,
    /// The statement that would let them open.
    pub sql: Option<String>,
}

impl StreamPlan {
    pub(super) async fn resolve(
        config: &Config,
        stream: &config::Stream,
        session: &Session,
        server: &ServerInfo,
        plugins: &mut Plugins,
        findings: &mut Findings,
    ) -> Result<Option<StreamPlan>> {
        let subject = format!("stream {}", stream.name);
        let found = tables(session, &stream.from.include, &stream.from.exclude).await;
        let Some(found) = findings.take(&subject, found) else { return Ok(None) };
        let tables: Vec<Arc<TableInfo>> = found.into_iter().map(Arc::new).collect();
        let before = findings.wrong_count();
        for table in &tables {
            look_at_table(stream, table, server, &subject, findings);
        }
        let (stages, filters) = match stages(stream, plugins) {
            Ok(stages) => stages,
            Err(error) => {
                findings.wrong(&subject, error.to_string(), None);
                return Ok(None);
            }
        };
        let Some((id, index, routing)) = templates(stream, &tables, &subject, findings) else { return Ok(None) };
        let (mut indices, read, unopened) = match open(&stages, &tables).await? {
            Ok(opened) => match look_at_opened(stream, &tables, opened, &subject, findings) {
                Some((indices, read)) => (indices, read, None),
                None => return Ok(None),
            },
            Err(unopened) => {
                findings.pauses(&subject, unopened.reason.as_str(), unopened.sql.clone());
                (Vec::new(), Vec::new(), Some(unopened))
            }
        };
        if unopened.is_none() {
            look_at_ids(stream, &id, &mut indices, &subject, findings);
            look_at_plugins(&stages, &tables, &subject, findings);
        }
        if findings.wrong_count() == before {
            let names: Vec<_> = tables.iter().map(|table| table.relation.to_string()).collect();
            let indices: Vec<_> = indices.iter().map(|index| index.name.as_str()).collect();
            findings.right(&subject, format!("{} → {}: {}", names.join(", "), indices.join(", "), estimate(&tables)));
        }
        let digests: Vec<String> = stages.iter().map(|stage| stage.plugin.sha256().to_owned()).collect();
        let sink = config.sinks.get(&stream.sink).map_or_else(|| stream.sink.clone(), |sink| sink.name.clone());
        let mut plan = StreamPlan {
            name: stream.name.clone(),
            config: stream.clone(),
            left_out: Vec::new(),
            stages,
            filters,
            sink,
            indices,
            create: stream.create.clone(),
            id,
            index,
            routing,
            digest: plan_digest(stream, &digests),
            tables,
            unopened,
        };
        plan.left_out = plan.left_out(&read);
        needs::tell(&plan, &subject, findings);
        Ok(Some(plan))
    }

    /// For each table what nobody reads, given what its stages and documents do.
    fn left_out(&self, read: &[Vec<usize>]) -> Vec<LeftOut> {
        let exclusive = self.exclusive();
        let id = match &self.id {
            encode::IdRule::Template(template) => Some(template),
            encode::IdRule::Key(_) => None,
        };
        let templates: Vec<_> = [Some(&self.index), id, self.routing.as_ref()].into_iter().flatten().collect();
        let left_out = |(table, read): (&Arc<TableInfo>, &Vec<usize>)| {
            let shares_places = !exclusive.contains(&table.relation.id);
            Needs { table, read, templates: &templates, shares_places }.left_out()
        };
        self.tables.iter().zip(read).map(left_out).collect()
    }

    pub fn chain(&self) -> Chain {
        Chain::new(self.stages.clone()).with_primary_keys(keys(&self.tables))
    }

    pub fn encoding(&self, epoch: tidemill_change::Epoch) -> encode::Encoding {
        let config = &self.config;
        encode::Encoding {
            index: self.index.clone(),
            id: self.id.clone(),
            routing: self.routing.clone(),
            pipeline: config.pipeline.clone(),
            numbers: match config.numbers {
                config::Numbers::Exact => encode::Numbers::Exact,
                config::Numbers::Strings => encode::Numbers::Strings,
            },
            nonfinite: match config.nonfinite {
                config::Nonfinite::String => encode::Nonfinite::String,
                config::Nonfinite::Null => encode::Nonfinite::Null,
                config::Nonfinite::DeadLetter => encode::Nonfinite::DeadLetter,
            },
            long_id: match config.long_id {
                config::LongId::Refuse => encode::LongId::Refuse,
                config::LongId::Hash => encode::LongId::Hash,
            },
            actions: encode::Actions {
                insert: config.actions.insert,
                update: config.actions.update,
                delete: config.actions.delete,
            },
            epoch,
            exclusive: self.exclusive(),
            keys: self.names_documents().then(|| self.keys()),
        }
    }

    /// Whether a stage may name documents.
    fn names_documents(&self) -> bool {
        self.stages.iter().any(|stage| stage.grants.identity.is_some())
    }

    /// The tables' primary keys.
    fn keys(&self) -> HashMap<TableId, Vec<String>> {
        self.tables.iter().map(|table| (table.relation.id, key_names(table))).collect()
    }

    /// The tables of which no two rows can be at one place, were it within a transaction.
    fn exclusive(&self) -> HashSet<TableId> {
        if self.names_documents() {
            return HashSet::new();
        }
        let names_the_key = |table: &TableInfo| match &self.id {
            encode::IdRule::Key(_) => true,
            encode::IdRule::Template(template) => {
                let mut key = table.primary_key.iter().map(|&column| &table.relation.columns[column].name);
                key.all(|name| template.columns().any(|column| column == name))
            }
        };
        let tables = self.tables.iter().filter(|table| table.key_is_immediate && names_the_key(table));
        tables.map(|table| table.relation.id).collect()
    }
}

fn keys(tables: &[Arc<TableInfo>]) -> impl Iterator<Item = (tidemill_change::TableId, Vec<String>)> {
    tables.iter().map(|table| (table.relation.id, key_names(table)))
}

fn key_names(table: &TableInfo) -> Vec<String> {
    table.primary_key.iter().map(|&column| table.relation.columns[column].name.clone()).collect()
}

fn look_at_table(
    stream: &config::Stream,
    table: &TableInfo,
    server: &ServerInfo,
    subject: &str,
    findings: &mut Findings,
) {
    findings.take(subject, table.require_readable(&server.user));
    findings.take(subject, table.require_identity());
    if stream.id.is_none() {
        findings.take(subject, table.require_primary_key());
    }
    if !table.generated.is_empty() {
        let message = format!(
            "table `{}`: generated columns are not in the stream and so in no document: {}",
            table.relation,
            table.generated.join(", ")
        );
        findings.warn(subject, message);
    }
    // What names a document's place must be in the old image, or an update could not remove what it leaves behind.
    let relation = &table.relation;
    let key = table.primary_key.iter().map(|&column| relation.columns[column].name.as_str());
    let mut naming: Vec<&str> = match &stream.id {
        Some(id) => id.fields().filter(|field| relation.column(field).is_some()).collect(),
        None => key.collect(),
    };
    naming.extend(stream.routing.iter().flat_map(|routing| routing.fields()));
    let lacking: Vec<&str> = naming
        .into_iter()
        .filter(|name| relation.column(name).is_some_and(|column| !relation.columns[column].identity))
        .collect();
    if table.has_identity && relation.replica_identity != ReplicaIdentity::Full && !lacking.is_empty() {
        let sql = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.sql_name());
        let message = format!(
            "table `{relation}`: column `{}` names the document's place and is not in the replica identity, so an update or \
             delete could not tell which document it means: run `{sql}`",
            lacking.join("`, `")
        );
        findings.wrong(subject, message, Some(sql));
    } else if table.require_identity().is_ok() {
        let by = match relation.replica_identity {
            ReplicaIdentity::Full => "the whole row",
            ReplicaIdentity::Index => "a unique index",
            ReplicaIdentity::Default | ReplicaIdentity::Nothing => "the primary key",
        };
        findings.right(subject, format!("table `{relation}`: its replica identity, {by}, tells which row changed"));
    }
}

/// They were compiled, and took the columns of each table.
fn look_at_plugins(stages: &[Stage], tables: &[Arc<TableInfo>], subject: &str, findings: &mut Findings) {
    let tables: Vec<_> = tables.iter().map(|table| format!("`{}`", table.relation)).collect();
    for stage in stages {
        findings.right(subject, format!("plugin `{}` compiled, and opened on {}", stage.name, tables.join(", ")));
        let outside = stage.grants.outside();
        if !outside.is_empty() {
            let grants = outside.iter().map(|grant| format!("`{grant}`")).collect::<Vec<_>>().join(", ");
            findings.warn(
                subject,
                format!(
                    "plugin `{}` is granted {grants}, so its answers may depend on more than the rows: reading them again may \
                     give other documents",
                    stage.name
                ),
            );
        }
    }
}

/// The sugar `where` first, the user's stages next, the sugar `columns` last; and the predicates of the shipped filters among
/// them that stand before all else.
fn stages(stream: &config::Stream, plugins: &mut Plugins) -> Result<(Vec<Stage>, Vec<String>)> {
    let mut stages = Vec::new();
    let mut filters: Vec<String> = stream.filter.iter().cloned().collect();
    let shipped = |plugins: &mut Plugins, name: &str, config: Value| -> Result<Stage> {
        let limits = Limits::default();
        Ok(Stage {
            name: name.to_owned(),
            plugin: plugins.shipped(name, &limits)?,
            config,
            limits,
            grants: Grants::default(),
        })
    };
    if let Some(predicate) = &stream.filter {
        stages.push(shipped(plugins, "where", json!({ "predicate": predicate }))?);
    }
    for stage in &stream.stages {
        let plugin = match &stage.plugin {
            config::Plugin::File(path) => plugins.file(path, &stage.limits)?,
            config::Plugin::Shipped(name) => plugins.shipped(name, &stage.limits)?,
        };
        if let Some(pin) = stage.sha256.as_deref().filter(|pin| *pin != plugin.sha256()) {
            let found = plugin.sha256();
            return Err(Error::failed(format!(
                "plugin `{}` has the digest {found}, not {pin} as `sha256` says: is it the file that was meant?",
                stage.name
            )));
        }
        if let Some(predicate) = needs::predicate(stage).filter(|_| filters.len() == stages.len()) {
            filters.push(predicate.to_owned());
        }
        let limits = stage.limits;
        let mut config = stage.config.clone().unwrap_or_else(|| json!({}));
        for (name, secret) in &stage.secrets {
            config[name] = json!(secret.expose());
        }
        let grants = stage.grants.clone();
        stages.push(Stage { name: stage.name.clone(), plugin, config, limits, grants });
    }
    match &stream.columns {
        None => {}
        Some(config::Columns::Names(names)) => stages.push(shipped(plugins, "select", json!({ "columns": names }))?),
        Some(config::Columns::Fields(fields)) => {
            let fields: serde_json::Map<String, Value> =
                fields.iter().map(|(field, expression)| (field.clone(), json!(expression))).collect();
            stages.push(shipped(plugins, "select", json!({ "columns": fields }))?);
        }
    }
    Ok((stages, filters))
}

type Templates = (encode::IdRule, encode::Template, Option<encode::Template>);

fn templates(
    stream: &config::Stream,
    tables: &[Arc<TableInfo>],
    subject: &str,
    findings: &mut Findings,
) -> Option<Templates> {
    let mut parse = |template: &config::Template| -> Option<encode::Template> {
        let parsed = template.to_string().parse::<encode::Template>();
        let parsed = parsed.map_err(|error| findings.wrong(subject, error.to_string(), None)).ok()?;
        for table in tables {
            if let Err(error) = parsed.check(&table.relation) {
                findings.wrong(subject, format!("table `{}`: {error}", table.relation), None);
                return None;
            }
        }
        Some(parsed)
    };
    let index = parse(&stream.index)?;
    let routing = match &stream.routing {
        Some(routing) => Some(parse(routing)?),
        None => None,
    };
    let id = match &stream.id {
        Some(id) => encode::IdRule::Template(parse(id)?),
        None => encode::IdRule::Key(tables.iter().map(|table| (table.relation.id, key_names(table))).collect()),
    };
    Some((id, index, routing))
}

/// Where several tables write to one index, ids tell their documents apart, and begin with what tells it: a TRUNCATE
/// removes those of one table.
fn look_at_ids(
    stream: &config::Stream,
    id: &encode::IdRule,
    indices: &mut [IndexPlan],
    subject: &str,
    findings: &mut Findings,
) {
    for index in indices {
        let template = match id {
            _ if index.tables.len() == 1 => {
                index.prefixes = vec![String::new()];
                continue;
            }
            _ if index.names_ids => {
                let message = format!(
                    "several tables write to `{}`, and a stage names their documents, so that nothing tells which are whose: \
                     give each table a stream of its own",
                    index.name
                );
                return findings.wrong(subject, message, None);
            }
            encode::IdRule::Template(template) if template.tells_table() => template,
            _ => {
                let message = "several tables write to one index, where rows with equal keys would be one document: let \
                               `index` or `id` tell the table, for instance `index: \"{schema}-{table}\"`";
                return findings.wrong(subject, message, None);
            }
        };
        let prefixes: Vec<_> = index.tables.iter().map(|table| template.id_prefix(&table.relation)).collect();
        let begins = |at: usize| {
            prefixes.iter().enumerate().any(|(other, prefix)| other != at && prefix.starts_with(&prefixes[at]))
        };
        if (0..prefixes.len()).any(begins) {
            if stream.actions.delete {
                let message = format!(
                    "several tables write to index `{}`, and a TRUNCATE of one could not tell its documents from the others': \
                     let `id` begin with the table and a sign behind it, for instance `id: \"{{table}}-{{id}}\"`",
                    index.name
                );
                findings.wrong(subject, message, None);
            }
            continue;
        }
        index.prefixes = prefixes;
    }
}

/// Whether stages that were not opened would be, did updates tell all of the row before. Which columns a plugin misses is in its own words,
/// so it is asked.
fn opens_under_full(chain: &mut Chain, table: &TableInfo) -> bool {
    let relation = &table.relation;
    if relation.replica_identity == ReplicaIdentity::Full {
        return false;
    }
    let columns = relation.columns.iter().map(|column| Column { identity: true, ..column.clone() }).collect();
    let full = Relation::new(relation.id, &*relation.schema, &*relation.name, ReplicaIdentity::Full, columns);
    chain.open(&Arc::new(full)).is_ok()
}

/// Opens all plugins on each table, so that what they refuse is known before a row flows.
///
/// They may take their time, and WASI's calls wait for their ends, which a task may not.
async fn open(stages: &[Stage], tables: &[Arc<TableInfo>]) -> Result<std::result::Result<Vec<OpenedInfo>, Unopened>> {
    let mut chain = Chain::new(stages.to_vec()).with_primary_keys(keys(tables));
    let tables = tables.to_vec();
    let opening = tokio::task::spawn_blocking(move || {
        let open = |table: &Arc<TableInfo>| {
            chain.open(&table.relation).map_err(|error| {
                let reason = format!("table `{}`: {error}", table.relation);
                let is_broken = error.is_broken();
                let sql = (!is_broken && opens_under_full(&mut chain, table))
                    .then(|| format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.sql_name()));
                let hint = sql.as_ref().map(|sql| format!("; under REPLICA IDENTITY FULL it opens: run `{sql}`"));
                Unopened { reason: reason + &hint.unwrap_or_default(), is_broken, sql }
            })
        };
        tables.iter().map(open).collect()
    });
    opening.await.map_err(|error| Error::failed("opening a plugin ended in a defect of tidemill").with_cause(error))
}

/// Looks at what the stages make of each table: gives the indices, and for each table the columns that stages and documents read.
fn look_at_opened(
    stream: &config::Stream,
    tables: &[Arc<TableInfo>],
    opened: Vec<OpenedInfo>,
    subject: &str,
    findings: &mut Findings,
) -> Option<(Vec<IndexPlan>, Vec<Vec<usize>>)> {
    let (mut indices, mut read): (Vec<IndexPlan>, _) = (Vec::new(), Vec::with_capacity(tables.len()));
    for (table, opened) in tables.iter().zip(opened) {
        read.push(opened.needed);
        look_at_fields(&opened.schema, &table.relation, subject, findings);
        if let Some(named) = &opened.named {
            look_at_naming(named, table, subject, findings);
        }
        let pattern = opened.named.as_ref().and_then(|named| named.index.as_deref());
        let name = pattern.map_or_else(|| index_name(&stream.index, &table.relation), str::to_owned);
        let checked = match pattern {
            Some(_) => Ok(()),
            None => config::check_index_name(&name),
        };
        if let Err(error) = checked {
            findings.wrong(subject, format!("`index`: {error}"), None);
            return None;
        }
        let names_ids = opened.named.as_ref().is_some_and(|named| named.id);
        match indices.iter_mut().find(|index| index.name == name) {
            Some(index) => {
                index.tables.push(Arc::clone(table));
                index.names_ids |= names_ids;
            }
            None => indices.push(IndexPlan {
                name,
                is_pattern: pattern.is_some(),
                names_ids,
                tables: vec![Arc::clone(table)],
                prefixes: Vec::new(),
                documents: opened.schema,
            }),
        }
    }
    Some((indices, read))
}

/// An update or a delete has to tell which documents its row had.
fn look_at_naming(named: &NamedInfo, table: &TableInfo, subject: &str, findings: &mut Findings) {
    let relation = &table.relation;
    if named.of_row && relation.replica_identity != ReplicaIdentity::Full {
        let sql = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", table.sql_name());
        let message = format!(
            "table `{relation}`: a stage names its documents by more than the key, and an update or delete tells no more than that, \
             so what it leaves could not be found: run `{sql}`"
        );
        return findings.wrong(subject, message, Some(sql));
    }
    let names: Vec<&str> = [(named.id, "id"), (named.index.is_some(), "index"), (named.routing, "routing")]
        .into_iter()
        .filter_map(|(is_named, name)| is_named.then_some(name))
        .collect();
    findings.right(subject, format!("table `{relation}`: a stage gives each document its {}", names.join(" and ")));
    if named.id && named.of_row {
        findings.warn(
            subject,
            format!(
                "table `{relation}`: a stage names its documents by more than the key: two rows that it gives one `_id` overwrite each \
                 other, and when one of them goes, the document of both does: make `_id` of the key, or of columns that are unique"
            ),
        );
    }
}

fn index_name(index: &config::Template, relation: &Relation) -> String {
    index.render(|field| match field {
        "schema" => relation.schema.clone(),
        "table" => relation.name.clone(),
        _ => String::new(),
    })
}

/// Names that the servers refuse as fields.
fn look_at_fields(documents: &SchemaRef, relation: &Relation, subject: &str, findings: &mut Findings) {
    const METADATA: [&str; 8] =
        ["_id", "_index", "_routing", "_source", "_ignored", "_field_names", "_version", "_seq_no"];
    for field in documents.fields() {
        let name = field.name();
        let refused = METADATA.contains(&name.as_str())
            || name.trim().is_empty()
            || name.split('.').any(|part| part.trim().is_empty());
        if refused {
            let message = format!(
                "table `{relation}`: no index takes a field called `{name}`: rename it, as in `columns: {{ other_name: '{name}', … }}`"
            );
            findings.wrong(subject, message, None);
        }
    }
}

fn estimate(tables: &[Arc<TableInfo>]) -> String {
    let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
    let rows: Option<u64> = tables.iter().map(|table| table.rows).sum();
    match rows {
        Some(rows) => format!("about {rows} rows, {} MB", bytes / 1_000_000),
        None => format!("{} MB, never analysed", bytes / 1_000_000),
    }
}
