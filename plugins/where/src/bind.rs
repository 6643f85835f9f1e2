//! A predicate against a table: names become columns, constants become values of the columns' types, and what Postgres would
//! refuse, or what cannot be judged as it does, is refused here.

use sqlparser::tokenizer::Location;
use tidemill_sdk::{Column, DataType, Field, FilterPlan, Schema};

use crate::decimal::{Decimal, spell};
use crate::lex::{Refused, distance};
use crate::like::{IgnoreCase, Pattern};
use crate::literal;
use crate::node::{AnyFloat, AnyInt, Node, Pair, Value};
use crate::parse::{Expr, Kind, Op, Truth};

/// A column's type as far as comparisons tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Padded,
    Uuid,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    /// What can only be null or not.
    Opaque,
}

impl Type {
    fn of(field: &Field) -> Type {
        match (field.data_type, field.extension.as_deref(), field.postgres_type.as_deref()) {
            (DataType::Boolean, ..) => Type::Bool,
            (DataType::Int16, ..) => Type::Int2,
            (DataType::Int32, ..) => Type::Int4,
            (DataType::Int64, ..) => Type::Int8,
            (DataType::Uint32, ..) => Type::Oid,
            (DataType::Float32, ..) => Type::Float4,
            (DataType::Float64, ..) => Type::Float8,
            (DataType::Date32, ..) => Type::Date,
            (DataType::Timestamp, ..) => Type::Timestamp,
            (DataType::TimestampUtc, ..) => Type::TimestampTz,
            (DataType::Time64, ..) => Type::Time,
            (DataType::Utf8, Some("tidemill.numeric"), _) => Type::Numeric,
            (DataType::Utf8, None, Some("text" | "varchar") | None) => Type::Text,
            (DataType::Utf8, None, Some("bpchar")) => Type::Padded,
            (DataType::Utf8, None, Some("uuid")) => Type::Uuid,
            _ => Type::Opaque,
        }
    }

    fn is_int(self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    fn is_number(self) -> bool {
        self.is_int() || matches!(self, Type::Oid | Type::Float4 | Type::Float8 | Type::Numeric)
    }

    /// The catalog's name, as a cast would have it.
    fn name(self) -> &'static str {
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
            Type::Padded => "bpchar",
            Type::Uuid => "uuid",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::TimestampTz => "timestamptz",
            Type::Time => "time",
            Type::Opaque => "of a type that is not compared",
        }
    }
}

/// A column by its place.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: Location,
    place: usize,
    of: Type,
}

/// One side of a comparison.
enum Operand {
    Column(Place),
    Number {
        at: Location,
        digits: String,
        cast: Option<String>,
    },
    Text {
        at: Location,
        text: String,
        cast: Option<String>,
    },
    Null,
    /// Anything that is true, false or unknown, boolean columns and constants included.
    Bool {
        at: Location,
        node: Node,
    },
}

type Bound = Result<Node, Refused>;

pub fn bind(expr: &Expr, plan: &mut FilterPlan<'_>) -> Bound {
    Binder { schema: plan.schema(), plan }.boolean(expr)
}

struct Binder<'p, 's> {
    plan: &'p mut FilterPlan<'s>,
    schema: &'s Schema,
}

fn refuse<T>(at: Location, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::at(at, message))
}

impl Binder<'_, '_> {
    /// An expression that must be true, false or unknown.
    fn boolean(&mut self, expr: &Expr) -> Bound {
        let operand = self.operand(expr)?;
        self.truth(operand)
    }

    fn truth(&self, operand: Operand) -> Bound {
        match operand {
            Operand::Bool { node, .. } => Ok(node),
            Operand::Null => Ok(Node::Constant(None)),
            Operand::Column(column) => {
                let (name, of) = (self.describe(column), "a predicate is made of booleans: compare it with something");
                refuse(column.at, format!("{name} is no boolean; {of}"))
            }
            Operand::Text { at, text, cast } if cast.as_deref().is_none_or(|cast| cast == "bool") => {
                match literal::boolean(&text) {
                    Ok(is) => Ok(Node::Constant(Some(is))),
                    Err(wanted) => refuse(at, format!("'{text}' is no boolean here; {wanted}")),
                }
            }
            Operand::Number { at, .. } | Operand::Text { at, .. } => refuse(at, "a boolean is wanted here"),
        }
    }

