//! The configuration: one YAML file, read in four steps.
//!
//! ```text
//!   text ──tree──► nodes with positions ──variables──► filled ──de──► raw (what was typed) ──resolve──► Config
//! ```
//!
//! Invariant: a [`Config`] that exists is right as far as the file alone can tell. Whatever is wrong is one error with file,
//! line, column, key and the way out; nothing in the file is ever ignored.

mod de;
mod names;
mod plan;
mod raw;
mod resolve;
mod schema;
mod tree;
mod values;
mod variables;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use de::suggest;
pub use names::{SlotName, TablePattern, Template, TemplatePart, check_index_name, check_index_pattern};
pub use plan::plan_digest;
pub use raw::{DeadLettersThen, LongId, Nonfinite, Numbers};
pub use schema::schema;

use crate::error::{Error, Result};
use crate::secret::Secret;
use tree::{Fault, Node, Position};

/// The file that is read when none is named.
pub const DEFAULT_PATH: &str = "tidemill.yaml";
/// A configuration that people write is far smaller; a larger file is another file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The plugins that come inside the binary, by name.
pub const SHIPPED_PLUGINS: &[&str] = &["where", "select", "redact", "geo", "route", "split"];

/// Everything that the file says, with defaults filled in and secrets read.
#[derive(Clone, Debug)]
pub struct Config {
    pub path: PathBuf,
    pub source: Source,
    pub sinks: BTreeMap<String, Sink>,
    pub streams: Vec<Stream>,
    /// The state's file.
    pub state: PathBuf,
    pub http: Option<Http>,
    pub ready: Ready,
}

#[derive(Clone, Debug)]
pub struct Source {
    /// As typed, variables filled: it may hold a password.
    pub url: Secret,
    pub password: Option<Secret>,
    pub slot: SlotName,
    pub publication: String,
    /// Above this much WAL held, it is said loudly.
    pub wal_keep_bytes: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Sink {
    pub name: String,
    /// The nodes of one cluster, without credentials; each path ends with `/`, so that `join` goes below it.
    pub urls: Vec<reqwest::Url>,
    pub auth: Auth,
    pub tls: Tls,
    pub timeout: Duration,
    pub gzip: bool,
}

/// How a sink knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    /// As the server gave it, or as `id:key`.
    ApiKey(Secret),
    Basic {
        user: String,
        password: Secret,
    },
    Bearer(Secret),
}

impl Auth {
    /// The value of the `Authorization` header.
    pub fn header(&self) -> Option<Secret> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let value = match self {
            Auth::None => return None,
            Auth::ApiKey(key) if key.expose().contains(':') => format!("ApiKey {}", STANDARD.encode(key.expose())),
            Auth::ApiKey(key) => format!("ApiKey {}", key.expose()),
            Auth::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
            }
            Auth::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        Some(Secret::new(value))
    }

    /// The same with secrets as their files have them now.
    pub fn reload(&self) -> Result<Auth> {
        Ok(match self {
            Auth::None => Auth::None,
            Auth::ApiKey(key) => Auth::ApiKey(key.reload()?),
            Auth::Basic { user, password } => Auth::Basic { user: user.clone(), password: password.reload()? },
            Auth::Bearer(token) => Auth::Bearer(token.reload()?),
        })
    }
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca: Option<PathBuf>,
    pub identity: Option<TlsIdentity>,
}

/// Our certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Rows of tables that become documents of an index.
#[derive(Clone, Debug)]
pub struct Stream {
    pub name: String,
    pub from: From,
    pub actions: Actions,
    pub backfill: bool,
    pub filter: Option<String>,
    pub stages: Vec<Stage>,
    pub columns: Option<Columns>,
    /// A key of [`Config::sinks`].
    pub sink: String,
    /// Its fields are `schema` and `table`.
    pub index: Template,
    /// `None`: a missing index is not made.
    pub create: Option<Create>,
    /// Its fields are columns. `None`: the primary key.
    pub id: Option<Template>,
    pub routing: Option<Template>,
    pub pipeline: Option<String>,
    pub numbers: Numbers,
    pub nonfinite: Nonfinite,
    pub long_id: LongId,
    pub dead_letters: DeadLetters,
    pub rejects: Rejects,
    pub batch: Batch,
}

/// The tables of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    pub include: Vec<TablePattern>,
    pub exclude: Vec<TablePattern>,
}

impl From {
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(schema, table));
        any(&self.include) && !any(&self.exclude)
    }
}

