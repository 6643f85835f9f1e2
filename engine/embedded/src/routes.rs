//! Which request means what. Everything that is not listed here is answered by 400 and the word that it is not there.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::bulk::{self, Defaults};
use crate::error::Refusal;
use crate::http::{Reply, Request};
use crate::index::{Verb, Write};
use crate::log::Operation;
use crate::node::{Node, random_id};
use crate::query::parse_body;
use crate::search::{self, Shown, Source};
use crate::settings::{nest, time};

type Answer = Result<Reply, Refusal>;

/// What clients look at before they speak to a server.
const COMPATIBLE_VERSION: &str = "8.19.0";
const SCROLL_KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
const ANY: [&str; 4] = ["pretty", "human", "error_trace", "filter_path"];
const INDICES: [&str; 5] = ["ignore_unavailable", "allow_no_indices", "expand_wildcards", "local", "master_timeout"];
const SOURCE: [&str; 5] = ["_source", "_source_includes", "_source_include", "_source_excludes", "_source_exclude"];
const SEARCH: [&str; 17] = [
    "from",
    "size",
    "sort",
    "version",
    "seq_no_primary_term",
    "track_total_hits",
    "timeout",
    "preference",
    "request_cache",
    "search_type",
    "typed_keys",
    "batched_reduce_size",
    "ccs_minimize_roundtrips",
    "max_concurrent_shard_requests",
    "scroll",
    "routing",
    "track_scores",
];
const WRITE: [&str; 10] = [
    "refresh",
    "routing",
    "timeout",
    "version",
    "version_type",
    "if_seq_no",
    "if_primary_term",
    "op_type",
    "pipeline",
    "wait_for_active_shards",
];

pub(crate) fn route(node: &Node, request: &Request) -> Answer {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    match (method, &path[..]) {
        ("GET" | "HEAD", []) => root(node, request),
        ("POST" | "PUT", ["_bulk"]) => bulk(node, request, None),
        ("POST" | "PUT", [index, "_bulk"]) => bulk(node, request, Some(index)),
        ("GET", ["_cluster", "health"]) => health(node, request, None),
        ("GET", ["_cluster", "health", index]) => health(node, request, Some(index)),
        ("GET" | "POST", ["_refresh"]) => refresh(node, request, "_all"),
        ("GET" | "POST", [index, "_refresh"]) => refresh(node, request, index),
        ("GET" | "POST", ["_mget"]) => multi_get(node, request, None),
        ("GET" | "POST", [index, "_mget"]) => multi_get(node, request, Some(index)),
        ("GET" | "POST", ["_search", "scroll"]) => scroll_on(node, request),
        ("DELETE", ["_search", "scroll"]) => scroll_close(node, request),
        ("GET" | "POST", [index, "_search"]) => search(node, request, index),
        ("GET" | "POST", [index, "_count"]) => count(node, request, index),
        ("GET", ["_mapping"]) => mapping(node, request, "_all"),
        ("GET", [index, "_mapping"]) => mapping(node, request, index),
        ("PUT" | "POST", [index, "_mapping"]) => put_mapping(node, request, index),
        ("GET", ["_settings"]) => settings(node, request, "_all"),
        ("GET", [index, "_settings"]) => settings(node, request, index),
        ("PUT", [index, "_settings"]) => put_settings(node, request, index),
        ("POST", [index, "_doc"]) => write(node, request, index, None, Verb::Index),
        ("PUT" | "POST", [index, "_doc", id]) => write(node, request, index, Some(id), Verb::Index),
        ("PUT" | "POST", [index, "_create", id]) => write(node, request, index, Some(id), Verb::Create),
        ("DELETE", [index, "_doc", id]) => write(node, request, index, Some(id), Verb::Delete),
        ("GET" | "HEAD", [index, "_doc", id]) => get(node, request, index, id),
        ("PUT", [index]) if !index.starts_with('_') => create(node, request, index),
        ("DELETE", [index]) if !index.starts_with('_') || *index == "_all" => delete(node, request, index),
        ("GET" | "HEAD", [index]) if !index.starts_with('_') || *index == "_all" => describe(node, request, index),
        _ => Err(Refusal::not_there(format_args!("{method} /{}", path.join("/")))),
    }
}