    fn booleans(&mut self, parts: &[Expr]) -> Result<Vec<Node>, Refused> {
        parts.iter().map(|part| self.boolean(part)).collect()
    }

    fn operand(&mut self, expr: &Expr) -> Result<Operand, Refused> {
        let at = expr.at;
        let node = match &expr.kind {
            Kind::Column(path) => return self.column(at, path),
            Kind::Number(digits) => return Ok(Operand::Number { at, digits: digits.clone(), cast: None }),
            Kind::Text(text) => return Ok(Operand::Text { at, text: text.clone(), cast: None }),
            Kind::Null => return Ok(Operand::Null),
            Kind::Cast(inner, to) => return self.cast(at, inner, to),
            Kind::Bool(is) => Node::Constant(Some(*is)),
            Kind::And(parts) => Node::And(self.booleans(parts)?),
            Kind::Or(parts) => Node::Or(self.booleans(parts)?),
            Kind::Not(inner) => Node::Not(Box::new(self.boolean(inner)?)),
            Kind::Compare(op, left, right) => self.compare(at, *op, left, right)?,
            Kind::Same(left, right) => self.same(at, left, right)?,
            Kind::Distinct(left, right) => Node::Not(Box::new(self.same(at, left, right)?)),
            Kind::In(left, list) => self.in_list(left, list)?,
            Kind::Like { text, pattern, escape, ignore_case } => {
                let pattern = self.pattern(pattern, escape.as_deref(), *ignore_case)?;
                self.like(at, text, pattern, *ignore_case)?
            }
            Kind::Is(inner, truth) => self.is(inner, *truth)?,
        };
        Ok(Operand::Bool { at, node })
    }

    fn in_list(&mut self, left: &Expr, list: &[Expr]) -> Bound {
        let mut parts = Vec::with_capacity(list.len());
        let constants = list.iter().filter(|item| !matches!(item.kind, Kind::Column(_))).count();
        for item in list {
            let (left, mut right) = (self.operand(left)?, self.operand(item)?);
            // Several constants take on one type, the column's where it is real; one alone stays a double.
            if let (Operand::Column(Place { of: Type::Float4, .. }), Operand::Number { cast: cast @ None, .. }) =
                (&left, &mut right)
                && constants > 1
            {
                *cast = Some(Type::Float4.name().to_owned());
            }
            parts.push(self.compare_operands(item.at, Op::Eq, left, right)?);
        }
        Ok(Node::Or(parts))
    }

    fn column(&mut self, at: Location, path: &[String]) -> Result<Operand, Refused> {
        let (name, qualifier) = path.split_last().expect("a path has a name");
        let table = [self.schema.namespace.as_str(), &self.schema.table];
        if !table.iter().rev().zip(qualifier.iter().rev()).all(|(is, said)| is == said) || qualifier.len() > 2 {
            let (said, is) = (qualifier.join("."), table.join("."));
            return refuse(at, format!("`{said}` is not the table of this predicate, which is {is}"));
        }
        let Some(place) = self.schema.fields.iter().position(|field| field.name == *name) else {
            return refuse(at, self.unknown(name));
        };
        let of = Type::of(&self.schema.fields[place]);
        if of == Type::Bool {
            return Ok(Operand::Bool { at, node: Node::Bool(self.require(at, place)?) });
        }
        Ok(Operand::Column(Place { at, place, of }))
    }

    fn unknown(&self, name: &str) -> String {
        let names = || self.schema.fields.iter().map(|field| field.name.as_str());
        let nearest = names().map(|known| (distance(name, known), known.len().abs_diff(name.len()), known)).min();
        let hint = match nearest {
            Some((away, _, known)) if away <= 1 + name.chars().count() / 3 => {
                format!(": did you mean `{known}`? There are")
            }
            _ => ": there are".to_owned(),
        };
        let table = format!("{}.{}", self.schema.namespace, self.schema.table);
        let known: Vec<_> = names().take(30).map(|name| format!("`{name}`")).collect();
        let more = if self.schema.fields.len() > known.len() { " and more" } else { "" };
        format!("{table} has no column `{name}` here{hint} {}{more}", known.join(", "))
    }

