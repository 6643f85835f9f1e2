//! `_search`, `_count` and scrolling: what a request asks for, which documents those are, and their page of the answer.
//! A search for everything reads the list of documents; any other goes through the inverted index.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use crate::document::{Values, walk};
use crate::error::Refusal;
use crate::field::{Kind, Scalar};
use crate::index::{Index, Listing};
use crate::inverted;
use crate::json::write_string;
use crate::log::{Location, Log, Operation};
use crate::mapping::Mapping;
use crate::query::{Builder, is_everything};
use crate::select::Selector;

const SIZE_DEFAULT: usize = 10;
/// Real servers count no further unless told to.
const TOTAL_COUNTED: usize = 10_000;

/// What a hit shows of its document.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) source: Source,
    pub(crate) version: bool,
    pub(crate) sequence: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Whole,
    None,
    Parts(Selector),
}

#[derive(Debug)]
pub(crate) struct Request {
    query: Option<Value>,
    from: usize,
    pub(crate) size: usize,
    sort: Vec<SortBy>,
    shown: Shown,
    total: Total,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Total {
    Exact,
    UpTo(usize),
    Hidden,
}

#[derive(Debug)]
struct SortBy {
    field: String,
    descending: bool,
    missing_first: bool,
    unmapped: bool,
}

#[derive(Debug)]
struct Hit {
    location: Location,
    score: Option<f32>,
    /// The values that it was sorted by, as JSON.
    sort: Option<Box<str>>,
}

/// The rest of a search that is read page by page, over the documents as they were when it began.
#[derive(Debug)]
pub(crate) struct Scroll {
    index: Arc<Index>,
    log: Arc<Log>,
    hits: Vec<Hit>,
    at: usize,
    size: usize,
    shown: Shown,
    total: Total,
}

struct Found {
    log: Arc<Log>,
    total: usize,
    hits: Vec<Hit>,
}

impl Request {
    /// From a body and the parameters of the address, which win.
    pub(crate) fn parse(body: &Value, parameter: impl Fn(&str) -> Option<String>) -> Result<Request, Refusal> {
        let body = body.as_object().ok_or_else(|| Refusal::parsing("the body has to be an object"))?;
        let mut shown = Shown { source: Source::Whole, version: false, sequence: false };
        let mut request = Request {
            query: None,
            from: 0,
            size: SIZE_DEFAULT,
            sort: Vec::new(),
            shown: shown.clone(),
            total: Total::UpTo(TOTAL_COUNTED),
        };
        for (key, value) in body {
            match key.as_str() {
                "query" => request.query = Some(value.clone()),
                "from" => request.from = whole(key, value)?,
                "size" => request.size = whole(key, value)?,
                "_source" => shown.source = Source::parse(value)?,
                "version" => shown.version = value == &Value::Bool(true),
                "seq_no_primary_term" => shown.sequence = value == &Value::Bool(true),
                "sort" => request.sort = parse_sort(value)?,
                "track_total_hits" => request.total = Total::parse(value)?,
                "timeout" | "track_scores" => {}
                other => {
                    return Err(Refusal::parsing(format!(
                        "Unknown key for a value in [{other}]: Tidemill's embedded index, made for demos and tests, has _source, from, \
                     query, seq_no_primary_term, size, sort, track_total_hits and version"
                    )));
                }
            }
        }
        for (name, value) in ["from", "size"].into_iter().filter_map(|name| Some((name, parameter(name)?))) {
            let number = whole(name, &Value::String(value))?;
            if name == "from" { request.from = number } else { request.size = number }
        }
        if let Some(total) = parameter("track_total_hits") {
            request.total = Total::parse(&Value::String(total))?;
        }
        shown.version |= parameter("version").is_some_and(|text| text == "true" || text.is_empty());
        shown.sequence |= parameter("seq_no_primary_term").is_some_and(|text| text == "true" || text.is_empty());
        if let Some(sort) = parameter("sort") {
            request.sort = parse_sort_parameter(&sort)?;
        }
        shown.source = Source::from_parameters(shown.source, parameter);
        request.shown = shown;
        Ok(request)
    }

