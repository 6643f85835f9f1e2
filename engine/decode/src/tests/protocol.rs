use super::*;
use crate::testing::{begin, delete, insert, table, table_of_all_kinds, truncate, update};

#[test]
fn what_is_wrong_with_the_protocol_is_named() {
    let table = table(7, "t", &[("id", 23), ("note", 25)]);
    let row = insert(table.id, &cells(&["1", "x"]));
    let opened = begin(&commit(16));
    let ended = testing::commit(&commit(16), Lsn(24));
    let check = |messages: &[&[u8]], expected: &str| {
        let messages: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
        let message = error_of(&[&table], &messages).to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    };
    check(&[b""], "ends too soon");
    check(&[b"?"], "message `?` is not one of pgoutput's");
    check(&[b"\0"], "message `0x00`");
    check(&[b"S\0\0\0\x01\x01"], "streaming off");
    check(&[b"P"], "two_phase");
    check(&[&row], "message `I` came outside a transaction");
    check(&[&truncate(&[table.id])], "message `T` came outside a transaction");
    check(&[&ended], "message `C` came outside a transaction");
    check(&[&opened, &opened], "inside another one");
    check(&[&opened, &testing::commit(&commit(17), Lsn(24))], "committed at 0/10: the commit message names 0/11");
    check(&[&opened, &testing::commit(&commit(16), Lsn(15))], "ends at 0/F");
    check(&[&opened, &ended, &opened], "after the commit at 0/10");
    check(&[&opened, &insert(tidemill_change::TableId(9), &[])], "table 9 was never described");
    check(&[&opened, &truncate(&[tidemill_change::TableId(9)])], "table 9 was never described");
    check(
        &[&opened, &insert(table.id, &cells(&["1"]))],
        "table `public.t`, transaction committed at 0/10: message `I` has 1 columns where the table has 2",
    );
    check(
        &[&opened, &insert(table.id, &[Cell::from("1"), Cell::Binary(vec![0])])],
        "column `note`, transaction committed at 0/10: the value came in binary",
    );
    check(&[&opened, &[&row[..], b"x"].concat()], "goes on after its end");
    check(
        &[&opened, &row[..row.len() - 1]],
        "column `note`, transaction committed at 0/10: the message ends inside the value",
    );
    check(&[&opened, b"I\0\0\0\x07X\0\x02"], "part `X`");
    check(&[&opened, b"I\0\0\0\x07N\0\x02z"], "column `id`, transaction committed at 0/10: cell tag `z`");
    check(&[b"R\0\0\0\x07\xff\0t\0d\0\0"], "not UTF-8");
    check(&[b"R\0\0\0\x07a\0t\0x\0\0"], "part `x`");
}

#[test]
fn messages_that_change_nothing_here_pass() {
    let mut story = Story::new();
    for message in
        [&b"Y\0\x01\x11\x70public\0mood\0"[..], b"O\0\0\0\0\0\0\0\x10other\0", b"M\0\0\0\0\0\0\0\0\x10p\0\0\0\0\x01x"]
    {
        assert_eq!(story.try_say(message), Ok(Message::Other));
    }
}

#[test]
fn an_error_stays() {
    let mut story = Story::new();
    let error = story.try_say(b"?").unwrap_err();
    assert_eq!(story.try_say(&begin(&commit(16))), Err(error));
}

#[test]
fn a_payload_outside_its_chunk_is_an_error() {
    let chunk = Bytes::from_static(b"B");
    for payload in [0..2, 2..2, std::ops::Range { start: 1, end: 0 }] {
        assert!(Decoder::new(Lsn(8)).message(&chunk, payload).is_err());
    }
}

/// Every message of each type, cut short at each byte and with each byte changed, is read or refused without a panic.
#[test]
fn broken_messages_never_panic() {
    let relation = table_of_all_kinds(1);
    let row: Vec<Cell> = [
        "1",
        "t",
        "2",
        "3",
        "4",
        "1.5",
        "2.5",
        "10.00",
        "text that is not short",
        "u",
        "{ }",
        "{}",
        "\\xff",
        "2024-01-01",
        "2024-01-01 00:00:00",
        "2024-01-01 00:00:00+00",
        "00:00:00",
        "{t}",
        "{1}",
        "{1}",
        "{a}",
        "x",
        "y",
    ]
    .map(Cell::from)
    .into();
    let head = [testing::relation(&relation), begin(&commit(16)), insert(relation.id, &row)];
    let messages = [
        head[2].clone(),
        update(relation.id, Some((b'O', &row)), &row),
        delete(relation.id, (b'K', &row)),
        truncate(&[relation.id]),
        testing::commit(&commit(16), Lsn(24)),
        testing::relation(&relation),
        begin(&commit(32)),
    ];
    for message in &messages {
        let broken = (0..message.len()).flat_map(|at| {
            let flipped = [0x00, 0x01, 0x7f, 0xff].map(|byte| {
                let mut flipped = message.clone();
                flipped[at] = byte;
                flipped
            });
            flipped.into_iter().chain([message[..at].to_vec()])
        });
        for broken in broken {
            let mut story = Story::new();
            for message in &head {
                story.say(message);
            }
            if story.try_say(&broken).is_ok() && (story.decoder.can_cut() || story.try_say(&messages[4]).is_ok()) {
                story.cut();
            }
        }
    }
}
