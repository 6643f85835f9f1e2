//! Between JSON and columns: what a Postgres type crosses as, and what stands in documents.

use serde_json::Value;

use crate::{Batch, Buffers, Column, ColumnType, DataType, Field, List, MakeBytes, MakeNumbers, lists};

/// How a column crosses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    postgres: String,
    data_type: DataType,
    extension: Option<&'static str>,
    /// Only nulls were seen so far.
    is_open: bool,
    /// How deep it is in lists that an earlier stage made.
    depth: usize,
}

const JSON: Option<&str> = Some("arrow.json");
const NUMERIC: Option<&str> = Some("tidemill.numeric");

impl Type {
    /// By a Postgres type's name, SQL's or the catalog's.
    pub(super) fn named(name: &str) -> Type {
        let plain = name.split('(').next().unwrap_or(name).trim();
        let (postgres, data_type, extension) = match plain {
            "bool" | "boolean" => ("bool", DataType::Boolean, None),
            "int2" | "smallint" => ("int2", DataType::Int16, None),
            "int4" | "integer" | "int" => ("int4", DataType::Int32, None),
            "int8" | "bigint" => ("int8", DataType::Int64, None),
            "oid" => ("oid", DataType::Uint32, None),
            "float4" | "real" => ("float4", DataType::Float32, None),
            "float8" | "double precision" => ("float8", DataType::Float64, None),
            "numeric" | "decimal" => ("numeric", DataType::Utf8, NUMERIC),
            "json" | "jsonb" => (plain, DataType::Utf8, JSON),
            "bytea" => ("bytea", DataType::Binary, None),
            "date" => ("date", DataType::Date32, None),
            "timestamp" => ("timestamp", DataType::Timestamp, None),
            "timestamptz" => ("timestamptz", DataType::TimestampUtc, None),
            "time" => ("time", DataType::Time64, None),
            array if array.ends_with("[]") => (array, DataType::Utf8, JSON),
            other => (other, DataType::Utf8, None),
        };
        Type { postgres: postgres.to_owned(), data_type, extension, is_open: false, depth: 0 }
    }

    /// Lists, with brackets for each depth: `int8[]`, `text[][]`.
    #[track_caller]
    pub(super) fn lists(name: &str) -> Type {
        let element = name.trim_end_matches("[]");
        let depth = (name.len() - element.len()) / 2;
        assert!((1..=8).contains(&depth), "lists are written with 1 to 8 pairs of brackets: `text[]`, not `{name}`");
        Type { depth, ..Type::named(element) }
    }

    /// What a value in JSON looks like.
    pub(super) fn of(value: &Value) -> Type {
        match value {
            Value::Null => Type { is_open: true, ..Type::named("text") },
            Value::Bool(_) => Type::named("bool"),
            Value::Number(number) if number.is_i64() => Type::named("int8"),
            Value::Number(_) => Type::named("numeric"),
            Value::String(_) => Type::named("text"),
            Value::Array(_) | Value::Object(_) => Type::named("jsonb"),
        }
    }

    /// The type of a column in which both were seen.
    #[track_caller]
    pub(super) fn and(&self, other: Type) -> Type {
        match (self.postgres.as_str(), other.postgres.as_str()) {
            _ if self.is_open => other,
            _ if other.is_open => self.clone(),
            ("int8", "numeric") => other,
            ("numeric", "int8") => self.clone(),
            (one, two) if one == two => self.clone(),
            (one, two) => panic!("a column is {one} in one row and {two} in another: say its type by `column`"),
        }
    }

    /// The column's field, and behind it those of a list's elements.
    pub(super) fn fields(&self, name: &str) -> Vec<Field> {
        let lists = vec![DataType::List; self.depth];
        let element = (self.data_type, self.extension);
        let types = lists.into_iter().map(|list| (list, None)).chain([element]);
        let names = [name].into_iter().chain(std::iter::repeat(""));
        let field = |((data_type, extension), name): ((_, Option<&str>), &str)| Field {
            name: name.to_owned(),
            data_type,
            extension: extension.map(str::to_owned),
            // A stage's columns have none.
            postgres_type: (self.depth == 0).then(|| self.postgres.clone()),
        };
        types.zip(names).map(field).collect()
    }
}

