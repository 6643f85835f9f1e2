//! Components of each version of the contract, as they were built when it was made. They are not built anew: that they go on
//! running is what is tested.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidemill_stage::{Grants, Identity, Limits, Plugin, Stage, World};

use crate::digests::hex;
use crate::harness::{ENGINE, batch, chain, check, ints, root, text_column, texts};

/// The files, whose bytes stay.
const KEPT: [(&str, &str); 2] = [
    ("0.1/filter", "1a9eac032a24fcc592a960d3693eac32d7343798a41bc83a6aabcb94f68c230a"),
    ("0.1/transform", "329a10fc7a731044f9252439b882d3767d47adb58dafe3edb527756327a59738"),
];

fn kept(name: &str, config: serde_json::Value) -> Stage {
    let bytes = std::fs::read(root().join(format!("plugins/kept/{name}.wasm"))).unwrap();
    let (_, digest) = KEPT.iter().find(|(kept, _)| *kept == name).unwrap();
    assert_eq!(hex(Sha256::digest(&bytes)), *digest, "{name} is not the component that was kept");
    let plugin = Arc::new(Plugin::load(&ENGINE, name, &bytes).unwrap());
    let grants = Grants { identity: Some(Identity { index: None }), ..Grants::default() };
    Stage { name: name.to_owned(), plugin, config, limits: Limits::default(), grants }
}

#[test]
fn components_of_0_1_run() {
    let filter = kept("0.1/filter", serde_json::json!({ "word": "shoe" }));
    let transform = kept("0.1/transform", serde_json::json!({ "split": "tags", "provenance": true, "list": "tags" }));
    assert_eq!((filter.plugin.world(), transform.plugin.world()), (World::Filter, World::Transform));
    let names = texts(&[Some("red shoe"), Some("chair"), None, Some("shoe")]);
    let tags = texts(&[Some("a,b"), Some("c"), Some("d"), None]);
    let rows = batch(&[("id", 20, ints(1..5)), ("name", 25, names), ("tags", 25, tags)]);
    let staged = chain(&[filter, transform]).run(rows).unwrap();
    check(&staged);
    assert_eq!(staged.of, [0, 0]);
    assert_eq!(text_column(&staged, "part"), ["a", "b"]);
    assert_eq!(text_column(&staged, "seen_op"), ["insert", "insert"]);
    assert_eq!(text_column(&staged, "change_table"), ["products", "products"]);
}
