//! `_bulk`: lines in, one item an action out. The whole body is read before anything is written, since a real server refuses
//! it whole for one line that it cannot read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Refusal;
use crate::index::{Index, Outcome, Verb, Versioning, Write, Written};
use crate::json::{Scanner, Value, write_string};
use crate::node::{Node, random_id};

pub(crate) const ID_BYTES_MAX: usize = 512;
const ITEM_BYTES: usize = 160;

/// What the request says for all of its actions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Defaults<'a> {
    pub(crate) index: Option<&'a str>,
    pub(crate) pipeline: Option<&'a str>,
    pub(crate) routing: Option<&'a str>,
    pub(crate) require_alias: bool,
}

#[derive(Debug)]
struct Action<'a> {
    name: &'static str,
    index: Cow<'a, str>,
    pipeline: Option<Cow<'a, str>>,
    require_alias: bool,
    what: What<'a>,
}

#[derive(Debug)]
enum What<'a> {
    Write(Write<'a>),
    Update { id: Cow<'a, str> },
}

/// The head of an action as it is read, before it is known to make sense.
#[derive(Debug, Default)]
struct Head<'a> {
    index: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    routing: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    version_type: Option<Cow<'a, str>>,
    if_sequence: Option<Cow<'a, str>>,
    pipeline: Option<Cow<'a, str>>,
    require_alias: Option<bool>,
    op_type: Option<Cow<'a, str>>,
}

/// Carries a bulk out and gives the answer's body.
pub(crate) fn run(node: &Node, body: &[u8], defaults: Defaults<'_>, refresh: bool) -> Result<String, Refusal> {
    let started = Instant::now();
    let actions = parse(body, defaults)?;
    let mut results: Vec<Option<Result<Written, Refusal>>> = actions.iter().map(|_| None).collect();
    let mut groups: BTreeMap<&str, (Arc<Index>, Vec<usize>)> = BTreeMap::new();
    for (at, action) in actions.iter().enumerate() {
        match resolve(node, action, groups.get(&*action.index)) {
            Err(refusal) => results[at] = Some(Err(refusal)),
            Ok(None) => groups.get_mut(&*action.index).expect("found by resolve").1.push(at),
            Ok(Some(index)) => {
                groups.insert(&action.index, (index, vec![at]));
            }
        }
    }
    for (index, members) in groups.values() {
        let writes: Vec<&Write<'_>> = members.iter().filter_map(|at| actions[*at].write()).collect();
        for (at, result) in members.iter().zip(index.write(&writes)) {
            results[*at] = Some(result);
        }
        if refresh {
            index.refresh();
        }
    }
    Ok(answer(&actions, &results, started))
}

impl<'a> Action<'a> {
    fn write(&self) -> Option<&Write<'a>> {
        match &self.what {
            What::Write(write) => Some(write),
            What::Update { .. } => None,
        }
    }

    fn id(&self) -> &str {
        match &self.what {
            What::Write(write) => &write.id,
            What::Update { id } => id,
        }
    }
}

/// Whether an action can go to its index; the index where no earlier action led there.
fn resolve(
    node: &Node,
    action: &Action<'_>,
    known: Option<&(Arc<Index>, Vec<usize>)>,
) -> Result<Option<Arc<Index>>, Refusal> {
    let name = &*action.index;
    if action.require_alias {
        let reason =
            format!("no such index [{name}] and [require_alias] request flag is [true] and [{name}] is not an alias");
        return Err(Refusal::new(404, "index_not_found_exception", reason).of(name, "_na_"));
    }
    if let Some(pipeline) = action.pipeline.as_deref().filter(|pipeline| *pipeline != "_none") {
        return Err(Refusal::illegal(format!("pipeline with id [{pipeline}] does not exist")));
    }
    let write = match &action.what {
        What::Write(write) => write,
        What::Update { id } => {
            let index = node.index_or_create(name)?;
            return Err(match index.get(id)? {
                None => Refusal::new(404, "document_missing_exception", format!("[{id}]: document missing"))
                    .of(name, &index.uuid),
                Some(_) => Refusal::not_there("an update of a part of a document"),
            });
        }
    };
    if known.is_some() {
        return Ok(None);
    }
    // As on the real servers, only a delete without a version does not make its index.
    match (write.verb, write.versioning) {
        (Verb::Delete, Versioning::Internal) => node.index(name).map(Some),
        _ => node.index_or_create(name).map(Some),
    }
}

fn parse<'a>(body: &'a [u8], defaults: Defaults<'a>) -> Result<Vec<Action<'a>>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::new(400, "parse_exception", "request body is required"));
    }
    if body.last() != Some(&b'\n') {
        return Err(Refusal::illegal("The bulk request must be terminated by a newline [\\n]"));
    }
    let mut lines = body[..body.len() - 1].split(|byte| *byte == b'\n').enumerate();
    let mut actions = Vec::new();
    while let Some((number, line)) = lines.next() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let (name, head) = parse_head(line, number + 1)?;
        let source = match name {
            "delete" => &[][..],
            _ => {
                let source = lines.next().map(|(_, line)| line.strip_suffix(b"\r").unwrap_or(line));
                source.ok_or_else(|| {
                    Refusal::illegal(format!("the action of line [{}] lacks its document", number + 1))
                })?
            }
        };
        actions.push(head.action(name, source, defaults)?);
    }
    if actions.is_empty() {
        return Err(Refusal::validation("no requests added"));
    }
    Ok(actions)
}

