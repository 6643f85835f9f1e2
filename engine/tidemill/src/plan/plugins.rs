//! The plugins of all streams: shipped or from a file, compiled once and kept for the next start.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_stage::{Cache, Engine, Limits, Plugin};

use crate::error::{Error, Result};

/// The components that come inside the binary.
const SHIPPED: [(&str, &[u8]); 6] = [
    ("where", include_bytes!("../../../../plugins/shipped/where.wasm")),
    ("select", include_bytes!("../../../../plugins/shipped/select.wasm")),
    ("redact", include_bytes!("../../../../plugins/shipped/redact.wasm")),
    ("geo", include_bytes!("../../../../plugins/shipped/geo.wasm")),
    ("route", include_bytes!("../../../../plugins/shipped/route.wasm")),
    ("split", include_bytes!("../../../../plugins/shipped/split.wasm")),
];

/// A shipped plugin's component; none where no such one is shipped.
pub(crate) fn shipped(name: &str) -> Option<&'static [u8]> {
    SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, bytes)| *bytes)
}

/// Compiled plugins, each once a process whatever number of streams uses it. How deep calls nest is the compiler's affair, so
/// that each depth has one of its own.
#[derive(Debug, Default)]
pub struct Plugins {
    engines: HashMap<usize, Engine>,
    compiled: HashMap<(usize, String), Arc<Plugin>>,
}

impl Plugins {
    pub(crate) fn shipped(&mut self, name: &str, limits: &Limits) -> Result<Arc<Plugin>> {
        self.compile(name, shipped(name).expect("the configuration knows the shipped"), limits)
    }

    pub(crate) fn file(&mut self, path: &Path, limits: &Limits) -> Result<Arc<Plugin>> {
        let name = path.display().to_string();
        let unreadable = |error| Error::failed(format!("plugin `{name}` cannot be read")).with_cause(error);
        let file = File::open(path).map_err(unreadable)?;
        let (size, max) = (file.metadata().map_err(unreadable)?.len(), limits.component_bytes as u64);
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > max {
            let size = size.max(bytes.len() as u64);
            return Err(Error::failed(format!(
                "plugin `{name}` has {size} bytes, and it may have {max}: strip it, or raise `limits.component`"
            )));
        }
        self.compile(&name, &bytes, limits)
    }

    pub(crate) fn compile(&mut self, name: &str, bytes: &[u8], limits: &Limits) -> Result<Arc<Plugin>> {
        let key = (limits.stack_bytes, name.to_owned());
        if let Some(plugin) = self.compiled.get(&key) {
            return Ok(Arc::clone(plugin));
        }
        let engine = match self.engines.get(&limits.stack_bytes) {
            Some(engine) => engine.clone(),
            None => self.engines.entry(limits.stack_bytes).or_insert(new_engine(limits.stack_bytes)?).clone(),
        };
        let plugin = Arc::new(Plugin::load(&engine, name, bytes).map_err(stage_error)?);
        self.compiled.insert(key, Arc::clone(&plugin));
        Ok(plugin)
    }
}

fn stage_error(error: tidemill_stage::Error) -> Error {
    Error::failed(error.to_string())
}

fn new_engine(stack_bytes: usize) -> Result<Engine> {
    let engine = Engine::with_stack(stack_bytes).map_err(stage_error)?;
    let Some(folder) = cache_folder(|name| std::env::var_os(name).map(PathBuf::from)) else { return Ok(engine) };
    Ok(match Cache::open(&folder) {
        Ok(cache) => engine.with_cache(cache),
        Err(why) => {
            tracing::warn!("plugins are compiled at each start, since none can be kept: {why}");
            engine
        }
    })
}

/// Where systemd says, else where the user's caches are. Compiled code has a folder of its own there, since that is closed to
/// all others.
fn cache_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    // systemd gives several folders as `a:b`; the first is ours.
    let first = |list: PathBuf| list.to_str().and_then(|list| list.split(':').next()).map(PathBuf::from);
    let own = variable("CACHE_DIRECTORY").and_then(first).filter(absolute);
    let own = own.or_else(|| Some(variable("XDG_CACHE_HOME").filter(absolute)?.join("tidemill")));
    let own = own.or_else(|| Some(variable("HOME").filter(absolute)?.join(".cache/tidemill")));
    Some(own?.join("components"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_system_or_the_user_has_it() {
        let folder = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, path)| PathBuf::from(path));
            cache_folder(found).map(|path| path.display().to_string())
        };
        let home = ("HOME", "/home/a");
        assert_eq!(folder(&[]), None);
        assert_eq!(folder(&[home]).unwrap(), "/home/a/.cache/tidemill/components");
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "/c")]).unwrap(), "/c/tidemill/components");
        assert_eq!(folder(&[home, ("XDG_CACHE_HOME", "relative")]).unwrap(), "/home/a/.cache/tidemill/components");
        assert_eq!(folder(&[home, ("CACHE_DIRECTORY", "/var/cache/t:/b")]).unwrap(), "/var/cache/t/components");
    }
}
