//! From what was typed to what is meant: defaults, paths beside the file, secrets read, names checked. What is not there yet
//! is refused, never ignored.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_stage::{Folder, Grants, Identity, Limits};

use super::names::{SlotName, TablePattern, Template, check_index_pattern, check_own_name, check_publication};
use super::tree::{Fault, Node, Place, Value};
use super::values::{self, SecretText, Size};
use super::variables::Lookup;
use super::{
    Actions, Auth, Batch, Columns, Config, Create, DeadLetters, From, Http, Plugin, Ready, Rejects, SHIPPED_PLUGINS,
    Sink, Source, Stage, Stream, Tls, TlsIdentity, raw, suggest,
};
use crate::secret::Secret;

/// Above this a request is refused by every server's default (`http.max_content_length`).
const BATCH_BYTES_MAX: u64 = 100 << 20;
/// A smaller body does not hold one ordinary document.
const BATCH_BYTES_MIN: u64 = 4 << 10;
/// The servers' own advice ends here; the byte limit comes first with ordinary documents.
const BATCH_DOCUMENTS_MAX: u32 = 10_000;

/// The maps of a stream that are taken together with those of `defaults`, key by key. All other values replace them.
const MERGED_KEYS: &[&str] = &["batch", "dead_letters", "rejects"];

/// Puts what `defaults` says into every stream that does not say it itself. The nodes keep their positions, so that an
/// error points to where its value was typed.
pub(super) fn spread_defaults(tree: &mut Node) {
    let Some(Value::Map(defaults)) = tree.get("defaults").map(|node| node.value.clone()) else { return };
    let Some(Value::List(streams)) = tree.get_mut("streams").map(|node| &mut node.value) else { return };
    for stream in streams {
        let Value::Map(entries) = &mut stream.value else { continue };
        for (key, default) in &defaults {
            let own = entries.iter_mut().find(|(own, _)| own.name == key.name).map(|(_, node)| &mut node.value);
            match (own, &default.value) {
                (None, _) => entries.push((key.clone(), default.clone())),
                (Some(Value::Map(own)), Value::Map(inner)) if MERGED_KEYS.contains(&key.name.as_str()) => {
                    let missing = inner.iter().filter(|(key, _)| own.iter().all(|(own, _)| own.name != key.name));
                    let missing: Vec<_> = missing.cloned().collect();
                    own.extend(missing);
                }
                _ => {}
            }
        }
    }
}

pub(super) fn resolve(tree: &Node, raw: raw::Config, path: &Path, variable: Lookup<'_>) -> Result<Config, Fault> {
    let root = Place::root(tree);
    let base = Base(path.parent().unwrap_or(Path::new("")));
    if raw.defaults.as_ref().is_some_and(|defaults| defaults.name.is_some()) {
        return Err(root.key("defaults").key("name").fault("a name belongs to one stream: write it there"));
    }
    let sinks = resolve_sinks(&root, raw.sink, raw.sinks, base)?;
    if raw.streams.is_empty() {
        return Err(root.key("streams").fault("there is no stream: name at least one table and its index"));
    }
    let mut streams: Vec<Stream> = Vec::new();
    for (i, stream) in raw.streams.into_iter().enumerate() {
        let place = root.key("streams").nth(i);
        let stream = resolve_stream(&place, stream, &sinks, base)?;
        if streams.iter().any(|other| other.name == stream.name) {
            let message = format!("another stream has the name `{}`: each needs its own", stream.name);
            return Err(place.key("name").fault(message));
        }
        streams.push(stream);
    }
    Ok(Config {
        path: path.to_owned(),
        source: resolve_source(&root.key("source"), raw.source, base)?,
        sinks,
        streams,
        state: resolve_state(&root.key("state"), raw.state, base, variable)?,
        http: raw.http.map(|http| resolve_http(&root.key("http"), http, base)).transpose()?,
        ready: Ready { lag: raw.ready.and_then(|ready| ready.lag).map_or(Duration::from_secs(60), |lag| lag.0) },
    })
}

/// The folder that paths are relative to.
#[derive(Clone, Copy)]
pub(super) struct Base<'a>(pub(super) &'a Path);

