//! From a core module to a component: what `wasm-tools component embed` and `component new` do, without them.

use std::fmt::Display;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use super::{FILES, Kind};
use crate::error::{Error, Result};

/// A core module that answers, inside the component, what another core module imports under a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adapter {
    pub(super) imports: &'static str,
    pub(super) module: &'static [u8],
}

pub(super) fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

/// Makes a component out of a core module. What `wit-bindgen` made says itself of which world it is; of another the caller
/// has to know it.
pub(super) fn component(core: &[u8], world: Option<Kind>, adapters: &[Adapter]) -> Result<Vec<u8>> {
    let mut module = core.to_vec();
    if let Some(world) = world {
        let (resolve, package) = contract();
        let world = resolve.select_world(&[package], Some(world.name())).map_err(fail)?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(fail)?;
    }
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).map_err(fail)?;
    for adapter in adapters {
        encoder = encoder.adapter(adapter.imports, adapter.module).map_err(fail)?;
    }
    let component = encoder.encode().map_err(fail)?;
    if world.is_none() && !exports(&component) {
        return Err(Error::usage(
            "this core module does not say of which world it is: give `--world filter` or `--world transform`",
        ));
    }
    Ok(component)
}

fn fail(error: impl Display) -> Error {
    Error::failed(format!("the core module makes no component: {error:#}"))
}

/// Of which world a core module is, by the functions that it exports; none where it is of no world, or of two.
pub(super) fn world_of(core: &[u8]) -> Option<Kind> {
    let payloads = wasmparser::Parser::new(0).parse_all(core).flatten();
    let sections = payloads.filter_map(|payload| match payload {
        wasmparser::Payload::ExportSection(section) => Some(section),
        _ => None,
    });
    let names: Vec<&str> = sections.flatten().flatten().map(|export| export.name).collect();
    let has = |interface: &str| names.iter().any(|name| name.starts_with(interface));
    match (has("tidemill:plugin/filtering@"), has("tidemill:plugin/transforming@")) {
        (true, false) => Some(Kind::Filter),
        (false, true) => Some(Kind::Transform),
        _ => None,
    }
}

/// The newest version of the contract.
fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let texts = FILES.iter().filter(|(path, _)| path.starts_with("wit/") && path.ends_with(".wit"));
    let packages = texts.map(|(path, text)| {
        let text = std::str::from_utf8(text).expect("the contract is text");
        resolve.push_source(path, text).expect("the contract is held to its grammar by the tests")
    });
    let newest = packages.last().expect("the contract is in the binary");
    (resolve, newest)
}

/// Whether a component hands anything out.
fn exports(component: &[u8]) -> bool {
    let payloads = wasmparser::Parser::new(0).parse_all(component);
    payloads.flatten().any(|payload| matches!(payload, wasmparser::Payload::ComponentExportSection(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_that_is_in_the_binary_has_both_worlds() {
        let (resolve, package) = contract();
        for world in [Kind::Filter, Kind::Transform] {
            resolve.select_world(&[package], Some(world.name())).unwrap();
        }
    }

    #[test]
    fn an_empty_core_module_is_no_plugin() {
        let empty = b"\0asm\x01\0\0\0";
        assert!(is_core_module(empty) && !is_core_module(b"\0asm\x0d\0\x01\0"));
        let unknown = component(empty, None, &[]).unwrap_err();
        assert!(unknown.is_usage() && unknown.to_string().contains("--world"), "{unknown}");
        let lacking = component(empty, Some(Kind::Filter), &[]).unwrap_err().to_string();
        assert!(lacking.contains("makes no component") && lacking.contains("filtering"), "{lacking}");
    }
}
