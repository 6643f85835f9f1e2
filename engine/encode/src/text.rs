//! Copying into the body, a block at a time.
//!
//! Every writer of this crate has the same form: it writes at a position of a slice and returns the position after it,
//! or `None` where the slice has no room; the caller then makes the slice longer and writes the whole row again. A block
//! is stored whole even where only its first bytes count, since what follows overwrites the rest: a store of fixed size
//! is one instruction, one of any size is a call. Text is searched for what must be escaped in the same pass that copies
//! it.

/// How many bytes are searched and copied at once.
pub(crate) const BLOCK: usize = 32;

/// Stores a block of which the first `len` bytes count.
#[inline(always)]
pub(crate) fn put<const N: usize>(out: &mut [u8], pos: usize, block: &[u8; N], len: usize) -> Option<usize> {
    *out.get_mut(pos..)?.first_chunk_mut::<N>()? = *block;
    Some(pos + len)
}

/// Room for one short value and the name before it, whose end is looked for once: what is stored within needs no
/// check of its own.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    room: &'a mut [u8; CELL],
    /// How many bytes count.
    pub(crate) len: usize,
}

/// Where the last block of a cell can begin: all that is put into one is far shorter.
const CELL_END: usize = 127;
pub(crate) const CELL: usize = CELL_END + 1 + BLOCK;

