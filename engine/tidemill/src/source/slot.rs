//! The replication slot: how it is made with a snapshot that begins where it begins, looked at, streamed from and dropped.
//!
//! A slot comes after its publication: one that is older than its publication fails for ever. It is never two-phase: a
//! prepared transaction then comes when it commits, whole.

use std::fmt;
use std::time::Duration;

use tidemill_change::Lsn;
use tokio::time::{Instant, interval_at};

use super::connect::Connector;
use super::error::{Error, Kind, Result};
use super::quote::ident;
use super::server::{lsn, no_free_slot, wal_level};
use super::sql::Session;
use super::wire::{Cancel, Connection, Frames, Status, pooler};
pub use crate::config::SlotName;

/// A slot that is not made after this waits for somebody: time to look for whom.
const WAIT_UNTOLD: Duration = Duration::from_secs(1);

/// A slot as `pg_replication_slots` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    pub name: SlotName,
    /// `None`: a physical slot.
    pub plugin: Option<String>,
    pub database: Option<String>,
    /// Who streams from it.
    pub active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    pub two_phase: bool,
    pub restart: Option<Lsn>,
    pub confirmed_flush: Option<Lsn>,
    /// How much more may be written before it is lost; `None` without a limit.
    pub safe_wal_bytes: Option<i64>,
}

const PLUGIN: &str = "pgoutput";

impl SlotInfo {
    /// It is a slot that we could have made, in this database, and its WAL is still there.
    pub fn require_usable(&self, database: &str) -> Result<()> {
        let name = &self.name;
        let foreign = |what: String| {
            let message =
                format!("slot `{name}` {what}: give another name as `source.slot`, or drop it if nobody needs it");
            Err(Error::new(Kind::SlotForeign, message))
        };
        match (&self.plugin, &self.database) {
            (None, _) => return foreign("is a physical one".into()),
            (Some(plugin), _) if plugin != PLUGIN => {
                return foreign(format!("belongs to the output plugin `{plugin}`"));
            }
            (_, Some(other)) if other != database => return foreign(format!("belongs to database `{other}`")),
            _ if self.two_phase => return foreign("is a two-phase one".into()),
            _ => {}
        }
        if self.wal_status.as_deref() == Some("lost") || self.restart.is_none() {
            return Err(lost(name));
        }
        Ok(())
    }

    /// Nobody streams from it.
    pub fn require_free(&self) -> Result<()> {
        self.active_pid.map_or(Ok(()), |pid| Err(active(&self.name, Some(pid))))
    }
}

fn lost(name: &SlotName) -> Error {
    let message = format!(
        "slot `{name}` is lost: the server threw away WAL that it needs (max_slot_wal_keep_size); drop it by \
                           `tidemill teardown`, then read all rows again"
    );
    Error::new(Kind::SlotLost, message)
}

fn active(name: &SlotName, pid: Option<i32>) -> Error {
    let by = pid.map_or_else(|| "another process".into(), |pid| format!("process {pid} of the server"));
    let message = format!(
        "slot `{name}` is in use by {by}: another engine streams from it; stop that one, or give this one a \
                           slot of its own"
    );
    // A dead engine's slot is free once the server notices.
    Error::new(Kind::SlotActive, message).transient(true)
}

fn gone(name: &SlotName) -> Error {
    Error::new(Kind::SlotGone, format!("slot `{name}` is not there"))
}

pub async fn inspect(session: &Session, name: &SlotName) -> Result<Option<SlotInfo>> {
    let row = session
        .query_opt(
            "SELECT plugin::text, database::text, active_pid, wal_status, two_phase, restart_lsn::text, \
               confirmed_flush_lsn::text, safe_wal_size FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text::name",
            &[&name.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(SlotInfo {
        name: name.clone(),
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        wal_status: row.get(3),
        two_phase: row.get(4),
        restart: lsn(row.get(5))?,
        confirmed_flush: lsn(row.get(6))?,
        safe_wal_bytes: row.get(7),
    }))
}

/// Drops a slot; false where it was not there.
pub async fn drop(session: &Session, name: &SlotName) -> Result<bool> {
    let dropped =
        session.execute("SELECT pg_catalog.pg_drop_replication_slot($1::text::name)", &[&name.as_str()]).await;
    match dropped.map_err(Error::from) {
        Ok(_) => Ok(true),
        Err(error) if error.is_sqlstate("42704") => Ok(false),
        Err(error) if error.is_sqlstate("55006") => Err(active(name, last_number(&error))),
        Err(error) => Err(error.during(format_args!("slot `{name}` cannot be dropped"))),
    }
}

/// A transaction that a slot's creation waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocker {
    /// The session's process; `None` for a prepared transaction.
    pub pid: Option<i32>,
    pub prepared: Option<String>,
    pub user: Option<String>,
    pub application: Option<String>,
    /// As `pg_stat_activity` says it; hidden from roles without `pg_read_all_stats`.
    pub state: Option<String>,
    pub age: Option<Duration>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.pid, &self.prepared) {
            (Some(pid), _) => write!(f, "process {pid}")?,
            (None, Some(name)) => write!(f, "prepared transaction `{name}`")?,
            (None, None) => write!(f, "a prepared transaction")?,
        }
        let told = [&self.user, &self.application, &self.state];
        let told: Vec<_> = told.into_iter().flatten().filter(|text| !text.is_empty()).map(String::as_str).collect();
        if !told.is_empty() {
            write!(f, " ({})", told.join(", "))?;
        }
        self.age.map_or(Ok(()), |age| write!(f, ", open for {} s", age.as_secs()))
    }
}

