//! What is wrong is said, with its name and the way out; nothing is lost or made by it; and once it is mended the same
//! command does its work.

mod database;
mod file;
mod index;
mod plugin;
mod sink;
mod slot;
mod tables;

use serde_json::json;

use crate::harness::World;

/// The streams of a story that does not say otherwise.
const PRODUCTS: &str = "streams:
  - name: products
    from: public.products
    where: in_stock = true
    columns: [name, price, in_stock]
    index: products";

const TABLE: &str = "CREATE TABLE products (id bigint PRIMARY KEY, name text, price numeric, in_stock boolean);
    INSERT INTO products VALUES (1, 'lamp', 12.50, true), (2, 'chair', 99.90, false), (3, 'cup', 3, true)";

fn shop(story: &str) -> World {
    furnish(World::new(story))
}

fn furnish(world: World) -> World {
    world.sql.run(TABLE);
    world.config(PRODUCTS);
    world
}

/// `check` and `run` refuse in the same words, and nothing is made or lost.
#[track_caller]
fn both_refuse(world: &World, code: i32, words: &[&str]) {
    let before = world.made();
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        world.tidemill(args).refused(code, words);
        assert_eq!(world.made(), before, "after {args:?}");
    }
}

/// What `check` passes, `run` starts; and then the documents are right.
#[track_caller]
fn is_mended(world: &World) {
    world.tidemill(&["check"]).succeeded();
    world.catch_up();
    documents_are_right(world);
}

#[track_caller]
fn documents_are_right(world: &World) {
    let lamp = json!({ "name": "lamp", "price": 12.50, "in_stock": true });
    let cup = json!({ "name": "cup", "price": 3, "in_stock": true });
    assert_eq!(world.documents("products"), [("1".into(), lamp), ("3".into(), cup)].into());
}

/// A role of the story's own, with its name as password; gives the name. Roles are the whole server's.
fn role(world: &World, attributes: &str) -> String {
    let name = format!("{}_role", world.name);
    world.sql.run(&format!("CREATE ROLE {name} LOGIN PASSWORD '{name}' {attributes}"));
    name
}

/// The role owns the table and may make a publication.
fn owner(world: &World, attributes: &str) -> String {
    let name = role(world, attributes);
    let database = &world.name;
    world.sql.run(&format!("ALTER TABLE products OWNER TO {name}; GRANT CREATE ON DATABASE {database} TO {name}"));
    name
}

/// Writes the configuration with another role as the source's user.
fn as_role(world: &World, role: &str) {
    configure_source(world, &world.url_as(role, role));
}

fn configure_source(world: &World, url: &str) {
    world.config_with(&format!("url: {url}"), &format!("url: {}", world.index.url), PRODUCTS);
}
