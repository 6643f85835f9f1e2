//! Names that stages gave, held against each other.

use std::collections::HashMap;

use tidemill_change::{Change, NO_ROW, Named, Staged};

use crate::given::{self, Given, NameOf};
use crate::place::{Image, Images, Places};

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
        for was in given::range(&named.were, at as u32) {
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