    fn require<T: tidemill_sdk::ColumnType + ?Sized>(
        &mut self,
        at: Location,
        place: usize,
    ) -> Result<Column<T>, Refused> {
        self.plan.require_at(place).map_err(|error| Refused::at(at, error.to_string()))
    }

    fn cast(&mut self, at: Location, inner: &Expr, to: &str) -> Result<Operand, Refused> {
        match self.operand(inner)? {
            Operand::Number { digits, cast: None, .. } => Ok(Operand::Number { at, digits, cast: Some(to.to_owned()) }),
            Operand::Text { text, cast: None, .. } if to == "bool" => match literal::boolean(&text) {
                Ok(is) => Ok(Operand::Bool { at, node: Node::Constant(Some(is)) }),
                Err(wanted) => refuse(at, format!("'{text}' is not {wanted}")),
            },
            Operand::Text { text, cast: None, .. } => Ok(Operand::Text { at, text, cast: Some(to.to_owned()) }),
            Operand::Null => Ok(Operand::Null),
            Operand::Column(column) if column.of.name() == to => Ok(Operand::Column(column)),
            Operand::Bool { at, node } if to == "bool" => Ok(Operand::Bool { at, node }),
            _ => refuse(at, "a cast of anything but a constant is not there yet"),
        }
    }

    /// A column as a user knows it.
    fn describe(&self, column: Place) -> String {
        let field = &self.schema.fields[column.place];
        let of = field.postgres_type.as_deref().filter(|name| *name != "unknown").unwrap_or(column.of.name());
        format!("`{}` ({of})", field.name)
    }

    fn is(&mut self, inner: &Expr, truth: Truth) -> Bound {
        let node = match self.operand(inner)? {
            Operand::Column(column) if truth == Truth::Null => {
                return Ok(Node::IsNull(self.require(column.at, column.place)?));
            }
            Operand::Number { .. } | Operand::Text { .. } if truth == Truth::Null => {
                return Ok(Node::Constant(Some(false)));
            }
            other => self.truth(other)?,
        };
        let [yes, no, unknown] =
            [truth == Truth::True, truth == Truth::False, matches!(truth, Truth::Unknown | Truth::Null)];
        Ok(Node::Test { node: Box::new(node), yes, no, unknown })
    }

    fn same(&mut self, at: Location, left: &Expr, right: &Expr) -> Bound {
        let equal = Box::new(self.compare(at, Op::Eq, left, right)?);
        let left_is_null = Box::new(self.is(left, Truth::Null)?);
        let right_is_null = Box::new(self.is(right, Truth::Null)?);
        Ok(Node::Same { equal, left_is_null, right_is_null })
    }

    fn compare(&mut self, at: Location, op: Op, left: &Expr, right: &Expr) -> Bound {
        let (left, right) = (self.operand(left)?, self.operand(right)?);
        self.compare_operands(at, op, left, right)
    }

    fn compare_operands(&mut self, at: Location, op: Op, left: Operand, right: Operand) -> Bound {
        match (left, right) {
            (Operand::Null, _) | (_, Operand::Null) => Ok(Node::Constant(None)),
            (Operand::Bool { node: left, .. }, Operand::Bool { node: right, .. }) => {
                Ok(Node::CompareBools(op, Box::new(left), Box::new(right)))
            }
            (Operand::Bool { node, .. }, other) => self.compare_bool(at, op, node, other),
            (other, Operand::Bool { node, .. }) => self.compare_bool(at, op.flip(), node, other),
            (Operand::Column(left), Operand::Column(right)) => self.columns(at, op, left, right),
            (Operand::Column(column), constant) => self.constant(at, op, column, constant),
            (constant, Operand::Column(column)) => self.constant(at, op.flip(), column, constant),
            _ => refuse(at, "this compares two constants: name a column on one side"),
        }
    }

    fn compare_bool(&mut self, at: Location, op: Op, node: Node, other: Operand) -> Bound {
        match other {
            Operand::Text { at, text, cast: None } => match literal::boolean(&text) {
                Ok(is) => Ok(Node::CompareBools(op, Box::new(node), Box::new(Node::Constant(Some(is))))),
                Err(wanted) => refuse(at, format!("a boolean is compared with '{text}', which is not {wanted}")),
            },
            Operand::Number { at, digits, .. } => {
                refuse(at, format!("a boolean is compared with the number {digits}: write true or false"))
            }
            Operand::Column(column) => {
                let name = self.describe(column);
                refuse(at, format!("a boolean is compared with {name}: write true or false"))
            }
            _ => refuse(at, "a boolean is compared with what is none: write true or false"),
        }
    }

