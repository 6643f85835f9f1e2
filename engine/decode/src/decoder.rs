use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use tidemill_change::{
    BUCKET_BYTES, BUCKET_ROWS, ChangeBatch, Column, Commit, Cut, Kind, LeftOut, Lsn, Relation, TableId, Truncate,
};

use crate::error::{self, Error};
use crate::pgoutput::{self, Reader};
use crate::table::{Place, Table};
use crate::views::VIEW_BYTES_MAX;

/// What a message was.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Begin,
    /// A transaction's end: the commit's own LSN, and where its record ends.
    Commit {
        commit: Lsn,
        end: Lsn,
    },
    /// A table that is new, or no longer what it was. [`Decoder::name_type`] may follow before its first row.
    Relation(Arc<Relation>),
    /// An insert, update or delete, decoded or counted.
    Row {
        table: TableId,
    },
    /// Wanted tables were emptied: [`Decoder::cut`] must come before the next change.
    Truncate,
    /// Anything that changes nothing here: an origin, a type's name, a logical message, a truncate of unwanted tables.
    Other,
}

/// How much of a table is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// Its rows only count towards buckets.
    None,
    /// All of its columns.
    All,
}

/// The transaction that is being read, and the bucket that its last row was in.
#[derive(Debug)]
struct Transaction {
    commit: Commit,
    row_count: u32,
    bucket: u16,
    bucket_rows: u32,
    bucket_bytes: u64,
    /// A truncate stands in a bucket of its own, so that no row next to it has its version.
    bucket_closed: bool,
}

impl Transaction {
    fn new(commit: Commit) -> Transaction {
        Transaction { commit, row_count: 0, bucket: 0, bucket_rows: 0, bucket_bytes: 0, bucket_closed: false }
    }

    fn bucket_is_full(&self) -> bool {
        self.bucket_closed || self.bucket_rows >= BUCKET_ROWS || self.bucket_bytes >= BUCKET_BYTES
    }

    fn next_bucket(&mut self) {
        self.bucket = self.bucket.saturating_add(1);
        (self.bucket_rows, self.bucket_bytes, self.bucket_closed) = (0, 0, false);
    }

    /// Counts a row message, wanted or not, and says where it stands.
    #[inline]
    fn row(&mut self, bytes: usize) -> Place {
        if self.bucket_is_full() {
            self.next_bucket();
        }
        let place = Place { commit: self.commit, bucket: self.bucket, ordinal: self.row_count };
        self.row_count = self.row_count.saturating_add(1);
        self.bucket_rows += 1;
        self.bucket_bytes += bytes as u64;
        place
    }

    fn truncate(&mut self, tables: Vec<TableId>) -> Truncate {
        if self.bucket_rows > 0 || self.bucket_closed {
            self.next_bucket();
        }
        self.bucket_closed = true;
        Truncate { tables, commit: self.commit, bucket: self.bucket }
    }
}

#[derive(Debug)]
struct Known {
    table: Table,
    wanted: Wanted,
    /// It is in `Decoder::touched`.
    touched: bool,
}

/// Reads pgoutput messages (protocol version 1) and gathers their rows, by table, until they are cut off.
///
/// The machine has three states. *Between transactions* everything can be cut and a keepalive moves the span's end on.
/// *Inside one* a cut is allowed only where a bucket is full ([`Decoder::can_cut`]): the next row then begins the next
/// bucket, whether a cut came or not. *After an error* it only repeats that error.
#[derive(Debug)]
pub struct Decoder {
    tables: Vec<Known>,
    by_id: HashMap<TableId, usize>,
    /// The table of the last row: most rows follow one of their own table.
    last: Option<(TableId, usize)>,
    types: HashMap<u32, Kind>,
    /// What was said of a table, which may not be known yet.
    wanted: HashMap<TableId, Wanted>,
    /// What nobody reads of a table, as long as it looks like this.
    left_out: HashMap<TableId, (Arc<Relation>, LeftOut)>,
    transaction: Option<Transaction>,
    last_commit: Lsn,
    /// Where the span of the next cut begins, and where the last whole commit or keepalive ended.
    from: Lsn,
    end: Lsn,
    /// Batches that a change of their table's shape has closed.
    closed: Vec<ChangeBatch>,
    /// Tables with pending changes, in the order of their first.
    touched: Vec<usize>,
    truncate: Option<Truncate>,
    pending_rows: usize,
    pending_bytes: usize,
    failed: Option<Error>,
}

