//! Documents that stages named: several of a row, which move and go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::StringViewArray;
use proptest::prelude::*;
use tidemill_change::{Former, Kind, Named, Names, Relation, ReplicaIdentity, Staged, TableId};

use super::story::{Story, encode, encoding, pick, reject, relation, told};
use crate::{Encoding, LongId};

fn named_encoding() -> Encoding {
    Encoding { keys: Some(HashMap::from([(TableId(7), vec!["id".to_owned()])])), ..encoding() }
}

fn ids<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> Names {
    Names { id: Some(StringViewArray::from_iter_values(ids)), ..Names::default() }
}

fn former<S: AsRef<str>>(names: impl IntoIterator<Item = (u32, S)>) -> Former {
    let (of, names): (Vec<u32>, Vec<S>) = names.into_iter().unzip();
    Former { of, names: ids(names) }
}

/// A row: its key, and which of the letters a, b, c it has a document for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    id: u8,
    letters: u8,
}

impl Row {
    fn names(self) -> Vec<String> {
        (0..3)
            .filter(|at| self.letters >> at & 1 == 1)
            .map(|at| format!("{}{}", self.id, ["a", "b", "c"][at]))
            .collect()
    }

    /// What the key alone tells.
    fn names_by_key(self) -> Vec<String> {
        Row { letters: 7, ..self }.names()
    }

