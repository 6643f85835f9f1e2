//! A sink that answers Bulk requests and keeps nothing: it counts what came, so that a run counts only if all did.
//!
//! It is this same binary, started anew, so that its CPU stands apart from the engine's. What it does for a document: a search
//! for two newlines, one for the id, and a sum over the bytes; no JSON is parsed. Answers have what the engine asks for by
//! `filter_path` and no more. Anything that is no Bulk request gets what an empty server without any index would say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::{memchr, memmem};
use serde_json::{Value, json};

use super::process::{Tied, cpu};
use super::{Result, figures};

/// What makes this binary a receiver.
pub(super) const ARGUMENT: &str = "--receiver";
/// Gives the counts and forgets them.
const COUNTS: &str = "/_bench/counts";

/// What came since the counts were last taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bulks: u64,
    pub(super) bytes: u64,
    pub(super) documents: u64,
    pub(super) deletes: u64,
    /// The sum of [`id_hash`] over all documents: right only if each id came exactly as often as it should.
    pub(super) ids: u64,
    /// The sum of [`checksum`] over all documents.
    pub(super) checksum: u64,
    /// What the receiver itself took for it.
    pub(super) cpu: Duration,
}

/// The receiver's process as the bench sees it.
#[derive(Debug)]
pub(super) struct Receiver {
    child: Tied,
    address: String,
    cpu_before: Duration,
}

impl Receiver {
    pub(super) fn start() -> Result<Receiver> {
        let failed = |error: std::io::Error| format!("the receiver cannot be started: {error}");
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        let child = command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut child = Tied(child);
        let mut address = String::new();
        if let Some(stdout) = child.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut address).map_err(failed)?;
        }
        match address.trim() {
            "" => Err("the receiver did not say where it listens".to_owned()),
            address => Ok(Receiver { address: address.to_owned(), cpu_before: cpu(child.0.id())?, child }),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn take_counts(&mut self) -> Result<Counts> {
        let failed = |error: std::io::Error| format!("the receiver cannot be asked: {error}");
        let mut stream = TcpStream::connect(&self.address).map_err(failed)?;
        write!(stream, "GET {COUNTS} HTTP/1.1\r\nhost: receiver\r\n\r\n").map_err(failed)?;
        let mut reader = BufReader::new(stream);
        let head = Head::read(&mut reader).map_err(failed)?.ok_or("the receiver ended")?;
        let mut body = vec![0; head.content_length];
        reader.read_exact(&mut body).map_err(failed)?;
        let body: Value = serde_json::from_slice(&body).map_err(|error| format!("the receiver's counts: {error}"))?;
        let count = |name: &str| body[name].as_u64().ok_or_else(|| format!("the receiver's counts have no `{name}`"));
        let now = cpu(self.child.0.id())?;
        let spent = now.saturating_sub(std::mem::replace(&mut self.cpu_before, now));
        Ok(Counts {
            bulks: count("bulks")?,
            bytes: count("bytes")?,
            documents: count("documents")?,
            deletes: count("deletes")?,
            ids: count("ids")?,
            checksum: count("checksum")?,
            cpu: spent,
        })
    }
}

/// Serves until standard input ends.
pub(super) fn serve() -> Result<()> {
    let failed = |error: std::io::Error| format!("the receiver has no address: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    figures::out(format_args!("{}", listener.local_addr().map_err(failed)?));
    let counts = Arc::new(Mutex::new(Counts::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counts = Arc::clone(&counts);
            // A connection that breaks is the engine's to notice.
            std::thread::spawn(move || converse(stream, &counts));
        }
    });
    let _end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}

/// What is used of a request's or an answer's head.
#[derive(Debug, Default)]
struct Head {
    first: String,
    content_length: usize,
}

impl Head {
    /// `None`: the connection ended between two messages.
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Head>> {
        let (mut head, mut line) = (Head::default(), String::new());
        while reader.read_line(&mut line)? > 0 {
            match line.trim_end() {
                "" => return Ok(Some(head)),
                text if head.first.is_empty() => head.first = text.to_owned(),
                text => {
                    if let Some((name, value)) = text.split_once(':')
                        && name.eq_ignore_ascii_case("content-length")
                    {
                        head.content_length = value.trim().parse().unwrap_or_default();
                    }
                }
            }
            line.clear();
        }
        Ok(None)
    }
}

