//! All indices of one server, and the scrolls that are open over them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Options;
use crate::error::{Error, Kind, Refusal};
use crate::index::{Index, now_ms};
use crate::mapping::Mapping;
use crate::search::Scroll;
use crate::select::glob;
use crate::settings::Settings;

const SCROLLS_MAX: usize = 500;
const INDEX_NAME_BYTES_MAX: usize = 255;
const LOG_EXTENSION: &str = "log";
const LOCK_FILE: &str = "tidemill-index.lock";

#[derive(Debug)]
pub(crate) struct Node {
    dir: Option<PathBuf>,
    gc_deletes: Duration,
    pub(crate) max_content_length: usize,
    pub(crate) started: Instant,
    indices: RwLock<BTreeMap<String, Arc<Index>>>,
    scrolls: Mutex<HashMap<String, (Instant, Scroll)>>,
    /// Held as long as the node is, so that no second process opens the directory.
    _lock: Option<File>,
}

impl Node {
    pub(crate) fn open(options: &Options) -> Result<Node, Error> {
        let mut indices = BTreeMap::new();
        let mut lock = None;
        if let Some(dir) = &options.dir {
            lock = Some(lock_directory(dir)?);
            for path in logs_in(dir)? {
                let index = Index::open(path.clone(), options.gc_deletes).map_err(|error| {
                    let kind = match error.kind() {
                        std::io::ErrorKind::InvalidData => Kind::Damaged,
                        _ => Kind::Other,
                    };
                    let path = path.display();
                    Error::new(
                        kind,
                        format!("cannot read `{path}`: {error}: move the file away to start without that index"),
                    )
                    .because(error)
                })?;
                indices.insert(index.name.clone(), Arc::new(index));
            }
        }
        Ok(Node {
            dir: options.dir.clone(),
            gc_deletes: options.gc_deletes,
            max_content_length: options.max_content_length,
            started: Instant::now(),
            indices: RwLock::new(indices),
            scrolls: Mutex::default(),
            _lock: lock,
        })
    }

    pub(crate) fn index(&self, name: &str) -> Result<Arc<Index>, Refusal> {
        let indices = self.indices.read().expect("no holder panics");
        indices.get(name).cloned().ok_or_else(|| Refusal::no_index(name))
    }

    /// All indices that a list of names and patterns means. A name that is not there is an error, a pattern is not.
    pub(crate) fn matching(&self, names: &str) -> Result<Vec<Arc<Index>>, Refusal> {
        let indices = self.indices.read().expect("no holder panics");
        let mut found: BTreeMap<&str, Arc<Index>> = BTreeMap::new();
        for name in names.split(',') {
            let pattern = if name == "_all" { "*" } else { name };
            if pattern.contains('*') {
                let all = indices.iter().filter(|(name, _)| glob(pattern, name));
                found.extend(all.map(|(name, index)| (name.as_str(), Arc::clone(index))));
            } else {
                let (name, index) = indices.get_key_value(name).ok_or_else(|| Refusal::no_index(name))?;
                found.insert(name, Arc::clone(index));
            }
        }
        Ok(found.into_values().collect())
    }

    pub(crate) fn index_or_create(&self, name: &str) -> Result<Arc<Index>, Refusal> {
        if let Ok(index) = self.index(name) {
            return Ok(index);
        }
        match self.create(name, &Value::Object(Default::default())) {
            Err(refusal) if refusal.kind == "resource_already_exists_exception" => self.index(name),
            made => made,
        }
    }

    /// Makes an index from the body of `PUT /name`.
    pub(crate) fn create(&self, name: &str, body: &Value) -> Result<Arc<Index>, Refusal> {
        check_name(name)?;
        let mut settings = Settings::new(self.gc_deletes);
        let mut mapping = Mapping::default();
        let empty = Value::Object(Default::default());
        let body = body.as_object().ok_or_else(|| Refusal::parsing("the body has to be an object"))?;
        for (key, value) in body {
            match key.as_str() {
                "settings" => {}
                "mappings" => mapping = Mapping::parse(value)?,
                "aliases" if value.as_object().is_some_and(|aliases| aliases.is_empty()) => {}
                other => return Err(Refusal::not_there(format_args!("[{other}] of an index"))),
            }
        }
        settings.create(body.get("settings").unwrap_or(&empty))?;
        let mut indices = self.indices.write().expect("no holder panics");
        if let Some(there) = indices.get(name) {
            let reason = format!("index [{name}/{}] already exists", there.uuid);
            return Err(Refusal::new(400, "resource_already_exists_exception", reason).of(name, &there.uuid));
        }
        let uuid = random_id();
        let path = self.dir.as_ref().map(|dir| dir.join(&uuid).with_extension(LOG_EXTENSION));
        let index = Arc::new(Index::create(name, uuid, path, settings, mapping).map_err(Refusal::log)?);
        indices.insert(name.to_owned(), Arc::clone(&index));
        Ok(index)
    }

