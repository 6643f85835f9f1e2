//! The table: two columns of each type, and rows out of the values that matter.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{Array, RecordBatch};
use tidemill_change::ChangeBatch;
use tidemill_expr::Type;
use tidemill_sdk::{Buffers, DataType, MakeBytes, MakeNumbers};

use super::generate::Random;

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    pub(crate) oid: u32,
    /// As the table's definition has it.
    sql: &'static str,
}

const fn column(name: &'static str, of: Type, oid: u32, sql: &'static str) -> Column {
    Column { name, of, oid, sql }
}

pub(crate) const COLUMNS: &[Column] = &[
    column("b1", Type::Bool, 16, "bool"),
    column("b2", Type::Bool, 16, "bool"),
    column("s1", Type::Int2, 21, "int2"),
    column("s2", Type::Int2, 21, "int2"),
    column("i1", Type::Int4, 23, "int4"),
    column("i2", Type::Int4, 23, "int4"),
    column("l1", Type::Int8, 20, "int8"),
    column("l2", Type::Int8, 20, "int8"),
    column("o1", Type::Oid, 26, "oid"),
    column("o2", Type::Oid, 26, "oid"),
    column("n1", Type::Numeric, 1700, "numeric"),
    column("n2", Type::Numeric, 1700, "numeric"),
    column("r1", Type::Float4, 700, "float4"),
    column("r2", Type::Float4, 700, "float4"),
    column("d1", Type::Float8, 701, "float8"),
    column("d2", Type::Float8, 701, "float8"),
    column("x1", Type::Text, 25, "text"),
    column("x2", Type::Text, 1043, "varchar"),
    column("c1", Type::Bpchar, 1042, "char(5)"),
    column("c2", Type::Bpchar, 1042, "char(8)"),
    column("nm1", Type::Name, 19, "name"),
    column("nm2", Type::Name, 19, "name"),
    column("u1", Type::Uuid, 2950, "uuid"),
    column("u2", Type::Uuid, 2950, "uuid"),
    column("y1", Type::Bytea, 17, "bytea"),
    column("y2", Type::Bytea, 17, "bytea"),
    column("day1", Type::Date, 1082, "date"),
    column("day2", Type::Date, 1082, "date"),
    column("ts1", Type::Timestamp, 1114, "timestamp"),
    column("ts2", Type::Timestamp, 1114, "timestamp"),
    column("tz1", Type::TimestampTz, 1184, "timestamptz"),
    column("tz2", Type::TimestampTz, 1184, "timestamptz"),
    column("tm1", Type::Time, 1083, "time"),
    column("tm2", Type::Time, 1083, "time"),
    column("j1", Type::Jsonb, 3802, "jsonb"),
    column("j2", Type::Jsonb, 3802, "jsonb"),
    column("js1", Type::Json, 114, "json"),
    column("ab", Type::Array, 1000, "bool[]"),
    column("ai", Type::Array, 1007, "int4[]"),
    column("al", Type::Array, 1016, "int8[]"),
    column("an", Type::Array, 1231, "numeric[]"),
    column("ax", Type::Array, 1009, "text[]"),
    column("au", Type::Array, 2951, "uuid[]"),
];

impl Column {
    pub(crate) fn data_type(&self) -> DataType {
        self.of.out().0
    }

    pub(crate) fn extension(&self) -> Option<&'static str> {
        self.of.out().1
    }

    pub(crate) fn postgres_type(&self) -> &'static str {
        if self.oid == 1043 { "varchar" } else { self.of.name() }
    }
}

/// Values of a type as SQL reads them in quotes.
pub(crate) fn pool(of: Type) -> &'static [&'static str] {
    match of {
        Type::Bool => &["t", "f"],
        Type::Int2 => &["0", "1", "-1", "2", "3", "7", "10", "100", "-32768", "32767", "255"],
        Type::Int4 => &["0", "1", "-1", "2", "3", "7", "10", "100", "-2147483648", "2147483647", "46341", "65536"],
        Type::Int8 => &[
            "0",
            "1",
            "-1",
            "2",
            "3",
            "7",
            "10",
            "100",
            "-9223372036854775808",
            "9223372036854775807",
            "3037000500",
            "2147483648",
            "4294967296",
            "9007199254740993",
        ],
        Type::Oid => &["0", "1", "2", "10", "100", "2147483648", "4294967295"],
        Type::Numeric => &[
            "0",
            "0.00",
            "1",
            "-1",
            "1.10",
            "1.1",
            "-0.05",
            "3",
            "7.5",
            "10",
            "0.5",
            "-2.5",
            "100.000",
            "12345678.901234",
            "123456789012345678901234567890.123",
            "-99999999999999999999",
            "0.000000000000000001",
            "NaN",
            "Infinity",
            "-Infinity",
            "9999.9999",
            "10000",
            "0.0001",
            "32767.5",
            "2147483647.4",
        ],
        Type::Float4 => &[
            "0",
            "-0",
            "1",
            "-1.5",
            "0.1",
            "10",
            "1e10",
            "3e38",
            "-3e38",
            "1e-40",
            "NaN",
            "Infinity",
            "-Infinity",
            "2.5",
            "32767.6",
        ],
        Type::Float8 => &[
            "0",
            "-0",
            "1",
            "-1.5",
            "0.1",
            "10",
            "1e300",
            "-1e300",
            "1e-300",
            "NaN",
            "Infinity",
            "-Infinity",
            "2.5",
            "3.5",
            "9007199254740993",
            "1e20",
            "0.30000000000000004",
            "123456.789",
        ],
        Type::Text => &[
            "",
            "a",
            "abc",
            "ABC",
            "Abc ",
            "a%b",
            "a_b",
            "a\\b",
            "Hello World",
            " x ",
            "10",
            "-7",
            " 42 ",
            "1.5",
            "t",
            "no",
            "日本",
            "é",
            "É1",
            "b",
            "NaN",
            "1e3",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{\"a\": 1}",
            "name",
            "99999999999",
        ],
        Type::Bpchar => &["", "a", "ab", "AB", " a", "abcde", "x", "10"],
        Type::Name => &["", "a", "abc", "ABC", "name", "pg_class", "z z"],
        Type::Uuid => &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ],
        Type::Bytea => &["\\x", "\\x00", "\\x0a", "\\x0aff", "\\xff", "\\x616263"],
        Type::Date => &["1970-01-01", "2024-02-29", "2024-03-01", "0001-01-01", "9999-12-31", "infinity", "-infinity"],
        Type::Timestamp => &[
            "1970-01-01 00:00:00",
            "2024-02-29 12:00:00.5",
            "2024-02-29 12:00:00",
            "0001-01-01 00:00:00",
            "infinity",
            "-infinity",
        ],
        Type::TimestampTz => &[
            "1970-01-01 00:00:00+00",
            "2024-02-29 12:00:00.5+00",
            "2024-02-29 12:00:00+01",
            "2024-02-29 11:00:00+00",
            "infinity",
            "-infinity",
        ],
        Type::Time => &["00:00:00", "12:00:00", "12:00:00.000001", "23:59:59.999999"],
        Type::Jsonb | Type::Json => &[
            "{}",
            "[]",
            "null",
            "1",
            "\"a\"",
            "{\"a\": 1, \"b\": \"x\"}",
            "{\"a\": \"é\\n\\\"q\\\"\", \"c\": [1, 2, {\"a\": null}]}",
            "[1, \"a\", null, [2, 3]]",
            "{\"a\": null}",
            "{\"a\": {\"b\": [true, false]}}",
            "[{\"a\": 7}]",
            "true",
            "{\"b\": 1.50}",
        ],
        _ => &[],
    }
}

