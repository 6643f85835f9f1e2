//! Python: `componentize-py`, which puts an interpreter and the plugin's modules into one component. What the interpreter asks of
//! WASI is answered inside it, so that it needs no grant.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Language, Output, folder_name, run, said};
use crate::author::Kind;
use crate::error::{Error, Result};

pub(super) const PYTHON: Language = Language {
    name: "python",
    template: "sdk/python/template",
    vendored: &["sdk/python", "wit"],
    marker: "src/app.py",
    leavings: &["build"],
    build,
};

const TOOL: &str = "componentize-py";

fn build(folder: &Path) -> Result<Output> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let tool = std::iter::once(PathBuf::from(TOOL))
        .chain([folder.join(".venv/bin").join(TOOL)])
        .chain(cached(&variable))
        .filter_map(|tool| {
            if tool.is_relative() && tool.components().count() > 1 { tool.canonicalize().ok() } else { Some(tool) }
        })
        .find_map(|tool| Some((said(Command::new(&tool).arg("--version"))?, tool)));
    let (version, tool) = tool.ok_or_else(|| Error::failed(missing(&variable)))?;
    let app = folder.join(PYTHON.marker);
    let kind = kind(&std::fs::read_to_string(&app).map_err(|error| Error::unreadable(&app, error))?)
        .map_err(|why| Error::failed(format!("`{}`: {why}", app.display())))?;
    let made = folder.join("build");
    std::fs::create_dir_all(&made)
        .map_err(|error| Error::failed(format!("`{}` cannot be made", made.display())).with_cause(error))?;
    let wasm = made.join("plugin.wasm");
    let mut command = Command::new(tool);
    command.current_dir(folder).args(["-d", "tidemill-sdk/wit/0.1", "-w", kind.name(), "componentize", "--stub-wasi"]);
    command.args(["-p", "src", "-p", "tidemill-sdk/sdk/python"]);
    command.args([&format!("tidemill_{}", kind.name()), "-o", "build/plugin.wasm"]);
    run(&mut command, "it was here a moment ago")?;
    Ok(Output { name: folder_name(folder)?, wasm, world: None, adapters: Vec::new(), toolchain: version })
}

/// A folder of its own, where `pip` puts it without touching the system's Python.
fn cached(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let caches = variable("TIDEMILL_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("tidemill")))
        .or_else(|| Some(variable("HOME")?.join(".cache/tidemill")))?;
    Some(caches.join(TOOL).join("bin").join(TOOL))
}

fn missing(variable: &dyn Fn(&str) -> Option<PathBuf>) -> String {
    let home = cached(variable).and_then(|tool| Some(tool.parent()?.parent()?.display().to_string()));
    let home = home.unwrap_or_else(|| ".venv".to_owned());
    let wanted = include_str!("../../../../../sdk/python/requirements.txt").trim();
    let python = match said(Command::new("python3").arg("--version")) {
        Some(_) => "",
        None => "install Python 3.10 or later with its module venv, then ",
    };
    format!(
        "`{TOOL}` is not here: {python}run `python3 -m venv {home} && {home}/bin/pip install {wanted}`, where it is found from then on"
    )
}

/// Which decorator the plugin's class has.
fn kind(app: &str) -> Result<Kind, &'static str> {
    let has = |name: &str| {
        let decorators = app.lines().filter_map(|line| line.strip_prefix('@')).map(str::trim);
        decorators.filter(|decorator| *decorator == name || decorator.ends_with(&format!(".{name}"))).count() > 0
    };
    match (has("filter"), has("transform")) {
        (true, false) => Ok(Kind::Filter),
        (false, true) => Ok(Kind::Transform),
        _ => Err("one class in it has the decorator `@filter` or `@transform` of tidemill_sdk"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_by_the_decorator() {
        assert_eq!(kind("from tidemill_sdk import filter\n\n@filter\nclass A:\n"), Ok(Kind::Filter));
        assert_eq!(kind("import tidemill_sdk\n@tidemill_sdk.transform\nclass A:\n"), Ok(Kind::Transform));
        assert!(kind("class A:\n    @filter\n").is_err());
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_to_get_it() {
        let message = missing(&|name| (name == "HOME").then(|| "/home/a".into()));
        assert!(
            message.contains("/home/a/.cache/tidemill/componentize-py/bin/pip install componentize-py=="),
            "{message}"
        );
    }
}
