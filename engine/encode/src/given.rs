//! Names that stages gave, held against what a document's name may be.

use arrow_array::{Array, StringViewArray};
use tidemill_change::{Former, Named, Names};

use crate::placeless::{Placeless, What};

/// The longest name of an index that the servers take.
const INDEX_BYTES_MAX: usize = 255;

/// Index and id, as far as stages give them.
pub(crate) type NameOf<'a> = (Option<Option<&'a str>>, Option<Option<&'a str>>);

/// The names that a stage gave one document; `None` where the configuration's rule gives it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) index: Option<Option<&'a str>>,
    pub(crate) id: Option<Option<&'a str>>,
    pub(crate) routing: Option<Option<&'a str>>,
    pattern: Option<&'a str>,
}

impl<'a> Given<'a> {
    pub(crate) fn of(named: &'a Named, names: &'a Names, at: usize) -> Given<'a> {
        let name = |names: &'a Option<StringViewArray>| {
            names.as_ref().map(|names| names.is_valid(at).then(|| names.value(at)))
        };
        Given {
            index: name(&names.index),
            id: name(&names.id),
            routing: name(&names.routing),
            pattern: named.index_pattern.as_deref(),
        }
    }

    pub(crate) fn place(&self) -> NameOf<'a> {
        (self.index, self.id)
    }

    /// A name as it was given, if there can be one.
    pub(crate) fn check(&self, what: What, name: Option<&'a str>) -> Result<&'a str, Placeless> {
        let name = name.ok_or(Placeless::Null(what))?;
        if name.is_empty() {
            return Err(Placeless::Empty(what));
        }
        if what == What::Index {
            if !is_index_name(name) {
                return Err(Placeless::NoIndexName);
            }
            if !self.pattern.is_some_and(|pattern| matches(pattern, name)) {
                return Err(Placeless::NotGranted);
            }
        }
        Ok(name)
    }
}

/// Whether the servers take this as the name of an index.
fn is_index_name(name: &str) -> bool {
    let is_forbidden = |c: char| r#"\/*?"<>| ,#:"#.contains(c) || c.is_control() || c.is_uppercase();
    !name.chars().any(is_forbidden)
        && !name.starts_with(['-', '_', '+'])
        && !matches!(name, "." | "..")
        && name.len() <= INDEX_BYTES_MAX
}

/// Whether a name is of a pattern, in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether some name is of both patterns.
pub fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // `reached[j]`: some text is of `one` up to here and of `other` up to j.
    let mut reached = vec![false; other.len() + 1];
    for i in 0..=one.len() {
        let before = std::mem::replace(&mut reached, vec![false; other.len() + 1]);
        for j in 0..=other.len() {
            let star_one = i > 0 && one[i - 1] == b'*';
            let star_other = j > 0 && other[j - 1] == b'*';
            reached[j] = (i, j) == (0, 0)
                || star_one && before[j]
                || star_other && reached[j - 1]
                || star_one && j > 0 && reached[j - 1]
                || star_other && i > 0 && before[j]
                || i > 0 && j > 0 && one[i - 1] == other[j - 1] && before[j - 1];
        }
    }
    reached[other.len()]
}

/// The places in a list of former names that are a change's.
pub(crate) fn range(former: &Former, change: u32) -> std::ops::Range<usize> {
    let from = former.of.partition_point(|of| *of < change);
    from..from + former.of[from..].iter().take_while(|of| **of == change).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_tells_its_names() {
        for (pattern, name, expected) in [
            ("logs-*", "logs-2024", true),
            ("logs-*", "logs-", true),
            ("logs-*", "log", false),
            ("logs", "logs", true),
            ("logs", "logs-1", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*-eu", "logs-eu", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_share_a_name_are_told() {
        for (one, other, expected) in [
            ("logs-*", "logs-a*", true),
            ("logs-*", "logs", false),
            ("*-eu", "logs-*", true),
            ("a*", "b*", false),
            ("a*b", "*ab", true),
            ("products", "products", true),
            ("a*a", "a", false),
            ("*", "x", true),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn names_that_no_index_has() {
        for name in ["Logs", "a b", "-a", "_a", "..", "a/b", "a*", "a,b", "a:b", &"x".repeat(256)] {
            assert!(!is_index_name(name), "{name}");
        }
        assert!(is_index_name("logs-2024.01") && is_index_name(".own"));
    }
}
