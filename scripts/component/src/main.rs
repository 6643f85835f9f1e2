//! What `wasm-tools component embed` and `component new` do, for `scripts/components.sh`.
//!
//! `component WIT CORE ADAPTER OUT` makes a component of a core module that imports `wasi_snapshot_preview1`: these imports are
//! answered inside the component by ADAPTER, a core module as text. Which of the contract's worlds it is for is seen by what it
//! exports. `component --wat TEXT OUT` only makes a module of its text.

use std::error::Error;
use std::{env, fs};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--wat", text, out] => fs::write(out, wat::parse_file(text)?)?,
        [wit, core, adapter, out] => fs::write(out, component(wit, fs::read(core)?, &wat::parse_file(adapter)?)?)?,
        _ => return Err("usage: component WIT CORE ADAPTER OUT, or component --wat TEXT OUT".into()),
    }
    Ok(())
}

fn component(wit: &str, mut module: Vec<u8>, adapter: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let exports = |interface: &str| module.windows(interface.len()).any(|at| at == interface.as_bytes());
    let world = match (exports("tidemill:plugin/filtering@"), exports("tidemill:plugin/transforming@")) {
        (true, false) => "filter",
        (false, true) => "transform",
        _ => return Err("the module exports neither a filter nor a transform, or both".into()),
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let encoder = ComponentEncoder::default().validate(true).module(&module)?;
    Ok(encoder.adapter("wasi_snapshot_preview1", adapter)?.encode()?)
}
