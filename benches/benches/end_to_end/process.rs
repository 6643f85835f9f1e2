//! A process from its start to its end: how long it lived, what CPU it took, how much memory it held at most.

use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::Result;

/// Between two looks at a process's memory: the kernel keeps the peak, so only what was taken last can be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Whatever is measured here ends within this, or hangs.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) elapsed: Duration,
    /// User and system.
    pub(super) cpu: Duration,
    pub(super) rss_peak_bytes: u64,
}

/// Runs a program to its end. One that fails is an error.
pub(super) fn measure(mut command: Command, name: &str) -> Result<Usage> {
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
    let id = child.id();
    let (end, ended) = channel::<()>();
    let (usage, status) = thread::scope(|scope| {
        let rss = scope.spawn(move || {
            let mut peak = 0;
            loop {
                peak = peak.max(rss_peak(id));
                match ended.recv_timeout(LOOK_INTERVAL) {
                    Err(RecvTimeoutError::Timeout) if start.elapsed() > PATIENCE => kill(id),
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return peak,
                }
            }
        });
        // Without reaping it: an ended process's CPU time can be read until it is waited for.
        let waited = waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let (elapsed, cpu) = (start.elapsed(), cpu(id));
        drop(end);
        let rss_peak_bytes = rss.join().unwrap_or_default();
        waited.map_err(|error| format!("{name} cannot be waited for: {error}"))?;
        let status = child.wait().map_err(|error| format!("{name} cannot be waited for: {error}"))?;
        Ok::<_, String>((Usage { elapsed, cpu: cpu?, rss_peak_bytes }, status))
    })?;
    if status.success() { Ok(usage) } else { Err(format!("{name} failed: {status}")) }
}

fn kill(id: u32) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// A child that ends with us, whatever ends us: its standard input closes then.
#[derive(Debug)]
pub(super) struct Tied(pub(super) Child);

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

/// A process's CPU time so far, its ended threads included.
pub(super) fn cpu(id: u32) -> Result<Duration> {
    let stat =
        std::fs::read_to_string(format!("/proc/{id}/stat")).map_err(|error| format!("/proc/{id}/stat: {error}"))?;
    // The name before it may hold spaces and parentheses.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect()).unwrap_or_default();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).ok_or_else(|| format!("/proc/{id}/stat is not understood"))?;
    Ok(Duration::from_secs_f64((ticks.0 + ticks.1) as f64 / rustix::param::clock_ticks_per_second().max(1) as f64))
}

/// Zero once the process has ended.
fn rss_peak(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
