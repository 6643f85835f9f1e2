//! Every limit of this crate by its name, each with its reason.

use std::time::Duration;

/// Documents in a request at most: beyond it servers gain nothing, and a cut answer costs too much.
pub const DOCUMENTS_MAX: u32 = 10_000;
/// Bytes in a request at most: servers are at their best between 5 and 9 MiB, and refuse above 100 by default.
pub const BYTES_MAX: u64 = 8 << 20;
/// Requests in flight of one stream at most: enough to keep a server busy while answers travel, and with
/// [`BYTES_MAX`] what bounds a stream's memory.
pub const IN_FLIGHT_MAX: u32 = 4;
/// Documents that a stream holds, in flight or waiting, before it asks for no more: what is in flight and two more
/// requests, so that the next is ready when an answer comes.
pub const HELD_DOCUMENTS_MAX: usize = DOCUMENTS_MAX as usize * (IN_FLIGHT_MAX as usize + 2);
/// The same in bytes.
pub const HELD_BYTES_MAX: u64 = BYTES_MAX * (IN_FLIGHT_MAX as u64 + 2);

/// The first delay of a retry: a full queue of the sink drains in about that time.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest delay of a retry: a sink that came back is noticed within this.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// How often one document is tried on a sink whose disk is full: seldom, since somebody has to make room first.
pub const FULL_PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// While a request is in flight, what waits is collected for a full request, but no longer than this: one answer that
/// hangs must not hold everything back.
pub const PARTIAL_WAIT: Duration = Duration::from_millis(20);

/// A sink that refuses work gets requests of half the size, but not below this: smaller ones cost more than they spare.
pub const PACE_DOCUMENTS_MIN: u32 = 16;
/// Each full request that went well makes the next ones larger by this part of the ceiling: growing takes many answers,
/// so that a sink at its limit is not pushed over it again at once.
pub const PACE_GROWTH_STEPS: u32 = 64;
/// A sink that answers 413 gets smaller requests from then on, but not below this; what is still too large is bisected
/// each time.
pub const LEARNED_BYTES_MIN: u64 = 64 << 10;

/// Documents remembered since a request of unknown outcome carried them: a late arrival could bring them back after a
/// delete. Beyond it the oldest are forgotten, and counted.
pub const SUSPECTS_MAX: usize = 100_000;
/// How long they are remembered: no server and no proxy in between holds a request for longer.
pub const SUSPECT_AGE: Duration = Duration::from_secs(3600);

/// `wal_sender_timeout` as our sessions set it, so that a dead engine's slot is free soon.
pub const SENDER_TIMEOUT: Duration = Duration::from_secs(10);
/// A status update goes at least this often, whatever the sink does: two may be lost before the server hangs up.
pub const STATUS_INTERVAL: Duration = Duration::from_millis(SENDER_TIMEOUT.as_millis() as u64 / 3);
/// A confirmed LSN that moved is told no more often than this: the server writes its slot to disk for it.
pub const CONFIRM_INTERVAL: Duration = Duration::from_millis(100);

/// What the configuration may set of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub documents_max: u32,
    pub bytes_max: u64,
    pub in_flight_max: u32,
    pub held_documents_max: usize,
    pub held_bytes_max: u64,
    pub retry_delay_min: Duration,
    pub retry_delay_max: Duration,
    pub full_probe_interval: Duration,
    pub partial_wait: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            documents_max: DOCUMENTS_MAX,
            bytes_max: BYTES_MAX,
            in_flight_max: IN_FLIGHT_MAX,
            held_documents_max: HELD_DOCUMENTS_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            retry_delay_min: RETRY_DELAY_MIN,
            retry_delay_max: RETRY_DELAY_MAX,
            full_probe_interval: FULL_PROBE_INTERVAL,
            partial_wait: PARTIAL_WAIT,
        }
    }
}
