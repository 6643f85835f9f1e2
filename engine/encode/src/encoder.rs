//! The encoder: a plan of the cut, then one pass that writes what stays of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use tidemill_change::{NO_ROW, Relation, Staged, Version};

use crate::body::{Bodies, grow};
use crate::column::Rules;
use crate::document::Shape;
use crate::lane::Lane;
use crate::number::append_i64;
use crate::place::Places;
use crate::plan::Plan;
use crate::planned::Planned;
use crate::text::{Run, append_escaped, put, put_slice};
use crate::{Action, ActionKind, Encoded, Encoding, Error, refuse};

/// How many relations and schemas are remembered; beyond it the one that was used longest ago is resolved anew.
const REMEMBERED_MAX: usize = 256;

/// Turns the cuts of one stream into bodies. It keeps memory and what it resolved from cut to cut, and nothing else.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    rules: Rules,
    frame: Frame,
    plan: Plan,
    bodies: Bodies,
    places: Vec<Arc<Places>>,
    shapes: Vec<Arc<Shape>>,
}

impl Encoder {
    pub fn new(encoding: Encoding) -> Encoder {
        let rules = Rules { numbers: encoding.numbers, nonfinite: encoding.nonfinite };
        Encoder {
            rules,
            frame: Frame::new(&encoding),
            encoding,
            plan: Plan::default(),
            bodies: Bodies::default(),
            places: Vec::new(),
            shapes: Vec::new(),
        }
    }

    /// Whether rows of the relation can be placed: each column is there that index, id and routing are made of.
    pub fn check(&self, relation: &Arc<Relation>) -> Result<(), Error> {
        Places::resolve(&self.encoding, relation).map(drop)
    }

    /// Encodes one cut of whole commits. After an error nothing has changed, and the same cut can be given again.
    pub fn encode(&mut self, cut: &[Staged]) -> Result<Encoded, Error> {
        self.encode_cut(cut, false)
    }

    /// The same for a cut that ends inside a transaction; those that follow go on with it, or begin it again.
    pub fn encode_part(&mut self, cut: &[Staged]) -> Result<Encoded, Error> {
        self.encode_cut(cut, true)
    }

    fn encode_cut(&mut self, cut: &[Staged], goes_on: bool) -> Result<Encoded, Error> {
        let mut lanes = Vec::with_capacity(cut.len());
        for staged in cut {
            let places = self.places(&staged.source.relation)?;
            let shape = self.shape(staged.documents.schema_ref())?;
            lanes.push(Lane::new(staged, places, shape, self.rules)?);
        }
        self.plan.make(&self.encoding, &mut lanes, goes_on)?;
        let (body, actions) = self.write(&lanes);
        let arena = &self.plan.arena.bytes;
        let rejected = self.plan.refused.iter().map(|refused| {
            let lane = &lanes[refused.batch as usize];
            refuse::rejected(refused, lane, arena)
        });
        let rejected = rejected.collect::<Result<_, _>>()?;
        Ok(Encoded { body, actions, rejected, counts: self.plan.counts, indices: self.indices() })
    }

    /// The indices that the plan's actions name, where stages may name them.
    fn indices(&self) -> Vec<(String, u32)> {
        let mut indices: HashMap<&[u8], u32> = HashMap::new();
        if self.encoding.keys.is_some() {
            for planned in self.plan.actions.iter().filter(|planned| planned.live) {
                indices.entry(planned.place.index(&self.plan.arena.bytes)).or_insert(planned.batch);
            }
        }
        let named = indices.into_iter().map(|(index, batch)| (refuse::unescaped(index), batch));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named
    }

    fn places(&mut self, relation: &Arc<Relation>) -> Result<Arc<Places>, Error> {
        let known = |places: &Arc<Places>| Arc::ptr_eq(&places.relation, relation) || places.relation == *relation;
        recall(&mut self.places, known, || Places::resolve(&self.encoding, relation))
    }

    fn shape(&mut self, schema: &SchemaRef) -> Result<Arc<Shape>, Error> {
        let known = |shape: &Arc<Shape>| Arc::ptr_eq(&shape.schema, schema) || shape.schema == *schema;
        recall(&mut self.shapes, known, || {
            Shape::check_reserved(schema)?;
            Ok(Shape::new(schema))
        })
    }