    /// A column and a constant.
    fn constant(&mut self, at: Location, op: Op, column: Place, constant: Operand) -> Bound {
        let name = self.describe(column);
        self.check_order(at, op, column)?;
        match constant {
            Operand::Number { at, digits, cast } => {
                if !column.of.is_number() {
                    return refuse(at, format!("{name} is compared with a number: put it in quotes"));
                }
                let Some(spelt) = spell(&digits) else {
                    return refuse(at, format!("{digits} is no number of at most 1,000 digits"));
                };
                check_cast(at, &name, column.of, cast.as_deref())?;
                if cast.is_some() && column.of.is_int() && !Decimal::read(spelt.as_bytes()).is_whole() {
                    return refuse(at, format!("{digits} is rounded by its cast: write a whole number"));
                }
                self.number(at, op, column, &spelt, cast.is_some())
            }
            Operand::Text { at, text, cast } => {
                check_cast(at, &name, column.of, cast.as_deref())?;
                self.text(at, op, column, &text)
            }
            _ => refuse(at, format!("{name} cannot be compared with this")),
        }
    }

    /// `<` and its like on text depend on the database's collation.
    fn check_order(&self, at: Location, op: Op, column: Place) -> Result<(), Refused> {
        let name = self.describe(column);
        match column.of {
            Type::Opaque => refuse(at, format!("{name} can only be tested by `is null`: its type is not compared yet")),
            Type::Text | Type::Padded if !matches!(op, Op::Eq | Op::Ne) => {
                let why = "the order of texts depends on the database's collation";
                refuse(
                    at,
                    format!("`{}` on {name} is not there yet, since {why}; there are = <> in and like", op.sign()),
                )
            }
            _ => Ok(()),
        }
    }

    /// A number as it stands; `typed` if a cast made it one of the column's type.
    fn number(&mut self, at: Location, op: Op, column: Place, spelt: &str, typed: bool) -> Bound {
        let decimal = Decimal::read(spelt.as_bytes());
        match column.of {
            Type::Numeric => Ok(Node::Compare(op, Value::Numeric(self.require(at, column.place)?, spelt.to_owned()))),
            Type::Float4 | Type::Float8 => {
                let float =
                    literal::float(spelt).map_err(|wanted| Refused::at(at, format!("{spelt} is not {wanted}")))?;
                // A bare number is a double, also beside a float4 column.
                let float = if typed && column.of == Type::Float4 { self.float4(at, spelt)? } else { float };
                self.float(at, op, column, float)
            }
            Type::Oid if !decimal.is_whole() || !(0..=i128::from(u32::MAX)).contains(&decimal.floor()) => {
                refuse(at, format!("{spelt} is no oid: a whole number from 0 to {}", u32::MAX))
            }
            _ if decimal.is_whole() => self.whole(at, op, column, decimal.floor()),
            _ => {
                // Between two whole numbers: nothing is equal to it.
                match op {
                    Op::Eq | Op::Ne => Ok(Node::Known(self.require(at, column.place)?, op == Op::Ne)),
                    Op::Lt | Op::Le => self.whole(at, Op::Le, column, decimal.floor()),
                    Op::Gt | Op::Ge => self.whole(at, Op::Gt, column, decimal.floor()),
                }
            }
        }
    }

    /// A whole number and a column of whole numbers, days or microseconds.
    fn whole(&mut self, at: Location, op: Op, column: Place, value: i128) -> Bound {
        let place = column.place;
        let fits = |min: i128, max: i128| (min..=max).contains(&value);
        let value = match column.of {
            Type::Int2 if fits(i16::MIN.into(), i16::MAX.into()) => {
                Value::Int16(self.require(at, place)?, value as i16)
            }
            Type::Int4 | Type::Date if fits(i32::MIN.into(), i32::MAX.into()) => {
                Value::Int32(self.require(at, place)?, value as i32)
            }
            Type::Oid if fits(0, u32::MAX.into()) => Value::Uint32(self.require(at, place)?, value as u32),
            Type::Int8 | Type::Timestamp | Type::TimestampTz | Type::Time if fits(i64::MIN.into(), i64::MAX.into()) => {
                Value::Int64(self.require(at, place)?, value as i64)
            }
            _ => {
                // Beyond all values of the type: each is on the same side of it.
                let is = match op {
                    Op::Eq => false,
                    Op::Ne => true,
                    Op::Lt | Op::Le => value > 0,
                    Op::Gt | Op::Ge => value < 0,
                };
                return Ok(Node::Known(self.require(at, place)?, is));
            }
        };
        Ok(Node::Compare(op, value))
    }

