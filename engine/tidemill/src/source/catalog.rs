//! What the catalog says of tables: all that has to be known before a row is read.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_change::{Column, ElementKind, Kind as ColumnKind, Relation, ReplicaIdentity, TableId};
use tokio_postgres::Row;

use super::error::{Error, Kind, Result};
use super::quote::{ident, idents, qualified};
use super::sql::Session;
use crate::config::TablePattern;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    Ordinary,
    /// The root of a partitioned table: its partitions' changes come under its name.
    Partitioned,
}

/// What [`Column`] does not say of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    pub not_null: bool,
    /// A value may be large enough to be left out of an update that does not change it.
    pub toastable: bool,
    /// The type as SQL writes it, modifier included.
    pub type_name: String,
    pub readable: bool,
}

/// A table that can be published.
#[derive(Clone, Debug, PartialEq)]
pub struct TableInfo {
    /// Columns as the stream has them: without generated ones.
    pub relation: Arc<Relation>,
    /// One for each of the relation's.
    pub columns: Vec<ColumnInfo>,
    pub kind: TableKind,
    /// Columns that are computed from others and not in the stream.
    pub generated: Vec<String>,
    /// Columns of the relation, in the key's order; empty where there is no primary key, or a generated column in it.
    pub primary_key: Vec<usize>,
    /// It is checked at each row, so that no two rows have one key even within a transaction.
    pub key_is_immediate: bool,
    /// Updates and deletes tell which row they were.
    pub has_identity: bool,
    /// Partitions of which that is not so, as `schema.name`, quoted.
    pub partitions_without_identity: Vec<String>,
    /// A partition that is made or attached later will tell it too: it has the root's primary key, and nothing else of the
    /// root's identity. True where there are no partitions.
    pub partitions_inherit_identity: bool,
    pub owner: String,
    /// We are, or may act as, the owner.
    pub owned: bool,
    /// We may use the schema.
    pub reachable: bool,
    /// Policies would hide rows from us.
    pub row_security: bool,
    /// The planner's estimate; `None` where the table was never analysed.
    pub rows: Option<u64>,
    /// On disk, TOAST included and indices not.
    pub bytes: u64,
}

impl TableInfo {
    /// `schema.name`, quoted.
    pub fn sql_name(&self) -> String {
        qualified(&self.relation.schema, &self.relation.name)
    }

    pub fn require_primary_key(&self) -> Result<()> {
        if !self.primary_key.is_empty() {
            return Ok(());
        }
        let table = &self.relation;
        let message = format!(
            "table `{table}` has no primary key that could name its documents: add one, or give the stream \
                               an `id` made of columns that are unique"
        );
        Err(Error::new(Kind::NoPrimaryKey, message))
    }

    /// Without it, publishing updates or deletes would make those of the application fail.
    pub fn require_identity(&self) -> Result<()> {
        if !self.partitions_inherit_identity {
            let (table, name) = (&self.relation, self.sql_name());
            let message = format!(
                "table `{table}` is partitioned and has no primary key that its partitions inherit (a deferrable one is \
                 none), so updates of a partition that is made or attached later would fail: run `ALTER TABLE {name} ADD \
                 PRIMARY KEY (…);` with the columns that it is partitioned by among the key's, or name its partitions \
                 one by one in its place"
            );
            return Err(Error::new(Kind::NoReplicaIdentity, message));
        }
        let lacking = match (self.has_identity, self.partitions_without_identity.as_slice()) {
            (true, []) => return Ok(()),
            (_, []) => vec![self.sql_name()],
            (_, partitions) => partitions.to_vec(),
        };
        let full = |name: &String| format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
        let sql = lacking.iter().map(full).collect::<Vec<_>>().join("\n");
        let message = format!(
            "{} no replica identity, so its updates and deletes cannot be published: add a primary key, or run `{}`",
            match lacking.as_slice() {
                [one] => format!("table {one} has"),
                [one, rest @ ..] => format!("table {one} and {} more have", rest.len()),
                [] => unreachable!("the list is not empty above"),
            },
            full(&lacking[0]),
        );
        Err(Error::new(Kind::NoReplicaIdentity, message).with_sql(sql))
    }

    /// Every column of every row can be read.
    pub fn require_readable(&self, user: &str) -> Result<()> {
        let table = &self.relation;
        if !self.reachable || self.columns.iter().any(|column| !column.readable) {
            let sql = self.grants(user);
            let message = format!(
                "user `{user}` may not read table `{table}`: let its owner `{}` run `{}`",
                self.owner,
                sql.replace('\n', " ")
            );
            return Err(Error::new(Kind::NoSelect, message).with_sql(sql));
        }
        if self.row_security {
            let sql = format!("ALTER ROLE {} BYPASSRLS;", ident(user));
            let message = format!(
                "row-level security of table `{table}` would hide rows from user `{user}`: let an \
                                   administrator run `{sql}`, or give the table's owner as user"
            );
            return Err(Error::new(Kind::RowSecurity, message).with_sql(sql));
        }
        Ok(())
    }