/// A column of values as they stand in JSON: its buffers, and behind them those of a list's elements.
#[track_caller]
pub(super) fn column<'a>(name: &str, of: &Type, values: impl Iterator<Item = &'a Value>) -> Vec<Buffers> {
    let mut values: Vec<&Value> = values.collect();
    let mut out = Vec::new();
    for _ in 0..of.depth {
        let elements = |value: &'a Value| match value {
            Value::Array(elements) => Some(elements),
            Value::Null => None,
            other => panic!("column `{name}` is of lists, and cannot hold {other}"),
        };
        let arrays: Vec<_> = values.into_iter().map(elements).collect();
        out.push(lists(arrays.iter().map(|array| array.map(Vec::len))));
        values = arrays.into_iter().flatten().flatten().collect();
    }
    out.push(buffers(name, of, values.into_iter()));
    out
}

/// A column of values that are no lists.
fn buffers<'a>(name: &str, of: &Type, values: impl Iterator<Item = &'a Value>) -> Buffers {
    let unfit = |value: &Value| -> ! { panic!("column `{name}` is {}, and cannot hold {value}", of.postgres) };
    let set = |value: &'a Value| (!value.is_null()).then_some(value);
    let whole = |value: &'a Value| value.as_i64().unwrap_or_else(|| unfit(value));
    let float = |value: &'a Value| value.as_f64().unwrap_or_else(|| unfit(value));
    let moment = |value: &'a Value| value.as_str().and_then(moment).unwrap_or_else(|| unfit(value));
    match of.data_type {
        DataType::Boolean => {
            values.map(|value| set(value).map(|value| value.as_bool().unwrap_or_else(|| unfit(value)))).collect()
        }
        DataType::Int16 => MakeNumbers::of(values.map(|value| set(value).map(|value| whole(value) as i16))),
        DataType::Int32 => MakeNumbers::of(values.map(|value| set(value).map(|value| whole(value) as i32))),
        DataType::Int64 => MakeNumbers::of(values.map(|value| set(value).map(whole))),
        DataType::Uint32 => MakeNumbers::of(values.map(|value| set(value).map(|value| whole(value) as u32))),
        DataType::Float32 => MakeNumbers::of(values.map(|value| set(value).map(|value| float(value) as f32))),
        DataType::Float64 => MakeNumbers::of(values.map(|value| set(value).map(float))),
        DataType::Date32 => {
            let days = |value| moment(value).div_euclid(DAY) as i32;
            MakeNumbers::of(values.map(|value| set(value).map(days)))
        }
        DataType::Timestamp | DataType::TimestampUtc => MakeNumbers::of(values.map(|value| set(value).map(moment))),
        DataType::Time64 => MakeNumbers::of(values.map(|value| set(value).map(|value| moment(value).rem_euclid(DAY)))),
        DataType::Binary => {
            let bytes = |value: &'a Value| value.as_str().and_then(hex).unwrap_or_else(|| unfit(value));
            MakeBytes::of(values.map(|value| set(value).map(bytes)))
        }
        DataType::List => unreachable!("no type of a column's elements"),
        DataType::Utf8 => {
            let text = |value: &Value| match value {
                Value::String(text) if of.extension != JSON => text.clone(),
                other => other.to_string(),
            };
            MakeBytes::of(values.map(|value| set(value).map(text)))
        }
    }
}

/// `\x0aff`.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

const DAY: i64 = 86_400_000_000;