fn root(node: &Node, request: &Request) -> Answer {
    request.check_parameters(&[&ANY])?;
    Ok(Reply::json(&json!({
        "name": "tidemill",
        "cluster_name": "tidemill-embedded",
        "cluster_uuid": "_na_",
        "version": {
            "number": COMPATIBLE_VERSION,
            "distribution": "tidemill-embedded",
            "tidemill": env!("CARGO_PKG_VERSION"),
            "build_flavor": "default",
            "lucene_version": "none: tantivy",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "indices": node.index_count(),
        "uptime_in_millis": node.started.elapsed().as_millis() as u64,
        "tagline": "Tidemill's embedded index: for demos and tests, not for production",
    })))
}

fn health(node: &Node, request: &Request, index: Option<&str>) -> Answer {
    let known = [
        "wait_for_status",
        "timeout",
        "level",
        "wait_for_no_initializing_shards",
        "wait_for_no_relocating_shards",
        "wait_for_active_shards",
        "wait_for_nodes",
        "wait_for_events",
    ];
    request.check_parameters(&[&ANY, &INDICES, &known])?;
    let shards = match index {
        Some(index) => node.matching(index)?.len(),
        None => node.index_count(),
    };
    Ok(Reply::json(&json!({
        "cluster_name": "tidemill-embedded",
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    })))
}

fn bulk(node: &Node, request: &Request, index: Option<&str>) -> Answer {
    let known = ["refresh", "pipeline", "routing", "timeout", "wait_for_active_shards", "require_alias", "_source"];
    request.check_parameters(&[&ANY, &known])?;
    let defaults = Defaults {
        index,
        pipeline: request.parameter("pipeline"),
        routing: request.parameter("routing"),
        require_alias: request.flag("require_alias"),
    };
    bulk::run(node, &request.body, defaults, refreshes(request)?).map(Reply::text)
}

fn refreshes(request: &Request) -> Result<bool, Refusal> {
    match request.parameter("refresh") {
        None | Some("false") => Ok(false),
        Some("true" | "" | "wait_for") => Ok(true),
        Some(other) => Err(Refusal::illegal(format!("Unknown value for refresh: [{other}]."))),
    }
}

fn refresh(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES])?;
    let indices = node.matching(names)?;
    indices.iter().for_each(|index| index.refresh());
    let count = indices.len();
    Ok(Reply::json(&json!({"_shards": {"total": count, "successful": count, "failed": 0}})))
}

fn create(node: &Node, request: &Request, name: &str) -> Answer {
    request.check_parameters(&[&ANY, &["timeout", "master_timeout", "wait_for_active_shards"]])?;
    node.create(name, &parse_body(&request.body)?)?;
    Ok(Reply::json(&json!({"acknowledged": true, "shards_acknowledged": true, "index": name})))
}

fn delete(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["timeout"]])?;
    match node.delete(names) {
        Err(refusal) if refusal.status == 404 && request.flag("ignore_unavailable") => {}
        result => result?,
    }
    Ok(Reply::json(&json!({"acknowledged": true})))
}

fn describe(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["include_defaults", "flat_settings"]])?;
    let mut out = Map::new();
    for index in node.matching(names)? {
        let settings = index_settings(&index, request);
        let mut entry = json!({"aliases": {}, "mappings": index.mapping().to_json()});
        if let (Some(entry), Value::Object(settings)) = (entry.as_object_mut(), settings) {
            entry.extend(settings);
        }
        out.insert(index.name.clone(), entry);
    }
    Ok(Reply::json(&Value::Object(out)))
}

fn mapping(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES])?;
    let entry = |index: &std::sync::Arc<crate::index::Index>| {
        (index.name.clone(), json!({"mappings": index.mapping().to_json()}))
    };
    let all: Map<_, _> = node.matching(names)?.iter().map(entry).collect();
    Ok(Reply::json(&Value::Object(all)))
}

fn put_mapping(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["timeout", "write_index_only"]])?;
    let body = parse_body(&request.body)?;
    for index in node.matching(names)? {
        index.put_mapping(&body)?;
    }
    Ok(Reply::json(&json!({"acknowledged": true})))
}

fn settings(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["include_defaults", "flat_settings"]])?;
    let indices = node.matching(names)?;
    let all: Map<_, _> = indices.iter().map(|index| (index.name.clone(), index_settings(index, request))).collect();
    Ok(Reply::json(&Value::Object(all)))
}