impl Base<'_> {
    fn path(self, place: &Place<'_>, path: &str) -> Result<PathBuf, Fault> {
        if path.is_empty() {
            return Err(place.fault("the path is empty"));
        }
        Ok(self.0.join(path))
    }

    fn secret(self, place: &Place<'_>, secret: SecretText) -> Result<Secret, Fault> {
        match secret {
            SecretText::Text(text) => Ok(Secret::new(text)),
            SecretText::File(file) => {
                Secret::from_file(&self.0.join(file.file)).map_err(|error| place.key("file").fault(error.to_string()))
            }
        }
    }
}

fn not_there_yet<T>(place: &Place<'_>, what: &str) -> Result<T, Fault> {
    Err(place.fault(format!("{what} is not there yet: leave it out")))
}

fn resolve_source(place: &Place<'_>, raw: raw::Source, base: Base<'_>) -> Result<Source, Fault> {
    let (url, url_place) = (raw.url.0, place.key("url"));
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "postgres" | "postgresql"))
    else {
        return Err(
            url_place.fault("the source's URL begins with postgres://, as in postgres://user@host:5432/database")
        );
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let password_place = place.key("password");
    if has_password && raw.password.is_some() {
        return Err(password_place.fault("the URL has a password too: leave one of them out"));
    }
    let slot = raw.slot.as_deref().unwrap_or("tidemill");
    let publication = raw.publication.unwrap_or_else(|| "tidemill".to_owned());
    check_publication(&publication).map_err(|message| place.key("publication").fault(message))?;
    let wal_place = place.key("wal");
    if let Some(wal) = &raw.wal {
        if wal.spill.is_some() {
            return not_there_yet(&wal_place.key("spill"), "spilling changes to disk");
        }
        if wal.then == Some(raw::WalThen::DropSlot) {
            return not_there_yet(&wal_place.key("then"), "giving up the slot");
        }
    }
    Ok(Source {
        url: Secret::new(url),
        password: raw.password.map(|password| base.secret(&password_place, password)).transpose()?,
        slot: SlotName::parse(slot).map_err(|message| place.key("slot").fault(message))?,
        publication,
        wal_keep_bytes: raw.wal.and_then(|wal| wal.keep).map(|keep| keep.0),
    })
}

/// `sink:` is the sink `main`; more come by name.
fn resolve_sinks(
    root: &Place<'_>,
    sink: Option<raw::Sink>,
    sinks: Option<BTreeMap<String, raw::Sink>>,
    base: Base<'_>,
) -> Result<BTreeMap<String, Sink>, Fault> {
    let mut resolved = BTreeMap::new();
    let sinks_place = root.key("sinks");
    if let Some(sink) = sink {
        if sinks.as_ref().is_some_and(|sinks| sinks.contains_key("main")) {
            let message = "`sink` is short for `sinks: { main: … }`, and both are there: leave one of them out";
            return Err(sinks_place.key("main").fault(message));
        }
        resolved.insert("main".to_owned(), resolve_sink(&root.key("sink"), "main", sink, base)?);
    }
    for (name, sink) in sinks.into_iter().flatten() {
        let place = sinks_place.key(&name);
        check_own_name("sink", &name).map_err(|message| place.fault(message))?;
        let sink = resolve_sink(&place, &name, sink, base)?;
        resolved.insert(name, sink);
    }
    if resolved.is_empty() {
        return Err(root
            .key("sink")
            .fault("there is no sink: write where documents go, as in sink: { url: http://localhost:9200 }"));
    }
    Ok(resolved)
}

