//! Dead letters: changes that no document came of, kept with the error until somebody mends the cause.
//!
//! Invariant: a letter is on disk before its change counts as settled. A change that comes again after a crash finds its
//! letter and does not make a second.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params, params_from_iter};
use serde::{Deserialize, Serialize};
use tidemill_change::{Lsn, Version};

use super::{State, lsn, schema, to_sql};
use crate::error::Result;

/// Letters that a list gives at most when nobody says how many.
const LIST_ROWS_DEFAULT: u64 = 100;

/// Gives an enum its words in the state and in `--json`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<$name, String> {
                match word {
                    $($word => Ok($name::$variant),)*
                    _ => Err(format!("expected one of {}", [$($word),*].join(", "))),
                }
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.as_str().to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$name> {
                value.as_str()?.parse().map_err(|message: String| FromSqlError::Other(message.into()))
            }
        }
    };
}

words! {
    /// What was to be done.
    LetterKind {
        /// A document was to be indexed: the letter has its action line and its document.
        Index = "index",
        /// A document was to be deleted.
        Delete = "delete",
        /// A row did not become a document: the letter has the row, as JSON, in the document's place.
        Row = "row",
    }
}

words! {
    /// What became of a letter.
    LetterState {
        /// Entered when it is written; it waits.
        Open = "open",
        /// Its change was sent again and taken.
        Retried = "retried",
        /// A later change of the same row was taken.
        Superseded = "superseded",
        /// Somebody gave it up.
        Dropped = "dropped",
    }
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterPlace {
    pub index: String,
    pub key: String,
}

/// A dead letter to be written.
#[derive(Clone, Debug)]
pub struct NewDeadLetter {
    pub stream: String,
    /// `schema.table`.
    pub table: String,
    /// The document's `_id`.
    pub key: String,
    pub index: String,
    /// The row's other documents, where there were to be several.
    pub also: Vec<LetterPlace>,
    pub kind: LetterKind,
    pub commit: Lsn,
    pub ordinal: u32,
    pub version: Version,
    /// The action line as it was sent.
    pub action: Option<String>,
    pub document: Option<String>,
    /// The server's `error.type`, or a plugin's code.
    pub error_type: String,
    /// The server's error as JSON, or a reason.
    pub error: String,
    pub stage: Option<String>,
    pub plugin_sha256: Option<String>,
    pub attempts: u32,
}

impl NewDeadLetter {
    pub(super) fn bytes(&self) -> i64 {
        let texts = [&self.stream, &self.table, &self.key, &self.index, &self.error_type, &self.error];
        let options = [&self.action, &self.document, &self.stage, &self.plugin_sha256];
        let also = self.also.iter().map(|place| place.index.len() + place.key.len()).sum::<usize>();
        let bytes: usize = also
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + options.iter().map(|text| text.as_ref().map_or(0, String::len)).sum::<usize>();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// A dead letter as `dead-letters list` and `show` give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    pub id: i64,
    pub stream: String,
    pub table: String,
    pub key: String,
    pub index: String,
    /// The row's other documents, where there were to be several.
    pub also: Vec<LetterPlace>,
    pub kind: LetterKind,
    /// As Postgres writes it.
    pub commit_lsn: String,
    pub ordinal: u32,
    pub version: u64,
    pub error_type: String,
    pub error: String,
    pub stage: Option<String>,
    pub plugin_sha256: Option<String>,
    pub attempts: u32,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    pub state: LetterState,
    pub bytes: u64,
    /// Only in what [`State::dead_letter`] gives: documents are large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// What a letter that was sent again got for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedLetter {
    pub id: i64,
    pub error_type: String,
    /// The server's error as JSON, or a reason.
    pub error: String,
}

/// Which letters are meant; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterFilter {
    pub stream: Option<String>,
    pub state: Option<LetterState>,
    pub table: Option<String>,
    pub key: Option<String>,
    pub error_type: Option<String>,
    /// Last seen at this time or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Beyond this id: the next page.
    pub after: Option<i64>,
    pub limit: Option<u64>,
}

/// How many letters there are, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LetterTotals {
    pub rows: u64,
    pub bytes: u64,
}

const COLUMNS: &str = "id, stream, table_name, key, index_name, kind, commit_lsn, ordinal, version, error_type, error,
    stage, plugin_sha256, attempts, first_seen_ms, last_seen_ms, state, bytes";

/// A file that an engine of before wrote is read as it is.
fn columns(connection: &Connection) -> rusqlite::Result<String> {
    let has_also = schema::version(connection)? >= schema::WITH_ALSO;
    Ok(format!("{COLUMNS}, {}", if has_also { "also" } else { "'[]'" }))
}

