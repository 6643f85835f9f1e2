//! What tantivy is here for: finding documents by what is in them. It holds terms, and for every document where it lies in the
//! log; never the document. It lives in memory and is filled when somebody searches, so that writing stays cheap.
//!
//! Terms of the field `exact` begin with what they are: `i` an id, `e` the name of a field that has a value, `x` a value as
//! [`Scalar::write_term`] spells it. Words of text fields are in `text`, each after its field's name.

use std::collections::HashSet;
use std::sync::Arc;

use tantivy::collector::{Count, TopDocs};
use tantivy::merge_policy::LogMergePolicy;
use tantivy::query::Query;
use tantivy::schema::{BytesOptions, FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term};

use crate::document::{Values, walk};
use crate::error::Refusal;
use crate::field::Scalar;
use crate::log::{Location, Log, Operation};
use crate::mapping::Mapping;

const WRITER_BYTES: usize = 32 << 20;
const TOKENIZER: &str = "named";
/// Longer words are cut into pieces, as the standard analyzer does.
const WORD_CHARACTERS_MAX: usize = 255;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) text: Field,
    pub(crate) exact: Field,
    at: Field,
    length: Field,
}

/// One document that has to be put in, or taken out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// An operation of that document, for its id.
    pub(crate) named_at: Location,
    pub(crate) document: Option<Location>,
    pub(crate) known: bool,
}

pub(crate) struct Inverted {
    pub(crate) generation: u64,
    pub(crate) fields: Fields,
    writer: IndexWriter,
    reader: IndexReader,
}

impl std::fmt::Debug for Inverted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inverted").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Inverted {
    pub(crate) fn new(generation: u64) -> tantivy::Result<Self> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let fields = Fields {
            text: schema.add_text_field("text", TextOptions::default().set_indexing_options(indexing)),
            exact: schema.add_bytes_field("exact", BytesOptions::default().set_indexed()),
            at: schema.add_u64_field("at", FAST),
            length: schema.add_u64_field("length", FAST),
        };
        let index = Index::create_in_ram(schema.build());
        index.tokenizers().register(TOKENIZER, NamedTokenizer::default());
        let writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        writer.set_merge_policy(Box::new(LogMergePolicy::default()));
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Inverted { generation, fields, writer, reader })
    }

    pub(crate) fn catch_up(&mut self, work: &[Work], log: &Log, mapping: &Mapping) -> Result<(), Refusal> {
        if work.is_empty() {
            return Ok(());
        }
        let mut terms = Terms::default();
        for work in work {
            self.one(work, log, mapping, &mut terms)?;
        }
        self.writer.commit().and_then(|_| self.reader.reload()).map_err(failed)
    }

    fn one(&mut self, work: &Work, log: &Log, mapping: &Mapping, terms: &mut Terms) -> Result<(), Refusal> {
        if work.known {
            let bytes = log.read(work.named_at).map_err(Refusal::log)?;
            let id = Operation::read(&bytes).map_err(Refusal::log)?.id();
            self.writer.delete_term(id_term(self.fields, id));
        }
        let Some(location) = work.document else { return Ok(()) };
        let bytes = log.read(location).map_err(Refusal::log)?;
        let Operation::Index { id, source, .. } = Operation::read(&bytes).map_err(Refusal::log)? else {
            return Err(Refusal::log("the log holds no document where one was"));
        };
        terms.clear();
        walk(mapping, id, source, terms)?;
        let mut document = TantivyDocument::new();
        document.add_u64(self.fields.at, location.at);
        document.add_u64(self.fields.length, location.length.into());
        document.add_field_value(self.fields.exact, id_term(self.fields, id).serialized_value_bytes());
        for value in terms.exact.chunks() {
            document.add_field_value(self.fields.exact, value);
        }
        for text in terms.text.drain(..) {
            document.add_text(self.fields.text, text);
        }
        self.writer.add_document(document).map(|_| ()).map_err(failed)
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }
}

/// The best `limit` documents of a query after the first `from`, and how many there are in all.
pub(crate) fn search(
    searcher: &Searcher,
    fields: Fields,
    query: &dyn Query,
    from: usize,
    limit: usize,
) -> Result<(usize, Vec<(f32, Location)>), Refusal> {
    let limit = limit.min((searcher.num_docs() as usize).saturating_sub(from));
    if limit == 0 {
        return Ok((searcher.search(query, &Count).map_err(failed)?, Vec::new()));
    }
    let best = TopDocs::with_limit(limit).and_offset(from).order_by_score();
    let (total, best) = searcher.search(query, &(Count, best)).map_err(failed)?;
    let locations = Locations::new(searcher, fields)?;
    let found = best.into_iter().map(|(score, address)| (score, locations.of(address))).collect();
    Ok((total, found))
}

pub(crate) fn failed(error: tantivy::TantivyError) -> Refusal {
    Refusal::new(500, "search_phase_execution_exception", error.to_string())
}

struct Locations(Vec<(Arc<dyn tantivy::columnar::ColumnValues>, Arc<dyn tantivy::columnar::ColumnValues>)>);

impl Locations {
    fn new(searcher: &Searcher, fields: Fields) -> Result<Self, Refusal> {
        let schema = searcher.schema();
        let column = |segment: &tantivy::SegmentReader, field: Field| {
            let column = segment.fast_fields().u64(schema.get_field_name(field))?;
            Ok::<_, tantivy::TantivyError>(column.first_or_default_col(0))
        };
        let both = |segment| Ok((column(segment, fields.at)?, column(segment, fields.length)?));
        searcher.segment_readers().iter().map(both).collect::<tantivy::Result<_>>().map(Locations).map_err(failed)
    }

