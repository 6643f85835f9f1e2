//! A reader of JSON for configurations, small since it is in every plugin: a component of which it is all that is read
//! needs no larger one.

use crate::Error;

/// A JSON value. Numbers stay as they were written, objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Deeper than any configuration; a guest's stack is small.
const DEPTH_MAX: usize = 64;

impl Json {
    pub fn parse(text: &str) -> Result<Json, Error> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(0);
        match value {
            Some(value) if parser.peek().is_none() => Ok(value),
            _ => Err("the configuration is no JSON".into()),
        }
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "a map",
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blank;
        rest.get(blank).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())?;
        Some(value)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => {
                let mut list = Vec::new();
                self.items(b']', |parser| {
                    list.push(parser.value(depth + 1)?);
                    Some(())
                })?;
                Some(Json::List(list))
            }
            b'{' => {
                let mut entries = Vec::new();
                self.items(b'}', |parser| {
                    let name = parser.string()?;
                    parser.eat(b':')?;
                    entries.push((name, parser.value(depth + 1)?));
                    Some(())
                })?;
                Some(Json::Object(entries))
            }
            _ => self.number(),
        }
    }

    /// What stands between brackets, with commas.
    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        if self.eat(end).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.eat(end).is_some() {
                return Some(());
            }
            self.eat(b',')?;
        }
    }

    fn number(&mut self) -> Option<Json> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let number = self.text.get(self.at..self.at + len)?;
        number.bytes().any(|byte| byte.is_ascii_digit()).then(|| self.at += len)?;
        Some(Json::Number(number.to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        self.eat(b'"')?;
        let mut bytes = Vec::new();
        loop {
            let byte = self.byte()?;
            match byte {
                b'"' => return String::from_utf8(bytes).ok(),
                b'\\' => {
                    let mut utf8 = [0; 4];
                    bytes.extend_from_slice(self.escaped()?.encode_utf8(&mut utf8).as_bytes());
                }
                0..0x20 => return None,
                byte => bytes.push(byte),
            }
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.byte()? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'u' => {
                let first = self.hex()?;
                match first {
                    0xD800..0xDC00 => {
                        (self.byte()? == b'\\' && self.byte()? == b'u').then_some(())?;
                        let second = self.hex().filter(|second| (0xDC00..0xE000).contains(second))?;
                        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?
                    }
                    one => char::from_u32(one)?,
                }
            }
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let mut code = 0;
        for _ in 0..4 {
            code = code << 4 | char::from(self.byte()?).to_digit(16)?;
        }
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Json {
        Json::parse(json).unwrap()
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        assert_eq!(text(r#" "a\n\u00e9\ud83d\ude00\"\/é" "#), Json::Text("a\né😀\"/é".into()));
        assert_eq!(text("-12.50e3"), Json::Number("-12.50e3".into()));
        assert_eq!(text("[ ]"), Json::List(vec![]));
        let inner = Json::List(vec![Json::Null, Json::Bool(true), Json::Object(vec![])]);
        assert_eq!(text(r#"{"b": [null, true, {}], "a": false}"#), {
            Json::Object(vec![("b".into(), inner), ("a".into(), Json::Bool(false))])
        });
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(10_000);
        for json in ["", "{", "[1,]", "{\"a\"}", "nul", "1 2", "\"\n\"", "\"\\ud800\"", "\"\\x\"", "é", "-", &deep] {
            assert!(Json::parse(json).is_err(), "{json}");
        }
    }
}
