//! The rules of delivery one by one.

use std::time::Duration;

use tidemill_change::Version;
use tidemill_settle::limits::{FULL_PROBE_INTERVAL, PARTIAL_WAIT, RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use tidemill_settle::{
    ActionKind, Answer, Command, Counts, Delivery, Exception, Failure, GroupId, Item, ItemRef, Items, Limits, Outcome,
    PauseKind, RequestId, Response, SinkError, Slice, Time, Trouble, Unknown, read,
};

/// A delivery with the clock that drives it.
struct Story {
    delivery: Delivery,
    now: Time,
    groups: u64,
}

fn item(key: u64) -> Item {
    Item { key, version: Version::from(key << 9), bytes: 100, kind: ActionKind::Index, serial: false }
}

fn items(keys: std::ops::Range<u64>) -> Vec<Item> {
    keys.map(item).collect()
}

fn good() -> Answer {
    Answer::Items(Items::default())
}

fn with(outcomes: &[(u32, Outcome)]) -> Answer {
    let exceptions = outcomes.iter().map(|(index, outcome)| Exception { index: *index, outcome: outcome.clone() });
    Answer::Items(Items { exceptions: exceptions.collect(), ..Items::default() })
}

fn error(kind: &str) -> SinkError {
    SinkError { status: 400, kind: kind.into(), reason: String::new(), json: String::new() }
}

fn slice(group: u64, start: u32, len: u32) -> Slice {
    Slice { group: GroupId(group), start, len }
}

impl Story {
    fn new() -> Story {
        Story::with_limits(Limits { documents_max: 100, ..Limits::default() })
    }

    fn with_limits(limits: Limits) -> Story {
        Story { delivery: Delivery::new(limits, 1), now: Time::START, groups: 0 }
    }

    fn offer(&mut self, items: Vec<Item>) {
        self.delivery.offer(self.now, GroupId(self.groups), items).unwrap();
        self.groups += 1;
    }

    fn answer(&mut self, request: u64, answer: Answer) {
        self.delivery.answered(self.now, RequestId(request), answer);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.delivery.tick(self.now);
    }

    /// Goes to the next wake and says how far it was.
    fn wake(&mut self) -> Duration {
        let at = self.delivery.next_wake().expect("something is due");
        let delay = at.since(self.now);
        self.pass(delay);
        delay
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.delivery.next_command()).collect()
    }

    /// The requests among the commands.
    fn sends(&mut self) -> Vec<(u64, Vec<Slice>)> {
        let send = |command| match command {
            Command::Send { request, slices, .. } => Some((request.0, slices)),
            _ => None,
        };
        self.commands().into_iter().filter_map(send).collect()
    }
}

#[test]
fn what_is_there_goes_at_once_while_the_sink_is_idle_and_is_collected_while_it_is_not() {
    let mut story = Story::new();
    story.offer(items(0..3));
    assert_eq!(story.sends(), [(0, vec![slice(0, 0, 3)])]);
    story.offer(items(10..13));
    story.offer(items(20..23));
    assert_eq!(story.sends(), [], "one is in flight");
    story.answer(0, good());
    assert_eq!(story.sends(), [(1, vec![slice(1, 0, 3), slice(2, 0, 3)])]);
}

#[test]
fn under_load_full_requests_go_beside_each_other() {
    let mut story = Story::new();
    story.offer(items(0..1000));
    let sends = story.sends();
    assert_eq!(sends, (0..4).map(|n| (n, vec![slice(0, n as u32 * 100, 100)])).collect::<Vec<_>>());
    story.answer(2, good());
    assert_eq!(story.sends(), [(4, vec![slice(0, 400, 100)])]);
}

#[test]
fn bytes_end_a_request_first() {
    let mut story = Story::with_limits(Limits { bytes_max: 250, ..Limits::default() });
    let mut large = items(0..5);
    large[3].bytes = 1000;
    story.offer(large);
    let slices: Vec<_> = story.sends().into_iter().flat_map(|(_, slices)| slices).collect();
    assert_eq!(slices, [slice(0, 0, 2), slice(0, 2, 1), slice(0, 3, 1)]);
    story.pass(PARTIAL_WAIT);
    assert_eq!(story.sends(), [(3, vec![slice(0, 4, 1)])]);
}

