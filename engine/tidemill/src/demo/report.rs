//! What the demo shows: steps and live figures on stderr while it runs, the result on stdout at its end.
//!
//! Whoever read may have read enough, as `head` does: nothing panics then, and a demo whose steps nobody reads ends.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::SEARCH;
use super::compare::Comparison;
use super::shown::Shown;
use super::workload::Done;

/// Where nobody watches, a line this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// The demo's figures.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) rows: u64,
    pub(super) backfill: Phase,
    pub(super) live: Phase,
    pub(super) changes: Done,
    /// From a transaction's commit to the sink's acknowledgement.
    pub(super) latency_p50_ms: f64,
    pub(super) latency_p99_ms: f64,
    pub(super) comparisons: Vec<Comparison>,
    pub(super) search: Value,
}

/// One part of the run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Phase {
    pub(super) seconds: f64,
    pub(super) rows: u64,
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) rows_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) engine_cpu_us_per_row: f64,
}

impl Phase {
    fn new(elapsed: Duration, cpu: Duration, rows: u64, documents: u64, bytes: u64) -> Phase {
        let seconds = elapsed.as_secs_f64().max(0.001);
        Phase {
            seconds,
            rows,
            documents,
            bytes,
            rows_per_second: rows as f64 / seconds,
            megabytes_per_second: bytes as f64 / 1e6 / seconds,
            engine_cpu_us_per_row: cpu.as_micros() as f64 / rows.max(1) as f64,
        }
    }
}

/// A counter summed over all streams.
fn sum(status: &Value, counter: &str) -> u64 {
    let streams = status["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    streams.iter().filter_map(|stream| stream[counter].as_u64()).sum()
}

impl Report {
    pub(super) fn new(rows: u64) -> Report {
        Report { rows, ..Report::default() }
    }

    /// By the engine's own account, since it begins before anybody can ask.
    pub(super) fn backfill(&mut self, status: &Value) {
        let time = |key: &str| Duration::from_micros(status["backfill"][key].as_u64().unwrap_or_default());
        let (elapsed, cpu) = (time("time_us"), time("cpu_us"));
        self.backfill = Phase::new(elapsed, cpu, sum(status, "rows"), sum(status, "documents"), sum(status, "bytes"));
    }

    pub(super) fn live(&mut self, done: Done, elapsed: Duration, cpu: Duration, status: &Value) {
        let since = |counter: &str, before: u64| sum(status, counter).saturating_sub(before);
        let rows = since("rows", self.backfill.rows);
        let documents = since("documents", self.backfill.documents);
        self.live = Phase::new(elapsed, cpu, rows, documents, since("bytes", self.backfill.bytes));
        self.changes = done;
        let slowest = |key: &str| {
            let streams = status["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
            streams.iter().filter_map(|stream| stream["latency_ms"][key].as_f64()).fold(0.0, f64::max)
        };
        (self.latency_p50_ms, self.latency_p99_ms) = (slowest("p50"), slowest("p99"));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut phase = |name: &str, phase: &Phase| {
            let _ = writeln!(
                text,
                "{name:<9} {:>8} rows in {:>5.1} s: {:>7.0} rows/s, {:>5.1} MB/s, engine CPU {:.1} µs a row",
                phase.rows,
                phase.seconds,
                phase.rows_per_second,
                phase.megabytes_per_second,
                phase.engine_cpu_us_per_row
            );
        };
        phase("backfill", &self.backfill);
        phase("live", &self.live);
        let Done { transactions, inserted, updated, deleted, keys_changed, left_filter, entered_filter } = self.changes;
        let _ = writeln!(
            text,
            "          {transactions} transactions: {inserted} inserts, {updated} updates, {deleted} deletes, {keys_changed} new keys, \
             {left_filter} rows left the filter, {entered_filter} entered it"
        );
        let _ = writeln!(
            text,
            "          commit to acknowledged: p50 {:.1} ms, p99 {:.1} ms",
            self.latency_p50_ms, self.latency_p99_ms
        );
        for found in &self.comparisons {
            let Comparison { index, equal, missing, extra, different, examples } = found;
            let _ =
                writeln!(text, "{index:<9} {equal:>8} equal, {missing} missing, {extra} extra, {different} different");
            for example in examples {
                let _ = writeln!(text, "          {example}");
            }
        }
        let _ = writeln!(text, "search    {SEARCH}");
        for hit in self.search["hits"]["hits"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let source = &hit["_source"];
            let word = |key: &str| source[key].as_str().unwrap_or("-");
            let _ = writeln!(
                text,
                "          {:>9}  {} ({}) {} {}",
                hit["_id"].as_str().unwrap_or("?"),
                word("name"),
                word("category"),
                source["price"],
                word("brand")
            );
        }
        text
    }
}

/// Where things are shown.
#[derive(Debug)]
pub(super) struct Screen {
    json: bool,
    terminal: bool,
    start: Instant,
    closed: watch::Sender<bool>,
}

impl Screen {
    pub(super) fn new(json: bool) -> Screen {
        let terminal = std::io::stderr().is_terminal();
        Screen { json, terminal, start: Instant::now(), closed: watch::Sender::new(false) }
    }

    /// What happens now.
    pub(super) fn step(&self, what: &str) {
        self.say(&format!("{:>6.1} s  {what}", self.start.elapsed().as_secs_f64()));
    }

    fn say(&self, text: &str) {
        if writeln!(std::io::stderr(), "{text}").is_err() {
            self.closed.send_replace(true);
        }
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        let _closed = closed.wait_for(|closed| *closed).await;
    }

    pub(super) fn backfill(&self) -> Backfill<'_> {
        let bar = if self.terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(
            "          backfill {wide_bar} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Backfill { screen: self, bar, said: Instant::now() }
    }

    pub(super) fn live(&self, length: Duration) -> Live<'_> {
        let bar = if self.terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        Live { screen: self, bar, length, start: Instant::now(), said: Instant::now(), last: None }
    }

    /// The answer. Who does not read it can still look at the exit code.
    pub(super) fn report(&self, report: &Report) {
        let text = if self.json {
            serde_json::to_string(report).unwrap_or_default()
        } else {
            let equal = report.comparisons.iter().all(Comparison::is_equal);
            let end = if equal { "Every document equals its row." } else { "DOCUMENTS AND ROWS DIFFER." };
            format!("\n{}\n{end}", report.text())
        };
        let mut stdout = std::io::stdout();
        let _read_enough = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }

    pub(super) fn keep(&self, psql: &str, index: &Shown, config: &Path, is_guest: bool) {
        let Shown { url, curl } = index;
        let all = match is_guest {
            true => {
                format!(
                    "it all, but the indices of {url}: `{curl} -X DELETE {url}/products {url}/orders` removes those"
                )
            }
            false => "it all".to_owned(),
        };
        self.say(&format!(
            "\nEverything stays up until Ctrl-C, which ends and removes {all}.
  search:  {curl} -s '{url}/products/_search?pretty' -H 'content-type: application/json' -d '{SEARCH}'
  change:  {psql} -c \"UPDATE products SET name = 'Golden ' || name WHERE id <= 3\"
  config:  {}
  status:  tidemill status --config {}",
            config.display(),
            config.display()
        ));
    }
}

pub(super) struct Backfill<'a> {
    screen: &'a Screen,
    bar: ProgressBar,
    said: Instant,
}