impl<'a> Cell<'a> {
    #[inline(always)]
    pub(crate) fn at(out: &'a mut [u8], pos: usize) -> Option<Cell<'a>> {
        Some(Cell { room: out.get_mut(pos..)?.first_chunk_mut::<CELL>()?, len: 0 })
    }

    pub(crate) fn new(room: &'a mut [u8; CELL]) -> Cell<'a> {
        Cell { room, len: 0 }
    }

    /// Stores a block of which the first `len` bytes count.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, block: &[u8; N], len: usize) {
        const { assert!(N <= BLOCK) };
        debug_assert!(self.len <= CELL_END);
        let at = self.len & CELL_END;
        self.room[at..at + N].copy_from_slice(block);
        self.len += len;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

/// Copies bytes of any number.
#[inline]
pub(crate) fn put_slice(out: &mut [u8], pos: usize, bytes: &[u8]) -> Option<usize> {
    out.get_mut(pos..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(pos + bytes.len())
}

/// Whether all of the first `len` bytes are marked by `table`.
#[inline(always)]
pub(crate) fn all_in(bytes: &[u8], table: &[bool; 256]) -> bool {
    bytes.iter().fold(true, |all, &byte| all & table[byte as usize])
}

/// A run of bytes that is written often, in whole blocks; most are one.
#[derive(Debug)]
pub(crate) struct Run {
    len: usize,
    first: [u8; BLOCK],
    rest: Vec<[u8; BLOCK]>,
}

impl Run {
    pub(crate) fn new(bytes: &[u8]) -> Run {
        let mut run = Run { len: 0, first: [0; BLOCK], rest: Vec::new() };
        run.set(bytes);
        run
    }

    /// Takes other bytes into the same memory.
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        self.len = bytes.len();
        let mut blocks = bytes.chunks(BLOCK).map(|chunk| {
            let mut block = [0; BLOCK];
            block[..chunk.len()].copy_from_slice(chunk);
            block
        });
        self.first = blocks.next().unwrap_or_default();
        self.rest.clear();
        self.rest.extend(blocks);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A cell that begins with the run, and where it is.
    #[inline(always)]
    pub(crate) fn cell<'a>(&self, out: &'a mut [u8], pos: usize) -> Option<(Cell<'a>, usize)> {
        if !self.rest.is_empty() {
            let pos = self.put(out, pos)?;
            return Some((Cell::at(out, pos)?, pos));
        }
        let mut cell = Cell::at(out, pos)?;
        cell.put(&self.first, self.len);
        Some((cell, pos))
    }

    #[inline(always)]
    pub(crate) fn put(&self, out: &mut [u8], pos: usize) -> Option<usize> {
        put(out, pos, &self.first, 0)?;
        if !self.rest.is_empty() {
            for (at, block) in (1..).zip(&self.rest) {
                put(out, pos + at * BLOCK, block, 0)?;
            }
        }
        Some(pos + self.len)
    }
}

/// Puts a string of up to a block with its quotes, if nothing in it must be escaped.
#[inline(always)]
pub(crate) fn put_short_string(cell: &mut Cell<'_>, tail: &[u8], len: usize) -> Option<()> {
    if len > BLOCK {
        return None;
    }
    let block = tail.first_chunk::<BLOCK>()?;
    cell.put(b"\"", 1);
    cell.put(block, len);
    cell.put(b"\"", 1);
    marks(block, len, specials).is_none().then_some(())
}

/// Copies text as the inside of a JSON string, from the first `len` bytes of `tail`.
#[inline(always)]
pub(crate) fn put_escaped(out: &mut [u8], pos: usize, tail: &[u8], len: usize) -> Option<usize> {
    put_searched(out, pos, tail, len, specials, |out, pos, byte| {
        let escape = &ESCAPES[byte as usize];
        put(out, pos, escape, if escape[2] == 0 { 2 } else { 6 })
    })
}

/// Copies JSON text as it is. A control character between its tokens (which only a raw line break can be: the text was
/// validated) becomes a blank, since a line break would end the document's line.
#[inline(always)]
pub(crate) fn put_json(out: &mut [u8], pos: usize, tail: &[u8], len: usize) -> Option<usize> {
    put_searched(out, pos, tail, len, controls, |out, pos, _| put(out, pos, b" ", 1))
}

/// Copies text block by block; each byte that `search` marks goes through `found` instead.
#[inline(always)]
fn put_searched(
    out: &mut [u8],
    mut pos: usize,
    tail: &[u8],
    len: usize,
    search: impl Fn(u64) -> u64 + Copy,
    found: impl Fn(&mut [u8], usize, u8) -> Option<usize> + Copy,
) -> Option<usize> {
    let mut at = 0;
    while at < len {
        let Some(block) = tail[at..].first_chunk::<BLOCK>() else {
            // The source's buffer ends within a block: the rest is searched in a copy that is long enough.
            let mut end = [0; 2 * BLOCK];
            end[..len - at].copy_from_slice(&tail[at..len]);
            return put_end(out, pos, &end, len - at, search, found);
        };
        (pos, at) = put_block(out, pos, block, at, len, search, found)?;
    }
    Some(pos)
}

#[inline(always)]
fn put_end(
    out: &mut [u8],
    mut pos: usize,
    end: &[u8; 2 * BLOCK],
    len: usize,
    search: impl Fn(u64) -> u64 + Copy,
    found: impl Fn(&mut [u8], usize, u8) -> Option<usize> + Copy,
) -> Option<usize> {
    let mut at = 0;
    while at < len {
        let block = end[at..].first_chunk::<BLOCK>().expect("fewer than a block's bytes count of two blocks");
        (pos, at) = put_block(out, pos, block, at, len, search, found)?;
    }
    Some(pos)
}

/// Stores one block up to the first byte that `search` finds, and that byte by `found`.
#[inline(always)]
fn put_block(
    out: &mut [u8],
    pos: usize,
    block: &[u8; BLOCK],
    at: usize,
    len: usize,
    search: impl Fn(u64) -> u64,
    found: impl Fn(&mut [u8], usize, u8) -> Option<usize>,
) -> Option<(usize, usize)> {
    put(out, pos, block, 0)?;
    let count = (len - at).min(BLOCK);
    match marks(block, count, search) {
        None => Some((pos + count, at + count)),
        Some(marks) => {
            let mark = first(marks);
            Some((found(out, pos + mark, block[mark])?, at + mark + 1))
        }
    }
}

/// The marks among the first `count` bytes of a block, if there are any.
#[inline(always)]
fn marks(block: &[u8; BLOCK], count: usize, search: impl Fn(u64) -> u64) -> Option<[u64; WORDS]> {
    let counted = &COUNTED[count];
    let mark = |word: usize| search(load(block, word)) & counted[word];
    let marks = [mark(0), mark(1), mark(2), mark(3)];
    if marks[0] | marks[1] | marks[2] | marks[3] == 0 { None } else { Some(marks) }
}

const WORDS: usize = BLOCK / 8;

#[inline(always)]
fn load(block: &[u8; BLOCK], word: usize) -> u64 {
    u64::from_le_bytes(block[8 * word..][..8].try_into().expect("eight bytes"))
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES << 7;

/// Marks the high bit of each byte that cannot stand in a JSON string: quote, backslash, control character. Of a word's
/// marks only the lowest is sure, since a subtraction borrows from the bytes above it.
#[inline(always)]
fn specials(word: u64) -> u64 {
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    (quote | backslash | control) & !word & HIGH
}

#[inline(always)]
fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGH
}

/// The place of the first marked byte, of which there is one.
#[cold]
fn first(hits: [u64; WORDS]) -> usize {
    let word = hits.iter().position(|&word| word != 0).expect("a byte is marked");
    8 * word + hits[word].trailing_zeros() as usize / 8
}

/// For each number of bytes that count in a block, those bytes.
static COUNTED: [[u64; WORDS]; BLOCK + 1] = counted();

const fn counted() -> [[u64; WORDS]; BLOCK + 1] {
    let mut table = [[0; WORDS]; BLOCK + 1];
    let mut count = 0;
    while count <= BLOCK {
        let mut byte = 0;
        while byte < count {
            table[count][byte / 8] |= 0xff << (byte % 8 * 8);
            byte += 1;
        }
        count += 1;
    }
    table
}

/// For each byte that must be escaped its escape: two bytes and zeros, or six.
static ESCAPES: [[u8; 8]; 256] = escapes();

const fn escapes() -> [[u8; 8]; 256] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = [b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 0];
        byte += 1;
    }
    let short = [(0x08, b'b'), (b'\t', b't'), (b'\n', b'n'), (0x0c, b'f'), (b'\r', b'r'), (b'"', b'"'), (b'\\', b'\\')];
    let mut at = 0;
    while at < short.len() {
        table[short[at].0 as usize] = [b'\\', short[at].1, 0, 0, 0, 0, 0, 0];
        at += 1;
    }
    table
}

/// Appends text as the inside of a JSON string.
pub(crate) fn append_escaped(to: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| is_special(byte)) {
        let escape = &ESCAPES[rest[at] as usize];
        to.extend_from_slice(&rest[..at]);
        to.extend_from_slice(&escape[..if escape[2] == 0 { 2 } else { 6 }]);
        rest = &rest[at + 1..];
    }
    to.extend_from_slice(rest);
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As it is put, which must be as it is appended.
    fn escaped(text: &str) -> String {
        let mut appended = b"\"".to_vec();
        append_escaped(&mut appended, text.as_bytes());
        appended.push(b'"');
        let mut out = vec![b'"'; 6 * text.len() + 2 * BLOCK];
        let end = put_escaped(&mut out, 1, text.as_bytes(), text.len()).unwrap();
        out[end] = b'"';
        assert_eq!(appended, out[..=end]);
        String::from_utf8(appended).unwrap()
    }

