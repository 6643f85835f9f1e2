//! Batches told as stories: rows as texts, changes one after the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use serde_json::Value;
use tidemill_change::{
    Change, ChangeBatch, Column, Commit, Epoch, Kind, LeftOut, Lsn, NO_ROW, OldImage, Op, Reject, Relation,
    ReplicaIdentity, Staged, TableId,
};

use crate::{Actions, Encoded, Encoder, Encoding, Error, IdRule, LongId, Nonfinite, Numbers};

/// A row's values as Postgres would write them.
pub(super) type Row<'a> = &'a [Option<&'a str>];

pub(super) fn encoding() -> Encoding {
    Encoding {
        index: "shop".parse().unwrap(),
        id: key(&["id"]),
        routing: None,
        pipeline: None,
        numbers: Numbers::Exact,
        nonfinite: Nonfinite::String,
        long_id: LongId::Refuse,
        actions: Actions::default(),
        epoch: Epoch::default(),
        exclusive: HashSet::new(),
        keys: None,
    }
}

pub(super) fn key(columns: &[&str]) -> IdRule {
    IdRule::Key(HashMap::from([(TableId(7), columns.iter().map(|&name| name.to_owned()).collect())]))
}

pub(super) fn relation(columns: &[(&str, Kind)], identity: &[&str]) -> Arc<Relation> {
    let column = |&(name, kind): &(&str, Kind)| Column {
        name: name.to_owned(),
        type_oid: 0,
        type_modifier: -1,
        kind,
        identity: identity.contains(&name),
    };
    let columns = columns.iter().map(column).collect();
    Arc::new(Relation::new(TableId(7), "public", "things", ReplicaIdentity::Default, columns))
}

pub(super) struct Story {
    pub(super) relation: Arc<Relation>,
    commits: Vec<Commit>,
    changes: Vec<Change>,
    rows: Vec<Vec<Option<String>>>,
    old: Vec<Vec<Option<String>>>,
    pub(super) ordinal: u32,
    pub(super) bucket: u16,
}

impl Story {
    pub(super) fn of(relation: &Arc<Relation>) -> Story {
        Story {
            relation: relation.clone(),
            commits: Vec::new(),
            changes: Vec::new(),
            rows: Vec::new(),
            old: Vec::new(),
            ordinal: 0,
            bucket: 0,
        }
    }

    pub(super) fn commit(&mut self, lsn: u64) -> &mut Story {
        self.commits.push(Commit { lsn: Lsn(lsn), xid: 1, time_us: 0 });
        self.ordinal = 0;
        self
    }

    fn change(&mut self, op: Op, old_image: OldImage, old: Option<Row<'_>>, new: Option<Row<'_>>) -> &mut Story {
        if self.commits.is_empty() {
            self.commit(0x100);
        }
        let owned = |row: Row<'_>| row.iter().map(|value| value.map(str::to_owned)).collect();
        let mut keep = |rows: fn(&mut Story) -> &mut Vec<Vec<Option<String>>>, row: Option<Row<'_>>| match row {
            Some(row) => {
                rows(self).push(owned(row));
                rows(self).len() as u32 - 1
            }
            None => NO_ROW,
        };
        let row = keep(|story| &mut story.rows, new);
        let old = keep(|story| &mut story.old, old);
        let commit = self.commits.len() as u32 - 1;
        self.changes.push(Change { op, old_image, bucket: self.bucket, commit, ordinal: self.ordinal, row, old });
        self.ordinal += 1;
        self
    }

    pub(super) fn insert(&mut self, row: Row<'_>) -> &mut Story {
        self.change(Op::Insert, OldImage::None, None, Some(row))
    }

    pub(super) fn update(&mut self, row: Row<'_>) -> &mut Story {
        self.change(Op::Update, OldImage::None, None, Some(row))
    }

    pub(super) fn update_key(&mut self, old: Row<'_>, row: Row<'_>) -> &mut Story {
        self.change(Op::Update, OldImage::Key, Some(old), Some(row))
    }

    pub(super) fn update_full(&mut self, old: Row<'_>, row: Row<'_>) -> &mut Story {
        self.change(Op::Update, OldImage::Full, Some(old), Some(row))
    }

    pub(super) fn delete(&mut self, old: Row<'_>) -> &mut Story {
        self.change(Op::Delete, OldImage::Key, Some(old), None)
    }

    pub(super) fn delete_full(&mut self, old: Row<'_>) -> &mut Story {
        self.change(Op::Delete, OldImage::Full, Some(old), None)
    }

    pub(super) fn batch(&self) -> ChangeBatch {
        ChangeBatch {
            relation: self.relation.clone(),
            commits: self.commits.clone(),
            changes: self.changes.clone(),
            rows: record_batch(&self.relation, &self.rows),
            old: record_batch(&self.relation, &self.old),
            unchanged: vec![None; self.relation.columns.len()],
            unreadable: Vec::new(),
            left_out: LeftOut::default(),
            bytes: 0,
        }
    }

    pub(super) fn staged(&self) -> Staged {
        Staged::untouched(Arc::new(self.batch()))
    }

    /// Staged by a filter that keeps these rows.
    pub(super) fn kept(&self, keep: impl Fn(u32) -> bool) -> Staged {
        let staged = self.staged();
        let of: Vec<u32> = staged.of.into_iter().filter(|&row| keep(row)).collect();
        Staged { documents: pick(&staged.documents, &of), of, ..staged }
    }
}