fn converse(stream: TcpStream, counts: &Mutex<Counts>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let (mut body, mut answer) = (Vec::new(), Vec::new());
    while let Some(head) = Head::read(&mut reader)? {
        if body.len() < head.content_length {
            body.resize(head.content_length, 0);
        }
        let body = &mut body[..head.content_length];
        reader.read_exact(body)?;
        answer.clear();
        let status = respond(&head.first, body, counts, &mut answer);
        let length = answer.len();
        write!(writer, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")?;
        writer.write_all(&answer)?;
    }
    Ok(())
}

fn respond(request: &str, body: &[u8], counts: &Mutex<Counts>, answer: &mut Vec<u8>) -> &'static str {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let lock = || counts.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, value) = match (method, path) {
        ("POST", "/_bulk") => {
            let came = bulk(body, answer);
            lock().add(&came);
            return "200 OK";
        }
        ("GET", COUNTS) => ("200 OK", std::mem::take(&mut *lock()).json()),
        ("GET", "/") => ("200 OK", json!({ "version": { "distribution": "receiver", "number": "0.0.0" } })),
        ("GET" | "HEAD", _) => {
            ("404 Not Found", json!({ "error": { "type": "index_not_found_exception" }, "status": 404 }))
        }
        _ => ("200 OK", json!({ "acknowledged": true })),
    };
    answer.extend_from_slice(value.to_string().as_bytes());
    status
}

impl Counts {
    fn add(&mut self, came: &Counts) {
        self.bulks += came.bulks;
        self.bytes += came.bytes;
        self.documents += came.documents;
        self.deletes += came.deletes;
        self.ids = self.ids.wrapping_add(came.ids);
        self.checksum = self.checksum.wrapping_add(came.checksum);
    }

    fn json(&self) -> Value {
        json!({
            "bulks": self.bulks, "bytes": self.bytes, "documents": self.documents, "deletes": self.deletes,
            "ids": self.ids, "checksum": self.checksum,
        })
    }
}

/// Counts the actions of a body, and answers each.
fn bulk(body: &[u8], answer: &mut Vec<u8>) -> Counts {
    let mut counts = Counts { bulks: 1, bytes: body.len() as u64, ..Counts::default() };
    answer.extend_from_slice(br#"{"errors":false,"items":["#);
    let finder = memmem::Finder::new(br#""_id":""#);
    let mut rest = body;
    while let Some(action) = line(&mut rest) {
        let id = finder.find(action).map(|at| &action[at + finder.needle().len()..]).unwrap_or_default();
        let id = &id[..memchr(b'"', id).unwrap_or_default()];
        if counts.documents + counts.deletes > 0 {
            answer.push(b',');
        }
        if action.starts_with(br#"{"delete""#) {
            counts.deletes += 1;
            answer.extend_from_slice(br#"{"delete":{"status":200}}"#);
        } else {
            counts.documents += 1;
            counts.ids = counts.ids.wrapping_add(id_hash(id));
            counts.checksum = counts.checksum.wrapping_add(checksum(line(&mut rest).unwrap_or_default()));
            answer.extend_from_slice(br#"{"index":{"status":201}}"#);
        }
    }
    answer.extend_from_slice(b"]}");
    counts
}

/// Up to the next newline, which is taken and not given.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'\n', rest)?;
    let (line, others) = rest.split_at(end);
    *rest = &others[1..];
    Some(line)
}

/// FNV-1a: ids are short.
pub(super) fn id_hash(id: &[u8]) -> u64 {
    id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Fast rather than strong: it tells a wrong or missing byte, and two words that changed places.
fn checksum(document: &[u8]) -> u64 {
    let words = document.chunks_exact(8);
    let tail = words.remainder().iter().fold(0, |tail, byte| tail << 8 | u64::from(*byte));
    let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("chunks of eight"));
    let sum = words.zip(1u64..).fold(tail, |sum, (bytes, at)| sum.wrapping_add(word(bytes).wrapping_mul(2 * at + 1)));
    sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_add(document.len() as u64)
}
