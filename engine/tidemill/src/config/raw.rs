//! The configuration as the user typed it: which keys there are and of which type, nothing filled in. The JSON Schema is
//! made from these types, so the doc comments here are what an editor shows.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::values::{Auth, Backfill, Columns, From, SecretText, Size, Time};

/// Keeps search indices in step with one Postgres database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `source`, `sink` and `streams`")]
#[schemars(title = "tidemill.yaml")]
pub(super) struct Config {
    /// The Postgres database that is read.
    pub(super) source: Source,
    /// Where documents go: short for `sinks: { main: … }`.
    pub(super) sink: Option<Sink>,
    /// Where documents go, by name.
    pub(super) sinks: Option<BTreeMap<String, Sink>>,
    /// Any key of a stream: what a stream does not say itself.
    pub(super) defaults: Option<Stream>,
    /// What is kept in step with what.
    #[schemars(extend("minItems" = 1), transform = require_name)]
    pub(super) streams: Vec<Stream>,
    /// The file that keeps progress and dead letters; default: in $STATE_DIRECTORY, else beside this file.
    pub(super) state: Option<String>,
    /// Metrics and health over HTTP; off when absent.
    pub(super) http: Option<Http>,
    /// When `/readyz` says yes.
    pub(super) ready: Option<Ready>,
}

/// A stream needs its name; in `defaults` it has no place.
fn require_name(schema: &mut Schema) {
    if let Some(items) = schema.get_mut("items") {
        let stream = items.take();
        *items = serde_json::json!({ "allOf": [stream], "required": ["name"] });
    }
}

/// A URL that may hold a password.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct Url(pub(super) String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the key `url`")]
pub(super) struct Source {
    /// `postgres://user@host:port/database?sslmode=verify-full`, as libpq takes it.
    pub(super) url: Url,
    /// The password, where the URL has none.
    pub(super) password: Option<SecretText>,
    /// The replication slot; default: `tidemill`.
    pub(super) slot: Option<String>,
    /// The publication; default: `tidemill`.
    pub(super) publication: Option<String>,
    /// How much WAL the slot may hold.
    pub(super) wal: Option<Wal>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `keep`, `spill` and `then`")]
pub(super) struct Wal {
    /// Above this much WAL held, say so loudly.
    pub(super) keep: Option<Size>,
    /// Above `keep`, write changes to a local log of up to this size, so that the slot moves on.
    pub(super) spill: Option<Size>,
    /// And then.
    pub(super) then: Option<WalThen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WalThen {
    /// Go on holding WAL, and say so.
    Hold,
    /// Give up the slot, so that the database's disk does not fill.
    DropSlot,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the key `url`")]
pub(super) struct Sink {
    /// The server: `http://localhost:9200`.
    pub(super) url: Option<Url>,
    /// Several nodes of one cluster.
    pub(super) urls: Option<Vec<Url>>,
    pub(super) auth: Option<Auth>,
    pub(super) tls: Option<Tls>,
    /// How long one request may take; default: 30s.
    pub(super) timeout: Option<Time>,
    /// Compress requests; default: false.
    pub(super) gzip: Option<bool>,
}

/// PEM files, relative to this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `ca`, `cert` and `key`")]
pub(super) struct Tls {
    /// The authority that signed the server's certificate; default: the system's.
    pub(super) ca: Option<String>,
    /// Our certificate.
    pub(super) cert: Option<String>,
    /// Its key.
    pub(super) key: Option<String>,
}

/// Rows of tables that become documents of an index.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the keys of a stream")]
pub(super) struct Stream {
    /// Its name, in commands, metrics and the state.
    pub(super) name: Option<String>,
    /// A table, several, or a pattern.
    pub(super) from: Option<From>,
    /// Which changes are taken in; default: all.
    #[schemars(extend("minItems" = 1))]
    pub(super) actions: Option<Vec<Action>>,
    /// Read the rows that are already there; default: true.
    pub(super) backfill: Option<Backfill>,
    /// Only rows for which this holds become documents, for instance `in_stock = true`.
    pub(super) r#where: Option<String>,
    /// Plugins, in order.
    pub(super) stages: Option<Vec<Stage>>,
    /// What a document consists of; default: all columns and what stages put out.
    pub(super) columns: Option<Columns>,
    /// The sink's name; default: the only one, or `main`.
    pub(super) sink: Option<String>,
    /// The index, or a template such as `{schema}-{table}`; default: the stream's name.
    pub(super) index: Option<String>,
    /// Make the index when it is missing; default: true.
    pub(super) create: Option<bool>,
    /// A file with the mapping of an index that is made; default: the mapping that is proposed.
    pub(super) mapping: Option<String>,
    /// The document's id as a template of columns, `{id}`; default: the primary key.
    pub(super) id: Option<String>,
    /// The document's routing as a template of columns, `{tenant_id}`.
    pub(super) routing: Option<String>,
    /// An ingest pipeline of the sink.
    pub(super) pipeline: Option<String>,
    /// How numeric values are written; default: exact.
    pub(super) numbers: Option<Numbers>,
    /// What becomes of NaN and infinity; default: string.
    pub(super) nonfinite: Option<Nonfinite>,
    /// What becomes of an id over 512 bytes; default: refuse.
    pub(super) long_id: Option<LongId>,
    /// How many dead letters are kept.
    pub(super) dead_letters: Option<DeadLetters>,
    /// More rejects than this pause the stream.
    pub(super) rejects: Option<Rejects>,
    /// The size of a request.
    pub(super) batch: Option<Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Insert,
    Update,
    Delete,
}

/// How numeric values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As numbers with every digit.
    #[default]
    Exact,
    /// As text, for readers that parse doubles.
    Strings,
}

/// What becomes of NaN and infinity, in numbers and times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nonfinite {
    /// Their name as text.
    #[default]
    String,
    Null,
    /// The row goes to the dead letters.
    DeadLetter,
}

/// What becomes of an id over 512 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LongId {
    /// The row goes to the dead letters.
    #[default]
    Refuse,
    /// Its hash stands in.
    Hash,
}