    /// For `_count`: a query and nothing else.
    pub(crate) fn parse_count(body: &Value) -> Result<Request, Refusal> {
        if let Some(key) = body.as_object().and_then(|body| body.keys().find(|key| *key != "query")) {
            return Err(Refusal::parsing(format!("request does not support [{key}]")));
        }
        Request::parse(body, |_| None)
    }

    fn check_window(&self, most: usize) -> Result<(), Refusal> {
        let window = self.from.saturating_add(self.size);
        if window <= most {
            return Ok(());
        }
        Err(Refusal::illegal(format!(
            "Result window is too large, from + size must be less than or equal to: [{most}] but was [{window}]. See the \
             scroll api for a more efficient way to request large data sets. This limit can be set by changing the \
             [index.max_result_window] index level setting."
        )))
    }
}

pub(crate) fn count(index: &Index, request: &Request) -> Result<usize, Refusal> {
    find(index, request, 0, 0).map(|found| found.total)
}

/// The body of the answer to a search.
pub(crate) fn run(index: &Index, request: &Request, took: impl Fn() -> u128) -> Result<String, Refusal> {
    request.check_window(index.settings().result_window_max)?;
    let found = find(index, request, request.from, request.size)?;
    answer(index, &found.log, &found.hits, found.total, &request.shown, request.total, None, took())
}

/// Begins a scroll, which gives its first page at [`Scroll::next`].
pub(crate) fn scroll(index: Arc<Index>, request: &Request) -> Result<Scroll, Refusal> {
    if request.size == 0 {
        return Err(Refusal::validation("[size] cannot be [0] in a scroll context"));
    }
    if request.from > 0 {
        return Err(Refusal::validation("using [from] is not allowed in a scroll context"));
    }
    let most = index.settings().result_window_max;
    if request.size > most {
        return Err(Refusal::illegal(format!(
            "Batch size is too large, size must be less than or equal to: [{most}] but was [{}]. Scroll batch sizes cost as \
             much memory as result windows so they are controlled by the [index.max_result_window] index level setting.",
            request.size
        )));
    }
    let Found { log, hits, .. } = find(&index, request, 0, usize::MAX)?;
    Ok(Scroll { index, log, hits, at: 0, size: request.size, shown: request.shown.clone(), total: Total::Exact })
}

impl Scroll {
    pub(crate) fn next(&mut self, id: &str, took: impl Fn() -> u128) -> Result<String, Refusal> {
        let until = (self.at + self.size).min(self.hits.len());
        let page = &self.hits[self.at..until];
        self.at = until;
        answer(&self.index, &self.log, page, self.hits.len(), &self.shown, self.total, Some(id), took())
    }
}

fn find(index: &Index, request: &Request, from: usize, size: usize) -> Result<Found, Refusal> {
    let (sorted, everything) = (!request.sort.is_empty(), is_everything(request.query.as_ref()));
    let (take_from, take) = if sorted && size > 0 { (0, usize::MAX) } else { (from, size) };
    let (mut found, mapping) = if everything {
        let Listing { log, mapping, total, page } = index.listing(take_from, take)?;
        let hit = |location| Hit { location, score: Some(1.0), sort: None };
        (Found { log, total, hits: page.into_iter().map(hit).collect() }, mapping)
    } else {
        let snapshot = index.snapshot()?;
        let builder = Builder { mapping: &snapshot.mapping, fields: snapshot.fields };
        let query = builder.build(request.query.as_ref().unwrap_or(&Value::Null))?;
        let (total, hits) = inverted::search(&snapshot.searcher, snapshot.fields, &*query, take_from, take)?;
        let hit = |(score, location)| Hit { location, score: Some(score), sort: None };
        (Found { log: snapshot.log, total, hits: hits.into_iter().map(hit).collect() }, snapshot.mapping)
    };
    if sorted && size > 0 {
        found.hits = sort(&found.log, &mapping, &request.sort, found.hits)?;
        found.hits = found.hits.into_iter().skip(from).take(size).collect();
    }
    Ok(found)
}

#[derive(Debug, Clone, PartialEq)]
enum Key {
    Number(f64),
    Whole(i128),
    Text(String),
}

impl Key {
    fn compare(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Number(a), Key::Number(b)) => a.total_cmp(b),
            (Key::Whole(a), Key::Whole(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            // One field has one kind of key.
            _ => Ordering::Equal,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Key::Number(number) => out.push_str(&format!("{number:?}")),
            Key::Whole(number) => out.push_str(&number.to_string()),
            Key::Text(text) => write_string(text, out),
        }
    }
}

/// Collects the values of one document that it is sorted by: of several the least, or the greatest if it goes down.
struct Keys<'a> {
    sort: &'a [SortBy],
    keys: Vec<Option<Key>>,
}

