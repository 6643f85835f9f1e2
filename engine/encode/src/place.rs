//! Where a document is: index, id and routing, made from the columns of its row.
//!
//! A place is written into one arena for the whole cut, escaped as the action line needs it: escaping is injective, so two
//! places are the same document if their bytes are the same.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow_array::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::quality::FixedState;
use sha2::{Digest, Sha256};
use tidemill_change::{Change, Kind, NO_ROW, OldImage, Op, Relation};

use crate::column::Column;
use crate::given::Given;
use crate::placeless::{Placeless, What};
use crate::template::{self, Piece, Template};
use crate::text::append_escaped;
use crate::{Encoding, Error, IdRule, LongId};

/// The longest `_id` that the servers take, in bytes; one that is longer makes them refuse the whole request.
pub const ID_BYTES_MAX: usize = 512;

/// What the id of a row begins with whose own id would be too long; behind it the SHA-256 of that id in base64url.
pub const LONG_ID_PREFIX: &str = "sha256:";

/// A rule for one name, held against a relation.
#[derive(Debug, Default)]
struct Name {
    parts: Vec<Part>,
    guard: Guard,
}

#[derive(Debug)]
enum Part {
    Literal(Box<[u8]>),
    /// A column, by its place in [`Places::used`]. `guard` is set where its text must not be taken for what joins
    /// it to the next part.
    Column {
        slot: usize,
        guard: bool,
    },
}

/// The rules of a stream held against one relation.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) relation: Arc<Relation>,
    /// The columns that index, id and routing are made of.
    pub(crate) used: Vec<usize>,
    /// Empty where every action has the same index, which then stands in the action line's frame.
    index: Name,
    id: Name,
    routing: Name,
    long_id: LongId,
    /// The index, where it is the same for all rows.
    constant_index: Option<Constant>,
    has_routing: bool,
    /// See [`Encoding::exclusive`].
    pub(crate) are_shared: bool,
    /// The columns of the primary key among [`Places::used`], where stages name documents.
    pub(crate) key: Vec<usize>,
}

/// A name that is the same for all rows.
#[derive(Debug)]
struct Constant {
    name: String,
    hash: u64,
}

/// A place in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    start: usize,
    index_len: u32,
    id_len: u32,
    routing_len: u32,
    /// Of index and id, without the routing: a document that moves between two routings may stay on its shard.
    pub(crate) key: u64,
}

impl Place {
    pub(crate) fn bytes(self, arena: &[u8]) -> &[u8] {
        let len = self.index_len + self.id_len + self.routing_len;
        &arena[self.start..self.start + len as usize]
    }

    pub(crate) fn index(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..][..self.index_len as usize]
    }

    pub(crate) fn id(self, arena: &[u8]) -> &[u8] {
        &arena[self.start + self.index_len as usize..][..self.id_len as usize]
    }

    pub(crate) fn routing(self, arena: &[u8]) -> &[u8] {
        &arena[self.start + (self.index_len + self.id_len) as usize..][..self.routing_len as usize]
    }

    pub(crate) fn has_routing(self) -> bool {
        self.routing_len > 0
    }

    pub(crate) fn is(self, other: Place, arena: &[u8]) -> bool {
        let lens = |place: Place| (place.index_len, place.id_len, place.routing_len);
        lens(self) == lens(other) && self.bytes(arena) == other.bytes(arena)
    }
}

/// The columns of a batch that places are made of, in the order of [`Places::used`].
#[derive(Debug)]
pub(crate) struct Images<'a> {
    new: Vec<Column<'a>>,
    old: Vec<Column<'a>>,
}

/// Which image of a change a place is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Image {
    New,
    Old,
}

