//! The database: a private Postgres with one table of 12 columns, whose rows came in small transactions after a slot was made.
//!
//! Each drain gets a copy of that slot, so all of them read the same WAL.

use std::process::{Command, Stdio};

use tidemill::private_postgres::{Options, PrivatePostgres};

use super::Result;
use super::receiver::id_hash;

pub(super) const TABLE: &str = "products";
pub(super) const PUBLICATION: &str = "bench";
/// The slot that all are copied from.
const FIRST_SLOT: &str = "prepared";
/// Applications commit some rows at a time; one huge transaction would measure how the server spills it.
const TRANSACTION_ROWS: u64 = 1000;
/// Each run takes a slot and leaves it.
const SLOTS_MAX: u32 = 200;

const COLUMNS: [(&str, &str, &str); 12] = [
    ("id", "bigint PRIMARY KEY", "n"),
    ("sku", "text NOT NULL", "'SKU-' || lpad(n::text, 8, '0')"),
    ("name", "text NOT NULL", "initcap(w[1 + n % 8]) || ' chair with a ' || w[1 + n / 8 % 8] || ' seat'"),
    (
        "description",
        "text NOT NULL",
        "(SELECT string_agg(w[1 + (n * 7 + i * 5 + n / 8 * i) % 8], ' ') FROM generate_series(1, 34) i) || '. “' || w[1 + n % 5] || '”'",
    ),
    ("price", "numeric(12,2) NOT NULL", "(n * 7919 % 1000000) / 100.0"),
    ("quantity", "integer NOT NULL", "n * 17 % 500"),
    ("in_stock", "boolean NOT NULL", "n % 10 <> 0"),
    ("rating", "double precision", "CASE WHEN n % 7 <> 0 THEN 1 + (n * 13 % 41) / 10.0 END"),
    (
        "attributes",
        "jsonb NOT NULL",
        "jsonb_build_object('colour', w[1 + n % 7], 'weight', n % 4000, 'tags', jsonb_build_array(w[1 + n % 3], 'new'))",
    ),
    ("vendor", "uuid NOT NULL", "md5((n % 5000)::text)::uuid"),
    (
        "created_at",
        "timestamptz NOT NULL",
        "timestamptz '2024-01-01 00:00:00+00' + make_interval(secs => n * 61 + n % 1000 / 1000.0)",
    ),
    ("updated_at", "timestamptz NOT NULL", "timestamptz '2026-01-01 00:00:00+00' + make_interval(secs => n * 7)"),
];

/// Their names, as a list in SQL or YAML.
pub(super) fn columns() -> String {
    COLUMNS.map(|(name, ..)| name).join(", ")
}

/// The ids that pass the filter.
pub(super) struct Ids {
    pub(super) count: u64,
    pub(super) sum: u64,
}

pub(super) fn expected_ids(rows: u64) -> Ids {
    let ids = (1..=rows).filter(|id| id % 10 != 0);
    ids.fold(Ids { count: 0, sum: 0 }, |ids, id| Ids {
        count: ids.count + 1,
        sum: ids.sum.wrapping_add(id_hash(id.to_string().as_bytes())),
    })
}

pub(super) struct Source {
    postgres: PrivatePostgres,
    /// Everything that counts was committed before this.
    end: String,
    slots: u32,
}