impl State {
    /// Writes letters; they are on disk when this returns. One that is there already is brought up to date.
    pub fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<()> {
        let now = now_ms();
        self.run(|c| {
            let transaction = c.transaction()?;
            letters.iter().try_for_each(|letter| insert(&transaction, letter, now))?;
            transaction.commit()
        })
    }

    /// The letters of a stream that wait.
    pub fn dead_letter_totals(&self, stream: &str) -> Result<LetterTotals> {
        self.run(|c| {
            let query =
                "SELECT count(*), coalesce(sum(bytes), 0) FROM dead_letters WHERE stream = ?1 AND state = 'open'";
            c.query_row(query, [stream], |row| {
                Ok(LetterTotals { rows: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
            })
        })
    }

    /// The stage that refused most of the rows whose letters wait, and how many; none where no stage refused any.
    pub fn most_dead_letters(&self, stream: &str) -> Result<Option<(String, u64)>> {
        let query =
            "SELECT stage, count(*) FROM dead_letters WHERE stream = ?1 AND state = 'open' AND stage IS NOT NULL
             GROUP BY stage ORDER BY 2 DESC, 1 LIMIT 1";
        self.run(|c| c.query_row(query, [stream], |row| Ok((row.get(0)?, unsigned(row.get(1)?)))).optional())
    }

    /// The ids of an index whose rows, at this version or a later one, were refused and wait.
    pub fn rows_refused(&self, stream: &str, index: &str, since: Version) -> Result<HashSet<String>> {
        let query = "SELECT key FROM dead_letters WHERE stream = ?1 AND index_name = ?2 AND version >= ?3
             AND kind <> 'delete' AND state = 'open'
             UNION SELECT value ->> 'key' FROM dead_letters, json_each(also) WHERE stream = ?1 AND version >= ?3
             AND kind <> 'delete' AND state = 'open' AND also <> '[]' AND value ->> 'index' = ?2";
        let values = params![stream, index, version_to_sql(since)];
        self.run(|c| c.prepare(query)?.query_map(values, |row| row.get(0))?.collect())
    }

    /// Letters in the order they came, without their documents.
    pub fn dead_letters(&self, filter: &LetterFilter) -> Result<Vec<DeadLetter>> {
        let (condition, mut values) = condition(filter);
        values.push(Value::from(i64::try_from(filter.limit.unwrap_or(LIST_ROWS_DEFAULT)).unwrap_or(i64::MAX)));
        self.run(|c| {
            let columns = columns(c)?;
            let query = format!("SELECT {columns}, NULL, NULL FROM dead_letters WHERE {condition} ORDER BY id LIMIT ?");
            c.prepare(&query)?.query_map(params_from_iter(values), letter_of_row)?.collect()
        })
    }

    /// How many letters there are of those that a list gives in pages.
    pub fn count_dead_letters(&self, filter: &LetterFilter) -> Result<u64> {
        let (condition, values) = condition(filter);
        let query = format!("SELECT count(*) FROM dead_letters WHERE {condition}");
        self.run(|c| c.query_row(&query, params_from_iter(values), |row| row.get(0))).map(unsigned)
    }

    /// One letter with its document.
    pub fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>> {
        self.run(|c| {
            let query = format!("SELECT {}, action, document FROM dead_letters WHERE id = ?1", columns(c)?);
            c.query_row(&query, [id], letter_of_row).optional()
        })
    }

    /// Says what became of letters that were open; gives how many were.
    pub fn mark_dead_letters(&self, ids: &[i64], state: LetterState) -> Result<usize> {
        let now = now_ms();
        self.run(|c| {
            let transaction = c.transaction()?;
            let mut marked = 0;
            for id in ids {
                let mark = "UPDATE dead_letters SET state = ?2, last_seen_ms = ?3 WHERE id = ?1 AND state = 'open'";
                marked += transaction.prepare_cached(mark)?.execute(params![id, state, now])?;
            }
            transaction.commit()?;
            Ok(marked)
        })
    }

    /// Letters that were sent again and refused again: one attempt more, and the error of the last.
    pub fn refuse_dead_letters(&self, refused: &[RefusedLetter]) -> Result<()> {
        let now = now_ms();
        self.run(|c| {
            let transaction = c.transaction()?;
            for letter in refused {
                // The size counts towards the stream's limit.
                let refuse = "UPDATE dead_letters SET attempts = attempts + 1, last_seen_ms = ?4, error_type = ?2, error = ?3,
                        bytes = bytes - octet_length(error_type) - octet_length(error) + octet_length(?2) + octet_length(?3)
                     WHERE id = ?1 AND state = 'open'";
                let values = params![letter.id, letter.error_type, letter.error, now];
                transaction.prepare_cached(refuse)?.execute(values)?;
            }
            transaction.commit()
        })
    }

    /// Of letters of one document the newest alone has something to say: marks those among these that have a newer open
    /// one beside them; gives how many there were. A row that never got an id is nobody's document.
    pub fn supersede_by_newer_letters(&self, ids: &[i64]) -> Result<usize> {
        // The list of tables lets each look go by the key; `+` keeps it from going through all that are open.
        let mark = "UPDATE dead_letters AS old SET state = 'superseded' WHERE id = ?1 AND state = 'open' AND key <> ''
             AND EXISTS (SELECT 1 FROM dead_letters AS newer WHERE newer.stream = old.stream
                AND newer.table_name IN (SELECT value FROM json_each(?2)) AND newer.key = old.key
                AND newer.index_name = old.index_name AND +newer.state = 'open'
                AND (newer.version, newer.id) > (old.version, old.id))";
        self.run(|c| {
            let transaction = c.transaction()?;
            let tables = "SELECT json_group_array(table_name) FROM (SELECT DISTINCT table_name FROM dead_letters)";
            let tables: String = transaction.query_row(tables, [], |row| row.get(0))?;
            let mut marked = 0;
            for id in ids {
                marked += transaction.prepare_cached(mark)?.execute(params![id, tables])?;
            }
            transaction.commit()?;
            Ok(marked)
        })
    }

    /// Marks the open letters of an index whose keys begin so and whose changes are older: nothing is left of their
    /// rows. Gives how many there were.
    pub fn supersede_dead_letters_under(
        &self,
        stream: &str,
        index: &str,
        prefix: &str,
        version: Version,
    ) -> Result<usize> {
        let mark =
            "UPDATE dead_letters SET state = 'superseded' WHERE stream = ?1 AND state = 'open' AND index_name = ?2
             AND substr(key, 1, length(?3)) = ?3 AND version < ?4";
        self.run(|c| c.execute(mark, params![stream, index, prefix, version_to_sql(version)]))
    }

    /// Marks the open letters of a table's rows that had no name and whose changes are older: all its rows were read since,
    /// or none is left. Gives how many there were.
    pub fn supersede_nameless_letters_under(&self, stream: &str, table: &str, version: Version) -> Result<usize> {
        let mark = "UPDATE dead_letters SET state = 'superseded' WHERE stream = ?1 AND table_name = ?2 AND key = ''
             AND version < ?3 AND state = 'open'";
        self.run(|c| c.execute(mark, params![stream, table, version_to_sql(version)]))
    }

    /// Marks the letters of rows of which a later change was taken; gives how many there were.
    pub fn supersede_dead_letters<'a>(
        &self,
        stream: &str,
        taken: impl IntoIterator<Item = (&'a str, &'a str, Version)>,
    ) -> Result<usize> {
        self.run(|c| {
            let transaction = c.transaction()?;
            let mut marked = 0;
            for (index, key, version) in taken {
                let mark = "UPDATE dead_letters SET state = 'superseded'
                     WHERE stream = ?1 AND index_name = ?2 AND key = ?3 AND version < ?4 AND state = 'open'";
                let values = params![stream, index, key, version_to_sql(version)];
                marked += transaction.prepare_cached(mark)?.execute(values)?;
            }
            transaction.commit()?;
            Ok(marked)
        })
    }

    /// Removes the oldest open letters of a stream until both limits hold; gives how many went.
    pub fn drop_oldest_dead_letters(&self, stream: &str, rows_max: u64, bytes_max: u64) -> Result<u64> {
        self.run(|c| {
            let transaction = c.transaction()?;
            // From the newest back: what is beyond either limit goes.
            let newest_to_go: Option<i64> = transaction.query_row(
                "SELECT max(id) FROM (
                    SELECT id, row_number() OVER w AS rows, sum(bytes) OVER w AS total FROM dead_letters
                    WHERE stream = ?1 AND state = 'open' WINDOW w AS (ORDER BY id DESC)
                 ) WHERE rows > ?2 OR total > ?3",
                params![stream, limit(rows_max), limit(bytes_max)],
                |row| row.get(0),
            )?;
            let delete = "DELETE FROM dead_letters WHERE stream = ?1 AND state = 'open' AND id <= ?2";
            let gone = transaction.execute(delete, params![stream, newest_to_go])?;
            transaction.commit()?;
            Ok(gone as u64)
        })
    }