impl Decoder {
    /// A decoder of the stream after `start`.
    pub fn new(start: Lsn) -> Decoder {
        Decoder {
            tables: Vec::new(),
            by_id: HashMap::new(),
            last: None,
            types: HashMap::new(),
            wanted: HashMap::new(),
            left_out: HashMap::new(),
            transaction: None,
            last_commit: Lsn::ZERO,
            from: start,
            end: start,
            closed: Vec::new(),
            touched: Vec::new(),
            truncate: None,
            pending_rows: 0,
            pending_bytes: 0,
            failed: None,
        }
    }

    /// The same decoder for a new connection, which begins after `start`: types, what is wanted and known relations stay,
    /// what was pending is dropped and comes again.
    pub fn restart(&mut self, start: Lsn) {
        let failed = self.failed.is_some();
        let mut tables = std::mem::take(&mut self.tables);
        for known in tables.iter_mut().filter(|known| known.touched || failed) {
            // Not taken: after an error a row is half there.
            known.table = known.table.anew();
            known.touched = false;
        }
        let types = std::mem::take(&mut self.types);
        let wanted = std::mem::take(&mut self.wanted);
        let left_out = std::mem::take(&mut self.left_out);
        let by_id = std::mem::take(&mut self.by_id);
        *self = Decoder { types, wanted, left_out, by_id, tables, ..Decoder::new(start) };
    }

    /// Says what a type is that has no kind of its own, such as a domain or an enum, for relations to come and known.
    pub fn name_type(&mut self, oid: u32, kind: Kind) {
        self.types.insert(oid, kind);
        for index in 0..self.tables.len() {
            let relation = self.tables[index].table.relation();
            if relation.columns.iter().any(|column| column.type_oid == oid && column.kind != kind) {
                let mut columns = relation.columns.clone();
                columns.iter_mut().filter(|column| column.type_oid == oid).for_each(|column| column.kind = kind);
                let Relation { id, schema, name, replica_identity, .. } = &**relation;
                let relation = Relation::new(*id, schema, name, *replica_identity, columns);
                self.set_relation(index, Arc::new(relation));
            }
        }
    }

    /// Sets how much of a table is decoded from its next row on; all of it is the default.
    pub fn want(&mut self, table: TableId, wanted: Wanted) {
        self.wanted.insert(table, wanted);
        if let Some(&index) = self.by_id.get(&table) {
            self.tables[index].wanted = wanted;
        }
    }

    /// The table's rows are counted for buckets and not decoded.
    pub fn ignore(&mut self, table: TableId) {
        self.want(table, Wanted::None);
    }

    /// Of the table, from its next row on, these columns are neither parsed nor kept for as long as it looks like this. Where it
    /// looks otherwise every column is: what nobody needs was found out about another shape.
    pub fn leave_out(&mut self, relation: Arc<Relation>, left_out: LeftOut) {
        let id = relation.id;
        self.left_out.insert(id, (relation, left_out));
        if let Some(&index) = self.by_id.get(&id) {
            self.set_relation(index, Arc::clone(self.tables[index].table.relation()));
        }
    }

    /// A table with nothing pending.
    fn table(&self, relation: Arc<Relation>) -> Table {
        let known = self.left_out.get(&relation.id).filter(|(known, _)| *known == relation);
        let left_out = known.map(|(_, left_out)| left_out.clone()).unwrap_or_default();
        Table::new(relation, left_out)
    }

    pub fn wanted(&self, table: TableId) -> Wanted {
        self.wanted.get(&table).copied().unwrap_or(Wanted::All)
    }

    /// A table as it is now, with its types resolved.
    pub fn relation(&self, table: TableId) -> Option<&Arc<Relation>> {
        self.by_id.get(&table).map(|&index| self.tables[index].table.relation())
    }

