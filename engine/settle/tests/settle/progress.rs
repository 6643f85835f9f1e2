use std::time::Duration;

use proptest::prelude::*;
use tidemill_change::Lsn;
use tidemill_settle::limits::{CONFIRM_INTERVAL, SENDER_TIMEOUT, STATUS_INTERVAL};
use tidemill_settle::{Progress, StatusUpdate, Time};

#[test]
fn a_request_is_answered_at_once() {
    let mut progress = Progress::new(Time::START, Lsn(5));
    let now = Time::from_micros(10);
    assert_eq!(progress.tick(now), None);
    progress.keepalive(Lsn(9), true);
    assert_eq!(progress.tick(now), Some(StatusUpdate { write: Lsn(9), flush: Lsn(5), apply: Lsn(5) }));
    assert_eq!(progress.tick(now), None);
}

#[test]
fn a_blocked_sink_does_not_keep_the_server_waiting() {
    let mut progress = Progress::new(Time::START, Lsn(5));
    assert!(STATUS_INTERVAL * 3 <= SENDER_TIMEOUT);
    let mut now = Time::START;
    for _ in 0..10 {
        assert_eq!(progress.next_wake(), now + STATUS_INTERVAL);
        now = progress.next_wake();
        assert!(progress.tick(now).is_some());
    }
}

#[test]
fn a_confirmed_lsn_is_told_soon_and_not_too_often() {
    let mut progress = Progress::new(Time::START, Lsn(5));
    progress.received(Lsn(100));
    progress.confirmed(Lsn(50));
    assert_eq!(progress.tick(Time::from_micros(1)), None);
    let now = Time::START + CONFIRM_INTERVAL;
    assert_eq!(progress.tick(now), Some(StatusUpdate { write: Lsn(100), flush: Lsn(50), apply: Lsn(50) }));
    progress.ask();
    assert!(progress.tick(now).is_some(), "the last one of a connection");
}

#[derive(Clone, Debug)]
enum Step {
    Received(u64),
    Keepalive(u64, bool),
    Confirmed(u64),
    Tick(u64),
}

proptest! {
    #[test]
    fn positions_never_fall_and_never_pass_what_is_confirmed(steps in prop::collection::vec(prop_oneof![
        (0..1000_u64).prop_map(Step::Received),
        (0..1000_u64, any::<bool>()).prop_map(|(lsn, reply)| Step::Keepalive(lsn, reply)),
        (0..1000_u64).prop_map(Step::Confirmed),
        (0..4_000_000_u64).prop_map(Step::Tick),
    ], 0..100)) {
        let mut progress = Progress::new(Time::START, Lsn(10));
        let (mut now, mut confirmed, mut received) = (Time::START, 10, 10);
        let mut last = StatusUpdate { write: Lsn(10), flush: Lsn(10), apply: Lsn(10) };
        let (mut last_at, mut asked) = (Time::START, false);
        for step in steps {
            match step {
                Step::Received(lsn) => { progress.received(Lsn(lsn)); received = received.max(lsn); }
                Step::Keepalive(lsn, reply) => {
                    progress.keepalive(Lsn(lsn), reply);
                    received = received.max(lsn);
                    asked |= reply;
                }
                Step::Confirmed(lsn) => { progress.confirmed(Lsn(lsn)); confirmed = confirmed.max(lsn); }
                Step::Tick(us) => {
                    now = now + Duration::from_micros(us);
                    match progress.tick(now) {
                        Some(update) => {
                            assert_eq!(update.flush, Lsn(confirmed));
                            assert_eq!(update.write, Lsn(received.max(confirmed)));
                            assert!(update.flush >= last.flush && update.write >= last.write);
                            (last, last_at, asked) = (update, now, false);
                        }
                        None => assert!(!asked && now < last_at + STATUS_INTERVAL),
                    }
                }
            }
        }
    }
}
