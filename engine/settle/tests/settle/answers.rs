//! The table of bulk answers: what real servers were seen to say, and what is to be made of it.

use std::time::Duration;

use proptest::prelude::*;
use tidemill_change::Version;
use tidemill_settle::{
    ActionKind, Answer, Exception, Items, Outcome, Pause, PauseKind, Response, Sent, SinkError, Trouble, Unknown, read,
};

use ActionKind::{Delete, Index};

fn sent(kinds: &[ActionKind]) -> impl Iterator<Item = Sent<'static>> {
    kinds.iter().map(|&kind| Sent { kind, version: Version::from(15), id: None })
}

fn answer(status: u16, body: &str, kinds: &[ActionKind]) -> Answer {
    let response = Response { status, retry_after: None, body: body.as_bytes(), items_left_out: false };
    read(&response, sent(kinds))
}

/// Both dialects: OpenSearch begins with `took`, Elasticsearch with `errors`.
fn bodies(items: &str) -> [String; 2] {
    [
        format!(r#"{{"took":3,"errors":true,"items":[{items}]}}"#),
        format!(r#"{{"errors":true,"took":0,"ingest_took":1,"items":[{items}]}}"#),
    ]
}

const GOOD: &str = r#"{"index":{"_index":"products","_id":"7","_version":15,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}"#;

fn failed(operation: &str, status: u16, kind: &str, reason: &str) -> String {
    format!(r#"{{"{operation}":{{"_index":"products","_id":"1","status":{status},"error":{}}}}}"#, error(kind, reason))
}

fn error(kind: &str, reason: &str) -> String {
    format!(
        r#"{{"type":"{kind}","reason":"{reason}","index":"products","shard":"0","index_uuid":"5rLbOBdJRbeEs2NHwB0Y3g","caused_by":{{"type":"number_format_exception","reason":"For input string: \"x\""}}}}"#
    )
}

fn sink_error(status: u16, kind: &str, reason: &str) -> SinkError {
    SinkError { status, kind: kind.into(), reason: reason.into(), json: error(kind, reason) }
}

/// The outcome of one item among others that went well.
fn outcome(item: &str, kind: ActionKind) -> (Option<Outcome>, Items) {
    let [took_first, errors_first] = bodies(&format!("{GOOD},{item},{GOOD}"));
    let kinds = [Index, kind, Index];
    let read = answer(200, &took_first, &kinds);
    assert_eq!(read, answer(200, &errors_first, &kinds), "the order of keys does not matter");
    let Answer::Items(mut items) = read else { panic!("{read:?}") };
    assert!(items.exceptions.len() <= 1, "the others went through: {items:?}");
    let exception = items.exceptions.pop();
    assert!(exception.as_ref().is_none_or(|exception| exception.index == 1));
    (exception.map(|exception| exception.outcome), items)
}

fn check(item: &str, kind: ActionKind, expected: Option<Outcome>) {
    assert_eq!(outcome(item, kind).0, expected, "{item}");
}

fn check_dead(kind: &str, reason: &str) {
    let expected = Outcome::DeadLetter(Box::new(sink_error(400, kind, reason)));
    check(&failed("index", 400, kind, reason), Index, Some(expected));
}

fn check_pause(item: &str, kind: ActionKind, expected: PauseKind) {
    let (outcome, items) = outcome(item, kind);
    assert_eq!(outcome, Some(Outcome::Pause), "{item}");
    assert_eq!(items.pause.unwrap().kind, expected, "{item}");
}

#[test]
fn settled() {
    let equal =
        r#"{"index":{"_index":"p","_id":"1","_version":20,"result":"updated","forced_refresh":false,"status":200}}"#;
    check(equal, Index, None);
    check(r#"{"delete":{"_index":"p","_id":"1","_version":20,"result":"deleted","status":200}}"#, Delete, None);
    // With the filter that we ask for.
    check(r#"{"index":{"status":201}}"#, Index, None);
}

#[test]
fn a_delete_of_what_is_not_there() {
    let item = r#"{"delete":{"_index":"p","_id":"1","_version":20,"result":"not_found","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":3,"_primary_term":1,"status":404}}"#;
    check(item, Delete, Some(Outcome::NotFound));
    // The same status of an index action is something else.
    check_pause(&item.replace("delete", "index"), Index, PauseKind::Refused);
}

#[test]
fn a_lower_version() {
    let reason = "[1]: version conflict, current version [20] is higher than the one provided [15]";
    let item = failed("index", 409, "version_conflict_engine_exception", reason);
    check(&item, Index, Some(Outcome::Stale { stored: Some(Version::from(20)) }));
    let item = failed("delete", 409, "version_conflict_engine_exception", "worded anew");
    check(&item, Delete, Some(Outcome::Stale { stored: None }));
    check_pause(&failed("index", 409, "resource_already_exists_exception", "no"), Index, PauseKind::Refused);
}

#[test]
fn a_busy_sink() {
    let reason = "rejected execution of TransportBulkAction (queue capacity = 1)";
    for kind in ["es_rejected_execution_exception", "rejected_execution_exception", "circuit_breaking_exception"] {
        check(&failed("index", 429, kind, reason), Index, Some(Outcome::Retry(Trouble::Busy)));
    }
    check(&failed("index", 503, "circuit_breaking_exception", "too large"), Index, Some(Outcome::Retry(Trouble::Busy)));
}

#[test]
fn a_shard_that_is_not_there() {
    let item = failed("index", 503, "unavailable_shards_exception", "primary shard is not active");
    check(&item, Index, Some(Outcome::Retry(Trouble::Unavailable(503))));
    check(
        &failed("delete", 500, "null_pointer_exception", ""),
        Delete,
        Some(Outcome::Retry(Trouble::Unavailable(500))),
    );
}

#[test]
fn a_full_disk() {
    let reason = "index [products] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];";
    for (operation, kind) in [("index", Index), ("delete", Delete)] {
        let (outcome, items) = outcome(&failed(operation, 429, "cluster_block_exception", reason), kind);
        assert_eq!(outcome, Some(Outcome::SinkFull));
        assert_eq!(items.full.unwrap(), sink_error(429, "cluster_block_exception", reason));
    }
}

#[test]
fn documents_that_the_sink_will_never_take() {
    check_dead("mapper_parsing_exception", "failed to parse field [price] of type [long] in document with id '1'");
    check_dead("document_parsing_exception", "[1:10] failed to parse field [price] of type [long]");
    check_dead("strict_dynamic_mapping_exception", "mapping set to strict, dynamic introduction of [x] is not allowed");
    check_dead("illegal_argument_exception", "Document contains at least one immense term in field='name'");
    check_dead("something_new_exception", "of a later server");
}

#[test]
fn what_is_not_the_documents_fault() {
    let block = "index [products] blocked by: [FORBIDDEN/8/index write (api)];";
    check_pause(&failed("index", 403, "cluster_block_exception", block), Index, PauseKind::WriteBlock);
    let reason = "action [indices:data/write/bulk[s]] is unauthorized for API key id [x] of user [elastic]";
    check_pause(&failed("delete", 403, "security_exception", reason), Delete, PauseKind::Forbidden);
    check_pause(&failed("index", 400, "index_closed_exception", "closed"), Index, PauseKind::IndexClosed);
    let reason = "no such index [products] and [require_alias] request flag is [true] and [products] is not an alias";
    check_pause(&failed("index", 404, "index_not_found_exception", reason), Index, PauseKind::IndexMissing);
    check_pause(&failed("index", 401, "security_exception", "who"), Index, PauseKind::Unauthorized);
    check_pause(&failed("index", 404, "document_missing_exception", "of an update"), Index, PauseKind::Refused);
    check_pause(&failed("index", 418, "teapot", "no coffee"), Index, PauseKind::Refused);
}

#[test]
fn whole_requests() {
    let body = |status: u16, kind: &str| format!(r#"{{"error":{},"status":{status}}}"#, error(kind, "r"));
    let check = |status: u16, kind: &str, expected: Answer| {
        assert_eq!(answer(status, &body(status, kind), &[Index]), expected, "{status} {kind}");
    };
    let retry = |trouble| Answer::RetryWhole { trouble, retry_after: None };
    let pause = |kind, status, error_kind: &str| {
        Answer::Pause(Pause { kind, error: Some(sink_error(status, error_kind, "r")) })
    };
    for kind in ["illegal_argument_exception", "action_request_validation_exception", "x_content_e_o_f_exception"] {
        check(400, kind, Answer::Bisect(sink_error(400, kind, "r")));
    }
    check(429, "es_rejected_execution_exception", retry(Trouble::Busy));
    check(429, "rejected_execution_exception", retry(Trouble::Busy));
    let full = "cluster_block_exception";
    check(429, full, Answer::SinkFull(sink_error(429, full, "r")));
    for status in [500, 502, 503, 504] {
        check(status, "master_not_discovered_exception", retry(Trouble::Unavailable(status)));
        assert_eq!(answer(status, "<html>bad gateway</html>", &[Index]), retry(Trouble::Unavailable(status)));
    }
    assert_eq!(answer(408, "", &[Index]), retry(Trouble::TimedOut));
    assert_eq!(answer(413, "", &[Index, Index]), Answer::TooLarge);
    check(401, "security_exception", pause(PauseKind::Unauthorized, 401, "security_exception"));
    check(403, "security_exception", pause(PauseKind::Forbidden, 403, "security_exception"));
    check(403, full, pause(PauseKind::WriteBlock, 403, full));
    check(404, "index_not_found_exception", pause(PauseKind::IndexMissing, 404, "index_not_found_exception"));
    check(400, "index_closed_exception", pause(PauseKind::IndexClosed, 400, "index_closed_exception"));
    for (status, kind) in [(302, PauseKind::Redirected), (405, PauseKind::Refused), (402, PauseKind::Refused)] {
        let Answer::Pause(pause) = answer(status, "", &[Index]) else { panic!("{status}") };
        assert_eq!(pause.kind, kind);
    }
}

#[test]
fn a_400_of_something_in_between_is_no_documents_fault() {
    let read = answer(400, "<html><h1>400 Bad Request</h1>nginx</html>", &[Index, Index]);
    let Answer::Pause(pause) = read else { panic!("{read:?}") };
    assert_eq!(pause.kind, PauseKind::Refused);
}

#[test]
fn retry_after_is_handed_on() {
    let wait = Some(Duration::from_secs(7));
    let response = Response { status: 503, retry_after: wait, body: b"", items_left_out: false };
    let expected = Answer::RetryWhole { trouble: Trouble::Unavailable(503), retry_after: wait };
    assert_eq!(read(&response, sent(&[Index])), expected);
}

#[test]
fn an_error_that_is_a_bare_text() {
    let Answer::Pause(pause) = answer(405, r#"{"error":"Incorrect HTTP method","status":405}"#, &[Index]) else {
        panic!()
    };
    assert_eq!(pause.error.unwrap().reason, "Incorrect HTTP method");
}

#[test]
fn answers_that_tell_nothing() {
    let unreadable = Answer::Unknown(Unknown::Unreadable);
    let kinds = [Index, Index];
    let good = format!(r#"{{"took":3,"errors":false,"items":[{GOOD},{GOOD}]}}"#);
    assert_eq!(answer(200, &good, &kinds), Answer::Items(Items::default()));
    for cut in 0..good.len() {
        assert_eq!(answer(200, &good[..cut], &kinds), unreadable, "cut at {cut}");
    }
    for body in [
        "<html>Welcome to nginx!</html>",
        "",
        "null",
        "[]",
        "{}",
        r#"{"errors":false}"#,
        r#"{"items":[]}"#,
        r#"{"acknowledged":true}"#,
        r#"{"errors":false,"items":{}}"#,
        r#"{"errors":false,"items":[{}]}"#,
        r#"{"errors":false,"items":[{"index":{}}]}"#,
        r#"{"errors":false,"items":[{"index":{"status":"201"}}]}"#,
        r#"{"errors":false,"items":[{"index":{"status":201},"delete":{"status":200}}]}"#,
        &format!("{good}{good}"),
    ] {
        assert_eq!(answer(200, body, &kinds), unreadable, "{body}");
    }
}

#[test]
fn answers_that_do_not_fit_the_request() {
    let count = Answer::Unknown(Unknown::ItemCount);
    let two = format!(r#"{{"took":3,"errors":false,"items":[{GOOD},{GOOD}]}}"#);
    assert_eq!(answer(200, &two, &[Index; 3]), count, "missing");
    assert_eq!(answer(200, &two, &[Index]), count, "in excess");
    assert_eq!(answer(200, &two, &[]), count);
    assert_eq!(answer(200, r#"{"errors":false,"items":[]}"#, &[Index]), count);
    let other = Answer::Unknown(Unknown::OtherItem);
    assert_eq!(answer(200, &two, &[Index, Delete]), other);
    for operation in ["create", "update", "nonsense"] {
        assert_eq!(answer(200, &two.replace("\"index\"", &format!("\"{operation}\"")), &[Index; 2]), other);
    }
    let odd = Answer::Unknown(Unknown::OddItem);
    for status in ["100", "301", "0", "999", "400"] {
        assert_eq!(answer(200, &two.replace("201", status), &[Index; 2]), odd, "{status}");
    }
    let contradiction = two.replacen("\"status\":201", r#""status":201,"error":{"type":"x","reason":"y"}"#, 1);
    assert_eq!(answer(200, &contradiction, &[Index; 2]), odd);
}

#[test]
fn items_in_another_order_are_seen_where_ids_are_known() {
    let item = |id: &str| format!(r#"{{"index":{{"_id":"{id}","status":201}}}}"#);
    let body = format!(r#"{{"errors":false,"items":[{},{}]}}"#, item("a"), item("b\\u00e9"));
    let read_with = |ids: [&'static str; 2]| {
        let response = Response { status: 200, retry_after: None, body: body.as_bytes(), items_left_out: false };
        read(&response, sent(&[Index; 2]).zip(ids).map(|(sent, id)| Sent { id: Some(id), ..sent }))
    };
    assert_eq!(read_with(["a", "bé"]), Answer::Items(Items::default()));
    assert_eq!(read_with(["bé", "a"]), Answer::Unknown(Unknown::OtherItem));
}

#[test]
fn a_filter_that_leaves_out_what_went_well() {
    let read_filtered = |body: &str| {
        let response = Response { status: 200, retry_after: None, body: body.as_bytes(), items_left_out: true };
        read(&response, sent(&[Index; 2]))
    };
    assert_eq!(read_filtered(r#"{"errors":false}"#), Answer::Items(Items::default()));
    assert_eq!(read_filtered(r#"{"errors":true}"#), Answer::Unknown(Unknown::Unreadable));
    // Which of the two failed cannot be told.
    let one = format!(r#"{{"errors":true,"items":[{}]}}"#, failed("index", 429, "rejected_execution_exception", "r"));
    assert_eq!(read_filtered(&one), Answer::Unknown(Unknown::ItemCount));
}

#[test]
fn outcomes_stand_at_their_places() {
    let stale = failed("index", 409, "version_conflict_engine_exception", "");
    let busy = failed("delete", 429, "rejected_execution_exception", "");
    let [body, _] = bodies(&format!("{stale},{GOOD},{busy},{GOOD},{stale}"));
    let Answer::Items(items) = answer(200, &body, &[Index, Index, Delete, Index, Index]) else { panic!() };
    let stale = Outcome::Stale { stored: None };
    let expected = [(0, stale.clone()), (2, Outcome::Retry(Trouble::Busy)), (4, stale)];
    assert_eq!(items.exceptions, expected.map(|(index, outcome)| Exception { index, outcome }));
}

#[test]
fn what_is_shown_names_the_way_out_and_no_values() {
    let (_, items) = outcome(&failed("index", 403, "cluster_block_exception", "blocked by: [FORBIDDEN/8]"), Index);
    assert_eq!(
        items.pause.unwrap().to_string(),
        "the index has a write block: take `index.blocks.write` off (status 403, `cluster_block_exception`: blocked by: [FORBIDDEN/8])"
    );
    let secret = sink_error(400, "mapper_parsing_exception", "Preview of field's value: 'secret'");
    assert_eq!(secret.to_string(), "status 400, `mapper_parsing_exception`");
}

#[derive(serde::Deserialize)]
struct PlainAnswer {
    items: Vec<serde::de::IgnoredAny>,
}

proptest! {
    /// Whatever comes, it is read without a panic, and never as fewer outcomes than were sent.
    #[test]
    fn a_damaged_answer_is_never_taken_for_more_than_it_says(
        status in prop_oneof![Just(200_u16), any::<u16>()],
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 0..6),
        drop in 0..6_usize,
    ) {
        let busy = failed("delete", 429, "rejected_execution_exception", "r");
        let mut body = format!(r#"{{"took":3,"errors":true,"items":[{GOOD},{busy},{GOOD}]}}"#).into_bytes();
        let from = at.index(body.len());
        let to = (from + drop).min(body.len());
        body.splice(from..to, with);
        let response = Response { status, retry_after: None, body: &body, items_left_out: false };
        if let Answer::Items(items) = read(&response, sent(&[Index, Delete, Index])) {
            prop_assert!((200..300).contains(&status));
            // A damaged digit may make another status of it, but each item was there.
            let text = String::from_utf8_lossy(&body);
            let plain: PlainAnswer = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(plain.items.len(), 3);
            prop_assert!(items.exceptions.iter().all(|exception| exception.index < 3));
        }
    }
}

/// The seeds of `make fuzz`, and what it found: so the target itself cannot rot.
#[test]
fn the_fuzz_corpus_passes() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/answer");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "{folder} is empty");
    files.iter().for_each(|file| crate::fuzz::fuzz_answer(&std::fs::read(file).unwrap()));
}