fn resolve_sink(place: &Place<'_>, name: &str, raw: raw::Sink, base: Base<'_>) -> Result<Sink, Fault> {
    let typed = match (raw.url, raw.urls) {
        (Some(url), None) => vec![(place.key("url"), url)],
        (None, Some(urls)) if !urls.is_empty() => {
            urls.into_iter().enumerate().map(|(i, url)| (place.key("urls").nth(i), url)).collect()
        }
        (Some(_), Some(_)) => return Err(place.key("urls").fault("`url` is there too: leave one of them out")),
        _ => return Err(place.key("url").fault("the sink has no `url`, as in http://localhost:9200")),
    };
    let auth_place = place.key("auth");
    let mut auth = raw.auth.map(|auth| resolve_auth(&auth_place, auth, base)).transpose()?;
    let mut urls = Vec::new();
    for (url_place, url) in typed {
        let (url, user) = resolve_sink_url(&url_place, &url.0)?;
        if let Some(user) = user {
            if auth.as_ref().is_some_and(|auth| *auth != user) {
                return Err(url_place.fault("the URL's user and `auth` differ: leave one of them out"));
            }
            auth = Some(user);
        }
        urls.push(url);
    }
    let tls = raw.tls.map(|tls| resolve_tls(&place.key("tls"), &tls, base)).transpose()?;
    if tls.is_some() && urls.iter().all(|url| url.scheme() == "http") {
        return Err(place.key("tls").fault("`tls` is set, but the URL begins with http:// and not with https://"));
    }
    let timeout = raw.timeout.map_or(Duration::from_secs(30), |timeout| timeout.0);
    if timeout.is_zero() {
        return Err(place.key("timeout").fault("a request needs some time: 30s is the default"));
    }
    Ok(Sink {
        name: name.to_owned(),
        urls,
        auth: auth.unwrap_or(Auth::None),
        tls: tls.unwrap_or_default(),
        timeout,
        gzip: raw.gzip.unwrap_or(false),
    })
}

