//! Types as far as expressions tell them apart, and what Postgres does to bring two of them together.

use tidemill_sdk::{DataType, Field};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    /// `text`, `varchar`, and enums, which no plugin can tell from these.
    Text,
    /// `char(n)`: blanks at the end do not count.
    Bpchar,
    Name,
    Uuid,
    Bytea,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    Json,
    Jsonb,
    /// An array, as JSON; its elements' type is not told.
    Array,
    /// What can only be null or not.
    Other,
}

impl Type {
    pub fn of(field: &Field) -> Type {
        match (field.data_type, field.extension.as_deref(), field.postgres_type.as_deref()) {
            (DataType::Boolean, ..) => Type::Bool,
            (DataType::Int16, ..) => Type::Int2,
            (DataType::Int32, ..) => Type::Int4,
            (DataType::Int64, ..) => Type::Int8,
            (DataType::Uint32, ..) => Type::Oid,
            (DataType::Float32, ..) => Type::Float4,
            (DataType::Float64, ..) => Type::Float8,
            (DataType::Binary, ..) => Type::Bytea,
            (DataType::Date32, ..) => Type::Date,
            (DataType::Timestamp, ..) => Type::Timestamp,
            (DataType::TimestampUtc, ..) => Type::TimestampTz,
            (DataType::Time64, ..) => Type::Time,
            (DataType::Utf8, Some("tidemill.numeric"), _) => Type::Numeric,
            (DataType::Utf8, Some("arrow.json"), Some("json") | None) => Type::Json,
            (DataType::Utf8, Some("arrow.json"), Some("jsonb")) => Type::Jsonb,
            (DataType::Utf8, Some("arrow.json"), Some(_)) => Type::Array,
            (DataType::Utf8, None, Some("text" | "varchar") | None) => Type::Text,
            (DataType::Utf8, None, Some("bpchar")) => Type::Bpchar,
            (DataType::Utf8, None, Some("name")) => Type::Name,
            (DataType::Utf8, None, Some("uuid")) => Type::Uuid,
            _ => Type::Other,
        }
    }

    /// The catalog's name.
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::Int2 => "int2",
            Type::Int4 => "int4",
            Type::Int8 => "int8",
            Type::Oid => "oid",
            Type::Float4 => "float4",
            Type::Float8 => "float8",
            Type::Numeric => "numeric",
            Type::Text => "text",
            Type::Bpchar => "bpchar",
            Type::Name => "name",
            Type::Uuid => "uuid",
            Type::Bytea => "bytea",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::TimestampTz => "timestamptz",
            Type::Time => "time",
            Type::Json => "json",
            Type::Jsonb => "jsonb",
            Type::Array => "array",
            Type::Other => "another type",
        }
    }

    /// What a column of these is when it leaves: its Arrow type and extension.
    pub fn out(self) -> (DataType, Option<&'static str>) {
        match self {
            Type::Bool => (DataType::Boolean, None),
            Type::Int2 => (DataType::Int16, None),
            Type::Int4 => (DataType::Int32, None),
            Type::Int8 => (DataType::Int64, None),
            Type::Oid => (DataType::Uint32, None),
            Type::Float4 => (DataType::Float32, None),
            Type::Float8 => (DataType::Float64, None),
            Type::Bytea => (DataType::Binary, None),
            Type::Date => (DataType::Date32, None),
            Type::Timestamp => (DataType::Timestamp, None),
            Type::TimestampTz => (DataType::TimestampUtc, None),
            Type::Time => (DataType::Time64, None),
            Type::Numeric => (DataType::Utf8, Some("tidemill.numeric")),
            Type::Json | Type::Jsonb | Type::Array => (DataType::Utf8, Some("arrow.json")),
            Type::Text | Type::Bpchar | Type::Name | Type::Uuid | Type::Other => (DataType::Utf8, None),
        }
    }

    pub fn is_int(self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Type::Float4 | Type::Float8)
    }

    /// Numbers that can be reckoned with.
    pub fn is_number(self) -> bool {
        self.rank().is_some()
    }

    /// Texts, by any of Postgres' names for them.
    pub fn is_text(self) -> bool {
        matches!(self, Type::Text | Type::Bpchar | Type::Name)
    }

    /// The place in the chain of implicit casts: each number goes to those behind it.
    pub(crate) fn rank(self) -> Option<u8> {
        Some(match self {
            Type::Int2 => 0,
            Type::Int4 => 1,
            Type::Int8 => 2,
            Type::Numeric => 3,
            Type::Float4 => 4,
            Type::Float8 => 5,
            _ => return None,
        })
    }

    /// The least and the greatest value, of types that are whole numbers inside.
    pub(crate) fn bounds(self) -> (i64, i64) {
        match self {
            Type::Int2 => (i16::MIN.into(), i16::MAX.into()),
            Type::Int4 | Type::Date => (i32::MIN.into(), i32::MAX.into()),
            Type::Oid => (0, u32::MAX.into()),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// Postgres' word for it in its messages about ranges.
    pub(crate) fn range_message(self) -> &'static str {
        match self {
            Type::Int2 => "smallint out of range",
            Type::Int4 => "integer out of range",
            Type::Int8 => "bigint out of range",
            Type::Oid => "OID out of range",
            Type::Numeric => "value overflows numeric format",
            _ => "value out of range",
        }
    }
}

/// The type in which an operator works on two numbers (of one type each; `None` where there is no such operator).
pub(crate) fn common_number(left: Type, right: Type) -> Option<Type> {
    let (a, b) = (left.rank()?, right.rank()?);
    Some(match (left, right) {
        _ if a == b => left,
        _ if left.is_float() || right.is_float() => Type::Float8,
        _ if a > b => left,
        _ => right,
    })
}

/// The type that a list of values takes on (`in`, `coalesce`).
pub(crate) fn common_of_list(left: Type, right: Type) -> Option<Type> {
    match (left.rank(), right.rank()) {
        _ if left == right => Some(left),
        (Some(a), Some(b)) => Some(if a > b { left } else { right }),
        _ if left == Type::Oid && right.is_int() || left.is_int() && right == Type::Oid => Some(Type::Oid),
        _ => None,
    }
}