fn index_settings(index: &crate::index::Index, request: &Request) -> Value {
    let flat = request.flag("flat_settings");
    let settings = index.settings();
    let mut out = Map::new();
    let mut put = |group: &str, key: &str, value: String| {
        let key = format!("index.{key}");
        let Some(group) = out.entry(group).or_insert_with(|| json!({})).as_object_mut() else { return };
        if flat {
            group.insert(key, value.into());
        } else {
            nest(group, &key, value.into());
        }
    };
    for (key, value) in settings.iter() {
        put("settings", key, value.to_owned());
    }
    put("settings", "uuid", index.uuid.clone());
    put("settings", "creation_date", index.created_ms.to_string());
    put("settings", "provided_name", index.name.clone());
    put("settings", "version.created", "8190000".to_owned());
    if request.flag("include_defaults") {
        settings.defaults().into_iter().for_each(|(key, value)| put("defaults", key, value));
    }
    Value::Object(out)
}

fn put_settings(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["timeout", "preserve_existing", "flat_settings"]])?;
    let body = parse_body(&request.body)?;
    for index in node.matching(names)? {
        index.put_settings(&body)?;
    }
    Ok(Reply::json(&json!({"acknowledged": true})))
}

fn write(node: &Node, request: &Request, name: &str, id: Option<&str>, verb: Verb) -> Answer {
    request.check_parameters(&[&ANY, &WRITE])?;
    if let Some(pipeline) = request.parameter("pipeline").filter(|pipeline| *pipeline != "_none") {
        return Err(Refusal::illegal(format!("pipeline with id [{pipeline}] does not exist")));
    }
    let verb = match (verb, request.parameter("op_type")) {
        (Verb::Index, Some("create")) => Verb::Create,
        (verb, _) => verb,
    };
    let id = id.map_or_else(|| Cow::Owned(random_id()), Cow::Borrowed);
    bulk::check_id_length(&id)?;
    let versioning = bulk::parse_versioning(verb, request.parameter("version"), request.parameter("version_type"))?;
    let routing = bulk::check_routing(request.parameter("routing").map(Cow::Borrowed))?;
    let if_sequence = bulk::parse_sequence(request.parameter("if_seq_no"))?;
    if verb != Verb::Delete && request.body.is_empty() {
        return Err(Refusal::new(400, "parse_exception", "request body is required"));
    }
    let write = Write { verb, id, routing, versioning, if_sequence, source: &request.body };
    let index = match (verb, versioning) {
        (Verb::Delete, crate::index::Versioning::Internal) => node.index(name)?,
        _ => node.index_or_create(name)?,
    };
    let refresh = refreshes(request)?;
    let written = index.write(&[&write]).pop().expect("one write has one result")?;
    if refresh {
        index.refresh();
    }
    let mut out = String::new();
    bulk::write_written(name, &write.id, &written, false, &mut out);
    Ok(Reply { status: written.status(), body: out })
}

fn shown(request: &Request, source: Source) -> Shown {
    let source = Source::from_parameters(source, |name| request.owned_parameter(name));
    Shown { source, version: true, sequence: true }
}

fn get(node: &Node, request: &Request, name: &str, id: &str) -> Answer {
    let known = ["realtime", "refresh", "routing", "preference", "version", "version_type", "stored_fields"];
    request.check_parameters(&[&ANY, &SOURCE, &known])?;
    let mut out = String::from("{");
    let found = get_one(node, name, id, &shown(request, Source::Whole), &mut out)?;
    out.push('}');
    Ok(Reply { status: if found { 200 } else { 404 }, body: out })
}

/// Writes what `_doc` and `_mget` answer for one document; false if there is none.
fn get_one(node: &Node, name: &str, id: &str, shown: &Shown, out: &mut String) -> Result<bool, Refusal> {
    match node.index(name)?.get(id)? {
        Some(bytes) => {
            let operation = Operation::read(&bytes).map_err(Refusal::log)?;
            search::write_document(name, &operation, shown, None, out)?;
            Ok(true)
        }
        None => {
            out.push_str("\"_index\":");
            crate::json::write_string(name, out);
            out.push_str(",\"_id\":");
            crate::json::write_string(id, out);
            out.push_str(",\"found\":false");
            Ok(false)
        }
    }
}