impl Values for Keys<'_> {
    fn value(&mut self, path: &str, scalar: &Scalar<'_>) {
        for (by, kept) in self.sort.iter().zip(&mut self.keys).filter(|(by, _)| by.field == path) {
            let key = match scalar {
                Scalar::Long(value) => Key::Whole((*value).into()),
                Scalar::Unsigned(value) => Key::Whole((*value).into()),
                Scalar::Boolean(value) => Key::Whole((*value).into()),
                Scalar::Double(value) => Key::Number(*value),
                Scalar::Keyword(text) => Key::Text(text.to_string()),
                Scalar::Text(_) | Scalar::Nothing => continue,
            };
            let wanted = if by.descending { Ordering::Greater } else { Ordering::Less };
            if kept.as_ref().is_none_or(|kept| key.compare(kept) == wanted) {
                *kept = Some(key);
            }
        }
    }
}

fn sort(log: &Log, mapping: &Mapping, by: &[SortBy], hits: Vec<Hit>) -> Result<Vec<Hit>, Refusal> {
    for by in by.iter().filter(|by| by.field != "_doc") {
        match mapping.leaf(&by.field) {
            Some(leaf) if leaf.kind == Kind::Text => {
                return Err(Refusal::illegal(format!(
                    "Fielddata is disabled on [{0}] in [{0}]. Text fields are not optimised for operations that require \
                     per-document field data like aggregations and sorting",
                    by.field
                )));
            }
            None if !by.unmapped => {
                let reason = format!("No mapping found for [{}] in order to sort on", by.field);
                return Err(Refusal::new(400, "query_shard_exception", reason));
            }
            _ => {}
        }
    }
    let mut keyed = Vec::with_capacity(hits.len());
    for hit in hits {
        let bytes = log.read(hit.location).map_err(Refusal::log)?;
        let mut keys = Keys { sort: by, keys: vec![None; by.len()] };
        if let Operation::Index { id, source, .. } = Operation::read(&bytes).map_err(Refusal::log)? {
            walk(mapping, id, source, &mut keys)?;
        }
        keyed.push((keys.keys, hit));
    }
    keyed.sort_by(|(a, _), (b, _)| compare(by, a, b));
    let sorted = keyed.into_iter().map(|(keys, hit)| {
        let mut text = String::from("[");
        for (at, key) in keys.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            match key {
                Some(key) => key.write(&mut text),
                None => text.push_str("null"),
            }
        }
        text.push(']');
        Hit { sort: Some(text.into()), score: None, ..hit }
    });
    Ok(sorted.collect())
}

