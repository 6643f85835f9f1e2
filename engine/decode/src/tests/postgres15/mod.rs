//! Bytes that a real server sent; `record.sql` says how they were made.

use tidemill_change::Kind;

use super::*;
use crate::CopyDecoder;

const STREAM: &str = include_str!("stream.hex");
const COPY: &[u8] = include_bytes!("kinds.copy");

fn messages() -> impl Iterator<Item = Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    STREAM.lines().map(move |line| line.as_bytes().chunks(2).map(byte).collect())
}

/// The cuts of the recorded stream: before each truncate's followers, and one at the end.
fn cuts() -> Vec<Cut> {
    let mut story = Story::new();
    let mut cuts = Vec::new();
    for message in messages() {
        let heard = story.try_say(&message).unwrap();
        if let Message::Relation(relation) = heard {
            // What the catalog would say of the enum and the domain.
            for column in relation.columns.iter().filter(|column| column.kind == Kind::Other) {
                match column.name.as_str() {
                    "c" => story.decoder.name_type(column.type_oid, Kind::Int4),
                    "m" => story.decoder.name_type(column.type_oid, Kind::Text),
                    _ => {}
                }
            }
        }
        if story.decoder.must_cut() {
            cuts.push(story.cut());
        }
    }
    cuts.push(story.cut());
    cuts
}

#[test]
fn the_stream_is_read() {
    let cuts = cuts();
    let short = |line: &String| line.replace(&"x".repeat(3000), "<x>").replace(&"y".repeat(3000), "<y>");
    let lines = |cut: &Cut| told(cut).iter().map(short).collect::<Vec<_>>();
    let first = lines(&cuts[0]);
    let of = |table: &str| first.iter().filter(|line| line.contains(table)).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        of(" notes "),
        [
            "22253176.0.0 notes Insert {1 one <x>}",
            "22253176.0.1 notes Insert {2 two short}",
            "22253376.0.0 notes Update {1 uno ~}",
            "22253648.0.0 notes Update {10 uno ~} was Key {1 NULL NULL}",
            "22253760.0.0 notes Delete was Key {2 NULL NULL}",
            "22274808.0.0 notes Insert {3 three NULL}",
        ]
    );
    assert_eq!(
        of(" full_notes "),
        [
            "22269128.0.0 full_notes Insert {1 one <y>}",
            "22269128.0.1 full_notes Update {1 uno <y>} was Full {1 one <y>}",
            "22269128.0.2 full_notes Update {1 NULL <y> 5} was Full {1 uno <y> 5}",
            "22269128.0.3 full_notes Delete was Full {1 NULL <y> 5}",
        ]
    );
    assert_eq!(first.last().unwrap(), "22274808.1 truncate [TableId(16398), TableId(16405)]");
    assert_eq!(lines(&cuts[1]), ["22274808.2.1 notes Insert {4 four NULL}"]);
    assert_eq!((cuts[0].to, cuts[1].to), (None, Some(Lsn(22_275_384))));
}

#[test]
fn each_type_is_read() {
    let cuts = cuts();
    let batch = cuts[0].batches.iter().find(|batch| batch.relation.name == "kinds").unwrap();
    let check = |column: &str, expected: [&str; 3]| {
        let array = batch.rows.column(batch.relation.column(column).unwrap());
        assert_eq!([0, 1, 2].map(|row| show(array, row)), expected, "{column}");
    };
    check("b", ["true", "NULL", "NULL"]);
    check("i2", ["-32768", "NULL", "0"]);
    check("i4", ["2147483647", "NULL", "0"]);
    check("o", ["4294967295", "NULL", "0"]);
    check("f4", ["1.1", "NaN", &f32::MAX.to_string()]);
    check("f8", ["0.0000001", "-inf", &5e-324_f64.to_string()]);
    check("n", ["12345678901234567890.1230", "Infinity", "-0.000000000001"]);
    check("t", ["tab\tnew\nline\\ é😀", "", "a text of more than twelve bytes"]);
    check("u", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "NULL", "NULL"]);
    check("j", [r#"{"a":[1,2],"b":"x y"}"#, "[]", r#""\ud800""#]);
    check("jb", [r#"{"a": "q\"x", "b": 1000}"#, "null", "\"é\""]);
    check("by", ["[0, 255, 16]", "[]", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]"]);
    check("d", ["19782", "2147483647", "-735160"]);
    check("ts", ["1704164645123456", "-9223372036854775808", "-62135596800000001"]);
    check("tz", ["1704157445100000", "9223372036854775807", "327416976550000000"]);
    check("ti", ["86400000000", "1", "86399999999"]);
    check("ba", ["[true,null,false]", "[]", "[[true],[false]]"]);
    check("na", [r#"[[1.50,"NaN"],[null,-3]]"#, "[]", &format!("[1{}]", "0".repeat(400))]);
    check("ja", [r#"[{"a":1},null]"#, "[]", "[]"]);
    check("ta", [r#"["a b\\c","é"]"#, r#"[null,"NULL",""]"#, r#"["linenbreak"]"#]);
    check("p", ["(1,2)", "NULL", "NULL"]);
    check("m", ["happy", "NULL", "NULL"]);
    check("c", ["995", "NULL", "NULL"]);
    check("ch", ["ab  ", "NULL", "NULL"]);
    assert_eq!(batch.relation.columns[0].identity, batch.relation.columns[0].name == "id");
}

#[test]
fn the_copy_gives_what_the_stream_gave() {
    let cuts = cuts();
    let streamed = cuts[0].batches.iter().find(|batch| batch.relation.name == "kinds").unwrap();
    let mut decoder = CopyDecoder::new(streamed.relation.clone(), commit(16));
    let chunk = Bytes::from_static(COPY);
    let mut start = 0;
    for line in COPY.split_inclusive(|byte| *byte == b'\n') {
        decoder.row(&chunk, start..start + line.len()).unwrap();
        start += line.len();
    }
    let copied = decoder.take();
    assert_whole(&copied);
    assert_eq!(copied.rows, streamed.rows);
}
