//! The log: where documents live. Every bulk appends one frame an index, and what is stored is found again by its
//! [`Location`]. With a directory the log is a file and an answer waits for its frame to be on the disk; without one it is
//! the same frames in memory.
//!
//! ```text
//! frame:   length u32 | crc of the operations u32 | crc of these 8 bytes u32 | operations …
//! index:   1 | version u64 | sequence u64 | id length u16 | routing length u16, ffff for none | source length u32 | id | routing | source
//! delete:  2 | version u64 | sequence u64 | unix ms u64 | id length u16 | id
//! meta:    3 | length u32 | JSON: name, uuid, settings, mapping
//! ```
//!
//! Little endian. A process that is killed leaves at most one frame cut short, at the end: it was never answered, and is cut
//! away. Anything else that does not check is damage, and an error.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

use bytes::Bytes;

const HEADER_BYTES: usize = 12;
const INDEX: u8 = 1;
const DELETE: u8 = 2;
const META: u8 = 3;
const INDEX_HEAD_BYTES: usize = 25;
const DELETE_HEAD_BYTES: usize = 27;
const NO_ROUTING: u16 = u16::MAX;
const MEMORY_CHUNK_SHIFT: u32 = 32;

/// Where one operation lies in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) at: u64,
    pub(crate) length: u32,
}

/// One operation as the log holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    Index { version: u64, sequence: u64, id: &'a str, routing: Option<&'a str>, source: &'a str },
    Delete { version: u64, sequence: u64, at_ms: u64, id: &'a str },
    Meta(&'a str),
}

/// Operations that become durable together.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    at: u64,
}

impl Frame {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, operation: &Operation<'_>) -> Location {
        let from = self.bytes.len();
        let out = &mut self.bytes;
        match *operation {
            Operation::Index { version, sequence, id, routing, source } => {
                out.push(INDEX);
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&(id.len() as u16).to_le_bytes());
                out.extend_from_slice(&routing.map_or(NO_ROUTING, |r| r.len() as u16).to_le_bytes());
                out.extend_from_slice(&(source.len() as u32).to_le_bytes());
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(routing.unwrap_or_default().as_bytes());
                out.extend_from_slice(source.as_bytes());
            }
            Operation::Delete { version, sequence, at_ms, id } => {
                out.push(DELETE);
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&at_ms.to_le_bytes());
                out.extend_from_slice(&(id.len() as u16).to_le_bytes());
                out.extend_from_slice(id.as_bytes());
            }
            Operation::Meta(json) => {
                out.push(META);
                out.extend_from_slice(&(json.len() as u32).to_le_bytes());
                out.extend_from_slice(json.as_bytes());
            }
        }
        Location { at: self.at + from as u64, length: (out.len() - from) as u32 }
    }

    fn seal(&mut self) {
        let operations = &self.bytes[HEADER_BYTES..];
        let length = (operations.len() as u32).to_le_bytes();
        let crc = crc32fast::hash(operations).to_le_bytes();
        self.bytes[..4].copy_from_slice(&length);
        self.bytes[4..8].copy_from_slice(&crc);
        let head = crc32fast::hash(&self.bytes[..8]).to_le_bytes();
        self.bytes[8..HEADER_BYTES].copy_from_slice(&head);
    }
}

impl<'a> Operation<'a> {
    /// The operation at the start of `bytes`, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Operation<'a>, &'a [u8])> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let text = |at: usize, length: usize| std::str::from_utf8(bytes.get(at..at.checked_add(length)?)?).ok();
        let (operation, length) = match *bytes.first()? {
            INDEX => {
                let (id, routing, source) = (u16_at(17)? as usize, u16_at(19)?, u32_at(21)? as usize);
                let routing = (routing != NO_ROUTING).then_some(routing as usize);
                let after_id = INDEX_HEAD_BYTES + id;
                let after_routing = after_id + routing.unwrap_or(0);
                let operation = Operation::Index {
                    version: u64_at(1)?,
                    sequence: u64_at(9)?,
                    id: text(INDEX_HEAD_BYTES, id)?,
                    routing: match routing {
                        Some(length) => Some(text(after_id, length)?),
                        None => None,
                    },
                    source: text(after_routing, source)?,
                };
                (operation, after_routing + source)
            }
            DELETE => {
                let id = u16_at(25)? as usize;
                let (version, sequence, at_ms) = (u64_at(1)?, u64_at(9)?, u64_at(17)?);
                (
                    Operation::Delete { version, sequence, at_ms, id: text(DELETE_HEAD_BYTES, id)? },
                    DELETE_HEAD_BYTES + id,
                )
            }
            META => {
                let length = u32_at(1)? as usize;
                (Operation::Meta(text(5, length)?), 5 + length)
            }
            _ => return None,
        };
        Some((operation, bytes.get(length..)?))
    }

    /// The operation that a [`Location`] led to.
    pub(crate) fn read(bytes: &'a [u8]) -> io::Result<Operation<'a>> {
        Operation::split(bytes)
            .map(|(operation, _)| operation)
            .ok_or_else(|| damaged("the log holds no operation there"))
    }

    pub(crate) fn id(&self) -> &'a str {
        match self {
            Operation::Index { id, .. } | Operation::Delete { id, .. } => id,
            Operation::Meta(_) => "",
        }
    }
}

