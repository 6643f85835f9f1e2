//! Whether the source goes on where the state left it: the same cluster, with a WAL that reaches as far as it did.
//!
//! Postgres itself does not tell. It streams from a position beyond the end of its WAL, and leaves out every commit below it.

use tidemill_change::Lsn;

use crate::error::{Error, Result};
use crate::source::slot::SlotName;

/// A database whose WAL ends before what was received from it is not the one it was. A standby that was started again may
/// have to replay what it had replayed already.
pub(crate) fn look_back(wal_end: Lsn, received: Lsn, is_standby: bool) -> Result<()> {
    if wal_end >= received {
        return Ok(());
    }
    if is_standby {
        return Err(Error::transient(format!(
            "the standby has replayed WAL up to {wal_end}, and {received} was received from it: it is waited for"
        )));
    }
    Err(Error::failed(format!(
        "the source's WAL ends at {wal_end}, and {received} was received from it: the database was restored to an earlier \
         state, so its rows may be older than the documents; name another state and other indices, or restore the database"
    )))
}

pub(crate) fn gone(name: &SlotName) -> Error {
    Error::failed(format!(
        "slot `{}` is gone though the state knows it, and changes went with it: `tidemill teardown` forgets it, then `tidemill \
         run` makes a new one, reads all rows anew and removes documents without a row",
        name.as_str()
    ))
}