fn compare(by: &[SortBy], a: &[Option<Key>], b: &[Option<Key>]) -> Ordering {
    for (by, (a, b)) in by.iter().zip(a.iter().zip(b)) {
        let ordering = match (a, b) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if by.missing_first => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) if by.missing_first => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if by.descending => b.compare(a),
            (Some(a), Some(b)) => a.compare(b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    Ordering::Equal
}

#[expect(clippy::too_many_arguments, reason = "the parts of one reply, which has two callers")]
fn answer(
    index: &Index,
    log: &Log,
    hits: &[Hit],
    total: usize,
    shown: &Shown,
    counted: Total,
    scroll: Option<&str>,
    took: u128,
) -> Result<String, Refusal> {
    let mut out = String::from("{");
    if let Some(id) = scroll {
        out.push_str("\"_scroll_id\":");
        write_string(id, &mut out);
        out.push(',');
    }
    out.push_str(&format!(
        "\"took\":{took},\"timed_out\":false,\"_shards\":{{\"total\":1,\"successful\":1,\"skipped\":0,\"failed\":0}},\"hits\":{{"
    ));
    match counted {
        Total::Hidden => {}
        Total::UpTo(most) if total > most => {
            out.push_str(&format!("\"total\":{{\"value\":{most},\"relation\":\"gte\"}},"));
        }
        Total::Exact | Total::UpTo(_) => {
            out.push_str(&format!("\"total\":{{\"value\":{total},\"relation\":\"eq\"}},"));
        }
    }
    let best = hits.iter().filter_map(|hit| hit.score).reduce(f32::max);
    out.push_str(&format!("\"max_score\":{},\"hits\":[", best.map_or("null".to_owned(), |score| format!("{score:?}"))));
    for (at, hit) in hits.iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        let bytes = log.read(hit.location).map_err(Refusal::log)?;
        let operation = Operation::read(&bytes).map_err(Refusal::log)?;
        let score = Some(hit.score.map_or("null".to_owned(), |score| format!("{score:?}")));
        write_document(&index.name, &operation, shown, score.as_deref(), &mut out)?;
        if let Some(sort) = &hit.sort {
            out.push_str(",\"sort\":");
            out.push_str(sort);
        }
        out.push('}');
    }
    out.push_str("]}}");
    Ok(out)
}

/// The fields of one stored document, without the braces.
pub(crate) fn write_document(
    index: &str,
    operation: &Operation<'_>,
    shown: &Shown,
    score: Option<&str>,
    out: &mut String,
) -> Result<(), Refusal> {
    let Operation::Index { version, sequence, id, routing, source } = operation else {
        return Err(Refusal::log("the log holds no document where one was"));
    };
    out.push_str("\"_index\":");
    write_string(index, out);
    out.push_str(",\"_id\":");
    write_string(id, out);
    if shown.version {
        out.push_str(&format!(",\"_version\":{version}"));
    }
    if shown.sequence {
        out.push_str(&format!(",\"_seq_no\":{sequence},\"_primary_term\":1"));
    }
    if let Some(score) = score {
        out.push_str(",\"_score\":");
        out.push_str(score);
    } else {
        out.push_str(",\"found\":true");
    }
    if let Some(routing) = routing {
        out.push_str(",\"_routing\":");
        write_string(routing, out);
    }
    match &shown.source {
        Source::None => {}
        Source::Whole => {
            out.push_str(",\"_source\":");
            out.push_str(source);
        }
        Source::Parts(selector) => {
            out.push_str(",\"_source\":");
            out.push_str(&selector.apply(source).map_err(|error| Refusal::json(&error))?);
        }
    }
    Ok(())
}

impl Source {
    pub(crate) fn parse(value: &Value) -> Result<Source, Refusal> {
        let mut selector = Selector::default();
        match value {
            Value::Bool(true) => return Ok(Source::Whole),
            Value::Bool(false) => return Ok(Source::None),
            Value::String(_) | Value::Array(_) => names(value)?.iter().for_each(|name| selector.include(name)),
            Value::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "includes" | "include" => names(value)?.iter().for_each(|name| selector.include(name)),
                        "excludes" | "exclude" => names(value)?.iter().for_each(|name| selector.exclude(name)),
                        other => return Err(Refusal::parsing(format!("Unknown key for a value in [_source.{other}]"))),
                    }
                }
            }
            _ => return Err(Refusal::parsing("[_source] has to be a boolean, a string, a list or an object")),
        }
        Ok(if selector.is_empty() { Source::Whole } else { Source::Parts(selector) })
    }

    /// The parameters `_source`, `_source_includes` and `_source_excludes` go before what the body says.
    pub(crate) fn from_parameters(body: Source, parameter: impl Fn(&str) -> Option<String>) -> Source {
        let mut selector = Selector::default();
        match parameter("_source").as_deref() {
            None => {}
            Some("true" | "") => return Source::Whole,
            Some("false") => return Source::None,
            Some(names) => names.split(',').for_each(|name| selector.include(name)),
        }
        let list = |name: &str| parameter(name).or_else(|| parameter(&format!("{name}s")));
        list("_source_include").iter().flat_map(|names| names.split(',')).for_each(|name| selector.include(name));
        list("_source_exclude").iter().flat_map(|names| names.split(',')).for_each(|name| selector.exclude(name));
        if selector.is_empty() { body } else { Source::Parts(selector) }
    }
}

