//! A compiled component that was found to be a plugin. Its imports and exports are read, and what does not fit is refused,
//! before any of its code runs.

use std::fmt;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::abi;
use crate::cache::Key;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::grants::{add_wasi, givers};
use crate::instance::{Host, add_imports};

/// Which of the contract's worlds a component is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Filter,
    Transform,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            World::Filter => "filter",
            World::Transform => "transform",
        })
    }
}

/// A compiled plugin, ready to be instantiated any number of times. It runs only as a stage of a [`Chain`](crate::Chain).
pub struct Plugin {
    name: String,
    sha256: String,
    compiled: bool,
    /// What it imports that is not always there; each can be granted.
    imports: Vec<String>,
    world: World,
    engine: Engine,
    pub(crate) pre: InstancePre<Host>,
    pub(crate) open: ComponentExportIndex,
    pub(crate) process: ComponentExportIndex,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Compiles a component, or reads back what was compiled before. `name` is what errors call it: the path that the user
    /// wrote, or a shipped plugin's name.
    pub fn load(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Plugin, Error> {
        let fail = |message: String| Error::new(Kind::Load, name, message);
        check_header(bytes).map_err(fail)?;
        let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (component, compiled) = component(engine, &sha256, bytes)
            .map_err(|error| fail(format!("is damaged, or uses what this host does not have: {error:#}")))?;
        let imports = grantable_imports(engine, &component).map_err(fail)?;
        let world = world(engine, &component).map_err(fail)?;
        let interface = match world {
            World::Filter => abi::FILTERING,
            World::Transform => abi::TRANSFORMING,
        };
        let export = |function: &str| {
            let interface = component.get_export_index(None, interface);
            interface.and_then(|interface| component.get_export_index(Some(&interface), function))
        };
        let missing = || fail(format!("exports {interface} without `open` and `process`: build it anew with the SDK"));
        let (open, process) = export("open").zip(export("process")).ok_or_else(missing)?;
        let mut linker = Linker::new(engine.wasmtime());
        let link = |linker: &mut Linker<Host>| {
            add_imports(linker)?;
            if imports.is_empty() { Ok(()) } else { add_wasi(linker) }
        };
        link(&mut linker).map_err(|error| fail(format!("got no imports: {error:#}")))?;
        let pre = linker
            .instantiate_pre(&component)
            .map_err(|error| fail(format!("imports something in another shape than this host has: {error:#}")))?;
        Ok(Plugin {
            name: name.to_owned(),
            sha256,
            compiled,
            imports,
            world,
            engine: engine.clone(),
            pre,
            open,
            process,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn world(&self) -> World {
        self.world
    }

    /// The digest of the component's bytes, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// False where it was read back from the [`Cache`](crate::Cache).
    pub fn was_compiled(&self) -> bool {
        self.compiled
    }

    /// What it imports beside `log` and `metrics`: each is there only where it is granted.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Also says whether it had to be compiled.
fn component(engine: &Engine, sha256: &str, bytes: &[u8]) -> wasmtime::Result<(Component, bool)> {
    let kept = engine.cache().map(|cache| (cache, Key::new(sha256, engine.wasmtime())));
    if let Some(component) = kept.as_ref().and_then(|(cache, key)| cache.read(key, engine.wasmtime())) {
        return Ok((component, false));
    }
    let component = Component::new(engine.wasmtime(), bytes)?;
    if let Some((cache, key)) = kept {
        // A folder that is full or read-only costs the next start some time and nothing else.
        let _ = cache.keep(&key, &component);
    }
    Ok((component, true))
}

/// Tells apart what people take for a component.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            Err("is a core module, not a component: link it with `wasm-component-ld`, or pass it through \
                 `wasm-tools component new`"
                .to_owned())
        }
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', ..] => Err("is WebAssembly of a version that this host does not know".to_owned()),
        [b'(', ..] => Err("is WebAssembly text: build the binary form".to_owned()),
        [] => Err("is empty: was its build cut short?".to_owned()),
        _ => Err("is not WebAssembly: is it the file that the plugin's build made, ending in .wasm?".to_owned()),
    }
}

/// The imports that need a grant. One that nothing grants is refused.
fn grantable_imports(engine: &Engine, component: &Component) -> Result<Vec<String>, String> {
    let always = [abi::TYPES, abi::LOG, abi::METRICS];
    let of = component.component_type();
    let imports = of.imports(engine.wasmtime()).map(|(name, _)| name.to_owned());
    let imports: Vec<String> = imports.filter(|name| !always.contains(&name.as_str())).collect();
    let Some(name) = imports.iter().find(|name| givers(name).is_empty()) else { return Ok(imports) };
    Err(match name.split_once(':') {
        Some(("tidemill", _)) => {
            format!(
                "imports `{name}`, which this host does not have: it has {}: build it with an SDK of that version",
                always.join(", ")
            )
        }
        Some(("wasi", _)) => {
            format!("imports `{name}`, and nothing grants that: build it without (Rust: target wasm32-unknown-unknown)")
        }
        _ => {
            format!("imports `{name}`, and nothing grants that: a plugin may import {} and {}", abi::LOG, abi::METRICS)
        }
    })
}

fn world(engine: &Engine, component: &Component) -> Result<World, String> {
    let of = component.component_type();
    let exports: Vec<String> = of.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
    let has = |interface: &str| exports.iter().any(|export| export == interface);
    match (has(abi::FILTERING), has(abi::TRANSFORMING)) {
        (true, false) => Ok(World::Filter),
        (false, true) => Ok(World::Transform),
        (true, true) => Err("is a filter and a transform at once: a component is one of them".to_owned()),
        (false, false) => {
            let exports = if exports.is_empty() { "nothing".to_owned() } else { format!("`{}`", exports.join("`, `")) };
            let known = exports.contains(abi::PACKAGE);
            let why =
                if known { "is of a version of the contract that this host does not have" } else { "is no plugin" };
            Err(format!("{why}: it exports {exports}, and {} or {} is needed", abi::FILTERING, abi::TRANSFORMING))
        }
    }
}
