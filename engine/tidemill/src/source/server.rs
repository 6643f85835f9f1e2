//! What the server says of itself as a whole: whether it can be a source, and has room for one.

use tidemill_change::Lsn;

use super::error::{Error, Kind, Result};
use super::sql::Session;
use super::wire::major;

/// The oldest major version that we know to behave.
pub const SERVER_VERSION_MIN: u32 = 14;

/// The server as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    pub version: u32,
    /// As the server writes it: `15.18 (Debian …)`.
    pub version_text: String,
    /// Drawn when the cluster was made.
    pub system: u64,
    pub is_standby: bool,
    /// How far WAL is written (a standby: replayed).
    pub wal_end: Lsn,
    pub wal_level: String,
    pub synchronous_standby_names: String,
    pub slots_max: u32,
    pub slots_used: u32,
    pub senders_max: u32,
    pub senders_used: u32,
    /// In bytes; `None` where the server keeps WAL for a slot without limit.
    pub slot_wal_keep_bytes: Option<u64>,
    pub user: String,
    pub database: String,
}

impl ServerInfo {
    pub async fn read(session: &Session) -> Result<ServerInfo> {
        let row = session
            .query_one(
                "SELECT pg_catalog.current_setting('server_version'), system_identifier, pg_catalog.pg_is_in_recovery(), \
                   (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                         ELSE pg_catalog.pg_current_wal_flush_lsn() END)::text, \
                   pg_catalog.current_setting('wal_level'), pg_catalog.current_setting('synchronous_standby_names'), \
                   pg_catalog.current_setting('max_replication_slots')::int4, \
                   (SELECT count(*)::int4 FROM pg_catalog.pg_replication_slots), \
                   pg_catalog.current_setting('max_wal_senders')::int4, \
                   (SELECT count(*)::int4 FROM pg_catalog.pg_stat_get_wal_senders()), \
                   (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), \
                   current_user::text, pg_catalog.current_database()::text \
                 FROM pg_catalog.pg_control_system()",
                &[],
            )
            .await?;
        let version_text: String = row.get(0);
        let version = major(&version_text).ok_or_else(|| {
            Error::new(Kind::ServerVersion, format!("the server's version `{version_text}` is not known"))
        })?;
        let count = |at: usize| row.get::<_, i32>(at).max(0) as u32;
        Ok(ServerInfo {
            version,
            system: row.get::<_, i64>(1) as u64,
            is_standby: row.get(2),
            wal_end: lsn(row.get(3))?.unwrap_or_default(),
            wal_level: row.get(4),
            synchronous_standby_names: row.get(5),
            slots_max: count(6),
            slots_used: count(7),
            senders_max: count(8),
            senders_used: count(9),
            slot_wal_keep_bytes: u64::try_from(row.get::<_, i64>(10)).ok().map(|megabytes| megabytes << 20),
            user: row.get(11),
            database: row.get(12),
            version_text,
        })
    }

    pub fn require_version(&self) -> Result<()> {
        if self.version < SERVER_VERSION_MIN {
            let message =
                format!("the server is PostgreSQL {}: {SERVER_VERSION_MIN} or later is needed", self.version_text);
            return Err(Error::new(Kind::ServerVersion, message));
        }
        Ok(())
    }

    pub fn require_logical(&self) -> Result<()> {
        if self.wal_level != "logical" {
            return Err(wal_level(&self.wal_level));
        }
        Ok(())
    }

    pub fn require_free_slot(&self) -> Result<()> {
        if self.slots_used >= self.slots_max {
            return Err(no_free_slot(self.slots_max));
        }
        Ok(())
    }

    pub fn require_free_sender(&self) -> Result<()> {
        if self.senders_used >= self.senders_max {
            let message =
                format!("all {} walsenders are in use: raise max_wal_senders and restart the server", self.senders_max);
            return Err(Error::new(Kind::NoFreeSender, message));
        }
        Ok(())
    }

    /// Our slot must not be the standby that commits wait for.
    pub fn require_not_synchronous(&self, application_name: &str) -> Result<()> {
        let names = &self.synchronous_standby_names;
        let mut words = names.split(|c: char| c == ',' || c == '(' || c == ')' || c.is_whitespace());
        let hit = words.find(|word| {
            let word = word.trim_matches('"');
            word == "*" || word.eq_ignore_ascii_case(application_name)
        });
        match hit {
            None => Ok(()),
            Some(_) => Err(Error::new(
                Kind::SynchronousStandby,
                format!(
                    "synchronous_standby_names is `{names}`, which takes us for a standby that every commit waits for: \
                         name the real standbys in it"
                ),
            )),
        }
    }
}

pub(super) fn wal_level(level: &str) -> Error {
    let sql = "ALTER SYSTEM SET wal_level = logical;".to_owned();
    let message = format!(
        "wal_level is `{level}`, and must be `logical`: let an administrator run `{sql}` and restart the server \
                           (hosted: the provider's switch for logical replication)"
    );
    Error::new(Kind::WalLevel, message).with_sql(sql)
}

pub(super) fn no_free_slot(max: u32) -> Error {
    let message = format!(
        "all {max} replication slots are in use: drop one that nobody needs (`SELECT * FROM \
                           pg_replication_slots`), or raise max_replication_slots and restart the server"
    );
    Error::new(Kind::NoFreeSlot, message)
}

pub(super) fn lsn(text: Option<String>) -> Result<Option<Lsn>> {
    text.map(|text| text.parse().map_err(Error::protocol)).transpose()
}
