//! One engine a state: a lock on a file beside it, which the system takes back when the process ends, however it ends.
//!
//! It is not the state's own file: SQLite's locks there are POSIX locks, which a process loses when it closes any handle of
//! the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::error::cannot_open;
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub(super) fn take(state: &Path) -> Result<Lock> {
        let path = super::schema::beside(state, "-lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|e| cannot_open(state, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Who holds it is a help, not a need.
                let _ = file.take(20).read_to_string(&mut pid);
                let holder = if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) };
                return Err(Error::failed(format!(
                    "another engine{holder} runs with the state `{}`: end it first, or name another file by `state:`",
                    state.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot_open(state, &error)),
        }
        let pid = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        pid.map_err(|e| cannot_open(state, &e))?;
        Ok(Lock { path, _file: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
