//! The file's own kinds of value: sizes, times, secrets, and what may be one thing or several. Each reads itself and says in
//! the JSON Schema what it takes.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A number of bytes: `8MiB`, `500KB`, `1048576`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A duration: `250ms`, `5s`, `10m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

/// Splits `10MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor_ms).map(Duration::from_millis)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 8MiB, 500KB or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).ok_or_else(|| {
                    E::custom(format_args!("`{text}` is no size: write one as 8MiB, 500KB or a number of bytes"))
                })
            }
        }
        deserializer.deserialize_u64(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as 250ms, 5s, 10m or 1h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                parse_time(text)
                    .map(Time)
                    .ok_or_else(|| E::custom(format_args!("`{text}` is no time: write one as 250ms, 5s, 10m or 1h")))
            }
        }
        deserializer.deserialize_u64(TimeVisitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: 8MiB, 500KB, 1048576.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^([0-9]+ *([kKMGT]?B|[KMGT]iB)?|.*\$\{.*)$" },
            ],
        })
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time: 250ms, 5s, 10m, 1h, 1d.",
            "type": "string",
            "pattern": r"^([0-9]+ *(ms|s|m|h|d)|.*\$\{.*)$",
        })
    }
}

/// A secret as it was typed: the text itself, or the file that holds it.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(rename = "Secret", untagged)]
pub(super) enum SecretText {
    Text(String),
    File(SecretFile),
}

/// The file that holds the secret, relative to the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with the key `file`")]
pub(super) struct SecretFile {
    pub(super) file: PathBuf,
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretText::Text(_) => f.write_str("***"),
            SecretText::File(file) => file.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
        struct SecretVisitor;
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or { file: path }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                match text {
                    "" => Err(E::custom("the secret is empty")),
                    text => Ok(SecretText::Text(text.to_owned())),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretText, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(SecretText::File)
            }
        }
        deserializer.deserialize_string(SecretVisitor)
    }
}

/// Table names and patterns: one, several, or some without others.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum From {
    /// A table or a pattern: `public.products`, `sales.*`.
    One(String),
    Many(Vec<String>),
    Chosen(Chosen),
}

/// The tables that match `include` and not `exclude`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `include` and `exclude`")]
pub(super) struct Chosen {
    pub(super) include: Vec<String>,
    #[serde(default)]
    pub(super) exclude: Vec<String>,
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<From, D::Error> {
        struct FromVisitor;
        impl<'de> Visitor<'de> for FromVisitor {
            type Value = From;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table such as public.products, a list of them, or { include: […], exclude: […] }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<From, E> {
                Ok(From::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<From, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(From::Many)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<From, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(From::Chosen)
            }
        }
        deserializer.deserialize_string(FromVisitor)
    }
}

/// Whether rows that are already there are read, and how.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Backfill {
    Switch(bool),
    Options(BackfillOptions),
}

/// How rows that are already there are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `where`, `parallel` and `rate`")]
pub(super) struct BackfillOptions {
    /// Reads only the rows for which this SQL condition holds.
    pub(super) r#where: Option<String>,
    /// Connections that read one table at a time.
    #[schemars(range(min = 1))]
    pub(super) parallel: Option<u32>,
    /// Rows a second at most.
    #[schemars(range(min = 1))]
    pub(super) rate: Option<u64>,
}

impl<'de> Deserialize<'de> for Backfill {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Backfill, D::Error> {
        struct BackfillVisitor;
        impl<'de> Visitor<'de> for BackfillVisitor {
            type Value = Backfill;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a map with `where`, `parallel` and `rate`")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Backfill, E> {
                Ok(Backfill::Switch(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Backfill, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Backfill::Options)
            }
        }
        deserializer.deserialize_bool(BackfillVisitor)
    }
}

/// What a document consists of: names of columns, or fields with the expression that gives each, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    Names(Vec<String>),
    Fields(Vec<(String, String)>),
}

impl JsonSchema for Columns {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Columns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What a document consists of: names of columns, or a map from field to expression or constant.",
            "anyOf": [
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                {
                    "type": "object",
                    "additionalProperties": { "type": ["string", "number", "boolean"] },
                    "minProperties": 1,
                },
            ],
        })
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Columns, D::Error> {
        struct ColumnsVisitor;
        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of columns, or a map from field to expression")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Columns, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Columns::Names)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut fields = Vec::new();
                while let Some((field, Expression(expression))) = map.next_entry()? {
                    fields.push((field, expression));
                }
                Ok(Columns::Fields(fields))
            }
        }
        deserializer.deserialize_seq(ColumnsVisitor)
    }
}

/// An expression; numbers and booleans are constants, which SQL writes as YAML does.
struct Expression(String);

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expression, D::Error> {
        struct ExpressionVisitor;
        impl Visitor<'_> for ExpressionVisitor {
            type Value = Expression;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column, an expression, a number or a boolean")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expression, E> {
                Ok(Expression(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, is: bool) -> Result<Expression, E> {
                Ok(Expression(is.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Expression, E> {
                Ok(Expression(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Expression, E> {
                Ok(Expression(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Expression, E> {
                match number.is_finite() {
                    true => Ok(Expression(number.to_string())),
                    false => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(ExpressionVisitor)
    }
}

/// How the sink knows us: one of `api_key`, `basic`, `bearer`, or the word `none`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub(super) enum Auth {
    None(NoAuth),
    Some(Box<AuthOptions>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum NoAuth {
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with one of `api_key`, `basic`, `bearer`")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct AuthOptions {
    /// An Elasticsearch API key, encoded as the server gave it, or as `id:key`.
    pub(super) api_key: Option<SecretText>,
    /// A user and a password.
    pub(super) basic: Option<Basic>,
    /// A bearer token.
    pub(super) bearer: Option<SecretText>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with `user` and `password`")]
pub(super) struct Basic {
    pub(super) user: String,
    pub(super) password: SecretText,
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Auth, D::Error> {
        struct AuthVisitor;
        impl<'de> Visitor<'de> for AuthVisitor {
            type Value = Auth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ api_key: … }, { basic: { user: …, password: … } }, { bearer: … } or none")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Auth, E> {
                match text {
                    "none" => Ok(Auth::None(NoAuth::None)),
                    // The text itself may be a key in the wrong place.
                    _ => Err(E::custom(
                        "expected { api_key: … }, { basic: { user: …, password: … } }, { bearer: … } or none, found a text",
                    )),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Auth, A::Error> {
                let options = AuthOptions::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Auth::Some(Box::new(options)))
            }
        }
        deserializer.deserialize_string(AuthVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        let sizes = [
            ("8MiB", Some(8 << 20)),
            ("500KB", Some(500_000)),
            ("10 GiB", Some(10 << 30)),
            ("12", Some(12)),
            ("0B", Some(0)),
            ("", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("8M", None),
            ("-1", None),
            ("99999999999TiB", None),
        ];
        for (text, expected) in sizes {
            assert_eq!(parse_size(text), expected, "{text}");
        }
        let times = [("250ms", Some(250)), ("5s", Some(5_000)), ("10m", Some(600_000)), ("1h", Some(3_600_000))];
        for (text, ms) in times.into_iter().chain([("5", None), ("s", None), ("5 min", None), ("-5s", None)]) {
            assert_eq!(parse_time(text), ms.map(Duration::from_millis), "{text}");
        }
    }
}