    /// Removes letters that somebody or something dealt with, but the newest `keep` of them.
    pub fn prune_dead_letters(&self, keep: u64) -> Result<u64> {
        let delete = "DELETE FROM dead_letters WHERE state <> 'open' AND id NOT IN
             (SELECT id FROM dead_letters WHERE state <> 'open' ORDER BY id DESC LIMIT ?1)";
        self.run(|c| c.execute(delete, [limit(keep)])).map(|gone| gone as u64)
    }
}

fn insert(connection: &Connection, letter: &NewDeadLetter, now_ms: i64) -> rusqlite::Result<()> {
    let insert =
        "INSERT INTO dead_letters (stream, table_name, key, index_name, kind, commit_lsn, ordinal, version, action,
            document, error_type, error, stage, plugin_sha256, attempts, first_seen_ms, last_seen_ms, state, bytes, also)
         VALUES (:stream, :table, :key, :index, :kind, :commit, :ordinal, :version, :action, :document, :error_type,
            :error, :stage, :plugin_sha256, :attempts, :now, :now, 'open', :bytes, :also)
         ON CONFLICT (stream, table_name, key, commit_lsn, ordinal) DO UPDATE SET index_name = excluded.index_name,
            kind = excluded.kind, version = excluded.version, action = excluded.action, document = excluded.document,
            error_type = excluded.error_type, error = excluded.error, stage = excluded.stage,
            plugin_sha256 = excluded.plugin_sha256, attempts = attempts + excluded.attempts,
            last_seen_ms = excluded.last_seen_ms, state = 'open', bytes = excluded.bytes, also = excluded.also";
    connection.prepare_cached(insert)?.execute(named_params! {
        ":stream": letter.stream,
        ":table": letter.table,
        ":key": letter.key,
        ":index": letter.index,
        ":kind": letter.kind,
        ":commit": to_sql(letter.commit),
        ":ordinal": letter.ordinal,
        ":version": version_to_sql(letter.version),
        ":action": letter.action,
        ":document": letter.document,
        ":error_type": letter.error_type,
        ":error": letter.error,
        ":stage": letter.stage,
        ":plugin_sha256": letter.plugin_sha256,
        ":attempts": letter.attempts,
        ":now": now_ms,
        ":bytes": letter.bytes(),
        ":also": serde_json::to_string(&letter.also).expect("texts are JSON"),
    })?;
    Ok(())
}