    /// Writes the actions that stay of the plan.
    fn write(&mut self, lanes: &[Lane<'_>]) -> (Bytes, Vec<Action>) {
        let plan = &self.plan;
        let count = plan.actions.len() - plan.counts.superseded.min(plan.actions.len());
        let mut actions = Vec::with_capacity(count);
        let mut body = self.bodies.take(estimate(lanes, count, &self.frame));
        let mut end = 0;
        for planned in plan.actions.iter().filter(|planned| planned.live) {
            self.frame.set_version(planned.version);
            let writer = Writer { frame: &self.frame, arena: &plan.arena.bytes, rules: self.rules };
            let lane = &lanes[planned.batch as usize];
            let start = end;
            end = loop {
                match writer.put(planned, lane, &mut body, start) {
                    Some(end) => break end,
                    None => grow(&mut body, start),
                }
            };
            actions.push(Action {
                kind: if planned.document == NO_ROW { ActionKind::Delete } else { ActionKind::Index },
                serial: planned.serial,
                batch: planned.batch,
                change: planned.change,
                key: planned.place.key,
                version: planned.version,
                start,
                end,
            });
        }
        (self.bodies.give(body, end), actions)
    }
}

/// Finds what was resolved before, or resolves it; the last used is first.
fn recall<T>(
    known: &mut Vec<Arc<T>>,
    is: impl Fn(&Arc<T>) -> bool,
    resolve: impl FnOnce() -> Result<T, Error>,
) -> Result<Arc<T>, Error> {
    match known.iter().position(is) {
        Some(at) => known[..=at].rotate_right(1),
        None => {
            known.truncate(REMEMBERED_MAX - 1);
            known.insert(0, Arc::new(resolve()?));
        }
    }
    Ok(known[0].clone())
}

/// How large the body will be, mostly: a row that does not fit makes it longer.
fn estimate(lanes: &[Lane<'_>], count: usize, frame: &Frame) -> usize {
    let values: usize = lanes.iter().map(|lane| lane.staged.source.bytes).sum();
    let overhead = lanes.iter().map(|lane| lane.shape.overhead()).max().unwrap_or(0);
    values + values / 8 + count * (overhead + frame.overhead())
}

/// What is the same in all action lines, and what is the same in all of one version.
#[derive(Debug)]
struct Frame {
    index_start: Run,
    delete_start: Run,
    /// Between the index and the id, where the index is not part of the start.
    index_to_id: Option<Run>,
    id_to_routing: Option<Run>,
    /// What follows the version in the line of a document.
    index_tail: Vec<u8>,
    version: Option<Version>,
    index_end: Run,
    delete_end: Run,
    line: Vec<u8>,
}

const VERSION: &[u8] = b"\",\"version\":";
const VERSION_TYPE: &[u8] = b",\"version_type\":\"external_gte\"";

impl Frame {
    fn new(encoding: &Encoding) -> Frame {
        let constant = encoding.constant_index();
        let start = |kind: &str| {
            let mut start = format!("{{\"{kind}\":{{\"_index\":\"").into_bytes();
            if let Some(index) = &constant {
                append_escaped(&mut start, index.as_bytes());
                start.extend_from_slice(INDEX_TO_ID);
            }
            Run::new(&start)
        };
        let is_routed = encoding.routing.is_some() || encoding.keys.is_some();
        let mut index_tail = VERSION_TYPE.to_vec();
        if let Some(pipeline) = &encoding.pipeline {
            index_tail.extend_from_slice(b",\"pipeline\":\"");
            append_escaped(&mut index_tail, pipeline.as_bytes());
            index_tail.push(b'"');
        }
        index_tail.extend_from_slice(LINE_END);
        Frame {
            index_start: start("index"),
            delete_start: start("delete"),
            index_to_id: constant.is_none().then(|| Run::new(INDEX_TO_ID)),
            id_to_routing: is_routed.then(|| Run::new(b"\",\"routing\":\"")),
            index_tail,
            version: None,
            index_end: Run::new(b""),
            delete_end: Run::new(b""),
            line: Vec::new(),
        }
    }

    /// Makes the ends of the lines anew where another version begins.
    #[inline(always)]
    fn set_version(&mut self, version: Version) {
        if self.version != Some(version) {
            self.make_version(version);
        }
    }

    #[inline(never)]
    fn make_version(&mut self, version: Version) {
        self.version = Some(version);
        self.line.clear();
        self.line.extend_from_slice(VERSION);
        append_i64(&mut self.line, version.get() as i64);
        let end = self.line.len();
        self.line.extend_from_slice(&self.index_tail);
        self.index_end.set(&self.line);
        self.line.truncate(end);
        self.line.extend_from_slice(VERSION_TYPE);
        self.line.extend_from_slice(LINE_END);
        self.delete_end.set(&self.line);
    }

    /// About what a line has besides its place.
    fn overhead(&self) -> usize {
        self.index_start.len() + self.index_tail.len() + 64
    }
}

const INDEX_TO_ID: &[u8] = b"\",\"_id\":\"";
const LINE_END: &[u8] = b"}}\n";

#[derive(Clone, Copy)]
struct Writer<'a> {
    frame: &'a Frame,
    arena: &'a [u8],
    rules: Rules,
}

impl Writer<'_> {
    /// Writes an action's line, and the document's.
    #[inline]
    fn put(&self, planned: &Planned, lane: &Lane<'_>, out: &mut [u8], pos: usize) -> Option<usize> {
        let frame = self.frame;
        if planned.document == NO_ROW {
            let pos = frame.delete_start.put(out, pos)?;
            let pos = self.put_place(planned, out, pos)?;
            return frame.delete_end.put(out, pos);
        }
        let pos = frame.index_start.put(out, pos)?;
        let pos = self.put_place(planned, out, pos)?;
        let pos = frame.index_end.put(out, pos)?;
        let pos = lane.shape.put(&lane.columns, planned.document as usize, out, pos, self.rules)?;
        put(out, pos, b"\n", 1)
    }

    #[inline(always)]
    fn put_place(&self, planned: &Planned, out: &mut [u8], mut pos: usize) -> Option<usize> {
        if let Some(index_to_id) = &self.frame.index_to_id {
            pos = put_slice(out, pos, planned.place.index(self.arena))?;
            pos = index_to_id.put(out, pos)?;
        }
        pos = put_slice(out, pos, planned.place.id(self.arena))?;
        if let Some(id_to_routing) = &self.frame.id_to_routing
            && planned.place.has_routing()
        {
            pos = id_to_routing.put(out, pos)?;
            pos = put_slice(out, pos, planned.place.routing(self.arena))?;
        }
        Some(pos)
    }
}
