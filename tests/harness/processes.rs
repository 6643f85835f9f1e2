//! A process and all that came of it, as /proc shows them: for stories in which nothing may stay behind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::await_some;

/// Processes that descend from one, gathered while their parents still live. A number is used again, so a process is
/// known by when it started too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    known: BTreeMap<(u32, u64), String>,
}

impl Family {
    /// Adds whoever descends from this process now.
    pub(crate) fn look(&mut self, ancestor: u32) {
        let all = all();
        let mut members = vec![ancestor];
        let mut next = 0;
        while let Some(&parent) = members.get(next) {
            members.extend(all.iter().filter(|process| process.parent == parent).map(|process| process.id));
            next += 1;
        }
        for process in all.into_iter().filter(|process| members[1..].contains(&process.id)) {
            let command = self.known.entry((process.id, process.started)).or_default();
            // One that is just ending has no command line any more.
            if !process.command.is_empty() {
                *command = process.command;
            }
        }
    }

    /// Whether some member was started by a command with these words in it.
    pub(crate) fn has(&self, words: &str) -> bool {
        self.known.values().any(|command| command.contains(words))
    }

    pub(crate) fn commands(&self) -> impl Iterator<Item = &str> {
        self.known.values().map(String::as_str)
    }

    /// Waits until none of them is left.
    #[track_caller]
    pub(crate) fn await_end(&self, patience: Duration) {
        let left = || -> Vec<_> {
            let there: Vec<_> = all().iter().map(|process| (process.id, process.started)).collect();
            self.known.iter().filter(|(key, _)| there.contains(key)).collect()
        };
        let gone = await_some(patience, || left().is_empty().then_some(()));
        assert!(gone.is_some(), "left behind: {:#?}", left());
    }
}

struct Process {
    id: u32,
    parent: u32,
    started: u64,
    command: String,
}

/// Every process that has not ended; one that only waits to be reaped has.
fn all() -> Vec<Process> {
    let folders = std::fs::read_dir("/proc").expect("this system has /proc").flatten();
    folders.filter_map(|folder| process(folder.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(id: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it may hold spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let command = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let process = Process { id, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, command };
    (!matches!(*fields.first()?, "Z" | "X")).then_some(process)
}
