//! How values stand in documents.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Decimal128Array, LargeBinaryArray, LargeStringArray, ListArray, NullArray,
    RecordBatch, StringArray, StringViewArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use tidemill_change::{DOCUMENT, EXTENSION_JSON, EXTENSION_NAME, Kind, Staged};

use super::story::{Story, array, body, encode, encoding, relation, told};
use crate::{Encoding, Error, Nonfinite, Numbers};

/// The document of one value.
fn document(encoding: &Encoding, kind: Kind, value: Option<&str>) -> String {
    let relation = relation(&[("id", Kind::Int4), ("v", kind)], &["id"]);
    let staged = Story::of(&relation).insert(&[Some("1"), value]).staged();
    let encoded = encode(encoding, &[staged]).unwrap();
    match encoded.rejected.first() {
        Some(rejected) => rejected.code.clone(),
        None => body(&encoded)
            .lines()
            .nth(1)
            .unwrap()
            .strip_prefix("{\"id\":1,\"v\":")
            .unwrap()
            .trim_end_matches('}')
            .into(),
    }
}

fn check(kind: Kind, value: &str, expected: &str) {
    let found = document(&encoding(), kind, Some(value));
    assert_eq!(found, expected.trim_end_matches('}'), "{kind:?} {value}");
}

#[test]
fn whole_documents_go_out_as_they_came() {
    let mut story = Story::of(&relation(&[("id", Kind::Int4)], &["id"]));
    story.insert(&[Some("1")]).insert(&[Some("2")]);
    let metadata: [(String, String); 2] =
        [(EXTENSION_NAME, EXTENSION_JSON), (DOCUMENT, "")].map(|(key, value)| (key.into(), value.into()));
    let field = Field::new("", DataType::Utf8View, false).with_metadata(std::collections::HashMap::from(metadata));
    let texts = ["{}", r#"{"a": [1, {"b": null}], "a": "twice and longer than a block of it"}"#];
    let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let documents = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap();
    let encoded = encode(&encoding(), &[Staged { documents, ..story.staged() }]).unwrap();
    assert_eq!(told(&encoded), [format!("index 1 {}", texts[0]), format!("index 2 {}", texts[1])]);
}

#[test]
fn each_kind_has_its_form() {
    use tidemill_change::ElementKind as E;
    for (kind, value, expected) in [
        (Kind::Bool, "true", "true"),
        (Kind::Bool, "false", "false"),
        (Kind::Int2, "-32768", "-32768"),
        (Kind::Int4, "2147483647", "2147483647"),
        (Kind::Int8, "-9223372036854775808", "-9223372036854775808"),
        (Kind::Oid, "4294967295", "4294967295"),
        (Kind::Float4, "0.1", "0.1"),
        (Kind::Float4, "16777216", "16777216.0"),
        (Kind::Float8, "0.30000000000000004", "0.30000000000000004"),
        (Kind::Float8, "5e-324", "5e-324"),
        (Kind::Float8, "-0", "-0.0"),
        (Kind::Numeric, "-0.50", "-0.50"),
        (Kind::Text, "a \"b\" \\ \n\u{1}ü", r#""a \"b\" \\ \n\u0001ü""#),
        (Kind::Text, "", r#""""#),
        (Kind::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
        (Kind::Json, r#"[1,"ü\n"]"#, r#"[1,"ü\n"]"#),
        (Kind::Bytea, "\u{1}hello?>", "\"AWhlbGxvPz4=\""),
        (Kind::Bytea, "", "\"\""),
        (Kind::Date, "19782", "\"2024-02-29\""),
        (Kind::Timestamp, "1709210096000000", "\"2024-02-29T12:34:56\""),
        (Kind::TimestampTz, "1709210096000000", "\"2024-02-29T12:34:56Z\""),
        (Kind::Time, "86400000000", "\"24:00:00\""),
        (Kind::Array(E::Text), r#"["a",null,["b"]]"#, r#"["a",null,["b"]]"#),
        (Kind::Other, "(1,2)", "\"(1,2)\""),
    ] {
        check(kind, value, expected);
        assert_eq!(document(&encoding(), kind, None), "null");
    }
}

#[test]
fn text_of_every_length_and_place_comes_out_as_it_is() {
    // Short texts lie in their views, the last ones at their buffer's very end.
    let texts: Vec<String> = (0..100).map(|len| "añ\"x\\".chars().cycle().skip(len % 5).take(len).collect()).collect();
    let relation = relation(&[("id", Kind::Int4), ("v", Kind::Text)], &["id"]);
    let mut story = Story::of(&relation);
    for (at, text) in texts.iter().enumerate() {
        story.insert(&[Some(&at.to_string()), Some(text)]);
    }
    let encoded = encode(&encoding(), &[story.staged()]).unwrap();
    for (line, text) in body(&encoded).lines().skip(1).step_by(2).zip(&texts) {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["v"].as_str(), Some(text.as_str()));
    }
}

#[test]
fn a_row_larger_than_the_estimate_makes_the_body_longer() {
    let text = "\"\n\u{1}".repeat(300_000);
    let relation = relation(&[("id", Kind::Int4), ("v", Kind::Text)], &["id"]);
    let staged = Story::of(&relation).insert(&[Some("1"), Some("a")]).insert(&[Some("2"), Some(&text)]).staged();
    let encoded = encode(&encoding(), &[staged]).unwrap();
    let document: serde_json::Value = serde_json::from_str(body(&encoded).lines().nth(3).unwrap()).unwrap();
    assert_eq!(document["v"], text.as_str());
}

#[test]
fn defect_18_numeric_keeps_every_digit() {
    for digits in ["12345678901234567890.123456789012345678901234567890", "0.10", "-1", "100000000000000000000"] {
        check(Kind::Numeric, digits, digits);
    }
}

#[test]
fn defect_19_numbers_inside_jsonb_are_kept() {
    let json = r#"{"n": 12345678901234567890.10, "m": [1e400, 0.10]}"#;
    check(Kind::Jsonb, json, json);
}

#[test]
fn defect_20_jsonb_is_an_object_and_no_string() {
    check(Kind::Jsonb, r#"{"a": "b"}"#, r#"{"a": "b"}"#);
}

#[test]
fn defect_21_times_are_exact() {
    for (kind, value, expected) in [
        (Kind::TimestampTz, "1709210096123456", "\"2024-02-29T12:34:56.123456Z\""),
        (Kind::TimestampTz, "1709210096120000", "\"2024-02-29T12:34:56.12Z\""),
        (Kind::TimestampTz, "-1", "\"1969-12-31T23:59:59.999999Z\""),
        (Kind::TimestampTz, "-62135596800000001", "\"0000-12-31T23:59:59.999999Z\""),
        (Kind::TimestampTz, "-210866803200000000", "\"-4713-11-24T00:00:00Z\""),
        (Kind::TimestampTz, "253402300800000000", "\"+10000-01-01T00:00:00Z\""),
        (Kind::Date, "-719529", "\"-0001-12-31\""),
        (Kind::TimestampTz, "9223372036854775807", "\"infinity\""),
        (Kind::Timestamp, "-9223372036854775808", "\"-infinity\""),
        (Kind::Date, "2147483647", "\"infinity\""),
        (Kind::Date, "-2147483648", "\"-infinity\""),
    ] {
        check(kind, value, expected);
    }
}

#[test]
fn defect_22_what_is_not_finite_goes_by_policy() {
    for (kind, value, name) in [
        (Kind::Numeric, "NaN", "NaN"),
        (Kind::Numeric, "-Infinity", "-Infinity"),
        (Kind::Float8, "NaN", "NaN"),
        (Kind::Float4, "-inf", "-Infinity"),
        (Kind::Float8, "inf", "Infinity"),
        (Kind::Timestamp, "9223372036854775807", "infinity"),
        (Kind::Date, "-2147483648", "-infinity"),
    ] {
        let by = |nonfinite| document(&Encoding { nonfinite, ..encoding() }, kind, Some(value));
        assert_eq!(by(Nonfinite::String), format!("\"{name}\""));
        assert_eq!(by(Nonfinite::Null), "null");
        assert_eq!(by(Nonfinite::DeadLetter), "nonfinite");
    }
    let finite = Encoding { nonfinite: Nonfinite::DeadLetter, ..encoding() };
    assert_eq!(document(&finite, Kind::Numeric, Some("1.5")), "1.5");
}

#[test]
fn numbers_as_strings_are_those_that_a_double_rounds() {
    let encoding = Encoding { numbers: Numbers::Strings, ..encoding() };
    for (kind, value, expected) in [
        (Kind::Numeric, "0.10", "\"0.10\""),
        (Kind::Numeric, "NaN", "\"NaN\""),
        (Kind::Int8, "-9007199254740993", "\"-9007199254740993\""),
        (Kind::Int4, "7", "7"),
        (Kind::Float8, "0.5", "0.5"),
    ] {
        assert_eq!(document(&encoding, kind, Some(value)), expected);
    }
}

#[test]
fn a_numeric_that_is_none_is_quoted_and_cannot_break_the_line() {
    for (text, expected) in [
        ("1\n2", r#""1\n2""#),
        ("1,\"a\":2", r#""1,\"a\":2""#),
        ("", r#""""#),
        ("1.", r#""1.""#),
        ("a string of more bytes than a block has\"", r#""a string of more bytes than a block has\"""#),
    ] {
        check(Kind::Numeric, text, expected);
    }
}

#[test]
fn a_raw_line_break_between_json_tokens_does_not_end_the_line() {
    check(Kind::Json, "{\n \"a\": 1\n}", "{  \"a\": 1 ");
}

#[test]
fn a_time_that_is_none_is_refused() {
    assert_eq!(document(&encoding(), Kind::Time, Some("86400000001")), "time_out_of_range");
    assert_eq!(document(&encoding(), Kind::Time, Some("-1")), "time_out_of_range");
}

/// Documents of columns that a stage made, beside rows that have only an id.
fn made(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<String>, Error> {
    let relation = relation(&[("id", Kind::Int4)], &["id"]);
    let mut story = Story::of(&relation);
    let count = columns.first().map_or(1, |(_, array)| array.len());
    (0..count).for_each(|row| {
        story.insert(&[Some(&row.to_string())]);
    });
    let fields: Vec<_> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(count));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let documents = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap();
    let staged = Staged { documents, ..story.staged() };
    let encoded = encode(&encoding(), &[staged])?;
    Ok(body(&encoded).lines().skip(1).step_by(2).map(str::to_owned).collect())
}

#[test]
fn what_plugins_give_is_taken_too() {
    let mut nested = ListBuilder::new(ListBuilder::new(Int64Builder::new()));
    nested.values().append_value([Some(1), None]);
    nested.values().append_value([]);
    nested.append(true);
    nested.append(false);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None, Some(-3)]), Some(vec![])]);
    let documents = made(vec![
        ("s", Arc::new(StringArray::from(vec![Some("a\"b"), None]))),
        ("l", Arc::new(LargeStringArray::from(vec!["", "x"]))),
        ("b", Arc::new(BinaryArray::from(vec![b"hi".as_slice(), b""]))),
        ("lb", Arc::new(LargeBinaryArray::from(vec![b"a".as_slice(), b"ab"]))),
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("n", Arc::new(NullArray::new(2))),
        ("list", Arc::new(list)),
        ("nested", Arc::new(nested.finish())),
    ]);
    assert_eq!(
        documents.unwrap(),
        [
            r#"{"s":"a\"b","l":"","b":"aGk=","lb":"YQ==","u":18446744073709551615,"n":null,"list":[1,null,-3],"nested":[[1,null],[]]}"#,
            r#"{"s":null,"l":"x","b":"","lb":"YWI=","u":0,"n":null,"list":[],"nested":null}"#,
        ]
    );
}

#[test]
fn defect_23_an_array_with_a_null_is_an_array_with_a_null() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![None, Some(1), None])]);
    assert_eq!(made(vec![("a", Arc::new(list))]).unwrap(), [r#"{"a":[null,1,null]}"#]);
}

#[test]
fn a_slice_of_columns_is_read_at_its_place() {
    let strings = StringArray::from(vec!["a", "bc", "def", "g"]).slice(1, 2);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>((0..4).map(|n| Some(vec![Some(n)]))).slice(1, 2);
    let texts = array(Kind::Text, &["a", "a longer text than twelve", "b", "c"].map(Some)).slice(1, 2);
    let bits = array(Kind::Bool, &["true", "false", "true", "false"].map(Some)).slice(1, 2);
    let columns: Vec<(&str, ArrayRef)> =
        vec![("s", Arc::new(strings)), ("l", Arc::new(list)), ("t", texts), ("b", bits)];
    assert_eq!(
        made(columns).unwrap(),
        [r#"{"s":"bc","l":[1],"t":"a longer text than twelve","b":false}"#, r#"{"s":"def","l":[2],"t":"b","b":true}"#]
    );
}

#[test]
fn names_of_any_length_are_escaped() {
    let long = "n".repeat(200);
    let one = || Arc::new(UInt64Array::from(vec![1])) as ArrayRef;
    let documents = made(vec![("a\"b\n", one()), (&long, one()), ("ä", one())]).unwrap();
    assert_eq!(documents, [format!(r#"{{"a\"b\n":1,"{long}":1,"ä":1}}"#)]);
}

#[test]
fn a_document_of_no_columns_is_empty() {
    assert_eq!(made(vec![]).unwrap(), ["{}"]);
}

#[test]
fn what_has_no_form_is_named() {
    let decimal = Decimal128Array::from(vec![1]);
    let error = made(vec![("price", Arc::new(decimal))]).unwrap_err();
    assert!(error.is_shape());
    assert_eq!(
        error.to_string(),
        "column `price` has the Arrow type Decimal128(38, 10), which has no form in a document: let the stage give text or JSON"
    );
    let error = made(vec![("_id", Arc::new(NullArray::new(1)))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the documents have a field `_id`, which the index keeps for itself: rename that column"
    );
}

#[test]
fn the_example_that_the_guide_shows() {
    let columns = [
        ("id", Kind::Int8),
        ("name", Kind::Text),
        ("price", Kind::Numeric),
        ("in_stock", Kind::Bool),
        ("created_at", Kind::TimestampTz),
    ];
    let relation = relation(&columns, &["id"]);
    let row = [Some("42"), Some("Lamp"), Some("19.90"), Some("true"), Some("1709210096000000")];
    let encoded = encode(&encoding(), &[Story::of(&relation).insert(&row).staged()]).unwrap();
    assert_eq!(
        told(&encoded),
        [r#"index 42 {"id":42,"name":"Lamp","price":19.90,"in_stock":true,"created_at":"2024-02-29T12:34:56Z"}"#]
    );
}