impl Total {
    fn parse(value: &Value) -> Result<Total, Refusal> {
        match value {
            Value::Bool(true) => Ok(Total::Exact),
            Value::Bool(false) => Ok(Total::Hidden),
            Value::String(text) if text == "true" || text.is_empty() => Ok(Total::Exact),
            Value::String(text) if text == "false" => Ok(Total::Hidden),
            other => whole("track_total_hits", other).map(Total::UpTo),
        }
    }
}

fn names(value: &Value) -> Result<Vec<&str>, Refusal> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let name = |value: &'_ Value| value.as_str().map(|_| ()).ok_or_else(|| Refusal::parsing("[_source] takes names"));
    list.iter().try_for_each(name)?;
    Ok(list.iter().filter_map(Value::as_str).collect())
}

fn whole(key: &str, value: &Value) -> Result<usize, Refusal> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.parse::<usize>() {
        Ok(number) => Ok(number),
        Err(_) if text.starts_with('-') => {
            Err(Refusal::illegal(format!("[{key}] parameter cannot be negative but was [{text}]")))
        }
        Err(_) => Err(Refusal::illegal(format!("Failed to parse int parameter [{key}] with value [{text}]"))),
    }
}

fn parse_sort(value: &Value) -> Result<Vec<SortBy>, Refusal> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let mut sort = Vec::new();
    for entry in list {
        match entry {
            Value::String(field) => sort.push(SortBy::new(field, "asc")?),
            Value::Object(map) => {
                for (field, options) in map {
                    sort.push(SortBy::parse(field, options)?);
                }
            }
            _ => {
                return Err(Refusal::illegal(
                    "malformed sort format, either start with array, object, or an actual string",
                ));
            }
        }
    }
    // Documents come in their own order anyway.
    sort.retain(|by| by.field != "_doc" || by.descending);
    Ok(sort)
}

fn parse_sort_parameter(text: &str) -> Result<Vec<SortBy>, Refusal> {
    let by = |part: &str| {
        let (field, order) = part.rsplit_once(':').unwrap_or((part, "asc"));
        SortBy::new(field, order)
    };
    let sort: Result<Vec<_>, _> = text.split(',').map(by).collect();
    Ok(sort?.into_iter().filter(|by| by.field != "_doc").collect())
}

impl SortBy {
    fn new(field: &str, order: &str) -> Result<SortBy, Refusal> {
        if field == "_score" || field == "_id" {
            return Err(Refusal::not_there(format_args!("sorting by [{field}]")));
        }
        let descending = match order {
            "asc" => false,
            "desc" if field == "_doc" => return Err(Refusal::not_there("sorting down by [_doc]")),
            "desc" => true,
            other => return Err(Refusal::illegal(format!("Unknown SortOrder [{other}]"))),
        };
        Ok(SortBy { field: field.to_owned(), descending, missing_first: false, unmapped: false })
    }

    fn parse(field: &str, options: &Value) -> Result<SortBy, Refusal> {
        let Some(options) = options.as_object() else {
            return SortBy::new(field, options.as_str().unwrap_or_default());
        };
        let mut by = SortBy::new(field, options.get("order").and_then(Value::as_str).unwrap_or("asc"))?;
        for (key, value) in options {
            match key.as_str() {
                "order" => {}
                "unmapped_type" => by.unmapped = true,
                "missing" if value == "_first" => by.missing_first = true,
                "missing" if value == "_last" => {}
                other => return Err(Refusal::not_there(format_args!("[{other}] of a sort"))),
            }
        }
        Ok(by)
    }
}
