//! Tables that cannot be followed as they are, and a stream that is no longer what it was.

use serde_json::json;
use tidemill::private_postgres::{Options, PrivatePostgres};

use super::{PRODUCTS, both_refuse, documents_are_right, furnish, is_mended, shop};
use crate::harness::{PATIENCE, World, await_some};

#[test]
fn a_table_that_is_not_there() {
    let world = shop("no_table");
    world.config(&PRODUCTS.replace("from: public.products", "from: public.product"));
    both_refuse(&world, 1, &["public.product`", "did you mean", "public.products"]);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_view() {
    let world = shop("view");
    world.sql.run("CREATE VIEW cheap AS SELECT * FROM products WHERE price < 10");
    world.config(&PRODUCTS.replace("from: public.products", "from: public.cheap"));
    both_refuse(&world, 1, &["public.cheap", "view", "table"]);
    world.config(PRODUCTS);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_table_without_a_primary_key() {
    let world = World::new("no_key");
    world.sql.run(
        "CREATE TABLE products (sku text, name text, price numeric, in_stock boolean);
         ALTER TABLE products REPLICA IDENTITY FULL;
         INSERT INTO products VALUES ('1', 'lamp', 12.50, true), ('2', 'chair', 99.90, false), ('3', 'cup', 3, true)",
    );
    world.config(PRODUCTS);
    both_refuse(&world, 1, &["products", "primary key", "id"]);
    world.config(&format!("{PRODUCTS}\n    id: \"{{sku}}\""));
    is_mended(&world);
    world.drop_slot();
}

/// Publishing it would make the application's updates fail.
#[test]
fn a_table_without_replica_identity() {
    let world = World::new("no_identity");
    world.sql.run(
        "CREATE TABLE products (sku text, name text, price numeric, in_stock boolean);
         INSERT INTO products VALUES ('1', 'lamp', 12.50, true), ('2', 'chair', 99.90, false), ('3', 'cup', 3, true)",
    );
    world.config(&format!("{PRODUCTS}\n    id: \"{{sku}}\""));
    both_refuse(&world, 1, &["products", "replica identity", "ALTER TABLE", "REPLICA IDENTITY FULL"]);
    world.sql.run("UPDATE products SET name = 'mug' WHERE sku = '3'; UPDATE products SET name = 'cup' WHERE sku = '3'");
    world.sql.run("ALTER TABLE products REPLICA IDENTITY FULL");
    is_mended(&world);
    world.drop_slot();
}

/// Where the replica identity cannot tell the old place of a document, an update could not remove it.
#[test]
fn an_id_that_the_replica_identity_does_not_tell() {
    let world = shop("id_untold");
    world.config(&format!("{PRODUCTS}\n    id: \"{{name}}\""));
    both_refuse(&world, 1, &["products", "name", "ALTER TABLE", "REPLICA IDENTITY FULL"]);
    world.sql.run("ALTER TABLE products REPLICA IDENTITY FULL");
    world.catch_up();
    world.sql.run("UPDATE products SET name = 'mug' WHERE id = 3");
    world.catch_up();
    assert_eq!(world.documents("products").keys().collect::<Vec<_>>(), ["lamp", "mug"]);
    world.drop_slot();
}

#[test]
fn a_standby_that_every_commit_waits_for() {
    // No commit of the story may wait for the standby that there is not.
    let settings = vec![("synchronous_commit".to_owned(), "local".to_owned())];
    let postgres = PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres");
    let world = furnish(World::with_postgres("synchronous", postgres));
    let other_name = format!("{}?application_name=Mill", world.url());
    for (names, url) in [("*", world.url()), ("tidemill", world.url()), ("ANY 1 (a, \"Mill\")", other_name)] {
        world.sql.run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        world.sql.run("SELECT pg_reload_conf()");
        super::configure_source(&world, &url);
        let seen = await_some(PATIENCE, || (world.sql.one("SHOW synchronous_standby_names") == names).then_some(()));
        assert!(seen.is_some(), "{names} is not in force");
        both_refuse(&world, 1, &["synchronous_standby_names", "standby"]);
    }
}

#[test]
fn a_streams_plan_changed() {
    let world = shop("plan");
    world.catch_up();
    let before = world.documents("products");
    let changed = PRODUCTS.replace("in_stock = true", "price < 50").replace("[name, price, in_stock]", "[name]");
    world.config(&changed);
    both_refuse(&world, 1, &["products", "--backfill-changed", "--keep-old-documents"]);
    assert_eq!(world.documents("products"), before);

    // The documents that are there stay as they are; what comes is made by the new plan.
    world.tidemill(&["run", "--until-caught-up", "--keep-old-documents"]).succeeded();
    assert_eq!(world.documents("products"), before);
    world.sql.run("UPDATE products SET name = 'mug' WHERE id = 3");
    world.catch_up();
    assert_eq!(world.documents("products")["3"], json!({ "name": "mug" }));

    // And back: what no longer belongs goes, what does is made anew.
    world.sql.run("UPDATE products SET name = 'cup' WHERE id = 3; UPDATE products SET price = 20 WHERE id = 2");
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.config(PRODUCTS);
    world.tidemill(&["run", "--until-caught-up", "--backfill-changed"]).succeeded();
    documents_are_right(&world);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_stream_that_a_command_does_not_find() {
    let world = shop("no_stream");
    world.catch_up();
    for command in ["pause", "resume", "backfill"] {
        world.tidemill(&[command, "product"]).refused(2, &["`product`", "`products`"]);
    }
    world.drop_slot();
}