/// Microseconds since 1970 of `2026-01-02`, `03:04:05.5` or both with a blank or `T` between them, in UTC.
fn moment(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z');
    let text = text.strip_suffix("+00").or_else(|| text.strip_suffix("+00:00")).unwrap_or(text);
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (Some(date), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let mut micros = 0;
    if let Some(date) = date {
        let mut parts = date.splitn(3, '-').map(str::parse::<i64>);
        let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        micros += days(year, month, day) * DAY;
    }
    if let Some(time) = time {
        let mut parts = time.splitn(3, ':');
        let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
        let seconds: f64 = parts.next().unwrap_or("0").parse().ok()?;
        micros += (hours * 3_600 + minutes * 60) * 1_000_000 + (seconds * 1e6).round() as i64;
    }
    Some(micros)
}

/// Days since 1970-01-01 of a date, by the calendar that begins its years in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of so many days since 1970-01-01.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + next)
}

fn time(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => clock,
        fraction => format!("{clock}.{fraction:06}").trim_end_matches('0').to_owned(),
    }
}

pub(super) fn text(column: &[Buffers], row: usize) -> String {
    let text: Option<&str> = view::<str>(column, row).get(row);
    text.unwrap_or_default().to_owned()
}

fn view<T: ColumnType + ?Sized>(column: &[Buffers], row: usize) -> T::View<'_> {
    Batch::new(row + 1, column).column(Column::<T>::at(0))
}

/// `"name":value`, as it would stand in a document. Fields and buffers are the column's own and, behind them, those of a list's
/// elements.
pub(super) fn entry(fields: &[Field], column: &[Buffers], row: usize) -> String {
    let (name, value) = (fields[0].name.as_str(), value(fields, column, row));
    let value = value.unwrap_or_else(|| "null".to_owned());
    format!("{}:{value}", Value::from(name))
}

fn value(fields: &[Field], column: &[Buffers], row: usize) -> Option<String> {
    let field = &fields[0];
    let quoted = |text: String| Value::from(text).to_string();
    let stamp = |micros: i64| format!("{}T{}", date(micros.div_euclid(DAY)), time(micros.rem_euclid(DAY)));
    Some(match field.data_type {
        DataType::Boolean => view::<bool>(column, row).get(row)?.to_string(),
        DataType::Int16 => view::<i16>(column, row).get(row)?.to_string(),
        DataType::Int32 => view::<i32>(column, row).get(row)?.to_string(),
        DataType::Int64 => view::<i64>(column, row).get(row)?.to_string(),
        DataType::Uint32 => view::<u32>(column, row).get(row)?.to_string(),
        DataType::Float32 => Value::from(f64::from(view::<f32>(column, row).get(row)?)).to_string(),
        DataType::Float64 => Value::from(view::<f64>(column, row).get(row)?).to_string(),
        DataType::Date32 => quoted(date(i64::from(view::<i32>(column, row).get(row)?))),
        DataType::Timestamp => quoted(stamp(view::<i64>(column, row).get(row)?)),
        DataType::TimestampUtc => quoted(format!("{}Z", stamp(view::<i64>(column, row).get(row)?))),
        DataType::Time64 => quoted(time(view::<i64>(column, row).get(row)?)),
        DataType::Binary => {
            let bytes = view::<[u8]>(column, row).get(row)?;
            quoted(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
        DataType::List => {
            let range = view::<List<()>>(column, row).get(row)?;
            let null = || "null".to_owned();
            let elements = range.map(|at| value(&fields[1..], &column[1..], at).unwrap_or_else(null));
            format!("[{}]", elements.collect::<Vec<_>>().join(","))
        }
        DataType::Utf8 => {
            let text = view::<str>(column, row).get(row)?;
            match field.extension.as_deref() {
                JSON => text.to_owned(),
                NUMERIC if !text.ends_with(['N', 'y']) => text.to_owned(),
                _ => quoted(text.to_owned()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for stamp in
            ["1970-01-01T00:00:00", "2024-02-29T23:59:59.5", "1969-12-31T23:59:59.999999", "2000-03-01T00:00:00"]
        {
            let micros = moment(stamp).unwrap();
            let written = format!("{}T{}", date(micros.div_euclid(DAY)), time(micros.rem_euclid(DAY)));
            assert_eq!(written, stamp);
        }
        assert_eq!(moment("1970-01-02 00:00:00+00"), Some(DAY));
        assert_eq!(moment("00:00:01"), Some(1_000_000));
    }
}
