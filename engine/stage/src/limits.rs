//! What a guest may use up. Each limit has a name here; those that a user may raise are in [`Limits`].

use std::time::Duration;

/// A stage's limits, as its configuration has them. Each field is called there as its comment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `deadline`: the time of one call.
    pub deadline: Duration,
    /// `memory`: the linear memories of one instance, together.
    pub memory_bytes: usize,
    /// `stack`: what the calls within a call may nest.
    pub stack_bytes: usize,
    /// `tables`: the elements of an instance's tables, together. They are function pointers: a large interpreter has some tens of thousands.
    pub table_elements: usize,
    /// `instances`: core instances, memories and tables in one component. Those of Rust have a handful, Python's some tens.
    pub instances: usize,
    /// `component`: a component's size. Those with an interpreter in them have up to 33 MB.
    pub component_bytes: usize,
    /// `output`: what a guest hands to the host in one call, returned columns included.
    pub output_bytes: usize,
    /// `rows_out`: the rows that may come out of one call, fan-out included.
    pub rows_out: usize,
    /// `log_lines`: lines a second, and ten times as many of one batch; what comes beyond is counted.
    pub log_lines: usize,
    /// `metrics`: names of a plugin's own metrics.
    pub metrics: usize,
    /// `handles`: files, streams and the like that an instance has open at once, by a grant.
    pub handles: usize,
    /// `failing_rows`: rows of one batch that may each make the plugin fail. More, and it is the plugin that is broken.
    pub failing_rows: usize,
    /// `failing_in_a_row`: rows one after the other, over any number of batches, that each make the plugin fail while none passes. So
    /// many, and it is the plugin that is broken, also where each batch is a single row.
    pub failing_in_a_row: usize,
}

impl Limits {
    pub const STACK_BYTES_MAX: usize = 4 << 20;
    /// What a thread that runs or opens stages needs as its own stack.
    pub const THREAD_STACK_BYTES: usize = 2 * Limits::STACK_BYTES_MAX;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            deadline: Duration::from_secs(10),
            memory_bytes: 256 << 20,
            stack_bytes: 512 << 10,
            table_elements: 1 << 20,
            instances: 256,
            component_bytes: 128 << 20,
            output_bytes: 256 << 20,
            rows_out: 1 << 20,
            log_lines: 100,
            metrics: 64,
            handles: 64,
            failing_rows: 64,
            failing_in_a_row: 8,
        }
    }
}

/// The columns that a stage may let out. A Postgres table has 1,600 at most.
pub(crate) const COLUMNS_MAX: usize = 4096;
/// So many times `log_lines` are kept of a stage until the caller takes them, which it does after every batch: one may take
/// longer than a second, and no batch may fill the memory.
pub(crate) const LOG_SECONDS_MAX: usize = 10;
/// A line's length; the rest is cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 4096;
/// The functions that a trap's message names.
pub(crate) const BACKTRACE_FRAMES_MAX: usize = 16;
/// Lists in lists in one column.
pub(crate) const LIST_DEPTH_MAX: usize = 8;
/// A metric's name.
pub(crate) const METRIC_NAME_BYTES_MAX: usize = 64;
/// The code and the message of a rejected row; the rest is cut.
pub(crate) const REJECT_CODE_BYTES_MAX: usize = 64;
pub(crate) const REJECT_MESSAGE_BYTES_MAX: usize = 4096;
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
