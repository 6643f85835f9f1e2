//! The command line: what can be typed, and how it is answered. Nothing else in the crate prints.
//!
//! Answers go to stdout, one JSON object where `--json` asks for it; logs and errors go to stderr. Exit codes: 0 done; 2 wrong
//! by the command line and the file alone; 3 the answer is "differs"; 1 anything else.

mod arguments;
mod commands;
mod output;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use arguments::{
    Arguments, BackfillArguments, BenchArguments, BuildArguments, CaptureArguments, CheckArguments, Command,
    DeadLettersCommand, DemoArguments, Global, IndexArguments, InspectArguments, LetterChoice, LetterStates,
    MeantLetters, NewArguments, PluginCommand, PluginKind, ReplayArguments, RunArguments, Shell, StageConfig,
    TestArguments,
};
pub use output::{Output, bytes, count, counted, duration, table};

use crate::error::{Error, Result};
use crate::logging;

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are answers, the rest are errors; clap knows which stream each goes to.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    // What reqwest and rustls compute with, where nothing else is said; a second installation would be refused.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let Global { log_format, log_level, .. } = &arguments.global;
    match logging::init(*log_format, log_level).and_then(|()| with_stack(|| commands::dispatch(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(&error)
        }
    }
}

/// On a thread that plugins can be opened on, whatever the shell gave the first one.
fn with_stack(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("main".to_owned())
            .stack_size(tidemill_stage::Limits::THREAD_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| Error::failed("no threads can be made").with_cause(error))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn completions(shell: Shell) -> Result<()> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tidemill", &mut script);
    Output::stdout().text(String::from_utf8_lossy(&script).trim_end())
}