    fn float4(&self, at: Location, text: &str) -> Result<f64, Refused> {
        let float = literal::float(text).map_err(|wanted| Refused::at(at, format!("'{text}' is not {wanted}")))?;
        let single = text.trim().parse::<f32>().map_or(float as f32, |single| single);
        if float.is_finite() && (!single.is_finite() || single == 0.0 && float != 0.0) {
            return refuse(at, format!("'{text}' is not within the range of real"));
        }
        Ok(f64::from(single))
    }

    fn float(&mut self, at: Location, op: Op, column: Place, value: f64) -> Bound {
        Ok(Node::Compare(
            op,
            match column.of {
                Type::Float4 => Value::Float32(self.require(at, column.place)?, value),
                _ => Value::Float64(self.require(at, column.place)?, value),
            },
        ))
    }

    /// A constant in quotes: it is read as the column's type.
    fn text(&mut self, at: Location, op: Op, column: Place, text: &str) -> Bound {
        let name = self.describe(column);
        let wrong = |wanted: &str| Refused::at(at, format!("{name} is compared with '{text}', which is not {wanted}"));
        let range = |min: i128, max: i128| {
            let value = literal::integer(text).map_err(wrong)?;
            if (min..=max).contains(&value) { Ok(value) } else { Err(wrong("within the range of its type")) }
        };
        let value = match column.of {
            Type::Int2 => range(i16::MIN.into(), i16::MAX.into())?,
            Type::Int4 => range(i32::MIN.into(), i32::MAX.into())?,
            Type::Int8 => range(i64::MIN.into(), i64::MAX.into())?,
            Type::Oid => range(0, u32::MAX.into())?,
            Type::Date => literal::date(text).map_err(wrong)?.into(),
            Type::Time => literal::time(text).map_err(wrong)?.into(),
            Type::Timestamp => literal::timestamp(text, false).map_err(wrong)?.into(),
            Type::TimestampTz => literal::timestamp(text, true).map_err(wrong)?.into(),
            Type::Float4 => {
                let value = self.float4(at, text)?;
                return self.float(at, op, column, value);
            }
            Type::Float8 => return self.float(at, op, column, literal::float(text).map_err(wrong)?),
            Type::Numeric => {
                let digits = literal::numeric(text).map_err(wrong)?;
                return Ok(Node::Compare(op, Value::Numeric(self.require(at, column.place)?, digits)));
            }
            Type::Uuid => {
                let uuid = literal::uuid(text).map_err(wrong)?.into_bytes();
                return Ok(Node::Compare(op, Value::Bytes(self.require(at, column.place)?, uuid)));
            }
            Type::Text => {
                let column = self.require(at, column.place)?;
                return Ok(Node::Compare(op, Value::Bytes(column, text.as_bytes().to_vec())));
            }
            Type::Padded => {
                let bytes = text.trim_end_matches(' ').as_bytes().to_vec();
                return Ok(Node::Compare(op, Value::Padded(self.require(at, column.place)?, bytes)));
            }
            Type::Bool | Type::Opaque => return Err(wrong("of a type that can be compared with it")),
        };
        self.whole(at, op, column, value)
    }

