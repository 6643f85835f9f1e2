//! Pairs of runs, and the lines that are made of them.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use super::process::Usage;
use super::receiver::Counts;

/// A line on standard output.
pub(super) fn out(line: fmt::Arguments<'_>) {
    let _closed = writeln!(std::io::stdout(), "{line}");
}

/// Runs that took turns: one more of the yardstick's than of ours.
pub(super) struct Pairs {
    theirs: Vec<Usage>,
    ours: Vec<(Usage, Counts)>,
}

impl Pairs {
    pub(super) fn begin(theirs: Usage) -> Pairs {
        Pairs { theirs: vec![theirs], ours: Vec::new() }
    }

    pub(super) fn push(&mut self, ours: Usage, counts: Counts, theirs: Usage) {
        self.ours.push((ours, counts));
        self.theirs.push(theirs);
    }

    /// The quartile that a bar must clear: the lower one where more is better, the upper one where less is.
    pub(super) fn print(&self, name: &str, rows: u64) {
        let seconds = |usage: &Usage| usage.elapsed.as_secs_f64();
        let turns: Vec<[f64; 2]> = self.theirs.windows(2).map(|both| [seconds(&both[0]), seconds(&both[1])]).collect();
        let mut ratios = Vec::new();
        for (turn, (ours, counts)) in turns.iter().zip(&self.ours) {
            let theirs = (turn[0] + turn[1]) / 2.0;
            ratios.push(theirs / seconds(ours));
            out(format_args!(
                "{name}: yardstick {theirs:.3} s, ours {:.3} s, {} bulks, {:.1} MB",
                seconds(ours),
                counts.bulks,
                counts.bytes as f64 / 1e6
            ));
        }
        let mut itself: Vec<f64> = turns.iter().map(|turn| turn[0].max(turn[1]) / turn[0].min(turn[1])).collect();
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
        let mut cpu: Vec<f64> = self.ours.iter().map(|(usage, _)| micros(usage.cpu)).collect();
        let mut receiver: Vec<f64> = self.ours.iter().map(|(_, counts)| micros(counts.cpu)).collect();
        let mut their_cpu: Vec<f64> = self.theirs.iter().map(|usage| micros(usage.cpu)).collect();
        let mut rates: Vec<f64> = self.ours.iter().map(|(usage, _)| rows as f64 / seconds(usage)).collect();
        let mut their_rates: Vec<f64> = self.theirs.iter().map(|usage| rows as f64 / seconds(usage)).collect();
        let mut rss: Vec<f64> = self.ours.iter().map(|(usage, _)| usage.rss_peak_bytes as f64 / 1e6).collect();
        out(format_args!("ratio {name} {:.3}", lower_quartile(&mut ratios)));
        out(format_args!("figure {name}_yardstick_spread {:.3}", upper_quartile(&mut itself)));
        out(format_args!("figure {name}_rows_per_second {:.0}", lower_quartile(&mut rates)));
        out(format_args!("figure {name}_yardstick_rows_per_second {:.0}", lower_quartile(&mut their_rates)));
        out(format_args!("figure {name}_cpu_us_per_row {:.2}", upper_quartile(&mut cpu)));
        out(format_args!("figure {name}_yardstick_cpu_us_per_row {:.2}", upper_quartile(&mut their_cpu)));
        out(format_args!("figure {name}_receiver_cpu_us_per_row {:.2}", upper_quartile(&mut receiver)));
        out(format_args!("figure {name}_rss_mb {:.1}", upper_quartile(&mut rss)));
    }
}

/// What each run takes before its first row and after its last.
pub(super) fn print_startup(runs: &[Usage]) {
    let figures = |name: &str, value: fn(&Usage) -> Duration| {
        let mut millis: Vec<f64> = runs.iter().map(|run| value(run).as_secs_f64() * 1e3).collect();
        out(format_args!("figure {name} {:.1}", upper_quartile(&mut millis)));
    };
    figures("startup_ms", |run| run.elapsed);
    figures("startup_cpu_ms", |run| run.cpu);
}

/// Of few values the one that is worse: a quartile is never flattered by rounding.
pub(super) fn lower_quartile(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 4]
}

pub(super) fn upper_quartile(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() - 1 - (values.len() - 1) / 4]
}