/// The URL without its user part, and that user. No message repeats the URL: it may hold a password.
fn resolve_sink_url(place: &Place<'_>, typed: &str) -> Result<(reqwest::Url, Option<Auth>), Fault> {
    let refuse = |why: &str| place.fault(format!("{why}: write it as https://host:9200"));
    let mut url = reqwest::Url::parse(typed).map_err(|error| refuse(&format!("this is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("a sink's URL begins with http:// or https://"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("a sink's URL has neither `?` nor `#`"));
    }
    let decode = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8().map(|text| text.into_owned());
    let user = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => match (decode(user), decode(password.unwrap_or(""))) {
            (Ok(user), Ok(password)) => Some(Auth::Basic { user, password: Secret::new(password) }),
            _ => return Err(refuse("the URL's user part is not UTF-8")),
        },
    };
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        return Err(refuse("this URL has no host"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok((url, user))
}

fn resolve_auth(place: &Place<'_>, raw: values::Auth, base: Base<'_>) -> Result<Auth, Fault> {
    let options = match raw {
        values::Auth::None(_) => return Ok(Auth::None),
        values::Auth::Some(options) => *options,
    };
    let header_safe = |place: &Place<'_>, secret: Secret| match secret.expose().bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(secret),
        false => Err(place.fault("it has characters that no key has: is there a space or a line break in it?")),
    };
    match (options.api_key, options.basic, options.bearer) {
        (Some(key), None, None) => {
            let place = place.key("api_key");
            header_safe(&place, base.secret(&place, key)?).map(Auth::ApiKey)
        }
        (None, Some(basic), None) => {
            if basic.user.is_empty() || basic.user.contains(':') {
                return Err(place.key("basic").key("user").fault("a user has a name, without a colon"));
            }
            let password = base.secret(&place.key("basic").key("password"), basic.password)?;
            Ok(Auth::Basic { user: basic.user, password })
        }
        (None, None, Some(token)) => {
            let place = place.key("bearer");
            header_safe(&place, base.secret(&place, token)?).map(Auth::Bearer)
        }
        _ => Err(place.fault("write exactly one of `api_key`, `basic`, `bearer`")),
    }
}

fn resolve_tls(place: &Place<'_>, raw: &raw::Tls, base: Base<'_>) -> Result<Tls, Fault> {
    let file =
        |key: &str, path: &Option<String>| path.as_ref().map(|path| base.path(&place.key(key), path)).transpose();
    let identity = match (file("cert", &raw.cert)?, file("key", &raw.key)?) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(TlsIdentity { cert, key }),
        (Some(_), None) => return Err(place.key("key").fault("`cert` is there without its `key`")),
        (None, Some(_)) => return Err(place.key("cert").fault("`key` is there without its `cert`")),
    };
    Ok(Tls { ca: file("ca", &raw.ca)?, identity })
}

fn resolve_stream(
    place: &Place<'_>,
    raw: raw::Stream,
    sinks: &BTreeMap<String, Sink>,
    base: Base<'_>,
) -> Result<Stream, Fault> {
    let name = raw.name.ok_or_else(|| place.fault("the key `name` is missing"))?;
    check_own_name("stream", &name).map_err(|message| place.key("name").fault(message))?;
    let from = raw.from.ok_or_else(|| place.fault("the key `from` is missing: name a table, as in public.products"))?;
    let filter = non_empty(&place.key("where"), raw.r#where, "the condition is empty: leave the key out")?;
    let index_place = place.key("index");
    let index = Template::parse_index(raw.index.as_deref().unwrap_or(&name)).map_err(|message| match raw.index {
        Some(_) => index_place.fault(message),
        None => index_place.fault(format!("{message} (without `index` it is the stream's name)")),
    })?;
    let stages = raw.stages.unwrap_or_default();
    let stages =
        stages.into_iter().enumerate().map(|(i, stage)| resolve_stage(&place.key("stages").nth(i), stage, base));
    Ok(Stream {
        from: resolve_from(&place.key("from"), from)?,
        actions: resolve_actions(&place.key("actions"), raw.actions)?,
        backfill: resolve_backfill(&place.key("backfill"), raw.backfill)?,
        filter,
        stages: stages.collect::<Result<_, _>>()?,
        columns: raw.columns.map(|columns| resolve_columns(&place.key("columns"), columns)).transpose()?,
        sink: resolve_sink_name(&place.key("sink"), raw.sink, sinks)?,
        index,
        create: resolve_create(place, raw.create, raw.mapping, base)?,
        id: resolve_id(&place.key("id"), raw.id)?,
        routing: resolve_template(&place.key("routing"), raw.routing)?,
        pipeline: non_empty(&place.key("pipeline"), raw.pipeline, "the pipeline has no name: leave the key out")?,
        numbers: raw.numbers.unwrap_or_default(),
        nonfinite: raw.nonfinite.unwrap_or_default(),
        long_id: raw.long_id.unwrap_or_default(),
        dead_letters: resolve_dead_letters(&place.key("dead_letters"), raw.dead_letters)?,
        rejects: resolve_rejects(&place.key("rejects"), raw.rejects)?,
        batch: resolve_batch(&place.key("batch"), raw.batch)?,
        name,
    })
}

fn non_empty(place: &Place<'_>, text: Option<String>, message: &str) -> Result<Option<String>, Fault> {
    match text {
        Some(text) if text.trim().is_empty() => Err(place.fault(message)),
        text => Ok(text),
    }
}

fn resolve_from(place: &Place<'_>, raw: values::From) -> Result<From, Fault> {
    let parse = |place: Place<'_>, table: &String| TablePattern::parse(table).map_err(|message| place.fault(message));
    let list = |place: Place<'_>, tables: &[String]| {
        tables.iter().enumerate().map(|(i, table)| parse(place.nth(i), table)).collect::<Result<Vec<_>, _>>()
    };
    let (include, exclude) = match &raw {
        values::From::One(table) => (vec![parse(place.clone(), table)?], Vec::new()),
        values::From::Many(tables) => (list(place.clone(), tables)?, Vec::new()),
        values::From::Chosen(chosen) => {
            (list(place.key("include"), &chosen.include)?, list(place.key("exclude"), &chosen.exclude)?)
        }
    };
    if include.is_empty() {
        return Err(place.fault("no table is named"));
    }
    Ok(From { include, exclude })
}

fn resolve_actions(place: &Place<'_>, raw: Option<Vec<raw::Action>>) -> Result<Actions, Fault> {
    let Some(raw) = raw else { return Ok(Actions { insert: true, update: true, delete: true }) };
    if raw.is_empty() {
        return Err(place.fault("no action is named: leave the key out to take in all"));
    }
    let has = |action| raw.contains(&action);
    Ok(Actions { insert: has(raw::Action::Insert), update: has(raw::Action::Update), delete: has(raw::Action::Delete) })
}

fn resolve_backfill(place: &Place<'_>, raw: Option<values::Backfill>) -> Result<bool, Fault> {
    let options = match raw {
        None => return Ok(true),
        Some(values::Backfill::Switch(on)) => return Ok(on),
        Some(values::Backfill::Options(options)) => options,
    };
    if options.r#where.is_some() {
        return not_there_yet(&place.key("where"), "a condition for the backfill alone");
    }
    if options.rate.is_some() {
        return not_there_yet(&place.key("rate"), "a limit on the backfill's rate");
    }
    match options.parallel {
        Some(0) => Err(place.key("parallel").fault("the backfill needs a connection: 1 is the default")),
        None | Some(1) => Ok(true),
        Some(_) => not_there_yet(&place.key("parallel"), "a backfill over several connections"),
    }
}

