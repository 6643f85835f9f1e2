//! Rows that trade places in a transaction that is too large for one cut.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use tidemill_change::{Kind, Relation, ReplicaIdentity, Staged};

use super::story::{Story, encoding, relation, told};
use crate::Encoder;

const PLACES: usize = 5;

/// What happens to the row that has been at a place for longest, and whether a bucket ends behind it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Move { from: usize, to: usize },
    Update(usize),
    Insert(usize),
    Delete(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..PLACES, 0..PLACES).prop_map(|(from, to)| Deed::Move { from, to }),
        1 => (0..PLACES).prop_map(Deed::Update),
        1 => (0..PLACES).prop_map(Deed::Insert),
        1 => (0..PLACES).prop_map(Deed::Delete),
    ]
}

/// A table under a deferred key: at the end of its transaction no two rows are at one place.
struct Table {
    places: Vec<VecDeque<String>>,
    written: u32,
}

type Change = (Option<(usize, String)>, Option<(usize, String)>);

impl Table {
    fn new() -> Table {
        Table { places: (0..PLACES).map(|place| VecDeque::from([format!("first {place}")])).collect(), written: 0 }
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("value {}", self.written)
    }

    /// Gives the old and the new image.
    fn apply(&mut self, deed: Deed) -> Option<Change> {
        match deed {
            Deed::Move { from, to } if from != to => {
                let old = self.places[from].pop_front()?;
                self.places[to].push_back(old.clone());
                Some((Some((from, old.clone())), Some((to, old))))
            }
            Deed::Update(place) if self.places[place].len() == 1 => {
                let new = self.value();
                let old = std::mem::replace(&mut self.places[place][0], new.clone());
                Some((Some((place, old)), Some((place, new))))
            }
            Deed::Insert(place) => {
                let new = self.value();
                self.places[place].push_back(new.clone());
                Some((None, Some((place, new))))
            }
            Deed::Delete(place) => Some((Some((place, self.places[place].pop_front()?)), None)),
            _ => None,
        }
    }

    fn changes(mut self, deeds: &[Deed]) -> (Vec<Change>, BTreeMap<String, String>) {
        let mut changes: Vec<Change> = deeds.iter().filter_map(|&deed| self.apply(deed)).collect();
        for place in 0..PLACES {
            while self.places[place].len() > 1 {
                changes.extend(self.apply(Deed::Delete(place)));
            }
        }
        let rows = self.places.iter().enumerate().filter_map(|(place, rows)| Some((place, rows.front()?)));
        (changes, rows.map(|(place, value)| document(place, value)).collect())
    }
}

fn document(place: usize, value: &str) -> (String, String) {
    (place.to_string(), format!("{{\"id\":{place},\"v\":\"{value}\"}}"))
}

fn things() -> Arc<Relation> {
    let things = relation(&[("id", Kind::Int4), ("v", Kind::Text)], &["id", "v"]);
    let columns = things.columns.clone();
    Arc::new(Relation::new(things.id, "public", "things", ReplicaIdentity::Full, columns))
}

/// The transaction as cuts. Every bucket has `bucket` changes; at the edges that `cuts` names a cut ends.
fn cuts(relation: &Arc<Relation>, changes: &[Change], bucket: usize, cuts: &[bool]) -> Vec<Vec<Staged>> {
    let new = || {
        [(); 2].map(|()| {
            let mut story = Story::of(relation);
            story.commit(0x100);
            story
        })
    };
    let (mut all, mut stories) = (Vec::new(), new());
    for (at, (old, new_image)) in changes.iter().enumerate() {
        if at > 0 && at % bucket == 0 && cuts[at % cuts.len()] {
            all.push(std::mem::replace(&mut stories, new()));
        }
        // Two batches of one table, as a change of its shape makes them.
        let story = &mut stories[at / 2 % 2];
        (story.ordinal, story.bucket) = (at as u32, (at / bucket) as u16);
        let image = |(place, value): &(usize, String)| (place.to_string(), value.clone());
        let (old, new) = (old.as_ref().map(image), new_image.as_ref().map(image));
        let row = |(id, value): &'_ (String, String)| [Some(id.clone()), Some(value.clone())];
        let (old, new) = (old.as_ref().map(row), new.as_ref().map(row));
        fn texts(row: &[Option<String>; 2]) -> [Option<&str>; 2] {
            [row[0].as_deref(), row[1].as_deref()]
        }
        match (&old, &new) {
            (Some(old), Some(new)) => story.update_full(&texts(old), &texts(new)),
            (None, Some(new)) => story.insert(&texts(new)),
            (Some(old), None) => story.delete_full(&texts(old)),
            (None, None) => unreachable!("a change has an image"),
        };
    }
    all.push(stories);
    all.into_iter().map(|stories| stories.iter().map(Story::staged).collect()).collect()
}

/// An index that keeps versions, of deleted documents too.
struct Index {
    documents: BTreeMap<String, String>,
    versions: BTreeMap<String, u64>,
}

impl Index {
    fn take(&mut self, encoder: &mut Encoder, cut: &[Staged], goes_on: bool) {
        let encoded = if goes_on { encoder.encode_part(cut) } else { encoder.encode(cut) }.unwrap();
        for (line, action) in told(&encoded).iter().zip(&encoded.actions) {
            let mut words = line.splitn(3, ' ');
            let (kind, id) = (words.next().unwrap(), words.next().unwrap().to_owned());
            if self.versions.get(&id).is_some_and(|&version| version > action.version.get()) {
                continue;
            }
            self.versions.insert(id.clone(), action.version.get());
            match kind {
                "index" => self.documents.insert(id, words.next().unwrap().to_owned()),
                _ => self.documents.remove(&id),
            };
        }
    }
}

proptest! {
    /// However the cuts fall, and where a part of the transaction comes a second time.
    #[test]
    fn documents_are_rows_over_several_cuts(
        deeds in prop::collection::vec(deed(), 0..40),
        bucket in 1usize..6,
        ends in prop::collection::vec(any::<bool>(), 40..41),
        others in prop::collection::vec(any::<bool>(), 40..41),
        seen in 0usize..8,
    ) {
        let relation = things();
        let (changes, rows) = Table::new().changes(&deeds);
        let mut index = Index {
            documents: (0..PLACES).map(|place| document(place, &format!("first {place}"))).collect(),
            versions: BTreeMap::new(),
        };
        let mut encoder = Encoder::new(encoding());
        let first = cuts(&relation, &changes, bucket, &ends);
        for cut in first.iter().take(seen.min(first.len() - 1)) {
            index.take(&mut encoder, cut, true);
        }
        // The source begins again, and cuts otherwise.
        let again = cuts(&relation, &changes, bucket, &others);
        for (at, cut) in again.iter().enumerate() {
            index.take(&mut encoder, cut, at + 1 < again.len());
        }
        prop_assert_eq!(index.documents, rows);
    }
}

#[test]
fn a_key_that_no_two_rows_ever_share_is_not_kept_in_mind() {
    let relation = things();
    let changes = [(None, Some((1, "a".to_owned()))), (Some((1, "b".to_owned())), None)];
    let cuts = cuts(&relation, &changes, 1, &[true]);
    for (exclusive, expected) in [(false, vec![]), (true, vec!["delete 1".to_owned()])] {
        let mut encoding = encoding();
        encoding.exclusive.extend(exclusive.then_some(relation.id));
        let mut encoder = Encoder::new(encoding);
        encoder.encode_part(&cuts[0]).unwrap();
        assert_eq!(told(&encoder.encode(&cuts[1]).unwrap()), expected);
    }
}
