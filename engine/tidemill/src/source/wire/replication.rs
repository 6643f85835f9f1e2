//! What goes through a replication connection once it streams: WAL and keepalives towards us, statuses back.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BufMut;
use tidemill_change::Lsn;

use super::super::error::{Error, Result};
use super::super::quote::ident;
use super::{Connection, Row};

/// Postgres counts its time from 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A message of the walsender. Times are microseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A message of the output plugin.
    Wal {
        /// Where the change is; zero for messages that have no place of their own.
        start: Lsn,
        /// The server's WAL end when it sent this.
        end: Lsn,
        sent_us: i64,
        /// The plugin's message, in the chunk.
        body: Range<usize>,
    },
    /// All up to `end` was sent that concerns us.
    Keepalive {
        end: Lsn,
        sent_us: i64,
        /// The server will hang up unless it hears from us.
        reply: bool,
    },
}

impl Payload {
    /// Reads one of [`super::Frames::frames`].
    #[inline]
    pub fn parse(chunk: &[u8], frame: &Range<usize>) -> Result<Payload> {
        let cut = || Error::protocol("a replication message is cut short");
        let body = chunk.get(frame.clone()).ok_or_else(cut)?;
        let word = |at: usize| {
            let bytes = body.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_be_bytes).ok_or_else(cut)
        };
        match body.first() {
            Some(b'w') => Ok(Payload::Wal {
                start: Lsn(word(1)?),
                end: Lsn(word(9)?),
                sent_us: (word(17)? as i64).saturating_add(EPOCH_US),
                body: frame.start + 25..frame.end,
            }),
            Some(b'k') => Ok(Payload::Keepalive {
                end: Lsn(word(1)?),
                sent_us: (word(9)? as i64).saturating_add(EPOCH_US),
                reply: *body.get(17).ok_or_else(cut)? != 0,
            }),
            Some(other) => Err(Error::protocol(format_args!("replication message `{}`", char::from(*other)))),
            None => Err(cut()),
        }
    }
}

/// What we tell the server of our progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub received: Lsn,
    /// The confirmed LSN: the slot moves here, and the WAL before it may go.
    pub flushed: Lsn,
    /// Ask for a keepalive at once.
    pub reply: bool,
}

impl Connection {
    /// Sends a status. May be dropped at any await: the rest goes out with the next write.
    pub async fn send_status(&mut self, status: Status) -> Result<()> {
        self.output.reserve(39);
        self.output.put_u8(b'd');
        self.output.put_i32(38);
        self.output.put_u8(b'r');
        self.output.put_u64(status.received.0);
        self.output.put_u64(status.flushed.0);
        // What was applied: the same as what was made durable, as far as the server is concerned.
        self.output.put_u64(status.flushed.0);
        self.output.put_i64(now_us() - EPOCH_US);
        self.output.put_u8(status.reply.into());
        self.flush().await
    }

    /// Begins to stream from a slot. The server goes back to the slot's own confirmed LSN where `from` is before it.
    pub async fn start_replication(&mut self, slot: &str, publication: &str, from: Lsn) -> Result<()> {
        self.copy_both(&start_replication_sql(slot, publication, from)).await
    }

    /// Which cluster this is, and how far it has written. Only on a replication connection.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity> {
        let rows = self.query("IDENTIFY_SYSTEM").await?;
        let row = rows.first().ok_or_else(|| Error::protocol("IDENTIFY_SYSTEM has no answer"))?;
        SystemIdentity::of(row)
    }
}

/// Version 1 of pgoutput's protocol: rows in text, a transaction only once it has committed.
pub fn start_replication_sql(slot: &str, publication: &str, from: Lsn) -> String {
    // A list of identifiers inside a literal; the replication grammar knows no E'' strings.
    let names = ident(publication).replace('\'', "''");
    format!("START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{names}')", ident(slot))
}

/// The answer to `IDENTIFY_SYSTEM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Drawn when the cluster was made; a copy by base backup keeps it.
    pub system: u64,
    /// Rises with each promotion.
    pub timeline: u32,
    /// How far WAL is flushed.
    pub flushed: Lsn,
    pub database: Option<String>,
}

impl SystemIdentity {
    fn of(row: &Row) -> Result<SystemIdentity> {
        Ok(SystemIdentity {
            system: row.parse(0)?,
            timeline: row.parse(1)?,
            flushed: row.parse(2)?,
            database: row.get(3)?.map(str::to_owned),
        })
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_cuts_are_noticed() {
        let mut chunk = vec![0, 0];
        chunk.extend(b"w");
        chunk.extend(8u64.to_be_bytes());
        chunk.extend(16u64.to_be_bytes());
        chunk.extend(1_000_000i64.to_be_bytes());
        chunk.extend(b"Bxyz");
        let frame = 2..chunk.len();
        let read = Payload::parse(&chunk, &frame).unwrap();
        let sent_us = EPOCH_US + 1_000_000;
        assert_eq!(read, Payload::Wal { start: Lsn(8), end: Lsn(16), sent_us, body: 27..31 });
        for end in 2..26 {
            assert!(Payload::parse(&chunk, &(2..end)).is_err());
        }
        chunk[2] = b'k';
        let read = Payload::parse(&chunk, &frame).unwrap();
        assert_eq!(read, Payload::Keepalive { end: Lsn(8), sent_us: EPOCH_US + 16, reply: false });
        chunk[2] = b'?';
        assert!(Payload::parse(&chunk, &frame).is_err());
        assert!(Payload::parse(&chunk, &(5..99)).is_err());
    }

    #[test]
    fn names_are_quoted_for_the_replication_grammar() {
        assert_eq!(
            start_replication_sql("s1", r#"it's "p""#, Lsn(255)),
            r#"START_REPLICATION SLOT "s1" LOGICAL 0/FF (proto_version '1', publication_names '"it''s ""p"""')"#
        );
    }
}
