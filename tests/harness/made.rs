//! What a command could have made or lost, as far as it can be seen from outside: held before and after a refusal, it is
//! the same.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::{PATIENCE, World, await_some};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Made {
    /// Name, plugin and database of each slot that stays.
    slots: Vec<Vec<String>>,
    /// Each publication of the database with its tables.
    publications: Vec<Vec<String>>,
    products: BTreeMap<String, Value>,
    index_exists: bool,
    /// Source, streams and letters that the state knows.
    state: Vec<String>,
}

impl World {
    pub(crate) fn made(&self) -> Made {
        let slots = format!(
            "SELECT slot_name, coalesce(plugin, ''), coalesce(database, '') FROM pg_replication_slots
             WHERE NOT temporary AND (database = current_database() OR slot_name = '{}') ORDER BY 1",
            self.name
        );
        let publications = "SELECT pubname, coalesce(tablename, '') FROM pg_publication
             LEFT JOIN pg_publication_tables USING (pubname) ORDER BY 1, 2";
        Made {
            slots: self.sql.rows(&slots),
            publications: self.sql.rows(publications),
            products: self.documents("products"),
            index_exists: self.http().call("GET", "/products", None).0 == 200,
            state: state(&self.dir.path().join("tidemill.db")),
        }
    }

    /// Waits until the database has no slot at all, temporary ones included: the server notices late that a session ended.
    #[track_caller]
    pub(crate) fn await_no_slot(&self) {
        let query = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()";
        let gone = await_some(PATIENCE, || self.sql.rows(query).is_empty().then_some(()));
        assert!(gone.is_some(), "left behind: {:?}", self.sql.rows(query));
    }
}

/// A state that was opened and not used is as good as none.
fn state(path: &Path) -> Vec<String> {
    let Ok(connection) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return Vec::new() };
    let queries = [
        "SELECT system_identifier || ' ' || database || ' ' || slot FROM source",
        "SELECT name || ' ' || plan_digest FROM streams ORDER BY name",
        "SELECT stream || ' ' || key || ' ' || state FROM dead_letters ORDER BY id",
    ];
    let texts = |query: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(query)?.query_map([], |row| row.get(0))?.collect()
    };
    queries.iter().flat_map(|query| texts(query).unwrap_or_default()).collect()
}