impl Places {
    pub(crate) fn resolve(encoding: &Encoding, relation: &Arc<Relation>) -> Result<Places, Error> {
        let mut used = Vec::new();
        let constant_index = encoding.constant_index().map(|name| {
            let mut escaped = Vec::new();
            append_escaped(&mut escaped, name.as_bytes());
            Constant { hash: hash(&escaped), name }
        });
        let index = match constant_index {
            Some(_) => Name::default(),
            None => Name::from_template(&encoding.index, relation, &mut used, false)?,
        };
        let id = match &encoding.id {
            IdRule::Template(template) => Name::from_template(template, relation, &mut used, template.is_guarded())?,
            IdRule::Key(keys) => {
                let key = keys.get(&relation.id).filter(|key| !key.is_empty());
                // Stages may give an id where no key does.
                let nameless = Vec::new();
                let key = key.or(encoding.keys.is_some().then_some(&nameless)).ok_or_else(|| {
                    Error::shape(format!("{relation} has no key that ids could be made of: set `id` to a template"))
                })?;
                Name::from_key(key, relation, &mut used)?
            }
        };
        let routing = match &encoding.routing {
            Some(template) => Name::from_template(template, relation, &mut used, false)?,
            None => Name::default(),
        };
        let mut key = Vec::new();
        for name in encoding.keys.iter().filter_map(|keys| keys.get(&relation.id)).flatten() {
            let Some(at) = relation.column(name) else { continue };
            let Part::Column { slot, .. } = Part::column(at, &mut used, false) else { continue };
            key.push(slot);
        }
        Ok(Places {
            relation: relation.clone(),
            key,
            used,
            index,
            id,
            routing,
            long_id: encoding.long_id,
            constant_index,
            has_routing: encoding.routing.is_some(),
            are_shared: !encoding.exclusive.contains(&relation.id),
        })
    }

    pub(crate) fn images<'a>(&self, rows: &'a RecordBatch, old: &'a RecordBatch) -> Result<Images<'a>, Error> {
        let columns = |batch: &'a RecordBatch| {
            let fields = self.relation.arrow().fields();
            let column = |&at: &usize| Column::new(&fields[at], batch.column(at).as_ref());
            self.used.iter().map(column).collect::<Result<Vec<_>, _>>()
        };
        Ok(Images { new: columns(rows)?, old: columns(old)? })
    }

    /// Writes a change's place to the end of the arena; where there is none, the arena is left as it was.
    pub(crate) fn write(
        &self,
        change: &Change,
        image: Image,
        images: &Images<'_>,
        given: Given<'_>,
        arena: &mut Arena,
    ) -> Result<Place, Placeless> {
        let start = arena.bytes.len();
        let row = Row { places: self, change, image, images, given };
        row.write(arena).inspect_err(|_| arena.bytes.truncate(start))
    }

    /// The primary key of an image: equal for equal keys alone.
    pub(crate) fn key_of(&self, images: &Images<'_>, image: Image, row: u32) -> Vec<u8> {
        let (columns, row) = match image {
            Image::New => (&images.new, row as usize),
            Image::Old => (&images.old, row as usize),
        };
        let mut key = Vec::new();
        for slot in &self.key {
            let start = key.len();
            key.extend_from_slice(&[0; 4]);
            if !columns[*slot].is_null(row) {
                columns[*slot].append_text(row, &mut key);
            }
            let len = (key.len() - start) as u32;
            key[start..start + 4].copy_from_slice(&len.to_le_bytes());
        }
        key
    }

    pub(crate) fn constant_index(&self) -> Option<&str> {
        self.constant_index.as_ref().map(|constant| constant.name.as_str())
    }
}

/// The places of a cut, and room to make the next one.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pub(crate) bytes: Vec<u8>,
    text: Vec<u8>,
    part: Vec<u8>,
}

struct Row<'a> {
    places: &'a Places,
    change: &'a Change,
    image: Image,
    images: &'a Images<'a>,
    given: Given<'a>,
}