impl Backfill<'_> {
    pub(super) fn show(&mut self, status: &Value) {
        let streams = status["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        let total = |key: &str| streams.iter().filter_map(|stream| stream["backfill"][key].as_u64()).sum::<u64>();
        let (rows, estimate) = (total("rows"), total("rows_estimated"));
        self.bar.set_length(estimate.max(rows));
        self.bar.set_position(rows);
        if !self.screen.terminal && self.said.elapsed() > PLAIN_INTERVAL {
            self.screen.step(&format!("backfill: {rows} of about {estimate} rows"));
            self.said = Instant::now();
        }
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
        self.screen.step("the rows that were there are in the index; streaming");
    }
}

pub(super) struct Live<'a> {
    screen: &'a Screen,
    bar: ProgressBar,
    length: Duration,
    start: Instant,
    said: Instant,
    last: Option<(Instant, u64, u64)>,
}

impl Live<'_> {
    pub(super) fn show(&mut self, changes: u64, status: &Value) {
        let (rows, documents) = (sum(status, "rows"), sum(status, "documents"));
        let Some((at, rows_before, documents_before)) = self.last else {
            self.last = Some((Instant::now(), rows, documents));
            return;
        };
        let seconds = at.elapsed().as_secs_f64().max(0.001);
        let text = format!(
            "{:>2} of {} s: {changes} rows changed, engine {:.0} rows/s, {:.0} documents/s, lag {:.0} kB",
            self.start.elapsed().as_secs(),
            self.length.as_secs(),
            rows.saturating_sub(rows_before) as f64 / seconds,
            documents.saturating_sub(documents_before) as f64 / seconds,
            status["lag_bytes"].as_u64().unwrap_or_default() as f64 / 1e3,
        );
        if self.screen.terminal {
            self.bar.set_message(text);
            self.bar.tick();
        } else if self.said.elapsed() > PLAIN_INTERVAL {
            self.screen.step(&text);
            self.said = Instant::now();
        } else {
            return;
        }
        self.last = Some((Instant::now(), rows, documents));
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
