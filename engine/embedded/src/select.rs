//! Parts of a JSON text, chosen by paths, copied as they were sent: for `filter_path` over a whole reply and for
//! `_source` over one document. `*` stands for anything within one name, `**` for any number of names; a path that matches
//! takes all that is beneath it. Objects and arrays of which nothing is left go too.

use crate::json::{Result, Scanner, Value, write_string};

#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    includes: Vec<Vec<String>>,
    excludes: Vec<Vec<String>>,
}

impl Selector {
    /// As `filter_path` writes it: a leading minus excludes.
    pub(crate) fn from_filter_path(text: &str) -> Self {
        let mut selector = Selector::default();
        for path in text.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            match path.strip_prefix('-') {
                Some(path) => selector.exclude(path),
                None => selector.include(path),
            }
        }
        selector
    }

    pub(crate) fn include(&mut self, path: &str) {
        self.includes.push(path.split('.').map(str::to_owned).collect());
    }

    pub(crate) fn exclude(&mut self, path: &str) {
        self.excludes.push(path.split('.').map(str::to_owned).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }

    /// What of `json` is selected; `{}` if nothing is.
    pub(crate) fn apply(&self, json: &str) -> Result<String> {
        let mut out = String::with_capacity(json.len());
        let mut path = Vec::new();
        let whole = self.includes.is_empty();
        if !self.value(&mut Scanner::new(json), &mut path, whole, &mut out)? {
            out.clear();
            out.push_str("{}");
        }
        Ok(out)
    }

    /// Appends what is selected of the value that stands next; false if that was nothing.
    fn value(&self, scanner: &mut Scanner<'_>, path: &mut Vec<String>, taken: bool, out: &mut String) -> Result<bool> {
        if taken && self.excludes.is_empty() {
            out.push_str(scanner.skip()?);
            return Ok(true);
        }
        let mut probe = scanner.clone();
        match probe.value()? {
            Value::Object => {
                *scanner = probe;
                self.object(scanner, path, taken, out)
            }
            Value::Array => {
                *scanner = probe;
                self.array(scanner, path, taken, out)
            }
            _ => {
                let text = scanner.skip()?;
                if taken {
                    out.push_str(text);
                }
                Ok(taken)
            }
        }
    }

    fn object(&self, scanner: &mut Scanner<'_>, path: &mut Vec<String>, taken: bool, out: &mut String) -> Result<bool> {
        let (mut first, mut empty) = (true, true);
        out.push('{');
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            path.push(key.into_owned());
            if self.excludes.iter().any(|pattern| matches(pattern, path)) {
                scanner.skip()?;
            } else {
                let taken = taken || self.includes.iter().any(|pattern| matches(pattern, path));
                let before = out.len();
                out.push_str(if empty { "" } else { "," });
                write_string(&path[path.len() - 1], out);
                out.push(':');
                if self.value(scanner, path, taken, out)? {
                    empty = false;
                } else {
                    out.truncate(before);
                }
            }
            path.pop();
        }
        out.push('}');
        Ok(!empty || (taken && first))
    }

    fn array(&self, scanner: &mut Scanner<'_>, path: &mut Vec<String>, taken: bool, out: &mut String) -> Result<bool> {
        let (mut first, mut empty) = (true, true);
        out.push('[');
        while scanner.next_element(first)? {
            first = false;
            let before = out.len();
            out.push_str(if empty { "" } else { "," });
            if self.value(scanner, path, taken, out)? {
                empty = false;
            } else {
                out.truncate(before);
            }
        }
        out.push(']');
        Ok(!empty || (taken && first))
    }
}

fn matches(pattern: &[String], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((name, rest)), _) if name == "**" => {
            matches(rest, path) || path.split_first().is_some_and(|(_, below)| matches(pattern, below))
        }
        (Some((name, rest)), Some((first, below))) => glob(name, first) && matches(rest, below),
        _ => false,
    }
}

/// `*` for any characters; nothing else is special.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_as_filter_path_does() {
        let check = |paths: &str, json: &str, expected: &str| {
            assert_eq!(Selector::from_filter_path(paths).apply(json).expect("valid"), expected, "{paths}");
        };
        let reply = r#"{"took":1,"errors":true,"items":[{"index":{"_id":"1","status":201}},{"delete":{"error":{"type":"x"}}}]}"#;
        check("errors,items.*.error", reply, r#"{"errors":true,"items":[{"delete":{"error":{"type":"x"}}}]}"#);
        check("-items", reply, r#"{"took":1,"errors":true}"#);
        check("**._id", reply, r#"{"items":[{"index":{"_id":"1"}}]}"#);
        check("t*", reply, r#"{"took":1}"#);
        check("none", reply, "{}");
        check("a", r#"{"a":{"n":12345678901234567890.10},"b":1}"#, r#"{"a":{"n":12345678901234567890.10}}"#);
        check("a.*,-a.c", r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":1}}"#);
    }

    #[test]
    fn globs() {
        let check =
            |pattern: &str, text: &str, expected: bool| assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        check("*", "", true);
        check("a*c", "abbc", true);
        check("a*c", "ab", false);
        check("a*b*", "axxbyy", true);
        check("abc", "abcd", false);
    }
}
