//! What a process has used of the processors.

use std::time::Duration;

/// User and system time, from /proc; zero where the system does not tell.
pub(crate) fn of(process: u32) -> Duration {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name before it may hold spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks().unwrap_or_default() * 1000 / per_second)
}
