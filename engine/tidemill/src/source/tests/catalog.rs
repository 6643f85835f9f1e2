use tidemill_change::{ElementKind, Kind as ColumnKind, ReplicaIdentity};

use super::server::{Database, own, shared};
use crate::config::TablePattern;
use crate::source::catalog::{self, TableInfo, TableKind};
use crate::source::publication::{self, Actions, Ensured, Wanted};
use crate::source::{Error, Kind, ServerInfo};

async fn tables(db: &Database, include: &[&str], exclude: &[&str]) -> Result<Vec<TableInfo>, Error> {
    let parse = |texts: &[&str]| texts.iter().map(|text| TablePattern::parse(text).unwrap()).collect::<Vec<_>>();
    catalog::tables(&db.sql, &parse(include), &parse(exclude)).await
}

async fn table(db: &Database, name: &str) -> TableInfo {
    tables(db, &[name], &[]).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_table_is_known_as_the_stream_will_show_it() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE TYPE mood AS ENUM ('low', 'high'); CREATE DOMAIN cents AS numeric(10, 2); CREATE DOMAIN money2 AS cents; \
         CREATE DOMAIN moods AS mood[]; CREATE TYPE pair AS (a int, b int); \
         CREATE TABLE t (b text NOT NULL, gone int, a int8, price money2, mood mood, moods moods, prices cents[], pair pair, \
           at timestamp[], tags text[], twice int8 GENERATED ALWAYS AS (a * 2) STORED, small varchar(3), \
           plain text, j jsonb, PRIMARY KEY (a, b) INCLUDE (small)); \
         ALTER TABLE t DROP gone; ALTER TABLE t ALTER plain SET STORAGE PLAIN; INSERT INTO t (a, b) SELECT i, i FROM generate_series(1, 1000) i; ANALYZE t",
    )
    .await;
    let table = table(&db, "t").await;
    let kinds: Vec<_> = table.relation.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("b", ColumnKind::Text),
            ("a", ColumnKind::Int8),
            ("price", ColumnKind::Numeric),
            ("mood", ColumnKind::Text),
            ("moods", ColumnKind::Array(ElementKind::Text)),
            ("prices", ColumnKind::Array(ElementKind::Number)),
            ("pair", ColumnKind::Other),
            ("at", ColumnKind::Other),
            ("tags", ColumnKind::Array(ElementKind::Text)),
            ("small", ColumnKind::Text),
            ("plain", ColumnKind::Text),
            ("j", ColumnKind::Jsonb),
        ]
    );
    assert_eq!((table.primary_key.as_slice(), table.generated.as_slice()), (&[1, 0][..], &["twice".to_owned()][..]));
    let identity: Vec<_> = table.relation.columns.iter().map(|column| column.identity).collect();
    assert_eq!(&identity[..3], [true, true, false]);
    let toastable: Vec<_> = table.columns.iter().map(|column| column.toastable).collect();
    assert_eq!(&toastable[..3], [true, false, true]);
    assert!(!toastable[10] && table.columns[0].not_null && !table.columns[2].not_null);
    assert_eq!((table.columns[9].type_name.as_str(), table.rows), ("character varying(3)", Some(1000)));
    assert!(table.bytes > 8192 && table.owned && table.has_identity && !table.row_security);
}

