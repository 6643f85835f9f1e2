//! The elements of a JSON array, as they are written in it.

/// None where the text is no array. What crosses is JSON, so no more is looked at than where elements end.
pub(crate) fn elements(json: &str) -> Option<Vec<&str>> {
    let inner = json.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(inner[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    let last = inner[from..].trim();
    if !(last.is_empty() && parts.is_empty()) {
        parts.push(last);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_they_end() {
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements(" [ ] "), Some(vec![]));
        assert_eq!(
            elements(r#"[1, "a,\"]b" ,{"x": [1,2]},[[],{}]]"#).unwrap(),
            ["1", r#""a,\"]b""#, r#"{"x": [1,2]}"#, "[[],{}]"]
        );
        for json in ["{}", "1", "null", "\"[]\"", ""] {
            assert_eq!(elements(json), None, "{json}");
        }
    }
}
