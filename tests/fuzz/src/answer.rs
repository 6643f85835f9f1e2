//! What must hold of every answer that a sink, or whatever stands before it, can give to a bulk request. Shared by the fuzz
//! target and by a test that runs it over the committed corpus.

use serde_json::value::RawValue;
use tidemill_change::Version;
use tidemill_settle::{ActionKind, Answer, Outcome, Response, Sent, read};

const STATUSES: [u16; 16] = [200, 200, 200, 200, 201, 302, 400, 401, 403, 404, 408, 413, 429, 500, 503, 507];

/// Reads the bytes as `choice (1), actions (1), body`: the choice's low half is a status, bit 7 says that `items` may be
/// left out; the low three bits of `actions` are their count, the others say which of them are deletes.
pub(crate) fn fuzz_answer(data: &[u8]) {
    let [choice, actions, body @ ..] = data else { return };
    let count = u32::from(actions % 8);
    let status = STATUSES[usize::from(choice % 16)];
    let items_left_out = choice & 0x80 != 0;
    let kind = |at: u32| if (actions >> 3 >> (at % 5)) & 1 == 0 { ActionKind::Index } else { ActionKind::Delete };
    let sent = || (0..count).map(|at| Sent { kind: kind(at), version: Version::from(15), id: None });
    let response = Response { status, retry_after: None, body, items_left_out };
    let answer = read(&response, sent());
    assert_eq!(answer, read(&response, sent()), "the same answer reads the same");
    let Answer::Items(items) = &answer else { return };
    assert!((200..300).contains(&status), "items are believed in {status}");
    assert!(serde_json::from_slice::<&RawValue>(body).is_ok(), "items are believed of what is no JSON");
    assert!(items.exceptions.is_sorted_by(|a, b| a.index < b.index), "exceptions ascend: {items:?}");
    assert!(items.exceptions.iter().all(|exception| exception.index < count), "an action that was not sent: {items:?}");
    let any = |wanted: fn(&Outcome) -> bool| items.exceptions.iter().any(|exception| wanted(&exception.outcome));
    assert_eq!(items.pause.is_some(), any(|outcome| matches!(outcome, Outcome::Pause)), "{items:?}");
    assert_eq!(items.full.is_some(), any(|outcome| matches!(outcome, Outcome::SinkFull)), "{items:?}");
    let deleted = |at: u32| kind(at) == ActionKind::Delete;
    let missing = items.exceptions.iter().filter(|exception| exception.outcome == Outcome::NotFound);
    assert!(missing.into_iter().all(|exception| deleted(exception.index)), "only a delete may miss: {items:?}");
}