pub(super) fn pick(batch: &RecordBatch, rows: &[u32]) -> RecordBatch {
    arrow_select::take::take_record_batch(batch, &UInt32Array::from(rows.to_vec())).unwrap()
}

pub(super) fn reject(row: u32) -> Reject {
    Reject {
        row,
        code: "poison".into(),
        message: "a row that traps".into(),
        stage: "enrich".into(),
        plugin_sha256: "9f86".into(),
    }
}

fn record_batch(relation: &Relation, rows: &[Vec<Option<String>>]) -> RecordBatch {
    let column = |at: usize| {
        let values: Vec<Option<&str>> = rows.iter().map(|row| row[at].as_deref()).collect();
        array(relation.columns[at].kind, &values)
    };
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = (0..relation.columns.len()).map(column).collect();
    RecordBatch::try_new_with_options(relation.arrow().clone(), columns, &options).unwrap()
}

/// A column of texts in its kind's Arrow type; dates and times are given as their numbers.
pub(super) fn array(kind: Kind, values: &[Option<&str>]) -> ArrayRef {
    macro_rules! parsed {
        ($builder:ident) => {{
            let mut builder = $builder::new();
            values.iter().for_each(|value| builder.append_option(value.map(|text| text.parse().unwrap())));
            builder.finish()
        }};
    }
    match kind {
        Kind::Bool => Arc::new(parsed!(BooleanBuilder)),
        Kind::Int2 => Arc::new(parsed!(Int16Builder)),
        Kind::Int4 => Arc::new(parsed!(Int32Builder)),
        Kind::Int8 => Arc::new(parsed!(Int64Builder)),
        Kind::Oid => Arc::new(parsed!(UInt32Builder)),
        Kind::Float4 => Arc::new(parsed!(Float32Builder)),
        Kind::Float8 => Arc::new(parsed!(Float64Builder)),
        Kind::Date => Arc::new(parsed!(Date32Builder)),
        Kind::Time => Arc::new(parsed!(Time64MicrosecondBuilder)),
        Kind::Timestamp => Arc::new(parsed!(TimestampMicrosecondBuilder)),
        Kind::TimestampTz => Arc::new(parsed!(TimestampMicrosecondBuilder).with_timezone("UTC")),
        Kind::Bytea => {
            let mut builder = BinaryViewBuilder::new();
            values.iter().for_each(|value| builder.append_option(value.map(str::as_bytes)));
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringViewBuilder::new();
            values.iter().for_each(|value| builder.append_option(*value));
            Arc::new(builder.finish())
        }
    }
}

pub(super) fn encode(encoding: &Encoding, cut: &[Staged]) -> Result<Encoded, Error> {
    let mut encoder = Encoder::new(encoding.clone());
    let first = encoder.encode(cut)?;
    // What an encoder keeps from cut to cut must change nothing.
    let second = encoder.encode(cut)?;
    assert_eq!((&first.body, &first.actions, &first.rejected), (&second.body, &second.actions, &second.rejected));
    check(&first);
    Ok(first)
}

/// What holds for every answer: the actions' lines are the body, each line is JSON.
fn check(encoded: &Encoded) {
    let mut end = 0;
    for action in &encoded.actions {
        assert_eq!(action.start, end);
        end = action.end;
        let lines = std::str::from_utf8(&encoded.body[action.start..end]).unwrap();
        assert!(lines.ends_with('\n'));
        for line in lines.lines() {
            serde_json::from_str::<serde::de::IgnoredAny>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        let expected = if action.kind == crate::ActionKind::Index { 2 } else { 1 };
        assert_eq!(lines.matches('\n').count(), expected, "{lines}");
    }
    assert_eq!(end, encoded.body.len());
}

pub(super) fn body(encoded: &Encoded) -> &str {
    std::str::from_utf8(&encoded.body).unwrap()
}

/// The actions as `index ID DOCUMENT` and `delete ID`, the id with what tells its place.
pub(super) fn told(encoded: &Encoded) -> Vec<String> {
    let mut told = Vec::new();
    let mut lines = body(encoded).lines();
    while let Some(line) = lines.next() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (kind, place) = line.as_object().unwrap().iter().next().unwrap();
        let mut id = place["_id"].as_str().unwrap().to_owned();
        if place["_index"] != "shop" {
            id = format!("{}/{id}", place["_index"].as_str().unwrap());
        }
        if let Some(routing) = place["routing"].as_str() {
            id = format!("{id}@{routing}");
        }
        told.push(if kind == "index" {
            format!("index {id} {}", lines.next().unwrap())
        } else {
            format!("delete {id}")
        });
    }
    told
}