    pub(crate) fn delete(&self, names: &str) -> Result<(), Refusal> {
        if names.contains('*') || names == "_all" {
            return Err(Refusal::illegal("Wildcard expressions or all indices are not allowed"));
        }
        let doomed = self.matching(names)?;
        let mut indices = self.indices.write().expect("no holder panics");
        for index in doomed {
            // Gone from the disk first: an answer must not promise what a restart would undo.
            index.remove().map_err(Refusal::log)?;
            indices.remove(&index.name);
        }
        Ok(())
    }

    pub(crate) fn open_scroll(&self, id: &str, scroll: Scroll, keep: Duration) -> Result<(), Refusal> {
        let mut scrolls = self.scrolls.lock().expect("no holder panics");
        let now = Instant::now();
        scrolls.retain(|_, (until, _)| *until > now);
        if scrolls.len() >= SCROLLS_MAX {
            let reason =
                format!("Trying to create too many scroll contexts. Must be less than or equal to: [{SCROLLS_MAX}].");
            return Err(Refusal::new(429, "too_many_scroll_contexts_exception", reason));
        }
        scrolls.insert(id.to_owned(), (now + keep, scroll));
        Ok(())
    }

    /// The scroll of that id, for one request: [`Node::return_scroll`] gives it back.
    pub(crate) fn take_scroll(&self, id: &str) -> Result<(Instant, Scroll), Refusal> {
        let mut scrolls = self.scrolls.lock().expect("no holder panics");
        match scrolls.remove(id) {
            Some((until, scroll)) if until > Instant::now() => Ok((until, scroll)),
            _ => {
                let reason = format!("No search context found for id [{id}]");
                Err(Refusal::new(404, "search_context_missing_exception", reason))
            }
        }
    }

    pub(crate) fn return_scroll(&self, id: &str, until: Instant, scroll: Scroll) {
        self.scrolls.lock().expect("no holder panics").insert(id.to_owned(), (until, scroll));
    }

    pub(crate) fn close_scroll(&self, id: &str) -> bool {
        self.scrolls.lock().expect("no holder panics").remove(id).is_some()
    }

    pub(crate) fn close_all_scrolls(&self) -> usize {
        self.scrolls.lock().expect("no holder panics").drain().count()
    }

    pub(crate) fn index_count(&self) -> usize {
        self.indices.read().expect("no holder panics").len()
    }
}

fn lock_directory(dir: &Path) -> Result<File, Error> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Other, format!("cannot use the directory `{}`: {error}", dir.display())).because(error)
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK_FILE)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = format!(
                "the directory `{}` is in use by another process: end that one or take another directory",
                dir.display()
            );
            Err(Error::new(Kind::DirectoryInUse, what))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The logs in a directory; ones that were being written anew when a process ended are removed.
fn logs_in(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || {
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(LOG_EXTENSION) if path.metadata()?.len() > 0 => logs.push(path),
                // Empty: killed between making the file and its first frame, so the index was never answered for.
                Some(LOG_EXTENSION | "new") => std::fs::remove_file(path)?,
                _ => {}
            }
        }
        Ok::<_, std::io::Error>(logs)
    };
    read().map_err(|error| {
        Error::new(Kind::Other, format!("cannot read the directory `{}`: {error}", dir.display())).because(error)
    })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let wrong = |why: &str| {
        Err(Refusal::new(400, "invalid_index_name_exception", format!("Invalid index name [{name}], {why}"))
            .of(name, "_na_"))
    };
    if name.is_empty() {
        return wrong("must not be empty");
    }
    if name.chars().any(char::is_uppercase) {
        return wrong("must be lowercase");
    }
    if name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',']) {
        return wrong("must not contain the following characters [' ','\"','*',',','/','<','>','?','\\','|']");
    }
    if name.contains('#') || name.contains(':') {
        return wrong("must not contain '#' or ':'");
    }
    if name.starts_with(['_', '-', '+']) {
        return wrong("must not start with '_', '-', or '+'");
    }
    if name == "." || name == ".." {
        return wrong("must not be '.' or '..'");
    }
    if name.len() > INDEX_NAME_BYTES_MAX {
        return wrong(&format!("index name is too long, ({} > {INDEX_NAME_BYTES_MAX})", name.len()));
    }
    Ok(())
}

/// Twenty-two letters and digits that nobody had before.
pub(crate) fn random_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // The standard library's hasher keys are random for each instance.
    let random = || {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(now_ms());
        u128::from(hasher.finish())
    };
    let mut bits = random() << 64 | random();
    let mut id = String::with_capacity(22);
    for _ in 0..22 {
        id.push(char::from(ALPHABET[(bits & 63) as usize]));
        bits >>= 6;
    }
    // An id that starts with a sign is awkward on a command line.
    if id.starts_with(['-', '_']) { format!("T{}", &id[1..]) } else { id }
}
