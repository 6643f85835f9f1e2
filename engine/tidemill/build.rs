//! Puts the SDKs, their templates and the contract into the binary, so that `tidemill plugin new` makes folders that stand
//! alone: one table of all files under `sdk/` and `wit/`, by their paths in the repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What builds leave behind, and what only this repository needs.
const LEFT_OUT: [&str; 6] = ["target", "tests", "node_modules", "__pycache__", ".venv", "build"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..").canonicalize()?;
    let mut files = Vec::new();
    for part in ["sdk", "wit"] {
        gather(&root.join(part), &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&root).expect("found below it").to_str().expect("our own files have plain names");
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", file.display().to_string()).expect("a string grows");
    }
    table.push(']');
    fs::write(PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("files.rs"), table)
}

/// Gathers the files below a folder. False where something there is left out.
fn gather(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<bool> {
    let mut is_whole = true;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            is_whole = false;
        } else if entry.file_type()?.is_dir() {
            is_whole &= gather(&path, into)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            into.push(path);
        }
    }
    // A folder is watched with all that is in it, and what a build leaves behind changes all the time.
    if is_whole {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    Ok(is_whole)
}