impl Row<'_> {
    fn write(&self, arena: &mut Arena) -> Result<Place, Placeless> {
        let places = self.places;
        let start = arena.bytes.len();
        match self.given.index {
            Some(index) => self.given(index, What::Index, arena)?,
            None if places.constant_index.is_none() => self.name(&places.index, What::Index, arena)?,
            None => {}
        }
        let index_end = arena.bytes.len();
        match self.given.id {
            Some(id) => self.given(id, What::Id, arena)?,
            None => self.name(&places.id, What::Id, arena)?,
        }
        let id_end = arena.bytes.len();
        let key = match &places.constant_index {
            Some(constant) => key(constant.hash, &arena.bytes[index_end..id_end]),
            None => key(hash(&arena.bytes[start..index_end]), &arena.bytes[index_end..id_end]),
        };
        match self.given.routing {
            Some(routing) => self.given(routing, What::Routing, arena)?,
            None if places.has_routing => self.name(&places.routing, What::Routing, arena)?,
            None => {}
        }
        Ok(Place {
            start,
            index_len: (index_end - start) as u32,
            id_len: (id_end - index_end) as u32,
            routing_len: (arena.bytes.len() - id_end) as u32,
            key,
        })
    }

    /// Appends a name that a stage gave.
    fn given(&self, name: Option<&str>, what: What, arena: &mut Arena) -> Result<(), Placeless> {
        let name = self.given.check(what, name)?;
        if what == What::Id && name.len() > ID_BYTES_MAX {
            match self.places.long_id {
                LongId::Refuse => return Err(Placeless::TooLong(name.len())),
                LongId::Hash => {
                    arena.text.clear();
                    arena.text.extend_from_slice(name.as_bytes());
                    hash_id(&mut arena.text);
                    append_escaped(&mut arena.bytes, &arena.text);
                    return Ok(());
                }
            }
        }
        append_escaped(&mut arena.bytes, name.as_bytes());
        Ok(())
    }

    /// Appends one name to the arena, escaped.
    fn name(&self, name: &Name, what: What, arena: &mut Arena) -> Result<(), Placeless> {
        let Arena { bytes, text, part } = arena;
        // The key that most tables have: digits need no escape and are never too long.
        if let [Part::Column { slot, .. }] = name.parts.as_slice() {
            let (column, row) = self.cell(*slot)?;
            if !column.is_null(row) && column.append_digits(row, bytes) {
                return Ok(());
            }
        }
        text.clear();
        for piece in &name.parts {
            match piece {
                Part::Literal(literal) => text.extend_from_slice(literal),
                Part::Column { slot, guard } => {
                    let (column, row) = self.cell(*slot)?;
                    if column.is_null(row) {
                        return Err(Placeless::Null(what));
                    }
                    if *guard {
                        part.clear();
                        column.append_text(row, part);
                        name.guard.append(text, part);
                    } else {
                        column.append_text(row, text);
                    }
                }
            }
        }
        if text.is_empty() {
            return Err(Placeless::Empty(what));
        }
        if what == What::Id && text.len() > ID_BYTES_MAX {
            match self.places.long_id {
                LongId::Refuse => return Err(Placeless::TooLong(text.len())),
                LongId::Hash => hash_id(text),
            }
        }
        append_escaped(bytes, text);
        Ok(())
    }

    /// Where a column's value is. An old key holds the columns of the replica identity and no others; for those the
    /// new image stands in, since the host refuses a stream whose places it could not tell that way.
    #[inline(always)]
    fn cell(&self, slot: usize) -> Result<(&Column<'_>, usize), Placeless> {
        let (change, images) = (self.change, self.images);
        let of_new = || (&images.new[slot], change.row as usize);
        match (self.image, change.old_image) {
            (Image::New, _) | (Image::Old, OldImage::None) => Ok(of_new()),
            (Image::Old, OldImage::Full) => Ok((&images.old[slot], change.old as usize)),
            (Image::Old, OldImage::Key) => {
                let at = self.places.used[slot];
                if self.places.relation.columns[at].identity {
                    Ok((&images.old[slot], change.old as usize))
                } else if change.op != Op::Delete && change.row != NO_ROW {
                    Ok(of_new())
                } else {
                    Err(Placeless::Untold(at))
                }
            }
        }
    }
}

/// The key of a document: the same in every cut and every run.
fn key(index: u64, id: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(index).build_hasher();
    hasher.write(id);
    hasher.finish()
}

fn hash(name: &[u8]) -> u64 {
    key(0, name)
}

impl Template {
    /// What the ids begin with that this template makes of a table's rows, as far as it is the same for all of them. A long
    /// id that was hashed begins otherwise.
    pub fn id_prefix(&self, relation: &Relation) -> String {
        let (mut prefix, guard) = (Vec::new(), Guard::of(self));
        for piece in self.pieces() {
            match piece {
                Piece::Literal(text) => prefix.extend_from_slice(text.as_bytes()),
                Piece::Schema if self.is_guarded() => guard.append(&mut prefix, relation.schema.as_bytes()),
                Piece::Table if self.is_guarded() => guard.append(&mut prefix, relation.name.as_bytes()),
                Piece::Schema => prefix.extend_from_slice(relation.schema.as_bytes()),
                Piece::Table => prefix.extend_from_slice(relation.name.as_bytes()),
                Piece::Column(_) => break,
            }
        }
        String::from_utf8_lossy(&prefix).into_owned()
    }

    /// Several parts make an id, so that none may be taken for what joins them.
    fn is_guarded(&self) -> bool {
        self.pieces().iter().filter(|piece| !matches!(piece, Piece::Literal(_))).count() > 1
    }
}