fn multi_get(node: &Node, request: &Request, index: Option<&str>) -> Answer {
    let known = ["realtime", "refresh", "preference", "routing", "stored_fields"];
    request.check_parameters(&[&ANY, &SOURCE, &known])?;
    let body = parse_body(&request.body)?;
    let whole = shown(request, Source::Whole);
    let mut out = String::from("{\"docs\":[");
    let docs = match (body.get("docs"), body.get("ids")) {
        (Some(Value::Array(docs)), None) => docs.clone(),
        (None, Some(Value::Array(ids))) => ids.iter().map(|id| json!({"_id": id})).collect(),
        _ => return Err(Refusal::validation("no documents to get")),
    };
    for (at, doc) in docs.iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let id = doc.get("_id").map(text).ok_or_else(|| Refusal::validation("id is missing"))?;
        let name = doc.get("_index").and_then(Value::as_str).or(index);
        let name = name.ok_or_else(|| Refusal::validation("index is missing"))?;
        let before = out.len();
        let shown = match doc.get("_source") {
            None => whole.clone(),
            Some(source) => shown(request, Source::parse(source)?),
        };
        if let Err(refusal) = get_one(node, name, &id, &shown, &mut out) {
            out.truncate(before);
            out.push_str("\"_index\":");
            crate::json::write_string(name, &mut out);
            out.push_str(",\"_id\":");
            crate::json::write_string(&id, &mut out);
            out.push_str(",\"error\":");
            refusal.write_item(&mut out);
        }
        out.push('}');
    }
    out.push_str("]}");
    Ok(Reply::text(out))
}

fn one_index(node: &Node, names: &str) -> Result<std::sync::Arc<crate::index::Index>, Refusal> {
    match node.matching(names)?.as_slice() {
        [index] => Ok(index.clone()),
        _ => Err(Refusal::not_there(format_args!("a search over none or several indices ([{names}])"))),
    }
}

fn search(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &SOURCE, &SEARCH])?;
    let index = one_index(node, names)?;
    let started = Instant::now();
    let took = || started.elapsed().as_millis();
    let wanted = search::Request::parse(&parse_body(&request.body)?, |name| request.owned_parameter(name))?;
    let Some(keep) = request.parameter("scroll") else { return search::run(&index, &wanted, took).map(Reply::text) };
    let keep = keep_of(keep)?;
    let mut scroll = search::scroll(index, &wanted)?;
    let id = random_id();
    let page = scroll.next(&id, took)?;
    node.open_scroll(&id, scroll, keep)?;
    Ok(Reply::text(page))
}

fn keep_of(text: &str) -> Result<Duration, Refusal> {
    let keep = time(text).ok_or_else(|| {
        Refusal::illegal(format!("failed to parse setting [scroll] with value [{text}] as a time value"))
    })?;
    if keep > SCROLL_KEPT_MAX {
        return Err(Refusal::illegal(format!(
            "Keep alive for request ({text}) is too large. It must be less than (1d)."
        )));
    }
    Ok(keep)
}

fn scroll_on(node: &Node, request: &Request) -> Answer {
    request.check_parameters(&[&ANY, &["scroll", "scroll_id"]])?;
    let started = Instant::now();
    let body = parse_body(&request.body)?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).or(request.parameter(key));
    let id = text("scroll_id").ok_or_else(|| Refusal::validation("scrollId is missing"))?;
    let keep = text("scroll").map(keep_of).transpose()?;
    let (until, mut scroll) = node.take_scroll(id)?;
    let page = scroll.next(id, || started.elapsed().as_millis());
    node.return_scroll(id, keep.map_or(until, |keep| Instant::now() + keep), scroll);
    page.map(Reply::text)
}

fn scroll_close(node: &Node, request: &Request) -> Answer {
    request.check_parameters(&[&ANY, &["scroll_id"]])?;
    let body = parse_body(&request.body)?;
    let ids: Vec<&str> = match body.get("scroll_id") {
        Some(Value::String(id)) => vec![id],
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).collect(),
        _ => request.parameter("scroll_id").into_iter().flat_map(|ids| ids.split(',')).collect(),
    };
    let freed = match ids.as_slice() {
        [] => return Err(Refusal::validation("no scroll ids specified")),
        ["_all"] => node.close_all_scrolls(),
        ids => ids.iter().filter(|id| node.close_scroll(id)).count(),
    };
    let status = if freed == 0 { 404 } else { 200 };
    Ok(Reply { status, body: json!({"succeeded": true, "num_freed": freed}).to_string() })
}

fn count(node: &Node, request: &Request, names: &str) -> Answer {
    request.check_parameters(&[&ANY, &INDICES, &["routing", "preference"]])?;
    let index = one_index(node, names)?;
    let count = search::count(&index, &search::Request::parse_count(&parse_body(&request.body)?)?)?;
    let shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
    Ok(Reply::json(&json!({"count": count, "_shards": shards})))
}
