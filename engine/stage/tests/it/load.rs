//! What is no plugin is refused before any of it runs, with a message that names the file and the way out.

use tidemill_stage::{Plugin, World};

use crate::harness::{ENGINE, component};

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let error = Plugin::load(&ENGINE, "plugins/mine.wasm", bytes).unwrap_err();
    let message = error.to_string();
    assert!(error.is_refused() && message.contains("`plugins/mine.wasm`"), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_plugin_tells_its_world_and_its_digest() {
    for (folder, name, world) in [
        ("shipped", "where", World::Filter),
        ("shipped", "select", World::Transform),
        ("fixtures", "hostile", World::Transform),
    ] {
        let plugin = Plugin::load(&ENGINE, name, &component(folder, name)).unwrap();
        assert_eq!((plugin.name(), plugin.world(), plugin.sha256().len()), (name, world, 64));
    }
}

#[test]
fn what_is_not_wasm_is_refused() {
    refused(b"", &["is empty"]);
    refused(b"#!/bin/sh\n", &["is not WebAssembly"]);
    refused(b"(component)", &["text"]);
    refused(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0], &["is not WebAssembly"]);
}

#[test]
fn a_core_module_is_refused() {
    refused(b"\0asm\x01\0\0\0", &["core module", "wasm-component-ld"]);
}

#[test]
fn a_damaged_component_is_refused() {
    let whole = component("shipped", "select");
    refused(&whole[..whole.len() / 2], &["is damaged"]);
    refused(&whole[..9], &["is damaged"]);
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..20 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut spoilt = whole.clone();
        spoilt[8 + seed as usize % 2000] ^= 1 << (seed >> 40 & 7);
        // Some bits are of a name or a comment: it then is another component, and may be a good one.
        let _ = Plugin::load(&ENGINE, "plugins/mine.wasm", &spoilt);
    }
}

#[test]
fn another_world_is_refused() {
    // The smallest component: it exports nothing.
    refused(b"\0asm\x0d\0\x01\0", &["is no plugin", "exports nothing", "tidemill:plugin/filtering@0.1.0"]);
}

#[test]
fn an_import_that_nobody_granted_is_refused() {
    refused(&component("fixtures", "clock"), &["imports `fixture:clock/wall@1.0.0`", "tidemill:plugin/log@0.1.0"]);
}
