//! What can be typed by the author of a plugin.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "From nothing to documents:
  tidemill plugin new words --lang rust       a folder with a filter, a case and a README
  tidemill plugin test words                  builds it, runs its cases
  tidemill capture products --rows 1000       real rows to try it on
  tidemill plugin replay products.capture --plugin words --config '{\"word\": \"Chair\"}'
  tidemill plugin bench words                 what it costs")]
pub enum PluginCommand {
    /// Begin a plugin: a folder that builds and passes its test at once.
    New(NewArguments),
    /// Build a plugin's component, and compile it ahead for this machine.
    Build(BuildArguments),
    /// Run a plugin's cases: rows in, documents out.
    ///
    /// A case is a folder under `cases/`: rows.ndjson, documents.ndjson, config.json, schema.json. Exits 3 where other
    /// documents come out than are expected.
    Test(TestArguments),
    /// Say what a plugin costs, beside one that asks for the same columns and passes every row.
    ///
    /// Rows are a capture's, or made for a table; where neither is given, for the table of the plugin's first case, with that
    /// case's configuration.
    Bench(BenchArguments),
    /// Say what a component is: world, imports and who grants them, size, digest, makers.
    ///
    /// Reads the file and runs none of it, unless a schema is given: then it is opened on that table, to tell what it
    /// requires and what comes out.
    Inspect(InspectArguments),
    /// Run captured rows through a plugin, or through two, and say how their documents differ.
    ///
    /// Exits 3 where they do.
    Replay(ReplayArguments),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  tidemill plugin new words --lang rust --kind filter")]
pub struct NewArguments {
    /// Where: a folder that is not there yet. Its last part is the plugin's name.
    pub name: PathBuf,
    /// The language: rust, go or python.
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    pub lang: String,
    /// Which rows become documents, or also what these consist of.
    #[arg(long, value_enum, default_value_t = PluginKind::Filter)]
    pub kind: PluginKind,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Here `--config` is the stage's configuration: a plugin on its own has no `tidemill.yaml`.
#[derive(Clone, Debug, Args)]
pub struct StageConfig {
    /// What the stage would have under `config:`, as a JSON object or a file with one.
    // It stands in the place of the option that all commands have, so it has that one's name, type and value.
    #[arg(id = "config", long = "config", short = 'c', value_name = "JSON|FILE", help_heading = None::<&str>)]
    given: Option<PathBuf>,
    /// What the stage would have under `grants:`, as a JSON object or a file with one.
    #[arg(long, value_name = "JSON|FILE")]
    pub grants: Option<String>,
}

impl StageConfig {
    /// What was typed.
    pub fn typed(&self) -> Option<&str> {
        self.given.as_deref().and_then(std::path::Path::to_str).filter(|typed| *typed != crate::config::DEFAULT_PATH)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PluginKind {
    Filter,
    Transform,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill plugin build words
  tidemill plugin build zig-out/words.core.wasm --world filter -o words.wasm    another language's core module")]
pub struct BuildArguments {
    /// A plugin's folder, or a core module that some other build gave.
    #[arg(value_name = "DIR|CORE.wasm", default_value = ".")]
    pub path: PathBuf,
    /// Of which world a core module is, where it does not say so itself.
    #[arg(long, value_enum)]
    pub world: Option<PluginKind>,
    /// Where the component of a core module goes.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill plugin test words
  tidemill plugin test words --accept           write down what came out
  tidemill plugin test words.wasm --cases cases")]
pub struct TestArguments {
    /// A plugin's folder, built first where its source is newer, or a component.
    #[arg(value_name = "DIR|FILE.wasm", default_value = ".")]
    pub path: PathBuf,
    /// Where the cases are, if not in `cases` beside it.
    #[arg(long, value_name = "DIR")]
    pub cases: Option<PathBuf>,
    /// Write what comes out into each case's documents.ndjson.
    #[arg(long)]
    pub accept: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill plugin bench words
  tidemill plugin bench words --capture products.capture --config '{\"word\": \"Chair\"}'
  tidemill plugin bench where --schema words/cases/first/schema.json --config '{\"predicate\": \"id > 7\"}' --json")]
pub struct BenchArguments {
    /// A plugin's folder, built first where its source is newer, a component, or a shipped plugin's name.
    #[arg(value_name = "PLUGIN", default_value = ".")]
    pub plugin: PathBuf,
    /// Rows that `tidemill capture` wrote.
    #[arg(long, value_name = "CAPTURE", conflicts_with = "schema")]
    pub capture: Option<PathBuf>,
    /// A table for which rows are made: a case's schema.json, or a capture.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    #[command(flatten)]
    pub stage: StageConfig,
    /// Rows of a batch.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
    /// How long both are run.
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub seconds: u32,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill plugin inspect words.wasm
  tidemill plugin inspect words.wasm --schema cases/first/schema.json --config cases/first/config.json
  tidemill plugin inspect where                  a shipped one")]
pub struct InspectArguments {
    /// A component, or a shipped plugin's name.
    #[arg(value_name = "FILE.wasm|NAME")]
    pub path: PathBuf,
    /// A table: a case's schema.json, or a capture.
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    #[command(flatten)]
    pub stage: StageConfig,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill plugin replay products.capture --plugin words --config '{\"word\": \"Chair\"}'
  tidemill plugin replay products.capture --plugin words --against words-1.0.wasm --config words.json")]
pub struct ReplayArguments {
    /// What `tidemill capture` wrote.
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,
    /// A plugin's folder, a component, or a shipped plugin's name.
    #[arg(long, value_name = "PLUGIN")]
    pub plugin: PathBuf,
    /// Another, whose documents are those that are expected.
    #[arg(long, value_name = "PLUGIN")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub stage: StageConfig,
    /// The other's configuration, if it has one of its own.
    #[arg(long, value_name = "JSON|FILE", requires = "against")]
    pub against_config: Option<String>,
    /// How many documents or differences are shown.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub examples: usize,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill capture products --rows 1000
  tidemill capture products --rows 500 --mask email,phone -o products.capture
  tidemill capture products --changes                    updates and deletes too, out of the slot of an engine that stands")]
pub struct CaptureArguments {
    /// The stream's name in the configuration.
    pub stream: String,
    /// How many rows at most.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rows: u32,
    /// Of a stream with several tables, which one.
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Changes that wait in the slot instead of the table's rows. The slot stays where it is; no engine may stream from it.
    #[arg(long)]
    pub changes: bool,
    /// Columns whose values are replaced before they are written.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    pub mask: Vec<String>,
    /// Where to; STREAM.capture by default. Nobody else can read it.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}
