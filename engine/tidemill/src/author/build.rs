//! `build`: the language's own build, then the component in the plugin's folder, compiled ahead so that its first run does not
//! wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidemill_stage::Limits;

use super::component::{component, is_core_module};
use super::{Kind, Project};
use crate::error::{Error, Result};
use crate::plan::Plugins;

/// What a build gave.
#[derive(Debug)]
pub struct Built {
    pub name: String,
    pub component: PathBuf,
    pub bytes: u64,
    pub sha256: String,
    pub world: String,
    pub toolchain: Option<String>,
    /// How long the language's own build took.
    pub build_time: Duration,
    /// How long it took to compile it for this machine; short where that had been done before.
    pub compile_time: Duration,
}

/// Builds a plugin from its source.
pub fn build(project: &Project) -> Result<Built> {
    let begun = Instant::now();
    let output = (project.language.build)(&project.folder)?;
    let bytes = read(&output.wasm)?;
    let bytes = match is_core_module(&bytes) {
        true => component(&bytes, output.world, &output.adapters)?,
        false => bytes,
    };
    let path = project.folder.join(format!("{}.wasm", output.name));
    let built = Made { name: output.name, toolchain: Some(output.toolchain), build_time: begun.elapsed() };
    finish(built, path, &bytes)
}

/// Makes a component out of a core module that some other build gave.
pub fn convert(core: &Path, world: Option<Kind>, to: &Path) -> Result<Built> {
    let begun = Instant::now();
    let bytes = read(core)?;
    if !is_core_module(&bytes) {
        return Err(Error::usage(format!("`{}` is no core module: nothing has to be made of it", core.display())));
    }
    let bytes = component(&bytes, world, &[])?;
    let name = to.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    finish(Made { name, toolchain: None, build_time: begun.elapsed() }, to.to_owned(), &bytes)
}

struct Made {
    name: String,
    toolchain: Option<String>,
    build_time: Duration,
}

fn finish(made: Made, path: PathBuf, bytes: &[u8]) -> Result<Built> {
    put(&path, bytes)?;
    let begun = Instant::now();
    let plugin = Plugins::default().file(&path, &Limits::default())?;
    Ok(Built {
        name: made.name,
        component: path,
        bytes: bytes.len() as u64,
        sha256: plugin.sha256().to_owned(),
        world: plugin.world().to_string(),
        toolchain: made.toolchain,
        build_time: made.build_time,
        compile_time: begun.elapsed(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::failed(format!("`{}` cannot be read", path.display())).with_cause(error))
}

/// As a whole or not at all: an engine may read it at this moment.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        let mut file = tempfile::Builder::new().prefix(".tidemill-").tempfile_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)
    })();
    written
        .map(drop)
        .map_err(|error| Error::failed(format!("`{}` cannot be written", path.display())).with_cause(error))
}