    fn columns(&mut self, at: Location, op: Op, left: Place, right: Place) -> Bound {
        let names = (self.describe(left), self.describe(right));
        self.check_order(at, op, left)?;
        self.check_order(at, op, right)?;
        let is_same = left.of == right.of;
        let pair = match (left.of, right.of) {
            (a, b) if a.is_int() && b.is_int() => Pair::Ints(self.int(left)?, self.int(right)?),
            (Type::Oid | Type::Date | Type::Timestamp | Type::TimestampTz | Type::Time, _) if is_same => {
                Pair::Ints(self.int(left)?, self.int(right)?)
            }
            (Type::Float4 | Type::Float8, Type::Float4 | Type::Float8) => {
                Pair::Floats(self.any_float(left)?, self.any_float(right)?)
            }
            (Type::Numeric, Type::Numeric) => {
                Pair::Numerics(self.require(at, left.place)?, self.require(at, right.place)?)
            }
            (Type::Text, Type::Text) | (Type::Uuid, Type::Uuid) => {
                Pair::Bytes(self.require(at, left.place)?, self.require(at, right.place)?)
            }
            (Type::Padded, Type::Padded) => Pair::Padded(self.require(at, left.place)?, self.require(at, right.place)?),
            _ => {
                let (left, right) = names;
                return refuse(
                    at,
                    format!("{left} and {right} are of two types, and comparing these is not there yet"),
                );
            }
        };
        Ok(Node::Columns(op, pair))
    }

    fn int(&mut self, column: Place) -> Result<AnyInt, Refused> {
        let (at, place) = (column.at, column.place);
        Ok(match column.of {
            Type::Int2 => AnyInt::Int16(self.require(at, place)?),
            Type::Int4 | Type::Date => AnyInt::Int32(self.require(at, place)?),
            Type::Oid => AnyInt::Uint32(self.require(at, place)?),
            _ => AnyInt::Int64(self.require(at, place)?),
        })
    }

    fn any_float(&mut self, column: Place) -> Result<AnyFloat, Refused> {
        let (at, place) = (column.at, column.place);
        Ok(match column.of {
            Type::Float4 => AnyFloat::Float32(self.require(at, place)?),
            _ => AnyFloat::Float64(self.require(at, place)?),
        })
    }

    /// None for a pattern that is null.
    fn pattern(
        &mut self,
        pattern: &Expr,
        escape: Option<&Expr>,
        ignore_case: bool,
    ) -> Result<Option<Pattern>, Refused> {
        let (at, text) = match self.operand(pattern)? {
            Operand::Text { at, text, cast } if cast.as_deref().is_none_or(|cast| cast == "text") => (at, text),
            Operand::Null => return Ok(None),
            _ => return refuse(pattern.at, "the pattern must be a text in quotes"),
        };
        let escape = match escape.map(|escape| (escape.at, self.operand(escape))) {
            None => Some('\\'),
            Some((at, escape)) => match escape? {
                Operand::Text { text, .. } if text.chars().count() <= 1 => text.chars().next(),
                _ => return refuse(at, "the escape must be one character in quotes, or none"),
            },
        };
        if ignore_case && (!text.is_ascii() || escape.is_some_and(char::is_alphabetic)) {
            return refuse(
                at,
                "ilike is there for patterns in ASCII only: beyond it, case depends on the database's locale",
            );
        }
        let text = if ignore_case { text.to_ascii_lowercase() } else { text };
        let pattern = Pattern::new(&text, escape);
        pattern.map(Some).map_err(|_| Refused::at(at, "the pattern ends with its escape character"))
    }

    fn like(&mut self, at: Location, text: &Expr, pattern: Option<Pattern>, ignore_case: bool) -> Bound {
        let column = match self.operand(text)? {
            Operand::Column(column) if column.of == Type::Text => column,
            Operand::Null => return Ok(Node::Constant(None)),
            Operand::Column(column) => {
                let name = self.describe(column);
                return refuse(at, format!("{name} is no text, and like is there for text and varchar"));
            }
            _ => return refuse(at, "like is there for columns of text"),
        };
        let Some(pattern) = pattern else { return Ok(Node::Constant(None)) };
        Ok(if ignore_case {
            Node::LikeIgnoreCase(self.require(column.at, column.place)?, IgnoreCase::new(pattern))
        } else {
            Node::Like(self.require(column.at, column.place)?, pattern)
        })
    }
}

fn check_cast(at: Location, name: &str, of: Type, cast: Option<&str>) -> Result<(), Refused> {
    match cast {
        None => Ok(()),
        Some(cast) if cast == of.name() || cast == "varchar" && of == Type::Text => Ok(()),
        Some(cast) => refuse(
            at,
            format!("{name} is compared with a {cast}: a constant is cast to the column's type, or not at all"),
        ),
    }
}