    fn document(self) -> String {
        format!("{{\"id\":{},\"v\":\"{}\"}}", self.id, self.letters)
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Kept,
    Filtered,
    /// Refused by a stage, and whether its names can be told all the same.
    Rejected(bool),
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Insert,
    Update,
    Rekey(u8),
    Delete,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    deed: Deed,
    id: u8,
    letters: u8,
    fate: Fate,
    batch: usize,
    commits: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![1 => Just(Deed::Insert), 3 => Just(Deed::Update), 1 => (0u8..4).prop_map(Deed::Rekey), 1 => Just(Deed::Delete)];
    let fate =
        prop_oneof![4 => Just(Fate::Kept), 1 => Just(Fate::Filtered), 1 => any::<bool>().prop_map(Fate::Rejected)];
    (deed, 0u8..4, 0u8..8, fate, 0usize..3, any::<bool>()).prop_map(|(deed, id, letters, fate, batch, commits)| Step {
        deed,
        id,
        letters,
        fate,
        batch,
        commits,
    })
}

/// A change as it really happened.
#[derive(Clone, Copy, Debug)]
struct Told {
    old: Option<Row>,
    new: Option<Row>,
    step: Step,
}

/// Leaves out what no table lets happen; gives the rows in the end as well, with what last became of them.
fn happened(steps: &[Step]) -> (Vec<Told>, BTreeMap<u8, (Row, Fate)>) {
    let mut rows: BTreeMap<u8, (Row, Fate)> = (0..2).map(|id| (id, (Row { id, letters: 7 }, Fate::Kept))).collect();
    let mut all = Vec::new();
    for &step in steps {
        let id = if let Deed::Rekey(to) = step.deed { to } else { step.id };
        let is_there = rows.contains_key(&step.id);
        let fits = match step.deed {
            Deed::Insert => !is_there,
            Deed::Update | Deed::Delete => is_there,
            Deed::Rekey(to) => is_there && !rows.contains_key(&to),
        };
        if !fits {
            continue;
        }
        let old = rows.remove(&step.id).map(|(row, _)| row);
        let new = (!matches!(step.deed, Deed::Delete)).then_some(Row { id, letters: step.letters });
        if let Some(row) = new {
            rows.insert(id, (row, step.fate));
        }
        all.push(Told { old, new, step });
    }
    (all, rows)
}

/// The index after each change had its effect at once.
fn naive(changes: &[Told], of_row: bool) -> BTreeMap<String, String> {
    let names = |row: Row| if of_row { row.names() } else { row.names_by_key() };
    let mut index = before();
    for change in changes {
        let new = change.new.filter(|_| matches!(change.step.fate, Fate::Kept));
        let stay: Vec<String> = match (change.new, change.step.fate) {
            (Some(row), Fate::Kept) => row.names(),
            (Some(row), Fate::Rejected(true)) => names(row),
            _ => Vec::new(),
        };
        for name in change.old.map(names).unwrap_or_default() {
            if !stay.contains(&name) {
                index.remove(&name);
            }
        }
        if let Some(row) = new {
            index.extend(row.names().into_iter().map(|name| (name, row.document())));
        }
    }
    index
}

fn before() -> BTreeMap<String, String> {
    let rows = (0..2).map(|id| Row { id, letters: 7 });
    rows.flat_map(|row| row.names().into_iter().map(move |name| (name, row.document()))).collect()
}

fn things(of_row: bool) -> Arc<Relation> {
    let things = relation(&[("id", Kind::Int4), ("v", Kind::Text)], if of_row { &["id", "v"] } else { &["id"] });
    let identity = if of_row { ReplicaIdentity::Full } else { ReplicaIdentity::Default };
    Arc::new(Relation::new(things.id, "public", "things", identity, things.columns.clone()))
}

/// One batch of a cut as the stages give it.
struct Batch {
    story: Story,
    changes: u32,
    rows: u32,
    of: Vec<u32>,
    names: Vec<String>,
    rejects: Vec<u32>,
    were: Vec<(u32, String)>,
    refused: Vec<(u32, String)>,
}

impl Batch {
    fn new(relation: &Arc<Relation>) -> Batch {
        let mut story = Story::of(relation);
        story.commit(0x100);
        Batch {
            story,
            changes: 0,
            rows: 0,
            of: Vec::new(),
            names: Vec::new(),
            rejects: Vec::new(),
            were: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn take(&mut self, change: &Told, of_row: bool) {
        let names = |row: Row| if of_row { row.names() } else { row.names_by_key() };
        let texts = |row: Row| [row.id.to_string(), row.letters.to_string()];
        let (old, new) = (change.old.map(texts), change.new.map(texts));
        fn cells(row: &[String; 2]) -> [Option<&str>; 2] {
            [Some(&row[0]), Some(&row[1])]
        }
        let has_moved = change.old.zip(change.new).is_some_and(|(old, new)| old.id != new.id);
        match (&old, &new) {
            (None, Some(new)) => self.story.insert(&cells(new)),
            (Some(old), Some(new)) if of_row => self.story.update_full(&cells(old), &cells(new)),
            (Some(old), Some(new)) if has_moved => self.story.update_key(&[Some(&old[0]), None], &cells(new)),
            (Some(_), Some(new)) => self.story.update(&cells(new)),
            (Some(old), None) if of_row => self.story.delete_full(&cells(old)),
            (Some(old), None) => self.story.delete(&[Some(&old[0]), None]),
            (None, None) => unreachable!("a change has an image"),
        };
        self.were.extend(change.old.map(names).into_iter().flatten().map(|name| (self.changes, name)));
        if let Some(row) = change.new {
            match change.step.fate {
                Fate::Kept => {
                    self.names.extend(row.names());
                    self.of.resize(self.names.len(), self.rows);
                }
                Fate::Filtered => {}
                Fate::Rejected(is_told) => {
                    self.rejects.push(self.rows);
                    self.refused.extend(names(row).into_iter().filter(|_| is_told).map(|name| (self.changes, name)));
                }
            }
            self.rows += 1;
        }
        self.changes += 1;
    }

    fn staged(self, of_row: bool) -> Staged {
        let staged = self.story.staged();
        let named = Named {
            documents: ids(&self.names),
            were: former(self.were),
            refused: former(self.refused),
            of_row,
            ..Named::default()
        };
        Staged {
            documents: pick(&staged.documents, &self.of),
            of: self.of,
            rejects: self.rejects.into_iter().map(reject).collect(),
            named: Some(Box::new(named)),
            ..staged
        }
    }
}

fn cut(changes: &[Told], of_row: bool) -> Vec<Staged> {
    let relation = things(of_row);
    let mut batches = [(); 3].map(|()| Batch::new(&relation));
    let (mut lsn, mut ordinal) = (0x100, 0);
    for change in changes {
        if change.step.commits {
            lsn += 8;
            ordinal = 0;
            batches.iter_mut().for_each(|batch| {
                batch.story.commit(lsn);
            });
        }
        let batch = &mut batches[change.step.batch];
        batch.story.ordinal = ordinal;
        ordinal += 1;
        batch.take(change, of_row);
    }
    batches.into_iter().map(|batch| batch.staged(of_row)).collect()
}

proptest! {
    #[test]
    fn documents_are_what_the_rows_name(steps in prop::collection::vec(step(), 0..40), of_row in any::<bool>()) {
        let (changes, rows) = happened(&steps);
        let encoded = encode(&named_encoding(), &cut(&changes, of_row)).unwrap();
        let mut index = before();
        let mut seen = std::collections::HashSet::new();
        for action in told(&encoded) {
            let mut words = action.splitn(3, ' ');
            let (kind, id) = (words.next().unwrap(), words.next().unwrap().to_owned());
            prop_assert!(seen.insert(id.clone()), "{} comes twice", id);
            match kind {
                "index" => index.insert(id, words.next().unwrap().to_owned()),
                _ => index.remove(&id),
            };
        }
        prop_assert_eq!(&index, &naive(&changes, of_row));
        // No document is left that no row names, and of a row that was taken in none is missing.
        for id in 0..4u8 {
            let has: Vec<&String> = index.keys().filter(|name| name.starts_with(&id.to_string())).collect();
            let names = rows.get(&id).map(|(row, _)| if of_row { row.names() } else { row.names_by_key() });
            prop_assert!(has.iter().all(|name| names.iter().flatten().any(|other| other == *name)), "{:?}", has);
            match rows.get(&id) {
                Some((row, Fate::Kept)) => prop_assert_eq!(has.into_iter().cloned().collect::<Vec<_>>(), row.names()),
                Some((_, Fate::Filtered)) => prop_assert!(has.is_empty()),
                _ => {}
            }
        }
        let rejected = changes.iter().filter(|change| change.new.is_some() && matches!(change.step.fate, Fate::Rejected(_)));
        prop_assert_eq!(encoded.rejected.len(), rejected.count());
    }
}

fn story(rows: &[&str]) -> Story {
    let mut story = Story::of(&things(false));
    rows.iter().for_each(|id| {
        story.insert(&[Some(id), Some("v")]);
    });
    story
}

fn named(story: &Story, documents: Names, index_pattern: Option<&str>) -> Staged {
    let index_pattern = index_pattern.map(Arc::from);
    Staged { named: Some(Box::new(Named { documents, index_pattern, ..Named::default() })), ..story.staged() }
}

fn codes(staged: Staged) -> Vec<(u32, String)> {
    let encoded = encode(&named_encoding(), &[staged]).unwrap();
    encoded.rejected.iter().map(|rejected| (rejected.change, rejected.code.clone())).collect()
}

#[test]
fn names_that_no_document_has_are_refused_row_by_row() {
    let story = story(&["1", "2", "3", "4"]);
    let long = "x".repeat(513);
    let ids = [None, Some(""), Some(long.as_str()), Some("fine")].into_iter().collect();
    let names = Names { id: Some(ids), ..Names::default() };
    let expected = [(0, "id_null"), (1, "id_empty"), (2, "id_too_long")].map(|(at, code)| (at, code.to_owned()));
    assert_eq!(codes(named(&story, names.clone(), None)), expected);
    let hashed = Encoding { long_id: LongId::Hash, ..named_encoding() };
    let encoded = encode(&hashed, &[named(&story, names, None)]).unwrap();
    assert!(told(&encoded)[0].starts_with("index sha256:"));

    let indices = [Some("logs-1"), Some("other"), Some("logs-A"), None].into_iter().collect();
    let names = Names { index: Some(indices), ..Names::default() };
    let expected = [(1, "index_not_granted"), (2, "index_illegal"), (3, "index_null")];
    assert_eq!(codes(named(&story, names.clone(), Some("logs-*"))), expected.map(|(at, code)| (at, code.to_owned())));
    let encoded = encode(&named_encoding(), &[named(&story, names, Some("logs-*"))]).unwrap();
    assert_eq!(told(&encoded), [r#"index logs-1/1 {"id":1,"v":"v"}"#]);
    assert_eq!(encoded.indices, [("logs-1".to_owned(), 0)]);
}

#[test]
fn one_name_of_two_keys_refuses_both() {
    let names = ids(["a", "b", "a"]);
    let codes = codes(named(&story(&["1", "2", "3"]), names.clone(), None));
    assert_eq!(codes, [(0, "name_taken".to_owned()), (2, "name_taken".to_owned())]);
    // One that leaves its name to another does not share it, nor do rows that trade theirs in one transaction.
    let mut traded = story(&["1", "2"]);
    traded.commit(0x200).update_full(&[Some("1"), Some("v")], &[Some("1"), Some("w")]);
    traded.update_full(&[Some("2"), Some("v")], &[Some("2"), Some("w")]);
    let named_so =
        Named { documents: ids(["a", "b", "b", "a"]), were: former([(2, "a"), (3, "b")]), ..Named::default() };
    let encoded = encode(&named_encoding(), &[Staged { named: Some(Box::new(named_so)), ..traded.staged() }]).unwrap();
    assert_eq!(told(&encoded), [r#"index b {"id":1,"v":"w"}"#, r#"index a {"id":2,"v":"w"}"#]);
    // The same row twice is none of two.
    let encoded = encode(&named_encoding(), &[named(&story(&["1", "2", "1"]), names, None)]).unwrap();
    assert_eq!((encoded.rejected.len(), encoded.counts.superseded), (0, 1));
}

#[test]
fn two_documents_of_a_row_need_two_names() {
    let story = story(&["1", "2"]);
    let staged = story.staged();
    let of = vec![0, 0, 1, 1];
    let documents = pick(&staged.documents, &of);
    let staged = Staged { documents, of, ..named(&story, ids(["a", "b", "c", "c"]), None) };
    let encoded = encode(&named_encoding(), &[staged]).unwrap();
    assert_eq!(told(&encoded), [r#"index a {"id":1,"v":"v"}"#, r#"index b {"id":1,"v":"v"}"#]);
    assert_eq!(encoded.rejected[0].code, "several_documents");
}

#[test]
fn a_delete_that_does_not_tell_the_row_is_refused_where_its_name_is_made_of_it() {
    let mut story = story(&[]);
    story.delete(&[Some("1"), None]);
    let named = Named { documents: ids([""; 0]), of_row: true, ..Named::default() };
    let staged = Staged { named: Some(Box::new(named)), ..story.staged() };
    let encoded = encode(&named_encoding(), &[staged]).unwrap();
    assert_eq!(encoded.rejected[0].code, "place_unknown");
    assert!(encoded.rejected[0].message.contains("alter table public.things replica identity full"));
}

#[test]
fn what_a_stage_names_and_what_the_configuration_names_stand_together() {
    let mut story = story(&["1"]);
    story.update_full(&[Some("2"), Some("old")], &[Some("3"), Some("new")]);
    let routing = Names { routing: Some(StringViewArray::from_iter_values(["r1", "r3"])), ..Names::default() };
    let were = Former {
        of: vec![1],
        names: Names { routing: Some(StringViewArray::from_iter_values(["r2"])), ..Names::default() },
    };
    let named = Named { documents: routing, were, ..Named::default() };
    let encoded = encode(&named_encoding(), &[Staged { named: Some(Box::new(named)), ..story.staged() }]).unwrap();
    assert_eq!(told(&encoded), [r#"index 1@r1 {"id":1,"v":"v"}"#, "delete 2@r2", r#"index 3@r3 {"id":3,"v":"new"}"#]);
}
