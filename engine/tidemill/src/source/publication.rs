//! The publication: made when missing, and then kept equal to what the streams need; one that somebody else made is left
//! alone and must have what they need.
//!
//! Nothing here may make an application's write fail, and a publication can: an update fails on a published table without
//! replica identity, and under column lists and row filters of some shapes. So ours has neither, and a table enters it
//! for updates and deletes only with an identity. A comment on the publication tells ours from others'.

use std::fmt;

use super::catalog::{TableInfo, TableKind};
use super::error::{Error, Kind, Result};
use super::quote::{ident, literal};
use super::sql::Session;

/// How a publication that we made is known again.
const MARK: &str = "made by tidemill, which keeps its tables equal to what its streams need";

/// Which changes are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
}

impl Actions {
    pub const ALL: Actions = Actions { insert: true, update: true, delete: true, truncate: true };

    fn covers(self, other: Actions) -> bool {
        let Actions { insert, update, delete, truncate } = other;
        (self.insert || !insert) && (self.update || !update) && (self.delete || !delete) && (self.truncate || !truncate)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words =
            [(self.insert, "insert"), (self.update, "update"), (self.delete, "delete"), (self.truncate, "truncate")];
        let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(&words.join(", "))
    }
}

impl PublicationInfo {
    /// We may change and drop it.
    pub fn is_kept(&self) -> bool {
        self.is_ours && self.owned
    }
}

/// What the streams need of a publication.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub tables: &'a [TableInfo],
    pub actions: Actions,
}

/// A publication as the catalog shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationInfo {
    pub name: String,
    pub actions: Actions,
    /// Partitions' changes come under their root's name.
    pub via_root: bool,
    pub all_tables: bool,
    /// It has our mark: we made it, or the script that `check --sql` prints did.
    pub is_ours: bool,
    pub owner: String,
    /// We are, or may act as, the owner.
    pub owned: bool,
    /// Every table that it publishes, by oid.
    pub tables: Vec<u32>,
    /// Those with a column list or a row filter.
    pub narrowed: Vec<u32>,
}

pub async fn inspect(session: &Session, name: &str) -> Result<Option<PublicationInfo>> {
    let row = session
        .query_opt(
            "SELECT p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
               pg_catalog.obj_description(p.oid, 'pg_publication') = $2, \
               pg_catalog.pg_get_userbyid(p.pubowner)::text, pg_catalog.pg_has_role(p.pubowner, 'USAGE'), \
               ARRAY(SELECT c.oid FROM pg_catalog.pg_publication_tables t \
                 JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
                 WHERE t.pubname = p.pubname ORDER BY 1), \
               ARRAY(SELECT r.prrelid FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid \
                 AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL) ORDER BY 1) \
             FROM pg_catalog.pg_publication p WHERE p.pubname = $1::text::name",
            &[&name, &MARK],
        )
        .await?;
    Ok(row.map(|row| PublicationInfo {
        name: name.to_owned(),
        all_tables: row.get(0),
        actions: Actions { insert: row.get(1), update: row.get(2), delete: row.get(3), truncate: row.get(4) },
        via_root: row.get(5),
        is_ours: row.get::<_, Option<bool>>(6).unwrap_or(false),
        owner: row.get(7),
        owned: row.get(8),
        tables: row.get(9),
        narrowed: row.get(10),
    }))
}

/// What [`ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    Created,
    Altered,
    /// It was ours and right.
    Kept,
    /// It is somebody else's, and has what is needed.
    Adopted,
}

/// Makes the publication what the streams need, or says why it is not.
pub async fn ensure(session: &mut Session, user: &str, wanted: Wanted<'_>) -> Result<Ensured> {
    if wanted.actions.update || wanted.actions.delete {
        wanted.tables.iter().try_for_each(TableInfo::require_identity)?;
    }
    match judge(session, user, wanted).await? {
        (_, Todo::Nothing(ensured)) => Ok(ensured),
        (_, todo) => run(session, todo, wanted, user).await,
    }
}

/// What [`ensure`] would find; errors are as its own, but for replica identities, which are each table's to tell.
pub async fn preview(session: &Session, user: &str, wanted: Wanted<'_>) -> Result<Option<PublicationInfo>> {
    judge(session, user, wanted).await.map(|(found, _)| found)
}

#[derive(Clone, Copy)]
enum Todo {
    Create,
    Alter,
    Nothing(Ensured),
}

