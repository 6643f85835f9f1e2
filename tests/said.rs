//! What plugins say beside their answers, and what becomes of what is too much.

use std::fs;

use crate::harness::World;

#[test]
fn what_was_dropped_and_not_told_yet_is_told_at_the_end() {
    let world = World::new("said_last");
    let path = format!("{}/../../plugins/fixtures/hostile.wasm", env!("CARGO_MANIFEST_DIR"));
    world.file("hostile.wasm", fs::read(path).unwrap());
    world.sql.run("CREATE TABLE rows (id bigint PRIMARY KEY, name text); INSERT INTO rows VALUES (1, 'a')");
    let limits = "{ log_lines: 2000, memory: 16MiB }";
    let stage = format!("{{ plugin: hostile.wasm, config: {{ misdeed: log-flood, rows: [] }}, limits: {limits} }}");
    world.config(&format!("streams:\n  - {{ name: flood, from: public.rows, stages: [{stage}] }}\n"));
    let mut engine = world.start();
    engine.await_log("streaming");
    world.sql.run("INSERT INTO rows VALUES (2, 'b')");
    world.await_documents("flood", |documents| documents.len() == 2);
    engine.signal("TERM");
    assert_eq!(engine.wait(), 0);
    let said = engine.log();
    let lines = said.lines().filter(|line| line.contains("plugin: line ")).count() as u64;
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("`limits.log_lines`")).collect();
    let dropped = warnings.iter().map(|line| {
        assert!(
            ["WARN", "stream=\"flood\"", "hostile.wasm", "limit=2000"].iter().all(|word| line.contains(word)),
            "{line}"
        );
        let (_, count) = line.split_once("dropped=").unwrap();
        count.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    let dropped: Vec<u64> = dropped.collect();
    // Once at once, and once at the end, with all that came between.
    assert_eq!((dropped.len(), dropped.first()), (2, Some(&8000)), "{said}");
    assert_eq!(lines + dropped.iter().sum::<u64>(), 2 * 10_000, "{said}");
    world.drop_slot();
}
