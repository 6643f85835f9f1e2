//! Components: see `fuzz_component`. Bytes that do not begin as WebAssembly are choices by which a filter or a
//! transform with any code is made.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Unstructured;
use wasm_smith::{Config, Module};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, WorldId};

static CONTRACT: LazyLock<(Resolve, [WorldId; 2])> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1/plugin.wit");
    let (package, _) = resolve.push_path(path).expect("the contract");
    let worlds = ["filter", "transform"].map(|world| resolve.select_world(&[package], Some(world)).expect("its world"));
    (resolve, worlds)
});

/// A module with the functions that the contract wants of one of its worlds, and whatever else.
fn plugin(data: &[u8]) -> Option<Vec<u8>> {
    let (resolve, worlds) = &*CONTRACT;
    let (choice, data) = data.split_first()?;
    let world = &worlds[usize::from(*choice & 1)];
    let exports = dummy_module(resolve, *world, ManglingAndAbi::Standard32);
    let config = Config { exports: Some(exports), max_imports: 0, allow_start_export: true, ..Config::default() };
    let mut module = Module::new(config, &mut Unstructured::new(data)).ok()?;
    module.ensure_termination(10_000).ok()?;
    let mut module = module.to_bytes();
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8).ok()?;
    ComponentEncoder::default().module(&module).ok()?.encode().ok()
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"\0asm") {
        tidemill_stage::testing::fuzz_component(data);
    } else if let Some(component) = plugin(data) {
        tidemill_stage::testing::fuzz_component(&component);
    }
});
