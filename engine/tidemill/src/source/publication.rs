//! The publication: made when missing, and then kept equal to what the streams need; one that somebody else made is left
//! alone and must have what they need.
//!
//! Nothing here may make an application's write fail, and a publication can: an update fails on a published table without
//! replica identity, and under column lists and row filters of some shapes. So ours has neither, and a table enters it
//! for updates and deletes only with an identity. A comment on the publication tells ours from others'.

use std::fmt;

use super::catalog::{TableInfo, TableKind, grants};
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
    /// We made it.
    pub is_ours: bool,
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
        tables: row.get(7),
        narrowed: row.get(8),
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
    let found = inspect(session, wanted.name).await?;
    match check(found.as_ref(), wanted, user)? {
        Todo::Create => {
            let statements = [create_sql(wanted), mark_sql(wanted.name)];
            run(session, &statements, wanted, user).await?;
            Ok(Ensured::Created)
        }
        Todo::Alter => {
            let name = ident(wanted.name);
            let mut statements = vec![format!("ALTER PUBLICATION {name} SET ({})", options(wanted.actions))];
            if !wanted.tables.is_empty() {
                statements.push(format!("ALTER PUBLICATION {name} SET TABLE {}", names(wanted.tables)));
            }
            run(session, &statements, wanted, user).await?;
            Ok(Ensured::Altered)
        }
        Todo::Nothing(ensured) => Ok(ensured),
    }
}

/// What `check` would have to do; errors are as [`ensure`]'s, as far as they can be told without doing.
pub async fn preview(session: &Session, user: &str, wanted: Wanted<'_>) -> Result<Option<PublicationInfo>> {
    let found = inspect(session, wanted.name).await?;
    check(found.as_ref(), wanted, user)?;
    Ok(found)
}

enum Todo {
    Create,
    Alter,
    Nothing(Ensured),
}

fn check(found: Option<&PublicationInfo>, wanted: Wanted<'_>, user: &str) -> Result<Todo> {
    if wanted.actions.update || wanted.actions.delete {
        wanted.tables.iter().try_for_each(TableInfo::require_identity)?;
    }
    match found {
        None => {
            require_owned(wanted, user)?;
            Ok(Todo::Create)
        }
        Some(found) if !found.is_ours => {
            adoptable(found, wanted)?;
            Ok(Todo::Nothing(Ensured::Adopted))
        }
        Some(found) if is_right(found, wanted) => Ok(Todo::Nothing(Ensured::Kept)),
        Some(_) => {
            require_owned(wanted, user)?;
            Ok(Todo::Alter)
        }
    }
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

fn adoptable(found: &PublicationInfo, wanted: Wanted<'_>) -> Result<()> {
    let name = ident(wanted.name);
    let shape = |message: String, sql: String| {
        let message =
            format!("publication `{}` is not ours to change, and {message}: let its owner run `{sql}`", wanted.name);
        Err(Error::new(Kind::PublicationShape, message).with_sql(sql))
    };
    let root = wanted.tables.iter().find(|table| table.kind == TableKind::Partitioned);
    if let Some(table) = root.filter(|_| !found.via_root) {
        let sql = format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true);");
        return shape(format!("publishes the partitions of `{}` under their own names", table.relation), sql);
    }
    if let Some(table) = wanted.tables.iter().find(|table| found.narrowed.contains(&table.relation.id.0)) {
        let sql_name = table.sql_name();
        let sql =
            format!("ALTER PUBLICATION {name} DROP TABLE {sql_name}; ALTER PUBLICATION {name} ADD TABLE {sql_name};");
        return shape(format!("has a column list or row filter on table `{}`", table.relation), sql);
    }
    let lacks = |message: String, sql: String| {
        let message = format!(
            "publication `{}` is not ours to change, and lacks {message}: let its owner run `{sql}`",
            wanted.name
        );
        Err(Error::new(Kind::PublicationLacks, message).with_sql(sql))
    };
    let missing = wanted.tables.iter().filter(|table| !found.tables.contains(&table.relation.id.0));
    let missing: Vec<_> = missing.map(TableInfo::sql_name).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return lacks(format!("table {missing}"), format!("ALTER PUBLICATION {name} ADD TABLE {missing};"));
    }
    if !found.actions.covers(wanted.actions) {
        let sql = format!("ALTER PUBLICATION {name} SET (publish = '{}');", wanted.actions);
        return lacks(format!("some of the actions {}", wanted.actions), sql);
    }
    Ok(())
}

fn require_owned(wanted: Wanted<'_>, user: &str) -> Result<()> {
    let others: Vec<_> = wanted.tables.iter().filter(|table| !table.owned).collect();
    match others.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            let message = format!(
                "only its owner `{}` may publish table `{}`, and user `{user}` is not: let the owner (or a superuser) run the \
                 script that `tidemill check --sql` prints",
                first.owner, first.relation
            );
            Err(Error::new(Kind::NotOwner, message).with_sql(script(wanted, user)))
        }
    }
}

/// What an owner or administrator runs once, where our role may not: after it the publication is there to be adopted.
pub fn script(wanted: Wanted<'_>, user: &str) -> String {
    let identities = wanted.tables.iter().filter_map(|table| table.require_identity().err());
    let identities = identities.filter_map(|error| error.sql().map(|sql| format!("{sql}\n")));
    let needed = wanted.actions.update || wanted.actions.delete;
    let identities: String = identities.filter(|_| needed).collect();
    let grants = if wanted.tables.is_empty() { String::new() } else { grants(user, wanted.tables) };
    format!("{identities}{};\n{grants}\n", create_sql(wanted))
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

async fn run(session: &mut Session, statements: &[String], wanted: Wanted<'_>, user: &str) -> Result<()> {
    let run = async {
        let transaction = session.transaction().await?;
        for statement in statements {
            transaction.batch_execute(statement).await?;
        }
        transaction.commit().await
    };
    run.await.map_err(|error| {
        let error = Error::from(error);
        if error.is_sqlstate("42501") {
            let message = format!(
                "user `{user}` may not make or change publication `{}` (it needs CREATE on the database, and \
                                   the tables): let their owner run the script that `tidemill check --sql` prints",
                wanted.name
            );
            return error.explain(Kind::NotOwner, message).with_sql(script(wanted, user));
        }
        error.during(format_args!("publication `{}`", wanted.name))
    })
}

/// Drops the publication where it is ours; false where it is not there, or not ours.
pub async fn drop(session: &Session, name: &str) -> Result<bool> {
    if !inspect(session, name).await?.is_some_and(|found| found.is_ours) {
        return Ok(false);
    }
    session.batch_execute(&format!("DROP PUBLICATION {}", ident(name))).await?;
    Ok(true)
}
