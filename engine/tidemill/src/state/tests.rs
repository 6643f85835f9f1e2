use tidemill_change::Version;

use super::*;

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidemill.db");
    (dir, path)
}

fn source() -> NewSource {
    NewSource {
        identity: SourceIdentity {
            system_identifier: u64::MAX - 1,
            database: "shop".to_owned(),
            slot: "tidemill".to_owned(),
        },
        timeline: 1,
        slot_made: Made::ByUs,
        publication: "pub".to_owned(),
        publication_made: Made::ByOthers,
        epoch: Epoch::new(3).unwrap(),
        consistent_point: Some(Lsn(0x1234)),
    }
}

fn letter(key: &str, commit: u64) -> NewDeadLetter {
    NewDeadLetter {
        stream: "products".to_owned(),
        table: "public.products".to_owned(),
        key: key.to_owned(),
        index: "products".to_owned(),
        also: Vec::new(),
        kind: LetterKind::Index,
        commit: Lsn(commit),
        ordinal: 0,
        version: Version::new(Epoch::default(), Lsn(commit), 0).unwrap(),
        action: Some(format!("{{\"index\":{{\"_id\":\"{key}\"}}}}")),
        document: Some("{\"price\":\"x\"}".to_owned()),
        error_type: "mapper_parsing_exception".to_owned(),
        error: "{\"type\":\"mapper_parsing_exception\"}".to_owned(),
        stage: None,
        plugin_sha256: None,
        attempts: 1,
    }
}

fn all() -> LetterFilter {
    LetterFilter::default()
}

#[test]
fn the_source_is_remembered_and_never_goes_back() {
    let (_dir, path) = dir();
    {
        let state = State::open(&path).unwrap();
        assert_eq!(state.source().unwrap(), None);
        state.bind_source(&source()).unwrap();
        state.advance_received(Lsn(0x9000)).unwrap();
        state.advance_received(Lsn(0x8000)).unwrap();
        state.advance_confirmed(Lsn(0x7000)).unwrap();
        state.advance_confirmed(Lsn(0x6000)).unwrap();
        state.set_consistent_point(Lsn(0x1234)).unwrap();
        state.set_timeline(2).unwrap();
        state.set_publication("other", Made::ByUs).unwrap();
    }
    let state = State::open(&path).unwrap();
    let known = state.bind_source(&source()).unwrap();
    assert_eq!(known.identity, source().identity);
    assert_eq!((known.timeline, known.received, known.epoch.get()), (2, Lsn(0x9000), 3));
    assert_eq!(
        (known.slot_made, known.publication_made, known.publication.as_str()),
        (Made::ByUs, Made::ByUs, "other")
    );
    assert_eq!((known.consistent_point, known.confirmed), (Some(Lsn(0x1234)), Some(Lsn(0x7000))));
}

/// What an older version wrote is read as it is, and becomes today's when an engine opens it.
#[test]
fn a_state_from_before_positions_were_kept() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    state.bind_source(&source()).unwrap();
    state.add_dead_letters(&[letter("1", 8)]).unwrap();
    drop(state);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "DROP INDEX dead_letters_by_document; ALTER TABLE source DROP COLUMN confirmed; ALTER TABLE dead_letters DROP COLUMN also;
         PRAGMA user_version = 2",
    )
    .unwrap();
    drop(old);
    let old = State::read(&path).unwrap().unwrap();
    let listed = old.dead_letters(&all()).unwrap();
    assert_eq!(listed[0].also, []);
    assert_eq!(old.dead_letter(listed[0].id).unwrap().unwrap().key, "1");
    let read = old.source().unwrap().unwrap();
    assert_eq!((read.confirmed, read.reached()), (None, Lsn(0x1234)));
    let state = State::open(&path).unwrap();
    assert_eq!(state.source().unwrap().unwrap().confirmed, None);
    assert_eq!(state.dead_letters(&all()).unwrap()[0].also, []);
    state.advance_confirmed(Lsn(0x2000)).unwrap();
    assert_eq!(state.source().unwrap().unwrap().confirmed, Some(Lsn(0x2000)));
}

#[test]
fn another_source_is_refused_with_what_it_is() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    state.bind_source(&source()).unwrap();
    let refused = |change: fn(&mut SourceIdentity), what: &str| {
        let mut other = source();
        change(&mut other.identity);
        let message = state.bind_source(&other).unwrap_err().to_string();
        assert!(message.contains(&format!("belongs to another {what}: it follows slot `tidemill` of database `shop`")));
        assert!(message.contains(&path.display().to_string()) && message.contains("`state:`"), "{message}");
    };
    refused(|identity| identity.system_identifier = 5, "cluster");
    refused(|identity| identity.database = "x".to_owned(), "database");
    refused(|identity| identity.slot = "y".to_owned(), "slot");
    assert_eq!(state.source().unwrap().unwrap().identity, source().identity);
}