fn array_pool(sql: &str) -> &'static [&'static str] {
    match sql {
        "bool[]" => &["{}", "{t}", "{f,NULL}", "{t,f}", "{NULL}"],
        "int4[]" => &["{}", "{1}", "{1,2,NULL}", "{{1,7},{10,100}}", "{-1,2147483647}", "{NULL}"],
        "int8[]" => &["{}", "{1}", "{1,2,NULL}", "{9223372036854775807}", "{100,10,9007199254740993}"],
        "numeric[]" => &["{}", "{1}", "{1.10,NULL}", "{NaN,0}", "{10,-0.05,Infinity}"],
        "uuid[]" => &["{}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "{NULL,00000000-0000-0000-0000-000000000000}"],
        _ => &["{}", "{a}", "{abc,NULL}", "{\"\",\"a\\\\b\",日本}", "{{a,b},{c,\"Hello World\"}}", "{10}"],
    }
}

/// The table anew, with random rows.
pub(crate) fn create(random: &mut Random, rows: usize) -> String {
    let columns: Vec<_> = COLUMNS.iter().map(|column| format!("{} {}", column.name, column.sql)).collect();
    let mut sql = format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, {}); INSERT INTO t VALUES ",
        columns.join(", ")
    );
    for row in 0..rows {
        let cells = COLUMNS.iter().map(|column| {
            let pool = if column.of == Type::Array { array_pool(column.sql) } else { pool(column.of) };
            if random.below(7) == 0 { "NULL".to_owned() } else { super::quoted(random.pick(pool)) }
        });
        let cells: Vec<_> = cells.collect();
        let comma = if row > 0 { ", " } else { "" };
        sql.push_str(&format!("{comma}({row}, {})", cells.join(", ")));
    }
    sql
}

/// A column as the host would push it.
pub(crate) fn buffers(rows: &RecordBatch, place: u32) -> Buffers {
    let column = rows.column(place as usize);
    match COLUMNS[place as usize].of {
        Type::Bool => column.as_boolean().iter().collect(),
        Type::Int2 => MakeNumbers::of(column.as_primitive::<Int16Type>().iter()),
        Type::Int4 => MakeNumbers::of(column.as_primitive::<Int32Type>().iter()),
        Type::Int8 => MakeNumbers::of(column.as_primitive::<Int64Type>().iter()),
        Type::Oid => MakeNumbers::of(column.as_primitive::<UInt32Type>().iter()),
        Type::Float4 => MakeNumbers::of(column.as_primitive::<Float32Type>().iter()),
        Type::Float8 => MakeNumbers::of(column.as_primitive::<Float64Type>().iter()),
        Type::Date => MakeNumbers::of(column.as_primitive::<Date32Type>().iter()),
        Type::Timestamp | Type::TimestampTz => {
            MakeNumbers::of(column.as_primitive::<TimestampMicrosecondType>().iter())
        }
        Type::Time => MakeNumbers::of(column.as_primitive::<Time64MicrosecondType>().iter()),
        Type::Bytea => MakeBytes::of(column.as_binary_view().iter()),
        _ => MakeBytes::of(column.as_string_view().iter()),
    }
}

/// What a row holds in the columns that a predicate names.
pub(crate) fn row(batch: &ChangeBatch, row: usize, predicate: &str) -> String {
    let words: Vec<&str> = predicate.split(|c: char| !c.is_alphanumeric()).collect();
    let shown = COLUMNS.iter().enumerate().filter(|(_, column)| words.contains(&column.name)).map(|(place, column)| {
        let array = batch.rows.column(place).slice(row, 1);
        let value = if array.is_null(0) { "null".to_owned() } else { format!("{array:?}").replace('\n', " ") };
        format!("{} = {value}", column.name)
    });
    shown.collect::<Vec<_>>().join("; ")
}
