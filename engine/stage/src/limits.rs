//! What a guest may use up. Each limit has a name here; those that a user may raise are in [`Limits`].

use std::time::Duration;

/// A stage's limits, as its configuration has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The linear memory of one instance.
    pub memory_bytes: usize,
    /// The time of one call.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: 256 << 20, deadline: Duration::from_secs(10) }
    }
}

/// A component's size: Python's and JavaScript's, with their interpreters, have up to 33 MB.
pub(crate) const COMPONENT_BYTES_MAX: usize = 128 << 20;
/// What a guest hands to the host in one call, returned columns included.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The rows that may come out of one call: fan-out included.
pub(crate) const ROWS_OUT_MAX: usize = 1 << 20;
/// The elements of all tables of an instance: function pointers, so a large interpreter has some tens of thousands.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// Core instances, memories and tables in one component: adapters and shims have a handful.
pub(crate) const INSTANCES_MAX: usize = 32;
/// The columns that a stage may let out. A Postgres table has 1,600 at most.
pub(crate) const COLUMNS_MAX: usize = 4096;
/// Lines of one call that are kept; what comes after is counted.
pub(crate) const LOG_LINES_A_CALL_MAX: usize = 100;
/// Lines kept until the caller takes them.
pub(crate) const LOG_LINES_MAX: usize = 1000;
/// A line's length; the rest is cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4096;
/// What a plugin prints in one call.
pub(crate) const PRINTED_BYTES_MAX: usize = 64 << 10;
/// Files, streams and the like that an instance has open at once.
pub(crate) const WASI_HANDLES_MAX: usize = 64;
/// Names of a plugin's own metrics, as the contract says.
pub(crate) const METRICS_MAX: usize = 64;
/// A metric's name.
pub(crate) const METRIC_NAME_BYTES_MAX: usize = 64;
/// The code and the message of a rejected row; the rest is cut.
pub(crate) const REJECT_CODE_BYTES_MAX: usize = 64;
pub(crate) const REJECT_MESSAGE_BYTES_MAX: usize = 4096;
/// Rows of one batch that may each make the plugin fail. More, and it is the plugin that is broken.
pub(crate) const POISON_ROWS_MAX: usize = 64;
/// A batch of at least so many rows of which every single one makes the plugin fail tells the same.
pub(crate) const POISON_BATCH_ROWS_MIN: usize = 8;
/// Calls of one batch that may pass their deadline: enough to find two rows among 10,000, little enough that a
/// stream does not stand for hours.
pub(crate) const DEADLINES_A_BATCH_MAX: usize = 32;
/// Tables whose instances are kept at once; the one not used for longest makes room.
pub(crate) const OPENED_MAX: usize = 64;

/// Cuts a text at a character.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut("short".into(), 5), "short");
        assert_eq!(cut("ééééé".into(), 8), "éé…");
        assert_eq!(cut("aéééé".into(), 8), "aéé…");
    }
}