#[test]
fn an_answer_that_hangs_holds_others_back_for_a_moment_only() {
    let mut story = Story::new();
    story.offer(items(0..1));
    story.offer(items(1..2));
    assert_eq!(story.sends().len(), 1);
    assert_eq!(story.wake(), PARTIAL_WAIT);
    assert_eq!(story.sends(), [(1, vec![slice(1, 0, 1)])]);
}

#[test]
fn a_later_action_waits_for_the_earlier_and_lets_others_pass() {
    let mut story = Story::new();
    story.offer(vec![item(1), item(2), item(1), item(1), item(3)]);
    assert_eq!(story.sends(), [(0, vec![slice(0, 0, 2), slice(0, 4, 1)])]);
    story.answer(0, good());
    assert_eq!(story.sends(), [(1, vec![slice(0, 2, 1)])]);
    story.answer(1, good());
    assert_eq!(story.sends(), [(2, vec![slice(0, 3, 1)])]);
    story.answer(2, good());
    let done = [
        Command::Settled { group: GroupId(0), counts: Counts { indexed: 1, ..Counts::default() } },
        Command::GroupDone(GroupId(0)),
    ];
    assert_eq!(story.commands(), done);
    assert!(story.delivery.is_idle());
}

#[test]
fn a_refused_document_waits_alone() {
    let mut story = Story::new();
    story.offer(items(0..10));
    story.sends();
    story.answer(0, with(&[(4, Outcome::Retry(Trouble::Busy))]));
    story.offer(vec![item(4), item(5)]);
    assert_eq!(story.sends(), [(1, vec![slice(1, 1, 1)])], "its own later action waits with it");
    story.answer(1, good());
    let delay = story.wake();
    assert!(RETRY_DELAY_MIN / 2 <= delay && delay <= RETRY_DELAY_MIN, "{delay:?}");
    assert_eq!(story.sends(), [(2, vec![slice(0, 4, 1)])]);
    story.answer(2, good());
    assert_eq!(story.sends(), [(3, vec![slice(1, 0, 1)])]);
}

#[test]
fn a_sink_that_refuses_everything_gets_one_request_at_a_time_and_less_and_less_often() {
    let mut story = Story::new();
    story.offer(items(0..100));
    let mut before = Duration::ZERO;
    for request in 0..12 {
        assert_eq!(story.sends().len(), 1);
        story.answer(request, Answer::RetryWhole { trouble: Trouble::Busy, retry_after: None });
        story.offer(items(100 + request..101 + request));
        assert_eq!(story.sends(), []);
        let delay = story.wake();
        assert!(delay >= before.min(RETRY_DELAY_MAX / 2) && delay <= RETRY_DELAY_MAX);
        before = delay;
    }
    assert_eq!(story.sends(), [(12, vec![slice(0, 0, 16)])], "smaller, down to the floor");
    story.answer(12, good());
    assert!(!story.delivery.status().failing);
    let sends = story.sends();
    assert_eq!(sends, [(13, vec![slice(0, 16, 16)]), (14, vec![slice(0, 32, 16)])], "first the window grows again");
}

#[test]
fn lines_of_unknown_fate_go_again_as_they_were() {
    let mut story = Story::new();
    story.offer(items(0..10));
    story.answer(0, Answer::Unknown(Unknown::Unreadable));
    story.commands();
    story.wake();
    assert_eq!(story.sends(), [(1, vec![slice(0, 0, 10)])]);
    story.delivery.failed(story.now, RequestId(1), Failure::Unknown);
    story.wake();
    assert_eq!(story.sends(), [(2, vec![slice(0, 0, 10)])]);
    // The first one answers after all: nobody listens.
    story.answer(0, good());
    assert_eq!((story.commands(), story.delivery.status().totals.answers_ignored), (vec![], 1));
}

