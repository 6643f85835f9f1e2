//! Arrays, from Postgres' text (`{1,NULL,"a \"b\""}`) to JSON text (`[1,null,"a \"b\""]`).

use tidemill_change::ElementKind;

use crate::error::Fault;
use crate::json::{self, Form};
use crate::number;
use crate::views::Side;

/// Buffers that live from value to value, so that none is allocated for a row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    element: Vec<u8>,
    pub(crate) open: Vec<u8>,
}

/// Writes the array as JSON. Bounds that do not start at 1 (`[2:4]={…}`) are dropped: JSON has none.
pub(crate) fn write_json(text: &[u8], kind: ElementKind, scratch: &mut Scratch, out: &mut Side) -> Result<(), Fault> {
    let mut at = match text {
        [b'[', ..] => memchr::memchr(b'=', text).ok_or(Fault::Malformed)? + 1,
        _ => 0,
    };
    let mut depth = 0usize;
    loop {
        // A value starts here.
        let byte = *text.get(at).ok_or(Fault::Malformed)?;
        let empty = byte == b'{' && text.get(at + 1) == Some(&b'}');
        if byte == b'{' {
            out.push(b'[');
            depth += 1;
            at += 1;
            if !empty {
                continue;
            }
        } else if depth == 0 {
            return Err(Fault::Malformed);
        } else {
            at = write_element(text, at, kind, scratch, out)?;
        }
        // A value ended here; arrays that end with it do too.
        loop {
            let byte = *text.get(at).ok_or(Fault::Malformed)?;
            at += 1;
            match byte {
                b',' => {
                    out.push(b',');
                    break;
                }
                b'}' => {
                    out.push(b']');
                    depth -= 1;
                    if depth == 0 {
                        return if at == text.len() { Ok(()) } else { Err(Fault::Malformed) };
                    }
                }
                _ => return Err(Fault::Malformed),
            }
        }
    }
}

/// Writes the element that starts at `at` and returns where it ends.
fn write_element(
    text: &[u8],
    at: usize,
    kind: ElementKind,
    scratch: &mut Scratch,
    out: &mut Side,
) -> Result<usize, Fault> {
    if text[at] == b'"' {
        let end = unquote(text, at + 1, &mut scratch.element)?;
        let element = std::mem::take(&mut scratch.element);
        let done = write_value(&element, kind, &mut scratch.open, out);
        scratch.element = element;
        return done.map(|()| end);
    }
    let len = text[at..].iter().position(|byte| matches!(byte, b',' | b'}')).ok_or(Fault::Malformed)?;
    let element = &text[at..at + len];
    if element.is_empty() || element.iter().any(|byte| matches!(byte, b'{' | b'"' | b'\\')) {
        return Err(Fault::Malformed);
    }
    if element == b"NULL" {
        out.extend(b"null");
    } else {
        write_value(element, kind, &mut scratch.open, out)?;
    }
    Ok(at + len)
}

/// Reads a quoted element into `element` and returns where it ends, its closing quote included.
fn unquote(text: &[u8], mut at: usize, element: &mut Vec<u8>) -> Result<usize, Fault> {
    element.clear();
    loop {
        let len = memchr::memchr2(b'"', b'\\', &text[at..]).ok_or(Fault::Malformed)?;
        element.extend_from_slice(&text[at..at + len]);
        at += len + 1;
        if text[at - 1] == b'"' {
            return Ok(at);
        }
        element.push(*text.get(at).ok_or(Fault::Malformed)?);
        at += 1;
    }
}

fn write_value(element: &[u8], kind: ElementKind, open: &mut Vec<u8>, out: &mut Side) -> Result<(), Fault> {
    match kind {
        ElementKind::Bool => match element {
            b"t" => out.extend(b"true"),
            b"f" => out.extend(b"false"),
            _ => return Err(Fault::Malformed),
        },
        ElementKind::Number if json::is_number(element) => out.extend(element),
        ElementKind::Number if number::is_not_finite(element) => json::write_string(element, out),
        ElementKind::Number => return Err(Fault::Malformed),
        ElementKind::Json => match json::check(element, open)? {
            Form::Compact => out.extend(element),
            Form::Spaced => json::write_compact(element, out),
        },
        ElementKind::Text => json::write_string(element, out),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::written;

    fn json(text: &str, kind: ElementKind) -> Result<String, Fault> {
        let mut result = Ok(());
        let json = written(|out| result = write_json(text.as_bytes(), kind, &mut Scratch::default(), out));
        result.map(|()| json)
    }

    #[test]
    fn arrays_become_json() {
        use ElementKind::*;
        for (text, kind, expected) in [
            ("{}", Number, "[]"),
            ("{1,-2,NULL}", Number, "[1,-2,null]"),
            ("{{1,2},{3,NULL}}", Number, "[[1,2],[3,null]]"),
            ("{{{{{{1}}}}}}", Number, "[[[[[[1]]]]]]"),
            ("[2:4]={1,2,3}", Number, "[1,2,3]"),
            ("[-1:0][0:1]={{1,2},{3,4}}", Number, "[[1,2],[3,4]]"),
            ("{0.10,1e+20,NaN,-Infinity}", Number, r#"[0.10,1e+20,"NaN","-Infinity"]"#),
            ("{t,f,NULL}", Bool, "[true,false,null]"),
            ("{a,\"b c\",\"\",\"NULL\",NULL}", Text, r#"["a","b c","","NULL",null]"#),
            (r#"{"q\"x","back\\slash","{}",é,"a,b"}"#, Text, r#"["q\"x","back\\slash","{}","é","a,b"]"#),
            ("{\"line\nbreak\ttab\u{1}\"}", Text, "[\"line\\nbreak\\ttab\\u0001\"]"),
            (r#"{"{\"a\": [1, \"x y\"]}",1,null,NULL}"#, Json, r#"[{"a":[1,"x y"]},1,null,null]"#),
            ("{{},{}}", Text, "[[],[]]"),
        ] {
            assert_eq!(json(text, kind).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_array_is_refused() {
        use ElementKind::*;
        for (text, kind) in [
            ("", Text),
            ("1", Number),
            ("{", Text),
            ("{1", Number),
            ("{1}}", Number),
            ("{1} ", Number),
            ("{,}", Text),
            ("{1,}", Number),
            ("{\"a}", Text),
            ("{\"a\\", Text),
            ("{a\"b\"}", Text),
            ("{\"a\"b}", Text),
            ("[1:2]", Number),
            ("{x}", Number),
            ("{01}", Number),
            ("{true}", Bool),
            ("{\"{\"}", Json),
        ] {
            assert_eq!(json(text, kind), Err(Fault::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn elements_of_any_text_come_through(elements in prop::collection::vec(prop::option::of(any::<String>()), 1..6)) {
            let quoted = elements.iter().map(|element| match element {
                None => "NULL".to_owned(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            });
            let text = format!("{{{}}}", quoted.collect::<Vec<_>>().join(","));
            let json = json(&text, ElementKind::Text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&json).unwrap(), elements);
        }
    }
}