    /// What a role lacks to read it.
    fn grants(&self, user: &str) -> String {
        let user = ident(user);
        let usage = format!("GRANT USAGE ON SCHEMA {} TO {user};", ident(&self.relation.schema));
        let select = format!("GRANT SELECT ON {} TO {user};", self.sql_name());
        let lacks = [(!self.reachable, usage), (self.columns.iter().any(|column| !column.readable), select)];
        lacks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, sql)| sql).collect::<Vec<_>>().join("\n")
    }

    /// The columns of the relation, quoted, with commas.
    pub fn column_list(&self) -> String {
        idents(self.relation.columns.iter().map(|column| column.name.as_str()))
    }
}

/// The tables that some pattern includes and none excludes, in order of their names. A name that is not there is an error
/// that tells the nearest one; a view and its like is refused where it is named, and passed over by a pattern.
pub async fn tables(session: &Session, include: &[TablePattern], exclude: &[TablePattern]) -> Result<Vec<TableInfo>> {
    let candidates = candidates(session).await?;
    let mut wanted = Vec::new();
    for pattern in include {
        let hits = candidates.iter().filter(|candidate| pattern.matches(&candidate.schema, &candidate.name));
        let hits: Vec<_> = match pattern.name() {
            Some(_) => hits.collect(),
            None => hits.filter(|hit| hit.refusal().is_none() && !hit.is_partition).collect(),
        };
        if hits.is_empty() {
            return Err(missing(pattern, &candidates));
        }
        for hit in hits.into_iter().filter(|hit| !exclude.iter().any(|no| no.matches(&hit.schema, &hit.name))) {
            match hit.refusal() {
                Some(what) => {
                    let message =
                        format!("`{pattern}` is {what}, and changes of it are not in the WAL: name an ordinary table");
                    return Err(Error::new(Kind::TableKind, message));
                }
                None => wanted.push(hit.oid),
            }
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    tables_by_id(session, &wanted).await
}

struct Candidate {
    oid: u32,
    schema: String,
    name: String,
    kind: String,
    persistence: String,
    is_partition: bool,
}

impl Candidate {
    fn refusal(&self) -> Option<&'static str> {
        match (self.kind.as_str(), self.persistence.as_str()) {
            ("v", _) => Some("a view"),
            ("m", _) => Some("a materialized view"),
            ("f", _) => Some("a foreign table"),
            ("S", _) => Some("a sequence"),
            (_, "u") => Some("an unlogged table"),
            (_, "t") => Some("a temporary table"),
            _ => None,
        }
    }
}

async fn candidates(session: &Session) -> Result<Vec<Candidate>> {
    let rows = session
        .query(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, c.relispartition \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname <> 'information_schema' \
               AND (n.nspname !~ '^pg_' OR c.relpersistence = 't')",
            &[],
        )
        .await?;
    let candidate = |row: Row| Candidate {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        kind: row.get(3),
        persistence: row.get(4),
        is_partition: row.get(5),
    };
    Ok(rows.into_iter().map(candidate).collect())
}

fn missing(pattern: &TablePattern, candidates: &[Candidate]) -> Error {
    let message = match pattern.name() {
        None => format!("no table is called `{pattern}`"),
        Some((schema, name)) => {
            let wanted = format!("{schema}.{name}");
            let names = candidates.iter().filter(|c| c.refusal().is_none()).map(|c| format!("{}.{}", c.schema, c.name));
            let near =
                names.map(|name| (strsim::jaro_winkler(&name, &wanted), name)).max_by(|a, b| a.0.total_cmp(&b.0));
            match near {
                Some((likeness, near)) if likeness > 0.8 => {
                    format!("table `{pattern}` is not there: did you mean `{near}`?")
                }
                _ => format!("table `{pattern}` is not there"),
            }
        }
    };
    Error::new(Kind::TableMissing, message)
}

/// Tables by their oids; those that are gone are left out.
pub async fn tables_by_id(session: &Session, ids: &[u32]) -> Result<Vec<TableInfo>> {
    let rows = session
        .query(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, \
               pg_catalog.row_security_active(c.oid), pg_catalog.pg_get_userbyid(c.relowner)::text, \
               pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
               s.tuples, s.bytes \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
             LATERAL (SELECT pg_catalog.sum(nullif(l.reltuples, -1)::float8) AS tuples, \
                        pg_catalog.sum(pg_catalog.pg_table_size(l.oid))::int8 AS bytes \
                      FROM pg_catalog.pg_class l \
                      WHERE l.oid = c.oid OR c.relkind = 'p' AND l.relkind = 'r' AND l.oid IN \
                        (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) s \
             WHERE c.oid = ANY($1) AND c.relkind IN ('r', 'p') ORDER BY n.nspname, c.relname",
            &[&ids],
        )
        .await?;
    let mut columns = columns(session, ids).await?;
    let mut keys = keys(session, ids).await?;
    let mut partitions = partitions_without_identity(session, ids).await?;
    let table = |row: &Row| {
        let id: u32 = row.get(0);
        let parts = (columns.remove(&id).unwrap_or_default(), keys.remove(&id).unwrap_or_default());
        let mut table = table(row, parts.0, &parts.1)?;
        table.partitions_without_identity = partitions.remove(&id).unwrap_or_default();
        Ok(table)
    };
    rows.iter().map(table).collect()
}

fn table(row: &Row, columns: Vec<CatalogColumn>, keys: &Keys) -> Result<TableInfo> {
    let code: String = row.get(4);
    let identity = code.bytes().next().and_then(ReplicaIdentity::from_code);
    let identity = identity.ok_or_else(|| Error::protocol(format_args!("replica identity `{code}`")))?;
    let identity_columns = match identity {
        ReplicaIdentity::Default => keys.primary.as_ref().filter(|_| keys.primary_is_immediate),
        ReplicaIdentity::Index => keys.identity.as_ref(),
        ReplicaIdentity::Full | ReplicaIdentity::Nothing => None,
    };
    let full = identity == ReplicaIdentity::Full;
    let kind = if row.get::<_, &str>(3) == "p" { TableKind::Partitioned } else { TableKind::Ordinary };
    let (generated, columns): (Vec<_>, Vec<_>) = columns.into_iter().partition(|column| column.is_generated);
    let place = |number: &i16| columns.iter().position(|column| column.number == *number);
    let primary_key = keys.primary.iter().flatten().map(place).collect::<Option<Vec<_>>>().unwrap_or_default();
    let relation_columns = columns.iter().map(|column| Column {
        identity: full || identity_columns.is_some_and(|numbers| numbers.contains(&column.number)),
        ..column.column.clone()
    });
    let relation = Relation::new(
        TableId(row.get(0)),
        row.get::<_, String>(1),
        row.get::<_, String>(2),
        identity,
        relation_columns.collect(),
    );
    Ok(TableInfo {
        relation: Arc::new(relation),
        columns: columns.into_iter().map(|column| column.info).collect(),
        kind,
        generated: generated.into_iter().map(|column| column.column.name).collect(),
        key_is_immediate: keys.primary_is_immediate && !primary_key.is_empty(),
        primary_key,
        has_identity: full || identity_columns.is_some(),
        partitions_without_identity: Vec::new(),
        partitions_inherit_identity: kind == TableKind::Ordinary || keys.primary_is_immediate,
        owner: row.get(6),
        owned: row.get(7),
        reachable: row.get(8),
        row_security: row.get(5),
        rows: row.get::<_, Option<f64>>(9).map(|rows| rows as u64),
        bytes: row.get::<_, Option<i64>>(10).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default(),
    })
}

struct CatalogColumn {
    number: i16,
    is_generated: bool,
    column: Column,
    info: ColumnInfo,
}

async fn columns(session: &Session, ids: &[u32]) -> Result<HashMap<u32, Vec<CatalogColumn>>> {
    let rows = session
        .query(
            "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated::text <> '', \
               a.attstorage <> 'p' AND a.attlen = -1, pg_catalog.format_type(a.atttypid, a.atttypmod), \
               pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY($1) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attrelid, a.attnum",
            &[&ids],
        )
        .await?;
    let mut types: Vec<u32> = rows.iter().map(|row| row.get(3)).collect();
    types.sort_unstable();
    types.dedup();
    let kinds = kinds(session, &types).await?;
    let mut columns: HashMap<u32, Vec<CatalogColumn>> = HashMap::new();
    for row in rows {
        let type_oid = row.get(3);
        columns.entry(row.get(0)).or_default().push(CatalogColumn {
            number: row.get(1),
            is_generated: row.get(6),
            column: Column {
                name: row.get(2),
                type_oid,
                type_modifier: row.get(4),
                kind: kinds.get(&type_oid).copied().unwrap_or(ColumnKind::Other),
                identity: false,
            },
            info: ColumnInfo {
                not_null: row.get(5),
                toastable: row.get(7),
                type_name: row.get(8),
                readable: row.get(9),
            },
        });
    }
    Ok(columns)
}

/// The kinds of types by their oids: a domain is as its base type, an enum is text, and so in arrays of them. For
/// the types that a relation message names and [`ColumnKind::from_oid`] does not know.
pub async fn kinds(session: &Session, types: &[u32]) -> Result<HashMap<u32, ColumnKind>> {
    let mut kinds = HashMap::new();
    let mut elements: Vec<(u32, u32)> = Vec::new();
    for base in base_types(session, types).await? {
        match base.element {
            Some(element) if base.kind() == ColumnKind::Other => elements.push((base.of, element)),
            _ => drop(kinds.insert(base.of, base.kind())),
        }
    }
    let oids: Vec<u32> = elements.iter().map(|(_, element)| *element).collect();
    let bases = if oids.is_empty() { Vec::new() } else { base_types(session, &oids).await? };
    for (of, element) in elements {
        let kind = bases.iter().find(|base| base.of == element).map_or(ColumnKind::Other, BaseType::kind);
        kinds.insert(of, array_of(kind));
    }
    Ok(kinds)
}

struct BaseType {
    of: u32,
    oid: u32,
    is_enum: bool,
    element: Option<u32>,
}

impl BaseType {
    fn kind(&self) -> ColumnKind {
        if self.is_enum { ColumnKind::Text } else { ColumnKind::from_oid(self.oid) }
    }
}

fn array_of(element: ColumnKind) -> ColumnKind {
    use ColumnKind as K;
    match element {
        K::Bool => K::Array(ElementKind::Bool),
        K::Int2 | K::Int4 | K::Int8 | K::Oid | K::Float4 | K::Float8 | K::Numeric => K::Array(ElementKind::Number),
        K::Json | K::Jsonb => K::Array(ElementKind::Json),
        K::Text | K::Uuid => K::Array(ElementKind::Text),
        _ => K::Other,
    }
}

async fn base_types(session: &Session, types: &[u32]) -> Result<Vec<BaseType>> {
    let rows = session
        .query(
            "WITH RECURSIVE base(of, oid) AS (SELECT oid, oid FROM pg_catalog.pg_type WHERE oid = ANY($1) \
               UNION ALL SELECT b.of, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid \
               WHERE t.typtype = 'd') \
             SELECT b.of, t.oid, t.typtype = 'e', e.oid FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.oid \
             LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid WHERE t.typtype <> 'd'",
            &[&types],
        )
        .await?;
    let base = |row: Row| BaseType { of: row.get(0), oid: row.get(1), is_enum: row.get(2), element: row.get(3) };
    Ok(rows.into_iter().map(base).collect())
}

/// A table's keys, by column numbers.
#[derive(Default)]
struct Keys {
    primary: Option<Vec<i16>>,
    /// A deferrable key is no replica identity.
    primary_is_immediate: bool,
    identity: Option<Vec<i16>>,
}

async fn keys(session: &Session, ids: &[u32]) -> Result<HashMap<u32, Keys>> {
    let rows = session
        .query(
            "SELECT indrelid, indisprimary, indisreplident, indimmediate AND indisvalid, indkey::int2[], indnkeyatts \
             FROM pg_catalog.pg_index WHERE indrelid = ANY($1) AND (indisprimary OR indisreplident)",
            &[&ids],
        )
        .await?;
    let mut keys: HashMap<u32, Keys> = HashMap::new();
    for row in rows {
        let keys = keys.entry(row.get(0)).or_default();
        let mut numbers: Vec<i16> = row.get(4);
        numbers.truncate(row.get::<_, i16>(5).max(0) as usize);
        if row.get(1) {
            keys.primary = Some(numbers.clone());
            keys.primary_is_immediate = row.get(3);
        }
        if row.get(2) {
            keys.identity = Some(numbers);
        }
    }
    Ok(keys)
}

/// A partition has a replica identity of its own, and it is that which its updates are checked against.
async fn partitions_without_identity(session: &Session, ids: &[u32]) -> Result<HashMap<u32, Vec<String>>> {
    let rows = session
        .query(
            "SELECT r.oid, n.nspname::text, c.relname::text FROM pg_catalog.pg_class r, \
             LATERAL pg_catalog.pg_partition_tree(r.oid) t JOIN pg_catalog.pg_class c ON c.oid = t.relid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE r.oid = ANY($1) AND r.relkind = 'p' AND t.isleaf AND c.relkind = 'r' AND c.relreplident <> 'f' \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid \
                 AND (c.relreplident = 'i' AND i.indisreplident \
                   OR c.relreplident = 'd' AND i.indisprimary AND i.indimmediate)) \
             ORDER BY 2, 3",
            &[&ids],
        )
        .await?;
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    for row in rows {
        found.entry(row.get(0)).or_default().push(qualified(row.get(1), row.get(2)));
    }
    Ok(found)
}
