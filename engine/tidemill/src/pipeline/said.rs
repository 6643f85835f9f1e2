//! What plugins said beside their answers, handed on to the log: each line at its own level, and what was beyond a limit as a
//! warning that names the limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill_stage::{Beyond, Chain, Level, LogLine};

/// That a plugin says too much is told at once, and then at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What was not kept of each stage, and when that was last told.
#[derive(Debug, Default)]
pub(crate) struct PluginLog {
    untold: BTreeMap<String, Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    beyond: Beyond,
}

impl Untold {
    /// What is to be told now, where it is time.
    fn add(&mut self, beyond: Beyond, now: Instant) -> Option<Beyond> {
        self.beyond.lines += beyond.lines;
        self.beyond.metrics += beyond.metrics;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.beyond))
    }
}

impl PluginLog {
    /// Ask after every batch.
    pub(crate) fn take(&mut self, stream: &str, chain: &mut Chain) {
        let logs = chain.take_logs();
        logs.lines.iter().for_each(|line| write(stream, line));
        for (name, beyond) in logs.beyond {
            let due = self.untold.entry(name.clone()).or_default().add(beyond, Instant::now());
            let stage = chain.stages().iter().find(|stage| stage.name == name);
            if let Some((beyond, stage)) = due.zip(stage) {
                let (plugin, limits) = (stage.plugin.name(), &stage.limits);
                if beyond.lines > 0 {
                    let (dropped, limit) = (beyond.lines, limits.log_lines);
                    tracing::warn!(
                        stream,
                        stage = name,
                        plugin,
                        dropped,
                        limit,
                        "plugin logs more lines a second than are kept: mend it, or raise `limits.log_lines`"
                    );
                }
                if beyond.metrics > 0 {
                    let (dropped, limit) = (beyond.metrics, limits.metrics);
                    tracing::warn!(
                        stream,
                        stage = name,
                        plugin,
                        dropped,
                        limit,
                        "plugin has more metrics of its own than are kept: mend it, or raise `limits.metrics`"
                    );
                }
            }
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
        let beyond = |lines, metrics| Beyond { lines, metrics };
        assert_eq!(untold.add(beyond(5, 0), begin), Some(beyond(5, 0)));
        assert_eq!(untold.add(beyond(6, 1), begin + TELL_INTERVAL / 3), None);
        assert_eq!(untold.add(beyond(7, 2), begin + TELL_INTERVAL / 2), None);
        assert_eq!(untold.add(beyond(1, 1), begin + TELL_INTERVAL), Some(beyond(14, 4)));
        assert_eq!(untold.add(beyond(1, 1), begin + TELL_INTERVAL), None);
    }
}