fn condition(filter: &LetterFilter) -> (String, Vec<Value>) {
    let (mut terms, mut values) = (vec!["true"], Vec::new());
    let texts = [
        ("stream = ?", filter.stream.clone()),
        ("state = ?", filter.state.map(|state| state.as_str().to_owned())),
        ("table_name = ?", filter.table.clone()),
        ("key = ?", filter.key.clone()),
        ("error_type = ?", filter.error_type.clone()),
    ];
    for (term, text) in texts {
        if let Some(text) = text {
            terms.push(term);
            values.push(Value::from(text));
        }
    }
    for (term, number) in [("last_seen_ms >= ?", filter.since_ms), ("id > ?", filter.after)] {
        if let Some(number) = number {
            terms.push(term);
            values.push(Value::from(number));
        }
    }
    (terms.join(" AND "), values)
}

fn letter_of_row(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        stream: row.get(1)?,
        table: row.get(2)?,
        key: row.get(3)?,
        index: row.get(4)?,
        kind: row.get(5)?,
        commit_lsn: lsn(row.get(6)?).to_string(),
        ordinal: row.get(7)?,
        version: unsigned(row.get(8)?),
        error_type: row.get(9)?,
        error: row.get(10)?,
        stage: row.get(11)?,
        plugin_sha256: row.get(12)?,
        attempts: row.get(13)?,
        first_seen_ms: row.get(14)?,
        last_seen_ms: row.get(15)?,
        state: row.get(16)?,
        bytes: unsigned(row.get(17)?),
        also: also_of(&row.get::<_, String>(18)?),
        action: row.get(19)?,
        document: row.get(20)?,
    })
}

/// What is none of ours names no other document.
fn also_of(json: &str) -> Vec<LetterPlace> {
    serde_json::from_str(json).unwrap_or_default()
}

/// A version has 63 bits, so that it is a signed number's positive half.
fn version_to_sql(version: Version) -> i64 {
    limit(version.get())
}

fn limit(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
