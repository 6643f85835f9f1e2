//! What plugins said beside their answers, handed on to the log: each line at its own level, and what was beyond a limit as a
//! warning that names the limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemill_stage::{Beyond, Chain, Level, LogLine, Stage};

/// That a plugin says too much is told at once, and then at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What was not kept of each of a stream's stages, and when that was last told. The worker adds to it; whoever ends the stream has
/// the last word, since a worker may be in a call then.
#[derive(Clone, Debug)]
pub(crate) struct PluginLog {
    stream: String,
    stages: Vec<Stage>,
    untold: Arc<Mutex<BTreeMap<String, Untold>>>,
}

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    beyond: Beyond,
}

impl Untold {
    /// What is to be told now, where it is time.
    fn add(&mut self, beyond: Beyond, now: Instant) -> Option<Beyond> {
        self.beyond.add(beyond);
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.beyond))
    }
}

impl PluginLog {
    pub(crate) fn new(stream: &str, chain: &Chain) -> PluginLog {
        PluginLog { stream: stream.to_owned(), stages: chain.stages().to_vec(), untold: Arc::default() }
    }

    /// Ask after every batch.
    pub(crate) fn take(&self, chain: &mut Chain) {
        let logs = chain.take_logs();
        logs.lines.iter().for_each(|line| write(&self.stream, line));
        if logs.beyond.is_empty() {
            return;
        }
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, beyond) in logs.beyond {
            let due = untold.entry(name.clone()).or_default().add(beyond, Instant::now());
            due.iter().for_each(|beyond| self.warn(&name, beyond));
        }
    }

    /// Tells at the stream's end what was not told since it was told last.
    pub(crate) fn end(&self) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, untold) in untold.iter_mut() {
            self.warn(name, &std::mem::take(&mut untold.beyond));
        }
    }

    fn warn(&self, stage: &str, beyond: &Beyond) {
        let Some(Stage { plugin, limits, .. }) = self.stages.iter().find(|of| of.name == stage) else { return };
        for warning in beyond.warnings(limits) {
            let (dropped, limit, words) = (warning.dropped, warning.limit, warning.words);
            tracing::warn!(stream = self.stream, stage, plugin = plugin.name(), dropped, limit, "{words}");
        }
    }
}

fn write(stream: &str, line: &LogLine) {
    let LogLine { stage, level, message } = line;
    let message = on_one_line(message);
    match level {
        Level::Debug => tracing::debug!(stream, stage, "plugin: {message}"),
        Level::Info => tracing::info!(stream, stage, "plugin: {message}"),
        Level::Warn => tracing::warn!(stream, stage, "plugin: {message}"),
        Level::Error => tracing::error!(stream, stage, "plugin: {message}"),
    }
}

/// No plugin writes a second line, which could be taken for one of the engine's own.
fn on_one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for char in message.trim_end().chars() {
        if char.is_control() { line.extend(char.escape_default()) } else { line.push(char) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_writes_one_line() {
        assert_eq!(on_one_line("a \"ß\"\n2026 ERROR lost\r\x1b[2J\n"), "a \"ß\"\\n2026 ERROR lost\\r\\u{1b}[2J");
    }

    #[test]
    fn too_much_is_told_at_once_and_then_now_and_then_with_all_that_came_between() {
        let (mut untold, begin) = (Untold::default(), Instant::now());
        let beyond = |lines, metrics| Beyond { lines, metrics, unfit: metrics };
        assert_eq!(untold.add(beyond(5, 0), begin), Some(beyond(5, 0)));
        assert_eq!(untold.add(beyond(6, 1), begin + TELL_INTERVAL / 3), None);
        assert_eq!(untold.add(beyond(7, 2), begin + TELL_INTERVAL / 2), None);
        assert_eq!(untold.add(beyond(1, 1), begin + TELL_INTERVAL), Some(beyond(14, 4)));
        assert_eq!(untold.add(beyond(1, 1), begin + TELL_INTERVAL), None);
    }
}