#[test]
fn streams_and_backfills_come_back() {
    let (_dir, path) = dir();
    let table = |id, state| TableBackfill { table: TableId(id), name: format!("public.t{id}"), state };
    {
        let state = State::open(&path).unwrap();
        state.put_stream("a", "d1").unwrap();
        state.put_stream("b", "d2").unwrap();
        state.advance_settled([("a", Lsn(10)), ("b", Lsn(5)), ("gone", Lsn(1))]).unwrap();
        state.advance_settled([("a", Lsn(9))]).unwrap();
        state.set_paused("b", Some("401 from the sink")).unwrap();
        state.put_stream("b", "d3").unwrap();
        assert!(state.set_paused("gone", None).unwrap_err().to_string().contains("knows no stream `gone`"));
        state.set_backfill("a", &table(1, BackfillState::Todo)).unwrap();
        state.set_backfill("a", &table(2, BackfillState::Running { consistent_point: Lsn(7) })).unwrap();
        state.set_backfill("a", &table(1, BackfillState::Done { consistent_point: Lsn(8) })).unwrap();
        state.set_backfill("b", &table(1, BackfillState::Todo)).unwrap();
    }
    let state = State::open(&path).unwrap();
    let stream = |name: &str, digest: &str, settled, paused: Option<&str>| StreamState {
        name: name.into(),
        plan_digest: digest.into(),
        settled: Lsn(settled),
        paused: paused.map(Into::into),
    };
    let b = stream("b", "d3", 5, Some("401 from the sink"));
    assert_eq!(state.streams().unwrap(), [stream("a", "d1", 10, None), b.clone()]);
    assert_eq!(state.stream("b").unwrap(), Some(b));
    let done = table(1, BackfillState::Done { consistent_point: Lsn(8) });
    assert_eq!(
        state.backfills("a").unwrap(),
        [done.clone(), table(2, BackfillState::Running { consistent_point: Lsn(7) })]
    );
    state.remove_backfill("a", TableId(2)).unwrap();
    assert_eq!(state.backfills("a").unwrap(), [done]);
    state.remove_stream("a").unwrap();
    assert_eq!((state.stream("a").unwrap(), state.backfills("a").unwrap().len()), (None, 0));
    assert_eq!(state.backfills("b").unwrap().len(), 1);
}