fn parse_head(line: &[u8], number: usize) -> Result<(&'static str, Head<'_>), Refusal> {
    let text = std::str::from_utf8(line)
        .map_err(|_| Refusal::illegal(format!("Malformed action/metadata line [{number}], it is not UTF-8")))?;
    let mut scanner = Scanner::new(text);
    let broken = |error| Refusal::json(&error);
    let malformed = |what: &str| Refusal::illegal(format!("Malformed action/metadata line [{number}], {what}"));
    if !matches!(scanner.value().map_err(broken)?, Value::Object) {
        return Err(malformed("expected START_OBJECT"));
    }
    let Some(key) = scanner.next_key(true).map_err(broken)? else {
        return Err(malformed("expected FIELD_NAME but found [END_OBJECT]"));
    };
    let name = match &*key {
        "index" => "index",
        "create" => "create",
        "delete" => "delete",
        "update" => "update",
        other => {
            return Err(malformed(&format!("expected one of [create, delete, index, update] but found [{other}]")));
        }
    };
    if !matches!(scanner.value().map_err(broken)?, Value::Object) {
        return Err(malformed("expected START_OBJECT after the action's name"));
    }
    let mut head = Head::default();
    let mut first = true;
    while let Some(key) = scanner.next_key(first).map_err(broken)? {
        first = false;
        let value = scanner.value().map_err(broken)?;
        head.set(&key, value, number)?;
    }
    if scanner.next_key(false).map_err(broken)?.is_some() {
        return Err(malformed("expected END_OBJECT"));
    }
    scanner.end().map_err(broken)?;
    Ok((name, head))
}

impl<'a> Head<'a> {
    fn set(&mut self, key: &str, value: Value<'a>, number: usize) -> Result<(), Refusal> {
        let text = match value {
            Value::String(text) => Some(text),
            Value::Number(text) => Some(Cow::Borrowed(text)),
            Value::Bool(flag) => Some(Cow::Borrowed(if flag { "true" } else { "false" })),
            Value::Null => None,
            Value::Object | Value::Array => {
                let reason =
                    format!("Malformed action/metadata line [{number}], expected a simple value for field [{key}]");
                return Err(Refusal::illegal(reason));
            }
        };
        match key {
            "_index" => self.index = text,
            "_id" => self.id = text,
            "routing" | "_routing" => self.routing = text,
            "version" | "_version" => self.version = text,
            "version_type" | "_version_type" => self.version_type = text,
            "if_seq_no" => self.if_sequence = text,
            "if_primary_term" | "retry_on_conflict" | "list_executed_pipelines" => {}
            "pipeline" => self.pipeline = text,
            "op_type" => self.op_type = text,
            "require_alias" => self.require_alias = text.map(|text| text == "true"),
            _ => {
                let reason = format!("Action/metadata line [{number}] contains an unknown parameter [{key}]");
                return Err(Refusal::illegal(reason));
            }
        }
        Ok(())
    }

    fn action(self, name: &'static str, source: &'a [u8], defaults: Defaults<'a>) -> Result<Action<'a>, Refusal> {
        let index = self.index.or(defaults.index.map(Cow::Borrowed));
        let index = index.filter(|index| !index.is_empty()).ok_or_else(|| Refusal::validation("index is missing"))?;
        let verb = match (name, self.op_type.as_deref()) {
            ("create", _) | ("index", Some("create")) => Verb::Create,
            ("delete", _) => Verb::Delete,
            _ => Verb::Index,
        };
        let versioned = self.version.is_some() || self.version_type.as_deref().is_some_and(|kind| kind != "internal");
        if name == "update" && versioned {
            let reason =
                "Update requests do not support versioning. Please use `if_seq_no` and `if_primary_term` instead";
            return Err(Refusal::illegal(reason));
        }
        let versioning = parse_versioning(verb, self.version.as_deref(), self.version_type.as_deref())?;
        let id = check_id(self.id, name)?;
        let what = if name == "update" {
            What::Update { id }
        } else {
            let routing = self.routing.or(defaults.routing.map(Cow::Borrowed));
            let if_sequence = parse_sequence(self.if_sequence.as_deref())?;
            What::Write(Write { verb, id, routing: check_routing(routing)?, versioning, if_sequence, source })
        };
        Ok(Action {
            name: if verb == Verb::Create { "create" } else { name },
            index,
            pipeline: self.pipeline.or(defaults.pipeline.map(Cow::Borrowed)),
            require_alias: self.require_alias.unwrap_or(defaults.require_alias),
            what,
        })
    }
}

/// An id that a document may have; one that is made up where none was given.
fn check_id<'a>(id: Option<Cow<'a, str>>, action: &str) -> Result<Cow<'a, str>, Refusal> {
    match id {
        Some(id) if id.is_empty() => Err(Refusal::validation("if _id is specified it must not be empty")),
        Some(id) => match check_id_length(&id) {
            Ok(()) => Ok(id),
            Err(refusal) => Err(refusal),
        },
        None if action == "delete" || action == "update" => Err(Refusal::validation("id is missing")),
        None => Ok(Cow::Owned(random_id())),
    }
}

