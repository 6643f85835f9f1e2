//! A JSON scanner that keeps every value as it was sent. Documents go through it once on their way in (are they valid, do
//! they fit the mapping), once into the inverted index, and once more when a part of them is asked for; none of these may
//! round a number, so numbers stay text here. It refuses what the real servers refuse: a key twice in one object,
//! number tokens over 1,000 characters, raw control characters, anything after the value.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

/// As Jackson's default, which the real servers keep.
const NUMBER_CHARACTERS_MAX: usize = 1000;
/// Deeper JSON is refused: every level is a stack frame here.
const NESTING_MAX: usize = 200;

/// What stands next. Objects and arrays are entered: go on with [`Scanner::next_key`] or [`Scanner::next_element`].
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Object,
    Array,
    String(Cow<'a, str>),
    Number(&'a str),
    Bool(bool),
    Null,
}

#[derive(Debug, Clone)]
pub(crate) struct JsonError {
    pub(crate) at: usize,
    pub(crate) what: String,
}

pub(crate) type Result<T> = std::result::Result<T, JsonError>;

#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, depth: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The text from `from` to here.
    pub(crate) fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    pub(crate) fn value(&mut self) -> Result<Value<'a>> {
        match self.peek() {
            Some(b'{') => self.enter(Value::Object),
            Some(b'[') => self.enter(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error("expected a JSON value")),
            None => Err(self.error("unexpected end-of-input: expected a JSON value")),
        }
    }

    /// The next key of the object that was entered, or None at its end.
    pub(crate) fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        if self.leave(b'}') {
            return Ok(None);
        }
        if !first {
            self.expect(b',', "expected a comma or the end of the object")?;
        }
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key = self.string()?;
        self.expect(b':', "expected a colon after the key")?;
        Ok(Some(key))
    }

    /// True when the array that was entered has another element.
    pub(crate) fn next_element(&mut self, first: bool) -> Result<bool> {
        if self.leave(b']') {
            return Ok(false);
        }
        if !first {
            self.expect(b',', "expected a comma or the end of the array")?;
        }
        Ok(true)
    }

    /// Steps over one value and gives its text.
    pub(crate) fn skip(&mut self) -> Result<&'a str> {
        self.peek();
        let from = self.at;
        let value = self.value()?;
        self.skip_entered(&value)?;
        Ok(self.since(from))
    }

    /// Steps over the rest of a value whose beginning was read.
    pub(crate) fn skip_entered(&mut self, value: &Value<'a>) -> Result<()> {
        let mut first = true;
        match value {
            Value::Object => {
                let mut keys = Keys::default();
                while let Some(key) = self.next_key(first)? {
                    keys.add(key).map_err(|what| JsonError { at: self.at, what })?;
                    self.skip()?;
                    first = false;
                }
            }
            Value::Array => {
                while self.next_element(first)? {
                    self.skip()?;
                    first = false;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("found extra data after the value")),
        }
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> JsonError {
        JsonError { at: self.at, what: what.into() }
    }

    /// The next byte that is no white space, left in place.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn enter(&mut self, value: Value<'a>) -> Result<Value<'a>> {
        if self.depth == NESTING_MAX {
            return Err(self.error(format!("nested deeper than {NESTING_MAX} levels")));
        }
        self.depth += 1;
        self.at += 1;
        Ok(value)
    }

    fn leave(&mut self, close: u8) -> bool {
        let left = self.peek() == Some(close);
        if left {
            self.at += 1;
            self.depth -= 1;
        }
        left
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<()> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(what)),
            None => Err(self.error(format!("unexpected end-of-input: {what}"))),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("unrecognized token: expected true, false or null"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<&'a str> {
        let from = self.at;
        let bytes = self.text.as_bytes();
        if bytes[self.at] == b'-' {
            self.at += 1;
        }
        if bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        if bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'.') {
            return Err(self.error("a number ends in an unexpected character"));
        }
        let length = self.at - from;
        if length > NUMBER_CHARACTERS_MAX {
            return Err(self.error(format!(
                "Number value length ({length}) exceeds the maximum allowed ({NUMBER_CHARACTERS_MAX})"
            )));
        }
        Ok(self.since(from))
    }

    fn digits(&mut self) -> Result<()> {
        let from = self.at;
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == from { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let from = self.at;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    let text = self.since(from);
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.string_with_escapes(from).map(Cow::Owned),
                Some(0..=0x1f) => return Err(self.control()),
                Some(_) => self.at += 1,
                None => return Err(self.error("unexpected end-of-input in a string")),
            }
        }
    }

    fn string_with_escapes(&mut self, from: usize) -> Result<String> {
        let bytes = self.text.as_bytes();
        let mut text = String::new();
        let mut plain = from;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    text.push_str(self.since(plain));
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text.push_str(self.since(plain));
                    self.at += 1;
                    text.push(self.escape()?);
                    plain = self.at;
                }
                Some(0..=0x1f) => return Err(self.control()),
                Some(_) => self.at += 1,
                None => return Err(self.error("unexpected end-of-input in a string")),
            }
        }
    }

    fn control(&self) -> JsonError {
        self.error("Illegal unquoted character: control characters in strings have to be escaped")
    }

    fn escape(&mut self) -> Result<char> {
        let byte = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.unit()?;
                self.scalar(unit)?
            }
            _ => {
                self.at -= 1;
                return Err(self.error("unrecognized character escape"));
            }
        })
    }

    /// A lone surrogate becomes U+FFFD for the index's purposes; what is stored stays as it was sent.
    fn scalar(&mut self, unit: u32) -> Result<char> {
        if (0xd800..0xdc00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.unit()?;
            if (0xdc00..0xe000).contains(&low) {
                let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn unit(&mut self) -> Result<u32> {
        let hex = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits.and_then(|hex| std::str::from_utf8(hex).ok()) else {
            return Err(self.error("expected four hex digits"));
        };
        let unit = u32::from_str_radix(digits, 16).map_err(|_| self.error("expected four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

/// The keys of one object, to notice one that comes twice. Few keys are compared, many are hashed.
#[derive(Debug, Default)]
pub(crate) struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    const FEW: usize = 32;

    pub(crate) fn add(&mut self, key: Cow<'a, str>) -> std::result::Result<(), String> {
        let twice = self.few.contains(&key) || self.many.contains(&key);
        if twice {
            return Err(format!("Duplicate field '{key}'"));
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
        } else {
            self.many.insert(key);
        }
        Ok(())
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// The same JSON, indented: for people who read replies in a terminal.
pub(crate) fn pretty(json: &str) -> Result<String> {
    let mut out = String::with_capacity(json.len() * 2);
    pretty_value(&mut Scanner::new(json), 0, &mut out)?;
    out.push('\n');
    Ok(out)
}

fn pretty_value(scanner: &mut Scanner<'_>, level: usize, out: &mut String) -> Result<()> {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        (0..level).for_each(|_| out.push_str("  "));
    };
    scanner.peek();
    let from = scanner.at();
    let mut first = true;
    match scanner.value()? {
        Value::Object => {
            out.push('{');
            while let Some(key) = scanner.next_key(first)? {
                out.push_str(if first { "" } else { "," });
                line(level + 1, out);
                write_string(&key, out);
                out.push_str(" : ");
                pretty_value(scanner, level + 1, out)?;
                first = false;
            }
            if !first {
                line(level, out);
            }
            out.push('}');
        }
        Value::Array => {
            out.push('[');
            while scanner.next_element(first)? {
                out.push_str(if first { "" } else { "," });
                line(level + 1, out);
                pretty_value(scanner, level + 1, out)?;
                first = false;
            }
            if !first {
                line(level, out);
            }
            out.push(']');
        }
        _ => out.push_str(scanner.since(from)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_json_is_and_nothing_else() {
        let check = |text: &str, valid: bool| {
            let mut scanner = Scanner::new(text);
            let result = scanner.skip().and_then(|_| scanner.end());
            assert_eq!(result.is_ok(), valid, "{text}: {result:?}");
        };
        for text in ["{}", " [1, -0.5e+3, \"a\\u00e9\\ud83d\\ude00\", true, null] ", "{\"a\":{\"a\":1}}", "\"\\ud800\""]
        {
            check(text, true);
        }
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "+1",
            "nul",
            "\"\n\"",
            "{\"a\":1,\"a\":2}",
            "1 2",
            "\"\\u12\"",
            "1e",
        ] {
            check(text, false);
        }
        check(&"[".repeat(300), false);
        check(&"1".repeat(1000), true);
        check(&"1".repeat(1001), false);
    }

    #[test]
    fn unescapes_strings() {
        let mut scanner = Scanner::new(r#""a\n\u00e9\ud83d\ude00\ud800x""#);
        let Value::String(text) = scanner.value().expect("valid") else { panic!("no string") };
        assert_eq!(text, "a\né😀\u{fffd}x");
    }

    #[test]
    fn keeps_values_when_it_indents() {
        let json = r#"{"a":[1.000000000000000000000000001,{}],"b":"x\u0001"}"#;
        let indented = pretty(json).expect("valid");
        let squeezed: String = indented.chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(squeezed, json);
    }
}