async fn blockers(session: &Session, waiting: i32) -> Result<Vec<Blocker>> {
    let rows = session
        .query(
            "SELECT b.pid, NULL::text, a.usename::text, a.application_name, a.state, \
               extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age \
             FROM unnest(pg_catalog.pg_blocking_pids($1)) b(pid) LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) \
             WHERE b.pid <> 0 \
             UNION ALL SELECT NULL, gid, owner::text, NULL, NULL, extract(epoch FROM clock_timestamp() - prepared)::float8 \
             FROM pg_catalog.pg_prepared_xacts WHERE 0 = ANY(pg_catalog.pg_blocking_pids($1)) \
             ORDER BY age DESC NULLS LAST",
            &[&waiting],
        )
        .await?;
    let blocker = |row: tokio_postgres::Row| Blocker {
        pid: row.get(0),
        prepared: row.get(1),
        user: row.get(2),
        application: row.get(3),
        state: row.get(4),
        age: row.get::<_, Option<f64>>(5).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    Ok(rows.into_iter().map(blocker).collect())
}

/// A new slot, and the snapshot of the rows as they were where it begins.
#[derive(Debug)]
pub struct Created {
    /// Exports the snapshot: it must stay open and idle for as long as the snapshot is taken up; afterwards it may stream.
    pub connection: Connection,
    /// What committed before is in the snapshot, what commits later is in the stream.
    pub consistent_point: Lsn,
    pub snapshot: String,
}

/// Makes a slot. It waits for every transaction that is open now; while it does, `on_wait` is told for whom, each second.
/// Dropping the future gives up and makes no slot.
pub async fn create(connector: &Connector, name: &SlotName, on_wait: impl FnMut(&[Blocker])) -> Result<Created> {
    let mut connection = connector.replication().await?;
    let sql = format!("CREATE_REPLICATION_SLOT {} LOGICAL {PLUGIN} EXPORT_SNAPSHOT", ident(name.as_str()));
    let rows = match watched(connector, &mut connection, &sql, on_wait).await {
        Ok(rows) => rows,
        Err(error) => return Err(explain_create(&mut connection, name, error).await),
    };
    let row = rows.first().ok_or_else(|| Error::protocol("CREATE_REPLICATION_SLOT has no answer"))?;
    Ok(Created { consistent_point: row.parse(1)?, snapshot: row.text(2)?.to_owned(), connection })
}

/// Proves that replication is allowed and nothing is in between that does not know it.
pub async fn prove_replication(connector: &Connector) -> Result<()> {
    let mut connection = connector.replication().await?;
    connection.identify_system().await.map(|_| ()).map_err(|error| match error.is_sqlstate("42601") {
        true => pooler("the server does not know the replication command IDENTIFY_SYSTEM"),
        false => error,
    })
}

/// Proves that a slot could be made, by one that goes with its session.
pub async fn prove(connector: &Connector, on_wait: impl FnMut(&[Blocker])) -> Result<()> {
    let mut connection = connector.replication().await?;
    let name = SlotName::parse(&format!("tidemill_check_{}", connection.process_id()))
        .map_err(|message| Error::new(Kind::Config, message))?;
    let sql = format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL {PLUGIN} NOEXPORT_SNAPSHOT");
    match watched(connector, &mut connection, &sql, on_wait).await {
        Ok(_) => connection.query(&format!("DROP_REPLICATION_SLOT {name}")).await.map(|_| ()),
        Err(error) => Err(explain_create(&mut connection, &name, error).await),
    }
}

async fn watched(
    connector: &Connector,
    connection: &mut Connection,
    sql: &str,
    mut on_wait: impl FnMut(&[Blocker]),
) -> Result<Vec<super::wire::Row>> {
    let pid = connection.process_id();
    let mut cancel = CancelOnDrop(Some(connection.cancel()));
    let mut looks = interval_at(Instant::now() + WAIT_UNTOLD, WAIT_UNTOLD);
    let mut session = None;
    let query = connection.query(sql);
    tokio::pin!(query);
    let answer = loop {
        tokio::select! {
            answer = &mut query => break answer,
            _ = looks.tick() => {}
        }
        let look = async {
            if session.is_none() {
                session = Some(connector.sql().await?);
            }
            blockers(session.as_ref().expect("made above"), pid).await
        };
        tokio::select! {
            answer = &mut query => break answer,
            found = look => match found {
                Ok(found) if !found.is_empty() => on_wait(&found),
                Ok(_) => {}
                // Looking is a courtesy: the answer itself tells what is wrong.
                Err(error) => tracing::debug!(%error, "cannot see what the slot waits for"),
            },
        }
    };
    cancel.0 = None;
    answer
}

/// A walsender that waits for a transaction does not notice that its client is gone: it has to be told.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let (Some(cancel), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(cancel.send());
        }
    }
}

