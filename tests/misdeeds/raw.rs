//! Plugins by hand, for what no compiler makes: a filter that keeps every row, and grows its table meanwhile.

use crate::harness::World;

/// Writes `NAME.wasm` into the story's folder. Each call of `process` grows the table by so many elements.
pub(super) fn put_table(world: &World, name: &str, begin: u32, grow: u32) {
    // An answer of zeros: the plan requires nothing, the verdict keeps all.
    let open = "i32 ".repeat(12);
    let text = format!(
        r#"(module
            (memory (export "memory") 16)
            (table $table {begin} funcref)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
            (func (export "tidemill:plugin/filtering@0.1.0#open") (param {open}) (result i32) i32.const 0)
            (func (export "tidemill:plugin/filtering@0.1.0#process") (param i32 i32 i32) (result i32)
                (if (i32.eq (i32.const -1) (table.grow $table (ref.null func) (i32.const {grow}))) (then unreachable))
                i32.const 0))"#
    );
    let core = world.file("core.wasm", wat::parse_str(text).expect("WebAssembly text"));
    let to = world.dir.path().join(format!("{name}.wasm"));
    let mut build = crate::harness::tidemill();
    build.args(["plugin", "build"]).arg(core).args(["--world", "filter", "-o"]).arg(to);
    crate::harness::Outcome::of(build).succeeded();
}
