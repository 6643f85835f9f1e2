//! `where`: Postgres' verdict on every row, or a refusal at open.
//!
//! `where_cases.txt` holds what Postgres itself said of 820 predicates over this table:
//!
//! ```sql
//! create table t (id int8 primary key, b bool, s int2, i int4, l int8, o oid, r float4, d float8, n numeric, x text,
//!   v varchar, c char(5), u uuid, day date, ts timestamp, tz timestamptz, tm time, j jsonb, i2 int4, x2 text);
//! ```

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use tidemill_change::{ChangeBatch, Relation, ReplicaIdentity, TableId};

use crate::harness::{batch, chain, check, int_column, keep, names, numbered, texts};

fn column<T: ArrowPrimitiveType>(values: [Option<T::Native>; 8]) -> ArrayRef {
    Arc::new(values.into_iter().collect::<PrimitiveArray<T>>())
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The rows of the table: ordinary ones, one of nulls (2), and the extremes of each type.
fn table() -> Arc<ChangeBatch> {
    let times = [
        Some(19_723 * DAY + 36_000 * SECOND),
        Some(10_957 * DAY - 1),
        None,
        Some(i64::MAX),
        Some(i64::MIN),
        Some(0),
        Some(19_782 * DAY),
        Some(-719_162 * DAY),
    ];
    let zoned: PrimitiveArray<TimestampMicrosecondType> = times.into_iter().collect();
    let floats = [
        Some(0.1),
        Some(-1.5),
        None,
        Some(f64::NAN),
        Some(f64::NEG_INFINITY),
        Some(f64::INFINITY),
        Some(-0.0),
        Some(1e300),
    ];
    let singles = floats.map(|float| float.map(|float: f64| if float == 1e300 { 1e10 } else { float as f32 }));
    let clock =
        [36_000 * SECOND, 0, 0, DAY - 1, 45_000 * SECOND + SECOND / 2, SECOND, 36_001 * SECOND, 36_000 * SECOND];
    let bools = [Some(true), Some(false), None, None, Some(true), Some(false), Some(true), Some(false)];
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    batch(&[
        ("id", 20, column::<Int64Type>([0, 1, 2, 3, 4, 5, 6, 7].map(Some))),
        ("b", 16, Arc::new(bools.into_iter().collect::<BooleanArray>())),
        (
            "s",
            21,
            column::<Int16Type>([Some(1), Some(-1), None, Some(i16::MAX), Some(i16::MIN), Some(0), Some(2), Some(3)]),
        ),
        (
            "i",
            23,
            column::<Int32Type>([
                Some(10),
                Some(-10),
                None,
                Some(i32::MAX),
                Some(i32::MIN),
                Some(0),
                Some(11),
                Some(12),
            ]),
        ),
        (
            "l",
            20,
            column::<Int64Type>([
                Some(100),
                Some(-100),
                None,
                Some(i64::MAX),
                Some(i64::MIN),
                Some(0),
                Some(101),
                Some(102),
            ]),
        ),
        ("o", 26, column::<UInt32Type>([Some(5), Some(0), None, Some(u32::MAX), Some(1), Some(2), Some(3), Some(4)])),
        ("r", 700, column::<Float32Type>(singles)),
        ("d", 701, column::<Float64Type>(floats)),
        (
            "n",
            1700,
            texts(&[
                Some("1.10"),
                Some("-0.05"),
                None,
                Some("NaN"),
                Some("-Infinity"),
                Some("Infinity"),
                Some("0.00"),
                Some("123456789012345678901234567890.123"),
            ]),
        ),
        (
            "x",
            25,
            texts(&[
                Some("abc"),
                Some(""),
                None,
                Some("a%b"),
                Some("ABC"),
                Some("Hello World"),
                Some(" abc "),
                Some("日本"),
            ]),
        ),
        (
            "v",
            1043,
            texts(&[Some("abc"), Some("ABC"), None, Some("añb"), Some("a_b"), Some("hello"), Some("b"), Some(r"a\b")]),
        ),
        (
            "c",
            1042,
            texts(&[
                Some("ab   "),
                Some("     "),
                None,
                Some("ab   "),
                Some("abcde"),
                Some(" a   "),
                Some("AB   "),
                Some("x    "),
            ]),
        ),
        (
            "u",
            2950,
            texts(&[
                Some(uuid),
                Some("ffffffff-ffff-ffff-ffff-ffffffffffff"),
                None,
                Some("00000000-0000-0000-0000-000000000000"),
                Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"),
                Some(uuid),
                Some("b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Some("c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ]),
        ),
        (
            "day",
            1082,
            column::<Date32Type>([
                Some(19_723),
                Some(10_956),
                None,
                Some(i32::MAX),
                Some(i32::MIN),
                Some(0),
                Some(19_782),
                Some(-719_162),
            ]),
        ),
        ("ts", 1114, column::<TimestampMicrosecondType>(times)),
        ("tz", 1184, Arc::new(zoned.with_timezone("UTC"))),
        (
            "tm",
            1083,
            column::<Time64MicrosecondType>([0, 1, 2, 3, 4, 5, 6, 7].map(|row| (row != 2).then(|| clock[row]))),
        ),
        (
            "j",
            3802,
            texts(&[Some("{}"), Some("null"), None, Some("[1]"), Some("1"), Some("\"x\""), Some("{}"), Some("{}")]),
        ),
        ("i2", 23, column::<Int32Type>([Some(10), Some(10), None, None, Some(-1), Some(0), Some(12), Some(13)])),
        (
            "x2",
            25,
            texts(&[Some("abc"), None, None, Some("x"), Some("abc"), Some("Hello World"), Some("日本"), Some("日本")]),
        ),
    ])
}

/// The table under the name that the cases have for it.
fn cases_table() -> Arc<ChangeBatch> {
    let table = table();
    let relation = Relation::new(TableId(1), "public", "t", ReplicaIdentity::Default, table.relation.columns.clone());
    Arc::new(ChangeBatch { relation: Arc::new(relation), ..ChangeBatch::clone(&table) })
}

fn kept(table: &Arc<ChangeBatch>, predicate: &str) -> Result<Vec<u32>, String> {
    let staged = chain(&[keep(predicate)]).run(Arc::clone(table)).map_err(|error| error.to_string())?;
    check(&staged);
    assert!(staged.rejects.is_empty(), "{predicate}: {:?}", staged.rejects);
    Ok(staged.of)
}

#[test]
fn the_verdict_is_that_of_postgres() {
    let table = cases_table();
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in include_str!("where_cases.txt").lines().filter(|line| !line.starts_with('#')) {
        let (verdicts, predicate) = line.split_once(' ').unwrap();
        cases += 1;
        for (verdict, asked) in [
            ('t', predicate.to_owned()),
            ('f', format!("not ({predicate}\n)")),
            ('n', format!("({predicate}\n) is unknown")),
        ] {
            let rows = verdicts.char_indices().filter(|(_, is)| *is == verdict).map(|(row, _)| row as u32);
            let is = kept(&table, &asked);
            if is != Ok(rows.clone().collect()) {
                wrong.push(format!("{asked}: {is:?}, and Postgres says {verdicts}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cases, 820);
}

#[test]
fn a_filter_behind_a_filter_judges_what_the_first_one_left() {
    let table = cases_table();
    for (first, second) in [
        ("i > 0", "x like 'a%'"),
        ("b", "n < 2 and c = 'ab'"),
        ("id <> 2", "not b or d > 0"),
        ("id > 4", "b is not null"),
    ] {
        let both = kept(&table, &format!("({first}) and ({second})")).unwrap();
        let staged = chain(&[keep(first), keep(second)]).run(Arc::clone(&table)).unwrap();
        check(&staged);
        assert_eq!(staged.of, both, "{first}, then {second}");
        assert_eq!(int_column(&staged, "id"), both.iter().map(|row| i64::from(*row)).collect::<Vec<_>>());
        assert_eq!(names(&staged).len(), 20);
    }
}

#[test]
fn many_rows_are_judged_like_few() {
    let batch = numbered(10_000);
    for (predicate, from, to) in
        [("id >= 9999", 9999, 10_000), ("id < 70 and id > 62", 63, 70), ("name like '%short 999_'", 9990, 10_000)]
    {
        assert_eq!(kept(&batch, predicate).unwrap(), (from..to).collect::<Vec<_>>(), "{predicate}");
    }
    assert_eq!(kept(&batch, "id in (1, 64, 65, 9999)").unwrap(), [1, 64, 65, 9999]);
    assert_eq!(kept(&batch, "name = 'no'").unwrap(), [0; 0]);
    assert_eq!(kept(&batch, "id >= 0").unwrap().len(), 10_000);
}

#[test]
fn only_what_a_predicate_names_is_needed() {
    let table = cases_table();
    let mut stages = chain(&[keep("i > 0 and t.x like 'a%' or j is null")]);
    let info = stages.open(&table.relation).unwrap();
    // A filter lets all columns out, so all of them are needed.
    assert_eq!(info.needed.len(), 20);
    let mut select = crate::harness::stage("select", "{}");
    select.config = serde_json::json!({ "columns": ["id"] });
    let info = chain(&[keep("i > 0 and t.x like 'a%' or j is null"), select]).open(&table.relation).unwrap();
    assert_eq!(info.needed, [0, 3, 9, 17]);
}

#[test]
fn what_depends_on_the_locale_rejects_its_row() {
    let batch = batch(&[("name", 25, texts(&[Some("kelvin"), Some("\u{212a}elvin"), Some("É"), None]))]);
    let staged = chain(&[keep("name ilike 'K%'")]).run(batch).unwrap();
    check(&staged);
    assert_eq!(staged.of, [0]);
    assert_eq!((staged.rejects.len(), staged.rejects[0].row, staged.rejects[0].code.as_str()), (1, 1, "locale"));
}

#[track_caller]
fn refused(predicate: &str, parts: &[&str]) {
    let error = chain(&[keep(predicate)]).open(&cases_table().relation).unwrap_err();
    let message = error.to_string();
    assert!(error.is_refused() && message.starts_with("stage `where`: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn what_names_no_column_or_does_not_parse_is_refused_with_its_place() {
    refused(
        "in_stock = true",
        &["public.t has no column `in_stock`", "`id`, `b`", "column 1 of the predicate `in_stock = true`"],
    );
    refused("i = 1 and dya = '2024-01-01'", &["did you mean `day`?", "column 11"]);
    refused("I = 1 and \"B\"", &["no column `B`", "did you mean"]);
    refused("other.i = 1", &["`other` is not the table of this expression, which is public.t"]);
    refused("", &["the text is empty"]);
    refused("i =", &["this ends too soon", "column 4"]);
    refused("i = 1 1", &["`1` stands where an operator, or the end is wanted", "column 7"]);
    refused("i = 1\nand x = (", &["line 2, column 10"]);
    refused("x = 'abc", &["cannot be read", "column 5"]);
    refused("(i = 1", &["this ends too soon"]);
    refused("i < 2 < 3", &["comparisons do not chain"]);
    refused("order = 1", &["`order` stands where", "written \"order\""]);
    refused(&format!("{}b{}", "(".repeat(100), ")".repeat(100)), &["nested more than 48 deep"]);
}

#[test]
fn what_postgres_would_refuse_is_refused() {
    refused("b = 1", &["`b` (bool) and this (int4) are of two types", "column 3"]);
    refused("b = i", &["`b` (bool) and `i` (int4) are of two types"]);
    refused("i", &["this is int4, and true or false is wanted"]);
    refused("i and b", &["this is int4, and true or false is wanted"]);
    refused("i is true", &["this is int4, and true or false is wanted"]);
    refused("x = 5", &["`x` (text) and this (int4) are of two types", "put a number in quotes"]);
    refused("i = 'ten'", &["'ten' is not a whole number", "22P02", "column 5"]);
    refused("s = '40000'", &["not within the range of int2", "22003"]);
    refused("i = '10.5'", &["not a whole number"]);
    refused("b = 'maybe'", &["'maybe' is not a boolean"]);
    refused("day = '2024-02-30'", &["not a date: YYYY-MM-DD"]);
    refused("u = 'abc'", &["not a uuid"]);
    refused("d = '1e999'", &["within the range of float8"]);
    refused("x like 'a\\'", &["ends with its escape character"]);
    refused("i = 1 or 1 / 0 = 2", &["this fails for every row: division by zero", "SQLSTATE 22012"]);
    refused("day < ts", &["are of two types"]);
    refused("i + x = 2", &["`+` is not there for `x` (text)", "for text there are"]);
    refused("i and", &["this ends too soon", "column 6"]);
    refused("i == 1", &["`==` is no operator", "column 3"]);
}

#[test]
fn what_could_be_judged_otherwise_than_by_postgres_is_refused() {
    refused("x < 'b'", &["`<` `<=` `>` `>=` on `x` (text)", "collation", "collate \"C\"", "column 3"]);
    refused("x between 'a' and 'b'", &["collation"]);
    refused("x collate \"de_DE\" < 'a'", &["the collation \"de_DE\" is not there"]);
    refused("substring(x, 1, 2) = 'a'", &["`substring` is not there"]);
    refused("lowre(x) = 'a'", &["the function `lowre` is not there", "did you mean `lower`?"]);
    refused("x ~ 'a'", &["a regular expression is not there", "column 3"]);
    refused("x similar to 'a'", &["`similar to` is not there"]);
    refused("i = any('{1,2}')", &["the array must be a column"]);
    refused("i = any(x)", &["`x` (text) is no array"]);
    refused("i in (select 1)", &["a subquery", "column 7"]);
    refused("case when b then true end", &["`case`"]);
    refused("day = current_date", &["`current_date`"]);
    refused("day = 'today'", &["not a date"]);
    refused("tz = '2024-01-01 10:00'", &["not a time with its zone"]);
    refused("ts = '2024-01-01 10:00+01'", &["not a time without a zone"]);
    refused("n = 5::numeric(3,1)", &["types are written without a length"]);
    refused("j = '{}'", &["'{}' is not read as jsonb"]);
    refused("d::text = '1'", &["`::text` is not there for `d` (float8)"]);
    refused("x ilike 'é%'", &["patterns in ASCII only"]);
    refused("change.op = 'insert'", &["`change` is not there"]);
}

#[test]
fn a_row_that_postgres_would_answer_with_an_error_is_rejected() {
    let table = cases_table();
    for (predicate, kept, rejected) in [
        ("10 / i > 0", vec![0], vec![(5, "22012")]),
        ("i <> 0 and 10 / i > 0", vec![0], vec![]),
        ("s + '1' > 0", vec![0, 5, 6, 7], vec![(3, "22003")]),
        ("l = 0 or l * 2 > 0", vec![0, 5, 6, 7], vec![(3, "22003"), (4, "22003")]),
        ("n::int4 = 1", vec![0], vec![(3, "0A000"), (4, "0A000"), (5, "0A000"), (7, "22003")]),
        ("coalesce(i2, 5 / i) = 10", vec![0, 1], vec![]),
    ] {
        let staged = chain(&[keep(predicate)]).run(Arc::clone(&table)).unwrap();
        check(&staged);
        let rejects: Vec<_> = staged.rejects.iter().map(|reject| (reject.row, reject.code.as_str())).collect();
        assert_eq!((staged.of, rejects), (kept, rejected), "{predicate}");
    }
}

#[test]
fn the_settings_are_one() {
    let mut stage = keep("b");
    for (config, part) in [
        (serde_json::json!({}), "missing field `predicate`"),
        (serde_json::json!({ "predicate": 1 }), "expected a string"),
        (serde_json::json!({ "predicate": "b", "where": 1 }), "unknown field `where`"),
    ] {
        stage.config = config;
        let error = chain(&[stage.clone()]).open(&cases_table().relation).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
