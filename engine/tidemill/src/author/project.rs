//! A plugin's folder, and the component that lies in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::language::Language;
use super::{LANGUAGES, build};
use crate::config::SHIPPED_PLUGINS;
use crate::error::{Error, Result};

/// Where a plugin's cases are, in its folder or beside its component.
const CASES: &str = "cases";
/// How deep sources are looked for: deeper than anybody nests them.
const DEPTH_MAX: usize = 16;

/// The folder of a plugin's source.
#[derive(Debug)]
pub struct Project {
    pub folder: PathBuf,
    pub language: &'static Language,
}

impl Project {
    pub fn open(folder: &Path) -> Result<Project> {
        if !folder.is_dir() {
            return Err(Error::usage(format!("there is no folder `{}`", folder.display())));
        }
        let language = Language::of(folder).ok_or_else(|| {
            let markers: Vec<_> = LANGUAGES.iter().map(|language| language.marker).collect();
            Error::usage(format!(
                "`{}` holds no plugin's source (no {}): `tidemill plugin new NAME` begins one",
                folder.display(),
                markers.join(", no ")
            ))
        })?;
        Ok(Project { folder: folder.to_owned(), language })
    }

    /// The component that was built last; none where there is none yet, or a source is newer.
    fn built(&self) -> Result<Option<PathBuf>> {
        let entries = fs::read_dir(&self.folder).map_err(|error| Error::unreadable(&self.folder, error))?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let components: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
        let component = match components.as_slice() {
            [] => return Ok(None),
            [one] => one.clone(),
            _ => {
                let folder = self.folder.display();
                return Err(Error::usage(format!("several components lie in `{folder}`: name the file that is meant")));
            }
        };
        let changed = newest(&self.folder, self.language, 0);
        Ok(changed.zip(modified(&component)).is_none_or(|(changed, made)| changed <= made).then_some(component))
    }
}

/// When the last source was changed.
fn newest(folder: &Path, language: &Language, depth: usize) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok().filter(|_| depth < DEPTH_MAX)?.flatten();
    let times = entries.filter_map(|entry| {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_source =
            depth > 0 || !(language.leavings.contains(&&*name) || [CASES, "README.md", ".git"].contains(&&*name));
        match entry.file_type().ok().filter(|_| is_source && name != "__pycache__" && !name.ends_with(".wasm"))? {
            kind if kind.is_dir() => newest(&path, language, depth + 1),
            kind if kind.is_file() => modified(&path),
            _ => None,
        }
    });
    times.max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// A component and the cases beside it.
#[derive(Debug)]
pub struct Component {
    pub path: PathBuf,
    pub cases: PathBuf,
}

impl Component {
    /// A file, or a shipped plugin, as it is; of a plugin's folder the component in it, built first where its source is newer.
    pub fn find(path: &Path) -> Result<Component> {
        if path.to_str().is_some_and(|name| SHIPPED_PLUGINS.contains(&name)) {
            return Ok(Component { path: path.to_owned(), cases: PathBuf::from(CASES) });
        }
        if !path.is_dir() {
            let folder = path.parent().unwrap_or(Path::new("."));
            return Ok(Component { path: path.to_owned(), cases: folder.join(CASES) });
        }
        let project = Project::open(path)?;
        let found = match project.built()? {
            Some(component) => component,
            None => build(&project)?.component,
        };
        Ok(Component { path: found, cases: path.join(CASES) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_is_older_than_a_source_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, age: u64| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        write("Cargo.toml", 50);
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.built().unwrap(), None);
        write("words.wasm", 40);
        write("src/deep/lib.rs", 60);
        write("target/x", 1);
        write("cases/a/rows.ndjson", 1);
        assert_eq!(project.built().unwrap(), Some(folder.path().join("words.wasm")));
        write("src/deep/lib.rs", 30);
        assert_eq!(project.built().unwrap(), None);
        write("other.wasm", 1);
        assert!(project.built().unwrap_err().to_string().contains("several components"));
    }

    #[test]
    fn a_folder_without_a_plugin_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Project::open(folder.path()).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("tidemill plugin new"), "{error}");
        assert!(Project::open(&folder.path().join("gone")).unwrap_err().to_string().contains("no folder"));
    }
}