impl Name {
    fn from_template(
        template: &Template,
        relation: &Relation,
        used: &mut Vec<usize>,
        is_guarded: bool,
    ) -> Result<Name, Error> {
        let guard = Guard::of(template);
        let fixed = |text: &str| {
            let mut bytes = Vec::new();
            if is_guarded {
                guard.append(&mut bytes, text.as_bytes());
            } else {
                bytes.extend_from_slice(text.as_bytes());
            }
            Part::Literal(bytes.into())
        };
        let mut parts = Vec::with_capacity(template.pieces().len());
        for piece in template.pieces() {
            parts.push(match piece {
                Piece::Literal(text) => Part::Literal(text.as_bytes().into()),
                Piece::Schema => fixed(&relation.schema),
                Piece::Table => fixed(&relation.name),
                Piece::Column(name) => {
                    let at = template::column(&template.to_string(), name, relation)?;
                    Part::column(at, used, is_guarded && !guard.spares(relation.columns[at].kind))
                }
            });
        }
        Ok(Name { parts, guard })
    }

    fn from_key(key: &[String], relation: &Relation, used: &mut Vec<usize>) -> Result<Name, Error> {
        let (mut parts, guard) = (Vec::with_capacity(2 * key.len()), Guard::default());
        for name in key {
            let at = relation.column(name).ok_or_else(|| {
                Error::shape(format!(
                    "{relation} has no column `{name}`, which its key was made of: read its key again"
                ))
            })?;
            if !parts.is_empty() {
                parts.push(Part::Literal(b"-".as_slice().into()));
            }
            parts.push(Part::column(at, used, key.len() > 1 && !guard.spares(relation.columns[at].kind)));
        }
        Ok(Name { parts, guard })
    }
}

impl Part {
    fn column(at: usize, used: &mut Vec<usize>, guard: bool) -> Part {
        let slot = used.iter().position(|&known| known == at).unwrap_or_else(|| {
            used.push(at);
            used.len() - 1
        });
        Part::Column { slot, guard }
    }
}

/// Which bytes of a part are escaped, so that the part ends where the first of them stands that is not: there begins what
/// joins it to the next.
#[derive(Clone, Debug)]
struct Guard {
    escaped: [bool; 256],
    /// Numbers too: what joins parts has signs that a number has, beyond the `-` before it.
    of_numbers: bool,
}

impl Default for Guard {
    /// As the parts of a key are joined.
    fn default() -> Guard {
        let mut escaped = [false; 256];
        escaped[usize::from(b'%')] = true;
        escaped[usize::from(b'-')] = true;
        Guard { escaped, of_numbers: false }
    }
}

impl Guard {
    fn of(template: &Template) -> Guard {
        let mut guard = Guard::default();
        let pieces = template.pieces();
        let is_part = |piece: &Piece| !matches!(piece, Piece::Literal(_));
        let (Some(first), Some(last)) = (pieces.iter().position(is_part), pieces.iter().rposition(is_part)) else {
            return guard;
        };
        for piece in &pieces[first..last] {
            let Piece::Literal(joint) = piece else { continue };
            for &byte in joint.as_bytes() {
                guard.escaped[usize::from(byte)] = true;
                guard.of_numbers |= byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+');
            }
            if !joint.is_ascii() {
                // Characters are escaped whole, so that the id stays text.
                guard.escaped[128..].fill(true);
            }
        }
        guard
    }

    /// Whether values of this type stand in ids as they are, since their text ends where its form ends, whatever follows:
    /// a `-` within it cannot be taken for the one behind it.
    fn spares(&self, kind: Kind) -> bool {
        use Kind::{Float4, Float8, Int2, Int4, Int8, Numeric, Oid, Uuid};
        match kind {
            Uuid => true,
            Int2 | Int4 | Int8 | Oid | Float4 | Float8 | Numeric => !self.of_numbers,
            _ => false,
        }
    }

    fn append(&self, to: &mut Vec<u8>, part: &[u8]) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for &byte in part {
            if self.escaped[usize::from(byte)] {
                to.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            } else {
                to.push(byte);
            }
        }
    }
}

fn hash_id(text: &mut Vec<u8>) {
    let hash = Sha256::digest(&text);
    text.clear();
    text.extend_from_slice(LONG_ID_PREFIX.as_bytes());
    text.extend_from_slice(URL_SAFE_NO_PAD.encode(hash).as_bytes());
}
