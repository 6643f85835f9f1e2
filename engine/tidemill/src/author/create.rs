//! `new`: a plugin's folder from a template, with the SDK that it needs, so that it builds and passes its test at once.

use std::fs;
use std::path::{Path, PathBuf};

use super::FILES;
use super::language::Language;
use crate::error::{Error, Result};

/// What kind of plugin: which world of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Filter,
    Transform,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Filter => "filter",
            Kind::Transform => "transform",
        }
    }
}

/// A folder that was made.
#[derive(Debug)]
pub struct Created {
    pub folder: PathBuf,
    /// What was written, relative to the folder, but for the SDK.
    pub files: Vec<String>,
}

/// What a name has to be: a crate's, a module's and a file's at once.
const NAME_BYTES_MAX: usize = 64;
/// Where the SDK lies in the new folder.
const SDK_FOLDER: &str = "tidemill-sdk";
/// What stands in templates for the plugin's name.
const NAME: &str = "{{name}}";

/// Makes the folder; `path` ends in the plugin's name.
pub fn create(path: &Path, language: &'static Language, kind: Kind) -> Result<Created> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check_name(name).map_err(Error::usage)?;
    if path.exists() {
        return Err(Error::usage(format!("`{}` is there already: nothing was changed", path.display())));
    }
    let mut files = Vec::new();
    let parts = ["common", kind.name()].map(|part| format!("{}/{part}", language.template));
    for (file, bytes) in parts.iter().flat_map(|part| below(part)) {
        write(path, file, &filled(bytes, name))?;
        if !file.starts_with(SDK_FOLDER) {
            files.push(file.to_owned());
        }
    }
    for part in language.vendored {
        let part_files = below(part).filter(|(file, _)| !file.starts_with("template/") && !file.starts_with('.'));
        for (file, bytes) in part_files {
            write(path, &format!("{SDK_FOLDER}/{part}/{file}"), bytes)?;
        }
    }
    files.sort();
    Ok(Created { folder: path.to_owned(), files })
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
        && name.len() <= NAME_BYTES_MAX;
    match fits {
        true => Ok(()),
        false => Err(format!(
            "`{name}` cannot name a plugin: a small letter, then small letters, digits, `-` and `_`, {NAME_BYTES_MAX} at most"
        )),
    }
}

/// The repository's files below a folder, by their paths in it.
fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let prefix = format!("{folder}/");
    FILES.iter().filter_map(move |(path, bytes)| Some((path.strip_prefix(&prefix)?, *bytes)))
}

fn filled(bytes: &[u8], name: &str) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace(NAME, name).into_bytes(),
        Err(_) => bytes.to_vec(),
    }
}

fn write(folder: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(file);
    let written = fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, bytes));
    written.map_err(|error| Error::failed(format!("`{}` cannot be written", path.display())).with_cause(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::LANGUAGES;

    #[test]
    fn names_serve_as_crate_module_and_file() {
        for name in ["words", "red-words_2"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "2words", "Words", "wörter", "a b", "..", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_language_makes_both_kinds_and_leaves_no_blank() {
        let home = tempfile::tempdir().unwrap();
        for language in LANGUAGES {
            for kind in [Kind::Filter, Kind::Transform] {
                let folder = home.path().join(format!("{}-{}", language.name, kind.name()));
                let made = create(&folder, language, kind).unwrap();
                for needed in ["README.md", language.marker, "cases/first/rows.ndjson", "cases/first/documents.ndjson"]
                {
                    assert!(made.files.iter().any(|file| file == needed), "{needed} in {:?}", made.files);
                }
                for file in &made.files {
                    let text = fs::read_to_string(folder.join(file)).unwrap();
                    assert!(!text.contains("{{"), "{file} has a blank");
                }
                assert!(Language::of(&folder).is_some_and(|found| found.name == language.name));
            }
        }
    }

    #[test]
    fn nothing_that_is_there_is_changed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("words");
        fs::create_dir(&folder).unwrap();
        let error = create(&folder, &LANGUAGES[0], Kind::Filter).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("is there already"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
