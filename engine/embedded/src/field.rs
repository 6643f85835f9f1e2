//! One field: its type, what it takes, and how a value of it becomes a term of the inverted index. Terms of all fields share
//! one dictionary, as `field name, 0, value`, where the bytes of the values sort as the values do: a range of values is a
//! range of terms.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use crate::date::Formats;
use crate::error::Refusal;
use crate::json::Value;

/// Longer keywords are refused, as Lucene does.
pub(crate) const TERM_BYTES_MAX: usize = 32_766;
const DYNAMIC_KEYWORD_CHARACTERS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Keyword,
    Ip,
    Binary,
    Byte,
    Short,
    Integer,
    Long,
    UnsignedLong,
    HalfFloat,
    Float,
    Double,
    ScaledFloat,
    Boolean,
    Date,
    DateNanos,
}

const NAMES: [(&str, Kind); 16] = [
    ("text", Kind::Text),
    ("keyword", Kind::Keyword),
    ("ip", Kind::Ip),
    ("binary", Kind::Binary),
    ("byte", Kind::Byte),
    ("short", Kind::Short),
    ("integer", Kind::Integer),
    ("long", Kind::Long),
    ("unsigned_long", Kind::UnsignedLong),
    ("half_float", Kind::HalfFloat),
    ("float", Kind::Float),
    ("double", Kind::Double),
    ("scaled_float", Kind::ScaledFloat),
    ("boolean", Kind::Boolean),
    ("date", Kind::Date),
    ("date_nanos", Kind::DateNanos),
];

impl Kind {
    pub(crate) fn from_name(name: &str) -> Option<Kind> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) kind: Kind,
    pub(crate) indexed: bool,
    pub(crate) coerce: bool,
    pub(crate) ignore_malformed: bool,
    pub(crate) ignore_above: Option<usize>,
    pub(crate) scaling_factor: Option<f64>,
    pub(crate) formats: Formats,
    /// The mapping's parameters as they were put.
    pub(crate) parameters: Map<String, Json>,
    /// Further forms of the same value (`fields`).
    pub(crate) forms: BTreeMap<String, Leaf>,
}

/// A value as its field understands it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Keyword(Cow<'a, str>),
    Long(i64),
    Unsigned(u64),
    Double(f64),
    Boolean(bool),
    /// There, but nothing to find it by.
    Nothing,
}