/// The plugin finds them among its settings, so each name is one that the configuration has not.
fn resolve_stage_secrets(
    place: &Place<'_>,
    raw: Option<BTreeMap<String, SecretText>>,
    config: Option<&serde_json::Value>,
    base: Base<'_>,
) -> Result<Vec<(String, Secret)>, Fault> {
    let raw = raw.unwrap_or_default();
    if !raw.is_empty() && config.is_some_and(|config| !config.is_object()) {
        return Err(place.fault("secrets stand beside the settings of `config`, and that is no map here"));
    }
    let resolve = |(name, secret): (String, SecretText)| {
        let place = place.key(&name);
        if config.is_some_and(|config| config.get(&name).is_some()) {
            return Err(place.fault(format!("`config` has `{name}` too: leave one of them out")));
        }
        base.secret(&place, secret).map(|secret| (name, secret))
    };
    raw.into_iter().map(resolve).collect()
}

fn resolve_stage(place: &Place<'_>, raw: raw::Stage, base: Base<'_>) -> Result<Stage, Fault> {
    let plugin_place = place.key("plugin");
    let is_file = raw.plugin.contains('/') || raw.plugin.ends_with(".wasm");
    let plugin = match is_file {
        true => Plugin::File(base.path(&plugin_place, &raw.plugin)?),
        false if SHIPPED_PLUGINS.contains(&raw.plugin.as_str()) => Plugin::Shipped(raw.plugin.clone()),
        false => {
            let message = format!(
                "no shipped plugin is named `{}`, and a file ends in .wasm: {}",
                raw.plugin,
                suggest(&raw.plugin, SHIPPED_PLUGINS)
            );
            return Err(plugin_place.fault(message));
        }
    };
    let sha256 = raw.sha256.map(|digest| digest.to_lowercase());
    if sha256.as_ref().is_some_and(|digest| digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(place.key("sha256").fault("a SHA-256 digest has 64 hexadecimal digits: `sha256sum FILE` gives it"));
    }
    let grants = resolve_grants(&place.key("grants"), raw.grants.unwrap_or_default(), base)?;
    let secrets = resolve_stage_secrets(&place.key("secrets"), raw.secrets, raw.config.as_ref(), base)?;
    Ok(Stage {
        name: raw.plugin,
        plugin,
        sha256,
        config: raw.config,
        secrets,
        limits: resolve_limits(&place.key("limits"), raw.limits)?,
        grants,
    })
}

pub(super) fn resolve_grants(place: &Place<'_>, raw: raw::Grants, base: Base<'_>) -> Result<Grants, Fault> {
    let identity = |identity: raw::Identity| {
        let index = identity.index.as_deref();
        let checked = index.map_or(Ok(()), check_index_pattern);
        checked.map_err(|why| place.key("identity").key("index").fault(why))?;
        Ok(Identity { index: index.map(Arc::from) })
    };
    let folders = place.key("dirs");
    let folder = |(i, folder): (usize, raw::GrantedFolder)| {
        let at = folder.at.unwrap_or_else(|| "/".to_owned());
        Ok(Folder { path: base.path(&folders.nth(i).key("path"), &folder.path)?, at })
    };
    Ok(Grants {
        identity: raw.identity.map(identity).transpose()?,
        env: raw.env.map(|env| env.into_iter().collect()),
        dirs: raw
            .dirs
            .map(|dirs| dirs.into_iter().enumerate().map(folder).collect::<Result<_, Fault>>())
            .transpose()?,
        clocks: raw.clocks.is_some(),
        random: raw.random.is_some(),
        stdio: raw.stdio.is_some(),
    })
}

