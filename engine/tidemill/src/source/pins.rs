//! The settings that every session of ours begins with.
//!
//! A role or a database may have any defaults; what we read must not depend on them. A setting of the startup message wins
//! over both, and is in force before the first statement.

/// Names and values, safe inside `-c name=value` without escapes.
pub(super) const PINS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "iso_8601"),
    ("extra_float_digits", "1"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("standard_conforming_strings", "on"),
    // Without it a role that RLS binds reads no rows and gets no error.
    ("row_security", "off"),
    ("default_transaction_read_only", "off"),
    // A COPY takes as long as it takes, and a session that exports a snapshot idles in its transaction.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// On replication connections: a dead engine's slot is soon free for the next.
pub(super) const REPLICATION_PINS: &[(&str, &str)] = &[("wal_sender_timeout", "10s")];

/// From this version on `transaction_timeout` exists; older servers refuse the name.
pub(super) const TRANSACTION_TIMEOUT_SINCE: u32 = 17;

/// The pins that a server reports back, as it writes their values: a session that does not show them is not what we asked
/// for, so something between us and the server left them out.
const REPORTED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("standard_conforming_strings", "on"),
];

/// The first pin that the session reports otherwise.
pub(super) fn not_in_force<'a>(reported: impl Fn(&str) -> Option<&'a str>) -> Option<&'static str> {
    let other = |(name, value): &&(&str, &str)| reported(name).is_some_and(|found| !found.starts_with(value));
    REPORTED.iter().find(other).map(|(name, _)| *name)
}

/// The pins as a startup message's `options`, behind the user's own, so that ours win.
pub(super) fn options(users: Option<&str>) -> String {
    let mut options = users.map(str::to_owned).unwrap_or_default();
    for (name, value) in PINS.iter().filter(|(name, _)| *name != "client_encoding") {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str(&format!("-c {name}={value}"));
    }
    options
}
