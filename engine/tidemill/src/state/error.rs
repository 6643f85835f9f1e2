//! What SQLite and the file system say, in words that name the file and the way out.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

/// The way on when the state is lost: nothing in it that the source and the index could not tell again, but dead letters.
const BEGIN_ANEW: &str =
    "bring it back from a backup, or move it away and run `tidemill teardown`, after which `run` reads all rows anew";

pub(super) trait Explain {
    fn explain(self, path: &Path) -> Error;
}

impl Explain for rusqlite::Error {
    fn explain(self, path: &Path) -> Error {
        let file = path.display();
        let message = match self.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => format!("`{file}` is not a state file: name another by `state:`"),
            Some(ErrorCode::DatabaseCorrupt) => format!("the state `{file}` is damaged: {BEGIN_ANEW}"),
            Some(ErrorCode::DiskFull) => {
                format!("no space is left for the state `{file}`: free some, then start again")
            }
            Some(ErrorCode::ReadOnly) => read_only(path),
            Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                format!("the state `{file}` cannot be opened: is its folder there, and may this user write to it?")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("another process keeps the state `{file}` locked: end it, then start again")
            }
            Some(ErrorCode::SystemIoFailure) => {
                format!("the disk failed under the state `{file}`: look at the system's log")
            }
            _ if matches!(
                self,
                rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
            ) =>
            {
                format!("the state `{file}` is damaged: {BEGIN_ANEW}")
            }
            _ => format!("the state `{file}` cannot be used"),
        };
        Error::failed(message).with_cause(self)
    }
}

fn read_only(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    format!(
        "the state `{}` cannot be written: let this user write to `{}`, or name another place by `state:`",
        path.display(),
        folder.display()
    )
}

pub(super) fn cannot_open(path: &Path, error: &io::Error) -> Error {
    use io::ErrorKind;
    let message = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => read_only(path),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            format!(
                "the folder of the state `{}` is not there: make it, or name another place by `state:`",
                path.display()
            )
        }
        _ => format!("the state `{}` cannot be opened", path.display()),
    };
    Error::failed(message).with_cause(error.to_string())
}
