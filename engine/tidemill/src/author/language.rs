//! The languages in which a plugin can be begun and built: one entry each.

mod go;
mod python;
mod rust;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Kind;
use super::component::Adapter;
use crate::error::{Error, Result};

/// How a language's plugins are made.
#[derive(Debug)]
pub struct Language {
    /// What `--lang` takes.
    pub name: &'static str,
    /// Where its templates are in the repository: `common/`, and one folder for each kind of plugin.
    pub(super) template: &'static str,
    /// What of the repository goes into a new plugin's `tidemill-sdk/`: an SDK that no registry has yet, and the contract.
    pub(super) vendored: &'static [&'static str],
    /// The file by which a folder is known to hold a plugin in this language.
    pub(super) marker: &'static str,
    /// What a build leaves in the folder, which is no source.
    pub(super) leavings: &'static [&'static str],
    /// Builds what lies in the folder. An error says exactly what is missing and how to get it.
    pub(super) build: fn(&Path) -> Result<Output>,
}

/// What a language's own build gave.
#[derive(Debug)]
pub(super) struct Output {
    /// The plugin's name, as its folder declares it.
    pub(super) name: String,
    /// A component, or a core module of which one has to be made.
    pub(super) wasm: PathBuf,
    /// Of which world a core module is, where it does not say so itself.
    pub(super) world: Option<Kind>,
    /// What answers a core module's imports inside the component.
    pub(super) adapters: Vec<Adapter>,
    /// The compiler and its version, as far as the build knows.
    pub(super) toolchain: String,
}

pub static LANGUAGES: &[Language] = &[rust::RUST, go::GO, python::PYTHON];

impl Language {
    /// The language of that name; the error lists those there are.
    pub fn named(name: &str) -> Result<&'static Language> {
        LANGUAGES.iter().find(|language| language.name == name).ok_or_else(|| {
            let known: Vec<_> = LANGUAGES.iter().map(|language| language.name).collect();
            Error::usage(format!("there is no template for `{name}` yet: there is {}", known.join(", ")))
        })
    }

    pub(super) fn of(folder: &Path) -> Option<&'static Language> {
        LANGUAGES.iter().find(|language| folder.join(language.marker).is_file())
    }
}

/// What a plugin is called whose language has no name for it.
fn folder_name(folder: &Path) -> Result<String> {
    let path = folder.canonicalize().map_err(|error| Error::unreadable(folder, error))?;
    Ok(path.file_name().map_or_else(|| "plugin".to_owned(), |name| name.to_string_lossy().into_owned()))
}

/// Runs a tool to its end; its own messages go to our stderr as they come, its answer is returned.
fn run(command: &mut Command, missing: &str) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(std::process::Stdio::inherit()).stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::failed(format!("`{name}` is not here: {missing}")),
        _ => Error::failed(format!("`{name}` cannot be run")).with_cause(error),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    Err(Error::failed(format!(
        "`{name} {}` failed ({}): what is wrong stands above",
        arguments.join(" "),
        output.status
    )))
}

/// The first line of what a tool says, where it can be run at all.
fn said(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}
