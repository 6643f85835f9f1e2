//! Casts, said and unsaid: a constant in quotes is read as the type that it meets, values go from type to type.

use sqlparser::ast::{DataType, ExactNumberInfo, Expr, ObjectName, TimezoneInfo, Value};
use sqlparser::tokenizer::Location;

use super::operator::start;
use super::{Arg, Binder, Bound, What, folded, typed};
use crate::literal;
use crate::node::{Const, Node};
use crate::refused::{Refused, refuse};
use crate::table::{self, Cell, Operator};
use crate::types::Type;

impl Binder<'_> {
    /// The value as this type. Asked only where Postgres casts without being told to.
    pub(super) fn coerced(&mut self, arg: Arg, to: Type) -> Result<Node, Refused> {
        let at = arg.at;
        match arg.what {
            What::Unknown(text) => self.literal(at, text.as_deref(), to),
            What::Typed { node, of, .. } => Ok(cast_node(at, node, of, to)),
        }
    }

    /// A constant in quotes as a value of a type.
    pub(super) fn literal(&self, at: Location, text: Option<&str>, of: Type) -> Result<Node, Refused> {
        let Some(text) = text else { return Ok(Node::Const(Const::Null)) };
        let wrong = |wanted: &str| {
            Refused::at(at, format!("'{text}' is not {wanted}, which is wanted here")).with_code("22P02")
        };
        let bytes = |text: String| Const::Bytes(text.into_bytes());
        let constant = match of {
            Type::Bool => Const::Bool(literal::boolean(text).map_err(wrong)?),
            Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid => {
                let (value, (min, max)) = (literal::integer(text).map_err(wrong)?, of.bounds());
                match i64::try_from(value).ok().filter(|value| (min..=max).contains(value)) {
                    Some(value) => Const::Int(value),
                    None => {
                        let message = format!("'{text}' is not within the range of {}", of.name());
                        return Err(Refused::at(at, message).with_code("22003"));
                    }
                }
            }
            Type::Float4 | Type::Float8 => match literal::to_float(text, of == Type::Float4) {
                Ok(value) => Const::Float(value),
                Err(fault) => {
                    let wanted = format!("'{text}' is no number within the range of {}", of.name());
                    return Err(Refused::at(at, wanted).with_code(fault.code));
                }
            },
            Type::Numeric => bytes(literal::numeric(text).map_err(wrong)?),
            Type::Text | Type::Bpchar => bytes(text.to_owned()),
            Type::Name if text.len() < 64 => bytes(text.to_owned()),
            Type::Name => return Err(wrong("a name of at most 63 bytes")),
            Type::Uuid => match literal::to_uuid(text) {
                Ok(uuid) => bytes(uuid),
                Err(_) => return Err(wrong("a uuid: 8-4-4-4-12 hexadecimal digits")),
            },
            Type::Bytea => Const::Bytes(literal::bytea(text).map_err(wrong)?),
            Type::Date => Const::Int(literal::date(text).map_err(wrong)?.into()),
            Type::Timestamp => Const::Int(literal::timestamp(text, false).map_err(wrong)?),
            Type::TimestampTz => Const::Int(literal::timestamp(text, true).map_err(wrong)?),
            Type::Time => Const::Int(literal::time(text).map_err(wrong)?),
            Type::Json | Type::Jsonb | Type::Array | Type::Other => {
                return Err(wrong(&format!("read as {}: such a value can be tested by `is null`", of.name())));
            }
        };
        Ok(Node::Const(constant))
    }

    pub(super) fn cast(&mut self, expr: &Expr) -> Bound {
        let at = start(expr);
        match expr {
            Expr::Cast { expr, data_type, format: None, .. } => {
                let to = self.type_of(at, data_type)?;
                let arg = self.arg(expr)?;
                self.cast_to(at, arg, to)
            }
            Expr::TypedString(typed_string) => {
                let to = self.type_of(at, &typed_string.data_type)?;
                let text = match &typed_string.value.value {
                    Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => text.clone(),
                    other => return refuse(at, format!("`{other}` is no text in single quotes")),
                };
                Ok(typed(at, self.literal(at, Some(&text), to)?, to))
            }
            _ => refuse(at, "this cast is not there"),
        }
    }

    fn cast_to(&mut self, at: Location, arg: Arg, to: Type) -> Bound {
        let c = arg.is_c();
        let what = arg.described();
        let (node, from) = match arg.what {
            What::Unknown(text) => return Ok(typed(at, self.literal(at, text.as_deref(), to)?, to)),
            What::Typed { node, of, .. } => (node, of),
        };
        if from == to {
            return Ok(typed(at, node, to).with_c(c));
        }
        let operator = match to {
            Type::Text => Operator::ToText,
            Type::Int2 | Type::Int4 | Type::Int8 => Operator::ToInt,
            Type::Numeric => Operator::ToNumeric,
            Type::Float4 | Type::Float8 => Operator::ToFloat,
            Type::Bool => Operator::ToBool,
            Type::Uuid => Operator::ToUuid,
            _ => return refuse(at, format!("a cast of {what} to {} is not there", to.name())),
        };
        let is_bool_to_other = from == Type::Bool && matches!(to, Type::Int2 | Type::Int8);
        if table::cell(operator, from) == Cell::No || is_bool_to_other {
            self.allow(at, operator, from, true, &what)?;
            return refuse(at, format!("Postgres casts {what} to int4 only"));
        }
        Ok(typed(at, cast_node(at, node, from, to), to).with_c(c && from == Type::Text))
    }

    pub(super) fn collate(&mut self, inner: &Expr, collation: &ObjectName) -> Bound {
        let at = start(inner);
        let said = collation.to_string();
        if said != "\"C\"" && said != "pg_catalog.\"C\"" {
            return refuse(at, format!("the collation {said} is not there: a plugin knows `collate \"C\"` only"));
        }
        let arg = self.arg(inner)?;
        let name = arg.described();
        let (node, of) = self.resolve(arg, Type::Text)?;
        if !of.is_text() {
            return refuse(at, format!("{name} is no text and has no collation"));
        }
        Ok(Arg { at, what: What::Typed { node, of, c: true, name: Some(name) } })
    }

    fn type_of(&self, at: Location, said: &DataType) -> Result<Type, Refused> {
        Ok(match said {
            DataType::Bool | DataType::Boolean => Type::Bool,
            DataType::Int2(None) | DataType::SmallInt(None) => Type::Int2,
            DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => Type::Int4,
            DataType::Int8(None) | DataType::BigInt(None) => Type::Int8,
            DataType::Float4 | DataType::Real => Type::Float4,
            DataType::Float8 | DataType::DoublePrecision | DataType::Float(ExactNumberInfo::None) => Type::Float8,
            DataType::Numeric(ExactNumberInfo::None)
            | DataType::Decimal(ExactNumberInfo::None)
            | DataType::Dec(ExactNumberInfo::None) => Type::Numeric,
            DataType::Text
            | DataType::Varchar(None)
            | DataType::CharacterVarying(None)
            | DataType::CharVarying(None) => Type::Text,
            DataType::Uuid => Type::Uuid,
            DataType::Bytea => Type::Bytea,
            DataType::Date => Type::Date,
            DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => Type::Timestamp,
            DataType::Timestamp(None, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => Type::TimestampTz,
            DataType::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => Type::Time,
            DataType::JSONB => Type::Jsonb,
            DataType::JSON => Type::Json,
            DataType::Custom(name, modifiers) if modifiers.is_empty() => {
                match name.to_string().to_ascii_lowercase().as_str() {
                    "timestamptz" => Type::TimestampTz,
                    "oid" => Type::Oid,
                    "name" => Type::Name,
                    other => return refuse(at, format!("the type {other} is not there")),
                }
            }
            other => {
                return refuse(
                    at,
                    format!(
                        "the type {other} is not there; types are written without a length: numeric, text, int4, …"
                    ),
                );
            }
        })
    }
}

pub(super) fn cast_node(at: Location, node: Node, from: Type, to: Type) -> Node {
    // Names and texts are the same bytes.
    if from == to || (from.is_text() && to.is_text() && from != Type::Bpchar) {
        return node;
    }
    folded(Node::Cast { from, to, inner: Box::new(node) }, at)
}
