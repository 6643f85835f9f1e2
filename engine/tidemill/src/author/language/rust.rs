//! Rust: cargo for `wasm32-unknown-unknown`, whose linker `wasm-component-ld` gives the component itself.
//!
//! The target comes with rustup. Where there is none, a compiler of its own may lie in the user's cache folder, made by
//! `scripts/wasm-target.sh`; it is found there, and the installed Rust is left as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Language, Output, run, said};
use crate::error::{Error, Result};

pub(super) const RUST: Language = Language {
    name: "rust",
    template: "sdk/rust/template",
    vendored: &["sdk/rust", "wit"],
    marker: "Cargo.toml",
    leavings: &["target", "Cargo.lock"],
    build,
};

const TARGET: &str = "wasm32-unknown-unknown";
const GET_RUST: &str = "install Rust, see https://rustup.rs";

fn build(folder: &Path) -> Result<Output> {
    let installed = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let compiler = compiler(installed, cached(&|name| std::env::var_os(name).map(PathBuf::from)))?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).env("RUSTC", &compiler);
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    // The folder says it too, unless somebody took it out: without it a core module comes out.
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-component-ld");
    let messages = run(&mut cargo, GET_RUST)?;
    let (name, wasm) = built(&messages, folder).ok_or_else(|| {
        Error::failed(format!(
            "cargo built no WebAssembly in `{}`: its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]`",
            folder.display()
        ))
    })?;
    let toolchain = said(Command::new(&compiler).arg("--version")).unwrap_or_else(|| "rustc".to_owned());
    Ok(Output { name, wasm, world: None, adapters: Vec::new(), toolchain })
}

/// The compiler that has the target: the installed one, else the one in the cache folder.
fn compiler(installed: PathBuf, cached: Option<PathBuf>) -> Result<PathBuf> {
    if said(Command::new(&installed).arg("--version")).is_none() {
        return Err(Error::failed(format!("`{}` is not here: {GET_RUST}", installed.display())));
    }
    let candidates = [Some(installed), cached];
    candidates
        .into_iter()
        .flatten()
        .find(|compiler| has_target(compiler))
        .ok_or_else(|| Error::failed(missing_target()))
}

fn missing_target() -> String {
    let by_rustup = format!("run `rustup target add {TARGET}`");
    let by_script = "on Debian and Ubuntu, `scripts/wasm-target.sh` of Tidemill's repository puts a compiler that has it into \
                     ~/.cache/tidemill-wasm, where it is found from then on";
    let rustup = said(Command::new("rustup").arg("--version")).is_some();
    let ways = if rustup {
        format!("{by_rustup}; or, {by_script}")
    } else {
        format!("install Rust by rustup (https://rustup.rs) and {by_rustup}; or, {by_script}")
    };
    format!("this Rust cannot build for {TARGET}: {ways}")
}

fn has_target(compiler: &Path) -> bool {
    let libraries = said(Command::new(compiler).args(["--print", "target-libdir", "--target", TARGET]));
    let entries = libraries.and_then(|folder| std::fs::read_dir(folder).ok());
    entries.is_some_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
    })
}

/// Where `scripts/wasm-target.sh` puts a compiler.
fn cached(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let home = variable("WASM_HOME")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("tidemill-wasm")))
        .or_else(|| Some(variable("HOME")?.join(".cache/tidemill-wasm")))?;
    Some(home.join("bin/rustc")).filter(|compiler| compiler.is_file())
}

/// The plugin's name and its component, from what cargo says of its artifacts: wherever its target folder is.
fn built(messages: &[u8], folder: &Path) -> Option<(String, PathBuf)> {
    let manifest = folder.join("Cargo.toml").canonicalize().ok()?;
    let messages = messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut own = messages.filter(|message| {
        let of = message["manifest_path"].as_str().and_then(|path| Path::new(path).canonicalize().ok());
        message["reason"] == "compiler-artifact" && of.as_deref() == Some(&*manifest)
    });
    own.find_map(|message| {
        let files = message["filenames"].as_array()?;
        let wasm = files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm"))?;
        Some((package_name(message["package_id"].as_str()?), PathBuf::from(wasm)))
    })
}

/// `path+file:///a/words#0.1.0` and `path+file:///a/b#words@0.1.0` both name `words`.
fn package_name(id: &str) -> String {
    let (place, version) = id.rsplit_once('#').unwrap_or((id, ""));
    match version.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => place.rsplit('/').next().unwrap_or(place).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_by_its_id() {
        assert_eq!(package_name("path+file:///a/words#0.1.0"), "words");
        assert_eq!(package_name("path+file:///a/b#red-words@0.1.0"), "red-words");
    }

    #[test]
    fn a_compiler_in_the_cache_is_found_where_the_script_puts_it() {
        let home = tempfile::tempdir().unwrap();
        let compiler = home.path().join(".cache/tidemill-wasm/bin/rustc");
        let found = || cached(&|name| (name == "HOME").then(|| home.path().to_owned()));
        assert_eq!(found(), None);
        std::fs::create_dir_all(compiler.parent().unwrap()).unwrap();
        std::fs::write(&compiler, "").unwrap();
        assert_eq!(found(), Some(compiler));
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_to_get_it() {
        let gone = compiler("/nowhere/rustc".into(), None).unwrap_err().to_string();
        assert!(gone.contains("/nowhere/rustc") && gone.contains("rustup.rs"), "{gone}");
        let message = missing_target();
        assert!(message.contains("rustup target add wasm32-unknown-unknown") && message.contains("wasm-target.sh"));
    }
}