    /// Takes one message, the body of an XLogData, at `payload` of the buffer that was read from the socket.
    pub fn message(&mut self, chunk: &Bytes, payload: Range<usize>) -> Result<Message, Error> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.read(chunk, payload).map_err(|error| self.fail(error))
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        let error = error.in_commit(self.transaction.as_ref().map(|transaction| transaction.commit.lsn));
        self.failed.insert(error).clone()
    }

    fn read(&mut self, chunk: &Bytes, payload: Range<usize>) -> Result<Message, Error> {
        if payload.start > payload.end || payload.end > chunk.len() || chunk.len() > VIEW_BYTES_MAX {
            return Err(Error::new(error::Kind::Payload));
        }
        let mut reader = Reader::new(chunk, payload.start, payload.end);
        let tag = reader.u8().map_err(|fault| Error::fault(0, fault))?;
        let fault = |fault| Error::fault(tag, fault);
        match tag {
            b'I' | b'U' | b'D' => self.row(tag, &mut reader, payload.len()),
            b'B' => self.begin(pgoutput::begin(&mut reader).map_err(fault)?),
            b'C' => {
                let (commit, end) = pgoutput::commit(&mut reader).map_err(fault)?;
                self.commit(commit, end)
            }
            b'R' => Ok(self.describe(pgoutput::relation(&mut reader).map_err(fault)?)),
            b'T' => self.truncate(pgoutput::truncate(&mut reader).map_err(fault)?),
            b'Y' | b'O' | b'M' => Ok(Message::Other),
            b'S' | b'E' | b'c' | b'A' => Err(Error::new(error::Kind::Streaming(tag))),
            b'b' | b'P' | b'K' | b'r' | b'p' => Err(Error::new(error::Kind::TwoPhase(tag))),
            _ => Err(Error::new(error::Kind::UnknownTag(tag))),
        }
    }

    fn begin(&mut self, commit: Commit) -> Result<Message, Error> {
        if self.transaction.is_some() {
            return Err(Error::new(error::Kind::NestedBegin));
        }
        let last = self.last_commit;
        self.transaction = Some(Transaction::new(commit));
        if commit.lsn <= last {
            return Err(Error::new(error::Kind::CommitOrder { last }));
        }
        Ok(Message::Begin)
    }

    fn commit(&mut self, commit: Lsn, end: Lsn) -> Result<Message, Error> {
        let transaction = self.transaction.as_ref().ok_or_else(|| Error::new(error::Kind::NoTransaction(b'C')))?;
        if transaction.commit.lsn != commit {
            return Err(Error::new(error::Kind::CommitMismatch { found: commit }));
        }
        if end < commit {
            return Err(Error::new(error::Kind::CommitEnd { end }));
        }
        self.transaction = None;
        self.last_commit = commit;
        self.end = self.end.max(end);
        Ok(Message::Commit { commit, end })
    }

    fn describe(&mut self, described: pgoutput::Described) -> Message {
        let columns = described.columns.into_iter().map(|column| {
            let kind = self.types.get(&column.type_oid).copied();
            Column {
                kind: kind.unwrap_or_else(|| Kind::from_oid(column.type_oid)),
                name: column.name,
                type_oid: column.type_oid,
                type_modifier: column.type_modifier,
                identity: column.identity,
            }
        });
        let (id, columns) = (described.id, columns.collect());
        let relation = Relation::new(id, described.schema, described.name, described.replica_identity, columns);
        let relation = Arc::new(relation);
        match self.by_id.get(&id) {
            Some(&index) if *self.tables[index].table.relation() == relation => return Message::Other,
            Some(&index) => self.set_relation(index, relation.clone()),
            None => {
                self.by_id.insert(id, self.tables.len());
                let wanted = self.wanted(id);
                self.tables.push(Known { table: self.table(relation.clone()), wanted, touched: false });
            }
        }
        Message::Relation(relation)
    }

    /// Gives a table a new shape; what is pending in the old one becomes a batch of its own.
    fn set_relation(&mut self, index: usize, relation: Arc<Relation>) {
        let table = self.table(relation);
        let known = &mut self.tables[index];
        if known.touched && self.failed.is_none() {
            self.closed.push(known.table.take());
        }
        known.touched = false;
        self.touched.retain(|&touched| touched != index);
        known.table = table;
    }

    #[inline]
    fn find(&mut self, table: TableId) -> Result<usize, Error> {
        match self.last {
            Some((last, index)) if last == table => Ok(index),
            _ => {
                let index = self.by_id.get(&table).copied();
                let index = index.ok_or_else(|| Error::new(error::Kind::UnknownRelation(table)))?;
                self.last = Some((table, index));
                Ok(index)
            }
        }
    }

    fn row(&mut self, tag: u8, reader: &mut Reader<'_>, bytes: usize) -> Result<Message, Error> {
        let table = TableId(reader.u32().map_err(|fault| Error::fault(tag, fault))?);
        let index = self.find(table)?;
        if self.truncate.is_some() {
            return Err(Error::new(error::Kind::TruncateNotCut));
        }
        let transaction = self.transaction.as_mut().ok_or_else(|| Error::new(error::Kind::NoTransaction(tag)))?;
        let place = transaction.row(bytes);
        let known = &mut self.tables[index];
        if known.wanted == Wanted::None {
            return Ok(Message::Row { table });
        }
        let done = match tag {
            b'I' => known.table.insert(place, reader),
            b'U' => known.table.update(place, reader),
            _ => known.table.delete(place, reader),
        };
        done.map_err(|at| Error::row(tag, at, known.table.relation()))?;
        known.table.add_bytes(bytes);
        if !known.touched {
            known.touched = true;
            self.touched.push(index);
        }
        self.pending_rows += 1;
        self.pending_bytes += bytes;
        Ok(Message::Row { table })
    }

    fn truncate(&mut self, mut tables: Vec<TableId>) -> Result<Message, Error> {
        for &table in &tables {
            self.find(table)?;
        }
        if self.truncate.is_some() {
            return Err(Error::new(error::Kind::TruncateNotCut));
        }
        tables.retain(|&table| self.wanted(table) != Wanted::None);
        let transaction = self.transaction.as_mut().ok_or_else(|| Error::new(error::Kind::NoTransaction(b'T')))?;
        let truncate = transaction.truncate(tables);
        if truncate.tables.is_empty() {
            return Ok(Message::Other);
        }
        self.truncate = Some(truncate);
        Ok(Message::Truncate)
    }

    /// The server has sent all up to `wal_end`: between transactions the span ends there, inside one nothing is said.
    pub fn keepalive(&mut self, wal_end: Lsn) {
        if self.transaction.is_none() && self.failed.is_none() {
            self.end = self.end.max(wal_end);
        }
    }

    /// Where the last whole commit or keepalive ended.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Whether a cut may come here: between two commits, or inside a transaction where its bucket is full.
    pub fn can_cut(&self) -> bool {
        self.failed.is_none() && self.transaction.as_ref().is_none_or(Transaction::bucket_is_full)
    }

    /// Whether a cut has to come before the next change, since a truncate ends a cut.
    pub fn must_cut(&self) -> bool {
        self.truncate.is_some()
    }

    /// The decoded changes that wait for a cut.
    pub fn pending_rows(&self) -> usize {
        self.pending_rows
    }

    /// The size of their messages.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Takes all that is pending: tables in the order of their first change, a table's shapes in theirs.
    ///
    /// # Panics
    ///
    /// Where [`Decoder::can_cut`] is false: such a cut would split a document's changes that share a version.
    pub fn cut(&mut self) -> Cut {
        assert!(self.can_cut(), "a cut may only come where can_cut says so");
        let mut batches = std::mem::take(&mut self.closed);
        for index in self.touched.drain(..) {
            let known = &mut self.tables[index];
            known.touched = false;
            batches.push(known.table.take());
        }
        (self.pending_rows, self.pending_bytes) = (0, 0);
        let (from, to) = (self.from, self.transaction.is_none().then_some(self.end));
        self.from = to.unwrap_or(from);
        Cut { batches, truncate: self.truncate.take(), from, to }
    }
}
