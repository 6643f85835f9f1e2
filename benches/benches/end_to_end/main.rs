//! The whole way against outside yardsticks: what `tidemill run` takes to bring rows to a receiver that only answers.
//!
//! ```text
//!  private Postgres ──► pg_recvlogical, psql COPY ──► /dev/null            the yardsticks
//!          └──────────► tidemill run --until-caught-up ──► receiver        ours, with two stages
//! ```
//!
//! Each is a process of its own, so that its CPU and memory can be told apart, and each takes turns with its yardstick:
//! yardstick, ours, yardstick. A pair is one run of ours against the mean of the yardstick's runs before and after it. The
//! time is the process's whole life, its start and its last word to Postgres included; `startup_ms` is what a run takes
//! that has nothing to do. A run counts only if every document came once, with the bytes that all other runs gave it.
//!
//! `ROWS` and `PAIRS` in the environment set the size; `--test` asks only whether all of it works. Other words choose:
//! `stream`, `backfill`, `startup`.

mod engine;
mod figures;
mod process;
mod receiver;
mod source;

use std::process::ExitCode;

use self::engine::{Engine, Start};
use self::figures::{Pairs, out};
use self::process::Usage;
use self::receiver::{Counts, Receiver};
use self::source::Source;

/// What went wrong, in words: nobody branches on it.
type Result<T> = std::result::Result<T, String>;

struct Options {
    rows: u64,
    pairs: usize,
    wanted: Vec<String>,
}

impl Options {
    fn read(args: &[String]) -> Result<Options> {
        let test = args.iter().any(|arg| arg == "--test");
        let rows = number("ROWS", if test { 2_000 } else { 200_000 })?;
        let pairs = number("PAIRS", if test { 1 } else { 3 })?.max(1) as usize;
        Ok(Options { rows, pairs, wanted: args.iter().filter(|arg| !arg.starts_with('-')).cloned().collect() })
    }

    /// Other benches get the same words, so one that is unknown here chooses nothing.
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == name || wanted == "end_to_end")
    }
}

fn number(name: &str, default: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name} is `{text}`, not a number")),
        Err(_) => Ok(default),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some(receiver::ARGUMENT) => receiver::serve(),
        _ => Options::read(&args).and_then(|options| run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out(format_args!("end_to_end: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if !["startup", "stream", "backfill"].iter().any(|name| options.wants(name)) {
        return Ok(());
    }
    let source = Source::fill(options.rows)?;
    let bench = Bench {
        rows: options.rows,
        pairs: options.pairs,
        engine: Engine::new(&source)?,
        receiver: Receiver::start()?,
        checksum: None,
        source,
    };
    bench.measure(options)
}

struct Bench {
    rows: u64,
    pairs: usize,
    source: Source,
    engine: Engine,
    receiver: Receiver,
    /// Of the documents of the first run: all others have the same.
    checksum: Option<u64>,
}

impl Bench {
    fn measure(mut self, options: &Options) -> Result<()> {
        let (rows, bytes) = (self.rows, self.source.row_bytes()?);
        out(format_args!("end_to_end: {rows} rows of {bytes} B as COPY text, {}", self.source.version()?));
        if options.wants("startup") {
            self.startup()?;
        }
        if options.wants("stream") {
            let pairs = self.take_turns("stream", Bench::drain_by_others, Bench::drain)?;
            pairs.print("stream", rows);
        }
        if options.wants("backfill") {
            let pairs = self.take_turns("backfill", Bench::copy_by_others, Bench::backfill)?;
            pairs.print("backfill", rows);
        }
        Ok(())
    }

    fn take_turns(
        &mut self,
        name: &str,
        theirs: fn(&mut Bench) -> Result<Usage>,
        ours: fn(&mut Bench) -> Result<(Usage, Counts)>,
    ) -> Result<Pairs> {
        let mut pairs = Pairs::begin(theirs(self)?);
        for _ in 0..self.pairs {
            let (our, counts) = ours(self).map_err(|error| format!("{name}: {error}"))?;
            pairs.push(our, counts, theirs(self)?);
        }
        Ok(pairs)
    }

    /// A run that finds nothing to do.
    fn startup(&mut self) -> Result<()> {
        let mut runs = Vec::new();
        for _ in 0..self.pairs {
            let slot = self.source.slot_at_the_end()?;
            runs.push(self.engine.run(&self.receiver, Start::Adopt(&slot))?);
        }
        self.receiver.take_counts()?;
        figures::print_startup(&runs);
        Ok(())
    }

    fn drain_by_others(&mut self) -> Result<Usage> {
        let slot = self.source.slot_at_the_start()?;
        process::measure(self.source.recvlogical(&slot), "pg_recvlogical")
    }

    fn drain(&mut self) -> Result<(Usage, Counts)> {
        let slot = self.source.slot_at_the_start()?;
        let usage = self.engine.run(&self.receiver, Start::Adopt(&slot))?;
        self.source.expect_drained(&slot)?;
        Ok((usage, self.expect_all()?))
    }

    fn copy_by_others(&mut self) -> Result<Usage> {
        process::measure(self.source.copy(), "psql")
    }

    fn backfill(&mut self) -> Result<(Usage, Counts)> {
        let usage = self.engine.run(&self.receiver, Start::Backfill)?;
        Ok((usage, self.expect_all()?))
    }

    /// Every document came, once, and as it came before.
    fn expect_all(&mut self) -> Result<Counts> {
        let counts = self.receiver.take_counts()?;
        let expected = source::expected_ids(self.rows);
        if (counts.documents, counts.deletes, counts.ids) != (expected.count, 0, expected.sum) {
            return Err(format!(
                "{} documents should have come, once each, and these came: {counts:?}",
                expected.count
            ));
        }
        match *self.checksum.get_or_insert(counts.checksum) {
            known if known == counts.checksum => Ok(counts),
            _ => Err("the documents have other bytes than those of the first run".to_owned()),
        }
    }
}