#[tokio::test]
async fn a_replica_identity_is_there_or_its_statement_is_told() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE bare (x int); \
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); \
         CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING; \
         CREATE TABLE whole (x int, y int); ALTER TABLE whole REPLICA IDENTITY FULL; \
         CREATE TABLE by_index (x int, y int NOT NULL); CREATE UNIQUE INDEX uy ON by_index (y); \
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX uy; \
         CREATE TABLE dropped (x int, y int NOT NULL); CREATE UNIQUE INDEX ud ON dropped (y); \
         ALTER TABLE dropped REPLICA IDENTITY USING INDEX ud; DROP INDEX ud; \
         CREATE TABLE parts (id int PRIMARY KEY, x int) PARTITION BY RANGE (id); \
         CREATE TABLE \"Part 1\" PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE \"Part 1\" REPLICA IDENTITY NOTHING",
    )
    .await;
    for (name, identity, columns) in [
        ("keyed", ReplicaIdentity::Default, Ok(vec![true])),
        ("whole", ReplicaIdentity::Full, Ok(vec![true, true])),
        ("by_index", ReplicaIdentity::Index, Ok(vec![false, true])),
        ("bare", ReplicaIdentity::Default, Err(r#"ALTER TABLE "public"."bare" REPLICA IDENTITY FULL;"#)),
        ("late", ReplicaIdentity::Default, Err(r#""public"."late""#)),
        ("nothing", ReplicaIdentity::Nothing, Err(r#""public"."nothing""#)),
        ("dropped", ReplicaIdentity::Index, Err(r#""public"."dropped""#)),
        ("parts", ReplicaIdentity::Full, Err(r#"ALTER TABLE "public"."Part 1" REPLICA IDENTITY FULL;"#)),
    ] {
        let table = table(&db, name).await;
        assert_eq!(table.relation.replica_identity, identity);
        let found: Vec<_> = table.relation.columns.iter().map(|column| column.identity).collect();
        match (table.require_identity(), columns) {
            (Ok(()), Ok(columns)) => assert_eq!(found, columns, "{name}"),
            (Err(error), Err(sql)) => {
                assert_eq!(error.kind(), Kind::NoReplicaIdentity);
                assert!(error.sql().unwrap().contains(sql), "{error}");
                // What we say does mend it.
                db.run(error.sql().unwrap()).await;
                self::table(&db, name).await.require_identity().unwrap();
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(table(&db, "bare").await.require_primary_key().unwrap_err().kind(), Kind::NoPrimaryKey);
    table(&db, "keyed").await.require_primary_key().unwrap();
}

#[tokio::test]
async fn a_partition_that_comes_later_can_be_updated() {
    let mut db = Database::on(shared()).await;
    let ensure = async |db: &mut Database| {
        let tables = tables(db, &["parts"], &[]).await.unwrap();
        publication::ensure(&mut db.sql, "postgres", wanted(&tables)).await
    };
    // All that is there can be published, and what is attached later could not.
    for (made, key) in [
        ("", "ADD PRIMARY KEY (id)"),
        (", PRIMARY KEY (id) DEFERRABLE", "DROP CONSTRAINT parts_pkey, ADD PRIMARY KEY (id)"),
        (", UNIQUE (id)", "ADD PRIMARY KEY (id)"),
    ] {
        db.run(&format!(
            "CREATE TABLE parts (id int NOT NULL, x int{made}) PARTITION BY RANGE (id); \
             CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
             ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE part_1 REPLICA IDENTITY FULL"
        ))
        .await;
        if made.contains("UNIQUE") {
            db.run(
                "ALTER TABLE parts REPLICA IDENTITY USING INDEX parts_id_key; \
                 ALTER TABLE part_1 REPLICA IDENTITY USING INDEX part_1_id_key",
            )
            .await;
        }
        let error = ensure(&mut db).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoReplicaIdentity, "{made}: {error}");
        assert!(error.to_string().contains(r#"ALTER TABLE "public"."parts" ADD PRIMARY KEY"#), "{error}");
        assert!(publication::inspect(&db.sql, wanted(&[]).name).await.unwrap().is_none());

        db.run(&format!("ALTER TABLE parts {key}")).await;
        assert_eq!(ensure(&mut db).await.unwrap(), Ensured::Created);
        db.run(
            "CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (10) TO (20); \
             CREATE TABLE part_3 (id int NOT NULL, x int); INSERT INTO part_3 VALUES (25, 1); \
             ALTER TABLE parts ATTACH PARTITION part_3 FOR VALUES FROM (20) TO (30); \
             INSERT INTO parts VALUES (5, 1), (15, 1); UPDATE parts SET x = 2; DELETE FROM parts",
        )
        .await;
        assert_eq!(ensure(&mut db).await.unwrap(), Ensured::Kept);
        db.run("DROP TABLE parts; DROP PUBLICATION \"tide \"\"mill\"\"\"").await;
    }
}

#[tokio::test]
async fn tables_are_found_by_name_and_pattern() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE SCHEMA \"Sales\"; CREATE TABLE products (id int); CREATE TABLE \"Sales\".\"odd.name\" (id int); \
         CREATE TABLE \"Sales\".a1 (id int); CREATE TABLE \"Sales\".a2 (id int); CREATE VIEW \"Sales\".a3 AS SELECT 1; \
         CREATE UNLOGGED TABLE \"Sales\".a4 (id int); CREATE MATERIALIZED VIEW mat AS SELECT 1; CREATE SEQUENCE seq; \
         CREATE TABLE parts (id int) PARTITION BY RANGE (id); \
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)",
    )
    .await;
    let names = async |include: &[&str], exclude: &[&str]| {
        let found = tables(&db, include, exclude).await.unwrap();
        found.iter().map(|table| table.relation.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["products"], &[]).await, ["public.products"]);
    assert_eq!(names(&["Sales.a*"], &[]).await, ["Sales.a1", "Sales.a2"]);
    assert_eq!(
        names(&["Sales.*", "public.products"], &["*.a1"]).await,
        ["Sales.a2", "Sales.odd.name", "public.products"]
    );
    assert_eq!(names(&[r#""Sales"."odd.name""#, "*.odd*"], &[]).await, ["Sales.odd.name"]);
    assert_eq!(names(&["public.*"], &[]).await, ["public.parts", "public.products"]);
    assert_eq!(names(&["public.part_1"], &[]).await, ["public.part_1"]);
    assert_eq!(table(&db, "parts").await.kind, TableKind::Partitioned);
    for (name, kind, says) in [
        ("public.product", Kind::TableMissing, "did you mean `public.products`"),
        ("public.zzz", Kind::TableMissing, "`public.zzz` is not there"),
        ("nowhere.*", Kind::TableMissing, "no table is called"),
        ("Sales.a3", Kind::TableKind, "a view"),
        ("Sales.a4", Kind::TableKind, "an unlogged table"),
        ("mat", Kind::TableKind, "a materialized view"),
        ("seq", Kind::TableKind, "a sequence"),
    ] {
        let error = tables(&db, &[name], &[]).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn what_a_role_may_not_read_is_told_with_what_mends_it() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE ROLE reader LOGIN; CREATE SCHEMA closed; CREATE TABLE t (id int PRIMARY KEY, secret text); \
         CREATE TABLE closed.t (id int PRIMARY KEY); GRANT SELECT ON closed.t TO reader; GRANT SELECT (id) ON t TO reader; \
         CREATE TABLE guarded (id int PRIMARY KEY); GRANT SELECT ON guarded TO reader; \
         ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    )
    .await;
    let reader = db.as_role("reader").sql().await.unwrap();
    for (name, kind) in [("t", Kind::NoSelect), ("closed.t", Kind::NoSelect), ("guarded", Kind::RowSecurity)] {
        let include = [TablePattern::parse(name).unwrap()];
        let look = async || catalog::tables(&reader, &include, &[]).await.unwrap()[0].require_readable("reader");
        let error = look().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        db.run(error.sql().unwrap()).await;
        look().await.unwrap();
    }
    // An ordinary role sees all that `check` wants to know.
    assert_eq!(ServerInfo::read(&reader).await.unwrap().user, "reader");
}

#[tokio::test]
async fn the_server_is_known_and_judged() {
    let server = own(&[
        ("wal_level", "replica"),
        ("max_replication_slots", "1"),
        ("max_wal_senders", "1"),
        ("max_slot_wal_keep_size", "64MB"),
    ]);
    let db = Database::on(&server).await;
    let info = ServerInfo::read(&db.sql).await.unwrap();
    info.require_version().unwrap();
    info.require_free_slot().unwrap();
    info.require_free_sender().unwrap();
    assert!((14..30).contains(&info.version) && info.wal_end.0 > 0 && !info.is_standby);
    assert_eq!((info.slot_wal_keep_bytes, info.user.as_str()), (Some(64 << 20), "postgres"));
    let error = info.require_logical().unwrap_err();
    assert!(error.kind() == Kind::WalLevel && error.to_string().contains("`replica`"), "{error}");
    let identity = db.connector.replication().await.unwrap().identify_system().await.unwrap();
    assert_eq!((identity.system, identity.timeline, identity.database), (info.system, 1, Some(db.name.clone())));
    db.run("SELECT pg_create_physical_replication_slot('other')").await;
    let full = ServerInfo::read(&db.sql).await.unwrap();
    assert_eq!(full.require_free_slot().unwrap_err().kind(), Kind::NoFreeSlot);
    for (names, kind) in
        [("", None), ("a, b", None), ("*", Some(())), ("FIRST 1 (a, *)", Some(())), ("ANY 1 (\"tidemill\")", Some(()))]
    {
        let info = ServerInfo { synchronous_standby_names: names.into(), ..info.clone() };
        let found = info
            .require_not_synchronous("tidemill")
            .err()
            .map(|error| assert_eq!(error.kind(), Kind::SynchronousStandby));
        assert_eq!(found, kind, "{names}");
    }
}

fn wanted(tables: &[TableInfo]) -> Wanted<'_> {
    Wanted { name: "tide \"mill\"", tables, actions: Actions::ALL }
}

#[tokio::test]
async fn our_publication_follows_the_streams() {
    let mut db = Database::on(shared()).await;
    db.run(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE bare (x int); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)",
    )
    .await;
    let all = tables(&db, &["a", "b", "parts", "parent"], &[]).await.unwrap();
    assert_eq!(publication::ensure(&mut db.sql, "postgres", wanted(&all)).await.unwrap(), Ensured::Created);
    assert_eq!(publication::ensure(&mut db.sql, "postgres", wanted(&all)).await.unwrap(), Ensured::Kept);
    let found = publication::inspect(&db.sql, wanted(&all).name).await.unwrap().unwrap();
    let mut ids: Vec<_> = all.iter().map(|table| table.relation.id.0).collect();
    ids.sort_unstable();
    assert_eq!((found.tables, found.is_ours, found.via_root), (ids, true, true));

    // Somebody's hand in it, fewer tables, fewer actions: each is put right.
    db.run("ALTER PUBLICATION \"tide \"\"mill\"\"\" SET TABLE a WHERE (id > 5), b (id)").await;
    assert_eq!(publication::ensure(&mut db.sql, "postgres", wanted(&all)).await.unwrap(), Ensured::Altered);
    assert_eq!(publication::ensure(&mut db.sql, "postgres", wanted(&all[..1])).await.unwrap(), Ensured::Altered);
    let inserts = Actions { insert: true, update: false, delete: false, truncate: false };
    let bare = tables(&db, &["bare"], &[]).await.unwrap();
    let only = Wanted { actions: inserts, ..wanted(&bare) };
    assert_eq!(publication::ensure(&mut db.sql, "postgres", only).await.unwrap(), Ensured::Altered);
    assert_eq!(publication::ensure(&mut db.sql, "postgres", only).await.unwrap(), Ensured::Kept);
    // An update of what we publish does not fail, and what would make it fail is refused.
    db.run("INSERT INTO bare VALUES (1); UPDATE bare SET x = 2; DELETE FROM bare").await;
    let error = publication::ensure(&mut db.sql, "postgres", wanted(&bare)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NoReplicaIdentity);

    assert!(publication::drop(&db.sql, only.name).await.unwrap());
    assert!(!publication::drop(&db.sql, only.name).await.unwrap());
}

#[tokio::test]
async fn a_publication_that_is_not_ours_is_left_alone() {
    let mut db = Database::on(shared()).await;
    db.run(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); \
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    )
    .await;
    let two = tables(&db, &["a", "b"], &[]).await.unwrap();
    let parts = tables(&db, &["parts"], &[]).await.unwrap();
    for (made, tables, kind) in [
        ("FOR TABLE a", &two, Kind::PublicationLacks),
        ("FOR TABLE a, b WITH (publish = 'insert')", &two, Kind::PublicationLacks),
        ("FOR TABLE a (id), b", &two, Kind::PublicationShape),
        ("FOR TABLE a WHERE (id > 1), b", &two, Kind::PublicationShape),
        ("FOR TABLE parts", &parts, Kind::PublicationShape),
    ] {
        db.run(&format!("CREATE PUBLICATION \"tide \"\"mill\"\"\" {made}")).await;
        let error = publication::ensure(&mut db.sql, "postgres", wanted(tables)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{made}: {error}");
        db.run(error.sql().unwrap()).await;
        assert_eq!(
            publication::ensure(&mut db.sql, "postgres", wanted(tables)).await.unwrap(),
            Ensured::Adopted,
            "{made}"
        );
        assert!(!publication::drop(&db.sql, wanted(tables).name).await.unwrap());
        db.run("DROP PUBLICATION \"tide \"\"mill\"\"\"").await;
    }
    db.run("CREATE PUBLICATION \"tide \"\"mill\"\"\" FOR ALL TABLES").await;
    assert_eq!(publication::ensure(&mut db.sql, "postgres", wanted(&two)).await.unwrap(), Ensured::Adopted);
}

#[tokio::test]
async fn an_owners_script_makes_what_our_role_may_not() {
    let db = Database::on(shared()).await;
    db.run(
        "CREATE ROLE \"Tide\" LOGIN REPLICATION; CREATE SCHEMA shop; CREATE TABLE shop.a (id int PRIMARY KEY); \
         CREATE TABLE bare (x int); CREATE TABLE mine (id int PRIMARY KEY); ALTER TABLE mine OWNER TO \"Tide\"",
    )
    .await;
    let mut tide = db.as_role("Tide").sql().await.unwrap();
    let include = ["shop.a", "bare", "mine"].map(|name| TablePattern::parse(name).unwrap());
    let tables = catalog::tables(&tide, &include, &[]).await.unwrap();
    let mut script: String =
        tables.iter().filter_map(|table| table.require_identity().err()?.sql().map(str::to_owned)).collect();
    script.extend(tables.iter().filter_map(|table| table.require_readable("Tide").err()?.sql().map(str::to_owned)));
    let keyed: Vec<_> = tables.iter().filter(|table| table.has_identity).cloned().collect();
    let error = publication::ensure(&mut tide, "Tide", wanted(&keyed)).await.unwrap_err();
    assert!(error.kind() == Kind::NotOwner && error.to_string().contains("owner `postgres`"), "{error}");
    // Owning the tables is not enough: making a publication takes CREATE on the database.
    let mine: Vec<_> = tables.iter().filter(|table| table.owned).cloned().collect();
    let error = publication::ensure(&mut tide, "Tide", wanted(&mine)).await.unwrap_err();
    assert!(error.kind() == Kind::NotOwner && error.to_string().contains("CREATE on the database"), "{error}");
    let error = publication::preview(&tide, "Tide", wanted(&tables)).await.unwrap_err();
    script.push_str(error.sql().unwrap());
    for _ in 0..2 {
        db.run(&script).await;
        let tables = catalog::tables(&tide, &include, &[]).await.unwrap();
        tables.iter().try_for_each(|table| table.require_readable("Tide")).unwrap();
        assert_eq!(publication::ensure(&mut tide, "Tide", wanted(&tables)).await.unwrap(), Ensured::Adopted);
    }
    // It has our mark and another owner: what is too much in it is left, what lacks is told, and it is not dropped.
    let found = publication::inspect(&tide, wanted(&[]).name).await.unwrap().unwrap();
    assert!(found.is_ours && !found.owned && found.owner == "postgres");
    assert_eq!(publication::ensure(&mut tide, "Tide", wanted(&mine)).await.unwrap(), Ensured::Adopted);
    assert!(!publication::drop(&tide, found.name.as_str()).await.unwrap());
    db.run("CREATE TABLE more (id int PRIMARY KEY); CREATE TABLE \"it's\" (id int PRIMARY KEY)").await;
    db.run("ALTER PUBLICATION \"tide \"\"mill\"\"\" SET (publish = 'insert', publish_via_partition_root = false)")
        .await;
    let include = ["shop.a", "more", "\"it's\""].map(|name| TablePattern::parse(name).unwrap());
    let more = catalog::tables(&tide, &include, &[]).await.unwrap();
    let error = publication::ensure(&mut tide, "Tide", wanted(&more)).await.unwrap_err();
    assert!(error.kind() == Kind::PublicationLacks && error.to_string().contains("owner `postgres`"), "{error}");
    for _ in 0..2 {
        db.run(error.sql().unwrap()).await;
        assert_eq!(publication::ensure(&mut tide, "Tide", wanted(&more)).await.unwrap(), Ensured::Adopted);
    }
}