/// One index's log. Appends come from one thread at a time (who holds the index's state); reads from any.
#[derive(Debug)]
pub(crate) struct Log {
    end: AtomicU64,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(RwLock<Vec<Bytes>>),
    File { file: File, path: PathBuf, synced: Mutex<u64> },
}

impl Log {
    pub(crate) fn in_memory() -> Self {
        Log { end: AtomicU64::new(0), store: Store::Memory(RwLock::default()) }
    }

    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let store = Store::File { file, path: path.to_owned(), synced: Mutex::new(0) };
        Ok(Log { end: AtomicU64::new(0), store })
    }

    /// Opens a log and gives each of its operations to `each`; cuts a frame off that the end of a process left unfinished.
    pub(crate) fn open(path: &Path, each: impl FnMut(Location, Operation<'_>) -> io::Result<()>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let end = replay(&file, length, each)?;
        if end < length {
            file.set_len(end)?;
            file.sync_all()?;
        }
        let store = Store::File { file, path: path.to_owned(), synced: Mutex::new(end) };
        Ok(Log { end: AtomicU64::new(end), store })
    }

    /// Bytes that the log takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn frame(&self, capacity: usize) -> Frame {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
        bytes.resize(HEADER_BYTES, 0);
        let at = match &self.store {
            Store::Memory(chunks) => (chunks.read().expect("no holder panics").len() as u64) << MEMORY_CHUNK_SHIFT,
            Store::File { .. } => self.bytes(),
        };
        Frame { bytes, at }
    }

    /// Appends the frame that [`Log::frame`] gave last. Not durable before [`Log::sync`].
    pub(crate) fn append(&self, mut frame: Frame) -> io::Result<()> {
        frame.seal();
        let length = frame.bytes.len() as u64;
        match &self.store {
            Store::Memory(chunks) => chunks.write().expect("no holder panics").push(Bytes::from(frame.bytes)),
            Store::File { file, .. } => {
                if let Err(error) = file.write_all_at(&frame.bytes, frame.at) {
                    // Half a frame in the middle of the log would be damage, not a torn end.
                    file.set_len(frame.at)?;
                    return Err(error);
                }
            }
        }
        self.end.fetch_add(length, Ordering::AcqRel);
        Ok(())
    }

    /// All that was appended is on the disk. Callers who wait for one another share a write.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let Store::File { file, synced, .. } = &self.store else { return Ok(()) };
        let wanted = self.bytes();
        let mut synced = synced.lock().expect("no holder panics");
        if *synced < wanted {
            let end = self.bytes();
            file.sync_data()?;
            *synced = end;
        }
        Ok(())
    }

    pub(crate) fn read(&self, location: Location) -> io::Result<Bytes> {
        match &self.store {
            Store::Memory(chunks) => {
                let chunks = chunks.read().expect("no holder panics");
                let chunk = chunks.get((location.at >> MEMORY_CHUNK_SHIFT) as usize);
                let from = location.at as u32 as usize;
                let until = from + location.length as usize;
                let chunk = chunk.filter(|chunk| chunk.len() >= until);
                chunk.map(|chunk| chunk.slice(from..until)).ok_or_else(|| damaged("the log does not reach that far"))
            }
            Store::File { file, .. } => {
                let mut bytes = vec![0; location.length as usize];
                file.read_exact_at(&mut bytes, location.at)?;
                Ok(Bytes::from(bytes))
            }
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.store {
            Store::Memory(_) => None,
            Store::File { path, .. } => Some(path),
        }
    }

    /// Takes the place of the log at `path`, for good.
    pub(crate) fn replace(mut self, at: &Path) -> io::Result<Self> {
        self.sync()?;
        if let Store::File { path, .. } = &mut self.store {
            std::fs::rename(&*path, at)?;
            *path = at.to_owned();
            sync_directory_of(at)?;
        }
        Ok(self)
    }
}