/// A plugin and how it is run.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the key `plugin`")]
pub(super) struct Stage {
    /// A component's file, or the name of a shipped one.
    pub(super) plugin: String,
    /// The digest that the file must have.
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{64}$"))]
    pub(super) sha256: Option<String>,
    /// Handed to the plugin as it is.
    pub(super) config: Option<serde_json::Value>,
    /// Handed to the plugin beside its configuration, as texts under these names.
    pub(super) secrets: Option<BTreeMap<String, SecretText>>,
    pub(super) limits: Option<Limits>,
    /// What the plugin may do beyond looking at its rows, by name.
    pub(super) grants: Option<Grants>,
}

/// What a plugin may do beyond looking at its rows. What is not named here it may not.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of grants by name")]
pub(super) struct Grants {
    /// Name documents: put out columns called `_id`, `_index` and `_routing`.
    pub(super) identity: Option<Identity>,
    /// Read these variables, and no others, as its environment (WASI).
    pub(super) env: Option<BTreeMap<String, String>>,
    /// Read the files of these folders (WASI). What they hold is part of what documents are made of: a replay may give others.
    pub(super) dirs: Option<Vec<GrantedFolder>>,
    /// Know what time it is (WASI). A replay may then give other documents.
    pub(super) clocks: Option<Nothing>,
    /// Get random numbers (WASI). A replay may then give other documents.
    pub(super) random: Option<Nothing>,
    /// Print: standard output and error become lines of the log (WASI).
    pub(super) stdio: Option<Nothing>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `index`, or `{}`")]
pub(super) struct Identity {
    /// The indices that it may name, `logs-*` for instance; default: none but the stream's.
    pub(super) index: Option<String>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `path` and `at`")]
pub(super) struct GrantedFolder {
    /// A folder of this machine.
    pub(super) path: String,
    /// Where the plugin finds it; default: `/`.
    pub(super) at: Option<String>,
}

/// A grant that has no parameters: `{}`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "`{}`, since this grant has no parameters")]
pub(super) struct Nothing {}

impl fmt::Debug for Stage {
    /// Without the plugin's configuration, in which a secret may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("plugin", &self.plugin).field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map of limits by name")]
pub(super) struct Limits {
    /// How long one call may take; default: 10s.
    pub(super) deadline: Option<Time>,
    /// Memory of an instance, 1MiB to 4GiB; default: 256MiB.
    pub(super) memory: Option<Size>,
    /// How deep calls nest, 64KiB to 4MiB; default: 512KiB.
    pub(super) stack: Option<Size>,
    /// Elements of its tables (of function pointers); default: 1048576.
    #[schemars(range(min = 1))]
    pub(super) tables: Option<u32>,
    /// Core instances, memories and tables in a component; default: 256.
    #[schemars(range(min = 1))]
    pub(super) instances: Option<u32>,
    /// Size of the component; default: 128MiB.
    pub(super) component: Option<Size>,
    /// What one call may answer, 64KiB to 4GiB; default: 256MiB.
    pub(super) output: Option<Size>,
    /// Rows that may come out of one call; default: 1048576.
    #[schemars(range(min = 1))]
    pub(super) rows_out: Option<u32>,
    /// Lines a second that it may log, and ten times as many in one batch; default: 100.
    pub(super) log_lines: Option<u32>,
    /// Names of its own metrics; default: 64.
    pub(super) metrics: Option<u32>,
    /// Files, streams and the like that an instance has open at once, where a grant gives it any; default: 64.
    #[schemars(range(min = 1))]
    pub(super) handles: Option<u32>,
    /// Rows of a batch that may each make it fail before the stream pauses; default: 64.
    pub(super) failing_rows: Option<u32>,
    /// Rows one after the other, over any number of batches, that each make it fail while none passes, before the stream
    /// pauses; default: 8.
    #[schemars(range(min = 1))]
    pub(super) failing_in_a_row: Option<u32>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `rows`, `bytes` and `then`")]
pub(super) struct DeadLetters {
    /// Default: 100000.
    #[schemars(range(min = 1))]
    pub(super) rows: Option<u64>,
    /// Default: 1GiB.
    pub(super) bytes: Option<Size>,
    /// What happens when one of the two is reached; default: pause.
    pub(super) then: Option<DeadLettersThen>,
}

/// What happens when the dead letters reach their limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLettersThen {
    /// The stream pauses and says so.
    #[default]
    Pause,
    /// The oldest letters go, loudly.
    DropOldest,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `ratio` and `of`")]
pub(super) struct Rejects {
    /// The share of rows that may be rejected; default: 0.5.
    #[schemars(range(min = 0, max = 1))]
    pub(super) ratio: Option<f64>,
    /// Of how many rows at least; default: 1000.
    #[schemars(range(min = 1))]
    pub(super) of: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `documents` and `bytes`")]
pub(super) struct Batch {
    /// Documents in one request at most; default: 10000.
    #[schemars(range(min = 1, max = 10000))]
    pub(super) documents: Option<u32>,
    /// Bytes of one request at most; default: 8MiB.
    pub(super) bytes: Option<Size>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `listen` and `token`")]
pub(super) struct Http {
    /// Address and port: `127.0.0.1:7070`.
    pub(super) listen: String,
    /// Asked for under `/metrics`, as a bearer token; probes need none.
    pub(super) token: Option<SecretText>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the key `lag`")]
pub(super) struct Ready {
    /// The lag up to which `/readyz` says yes; default: 60s.
    pub(super) lag: Option<Time>,
}
