//! What can be typed. The doc comments are the help.

mod author;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use author::{
    BenchArguments, BuildArguments, CaptureArguments, InspectArguments, NewArguments, PluginCommand, PluginKind,
    ReplayArguments, StageConfig, TestArguments,
};

use crate::config::DEFAULT_PATH;
use crate::logging::LogFormat;
use crate::secret::Secret;
use crate::state::LetterState;

/// Keeps search indices in step with Postgres.
///
/// Reads a database's logical replication stream, and the rows already there, runs them through WebAssembly stages, and
/// delivers documents to Elasticsearch or OpenSearch.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    max_term_width = 110,
    after_help = "Examples:
  tidemill demo                      see it work: a private Postgres, an index, live changes
  tidemill check                     prove that everything is ready before anything flows
  tidemill run                       run until stopped
  tidemill run --until-caught-up     deliver what is there, then end

Exit codes: 0 done, 1 failed, 2 the command line or the file is wrong, 3 the answer is \"differs\"."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The configuration file.
    #[arg(long, short, global = true, help_heading = "Global options", value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// How log lines on stderr look.
    #[arg(long, global = true, help_heading = "Global options", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", hide_possible_values = true, help = "How log lines on stderr look: text or json")]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or by part of the program as in `tidemill::source=debug,info`.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "LEVEL",
        default_value = "info",
        env = "TIDEMILL_LOG"
    )]
    pub log_level: String,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Keep the indices in step until stopped.
    ///
    /// The first Ctrl-C or SIGTERM stops reading, settles what is in flight, confirms it and exits 0; a second one exits at
    /// once and loses nothing.
    Run(RunArguments),
    /// Prove that everything is ready: both ends, privileges, tables, plugins, index; one line each.
    Check(CheckArguments),
    /// Say how each stream stands: state, lag, settled LSN, dead letters.
    Status(Json),
    /// Stop delivering one stream; the others go on. The slot holds its WAL until it is resumed.
    Pause(StreamArguments),
    /// Go on with a stream that is paused.
    Resume(StreamArguments),
    /// Read a stream's rows anew, beside the stream.
    Backfill(BackfillArguments),
    /// Look at what could not be delivered, and send it again or give it up.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// Drop slot, publication and state, after saying what goes. A forgotten slot fills the database's disk.
    Teardown(TeardownArguments),
    /// Write plugins: begin, build, test, measure and compare them.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Take real rows of a stream into a file, to try plugins on. Moves nothing.
    Capture(CaptureArguments),
    /// Serve the embedded index: a small Bulk-speaking server for demos and tests.
    Index(IndexArguments),
    /// See it work: a private Postgres, an index, 100,000 rows, live changes, every document compared.
    Demo(DemoArguments),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the completions of a shell.
    #[command(after_help = "Example:
  tidemill completions bash > /etc/bash_completion.d/tidemill")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
}

