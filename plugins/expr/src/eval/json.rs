//! Reaching into JSON that Postgres wrote, without building a tree: parts are found as slices of the text.

use super::value::both;
use super::{Eval, Vector};
use crate::bits::Bits;
use crate::node::Node;

impl<'b> Eval<'b> {
    /// `->` and `->>`.
    pub(super) fn get(&mut self, json: &Node, key: &Node, by_name: bool, text: bool, active: &Bits) -> Vector<'b> {
        let (json, key) = (self.vector(json, active), self.vector(key, active));
        let valid = both(json.valid.as_ref(), key.valid.as_ref());
        let mut scratch = Vec::new();
        self.make_texts(active, valid, |row, into| {
            let whole = json.data.bytes(row);
            let part = if by_name {
                field(whole, key.data.bytes(row), &mut scratch)
            } else {
                element(whole, key.data.int(row))
            };
            Ok(match part {
                None => false,
                Some(b"null") if text => false,
                Some(part) if text => {
                    scratch.clear();
                    into.extend_from_slice(as_text(part, &mut scratch));
                    true
                }
                Some(part) => {
                    into.extend_from_slice(part);
                    true
                }
            })
        })
    }
}

fn skip_blanks(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The place behind the value that begins here. What is no JSON ends somewhere.
fn value_end(json: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0usize);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(byte) = json.get(at).filter(|byte| **byte != b'"') {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 0 => return at,
            b']' | b'}' => depth -= 1,
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b']' | b'}') {
            return at.min(json.len());
        }
    }
    json.len()
}

/// The items of an array, or the keys and values of an object, in turn.
fn items(json: &[u8], open: u8) -> impl Iterator<Item = &[u8]> {
    let start = skip_blanks(json, 0);
    let mut at = if json.get(start) == Some(&open) { start + 1 } else { json.len() };
    std::iter::from_fn(move || {
        while matches!(json.get(at), Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')) {
            at += 1;
        }
        let from = at;
        at = value_end(json, from);
        (at > from).then(|| &json[from..at])
    })
}

fn field<'a>(json: &'a [u8], name: &[u8], scratch: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut items = items(json, b'{');
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        scratch.clear();
        if as_text(key, scratch) == name {
            return Some(value);
        }
    }
    None
}

fn element(json: &[u8], place: i64) -> Option<&[u8]> {
    // Postgres keeps a scalar as an array of one.
    let first = json.get(skip_blanks(json, 0))?;
    if !matches!(first, b'[' | b'{') {
        return matches!(place, 0 | -1).then_some(json);
    }
    let place = if place < 0 { place + items(json, b'[').count() as i64 } else { place };
    items(json, b'[').nth(usize::try_from(place).ok()?)
}

/// The elements of an array of any depth.
pub(super) fn elements(json: &[u8]) -> Vec<&[u8]> {
    let mut flat = Vec::new();
    for item in items(json, b'[') {
        match item.first() {
            Some(b'[') => flat.extend(elements(item)),
            _ => flat.push(item),
        }
    }
    flat
}

/// A string without its quotes and escapes; anything else as it stands. `scratch` is empty.
pub(super) fn as_text<'a>(value: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let [b'"', inner @ .., b'"'] = value else { return value };
    if !inner.contains(&b'\\') {
        return inner;
    }
    let text = String::from_utf8_lossy(inner);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let char = if char == '\\' { escaped(&mut chars) } else { char };
        scratch.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    scratch
}

fn escaped(chars: &mut std::str::Chars<'_>) -> char {
    match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => {
            let high = four_digits(chars);
            if !(0xd800..0xdc00).contains(&high) {
                return char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER);
            }
            chars.next();
            chars.next();
            let low = four_digits(chars);
            char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low & 0x3ff)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(other) => other,
        None => '\\',
    }
}

fn four_digits(chars: &mut std::str::Chars<'_>) -> u32 {
    chars.take(4).fold(0, |sum, digit| sum * 16 + digit.to_digit(16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let json = br#"{"a": 1, "b": [1, {"x": "]"}, null, "q\"\u00e9\ud83d\ude00\n"], "c\"d": {"e": "f, g"}}"#;
        let get = |name: &str| field(json, name.as_bytes(), &mut Vec::new()).map(|part| str::from_utf8(part).unwrap());
        assert_eq!([get("a"), get("c\"d"), get("x")], [Some("1"), Some(r#"{"e": "f, g"}"#), None]);
        let list = get("b").unwrap().as_bytes();
        let at = |place| element(list, place).map(|part| str::from_utf8(part).unwrap());
        assert_eq!(
            [at(0), at(1), at(2), at(-4), at(4)],
            [Some("1"), Some(r#"{"x": "]"}"#), Some("null"), Some("1"), None]
        );
        assert_eq!(as_text(element(list, -1).unwrap(), &mut Vec::new()), "q\"é😀\n".as_bytes());
        assert_eq!(elements(b"[[1, 2], [3, null]]"), [b"1", b"2", b"3".as_slice(), b"null"]);
        assert_eq!(elements(b"[]").len() + elements(b"").len() + items(b"[1", b'[').count(), 1);
    }
}