    #[test]
    fn every_byte_that_json_forbids_is_escaped_at_every_place_of_a_block() {
        for byte in (0..0x20).chain([b'"', b'\\', 0x7f, b' ', b'!', b'[', b']']) {
            for place in 0..70 {
                let mut text = "x".repeat(70);
                text.replace_range(place..=place, std::str::from_utf8(&[byte]).unwrap());
                assert_eq!(escaped(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn only_what_counts_is_searched() {
        let mut out = [0; 64];
        let end =
            put_escaped(&mut out, 0, b"ab\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"", 2);
        assert_eq!((end, &out[..2]), (Some(2), b"ab".as_slice()));
    }

    #[test]
    fn a_full_slice_is_told_and_never_overrun() {
        for room in 0..200 {
            let text = "a\"\n".repeat(20);
            let mut out = vec![0; room];
            match put_escaped(&mut out, 0, text.as_bytes(), text.len()) {
                Some(end) => assert_eq!(out[..end], serde_json::to_vec(&text).unwrap()[1..=end]),
                None => assert!(room < 2 * text.len() + BLOCK),
            }
        }
    }

    #[test]
    fn json_keeps_its_bytes_but_for_line_breaks() {
        let mut out = [0; 128];
        let json = "{\"a\":\n1e400,\"b\":12345678901234567890.10, \"ü\":\"\\n\"}";
        let end = put_json(&mut out, 0, json.as_bytes(), json.len()).unwrap();
        assert_eq!(std::str::from_utf8(&out[..end]).unwrap(), json.replace('\n', " "));
    }

    proptest! {
        #[test]
        fn escapes_are_those_of_serde_json(text in "\\PC*|[\\x00-\\x7f]*|[a-z\"\\\\\n]{0,200}") {
            prop_assert_eq!(escaped(&text), serde_json::to_string(&text).unwrap());
        }
    }
}
