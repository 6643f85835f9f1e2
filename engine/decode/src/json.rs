//! Checks that text is JSON and writes it without whitespace between tokens, so that it can stand in a line of NDJSON.
//!
//! The `json` type keeps what was typed, raw newlines between tokens included. Tokens are left as they are: no digit, no
//! escape and no duplicate key is touched.

use crate::error::Fault;
use crate::views::Side;

/// Whether checked JSON has whitespace between its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Compact,
    Spaced,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

/// Checks the grammar of RFC 8259. `open` is scratch for the brackets that are open: depth has no limit but the text.
pub(crate) fn check(text: &[u8], open: &mut Vec<u8>) -> Result<Form, Fault> {
    open.clear();
    let mut form = Form::Compact;
    let mut next = Next::Value;
    let mut at = 0;
    loop {
        at = skip_space(text, at, &mut form);
        let Some(&byte) = text.get(at) else { break };
        at += 1;
        next = match (next, byte) {
            (Next::KeyOrEnd, b'}') | (Next::ValueOrEnd, b']') => close(open, byte)?,
            (Next::Key | Next::KeyOrEnd, b'"') => {
                at = skip_space(text, string(text, at)?, &mut form);
                if text.get(at) != Some(&b':') {
                    return Err(Fault::Malformed);
                }
                at += 1;
                Next::Value
            }
            (Next::CommaOrEnd, b',') => match open.last() {
                Some(b'{') => Next::Key,
                Some(_) => Next::Value,
                None => return Err(Fault::Malformed),
            },
            (Next::CommaOrEnd, b'}' | b']') => close(open, byte)?,
            (Next::Value | Next::ValueOrEnd, b'{') => {
                open.push(byte);
                Next::KeyOrEnd
            }
            (Next::Value | Next::ValueOrEnd, b'[') => {
                open.push(byte);
                Next::ValueOrEnd
            }
            (Next::Value | Next::ValueOrEnd, _) => {
                at = scalar(text, at - 1)?;
                Next::CommaOrEnd
            }
            _ => return Err(Fault::Malformed),
        };
    }
    if next == Next::CommaOrEnd && open.is_empty() { Ok(form) } else { Err(Fault::Malformed) }
}

/// Writes JSON that [`check`] passed, without the whitespace.
pub(crate) fn write_compact(text: &[u8], out: &mut Side) {
    let (mut from, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        if is_space(byte) {
            out.extend(&text[from..at]);
            from = at + 1;
        } else if byte == b'"' {
            at = string(text, at + 1).unwrap_or(text.len());
            continue;
        }
        at += 1;
    }
    out.extend(&text[from..]);
}

fn close(open: &mut Vec<u8>, byte: u8) -> Result<Next, Fault> {
    match (open.pop(), byte) {
        (Some(b'{'), b'}') | (Some(b'['), b']') => Ok(Next::CommaOrEnd),
        _ => Err(Fault::Malformed),
    }
}

#[inline]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
}

#[inline]
fn skip_space(text: &[u8], mut at: usize, form: &mut Form) -> usize {
    while text.get(at).copied().is_some_and(is_space) {
        *form = Form::Spaced;
        at += 1;
    }
    at
}

fn scalar(text: &[u8], at: usize) -> Result<usize, Fault> {
    let word = |word: &[u8]| if text[at..].starts_with(word) { Ok(at + word.len()) } else { Err(Fault::Malformed) };
    match text[at] {
        b'"' => string(text, at + 1),
        b't' => word(b"true"),
        b'f' => word(b"false"),
        b'n' => word(b"null"),
        _ => number(text, at),
    }
}

/// The end of the string whose first byte is at `at`.
fn string(text: &[u8], mut at: usize) -> Result<usize, Fault> {
    loop {
        match *text.get(at).ok_or(Fault::Malformed)? {
            b'"' => return Ok(at + 1),
            b'\\' => match text.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') if text.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {
                    at += 6
                }
                _ => return Err(Fault::Malformed),
            },
            0..=0x1f => return Err(Fault::Malformed),
            _ => at += 1,
        }
    }
}

/// The end of the number that starts at `at`.
fn number(text: &[u8], mut at: usize) -> Result<usize, Fault> {
    let digits = |from: usize| {
        let len = text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 { Err(Fault::Malformed) } else { Ok(from + len) }
    };
    at += usize::from(text.get(at) == Some(&b'-'));
    let whole = at;
    at = digits(at)?;
    if text[whole] == b'0' && at > whole + 1 {
        return Err(Fault::Malformed);
    }
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        at = digits(at + usize::from(matches!(text.get(at), Some(b'+' | b'-'))))?;
    }
    Ok(at)
}

pub(crate) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && number(text, 0) == Ok(text.len())
}

/// Writes text as a JSON string.
pub(crate) fn write_string(text: &[u8], out: &mut Side) {
    out.push(b'"');
    let mut from = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend(&text[from..at]);
        from = at + 1;
        let short = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            b'"' | b'\\' => byte,
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend(&[b'\\', short]);
    }
    out.extend(&text[from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::written;

    fn compact(text: &str) -> Result<String, Fault> {
        Ok(match check(text.as_bytes(), &mut Vec::new())? {
            Form::Compact => text.to_owned(),
            Form::Spaced => written(|out| write_compact(text.as_bytes(), out)),
        })
    }

    #[test]
    fn only_whitespace_between_tokens_goes() {
        for (text, expected) in [
            ("1", "1"),
            (" [1 , 2 ]\n", "[1,2]"),
            ("{\"a b\" : \"c\\\" d\\n\",\r\n\t\"e\":{ } }", r#"{"a b":"c\" d\n","e":{}}"#),
            ("{\"a\":1,\"a\":2}", r#"{"a":1,"a":2}"#),
            ("[1e400, -0.10, 12345678901234567890]", "[1e400,-0.10,12345678901234567890]"),
            (r#"["\ud800", "\u0000"]"#, r#"["\ud800","\u0000"]"#),
            ("\"é \u{1f600}\"", "\"é \u{1f600}\""),
            ("[[], {}, null, true, false]", "[[],{},null,true,false]"),
        ] {
            assert_eq!(compact(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "[1 2]",
            "1 2",
            "[}",
            "{]",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "nul",
            "nullx",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "'a'",
            "NaN",
            "\"a\":1",
            "1,2",
            "[1]]",
            "{\"a\" 1}",
        ] {
            assert_eq!(compact(text), Err(Fault::Malformed), "{text}");
        }
    }

    #[test]
    fn depth_needs_no_stack() {
        let text = format!("{}{}", "[ ".repeat(100_000), "]".repeat(100_000));
        assert_eq!(compact(&text).unwrap().len(), 200_000);
    }

    proptest! {
        /// serde_json is the yardstick, for all but numbers over f64, which it may refuse.
        #[test]
        fn the_verdict_is_the_same_as_serde_jsons(text in r#"[\[\]{},:" \n\\a0-9eu.t-]{0,12}|(\[ ?){0,3}("a"|1|null)( ?\]){0,3}"#) {
            let verdict: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert_eq!(compact(&text).is_ok(), verdict.is_ok());
        }

        #[test]
        fn a_written_string_reads_as_what_it_was(text in any::<String>()) {
            let json = written(|out| write_string(text.as_bytes(), out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert_eq!(check(json.as_bytes(), &mut Vec::new()), Ok(Form::Compact));
        }
    }
}
