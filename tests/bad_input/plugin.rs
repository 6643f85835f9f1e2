//! Conditions, plugins, and what they refuse. None of it reaches a row.

use std::os::unix::fs::PermissionsExt;

use super::{PRODUCTS, both_refuse, is_mended, shop};
use crate::harness::{Outcome, World};

/// A condition that is wrong; then the right one works.
fn wrong_condition(story: &str, condition: &str, words: &[&str]) {
    let world = shop(story);
    world.config(&PRODUCTS.replace("where: in_stock = true", &format!("where: \"{condition}\"")));
    both_refuse(&world, 1, words);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_condition_that_names_no_column() {
    wrong_condition("where_column", "in_stok = true", &["products", "where", "in_stok", "in_stock"]);
}

#[test]
fn a_condition_that_does_not_parse() {
    wrong_condition("where_parse", "in_stock = = true", &["products", "where", "="]);
    wrong_condition("where_open", "(in_stock = true", &["products", "where", ")"]);
}

#[test]
fn a_condition_that_compares_a_boolean_with_a_number() {
    wrong_condition("where_types", "in_stock = 1", &["products", "where", "in_stock", "(bool) and this (int4)"]);
}

#[test]
fn a_column_that_is_not_there() {
    let world = shop("columns");
    world.config(&PRODUCTS.replace("[name, price, in_stock]", "[name, prise, in_stock]"));
    both_refuse(&world, 1, &["products", "prise", "price"]);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

fn with_plugin(world: &World, stage: &str) {
    world.config(&format!("{PRODUCTS}\n    stages: [{{ plugin: {stage} }}]"));
}

/// A plugin's file that is none; then the stream without it works.
fn wrong_file(story: &str, bytes: &[u8], words: &[&str]) {
    let world = shop(story);
    world.file("mine.wasm", bytes);
    with_plugin(&world, "mine.wasm");
    let words = [&["mine.wasm"], words].concat();
    both_refuse(&world, 1, &words);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_plugin_file_that_is_not_there() {
    let world = shop("plugin_missing");
    with_plugin(&world, "plugins/enrich.wasm");
    both_refuse(&world, 1, &["plugins/enrich.wasm", "no such file|not there|missing"]);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_plugin_file_that_is_not_wasm() {
    wrong_file("plugin_not_wasm", b"#!/bin/sh\necho hello\n", &["not WebAssembly"]);
}

#[test]
fn a_core_module() {
    wrong_file("plugin_core", b"\0asm\x01\0\0\0", &["core module", "component"]);
}

#[test]
fn a_component_of_another_world() {
    // The smallest component: it exports nothing.
    wrong_file("plugin_world", b"\0asm\x0d\0\x01\0", &["no plugin", "tidemill:plugin"]);
}

#[test]
fn an_import_that_is_not_granted() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/clock.wasm");
    let clock = std::fs::read(fixture).expect("a plugin of the tests");
    wrong_file("plugin_import", &clock, &["imports `fixture:clock/wall@1.0.0`", "grant"]);
}

#[test]
fn what_a_plugin_imports_has_to_be_granted() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/outsider.wasm");
    let world = shop("plugin_grants");
    world.file("mine.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    with_plugin(&world, "mine.wasm, config: { do: nothing }");
    both_refuse(
        &world,
        1,
        &["mine.wasm", "imports `wasi:", "grants: { clocks: {}, dirs: [], env: {}, random: {}, stdio: {} }"],
    );
    with_plugin(&world, "mine.wasm, config: { do: nothing }, grants: { clock: {} }");
    both_refuse(&world, 2, &["grants", "`clock`", "clocks"]);
    let grants = "grants: { env: { LANG: de }, dirs: [{ path: . }], clocks: {}, random: {}, stdio: {} }";
    with_plugin(&world, &format!("mine.wasm, config: {{ do: env }}, {grants}"));
    both_refuse(&world, 1, &["mine.wasm", "(\"LANG\", \"de\")"]);
    with_plugin(&world, &format!("mine.wasm, config: {{ do: nothing }}, {grants}"));
    let said = world.tidemill(&["check"]).succeeded().stdout;
    assert!(said.contains("`dirs`, `clocks`, `random`") && said.contains("may give other documents"), "{said}");
    is_mended(&world);
    world.drop_slot();
}

/// What a row was is told only by a full old image: the statement that gives one is printed, where that is what is missing.
#[test]
fn a_column_of_which_no_update_tells_what_it_was() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/fixtures/splitter.wasm");
    let world = shop("plugin_old");
    world.file("mine.wasm", std::fs::read(fixture).expect("a plugin of the tests"));
    with_plugin(&world, "mine.wasm, config: { old: [price] }");
    let sql = "ALTER TABLE \"public\".\"products\" REPLICA IDENTITY FULL;";
    both_refuse(&world, 1, &["mine.wasm", "does not tell what `price` was", sql]);
    let script = world.tidemill(&["check", "--sql"]).stdout;
    assert!(script.contains(sql), "{script}");
    with_plugin(&world, "mine.wasm, config: { old: [prise] }");
    let said = world.tidemill(&["check"]);
    said.refused(1, &["mine.wasm", "does not tell what `prise` was"]);
    assert!(!said.to_string().contains("ALTER TABLE"), "{said}");
    with_plugin(&world, "mine.wasm, config: { old: [price] }");
    world.sql.run(sql);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_plugin_of_another_digest() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/shipped/where.wasm");
    let world = shop("plugin_digest");
    world.file("mine.wasm", std::fs::read(shipped).expect("the shipped plugin"));
    with_plugin(&world, &format!("mine.wasm, sha256: {}, config: {{ predicate: in_stock }}", "ab".repeat(32)));
    both_refuse(&world, 1, &["mine.wasm", "sha256"]);
    let path = world.dir.path().join("mine.wasm");
    let digest = format!("SELECT encode(sha256(pg_read_binary_file('{}')), 'hex')", path.display());
    let digest = world.sql.one(&digest);
    with_plugin(&world, &format!("mine.wasm, sha256: {digest}, config: {{ predicate: in_stock }}"));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_folder_for_compiled_plugins_that_others_can_write() {
    let world = shop("plugin_cache");
    let cache = world.dir.path().join("cache");
    let folder = cache.join("components");
    std::fs::create_dir_all(&folder).expect("the story's folder is writable");
    let check = |mode| {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let mut command = world.command(&["check"]);
        command.env("CACHE_DIRECTORY", &cache);
        let outcome = Outcome::of(command);
        let kept = std::fs::read_dir(&folder).expect("it is a folder").count();
        (outcome.succeeded().stderr, kept)
    };
    let (said, kept) = check(0o777);
    assert!(said.contains("compiled at each start") && said.contains("cache/components is open to others"), "{said}");
    assert_eq!(kept, 0);
    assert_eq!(check(0o700), (String::new(), 2), "`where` and `select`");
    world.drop_slot();
}

#[test]
fn a_shipped_plugin_that_there_is_not() {
    let world = shop("plugin_name");
    with_plugin(&world, "wher");
    both_refuse(&world, 2, &["wher", "where"]);
    with_plugin(&world, "where, config: { predicate: in_stock }");
    is_mended(&world);
    world.drop_slot();
}