async fn judge(session: &Session, user: &str, wanted: Wanted<'_>) -> Result<(Option<PublicationInfo>, Todo)> {
    let found = inspect(session, wanted.name).await?;
    let todo = match &found {
        None => {
            require_owned(Todo::Create, wanted, user)?;
            require_create(session, wanted, user).await?;
            Todo::Create
        }
        Some(found) if !found.is_kept() => {
            adoptable(found, wanted)?;
            Todo::Nothing(Ensured::Adopted)
        }
        Some(found) if is_right(found, wanted) => Todo::Nothing(Ensured::Kept),
        Some(_) => {
            require_owned(Todo::Alter, wanted, user)?;
            Todo::Alter
        }
    };
    Ok((found, todo))
}

fn is_right(found: &PublicationInfo, wanted: Wanted<'_>) -> bool {
    let mut ids: Vec<u32> = wanted.tables.iter().map(|table| table.relation.id.0).collect();
    ids.sort_unstable();
    found.tables == ids
        && found.narrowed.is_empty()
        && found.actions == wanted.actions
        && found.via_root
        && !found.all_tables
}

/// One that we may not change must have what is needed; the error carries all statements that give it that.
fn adoptable(found: &PublicationInfo, wanted: Wanted<'_>) -> Result<()> {
    let lacks = lacks(found, wanted);
    let Some(Lack { kind, what, sql, .. }) = lacks.first() else { return Ok(()) };
    let (name, owner) = (wanted.name, &found.owner);
    let message =
        format!("publication `{name}` is not ours to change, and {what}: let its owner `{owner}` run `{sql}`");
    let script: Vec<_> = lacks.iter().map(|lack| lack.again.as_str()).collect();
    Err(Error::new(*kind, message).with_sql(script.join("\n")))
}

struct Lack {
    kind: Kind,
    what: String,
    sql: String,
    /// The same, for a script that may be run again.
    again: String,
}

fn lacks(found: &PublicationInfo, wanted: Wanted<'_>) -> Vec<Lack> {
    let name = ident(wanted.name);
    let mut lacks = Vec::new();
    let mut lack = |kind, what, sql: String, again: String| lacks.push(Lack { kind, what, sql, again });
    let root = wanted.tables.iter().find(|table| table.kind == TableKind::Partitioned);
    if let Some(table) = root.filter(|_| !found.via_root) {
        let sql = format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true);");
        let what = format!("publishes the partitions of `{}` under their own names", table.relation);
        lack(Kind::PublicationShape, what, sql.clone(), sql);
    }
    for table in wanted.tables.iter().filter(|table| found.narrowed.contains(&table.relation.id.0)) {
        let one = names(std::slice::from_ref(table));
        let sql = format!("ALTER PUBLICATION {name} DROP TABLE {one}; ALTER PUBLICATION {name} ADD TABLE {one};");
        let what = format!("has a column list or row filter on table `{}`", table.relation);
        lack(Kind::PublicationShape, what, sql.clone(), sql);
    }
    for table in wanted.tables.iter().filter(|table| !found.tables.contains(&table.relation.id.0)) {
        let sql = format!("ALTER PUBLICATION {name} ADD TABLE {};", names(std::slice::from_ref(table)));
        let again = unless(
            &format!(
                "pg_catalog.pg_publication_rel WHERE prrelid = {}::pg_catalog.regclass AND prpubid = (SELECT oid FROM \
                 pg_catalog.pg_publication WHERE pubname = {})",
                literal(&table.sql_name()),
                literal(wanted.name)
            ),
            &sql,
        );
        lack(Kind::PublicationLacks, format!("lacks table `{}`", table.relation), sql, again);
    }
    if !found.actions.covers(wanted.actions) {
        let sql = format!("ALTER PUBLICATION {name} SET (publish = '{}');", wanted.actions);
        lack(Kind::PublicationLacks, format!("lacks some of the actions {}", wanted.actions), sql.clone(), sql);
    }
    lacks
}

fn require_owned(todo: Todo, wanted: Wanted<'_>, user: &str) -> Result<()> {
    let Some(first) = wanted.tables.iter().find(|table| !table.owned) else { return Ok(()) };
    let message = format!(
        "only its owner `{}` may publish table `{}`, and user `{user}` is not: let the owner (or a superuser) run the \
         script that `tidemill check --sql` prints",
        first.owner, first.relation
    );
    Err(Error::new(Kind::NotOwner, message).with_sql(todo.script(wanted)))
}

