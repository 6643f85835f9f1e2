//! What guests say beside their answers: lines for the log, and metrics of their own. Both are bounded, whatever a guest does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::Limits;
pub use crate::abi::Level;
use crate::grants::Wasi;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_SECONDS_MAX, METRIC_NAME_BYTES_MAX, cut};

/// The span that a limit of lines is for.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// A line that a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub stage: String,
    pub level: Level,
    pub message: String,
}

/// What guests logged since the last time that somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    pub lines: Vec<LogLine>,
    /// What was not kept of the stages that said too much.
    pub beyond: BTreeMap<String, Beyond>,
}

/// What of a stage was not kept because it was beyond a limit, or has no name that may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Lines: `log_lines`.
    pub lines: u64,
    /// Counts and values of metrics whose names were too many: `metrics`.
    pub metrics: u64,
    /// Counts and values of metrics whose names are not of the form that the contract has for them.
    pub unfit: u64,
}

/// That something was dropped, for whoever runs the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    pub dropped: u64,
    /// What of it may be.
    pub limit: usize,
    /// What it is, and the way out.
    pub words: &'static str,
}

impl Beyond {
    pub fn is_none(&self) -> bool {
        *self == Beyond::default()
    }

    pub fn add(&mut self, more: Beyond) {
        let Beyond { lines, metrics, unfit } = more;
        self.lines += lines;
        self.metrics += metrics;
        self.unfit += unfit;
    }

    /// What to tell of it.
    pub fn warnings(&self, limits: &Limits) -> Vec<Warning> {
        let warnings = [
            Warning {
                dropped: self.lines,
                limit: limits.log_lines,
                words: "plugin logs more lines a second than are kept: mend it, or raise `limits.log_lines`",
            },
            Warning {
                dropped: self.metrics,
                limit: limits.metrics,
                words: "plugin has more metrics of its own than are kept: mend it, or raise `limits.metrics`",
            },
            Warning {
                dropped: self.unfit,
                limit: METRIC_NAME_BYTES_MAX,
                words: "plugin has metrics whose names none may have, so they are dropped: mend it: a name is `[a-z][a-z0-9_]*`, \
                        64 bytes at most",
            },
        ];
        warnings.into_iter().filter(|warning| warning.dropped > 0).collect()
    }
}

/// A metric of a guest's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// What was added since the last time that somebody asked.
    Count(u64),
    Gauge(f64),
}

/// What one instance said since it was last asked.
#[derive(Debug)]
pub(crate) struct Said {
    lines: Vec<(Level, String)>,
    beyond: Beyond,
    metrics: BTreeMap<String, Metric>,
    lines_max: usize,
    metrics_max: usize,
}

impl Said {
    pub(crate) fn new(lines_max: usize, metrics_max: usize) -> Said {
        Said { lines: Vec::new(), beyond: Beyond::default(), metrics: BTreeMap::new(), lines_max, metrics_max }
    }

    pub(crate) fn log(&mut self, level: Level, message: String) {
        if self.lines.len() < self.lines_max {
            self.lines.push((level, cut(message, LOG_LINE_BYTES_MAX)));
        } else {
            self.beyond.lines += 1;
        }
    }

    /// The metric of this name; none where it may have none.
    pub(crate) fn metric(&mut self, name: &str) -> Option<&mut Metric> {
        let mut chars = name.bytes();
        let is_name = chars.next().is_some_and(|first| first.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        if !is_name || name.len() > METRIC_NAME_BYTES_MAX {
            self.beyond.unfit += 1;
            return None;
        }
        if !self.metrics.contains_key(name) {
            if self.metrics.len() >= self.metrics_max {
                self.beyond.metrics += 1;
                return None;
            }
            self.metrics.insert(name.to_owned(), Metric::Count(0));
        }
        self.metrics.get_mut(name)
    }

    /// What it printed becomes lines of the log.
    pub(crate) fn print(&mut self, wasi: &mut Wasi) {
        let (lines, dropped) = wasi.drain();
        self.beyond.lines += dropped;
        for (level, line) in lines {
            self.log(level, line);
        }
    }

    /// The last thing it said before it trapped: an SDK logs the panic's message and place.
    pub(crate) fn panic(&self) -> Option<&str> {
        let (level, message) = self.lines.last()?;
        (*level == Level::Error).then_some(message)
    }
}

/// What all stages of a chain said, until the engine takes it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    logs: Logs,
    rates: BTreeMap<String, Rate>,
    metrics: BTreeMap<(String, String), Metric>,
    /// Every metric that was ever named, by stage and name: bounded, since whoever shows them keeps them.
    metric_names: BTreeSet<(String, String)>,
}

