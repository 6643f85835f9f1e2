//! What a slot holds, peeked at: row messages of one table, with the text of each value as it came.
//!
//! The engine's decoder makes columns of such messages and keeps no text; a capture is to go through that decoder later, so
//! here messages are only taken apart.

use tidemill_change::{Lsn, Op};

use super::row::{Cell, CommitInfo, POSTGRES_EPOCH_US, RowChange};

/// Takes messages one after the other, and hands out the changes of one table.
#[derive(Debug)]
pub(super) struct Taker {
    table: u32,
    columns: usize,
    commit: Option<CommitInfo>,
}

const CUT_SHORT: &str = "a message of the slot ends before its time";

impl Taker {
    pub(super) fn new(table: u32, columns: usize) -> Taker {
        Taker { table, columns, commit: None }
    }

    pub(super) fn take(&mut self, message: &[u8]) -> Result<Option<RowChange>, String> {
        let mut reader = Reader(message);
        let op = match reader.u8()? {
            b'B' => {
                let (lsn, time) = (Lsn(reader.u64()?), reader.u64()? as i64);
                self.commit = Some(CommitInfo { lsn, time_us: time.saturating_add(POSTGRES_EPOCH_US) });
                return Ok(None);
            }
            b'I' => Op::Insert,
            b'U' => Op::Update,
            b'D' => Op::Delete,
            _ => return Ok(None),
        };
        if reader.u32()? != self.table {
            return Ok(None);
        }
        let mut change = RowChange { op, row: Vec::new(), old: None, commit: self.commit };
        while let Ok(tag) = reader.u8() {
            let cells = self.cells(&mut reader)?;
            match tag {
                b'N' => change.row = cells,
                b'K' | b'O' => change.old = Some(cells),
                _ => return Err("a row message of the slot has an image of an unknown kind".to_owned()),
            }
        }
        Ok(Some(change))
    }

    fn cells(&self, reader: &mut Reader<'_>) -> Result<Vec<Cell>, String> {
        let count = usize::from(reader.u16()?);
        if count != self.columns {
            return Err(format!(
                "the slot holds rows of {count} columns and the table has {} now: its shape changed since; capture without \
                 --changes",
                self.columns
            ));
        }
        let cell = |reader: &mut Reader<'_>| {
            Ok(match reader.u8()? {
                b'n' => Cell::Null,
                b'u' => Cell::Unchanged,
                b't' => {
                    let length = reader.u32()? as usize;
                    let text = reader.bytes(length)?.to_vec();
                    Cell::Text(String::from_utf8(text).map_err(|_| "a value is not UTF-8".to_owned())?)
                }
                _ => return Err("a value of the slot is in an unknown format".to_owned()),
            })
        };
        (0..count).map(|_| cell(reader)).collect()
    }
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.bytes(N)?.try_into().expect("of that length"))
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_be_bytes)
    }
}

/// The cells of a line of COPY text, without its newline.
pub(super) fn copy_cells(line: &[u8]) -> Result<Vec<Cell>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "a value is not UTF-8".to_owned())?;
    let cell = |cell: &str| if cell == "\\N" { Cell::Null } else { Cell::Text(unescaped(cell)) };
    Ok(line.split('\t').map(cell).collect())
}

fn unescaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_copy_come_apart() {
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(copy_cells(b"1\t\\N\ta\\tb\\\\n\t").unwrap(), [text("1"), Cell::Null, text("a\tb\\n"), text("")]);
    }

    #[test]
    fn messages_come_apart_and_broken_ones_are_told() {
        let mut taker = Taker::new(7, 2);
        let begin = [b"B", &9_u64.to_be_bytes()[..], &0_u64.to_be_bytes(), &1_u32.to_be_bytes()].concat();
        assert_eq!(taker.take(&begin), Ok(None));
        let update = [&b"U\0\0\0\x07K\0\x02t\0\0\0\x011nN\0\x02t\0\0\0\x012u"[..]].concat();
        let change = taker.take(&update).unwrap().unwrap();
        assert_eq!(change.row, [Cell::Text("2".into()), Cell::Unchanged]);
        assert_eq!(change.old.unwrap(), [Cell::Text("1".into()), Cell::Null]);
        assert_eq!(change.commit.unwrap(), CommitInfo { lsn: Lsn(9), time_us: POSTGRES_EPOCH_US });
        assert_eq!(taker.take(b"I\0\0\0\x08N\0\x01n"), Ok(None), "another table's");
        assert!(taker.take(b"I\0\0\0\x07N\0\x01n").unwrap_err().contains("shape"));
        for length in 1..update.len() {
            let _no_panic = taker.take(&update[..length]);
        }
    }
}
