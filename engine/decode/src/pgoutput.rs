//! The parts of pgoutput's messages (protocol version 1), byte by byte: what is in a message, not what it means.

use bytes::Bytes;
use tidemill_change::{Commit, Lsn, ReplicaIdentity, TableId};

use crate::error::Fault;
use crate::views::Cell;

/// Microseconds from 1970-01-01 to 2000-01-01, where Postgres counts from.
pub(crate) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Reads one message; every read fails with [`Fault::Short`] past its end.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    chunk: &'a Bytes,
    /// The chunk up to the message's end.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The caller has checked that `start <= end <= chunk.len()`.
    pub(crate) fn new(chunk: &'a Bytes, start: usize, end: usize) -> Reader<'a> {
        Reader { chunk, bytes: &chunk[..end], at: start }
    }

    pub(crate) fn chunk(&self) -> &'a Bytes {
        self.chunk
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.bytes[self.at..].first_chunk().ok_or(Fault::Short)?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_be_bytes)
    }

    fn lsn(&mut self) -> Result<Lsn, Fault> {
        self.array().map(u64::from_be_bytes).map(Lsn)
    }

    fn time_us(&mut self) -> Result<i64, Fault> {
        self.array().map(|bytes| i64::from_be_bytes(bytes).saturating_add(POSTGRES_EPOCH_US))
    }

    /// A length and as many bytes.
    #[inline]
    pub(crate) fn cell(&mut self) -> Result<Cell<'a>, Fault> {
        let len = self.u32()? as usize;
        let start = self.at;
        if len > self.bytes.len() - start {
            return Err(Fault::Short);
        }
        self.at = start + len;
        Ok(Cell::Chunk { chunk: self.chunk, start, end: self.at })
    }

    /// Text up to a zero byte.
    pub(crate) fn string(&mut self) -> Result<String, Fault> {
        let rest = &self.bytes[self.at..];
        let len = memchr::memchr(0, rest).ok_or(Fault::Short)?;
        self.at += len + 1;
        String::from_utf8(rest[..len].to_vec()).map_err(|_| Fault::NotUtf8)
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Fault::Trailing) }
    }
}

pub(crate) fn begin(reader: &mut Reader<'_>) -> Result<Commit, Fault> {
    Ok(Commit { lsn: reader.lsn()?, time_us: reader.time_us()?, xid: reader.u32()? })
}

/// The commit's LSN and where it ends.
pub(crate) fn commit(reader: &mut Reader<'_>) -> Result<(Lsn, Lsn), Fault> {
    let _flags = reader.u8()?;
    let ends = (reader.lsn()?, reader.lsn()?);
    reader.time_us()?;
    Ok(ends)
}

/// A table as the message describes it; what kinds the types are is the decoder's to say.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) id: TableId,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) replica_identity: ReplicaIdentity,
    pub(crate) columns: Vec<DescribedColumn>,
}

#[derive(Debug)]
pub(crate) struct DescribedColumn {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
    pub(crate) identity: bool,
}

pub(crate) fn relation(reader: &mut Reader<'_>) -> Result<Described, Fault> {
    let id = TableId(reader.u32()?);
    let schema = match reader.string()? {
        // How pgoutput writes pg_catalog.
        empty if empty.is_empty() => "pg_catalog".to_owned(),
        schema => schema,
    };
    let name = reader.string()?;
    let code = reader.u8()?;
    let replica_identity = ReplicaIdentity::from_code(code).ok_or(Fault::Tag(code))?;
    let count = reader.u16()?;
    let columns = (0..count).map(|_| {
        let identity = reader.u8()? & 1 != 0;
        let (name, type_oid, type_modifier) = (reader.string()?, reader.u32()?, reader.i32()?);
        Ok(DescribedColumn { name, type_oid, type_modifier, identity })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(Described { id, schema, name, replica_identity, columns })
}

pub(crate) fn truncate(reader: &mut Reader<'_>) -> Result<Vec<TableId>, Fault> {
    let count = reader.u32()?;
    let _options = reader.u8()?;
    // Not collected by `count`, which a broken message may put at four billion.
    let mut tables = Vec::new();
    for _ in 0..count {
        tables.push(TableId(reader.u32()?));
    }
    Ok(tables)
}