#[test]
fn a_delete_that_a_late_request_may_undo_is_read_back() {
    let mut story = Story::new();
    let delete = |key| Item { kind: ActionKind::Delete, ..item(key) };
    story.offer(items(0..2));
    story.delivery.failed(story.now, RequestId(0), Failure::Unknown);
    story.wake();
    story.answer(1, good());
    story.offer(vec![delete(1), delete(9)]);
    story.commands();
    story.answer(2, with(&[(0, Outcome::NotFound)]));
    let read_back = Command::ReadBack { item: ItemRef { group: GroupId(1), index: 0 } };
    assert_eq!(story.commands()[0], read_back);
}

#[test]
fn poison_is_found_by_halves() {
    for poison in [&[0][..], &[499], &[17, 18], &[3, 250, 499]] {
        let limits = Limits { documents_max: 500, in_flight_max: 1, ..Limits::default() };
        let mut story = Story::with_limits(limits);
        story.offer(items(0..500));
        let (mut requests, mut letters) = (0, Vec::new());
        while let Some(command) = story.delivery.next_command() {
            match command {
                Command::Send { request, slices, .. } => {
                    requests += 1;
                    let refused = slices.iter().any(|s| poison.iter().any(|p| (s.start..s.start + s.len).contains(p)));
                    story.answer(request.0, if refused { Answer::Bisect(error("poison")) } else { good() });
                }
                Command::DeadLetter { item, error } => {
                    assert_eq!(error.kind, "poison");
                    letters.push(item.index);
                    assert!(story.delivery.dead_lettered(story.now, item));
                }
                _ => {}
            }
        }
        assert!(story.delivery.is_idle());
        assert_eq!(letters, poison);
        assert!(requests <= 2 * poison.len() * 9 + 2, "{requests} requests for {poison:?}");
    }
}

#[test]
fn a_request_that_is_too_large_is_halved_by_bytes_and_the_size_is_learned() {
    let mut story = Story::with_limits(Limits { bytes_max: 1 << 20, in_flight_max: 1, ..Limits::default() });
    let mut large = items(0..100);
    large[0].bytes = 500_000;
    story.offer(large);
    story.sends();
    story.answer(0, Answer::TooLarge);
    assert_eq!(story.sends(), [(1, vec![slice(0, 0, 1)])], "half of the bytes");
    story.answer(1, Answer::TooLarge);
    let commands = story.commands();
    let Command::DeadLetter { item, error } = &commands[0] else { panic!("{commands:?}") };
    assert_eq!((item.index, error.status, error.kind.as_str()), (0, 413, "content_too_large"));
    let mut more = items(200..203);
    more.iter_mut().for_each(|item| item.bytes = 200_000);
    story.offer(more);
    story.answer(2, good());
    assert_eq!(story.sends(), [(3, vec![slice(1, 0, 1)])], "no more than half of what was too large");
}

#[test]
fn a_dead_letter_settles_only_when_it_is_durable() {
    let mut story = Story::new();
    story.offer(items(0..2));
    story.sends();
    story.answer(0, with(&[(1, Outcome::DeadLetter(Box::new(error("mapper_parsing_exception"))))]));
    story.offer(items(1..2));
    let item = ItemRef { group: GroupId(0), index: 1 };
    let commands = story.commands();
    assert!(matches!(&commands[0], Command::DeadLetter { item: it, .. } if *it == item));
    assert_eq!(
        commands[1..],
        [Command::Settled { group: GroupId(0), counts: Counts { indexed: 1, ..Counts::default() } }]
    );
    assert!(!story.delivery.is_idle());
    assert!(story.delivery.dead_lettered(story.now, item) && !story.delivery.dead_lettered(story.now, item));
    let dead = Counts { dead: 1, ..Counts::default() };
    assert_eq!(
        story.commands()[..2],
        [Command::Settled { group: GroupId(0), counts: dead }, Command::GroupDone(GroupId(0))]
    );
}