    fn of(&self, address: DocAddress) -> Location {
        let (at, length) = &self.0[address.segment_ord as usize];
        Location { at: at.get_val(address.doc_id), length: length.get_val(address.doc_id) as u32 }
    }
}

pub(crate) fn id_term(fields: Fields, id: &str) -> Term {
    marked(fields, b'i', |out| out.extend_from_slice(id.as_bytes()))
}

pub(crate) fn exists_term(fields: Fields, path: &str) -> Term {
    marked(fields, b'e', |out| out.extend_from_slice(path.as_bytes()))
}

pub(crate) fn value_term(fields: Fields, path: &str, scalar: &Scalar<'_>) -> Term {
    marked(fields, b'x', |out| scalar.write_term(path, out))
}

/// The term before (`last` false) or after all values of a field.
pub(crate) fn edge_term(fields: Fields, path: &str, last: bool) -> Term {
    marked(fields, b'x', |out| {
        out.extend_from_slice(path.as_bytes());
        out.push(u8::from(last));
    })
}

fn marked(fields: Fields, mark: u8, write: impl FnOnce(&mut Vec<u8>)) -> Term {
    let mut bytes = vec![mark];
    write(&mut bytes);
    Term::from_field_bytes(fields.exact, &bytes)
}

/// The words of a text, as they are indexed.
pub(crate) fn word_terms(fields: Fields, path: &str, text: &str) -> Vec<Term> {
    let mut tokenizer = NamedTokenizer::default();
    let named = format!("{path}\0{text}");
    let mut stream = tokenizer.token_stream(&named);
    let mut terms = Vec::new();
    while stream.advance() {
        terms.push(Term::from_field_text(fields.text, &stream.token().text));
    }
    terms
}

/// What one document is found by, gathered for tantivy.
#[derive(Debug, Default)]
struct Terms {
    exact: Chunks,
    text: Vec<String>,
    there: HashSet<String>,
}

#[derive(Debug, Default)]
struct Chunks {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Chunks {
    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

impl Terms {
    fn clear(&mut self) {
        self.exact.bytes.clear();
        self.exact.ends.clear();
        self.text.clear();
        self.there.clear();
    }

    /// A field that has a value makes the objects above it have one.
    fn note(&mut self, path: &str) {
        let mut path = path;
        while !self.there.contains(path) {
            self.there.insert(path.to_owned());
            self.exact.bytes.push(b'e');
            self.exact.bytes.extend_from_slice(path.as_bytes());
            self.exact.end();
            match path.rsplit_once('.') {
                Some((above, _)) => path = above,
                None => return,
            }
        }
    }
}

impl Values for Terms {
    fn value(&mut self, path: &str, scalar: &Scalar<'_>) {
        match scalar {
            Scalar::Nothing => return,
            Scalar::Text(text) => self.text.push(format!("{path}\0{text}")),
            other => {
                self.exact.bytes.push(b'x');
                other.write_term(path, &mut self.exact.bytes);
                self.exact.end();
            }
        }
        self.note(path);
    }
}

/// Cuts `name 0 text` into words: runs of letters and digits, in lower case, each after the name.
#[derive(Debug, Clone, Default)]
struct NamedTokenizer {
    token: Token,
}

#[derive(Debug)]
struct NamedTokenStream<'a> {
    text: &'a str,
    name: &'a str,
    at: usize,
    token: &'a mut Token,
}

impl Tokenizer for NamedTokenizer {
    type TokenStream<'a> = NamedTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, named: &'a str) -> NamedTokenStream<'a> {
        let name_bytes = named.find('\0').map_or(0, |at| at + 1);
        let (name, text) = named.split_at(name_bytes);
        self.token.reset();
        NamedTokenStream { text, name, at: 0, token: &mut self.token }
    }
}

impl TokenStream for NamedTokenStream<'_> {
    fn advance(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(start) = rest.find(char::is_alphanumeric) else { return false };
        let token = &mut *self.token;
        token.text.clear();
        token.text.push_str(self.name);
        let mut end = start;
        for (count, c) in rest[start..].chars().enumerate() {
            if !c.is_alphanumeric() || count == WORD_CHARACTERS_MAX {
                break;
            }
            if c.is_ascii() {
                token.text.push(c.to_ascii_lowercase())
            } else {
                token.text.extend(c.to_lowercase())
            }
            end += c.len_utf8();
        }
        token.position = token.position.wrapping_add(1);
        token.offset_from = self.at + start;
        token.offset_to = self.at + end;
        self.at += end;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_words() {
        let mut tokenizer = NamedTokenizer::default();
        let long = format!("t\0{}", "x".repeat(300));
        for (named, expected) in [
            ("t\0Red APPLES, (3) über-groß", vec!["t\0red", "t\0apples", "t\x003", "t\0über", "t\0groß"]),
            ("t\0", vec![]),
            ("t\0 ,", vec![]),
        ] {
            let mut stream = tokenizer.token_stream(named);
            let mut words = Vec::new();
            while stream.advance() {
                words.push(stream.token().text.clone());
            }
            assert_eq!(words, expected);
        }
        let mut stream = tokenizer.token_stream(&long);
        assert!(stream.advance() && stream.token().text.len() == 257 && stream.advance());
        assert_eq!((stream.token().text.len(), stream.token().position), (47, 1));
    }
}