/// Why a value does not fit its field: the `caused_by` of the answer.
pub(crate) type Cause = (&'static str, String);

impl Leaf {
    pub(crate) fn new(kind: Kind) -> Self {
        Leaf {
            kind,
            indexed: kind != Kind::Binary,
            coerce: true,
            ignore_malformed: false,
            ignore_above: None,
            scaling_factor: None,
            formats: Formats::default(),
            parameters: Map::new(),
            forms: BTreeMap::new(),
        }
    }

    /// What a string in a document makes of an unknown field.
    pub(crate) fn text_with_keyword() -> Self {
        let mut keyword = Leaf::new(Kind::Keyword);
        keyword.ignore_above = Some(DYNAMIC_KEYWORD_CHARACTERS);
        keyword.parameters.insert("ignore_above".into(), DYNAMIC_KEYWORD_CHARACTERS.into());
        let mut leaf = Leaf::new(Kind::Text);
        leaf.forms.insert("keyword".into(), keyword);
        leaf
    }

    pub(crate) fn to_json(&self) -> Json {
        let mut out = Map::new();
        out.insert("type".into(), self.kind.name().into());
        out.extend(self.parameters.clone());
        if !self.forms.is_empty() {
            let forms = self.forms.iter().map(|(name, form)| (name.clone(), form.to_json())).collect();
            out.insert("fields".into(), Json::Object(forms));
        }
        Json::Object(out)
    }

    pub(crate) fn merge(&mut self, mut other: Leaf, full: &str) -> Result<(), Refusal> {
        if self.kind != other.kind {
            let (from, to) = (self.kind.name(), other.kind.name());
            return Err(Refusal::illegal(format!("mapper [{full}] cannot be changed from type [{from}] to [{to}]")));
        }
        let mut forms = std::mem::take(&mut self.forms);
        for (name, form) in std::mem::take(&mut other.forms) {
            match forms.get_mut(&name) {
                Some(known) => known.merge(form, &format!("{full}.{name}"))?,
                None => {
                    forms.insert(name, form);
                }
            }
        }
        other.forms = forms;
        *self = other;
        Ok(())
    }

    /// What a value of a document, or of a query, is to this field. Null is for the caller.
    pub(crate) fn read<'a>(&self, value: Value<'a>) -> Result<Scalar<'a>, Cause> {
        match self.kind {
            Kind::Text => text_of(value).map(Scalar::Text),
            Kind::Keyword => self.keyword(text_of(value)?),
            Kind::Ip => match text_of(value)? {
                text if text.parse::<IpAddr>().is_ok() => Ok(Scalar::Keyword(text)),
                text => Err(illegal(format!("'{text}' is not an IP string literal."))),
            },
            Kind::Binary => text_of(value).map(|_| Scalar::Nothing),
            Kind::Byte => self.whole(value, i8::MIN.into(), i8::MAX.into()),
            Kind::Short => self.whole(value, i16::MIN.into(), i16::MAX.into()),
            Kind::Integer => self.whole(value, i32::MIN.into(), i32::MAX.into()),
            Kind::Long => self.whole(value, i64::MIN.into(), i64::MAX.into()),
            Kind::UnsignedLong => self.whole(value, 0, u64::MAX.into()),
            Kind::HalfFloat => self.float(value, 65_504.0),
            Kind::Float => self.float(value, f32::MAX.into()).map(single),
            Kind::Double | Kind::ScaledFloat => self.float(value, f64::MAX),
            Kind::Boolean => boolean(value),
            Kind::Date | Kind::DateNanos => self.date(value),
        }
    }

    fn keyword<'a>(&self, text: Cow<'a, str>) -> Result<Scalar<'a>, Cause> {
        let above = |most: usize| text.len() > most && text.chars().count() > most;
        if self.ignore_above.is_some_and(above) {
            return Ok(Scalar::Nothing);
        }
        if self.indexed && text.len() > TERM_BYTES_MAX {
            let length = text.len();
            return Err((
                "max_bytes_length_exceeded_exception",
                format!("bytes can be at most {TERM_BYTES_MAX} in length; got {length}"),
            ));
        }
        Ok(Scalar::Keyword(text))
    }

    fn whole<'a>(&self, value: Value<'a>, least: i128, most: i128) -> Result<Scalar<'a>, Cause> {
        let text = number_text(value, self.coerce)?;
        let parsed = text.parse::<i128>().ok().map(|whole| (whole, false)).or_else(|| truncated(&text));
        let Some((whole, cut)) = parsed else {
            return Err(illegal(format!("For input string: \"{text}\"")));
        };
        if cut && !self.coerce {
            return Err(illegal(format!("{text} cannot be converted to {} without data loss", self.kind.name())));
        }
        if !(least..=most).contains(&whole) {
            return Err(illegal(format!("Value [{text}] is out of range for a {}", self.kind.name())));
        }
        let value = i64::try_from(whole);
        Ok(if self.kind == Kind::UnsignedLong {
            Scalar::Unsigned(whole as u64)
        } else {
            Scalar::Long(value.unwrap_or(0))
        })
    }

    fn float<'a>(&self, value: Value<'a>, most: f64) -> Result<Scalar<'a>, Cause> {
        let text = number_text(value, self.coerce)?;
        let number = text.parse::<f64>().map_err(|_| illegal(format!("For input string: \"{text}\"")))?;
        // The check is for what overflows, not for what rounds down to the largest value.
        if !number.is_finite() || number.abs() > most * (1.0 + f64::EPSILON) {
            let kind = self.kind.name();
            return Err(illegal(format!("[{kind}] supports only finite values, but got [{text}]")));
        }
        Ok(Scalar::Double(number))
    }

    fn date<'a>(&self, value: Value<'a>) -> Result<Scalar<'a>, Cause> {
        let text = match value {
            Value::String(text) => text,
            Value::Number(text) => Cow::Borrowed(text),
            other => return Err(illegal(format!("failed to parse date field [{}]", describe(&other)))),
        };
        let Some(nanos) = self.formats.read(&text) else {
            let format = self.parameters.get("format").and_then(Json::as_str);
            let format = format.unwrap_or("strict_date_optional_time||epoch_millis");
            return Err(illegal(format!("failed to parse date field [{text}] with format [{format}]")));
        };
        let scaled = if self.kind == Kind::Date { nanos.div_euclid(1_000_000) } else { nanos };
        match i64::try_from(scaled) {
            Ok(scaled) if self.kind == Kind::Date || scaled >= 0 => Ok(Scalar::Long(scaled)),
            _ => Err(illegal(format!("date[{text}] is outside of what a date_nanos holds: 1970 to 2262"))),
        }
    }
}

impl Scalar<'_> {
    /// Appends the term that stands for this value in the field of that name.
    pub(crate) fn write_term(&self, path: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        match self {
            Scalar::Text(text) | Scalar::Keyword(text) => out.extend_from_slice(text.as_bytes()),
            Scalar::Long(value) => out.extend_from_slice(&((*value as u64) ^ (1 << 63)).to_be_bytes()),
            Scalar::Unsigned(value) => out.extend_from_slice(&value.to_be_bytes()),
            Scalar::Double(value) => out.extend_from_slice(&sortable(*value).to_be_bytes()),
            Scalar::Boolean(value) => out.push(u8::from(*value)),
            Scalar::Nothing => {}
        }
    }
}

