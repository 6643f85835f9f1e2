//! A name as a text with columns in it: `logs-{created_at:%Y.%m}`.

use tidemill_sdk::{Batch, Column, DataType, Error, Field, TransformPlan};

use crate::calendar::Moment;

/// A time before or after all others has no year.
pub(crate) struct Infinite(pub(crate) String);

pub(crate) struct Template(Vec<Part>);

enum Part {
    Literal(String),
    Text(Column<str>),
    Bool(Column<bool>),
    Int16(Column<i16>),
    Int32(Column<i32>),
    Int64(Column<i64>),
    Date(Column<i32>, Format),
    Time(Column<i64>, Format),
}

/// How a time is written, and the column that it is from.
struct Format {
    format: String,
    column: String,
}

/// What the name of no index has in it.
const ILLEGAL: &[char] = &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];

impl Template {
    /// Asks the plan for the columns, whose names it adds to those that are there.
    pub(crate) fn parse(
        text: &str,
        plan: &mut TransformPlan<'_>,
        columns: &mut Vec<String>,
    ) -> Result<Template, Error> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        let known = columns.len();
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(doubled) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = doubled;
            } else if brace == "}" {
                return Err("a `}` stands alone: `}}` stands for `}`".into());
            } else {
                let end = rest.find('}').ok_or("a `{` is without its `}`")?;
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                let (column, format) = match rest[..end].split_once(':') {
                    Some((column, format)) => (column, Some(format)),
                    None => (&rest[..end], None),
                };
                parts.push(part(plan, column, format)?);
                columns.push(column.to_owned());
                rest = &rest[end + 1..];
            }
        }
        if columns.len() == known {
            return Err("the template has no column in it: a fixed name stands in the stream's own settings".into());
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Ok(Template(parts))
    }

    /// An index's name is small letters without some signs, and does not begin with some others.
    pub(crate) fn check_index(&self) -> Result<(), Error> {
        let literals = self.0.iter().filter_map(|part| match part {
            Part::Literal(literal) => Some(literal.as_str()),
            _ => None,
        });
        for (at, literal) in literals.enumerate() {
            if legal(literal) != literal || at == 0 && literal.starts_with(['-', '_', '+', '.']) {
                let why = "an index has small letters, begins with a letter or a digit, and has none of \\ / * ? \" < > | , # : nor blanks";
                return Err(["`index`: `", literal, "` cannot stand in the name of an index: ", why].concat().into());
            }
        }
        Ok(())
    }

    /// The name; none where one of its columns is null.
    pub(crate) fn fill(&self, batch: &Batch<'_>, row: usize, legalize: bool) -> Result<Option<String>, Infinite> {
        let mut name = String::new();
        for part in &self.0 {
            let value = match part {
                Part::Literal(literal) => {
                    name.push_str(literal);
                    continue;
                }
                Part::Text(column) => batch.column(*column).get(row).map(str::to_owned),
                Part::Bool(column) => batch.column(*column).get(row).map(|value| value.to_string()),
                Part::Int16(column) => batch.column(*column).get(row).map(|value| value.to_string()),
                Part::Int32(column) => batch.column(*column).get(row).map(|value| value.to_string()),
                Part::Int64(column) => batch.column(*column).get(row).map(|value| value.to_string()),
                Part::Date(column, format) => match batch.column(*column).get(row) {
                    Some(i32::MIN | i32::MAX) => return Err(Infinite(format.column.clone())),
                    days => days.map(|days| format.write(Moment::of_days(i64::from(days)))),
                },
                Part::Time(column, format) => match batch.column(*column).get(row) {
                    Some(i64::MIN | i64::MAX) => return Err(Infinite(format.column.clone())),
                    micros => micros.map(|micros| format.write(Moment::of_seconds(micros.div_euclid(1_000_000)))),
                },
            };
            let Some(value) = value else { return Ok(None) };
            name.push_str(&if legalize { legal(&value) } else { value });
        }
        if legalize {
            let begin = name.trim_start_matches(['-', '_', '+', '.']).len();
            name.drain(..name.len() - begin);
        }
        Ok(Some(name))
    }
}

/// A text as it can stand in the name of an index.
fn legal(text: &str) -> String {
    text.to_lowercase().replace(ILLEGAL, "_")
}

fn part(plan: &mut TransformPlan<'_>, name: &str, format: Option<&str>) -> Result<Part, Error> {
    let refuse = |why: &str| Err(["`", name, "` ", why].concat().into());
    let of = |field: &Field| field.data_type;
    let Some(of) = plan.schema().fields.iter().find(|field| field.name == name).map(of) else {
        // Says which columns there are.
        return plan.require(name).map(Part::Text);
    };
    let is_time = matches!(of, DataType::Date32 | DataType::Timestamp | DataType::TimestampUtc);
    let format = match (is_time, format) {
        (true, None) => return refuse(&["is a time: say which part of it, as in {", name, ":%Y.%m}"].concat()),
        (false, Some(_)) => return refuse("is no time, and takes no format"),
        (_, format) => Format::parse(name, format.unwrap_or_default(), is_time)?,
    };
    match of {
        DataType::Utf8 => plan.require(name).map(Part::Text),
        DataType::Boolean => plan.require(name).map(Part::Bool),
        DataType::Int16 => plan.require(name).map(Part::Int16),
        DataType::Int32 => plan.require(name).map(Part::Int32),
        DataType::Int64 => plan.require(name).map(Part::Int64),
        DataType::Date32 => Ok(Part::Date(plan.require(name)?, format)),
        DataType::Timestamp | DataType::TimestampUtc => Ok(Part::Time(plan.require(name)?, format)),
        _ => refuse(
            "has a type of which no name is made: texts, whole numbers, booleans, dates and timestamps are taken",
        ),
    }
}

impl Format {
    fn parse(column: &str, format: &str, is_time: bool) -> Result<Format, Error> {
        let format = Format { format: format.to_owned(), column: column.to_owned() };
        if is_time && format.format.is_empty() {
            return Err(["the format of `", column, "` is empty: %Y.%m for instance"].concat().into());
        }
        let mut letters = format.format.chars();
        while let Some(letter) = letters.next() {
            let after = if letter == '%' { letters.next().unwrap_or(' ') } else { '%' };
            if after != '%' && Moment::of_days(0).part(after, &mut String::new()).is_none() {
                let known = "there are %Y %m %d %j %H %M %S, %G and %V for weeks, and %%";
                return Err(["the format of `", column, "` has `%", &after.to_string(), "`: ", known].concat().into());
            }
        }
        Ok(format)
    }

    fn write(&self, moment: Moment) -> String {
        let (mut text, mut letters) = (String::new(), self.format.chars());
        while let Some(letter) = letters.next() {
            match (letter, letter == '%') {
                (_, true) => match letters.next() {
                    Some('%') | None => text.push('%'),
                    Some(letter) => moment.part(letter, &mut text).unwrap_or_default(),
                },
                (letter, false) => text.push(letter),
            }
        }
        text
    }
}