impl Source {
    pub(super) fn fill(rows: u64) -> Result<Source> {
        let slots = SLOTS_MAX.to_string();
        // Neither may begin in the middle of one run and not of another.
        let quiet = [
            ("autovacuum", "off"),
            ("checkpoint_timeout", "1h"),
            ("max_wal_size", "16GB"),
            ("max_replication_slots", &slots),
        ];
        let settings = quiet.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let postgres =
            PrivatePostgres::start(Options { settings, ..Options::default() }).map_err(|error| error.to_string())?;
        let mut source = Source { postgres, end: String::new(), slots: 0 };
        let definition = COLUMNS.map(|(name, kind, _)| format!("{name} {kind}")).join(", ");
        source.sql(&format!("CREATE TABLE {TABLE} ({definition})"))?;
        source.sql(&format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE {TABLE}"))?;
        source.sql(&format!("SELECT pg_create_logical_replication_slot('{FIRST_SLOT}', 'pgoutput')"))?;
        let last = rows.div_ceil(TRANSACTION_ROWS);
        source.sql(&format!(
            "DO $$ BEGIN FOR part IN 1..{last} LOOP {}; COMMIT; END LOOP; END $$",
            insert(&format!("SELECT generate_series((part - 1) * {TRANSACTION_ROWS} + 1::bigint, least(part * {TRANSACTION_ROWS}, {rows})) AS n"))
        ))?;
        source.end = source.sql("SELECT pg_current_wal_insert_lsn()")?;
        // pg_recvlogical ends at the first message past its end. This row is one, and the filter drops it.
        source.sql(&insert("SELECT 0::bigint AS n"))?;
        source.sql(&format!("VACUUM ANALYZE {TABLE}"))?;
        source.sql("CHECKPOINT")?;
        Ok(source)
    }

    pub(super) fn url(&self) -> String {
        self.postgres.url()
    }

    pub(super) fn version(&self) -> Result<String> {
        Ok(format!("PostgreSQL {}", self.sql("SHOW server_version")?))
    }

    pub(super) fn row_bytes(&self) -> Result<String> {
        self.sql(&format!("SELECT round(avg(octet_length({TABLE}::text) - 1)) FROM {TABLE}"))
    }

    /// A slot that has all to drain.
    pub(super) fn slot_at_the_start(&mut self) -> Result<String> {
        let slot = self.next_slot();
        self.sql(&format!("SELECT pg_copy_logical_replication_slot('{FIRST_SLOT}', '{slot}')"))?;
        Ok(slot)
    }

    /// A slot that has nothing to drain.
    pub(super) fn slot_at_the_end(&mut self) -> Result<String> {
        let slot = self.next_slot();
        self.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"))?;
        Ok(slot)
    }

    fn next_slot(&mut self) -> String {
        self.slots += 1;
        format!("run_{}", self.slots)
    }

    /// What was read must be confirmed too.
    pub(super) fn expect_drained(&self, slot: &str) -> Result<()> {
        let end = &self.end;
        let query =
            format!("SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = '{slot}'");
        match self.sql(&query)?.as_str() {
            "t" => Ok(()),
            _ => Err(format!("slot `{slot}` is not confirmed up to {end}")),
        }
    }

    /// The yardstick of the stream.
    pub(super) fn recvlogical(&self, slot: &str) -> Command {
        let mut command = self.program("pg_recvlogical");
        command.arg("-d").arg(self.url()).args(["--slot", slot, "--start", "--no-loop", "-f", "/dev/null"]);
        command.args(["-o", "proto_version=1", "-o"]).arg(format!("publication_names={PUBLICATION}"));
        command.arg(format!("--endpos={}", self.end));
        command
    }

    /// The yardstick of the backfill.
    pub(super) fn copy(&self) -> Command {
        let mut command = self.program("psql");
        command.arg("-X").arg(self.url()).arg("-c").arg(format!("COPY {TABLE} TO STDOUT"));
        command.stdout(Stdio::null());
        command
    }

    fn sql(&self, sql: &str) -> Result<String> {
        let mut command = self.program("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).arg(self.url()).arg("-c").arg(sql);
        let output = command.output().map_err(|error| format!("psql cannot be started: {error}"))?;
        if !output.status.success() {
            return Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A program of the client's: beside the server, or where PATH has it.
    fn program(&self, name: &str) -> Command {
        let beside = self.postgres.bin().join(name);
        let mut command = if beside.is_file() { Command::new(beside) } else { Command::new(name) };
        command.stdin(Stdio::null());
        command
    }
}

/// One row for each `n` of a query.
fn insert(numbers: &str) -> String {
    let values = COLUMNS.map(|(_, _, value)| value).join(", ");
    let words = "SELECT ARRAY['oak', 'walnut', 'linen', 'brass', 'steel', 'wool', 'glass', 'cork']";
    format!("INSERT INTO {TABLE} SELECT {values} FROM ({numbers}) AS numbers, ({words}) AS words(w)")
}