pub(crate) fn check_id_length(id: &str) -> Result<(), Refusal> {
    if id.len() <= ID_BYTES_MAX {
        return Ok(());
    }
    let length = id.len();
    let what = format!("id [{id}] is too long, must be no longer than {ID_BYTES_MAX} bytes but was: {length}");
    Err(Refusal::validation(&what))
}

pub(crate) fn check_routing(routing: Option<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, Refusal> {
    match routing {
        Some(routing) if routing.len() > ID_BYTES_MAX => {
            Err(Refusal::not_there(format_args!("a routing of more than {ID_BYTES_MAX} bytes")))
        }
        routing => Ok(routing),
    }
}

pub(crate) fn parse_sequence(text: Option<&str>) -> Result<Option<u64>, Refusal> {
    let parse = |text: &str| {
        text.parse().map_err(|_| Refusal::illegal(format!("sequence numbers must be non negative. got [{text}]")))
    };
    text.map(parse).transpose()
}

pub(crate) fn parse_versioning(verb: Verb, version: Option<&str>, kind: Option<&str>) -> Result<Versioning, Refusal> {
    let given = match version {
        None => None,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => Some(number),
            Err(_) => {
                return Err(Refusal::illegal(format!("Failed to parse long parameter [version] with value [{text}]")));
            }
        },
    };
    let make = match kind {
        None | Some("internal") => {
            return match given {
                None => Ok(Versioning::Internal),
                Some(_) => Err(Refusal::validation(
                    "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and \
                     `if_primary_term` instead",
                )),
            };
        }
        Some("external") => Versioning::External,
        Some("external_gte") => Versioning::ExternalGte,
        Some(other) => return Err(Refusal::illegal(format!("No version type match [{other}]"))),
    };
    if verb == Verb::Create {
        return Err(Refusal::validation("create operations only support internal versioning. use index instead"));
    }
    match given.and_then(|given| u64::try_from(given).ok()) {
        Some(given) => Ok(make(given)),
        None => {
            let shown = given.map_or("-3".to_owned(), |given| given.to_string());
            let kind = kind.unwrap_or_default().to_uppercase();
            Err(Refusal::validation(&format!("illegal version value [{shown}] for version type [{kind}]")))
        }
    }
}

fn answer(actions: &[Action<'_>], results: &[Option<Result<Written, Refusal>>], started: Instant) -> String {
    let errors = results.iter().any(|result| matches!(result, Some(Err(_))));
    let took = started.elapsed().as_millis();
    let mut out = String::with_capacity(64 + actions.len() * ITEM_BYTES);
    out.push_str(&format!("{{\"errors\":{errors},\"took\":{took},\"items\":["));
    for (at, (action, result)) in actions.iter().zip(results).enumerate() {
        out.push_str(if at == 0 { "{\"" } else { ",{\"" });
        out.push_str(action.name);
        out.push_str("\":");
        match result.as_ref().expect("every action was resolved or written") {
            Ok(written) => write_written(&action.index, action.id(), written, true, &mut out),
            Err(refusal) => write_refused(&action.index, action.id(), refusal, &mut out),
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}

/// What became of one document, as a bulk's item or as the answer to a request about it alone.
pub(crate) fn write_written(index: &str, id: &str, written: &Written, item: bool, out: &mut String) {
    use std::fmt::Write as _;
    out.push_str("{\"_index\":");
    write_string(index, out);
    out.push_str(",\"_id\":");
    write_string(id, out);
    let result = match written.result {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Deleted => "deleted",
        Outcome::NotFound => "not_found",
    };
    let _ = write!(
        out,
        ",\"_version\":{},\"result\":\"{result}\",\"_shards\":{{\"total\":1,\"successful\":1,\"failed\":0}},\"_seq_no\":{},\
         \"_primary_term\":1",
        written.version, written.sequence
    );
    if item {
        let _ = write!(out, ",\"status\":{}", written.status());
    }
    out.push('}');
}

impl Written {
    pub(crate) fn status(&self) -> u16 {
        match self.result {
            Outcome::Created => 201,
            Outcome::Updated | Outcome::Deleted => 200,
            Outcome::NotFound => 404,
        }
    }
}

fn write_refused(index: &str, id: &str, refusal: &Refusal, out: &mut String) {
    out.push_str("{\"_index\":");
    write_string(index, out);
    out.push_str(",\"_id\":");
    write_string(id, out);
    out.push_str(",\"status\":");
    out.push_str(&refusal.status.to_string());
    out.push_str(",\"error\":");
    refusal.write_item(out);
    out.push('}');
}