fn resolve_limits(place: &Place<'_>, raw: Option<raw::Limits>) -> Result<Limits, Fault> {
    let mut limits = Limits::default();
    let Some(raw) = raw else { return Ok(limits) };
    if let Some(deadline) = raw.deadline {
        if deadline.0.is_zero() {
            return Err(place.key("deadline").fault("a call needs some time: 10s is the default"));
        }
        limits.deadline = deadline.0;
    }
    let sizes = [
        ("memory", raw.memory, 1 << 20, 4 << 30, "1MiB and 4GiB", &mut limits.memory_bytes),
        ("stack", raw.stack, 64 << 10, Limits::STACK_BYTES_MAX as u64, "64KiB and 4MiB", &mut limits.stack_bytes),
        ("component", raw.component, 1, 4 << 30, "1 byte and 4GiB", &mut limits.component_bytes),
        ("output", raw.output, 64 << 10, 4 << 30, "64KiB and 4GiB", &mut limits.output_bytes),
    ];
    for (key, size, min, max, between, limit) in sizes {
        let Some(Size(size)) = size else { continue };
        if !(min..=max).contains(&size) {
            return Err(place.key(key).fault(format!("a plugin's `{key}` is between {between}")));
        }
        *limit = usize::try_from(size).unwrap_or(usize::MAX);
    }
    // A plugin may be forbidden to log, to have metrics or to fail; without the others none runs.
    let counts = [
        ("tables", raw.tables, 1, &mut limits.table_elements),
        ("instances", raw.instances, 1, &mut limits.instances),
        ("rows_out", raw.rows_out, 1, &mut limits.rows_out),
        ("log_lines", raw.log_lines, 0, &mut limits.log_lines),
        ("metrics", raw.metrics, 0, &mut limits.metrics),
        ("handles", raw.handles, 1, &mut limits.handles),
        ("failing_rows", raw.failing_rows, 0, &mut limits.failing_rows),
        ("failing_in_a_row", raw.failing_in_a_row, 1, &mut limits.failing_in_a_row),
    ];
    for (key, count, min, limit) in counts {
        let Some(count) = count else { continue };
        if count < min {
            return Err(place.key(key).fault(format!("a plugin's `{key}` is at least {min}")));
        }
        *limit = count as usize;
    }
    Ok(limits)
}

fn resolve_columns(place: &Place<'_>, raw: values::Columns) -> Result<Columns, Fault> {
    let names: Vec<&str> = match &raw {
        values::Columns::Names(names) => names.iter().map(String::as_str).collect(),
        values::Columns::Fields(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
    };
    if names.is_empty() {
        return Err(place.fault("no column is named: leave the key out to take all"));
    }
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(place.nth(i).fault("a column's name is empty"));
        }
        if names[..i].contains(name) {
            return Err(place.nth(i).fault(format!("the column `{name}` is there twice")));
        }
    }
    Ok(match raw {
        values::Columns::Names(names) => Columns::Names(names),
        values::Columns::Fields(fields) => Columns::Fields(fields),
    })
}

fn resolve_sink_name(place: &Place<'_>, raw: Option<String>, sinks: &BTreeMap<String, Sink>) -> Result<String, Fault> {
    let known: Vec<&str> = sinks.keys().map(String::as_str).collect();
    match raw {
        Some(name) if sinks.contains_key(&name) => Ok(name),
        Some(name) => Err(place.fault(format!("there is no sink `{name}`: {}", suggest(&name, &known)))),
        None if sinks.contains_key("main") => Ok("main".to_owned()),
        None => {
            match known.as_slice() {
                [only] => Ok((*only).to_owned()),
                _ => Err(place
                    .fault(format!("there are several sinks and none is `main`: name one of {}", known.join(", ")))),
            }
        }
    }
}

fn resolve_create(
    place: &Place<'_>,
    create: Option<bool>,
    mapping: Option<String>,
    base: Base<'_>,
) -> Result<Option<Create>, Fault> {
    match (create.unwrap_or(true), mapping) {
        (true, None) => Ok(Some(Create::Proposed)),
        (true, Some(path)) => base.path(&place.key("mapping"), &path).map(|path| Some(Create::Mapping(path))),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(place
            .key("mapping")
            .fault("a mapping is for an index that is made, but `create` is false: leave one out")),
    }
}

