//! What must hold for any cut, held against models that know nothing of this crate.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use tidemill_change::{Kind, Staged};

use super::story::{Story, body, encode, encoding, key, reject, relation, told};
use crate::Encoding;

#[derive(Clone, Copy, Debug)]
enum Fate {
    Kept,
    Filtered,
    Rejected,
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
    fate: Fate,
    batch: usize,
    commits: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![Just(Deed::Insert), Just(Deed::Update), (0u8..4).prop_map(Deed::Rekey), Just(Deed::Delete)];
    let fate = prop_oneof![3 => Just(Fate::Kept), 1 => Just(Fate::Filtered), 1 => Just(Fate::Rejected)];
    (deed, 0u8..4, fate, 0usize..3, any::<bool>()).prop_map(|(deed, id, fate, batch, commits)| Step {
        deed,
        id,
        fate,
        batch,
        commits,
    })
}

/// The index after every step had its effect at once.
fn naive(steps: &[Step]) -> BTreeMap<String, String> {
    let mut index: BTreeMap<String, String> = (0..4).map(|id| (id.to_string(), "before".to_owned())).collect();
    for (at, step) in steps.iter().enumerate() {
        let (from, to) = match step.deed {
            Deed::Rekey(to) => (step.id.to_string(), to.to_string()),
            _ => (step.id.to_string(), step.id.to_string()),
        };
        match (step.deed, step.fate) {
            (Deed::Delete, _) => {
                index.remove(&from);
            }
            (Deed::Rekey(_), Fate::Rejected) if from != to => {
                index.remove(&from);
            }
            (_, Fate::Rejected) | (Deed::Insert, Fate::Filtered) => {}
            (_, Fate::Filtered) => {
                index.remove(&from);
            }
            (_, Fate::Kept) => {
                index.remove(&from);
                index.insert(to.clone(), format!("{{\"id\":{to},\"v\":\"{at}\"}}"));
            }
        }
    }
    index
}

/// The steps as the batches of one cut.
fn cut(steps: &[Step]) -> Vec<Staged> {
    let relation = relation(&[("id", Kind::Int4), ("v", Kind::Text)], &["id"]);
    let mut stories = [(); 3].map(|()| (Story::of(&relation), Vec::new()));
    let (mut lsn, mut ordinal) = (0x100, 0);
    stories.iter_mut().for_each(|(story, _)| {
        story.commit(lsn);
    });
    for (at, step) in steps.iter().enumerate() {
        if step.commits {
            lsn += 8;
            ordinal = 0;
            stories.iter_mut().for_each(|(story, _)| {
                story.commit(lsn);
            });
        }
        let (story, fates) = &mut stories[step.batch];
        story.ordinal = ordinal;
        ordinal += 1;
        let (id, at) = (step.id.to_string(), at.to_string());
        let row = [Some(id.as_str()), Some(at.as_str())];
        match step.deed {
            Deed::Insert => story.insert(&row),
            Deed::Update => story.update(&row),
            Deed::Rekey(to) => story.update_key(&[Some(&id), None], &[Some(&to.to_string()), Some(&at)]),
            Deed::Delete => story.delete(&[Some(&id), None]),
        };
        if !matches!(step.deed, Deed::Delete) {
            fates.push(step.fate);
        }
    }
    stories
        .into_iter()
        .map(|(story, fates)| {
            let rejected = |row: &u32| matches!(fates[*row as usize], Fate::Rejected);
            let rejects = (0..fates.len() as u32).rev().filter(rejected).map(reject).collect();
            Staged { rejects, ..story.kept(|row| matches!(fates[row as usize], Fate::Kept)) }
        })
        .collect()
}

proptest! {
    #[test]
    fn the_last_action_of_each_document_does_what_all_would(steps in prop::collection::vec(step(), 0..40)) {
        let encoded = encode(&encoding(), &cut(&steps)).unwrap();
        let mut index: BTreeMap<String, String> = (0..4).map(|id| (id.to_string(), "before".to_owned())).collect();
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
        prop_assert_eq!(index, naive(&steps));
        let ascending = encoded.actions.is_sorted_by_key(|action| action.version);
        prop_assert!(ascending);
        let rejected = steps.iter().filter(|s| matches!(s.fate, Fate::Rejected) && !matches!(s.deed, Deed::Delete));
        prop_assert_eq!(encoded.rejected.len(), rejected.count());
    }

    #[test]
    fn composite_ids_never_meet(
        pairs in prop::collection::btree_set(("[-%2Da]{0,4}", "[-%2Da]{0,4}", -2i32..3), 2..30)
    ) {
        let columns = [("a", Kind::Text), ("b", Kind::Text), ("c", Kind::Int4)];
        for order in [["a", "b", "c"], ["a", "c", "b"], ["c", "a", "b"]] {
            let mut story = Story::of(&relation(&columns, &order));
            for (a, b, c) in &pairs {
                story.insert(&[Some(a), Some(b), Some(&c.to_string())]);
            }
            let encoded = encode(&Encoding { id: key(&order), ..encoding() }, &[story.staged()]).unwrap();
            prop_assert_eq!(encoded.actions.len(), pairs.len());
            prop_assert_eq!(encoded.counts.superseded, 0);
        }
    }

    #[test]
    fn documents_hold_what_the_columns_held(
        rows in prop::collection::vec(
            (any::<Option<String>>(), any::<i64>(), any::<Option<bool>>(), any::<f64>(), "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?"),
            1..20,
        )
    ) {
        let columns = [
            ("id", Kind::Int4), ("text", Kind::Text), ("int", Kind::Int8), ("bool", Kind::Bool), ("float", Kind::Float8),
            ("numeric", Kind::Numeric),
        ];
        let mut story = Story::of(&relation(&columns, &["id"]));
        for (at, (text, int, bool, float, numeric)) in rows.iter().enumerate() {
            story.insert(&[
                Some(&at.to_string()),
                text.as_deref(),
                Some(&int.to_string()),
                bool.map(|bool| if bool { "true" } else { "false" }),
                Some(&float.to_string()),
                Some(numeric),
            ]);
        }
        let encoded = encode(&encoding(), &[story.staged()]).unwrap();
        for (line, (text, int, bool, float, numeric)) in body(&encoded).lines().skip(1).step_by(2).zip(&rows) {
            let document: Value = serde_json::from_str(line).unwrap();
            prop_assert_eq!(document["text"].as_str(), text.as_deref());
            prop_assert_eq!(document["int"].as_i64(), Some(*int));
            prop_assert_eq!(document["bool"].as_bool(), *bool);
            // Of these serde_json reads the nearest double or one beside it, and no digit past it: their text is held
            // against the value.
            let (_, rest) = line.rsplit_once("\"float\":").unwrap();
            let (digits, rest) = rest.split_once(',').unwrap();
            prop_assert_eq!(digits.parse::<f64>().unwrap().to_bits(), float.to_bits());
            prop_assert_eq!(rest, format!("\"numeric\":{numeric}}}"));
        }
    }
}