#[test]
fn a_full_sink_is_tried_with_one_document_now_and_then() {
    let mut story = Story::new();
    story.offer(items(0..10));
    story.sends();
    let full = || {
        Answer::Items(Items {
            exceptions: vec![Exception { index: 0, outcome: Outcome::SinkFull }],
            pause: None,
            full: Some(error("cluster_block_exception")),
        })
    };
    story.answer(0, full());
    let paused = story.commands().into_iter().any(|c| matches!(c, Command::Pause(p) if p.kind == PauseKind::SinkFull));
    assert!(paused);
    story.offer(items(10..20));
    for request in 1..4 {
        assert_eq!(story.wake(), FULL_PROBE_INTERVAL);
        assert_eq!(story.commands().len(), 1, "one probe, and no second word about it");
        story.answer(request, full());
    }
    story.wake();
    assert_eq!(story.sends(), [(4, vec![slice(0, 0, 1)])]);
    story.answer(4, good());
    let commands = story.commands();
    assert_eq!(commands[0], Command::Resumed);
    assert!(matches!(commands.last(), Some(Command::Send { documents: 10, .. })));
}

#[test]
fn a_pause_lasts_until_somebody_resumes() {
    let mut story = Story::new();
    story.offer(items(0..10));
    story.sends();
    let response = Response { status: 401, retry_after: None, body: b"", items_left_out: false };
    let answer = read(&response, story.delivery.sent(RequestId(0)));
    story.answer(0, answer);
    assert!(matches!(&story.commands()[..], [Command::Pause(p)] if p.kind == PauseKind::Unauthorized));
    story.offer(items(10..20));
    story.pass(Duration::from_secs(3600));
    assert_eq!((story.commands(), story.delivery.next_wake()), (vec![], None));
    story.delivery.resume(story.now);
    assert_eq!(story.sends(), [(1, vec![slice(0, 0, 10), slice(1, 0, 10)])]);
}

#[test]
fn an_index_that_is_ahead_of_the_database_pauses() {
    let stale = |version: u64| with(&[(0, Outcome::Stale { stored: Some(Version::from(version)) })]);
    let mut story = Story::new();
    story.delivery.set_horizon(Version::from(1000));
    story.offer(items(1..3));
    story.answer(0, stale(1001));
    let commands = story.commands();
    assert!(commands.iter().any(|command| matches!(
        command,
        Command::Pause(pause) if pause.kind == PauseKind::IndexAhead { stored: Version::from(1001) }
    )));
    story.delivery.set_horizon(Version::from(1001));
    story.delivery.set_horizon(Version::from(5));
    story.delivery.resume(story.now);
    assert_eq!(story.sends(), [(1, vec![slice(0, 0, 1)])]);
    story.answer(1, stale(1001));
    let counts = Counts { stale: 1, ..Counts::default() };
    assert_eq!(story.commands()[0], Command::Settled { group: GroupId(0), counts });
}

#[test]
fn serial_actions_go_with_nothing_beside_them() {
    let mut story = Story::new();
    let serial = |key| Item { serial: true, ..item(key) };
    story.offer(vec![item(1), serial(2), serial(3), serial(2), item(4)]);
    assert_eq!(story.sends(), [(0, vec![slice(0, 0, 1)])]);
    story.pass(PARTIAL_WAIT);
    assert_eq!(story.sends(), []);
    story.answer(0, good());
    assert_eq!(story.sends(), [(1, vec![slice(0, 1, 2)])]);
    story.pass(PARTIAL_WAIT);
    assert_eq!(story.sends(), []);
    story.answer(1, good());
    assert_eq!(story.sends(), [(2, vec![slice(0, 3, 1)])]);
    story.answer(2, good());
    assert_eq!(story.sends(), [(3, vec![slice(0, 4, 1)])]);
}

#[test]
fn it_asks_for_more_until_it_holds_enough() {
    let mut story = Story::with_limits(Limits { held_documents_max: 50, held_bytes_max: 8_000, ..Limits::default() });
    assert!(story.delivery.wants_more() && story.delivery.is_idle());
    story.offer(items(0..49));
    assert!(story.delivery.wants_more());
    story.offer(items(50..51));
    assert!(!story.delivery.wants_more());
    story.answer(0, good());
    assert!(story.delivery.wants_more());
    story.offer(vec![Item { bytes: 8_000, ..item(1) }]);
    assert!(!story.delivery.wants_more(), "bytes count too");
}

#[test]
fn an_empty_group_is_done_at_once() {
    let mut story = Story::new();
    story.offer(Vec::new());
    assert_eq!(story.commands(), [Command::GroupDone(GroupId(0))]);
}