#[test]
fn one_engine_holds_the_state_and_others_may_read() {
    let (_dir, path) = dir();
    assert!(State::read(&path).unwrap().is_none());
    let engine = State::open(&path).unwrap();
    engine.bind_source(&source()).unwrap();
    engine.add_dead_letters(&[letter("1", 8)]).unwrap();
    let message = State::open(&path).unwrap_err().to_string();
    let expected = format!("another engine (process {}) runs with the state `{}`", std::process::id(), path.display());
    assert!(message.starts_with(&expected), "{message}");
    assert!(State::remove(&path).is_err());

    let reader = State::read(&path).unwrap().unwrap();
    assert_eq!(reader.dead_letters(&all()).unwrap().len(), 1);
    engine.add_dead_letters(&[letter("2", 16)]).unwrap();
    assert_eq!(reader.dead_letters(&all()).unwrap().len(), 2);
    assert!(reader.put_stream("a", "b").unwrap_err().to_string().contains("cannot be written"));
    drop((engine, reader));

    drop(State::open(&path).unwrap());
    State::remove(&path).unwrap();
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn files_that_are_no_state_are_refused_and_left_alone() {
    let (dir, path) = dir();
    let refused = |path: &Path, expected: &str| {
        for error in [State::open(path).unwrap_err(), State::read(path).unwrap_err()] {
            let message = error.to_string();
            assert!(message.contains(expected) && message.contains(&path.display().to_string()), "{message}");
        }
    };
    std::fs::write(
        &path,
        "not a database, but long enough to have a header of a hundred bytes and then some more ".repeat(50),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    refused(&path, "is not a state file: name another by `state:`");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    refused(&other, "is a database of another program: name another file by `state:`");

    let newer = dir.path().join("newer.db");
    drop(State::open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    refused(&newer, "was written by a newer tidemill (format 99, this one knows up to 5)");

    let missing = dir.path().join("no").join("tidemill.db");
    let message = State::open(&missing).unwrap_err().to_string();
    assert!(message.starts_with("the folder of the state `") && message.contains("is not there: make it"), "{message}");
}

#[test]
fn a_damaged_state_is_told_before_anything_runs() {
    let (_dir, path) = dir();
    {
        let state = State::open(&path).unwrap();
        state.bind_source(&source()).unwrap();
        let letters: Vec<_> = (1..500).map(|i| letter(&format!("key {i}"), i * 8)).collect();
        state.add_dead_letters(&letters).unwrap();
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    assert!(end > 100_000, "the letters are in the file, not in a journal: {end}");
    bytes[4096..].chunks_mut(4096).step_by(3).for_each(|page| page[..512].fill(0x5a));
    std::fs::write(&path, bytes).unwrap();
    let message = State::open(&path).unwrap_err().to_string();
    assert!(message.contains("is damaged: bring it back from a backup") && message.contains("teardown"), "{message}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let error = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let message = error::cannot_open(Path::new("/srv/ro/t.db"), &error).to_string();
    let expected =
        "the state `/srv/ro/t.db` cannot be written: let this user write to `/srv/ro`, or name another place";
    assert!(message.starts_with(expected), "{message}");
}

#[cfg(unix)]
#[test]
fn the_file_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = dir();
    drop(State::open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn letters_are_kept_listed_and_shown() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    let mut rejected = letter("r", 24);
    rejected.kind = LetterKind::Row;
    rejected.stream = "orders".to_owned();
    rejected.error_type = "bad_price".to_owned();
    rejected.stage = Some("enrich".to_owned());
    rejected.plugin_sha256 = Some("ab".to_owned());
    state.add_dead_letters(&[letter("1", 8), letter("2", 16), rejected]).unwrap();

    let list = state.dead_letters(&all()).unwrap();
    assert_eq!(list.iter().map(|l| l.key.as_str()).collect::<Vec<_>>(), ["1", "2", "r"]);
    assert!(list.iter().all(|l| l.document.is_none() && l.state == LetterState::Open && l.first_seen_ms > 0));
    let shown = state.dead_letter(list[2].id).unwrap().unwrap();
    assert_eq!(shown.document.as_deref(), Some("{\"price\":\"x\"}"));
    assert_eq!(
        (shown.kind, shown.stage.as_deref(), shown.commit_lsn.as_str()),
        (LetterKind::Row, Some("enrich"), "0/18")
    );
    assert_eq!(state.dead_letter(99).unwrap(), None);

    let keys =
        |filter: LetterFilter| state.dead_letters(&filter).unwrap().into_iter().map(|l| l.key).collect::<Vec<_>>();
    assert_eq!(keys(LetterFilter { stream: Some("orders".into()), ..all() }), ["r"]);
    assert_eq!(keys(LetterFilter { error_type: Some("bad_price".into()), ..all() }), ["r"]);
    assert_eq!(keys(LetterFilter { key: Some("2".into()), table: Some("public.products".into()), ..all() }), ["2"]);
    assert_eq!(keys(LetterFilter { after: Some(list[0].id), limit: Some(1), ..all() }), ["2"]);
    assert_eq!(keys(LetterFilter { since_ms: Some(i64::MAX), ..all() }), Vec::<String>::new());
    let json = serde_json::to_value(&list[0]).unwrap();
    assert_eq!((&json["kind"], &json["state"], json.get("document")), (&"index".into(), &"open".into(), None));
}

#[test]
fn a_letter_that_comes_again_is_the_same_letter() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    state.add_dead_letters(&[letter("1", 8)]).unwrap();
    let id = state.dead_letters(&all()).unwrap()[0].id;
    assert_eq!(state.mark_dead_letters(&[id, 99], LetterState::Retried).unwrap(), 1);
    assert_eq!(state.mark_dead_letters(&[id], LetterState::Dropped).unwrap(), 0);
    let mut again = letter("1", 8);
    again.error_type = "other".to_owned();
    state.add_dead_letters(&[again]).unwrap();
    let list = state.dead_letters(&all()).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].id, list[0].attempts, list[0].error_type.as_str()), (id, 2, "other"));
    assert_eq!(list[0].state, LetterState::Open);
}

#[test]
fn letters_have_limits() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    let letters: Vec<_> = (1..=10).map(|i| letter(&i.to_string(), i * 8)).collect();
    state.add_dead_letters(&letters).unwrap();
    let totals = state.dead_letter_totals("products").unwrap();
    let one = letters[0].bytes() as u64;
    assert_eq!(totals, LetterTotals { rows: 10, bytes: one * 10 + 2 });
    assert_eq!(state.drop_oldest_dead_letters("products", 10, u64::MAX).unwrap(), 0);
    assert_eq!(state.drop_oldest_dead_letters("products", 7, u64::MAX).unwrap(), 3);
    assert_eq!(state.drop_oldest_dead_letters("products", 7, one * 4 + 2).unwrap(), 3);
    let left: Vec<_> = state.dead_letters(&all()).unwrap().into_iter().map(|l| l.key).collect();
    assert_eq!(left, ["7", "8", "9", "10"]);

    let version = |lsn| Version::new(Epoch::default(), Lsn(lsn), 0).unwrap();
    let taken = [("products", "7", version(7 * 8)), ("products", "8", version(100 * 8)), ("other", "9", version(800))];
    assert_eq!(state.supersede_dead_letters("products", taken).unwrap(), 1);
    assert_eq!(state.dead_letter_totals("products").unwrap().rows, 3);
    assert_eq!(state.prune_dead_letters(1).unwrap(), 0);
    assert_eq!(state.prune_dead_letters(0).unwrap(), 1);
    assert_eq!(state.dead_letters(&all()).unwrap().len(), 3);
}