impl Command {
    pub fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Check(_) => "check",
            Command::Status(_) => "status",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Backfill(_) => "backfill",
            Command::DeadLetters(_) => "dead-letters",
            Command::Teardown(_) => "teardown",
            Command::Plugin(_) => "plugin",
            Command::Capture(_) => "capture",
            Command::Index(_) => "index",
            Command::Demo(_) => "demo",
            Command::Schema => "schema",
            Command::Completions { .. } => "completions",
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Examples:
  tidemill run --config shop.yaml
  tidemill run --until-caught-up       everything committed by now, then exit 0
  tidemill run --backfill-changed      a stream's plan changed: read its rows anew")]
pub struct RunArguments {
    /// Deliver everything that was committed when it started, confirm it, and exit 0.
    #[arg(long)]
    pub until_caught_up: bool,
    /// Where a stream's plan changed, or its slot was moved on without it, read its rows anew and remove documents that no
    /// longer belong.
    #[arg(long, conflicts_with = "keep_old_documents")]
    pub backfill_changed: bool,
    /// Where a stream's plan changed, leave the documents that the old plan made; where its slot was moved on without it, go
    /// on without the changes between.
    #[arg(long)]
    pub keep_old_documents: bool,
    /// End when standard input does.
    #[arg(long, hide = true)]
    pub with_stdin: bool,
}

#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Examples:
  tidemill check
  tidemill check --sql | psql -U owner shop     what the tables' owner has to do")]
pub struct CheckArguments {
    /// Print one SQL script for the owner of the tables: publication, replica identities, grants.
    #[arg(long, conflicts_with = "json")]
    pub sql: bool,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct StreamArguments {
    /// The stream's name in the configuration.
    pub stream: String,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  tidemill backfill products")]
pub struct BackfillArguments {
    /// The stream's name in the configuration.
    pub stream: String,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  tidemill dead-letters list --stream products
  tidemill dead-letters show 17
  tidemill dead-letters retry 17 18
  tidemill dead-letters retry --stream products --error-type mapper_parsing_exception
  tidemill dead-letters drop --stream products --key 4711")]
pub enum DeadLettersCommand {
    /// List letters: what, where, why.
    List {
        #[command(flatten)]
        choice: LetterChoice,
        /// Letters with this fate; `all` for every one.
        #[arg(long, default_value = "open", value_parser = parse_letter_state, value_name = "STATE")]
        state: LetterStates,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u64,
        /// Begin after this letter: the next page.
        #[arg(long, value_name = "ID")]
        after: Option<i64>,
        /// Answer with one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show one letter in full: change, document, action, error.
    Show {
        /// Its number in the list.
        id: i64,
        /// Answer with one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Send letters again, after their cause was mended. A newer row is never overwritten.
    ///
    /// Exits 1 while any of them stays open.
    Retry {
        #[command(flatten)]
        meant: MeantLetters,
        /// Answer with one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Give letters up: they wait no longer, and are never sent.
    Drop {
        #[command(flatten)]
        meant: MeantLetters,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Answer with one JSON object.
        #[arg(long, requires = "yes")]
        json: bool,
    },
}

/// Open letters: all of a choice, or those of it that are named.
#[derive(Clone, Debug, Args)]
pub struct MeantLetters {
    /// Their numbers in the list.
    #[arg(value_name = "ID", required_unless_present_any = ["stream", "error_type", "key"])]
    pub ids: Vec<i64>,
    #[command(flatten)]
    pub choice: LetterChoice,
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct LetterChoice {
    /// Letters of this stream.
    #[arg(long)]
    pub stream: Option<String>,
    /// Letters with this error, for instance `mapper_parsing_exception`.
    #[arg(long, value_name = "TYPE")]
    pub error_type: Option<String>,
    /// Letters of this document's `_id`.
    #[arg(long, value_name = "ID")]
    pub key: Option<String>,
}

/// One state, or `None` for all.
pub type LetterStates = Option<LetterState>;

fn parse_letter_state(word: &str) -> Result<LetterStates, String> {
    match word {
        "all" => Ok(None),
        word => word.parse().map(Some).map_err(|message| format!("{message}, all")),
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub struct TeardownArguments {
    /// Remove the state alone, where the database is gone or cannot be reached; says what to run there.
    #[arg(long)]
    pub state_only: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Answer with one JSON object.
    #[arg(long, requires = "yes")]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  tidemill index --dir ./index --listen 127.0.0.1:9200")]
pub struct IndexArguments {
    /// Where it keeps its data; without it all is gone when it ends.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Address and port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9200")]
    pub listen: SocketAddr,
    /// End when standard input does.
    #[arg(long, hide = true)]
    pub with_stdin: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidemill demo
  tidemill demo --keep                   stay up, and say how to look
  tidemill demo --rows 1000000 --seconds 60
  tidemill demo --sink https://localhost:9200 --api-key id:key")]
pub struct DemoArguments {
    /// Stay up afterwards, and say how to look.
    #[arg(long)]
    pub keep: bool,
    /// How many products there are at first.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rows: u64,
    /// How long rows change while one looks on.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub seconds: u64,
    /// Answer with one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Deliver to this server instead of the embedded index. It must have neither `products` nor `orders`; both are removed
    /// at the end, unless `--keep` is given.
    #[arg(long, value_name = "URL")]
    pub sink: Option<String>,
    /// The server's API key, as given or as id:key.
    #[arg(long, value_name = "KEY", requires = "sink", env = "TIDEMILL_API_KEY", hide_env_values = true, value_parser = parse_secret)]
    pub api_key: Option<Secret>,
    /// Spoil a document before the comparison, which must then find it.
    #[arg(long, hide = true)]
    pub break_one: bool,
}

fn parse_secret(text: &str) -> Result<Secret, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        text => Ok(Secret::new(text)),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_help() {
        fn walk(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Usage:"), "{path}");
            assert!(command.get_about().is_some(), "{path} says what it does");
            for argument in command.get_arguments() {
                let documented = argument.get_help().is_some() || argument.is_positional();
                assert!(documented, "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands_mut() {
                let path = format!("{path} {}", sub.get_name());
                walk(sub, &path);
            }
        }
        let mut command = Arguments::command();
        command.build();
        walk(&mut command, "tidemill");
    }

    #[test]
    fn every_command_of_the_manual_parses() {
        let lines = [
            "tidemill run",
            "tidemill run --config a.yaml --until-caught-up --log-format json",
            "tidemill --config a.yaml run --backfill-changed",
            "tidemill run --keep-old-documents --log-level debug",
            "tidemill check --sql",
            "tidemill check --json",
            "tidemill status --json",
            "tidemill pause products",
            "tidemill resume products --json",
            "tidemill backfill products",
            "tidemill dead-letters list --stream products --state all --json",
            "tidemill dead-letters show 17",
            "tidemill dead-letters retry 17 18",
            "tidemill dead-letters retry --stream products --error-type x",
            "tidemill dead-letters retry --error-type x",
            "tidemill dead-letters retry --key 7",
            "tidemill dead-letters drop 17 18",
            "tidemill dead-letters drop 17 --stream products --yes --json",
            "tidemill teardown --yes --json",
            "tidemill teardown --state-only",
            "tidemill plugin new words",
            "tidemill plugin new a/words --lang rust --kind transform --json",
            "tidemill plugin build",
            "tidemill plugin build core.wasm --world filter -o words.wasm",
            "tidemill plugin test words --accept",
            "tidemill plugin test words.wasm --cases c --json",
            "tidemill plugin inspect words.wasm --schema s.json --config c.json --json",
            "tidemill plugin replay a.capture --plugin words --against words.wasm --config {} --against-config {} --json",
            "tidemill capture products --rows 10 --mask a,b --changes --table t -o f --config a.yaml --json",
            "tidemill index --dir d --listen 127.0.0.1:0",
            "tidemill demo --keep --rows 10 --seconds 2 --json --sink http://h:9200 --api-key a:b",
            "tidemill schema",
            "tidemill completions fish",
        ];
        for line in lines {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_exit_code_2() {
        let lines = [
            "tidemill",
            "tidemill rnu",
            "tidemill run --backfill-changed --keep-old-documents",
            "tidemill check --sql --json",
            "tidemill pause",
            "tidemill dead-letters retry",
            "tidemill dead-letters drop --yes",
            "tidemill dead-letters drop 17 --json",
            "tidemill dead-letters list --state nope",
            "tidemill teardown --json",
            "tidemill demo --rows 0",
            "tidemill demo --api-key x",
            "tidemill plugin",
            "tidemill plugin new",
            "tidemill plugin new words --kind both",
            "tidemill plugin replay a.capture",
            "tidemill capture",
            "tidemill capture products --rows 0",
            "tidemill completions powershell",
            "tidemill run --log-format xml",
        ];
        for line in lines {
            assert_eq!(parse(line).map(drop).map_err(|error| error.exit_code()), Err(2), "{line}");
        }
        assert_eq!(parse("tidemill run --help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_stage_has_its_configuration_in_the_place_of_the_file() {
        let typed = |line: &str| match parse(line).unwrap().command {
            Command::Plugin(PluginCommand::Inspect(asked)) => asked.stage.typed().map(str::to_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(typed("tidemill plugin inspect words.wasm"), None);
        assert_eq!(typed("tidemill plugin inspect words.wasm --config {}").as_deref(), Some("{}"));
        assert_eq!(parse("tidemill plugin build words").unwrap().global.config, Path::new(DEFAULT_PATH));
    }

    #[test]
    fn a_key_on_the_command_line_does_not_print() {
        let arguments = parse("tidemill demo --sink http://h --api-key hunter2").unwrap();
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }
}
