//! The way into the database.

use tidemill::private_postgres::{Options, PrivatePostgres, ServerTls, find_bin};

use super::{PRODUCTS, as_role, both_refuse, configure_source, furnish, is_mended, owner, role, shop};
use crate::harness::World;
use crate::harness::pooler::{Manner, Pooler};
use crate::harness::tls::Authority;

#[test]
fn wrong_password() {
    let world = shop("password");
    let role = owner(&world, "REPLICATION");
    configure_source(&world, &world.url_as(&role, "hunter2"));
    both_refuse(&world, 1, &[&role, "password"]);
    for args in [&["check"][..], &["run"]] {
        let outcome = world.tidemill(args);
        outcome.refused(1, &["password"]);
        assert!(!outcome.to_string().contains("hunter2"), "{outcome}");
    }
    as_role(&world, &role);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_database_that_is_not_there() {
    let world = shop("no_database");
    configure_source(&world, &format!("{}_not", world.url()));
    both_refuse(&world, 1, &[&format!("{}_not", world.name)]);
    configure_source(&world, &world.url());
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn no_replication_privilege() {
    let world = shop("no_replication");
    let role = owner(&world, "");
    as_role(&world, &role);
    both_refuse(&world, 1, &[&role, "ALTER ROLE", "REPLICATION"]);
    world.await_no_slot();
    world.sql.run(&format!("ALTER ROLE {role} REPLICATION"));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn the_tables_belong_to_another_role() {
    let world = shop("not_owner");
    let role = role(&world, "REPLICATION");
    world.sql.run(&format!("GRANT SELECT ON products TO {role}"));
    as_role(&world, &role);
    both_refuse(&world, 1, &["products", "postgres", "check --sql"]);

    let before = world.made();
    let script = world.tidemill(&["check", "--sql"]).succeeded().stdout;
    assert_eq!(world.made(), before, "the script is printed, not run");
    assert!(script.contains("CREATE PUBLICATION") && !script.contains("GRANT"), "{script}");
    world.sql.run(&script);
    is_mended(&world);
    world.drop_slot();
}

/// The script is the owner's to run, with a client of theirs, twice; a superuser's lines in it are told from theirs.
#[test]
fn a_script_for_the_owner() {
    let world = shop("owners_script");
    let (role, name) = (role(&world, ""), world.name.clone());
    let owner = format!("{name}_owner");
    world.sql.run(&format!(
        "CREATE ROLE {owner} LOGIN PASSWORD '{owner}'; GRANT CREATE ON DATABASE {name} TO {owner};
         CREATE SCHEMA more AUTHORIZATION {owner}; CREATE TABLE more.bare (id int); ALTER TABLE more.bare OWNER TO {owner};
         ALTER TABLE products OWNER TO {owner}"
    ));
    let streams = |from: &str| {
        let more = format!("\n  - {{ name: bare, from: {from}, id: \"{{id}}\", index: bare }}");
        let (source, sink) = (world.url_as(&role, &role), &world.index.url);
        world.config_with(&format!("url: {source}"), &format!("url: {sink}"), &format!("{PRODUCTS}{more}"));
    };
    streams("more.bare");
    both_refuse(&world, 1, &["GRANT SELECT"]);
    let run_as = |user: &str| {
        let script = world.tidemill(&["check", "--sql"]).succeeded().stdout;
        world.file("script.sql", &script);
        for _ in 0..2 {
            let path = world.dir.path().join("script.sql");
            psql(&world.url_as(user, user), &path);
        }
        script
    };
    let script = run_as(&owner);
    for words in
        ["GRANT USAGE", "GRANT SELECT", "REPLICA IDENTITY FULL", "CREATE PUBLICATION", "ALTER ROLE", "superuser"]
    {
        assert!(script.contains(words), "{words}: {script}");
    }
    // What was a superuser's is all that is left.
    let outcome = world.tidemill(&["check", "--sql"]).succeeded();
    assert!(outcome.stdout.contains("ALTER ROLE") && !outcome.stdout.contains("GRANT"), "{outcome}");
    world.sql.run(&outcome.stdout);
    is_mended(&world);
    let outcome = world.tidemill(&["check", "--sql"]).succeeded();
    assert!(outcome.stdout.lines().all(|line| line.starts_with("--")), "{outcome}");

    // A table more: the publication has our mark and another owner.
    world.sql.run(&format!("CREATE TABLE more.new (id int PRIMARY KEY); ALTER TABLE more.new OWNER TO {owner}"));
    streams("more.new");
    world.tidemill(&["run", "--until-caught-up"]).refused(1, &["more.new"]);
    run_as(&owner);
    is_mended(&world);

    let outcome = world.tidemill(&["teardown", "--yes"]).succeeded();
    assert!(outcome.stdout.contains(&format!("belongs to `{owner}`")), "{outcome}");
    assert!(outcome.stdout.contains("DROP PUBLICATION"), "{outcome}");
    world.await_no_slot();
    assert!(!world.dir.path().join("tidemill.db").exists());
    is_mended(&world);
    world.drop_slot();
}

/// Verdict and message of each line of `check`.
fn findings(world: &World) -> Vec<(String, String)> {
    let answer = world.tidemill(&["check", "--json"]).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = answer["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().map(|finding| (text(&finding["verdict"]), text(&finding["message"]))).collect()
}

#[track_caller]
fn psql(url: &str, script: &std::path::Path) {
    let program = find_bin().expect("a Postgres").join("psql");
    let output = std::process::Command::new(program)
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(script)
        .arg(url)
        .output()
        .expect("psql runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn no_select_on_a_table() {
    let world = shop("no_select");
    let role = role(&world, "REPLICATION");
    world.sql.run(&format!("CREATE PUBLICATION {} FOR TABLE products", world.name));
    as_role(&world, &role);
    both_refuse(&world, 1, &[&role, "products", "GRANT SELECT"]);
    world.sql.run(&format!("GRANT SELECT ON products TO {role}"));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn row_level_security_would_hide_rows() {
    let world = shop("row_security");
    let role = role(&world, "REPLICATION");
    world.sql.run(&format!(
        "CREATE PUBLICATION {} FOR TABLE products; GRANT SELECT ON products TO {role};
         ALTER TABLE products ENABLE ROW LEVEL SECURITY; CREATE POLICY cheap ON products USING (price < 10)",
        world.name
    ));
    as_role(&world, &role);
    both_refuse(&world, 1, &["row-level security", "products", "BYPASSRLS"]);
    world.sql.run(&format!("ALTER ROLE {role} BYPASSRLS"));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_pooler_in_between() {
    for manner in [Manner::Refuses, Manner::Ignores] {
        let world = shop("pooler");
        let pooler = Pooler::before(&world.postgres_address(), manner);
        configure_source(&world, &world.url_at(&pooler.address));
        both_refuse(&world, 1, &["pooler", "source.url"]);
        world.await_no_slot();
        configure_source(&world, &world.url());
        is_mended(&world);
        world.drop_slot();
    }
}

#[test]
fn a_server_that_is_not_there() {
    let world = shop("no_server");
    let address = format!("127.0.0.1:{}", crate::harness::search_server::free_port());
    configure_source(&world, &world.url_at(&address));
    both_refuse(&world, 1, &[&address]);
    // Somebody who does not wait for the end waits for the database instead.
    let mut engine = world.start();
    engine.await_log("127.0.0.1");
    assert!(engine.runs());
    assert_eq!(engine.stop(), 0);
    configure_source(&world, &world.url());
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn the_wal_level_is_not_logical() {
    let settings = vec![("wal_level".to_owned(), "replica".to_owned())];
    let postgres = PrivatePostgres::start(Options { settings, ..Options::default() }).expect("a private Postgres");
    let world = furnish(World::with_postgres("wal_level", postgres));
    both_refuse(&world, 1, &["wal_level", "replica", "ALTER SYSTEM SET wal_level = logical"]);

    // What else is wrong is told with it, and what is right.
    let role = role(&world, "");
    as_role(&world, &role);
    let outcome = world.tidemill(&["check"]);
    outcome.refused(1, &["wal_level", "ALTER ROLE"]);
    for words in ["GRANT SELECT", "✓ stream products: plugin `where` compiled", "✓ sink main: reached"] {
        assert!(outcome.to_string().contains(words), "{words}: {outcome}");
    }
    let script = world.tidemill(&["check", "--sql"]).succeeded().stdout;
    world.file("script.sql", &script);
    psql(&world.url(), &world.dir.path().join("script.sql"));
    assert!(script.contains("\n-- ALTER SYSTEM SET wal_level"), "{script}");
    let wrong: Vec<_> = findings(&world).into_iter().filter(|(verdict, _)| verdict == "wrong").collect();
    assert!(wrong.len() == 1 && wrong[0].1.contains("wal_level"), "{wrong:?}");
}

#[test]
fn the_databases_certificate_is_not_trusted() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::make(dir.path());
    let tls = Some(ServerTls { cert: authority.cert.clone(), key: authority.key.clone(), ca: None });
    let postgres = PrivatePostgres::start(Options { tls, ..Options::default() }).expect("a private Postgres");
    let world = furnish(World::with_postgres("source_tls", postgres));
    let strict = format!("{}?sslmode=verify-full", world.url());
    configure_source(&world, &strict);
    both_refuse(&world, 1, &["certificate", "sslrootcert"]);
    configure_source(&world, &format!("{strict}&sslrootcert={}", authority.ca.display()));
    is_mended(&world);
}