/// A file that was made, renamed or removed stays so only when its directory is on the disk.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Gives back where the last whole frame ends.
fn replay(
    file: &File,
    length: u64,
    mut each: impl FnMut(Location, Operation<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut at = 0;
    let mut operations = Vec::new();
    while length - at >= HEADER_BYTES as u64 {
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header)?;
        let word =
            |n: usize| u32::from_le_bytes(header[n * 4..n * 4 + 4].try_into().expect("a header has three words"));
        if crc32fast::hash(&header[..8]) != word(2) {
            return Err(damaged(format!("byte {at} starts no frame")));
        }
        let (frame_bytes, start) = (u64::from(word(0)), at + HEADER_BYTES as u64);
        if length - start < frame_bytes {
            break;
        }
        operations.resize(frame_bytes as usize, 0);
        reader.read_exact(&mut operations)?;
        if crc32fast::hash(&operations) != word(1) {
            if start + frame_bytes == length {
                break;
            }
            return Err(damaged(format!("the frame at byte {at} does not check")));
        }
        replay_frame(&operations, start, &mut each)?;
        at = start + frame_bytes;
    }
    Ok(at)
}

fn replay_frame(
    operations: &[u8],
    start: u64,
    each: &mut impl FnMut(Location, Operation<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = operations;
    while !rest.is_empty() {
        let at = start + (operations.len() - rest.len()) as u64;
        let (operation, after) =
            Operation::split(rest).ok_or_else(|| damaged(format!("byte {at} holds no operation")))?;
        each(Location { at, length: (rest.len() - after.len()) as u32 }, operation)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(log: &Log, id: &str, source: &str) -> Location {
        let mut frame = log.frame(64);
        let location = frame.push(&Operation::Index { version: 7, sequence: 1, id, routing: None, source });
        frame.push(&Operation::Delete { version: 8, sequence: 2, at_ms: 3, id: "gone" });
        log.append(frame).expect("appended");
        log.sync().expect("synced");
        location
    }

    fn ids(path: &Path) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        Log::open(path, |_, operation| {
            ids.push(operation.id().to_owned());
            Ok(())
        })?;
        Ok(ids)
    }

    #[test]
    fn reads_back_what_was_written_from_memory_and_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for log in [Log::in_memory(), Log::create(&dir.path().join("l")).expect("created")] {
            let (first, second) = (write(&log, "1", "{\"a\":1}"), write(&log, "2", "{}"));
            for (location, expected) in [(first, "{\"a\":1}"), (second, "{}")] {
                let bytes = log.read(location).expect("there");
                let Operation::Index { source, version, .. } = Operation::read(&bytes).expect("whole") else {
                    panic!("not an index operation")
                };
                assert_eq!((source, version), (expected, 7));
            }
        }
    }

    #[test]
    fn cuts_a_torn_end_at_any_byte_and_keeps_the_rest() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("l");
        let log = Log::create(&path).expect("created");
        write(&log, "1", "{}");
        let whole = log.bytes();
        write(&log, "2", "{}");
        let bytes = std::fs::read(&path).expect("readable");
        for cut in whole..bytes.len() as u64 {
            std::fs::write(&path, &bytes[..cut as usize]).expect("written");
            assert_eq!(ids(&path).expect("opens"), ["1", "gone"], "cut at {cut}");
            assert_eq!(std::fs::metadata(&path).expect("there").len(), whole);
        }
    }

    #[test]
    fn refuses_damage_before_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("l");
        let log = Log::create(&path).expect("created");
        write(&log, "1", "{}");
        let whole = log.bytes() as usize;
        write(&log, "2", "{}");
        let bytes = std::fs::read(&path).expect("readable");
        for at in 0..whole {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            std::fs::write(&path, &bytes).expect("written");
            assert!(ids(&path).is_err(), "byte {at} was changed and nobody noticed");
        }
    }
}