fn resolve_template(place: &Place<'_>, raw: Option<String>) -> Result<Option<Template>, Fault> {
    let Some(raw) = non_empty(place, raw, "the template is empty: leave the key out")? else { return Ok(None) };
    Template::parse(&raw).map(Some).map_err(|message| place.fault(message))
}

fn resolve_id(place: &Place<'_>, raw: Option<String>) -> Result<Option<Template>, Fault> {
    let Some(raw) = non_empty(place, raw, "the template is empty: leave the key out")? else { return Ok(None) };
    let template = Template::parse_id(&raw).map_err(|message| place.fault(message))?;
    if template.fields().next().is_none() {
        return Err(place.fault("every row would have this id: name a column, as in \"{id}\""));
    }
    Ok(Some(template))
}

fn resolve_dead_letters(place: &Place<'_>, raw: Option<raw::DeadLetters>) -> Result<DeadLetters, Fault> {
    let rows_max = raw.as_ref().and_then(|raw| raw.rows).unwrap_or(100_000);
    let bytes_max = raw.as_ref().and_then(|raw| raw.bytes).map_or(1 << 30, |bytes| bytes.0);
    for (key, limit) in [("rows", rows_max), ("bytes", bytes_max)] {
        if limit == 0 {
            return Err(place.key(key).fault("at least one dead letter must have room"));
        }
    }
    Ok(DeadLetters { rows_max, bytes_max, then: raw.and_then(|raw| raw.then).unwrap_or_default() })
}

fn resolve_rejects(place: &Place<'_>, raw: Option<raw::Rejects>) -> Result<Rejects, Fault> {
    let ratio = raw.as_ref().and_then(|raw| raw.ratio).unwrap_or(0.5);
    let of = raw.as_ref().and_then(|raw| raw.of).unwrap_or(1000);
    if !(0.0..=1.0).contains(&ratio) {
        return Err(place.key("ratio").fault("a share is between 0 and 1"));
    }
    if of == 0 {
        return Err(place.key("of").fault("a share is one of some rows: 1000 is the default"));
    }
    Ok(Rejects { ratio, of })
}

fn resolve_batch(place: &Place<'_>, raw: Option<raw::Batch>) -> Result<Batch, Fault> {
    let documents_max = raw.as_ref().and_then(|raw| raw.documents).unwrap_or(BATCH_DOCUMENTS_MAX);
    let bytes_max = raw.as_ref().and_then(|raw| raw.bytes).map_or(8 << 20, |bytes| bytes.0);
    if !(1..=BATCH_DOCUMENTS_MAX).contains(&documents_max) {
        return Err(place.key("documents").fault(format!("a request has 1 to {BATCH_DOCUMENTS_MAX} documents")));
    }
    if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&bytes_max) {
        return Err(place.key("bytes").fault("a request has 4KiB to 100MiB"));
    }
    Ok(Batch { documents_max, bytes_max })
}

fn resolve_state(
    place: &Place<'_>,
    raw: Option<String>,
    base: Base<'_>,
    variable: Lookup<'_>,
) -> Result<PathBuf, Fault> {
    match raw {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            not_there_yet(place, "a state in Postgres")
        }
        Some(path) => base.path(place, &path),
        None => {
            // systemd gives several folders as `a:b`; the first is ours.
            let directory = variable("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
            let directory = directory.filter(|directory| directory.is_absolute());
            Ok(directory.unwrap_or_else(|| base.0.to_owned()).join("tidemill.db"))
        }
    }
}

fn resolve_http(place: &Place<'_>, raw: raw::Http, base: Base<'_>) -> Result<Http, Fault> {
    let listen_place = place.key("listen");
    let listen: SocketAddr = match raw.listen.strip_prefix("localhost:").map(str::parse) {
        Some(Ok(port)) => (Ipv4Addr::LOCALHOST, port).into(),
        _ => raw.listen.parse().map_err(|_| {
            listen_place.fault(format!("`{}` is no address with a port: write it as 127.0.0.1:7070", raw.listen))
        })?,
    };
    let token_place = place.key("token");
    let token = raw.token.map(|token| base.secret(&token_place, token)).transpose()?;
    if token.is_none() && !listen.ip().is_loopback() {
        return Err(token_place.fault(format!("{listen} is open to other hosts: set `token`, or listen on 127.0.0.1")));
    }
    Ok(Http { listen, token })
}
