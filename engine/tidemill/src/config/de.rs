//! Types out of the tree, by serde: each error gets the position and the path of the node in which it arose, and says what
//! was expected in the words of the file. No error shows the value itself, which may be a secret.

use std::fmt;

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Fault, Key, Node, Plain, Scalar, Value, resolve_plain};

pub(super) fn from_node<'de, T: de::Deserialize<'de>>(node: &'de Node) -> Result<T, Fault> {
    T::deserialize(NodeDeserializer(node))
}

/// The name in `known` that somebody who wrote `name` is most likely to have meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (name, limit) = (name.to_lowercase(), (name.chars().count() / 3).clamp(1, 3));
    let distance = |known: &str| strsim::damerau_levenshtein(&name, &known.to_lowercase());
    let close = |known: &&str| distance(known) <= limit || (name.len() >= 3 && known.starts_with(&name));
    known.into_iter().filter(close).min_by_key(|known| distance(known))
}

/// `: did you mean X?`, or all that is known where nothing is near.
pub(crate) fn suggest(name: &str, known: &[&str]) -> String {
    let list = || known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "nothing goes here".to_owned(),
        None => format!("known here: {}", list()),
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault { at: None, path: String::new(), message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number",
            Unexpected::Str(_) => "a text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "something else",
        };
        de::Error::custom(format_args!("expected {}, found {found}", in_words(expected)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        de::Error::custom(format_args!("this value does not fit: expected {}", in_words(expected)))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Fault {
        de::Error::custom(format_args!("unknown key `{field}`: {}", suggest(field, known)))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Fault {
        let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let near = nearest(variant, known.iter().copied()).map_or(String::new(), |n| format!(": did you mean `{n}`?"));
        de::Error::custom(format_args!("expected one of {list}{near}"))
    }

    fn missing_field(field: &'static str) -> Fault {
        de::Error::custom(format_args!("the key `{field}` is missing"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// What serde expects, in the words of somebody who writes YAML.
fn in_words(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    match words.as_str() {
        "a string" => "a text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ => words,
    }
}

fn at<T>(node: &Node, result: Result<T, Fault>) -> Result<T, Fault> {
    result.map_err(|fault| Fault { at: fault.at.or(Some(node.at)), ..fault })
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'de>(&'de Node);

impl<'de> NodeDeserializer<'de> {
    /// Lists and maps, whatever was hoped for: the visitor takes them or says what it wants instead.
    fn collection<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::List(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), value: None }),
            Value::Scalar(_) => unreachable!("scalars are told apart before"),
        }
    }

    fn typed<V: Visitor<'de>>(self, scalar: &'de Scalar, plain: Plain, visitor: V) -> Result<V::Value, Fault> {
        match plain {
            Plain::Null => visitor.visit_unit(),
            Plain::Bool(value) => visitor.visit_bool(value),
            Plain::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(value as f64),
            },
            Plain::Float(value) if value.is_finite() => visitor.visit_f64(value),
            Plain::Float(_) => Err(de::Error::custom("only a finite number can stand here")),
            Plain::Text => visitor.visit_borrowed_str(&scalar.text),
        }
    }

    /// A value that is not text: what a variable filled has the type of its text, quoted or not.
    fn value<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        at(
            self.0,
            match &self.0.value {
                Value::Scalar(scalar) if scalar.filled => self.typed(scalar, resolve_plain(&scalar.text), visitor),
                Value::Scalar(scalar) => self.typed(scalar, scalar.plain(), visitor),
                _ => self.collection(visitor),
            },
        )
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.0.value {
            Value::Scalar(scalar) if scalar.filled => visitor.visit_borrowed_str(&scalar.text),
            Value::Scalar(scalar) => match scalar.plain() {
                Plain::Text => visitor.visit_borrowed_str(&scalar.text),
                Plain::Null => visitor.visit_unit(),
                plain => self.typed(scalar, plain, visitor).map_err(|fault| Fault {
                    message: format!("{}: put it in quotes if it is meant as text", fault.message),
                    ..fault
                }),
            },
            _ => self.collection(visitor),
        };
        at(self.0, result)
    }
}

macro_rules! values {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.value(visitor)
        })*
    };
}

macro_rules! texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.text(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.0.value {
            Value::Scalar(scalar) => self.typed(scalar, scalar.plain(), visitor),
            _ => self.collection(visitor),
        };
        at(self.0, result)
    }

    values! { deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
    deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_seq deserialize_map
    deserialize_unit }

    texts! { deserialize_str deserialize_string deserialize_char deserialize_identifier deserialize_bytes
    deserialize_byte_buf }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Scalar(scalar) if scalar.plain() == Plain::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match &self.0.value {
            Value::Scalar(scalar) => {
                let text: StrDeserializer<'_, Fault> = scalar.text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(de::Error::unknown_variant("", variants)),
        };
        at(self.0, result)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::List(_) => at(self.0, Err(de::Error::invalid_type(Unexpected::Seq, &visitor))),
            _ => self.value(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.value(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.value(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.value(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.0.next() else { return Ok(None) };
        seed.deserialize(NodeDeserializer(node)).map(Some).map_err(|fault| fault.under_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de (Key, Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.value = Some(entry);
        let key = seed.deserialize(KeyDeserializer(&entry.0));
        key.map(Some).map_err(|fault| Fault { at: fault.at.or(Some(entry.0.at)), ..fault })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self.value.take().expect("serde asks for the value after its key");
        seed.deserialize(NodeDeserializer(node)).map_err(|fault| fault.under(&key.name))
    }
}

struct KeyDeserializer<'de>(&'de Key);

impl<'de> Deserializer<'de> for KeyDeserializer<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(&self.0.name)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        StringDeserializer::<Fault>::new(self.0.name.clone()).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