/// Bits that sort as the numbers do; the two zeros are one.
fn sortable(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn single(scalar: Scalar<'_>) -> Scalar<'_> {
    match scalar {
        Scalar::Double(value) => Scalar::Double(f64::from(value as f32)),
        other => other,
    }
}

/// The whole part of a decimal, and whether something was cut off.
fn truncated(text: &str) -> Option<(i128, bool)> {
    if !text.contains(['e', 'E']) {
        let (whole, fraction) = text.split_once('.')?;
        let digits = fraction.bytes().all(|b| b.is_ascii_digit());
        return Some((whole.parse().ok().filter(|_| digits)?, fraction.bytes().any(|b| b != b'0')));
    }
    let number = text.parse::<f64>().ok().filter(|n| n.abs() < 1e30)?;
    Some((number as i128, number.fract() != 0.0))
}

fn text_of(value: Value<'_>) -> Result<Cow<'_, str>, Cause> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(text) => Ok(Cow::Borrowed(text)),
        Value::Bool(flag) => Ok(Cow::Borrowed(if flag { "true" } else { "false" })),
        other => Err(("illegal_state_exception", format!("Can't get text on a {}", describe(&other)))),
    }
}

fn number_text(value: Value<'_>, coerce: bool) -> Result<Cow<'_, str>, Cause> {
    match value {
        Value::Number(text) => Ok(Cow::Borrowed(text)),
        Value::String(text) if coerce => match text.trim() {
            trimmed if trimmed.len() == text.len() => Ok(text),
            trimmed => Ok(Cow::Owned(trimmed.to_owned())),
        },
        Value::String(_) => Err(illegal("Number value passed as String")),
        other => Err(illegal(format!("Cannot parse {} as number", describe(&other)))),
    }
}

fn boolean(value: Value<'_>) -> Result<Scalar<'_>, Cause> {
    match value {
        Value::Bool(flag) => Ok(Scalar::Boolean(flag)),
        Value::String(text) if text == "true" => Ok(Scalar::Boolean(true)),
        Value::String(text) if text == "false" || text.is_empty() => Ok(Scalar::Boolean(false)),
        other => {
            let shown = text_of(other)?;
            Err(illegal(format!("Failed to parse value [{shown}] as only [true] or [false] are allowed.")))
        }
    }
}

fn describe(value: &Value<'_>) -> &'static str {
    match value {
        Value::Object => "START_OBJECT",
        Value::Array => "START_ARRAY",
        Value::String(_) => "VALUE_STRING",
        Value::Number(_) => "VALUE_NUMBER",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Null => "VALUE_NULL",
    }
}

fn illegal(reason: impl Into<String>) -> Cause {
    ("illegal_argument_exception", reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Scanner;

    fn read(kind: Kind, json: &str) -> Option<Scalar<'_>> {
        Leaf::new(kind).read(Scanner::new(json).value().expect("valid")).ok()
    }

    #[test]
    fn takes_what_fits() {
        let check = |kind: Kind, json: &'static str, expected: Option<Scalar<'static>>| {
            assert_eq!(read(kind, json), expected, "{json} as {}", kind.name());
        };
        check(Kind::Long, "9223372036854775807", Some(Scalar::Long(i64::MAX)));
        check(Kind::Long, "9223372036854775808", None);
        check(Kind::Long, "\"12\"", Some(Scalar::Long(12)));
        check(Kind::Long, "1.9", Some(Scalar::Long(1)));
        check(Kind::Long, "1e3", Some(Scalar::Long(1000)));
        check(Kind::Long, "\"abc\"", None);
        check(Kind::Long, "true", None);
        check(Kind::Short, "40000", None);
        check(Kind::UnsignedLong, "18446744073709551615", Some(Scalar::Unsigned(u64::MAX)));
        check(Kind::Double, "1e400", None);
        check(Kind::Float, "1e39", None);
        check(Kind::Double, "\"NaN\"", None);
        check(Kind::Boolean, "\"false\"", Some(Scalar::Boolean(false)));
        check(Kind::Boolean, "1", None);
        check(Kind::Text, "{}", None);
        check(Kind::Keyword, "12.50", Some(Scalar::Keyword("12.50".into())));
        check(Kind::Date, "\"1970-01-01T00:00:01Z\"", Some(Scalar::Long(1000)));
        check(Kind::Date, "\"soon\"", None);
        check(Kind::DateNanos, "\"1960-01-01\"", None);
        check(Kind::Ip, "\"::1\"", Some(Scalar::Keyword("::1".into())));
        check(Kind::Ip, "\"localhost\"", None);
    }

    #[test]
    fn terms_sort_as_values_do() {
        let term = |scalar: Scalar<'static>| {
            let mut term = Vec::new();
            scalar.write_term("f", &mut term);
            term
        };
        let doubles = [f64::MIN, -1.5, -0.1, 0.0, 1e-9, 2.0, f64::MAX];
        assert!(doubles.windows(2).all(|w| term(Scalar::Double(w[0])) < term(Scalar::Double(w[1]))));
        assert_eq!(term(Scalar::Double(-0.0)), term(Scalar::Double(0.0)));
        let longs = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(longs.windows(2).all(|w| term(Scalar::Long(w[0])) < term(Scalar::Long(w[1]))));
    }
}
