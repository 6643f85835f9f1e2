use super::*;
use crate::CopyDecoder;
use crate::testing::{copy_line, insert, table_of_all_kinds};

/// The value of one column, read by each of the two decoders; or why it could not be, with a null in its place.
fn both(column: &str, text: &str) -> [Result<String, Unreadable>; 2] {
    let relation = table_of_all_kinds(1);
    let index = relation.column(column).unwrap();
    let mut row = vec![None; relation.columns.len()];
    row[index] = Some(text);
    let mut story = Story::of(&[&relation]);
    let cells: Vec<Cell> = row.iter().map(|cell| Cell::from(*cell)).collect();
    story.begin(16);
    story.say(&insert(relation.id, &cells));
    let cut = story.commit().cut();
    let streamed = found(&cut.batches[0], index);
    let mut copy = CopyDecoder::new(relation.into(), commit(16));
    let line = Bytes::from(copy_line(&row));
    copy.row(&line, 0..line.len()).unwrap();
    let batch = copy.take();
    assert_whole(&batch);
    [streamed, found(&batch, index)]
}

fn found(batch: &ChangeBatch, column: usize) -> Result<String, Unreadable> {
    let shown = show(batch.rows.column(column), 0);
    match &batch.unreadable[..] {
        [] => Ok(shown),
        [unreadable] => {
            assert_eq!((unreadable.row, unreadable.column, shown.as_str()), (0, column as u32, "NULL"));
            Err(unreadable.clone())
        }
        several => panic!("{several:?}"),
    }
}

fn check(column: &str, text: &str, expected: &str) {
    for found in both(column, text) {
        assert_eq!(found.as_deref(), Ok(expected), "{column}: {text}");
    }
}

fn check_error(column: &str, text: &str, expected: &str) {
    for error in both(column, text).map(Result::unwrap_err) {
        let message = error.message;
        assert!(message.contains(expected), "{column}: {text}: {message}");
        assert_eq!(*error.raw, *text.as_bytes());
        assert!(text.is_empty() || text.len() < 4 || !message.contains(text), "a value is never told: {message}");
    }
}

#[test]
fn each_kind_is_read() {
    for (column, text, expected) in [
        ("bool", "t", "true"),
        ("bool", "f", "false"),
        ("int2", "-32768", "-32768"),
        ("int4", "2147483647", "2147483647"),
        ("id", "-9223372036854775808", "-9223372036854775808"),
        ("oid", "4294967295", "4294967295"),
        ("float4", "1.1", "1.1"),
        ("float4", "NaN", "NaN"),
        ("float8", "-Infinity", "-inf"),
        ("float8", "1e-07", "0.0000001"),
        (
            "numeric",
            "12345678901234567890.123456789012345678901234567890",
            "12345678901234567890.123456789012345678901234567890",
        ),
        ("numeric", "NaN", "NaN"),
        ("text", "", ""),
        (
            "text",
            "tab\tnewline\nback\\slash \\N \\. \u{b}\u{c}\u{8}\r é\u{1f600}",
            "tab\tnewline\nback\\slash \\N \\. \u{b}\u{c}\u{8}\r é\u{1f600}",
        ),
        ("text", "\\N", "\\N"),
        ("text", "\\\\n", "\\\\n"),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", "{\"a\": [1, 2],\n \"b\" : \"x y\"}", "{\"a\":[1,2],\"b\":\"x y\"}"),
        ("json", "[\"a\\nb\"]", "[\"a\\nb\"]"),
        ("json", "1", "1"),
        ("jsonb", "{\"a\": [1, \"x\\\\y\"]}", "{\"a\": [1, \"x\\\\y\"]}"),
        ("bytea", "\\x", "[]"),
        ("bytea", "\\x00ff10", "[0, 255, 16]"),
        ("bytea", "\\x000102030405060708090a0b0c0D", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]"),
        ("date", "2024-02-29", "19782"),
        ("date", "infinity", "2147483647"),
        ("date", "-infinity", "-2147483648"),
        ("date", "0044-03-15 BC", "-735160"),
        ("timestamp", "2024-01-02 03:04:05.123456", "1704164645123456"),
        ("timestamp", "-infinity", "-9223372036854775808"),
        ("timestamptz", "2024-01-02 03:04:05.1+00", "1704164645100000"),
        ("timestamptz", "infinity", "9223372036854775807"),
        ("timestamptz", "12345-01-01 00:00:00+00", "327403382400000000"),
        ("time", "24:00:00", "86400000000"),
        ("bools", "{t,NULL,f}", "[true,null,false]"),
        ("numbers", "{{1.50,NaN},{NULL,-3}}", "[[1.50,\"NaN\"],[null,-3]]"),
        ("jsons", "{\"{\\\"a\\\": 1}\"}", "[{\"a\":1}]"),
        ("texts", "[0:1]={\"a b\\\\c\",é}", "[\"a b\\\\c\",\"é\"]"),
        ("other", "(1,2),(0,0)", "(1,2),(0,0)"),
        ("enum", "happy", "happy"),
    ] {
        check(column, text, expected);
    }
}

#[test]
fn what_a_kind_cannot_be_is_an_error_that_names_it() {
    for (column, text) in [
        ("bool", "true"),
        ("int2", "32768"),
        ("int4", "2147483648"),
        ("id", "9223372036854775808"),
        ("oid", "-1"),
        ("float4", "1e39"),
        ("float8", "one"),
        ("numeric", "1,5"),
        ("json", "{\"a\":}"),
        ("json", "\"raw\nnewline\""),
        ("bytea", "\\x0"),
        ("bytea", "\\xgg"),
        ("bytea", "escape\\000"),
        ("date", "2023-02-29"),
        ("date", "02/28/2023"),
        ("timestamp", "2024-01-02T03:04:05"),
        ("timestamptz", "2024-01-02 03:04:05 CET"),
        ("time", "24:00:00.000001"),
        ("bools", "{true}"),
        ("numbers", "{1,2"),
        ("jsons", "{nope}"),
        ("texts", "a,b"),
    ] {
        check_error(column, text, "is not written as");
    }
    for (column, text) in
        [("timestamp", "294276-12-31 23:59:59"), ("timestamptz", "294247-01-10 04:00:55+00"), ("date", "9999999-01-01")]
    {
        check_error(column, text, "does not fit");
        assert!(both(column, text).into_iter().all(|found| found.unwrap_err().code == "value_out_of_range"));
    }
}

#[test]
fn a_json_value_can_be_empty_nowhere() {
    check_error("json", "", "is not written as");
    check_error("numbers", "", "is not written as");
}

#[test]
fn what_is_not_utf8_is_set_aside() {
    let relation = table_of_all_kinds(1);
    for column in ["text", "uuid", "jsonb", "json", "texts", "other", "numeric", "id", "timestamp"] {
        let index = relation.column(column).unwrap();
        for bytes in [
            &b"\xff"[..],
            b"short \xc3",
            b"a text that is longer than twelve bytes \xe9t\xe9",
            b"{\"\xff\"}",
            b"\"\xff\"",
        ] {
            let mut row = vec![Cell::Null; relation.columns.len()];
            row[index] = Cell::Text(bytes.to_vec());
            let mut story = Story::of(&[&relation]);
            story.begin(16).say(&insert(relation.id, &row));
            let cut = story.commit().cut();
            assert_eq!(*found(&cut.batches[0], index).unwrap_err().raw, *bytes);
        }
    }
}