async fn explain_create(connection: &mut Connection, name: &SlotName, error: Error) -> Error {
    let mut show = async |setting: &str| {
        let rows = connection.query(&format!("SHOW {setting}")).await.ok()?;
        rows.first()?.text(0).ok().map(str::to_owned)
    };
    match error.sqlstate().unwrap_or_default() {
        "42710" => error.explain(Kind::SlotExists, format!("slot `{name}` is there already")),
        "53400" => no_free_slot(show("max_replication_slots").await.and_then(|max| max.parse().ok()).unwrap_or(0)),
        "55000" => match show("wal_level").await {
            Some(level) if level != "logical" => wal_level(&level),
            _ => error.during(format_args!("slot `{name}` cannot be made")),
        },
        "42501" => error.explain(
            Kind::NoReplicationPrivilege,
            "the user may not make replication slots: let an administrator \
                                  give it REPLICATION",
        ),
        // A server that is no walsender takes it for SQL.
        "42601" => pooler("the session takes no replication commands"),
        _ => error.during(format_args!("slot `{name}` cannot be made")),
    }
}

/// A slot's stream. What may be dropped at an await is as [`Connection`] says.
#[derive(Debug)]
pub struct Stream {
    connection: Connection,
    slot: SlotName,
    publication: String,
}

impl Stream {
    /// Streams from `from`, or from the slot's confirmed LSN where that is later.
    pub async fn start(connector: &Connector, slot: &SlotName, publication: &str, from: Lsn) -> Result<Stream> {
        let connection = connector.replication().await?;
        Stream::on(connector, connection, slot, publication, from).await
    }

    /// The same on a connection that is there: the one that made the slot, whose snapshot is then gone.
    pub async fn on(
        connector: &Connector,
        mut connection: Connection,
        slot: &SlotName,
        publication: &str,
        from: Lsn,
    ) -> Result<Stream> {
        match connection.start_replication(slot.as_str(), publication, from).await {
            Ok(()) => Ok(Stream { connection, slot: slot.clone(), publication: publication.into() }),
            Err(error) => Err(explain_start(connector, slot, error).await),
        }
    }

    /// The next messages, as [`super::wire::Payload`] reads them; none when the server ends the stream.
    pub async fn read(&mut self) -> Result<Frames> {
        let read = self.connection.read().await;
        read.map_err(|error| match error.sqlstate() {
            Some("42704") => {
                let message = format!(
                    "publication `{}` is gone, or younger than changes that slot `{}` still has to bring, and it never comes past \
                     them: `tidemill teardown` drops the slot, then `tidemill run` makes a new one and reads all rows anew",
                    self.publication, self.slot
                );
                error.explain(Kind::PublicationGone, message)
            }
            Some("58P01") => lost(&self.slot).because(error),
            _ => error,
        })
    }

    pub async fn send_status(&mut self, status: Status) -> Result<()> {
        self.connection.send_status(status).await
    }

    /// As [`Connection::finish`]: afterwards the server has taken every status.
    pub async fn finish(mut self) -> Result<()> {
        self.connection.finish().await
    }
}

async fn explain_start(connector: &Connector, slot: &SlotName, error: Error) -> Error {
    match error.sqlstate().unwrap_or_default() {
        "42704" => gone(slot).because(error),
        "55006" => active(slot, last_number(&error)).because(error),
        "42601" => pooler("the session takes no replication commands"),
        "55000" => {
            let inspected = async { inspect(&connector.sql().await?, slot).await }.await;
            match inspected {
                Ok(None) => gone(slot),
                Ok(Some(info)) => match info.require_usable(&connector.url().database) {
                    Err(why) => why,
                    Ok(()) => error.during(format_args!("slot `{slot}` cannot be streamed from")),
                },
                Err(_) => error.during(format_args!("slot `{slot}` cannot be streamed from")),
            }
        }
        _ => error.during(format_args!("slot `{slot}` cannot be streamed from")),
    }
}

/// The server names the process that holds a slot at the end of its message, in whatever language.
fn last_number(error: &Error) -> Option<i32> {
    let message = &error.server_error()?.message;
    message.split(|c: char| !c.is_ascii_digit()).rfind(|digits| !digits.is_empty())?.parse().ok()
}