#[test]
fn a_letter_that_is_refused_again_says_so() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    state.add_dead_letters(&[letter("1", 8), letter("2", 16)]).unwrap();
    let before = state.dead_letters(&all()).unwrap();
    let refused = |id: i64| RefusedLetter { id, error_type: "ü".to_owned(), error: "too long".to_owned() };
    state.mark_dead_letters(&[before[1].id], LetterState::Dropped).unwrap();
    state.refuse_dead_letters(&[refused(before[0].id), refused(before[1].id)]).unwrap();
    let after = state.dead_letters(&all()).unwrap();
    assert_eq!((after[0].attempts, after[0].error_type.as_str(), after[0].error.as_str()), (2, "ü", "too long"));
    assert_eq!(after[1].error, before[1].error, "only what is open is sent");
    let mut same = letter("1", 8);
    (same.error_type, same.error) = ("ü".to_owned(), "too long".to_owned());
    assert_eq!(after[0].bytes, same.bytes() as u64);
    assert_eq!(state.count_dead_letters(&LetterFilter { limit: Some(1), ..all() }).unwrap(), 2);
    assert_eq!(state.count_dead_letters(&LetterFilter { after: Some(before[0].id), ..all() }).unwrap(), 1);
}

#[test]
fn letters_have_nothing_to_say_beside_newer_ones() {
    let (_dir, path) = dir();
    let state = State::open(&path).unwrap();
    let mut renamed = letter("a", 24);
    renamed.table = "public.goods".to_owned();
    let (mut without_id, mut later) = (letter("", 8), letter("", 16));
    (without_id.index, later.index) = (String::new(), String::new());
    state.add_dead_letters(&[letter("a", 8), renamed, letter("b", 16), without_id, later, letter("ab", 32)]).unwrap();
    let list = state.dead_letters(&all()).unwrap();
    let ids: Vec<_> = list.iter().map(|letter| letter.id).collect();
    assert_eq!(state.supersede_by_newer_letters(&ids).unwrap(), 1);
    assert_eq!(state.dead_letter(ids[0]).unwrap().unwrap().state, LetterState::Superseded);

    let version = |lsn| Version::new(Epoch::default(), Lsn(lsn), 0).unwrap();
    assert_eq!(state.supersede_dead_letters_under("products", &list[0].index, "a", version(32)).unwrap(), 1);
    assert_eq!(state.supersede_dead_letters_under("products", "other", "", version(800)).unwrap(), 0);
    assert_eq!(state.supersede_dead_letters_under("products", &list[0].index, "", version(800)).unwrap(), 2);
    assert_eq!(state.dead_letter_totals("products").unwrap().rows, 2, "those without an id");
    assert_eq!(state.supersede_nameless_letters_under("products", "public.other", version(800)).unwrap(), 0);
    assert_eq!(state.supersede_nameless_letters_under("products", "public.products", version(16)).unwrap(), 1);
    assert_eq!(state.supersede_nameless_letters_under("products", "public.products", version(800)).unwrap(), 1);
}

/// Whoever reads before it writes waits for another writer as any other does, and is not told that the state is locked.
#[test]
fn two_writers_take_turns() {
    let (_dir, path) = dir();
    let engine = State::open(&path).unwrap();
    engine.add_dead_letters(&[letter("7", 8)]).unwrap();
    let command = State::beside(&path).unwrap();
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| (0..300).try_for_each(|_| engine.add_dead_letters(&[letter("8", 16)])));
        for turn in 0..300 {
            assert_eq!(command.supersede_by_newer_letters(&[1]).unwrap(), 0, "turn {turn}");
        }
        engine.join().unwrap().unwrap();
    });
}