/// How many lines of a stage were kept since when, and how many of them nobody has taken yet.
#[derive(Debug)]
struct Rate {
    since: Instant,
    kept: usize,
    waiting: usize,
}

impl Rate {
    fn allows(&mut self, lines_max: usize, now: Instant) -> bool {
        if now.duration_since(self.since) >= RATE_INTERVAL {
            (self.since, self.kept) = (now, 0);
        }
        let is_kept = self.kept < lines_max && self.waiting < lines_max.saturating_mul(LOG_SECONDS_MAX);
        self.kept += usize::from(is_kept);
        self.waiting += usize::from(is_kept);
        is_kept
    }
}

impl Heard {
    /// Takes over what an instance of the stage said.
    pub(crate) fn take(&mut self, stage: &str, said: &mut Said) {
        if !said.lines.is_empty() {
            self.take_lines(stage, said, Instant::now());
        }
        for (name, metric) in std::mem::take(&mut said.metrics) {
            if !self.add_metric(stage, name, metric, said.metrics_max) {
                said.beyond.metrics += 1;
            }
        }
        let beyond = std::mem::take(&mut said.beyond);
        if !beyond.is_none() {
            self.logs.beyond.entry(stage.to_owned()).or_default().add(beyond);
        }
    }

    fn take_lines(&mut self, stage: &str, said: &mut Said, now: Instant) {
        if !self.rates.contains_key(stage) {
            self.rates.insert(stage.to_owned(), Rate { since: now, kept: 0, waiting: 0 });
        }
        let rate = self.rates.get_mut(stage).expect("put in above");
        for (level, message) in said.lines.drain(..) {
            if rate.allows(said.lines_max, now) {
                self.logs.lines.push(LogLine { stage: stage.to_owned(), level, message });
            } else {
                said.beyond.lines += 1;
            }
        }
    }

    /// Whether there was room for it.
    fn add_metric(&mut self, stage: &str, name: String, metric: Metric, names_max: usize) -> bool {
        let key = (stage.to_owned(), name);
        if !self.metric_names.contains(&key) {
            if self.metric_names.iter().filter(|(of, _)| of == stage).count() >= names_max {
                return false;
            }
            self.metric_names.insert(key.clone());
        }
        match (self.metrics.get_mut(&key), metric) {
            (Some(Metric::Count(sum)), Metric::Count(add)) => *sum = sum.saturating_add(add),
            _ => drop(self.metrics.insert(key, metric)),
        }
        true
    }

    pub(crate) fn take_logs(&mut self) -> Logs {
        self.rates.values_mut().for_each(|rate| rate.waiting = 0);
        std::mem::take(&mut self.logs)
    }

    pub(crate) fn take_metrics(&mut self) -> BTreeMap<(String, String), Metric> {
        std::mem::take(&mut self.metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_rate_are_counted_and_the_next_second_has_room_again() {
        let (mut heard, mut said) = (Heard::default(), Said::new(3, 1));
        let mut second = |heard: &mut Heard, now: Instant| {
            let before = said.beyond.lines;
            for call in 0..4 {
                (0..2).for_each(|line| said.log(Level::Info, format!("{call} {line}")));
                heard.take_lines("a", &mut said, now);
            }
            let logs = heard.take_logs();
            (logs.lines.len(), said.beyond.lines - before)
        };
        let begin = Instant::now();
        assert_eq!(second(&mut heard, begin), (3, 5));
        assert_eq!(second(&mut heard, begin + RATE_INTERVAL / 2), (0, 8));
        assert_eq!(second(&mut heard, begin + RATE_INTERVAL), (3, 5));
    }

    #[test]
    fn what_nobody_takes_is_kept_by_the_same_limit() {
        let (mut heard, begin) = (Heard::default(), Instant::now());
        for lines_max in [3, 4000] {
            let stage = lines_max.to_string();
            let mut said = Said::new(lines_max, 1);
            for second in 0..12 {
                (0..lines_max).for_each(|line| said.log(Level::Info, format!("{second} {line}")));
                heard.take_lines(&stage, &mut said, begin + RATE_INTERVAL * second);
            }
            assert_eq!(said.beyond.lines, 2 * lines_max as u64, "of twelve seconds ten are kept");
        }
        let lines = heard.take_logs().lines;
        assert_eq!(lines.len(), 10 * 3 + 10 * 4000);
        let mut said = Said::new(3, 1);
        said.log(Level::Info, "again".to_owned());
        heard.take_lines("3", &mut said, begin + RATE_INTERVAL * 12);
        assert_eq!(heard.take_logs().lines.len(), 1);
    }
}