async fn require_create(session: &Session, wanted: Wanted<'_>, user: &str) -> Result<()> {
    let asked = "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')";
    match session.query_one(asked, &[]).await?.get(0) {
        true => Ok(()),
        false => Err(not_allowed(Todo::Create, wanted, user)),
    }
}

fn not_allowed(todo: Todo, wanted: Wanted<'_>, user: &str) -> Error {
    let message = format!(
        "user `{user}` may not make or change publication `{}` (it needs CREATE on the database, and the tables): let \
         their owner run the script that `tidemill check --sql` prints",
        wanted.name
    );
    Error::new(Kind::NotOwner, message).with_sql(todo.script(wanted))
}

impl Todo {
    fn statements(self, wanted: Wanted<'_>) -> Vec<String> {
        let name = ident(wanted.name);
        match self {
            Todo::Nothing(_) => Vec::new(),
            Todo::Create => vec![create_sql(wanted), mark_sql(wanted.name)],
            Todo::Alter => {
                let mut statements = vec![format!("ALTER PUBLICATION {name} SET ({})", options(wanted.actions))];
                if !wanted.tables.is_empty() {
                    statements.push(format!("ALTER PUBLICATION {name} SET TABLE {}", names(wanted.tables)));
                }
                statements
            }
        }
    }

    /// The same for somebody who may run them, as often as they like.
    fn script(self, wanted: Wanted<'_>) -> String {
        let statements: Vec<_> = self.statements(wanted).into_iter().map(|sql| format!("{sql};")).collect();
        match self {
            Todo::Create => {
                let exists = format!("pg_catalog.pg_publication WHERE pubname = {}", literal(wanted.name));
                unless(&exists, &statements.join(" "))
            }
            _ => statements.join("\n"),
        }
    }
}

/// `statements`, where the rows of `from` are not there: `CREATE PUBLICATION` knows no `IF NOT EXISTS`.
fn unless(from: &str, statements: &str) -> String {
    dollars(&format!("BEGIN IF NOT EXISTS (SELECT FROM {from}) THEN {statements} END IF; END"))
}

/// A body as `DO` takes it, in quotes that it does not end itself.
pub fn dollars(body: &str) -> String {
    let mut tag = "$do$".to_owned();
    while body.contains(&tag) {
        tag.insert(1, 'x');
    }
    format!("DO {tag} {body} {tag};")
}

fn create_sql(wanted: Wanted<'_>) -> String {
    let tables = if wanted.tables.is_empty() { String::new() } else { format!(" FOR TABLE {}", names(wanted.tables)) };
    format!("CREATE PUBLICATION {}{tables} WITH ({})", ident(wanted.name), options(wanted.actions))
}

fn mark_sql(name: &str) -> String {
    format!("COMMENT ON PUBLICATION {} IS {}", ident(name), literal(MARK))
}

fn options(actions: Actions) -> String {
    format!("publish = '{actions}', publish_via_partition_root = true")
}

fn names(tables: &[TableInfo]) -> String {
    // ONLY: a table that inherits from another is published by its own name, or not at all.
    let name = |table: &TableInfo| match table.kind {
        TableKind::Ordinary => format!("ONLY {}", table.sql_name()),
        TableKind::Partitioned => table.sql_name(),
    };
    tables.iter().map(name).collect::<Vec<_>>().join(", ")
}

async fn run(session: &mut Session, todo: Todo, wanted: Wanted<'_>, user: &str) -> Result<Ensured> {
    let run = async {
        let transaction = session.transaction().await?;
        for statement in todo.statements(wanted) {
            transaction.batch_execute(&statement).await?;
        }
        transaction.commit().await
    };
    let done = run.await.map_err(|error| {
        let error = Error::from(error);
        if error.is_sqlstate("42501") {
            return not_allowed(todo, wanted, user).because(error);
        }
        error.during(format_args!("publication `{}`", wanted.name))
    });
    done.map(|()| if matches!(todo, Todo::Create) { Ensured::Created } else { Ensured::Altered })
}

/// Drops the publication where we keep it; false where it is not there, not ours, or another role's.
pub async fn drop(session: &Session, name: &str) -> Result<bool> {
    if !inspect(session, name).await?.is_some_and(|found| found.is_kept()) {
        return Ok(false);
    }
    session.batch_execute(&drop_sql(name)).await?;
    Ok(true)
}

pub fn drop_sql(name: &str) -> String {
    format!("DROP PUBLICATION {};", ident(name))
}
