//! The table `items` and its stream, which many stories begin with.

use super::World;

pub(crate) const ITEMS: &str = "streams: [{ name: items, from: public.items, index: items }]";

/// A world with this many rows, all named `first`.
pub(crate) fn items(story: &str, rows: u32) -> World {
    let world = World::new(story);
    world.sql.run(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         INSERT INTO items SELECT n, 'first' FROM generate_series(1, {rows}) n"
    ));
    world.config(ITEMS);
    world
}
