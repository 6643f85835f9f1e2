//! Names that stages gave: held against what a document's name may be, and against each other.

use std::collections::HashMap;

use arrow_array::{Array, StringViewArray};
use tidemill_change::{Change, Former, NO_ROW, Named, Names, Staged};

use crate::place::{Image, Images, Placeless, Places, What};

/// The longest name of an index that the servers take.
const INDEX_BYTES_MAX: usize = 255;

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

    fn place(&self) -> NameOf<'a> {
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

/// The rows that have a name which a row of another key has at the same time, ascending: which of them is the document cannot
/// be told. A name may go from one row to another, within a transaction too.
pub(crate) fn conflicts(named: &Named, staged: &Staged, places: &Places, images: &Images<'_>) -> Vec<u32> {
    if named.documents.id.is_none() || places.key.is_empty() || !may_conflict(named, staged, places, images) {
        return Vec::new();
    }
    let mut holders = Holders { places, images, of: HashMap::new(), rows: Vec::new() };
    let (mut document, mut touched) = (0, Vec::new());
    let changes = &staged.source.changes;
    for (at, change) in changes.iter().enumerate() {
        for was in range(&named.were, at as u32) {
            holders.leave(Given::of(named, &named.were.names, was).place(), change);
        }
        while staged.of.get(document).is_some_and(|row| *row == change.row) {
            let name = Given::of(named, &named.documents, document).place();
            holders.take(name, change);
            touched.push(name);
            document += 1;
        }
        if changes.get(at + 1).is_none_or(|next| next.commit != change.commit) {
            touched.drain(..).for_each(|name| holders.look(name));
        }
    }
    holders.rows.sort_unstable();
    holders.rows.dedup();
    holders.rows
}

/// Whether two rows of different keys have one name at all, be it one after the other.
fn may_conflict(named: &Named, staged: &Staged, places: &Places, images: &Images<'_>) -> bool {
    let mut first: HashMap<NameOf<'_>, u32> = HashMap::with_capacity(staged.of.len());
    staged.of.iter().enumerate().any(|(at, row)| {
        let other = *first.entry(Given::of(named, &named.documents, at).place()).or_insert(*row);
        other != *row && places.key_of(images, Image::New, other) != places.key_of(images, Image::New, *row)
    })
}

/// Index and id, as far as stages give them.
type NameOf<'a> = (Option<Option<&'a str>>, Option<Option<&'a str>>);

/// Which rows have which names, at some moment of a batch.
struct Holders<'a> {
    places: &'a Places,
    images: &'a Images<'a>,
    of: HashMap<NameOf<'a>, Vec<(Vec<u8>, u32)>>,
    rows: Vec<u32>,
}

impl<'a> Holders<'a> {
    fn leave(&mut self, name: NameOf<'a>, change: &Change) {
        let Some(holders) = self.of.get_mut(&name) else { return };
        let (image, row) = if change.old == NO_ROW { (Image::New, change.row) } else { (Image::Old, change.old) };
        let key = self.places.key_of(self.images, image, row);
        holders.retain(|(other, _)| *other != key);
    }

    fn take(&mut self, name: NameOf<'a>, change: &Change) {
        let key = self.places.key_of(self.images, Image::New, change.row);
        let holders = self.of.entry(name).or_default();
        holders.retain(|(other, _)| *other != key);
        holders.push((key, change.row));
    }

    fn look(&mut self, name: NameOf<'a>) {
        if let Some(holders) = self.of.get(&name).filter(|holders| holders.len() > 1) {
            self.rows.extend(holders.iter().map(|(_, row)| *row));
        }
    }
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