/// Which changes are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Actions {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

/// How a missing index is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Create {
    /// With the mapping that follows from the table.
    Proposed,
    /// With the mapping in a file.
    Mapping(PathBuf),
}

/// What a document consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    Names(Vec<String>),
    /// Fields and the expression that gives each, in order.
    Fields(Vec<(String, String)>),
}

#[derive(Clone)]
pub struct Stage {
    /// As typed.
    pub name: String,
    pub plugin: Plugin,
    /// The digest that the plugin must have, in lower case.
    pub sha256: Option<String>,
    /// Handed to the plugin as it is; it may hold secrets.
    pub config: Option<serde_json::Value>,
    /// Handed to it beside its configuration, by name.
    pub secrets: Vec<(String, Secret)>,
    pub limits: tidemill_stage::Limits,
    pub grants: tidemill_stage::Grants,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("plugin", &self.plugin).field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    File(PathBuf),
    /// One of [`SHIPPED_PLUGINS`].
    Shipped(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    pub rows_max: u64,
    pub bytes_max: u64,
    pub then: DeadLettersThen,
}

/// More than this share of rows rejected, counted over at least so many rows, pauses a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rejects {
    pub ratio: f64,
    pub of: u64,
}

/// The size of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub documents_max: u32,
    pub bytes_max: u64,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
    /// Asked for under `/metrics`; probes need none.
    pub token: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub lag: Duration,
}

impl Config {
    /// Reads the file, with variables from the environment.
    pub fn load(path: &Path) -> Result<Config> {
        let refuse = |why: String| Error::usage(format!("the configuration `{}` {why}", path.display()));
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse("is not there: name the file by --config".to_owned()),
            _ => refuse(format!("cannot be read: {error}")),
        };
        let size = std::fs::metadata(path).map_err(cannot)?.len();
        if size > FILE_BYTES_MAX {
            return Err(refuse(format!("is larger than {FILE_BYTES_MAX} bytes: is it the right file?")));
        }
        let bytes = std::fs::read(path).map_err(cannot)?;
        let text = String::from_utf8(bytes).map_err(|error| refuse(format!("is not UTF-8: {error}")))?;
        Config::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads the text of a file that stands, or would stand, at `path`.
    pub fn parse(text: &str, path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let resolved = read(text, variable).and_then(|(tree, raw)| resolve::resolve(&tree, raw, path, variable));
        resolved.map_err(|fault| in_file(path, &fault))
    }

    pub fn stream(&self, name: &str) -> Result<&Stream> {
        self.streams.iter().find(|stream| stream.name == name).ok_or_else(|| {
            let known: Vec<_> = self.streams.iter().map(|stream| stream.name.as_str()).collect();
            Error::usage(format!("there is no stream `{name}` in {}: {}", self.path.display(), suggest(name, &known)))
        })
    }
}

/// Reads a stage's grants on their own: what would stand under `grants:`. Their folders are beside `path`.
pub(crate) fn grants(text: &str, path: &Path) -> Result<tidemill_stage::Grants> {
    let read = || {
        let tree = tree::load(text)?;
        let base = resolve::Base(path.parent().unwrap_or(Path::new("")));
        resolve::resolve_grants(&tree::Place::root(&tree), de::from_node(&tree)?, base)
    };
    read().map_err(|fault| in_file(path, &fault))
}

/// The file as typed, with its positions.
fn read(text: &str, variable: variables::Lookup<'_>) -> Result<(Node, raw::Config), Fault> {
    let mut tree = tree::load(text)?;
    variables::fill(&mut tree, variable)?;
    if let Some(defaults) = tree.get("defaults") {
        // Before they are spread, so that what is wrong in them is shown where it stands.
        de::from_node::<Option<raw::Stream>>(defaults).map_err(|fault| fault.under("defaults"))?;
    }
    resolve::spread_defaults(&mut tree);
    let raw = de::from_node(&tree)?;
    Ok((tree, raw))
}

fn in_file(path: &Path, fault: &Fault) -> Error {
    let Fault { at, path: key, message } = fault;
    let place = at.map_or(String::new(), |Position { line, column }| format!(":{line}:{column}"));
    let key = if key.is_empty() { String::new() } else { format!("{}: ", key.trim_end_matches('.')) };
    Error::usage(format!("{}{place}: {key}{message}", path.display()))
}

#[cfg(test)]
mod tests;
