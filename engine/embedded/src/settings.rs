//! An index's settings. The ones that mean something here are acted upon; the ones that only tune a real server are kept and
//! given back; unknown ones are refused as the real servers refuse them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::Refusal;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
const TOTAL_FIELDS_MAX: usize = 1000;
const RESULT_WINDOW_MAX: usize = 10_000;

/// Set when an index is made, not later.
const STATIC: [&str; 4] = ["number_of_shards", "codec", "number_of_routing_shards", "shard.check_on_startup"];
const DYNAMIC: [&str; 15] = [
    "number_of_replicas",
    "auto_expand_replicas",
    "refresh_interval",
    "gc_deletes",
    "max_result_window",
    "hidden",
    "priority",
    "mapping.total_fields.limit",
    "mapping.depth.limit",
    "translog.durability",
    "translog.sync_interval",
    "translog.flush_threshold_size",
    "blocks.write",
    "blocks.read_only",
    "blocks.read_only_allow_delete",
];

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
    gc_deletes_default: Duration,
    pub(crate) gc_deletes: Duration,
    /// None when only asked to.
    pub(crate) refresh_interval: Option<Duration>,
    pub(crate) total_fields_max: usize,
    pub(crate) result_window_max: usize,
    pub(crate) block: Option<Block>,
}

/// Why writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Write,
    ReadOnly,
    DiskFull,
}

impl Settings {
    pub(crate) fn new(gc_deletes_default: Duration) -> Self {
        Settings {
            values: BTreeMap::new(),
            gc_deletes_default,
            gc_deletes: gc_deletes_default,
            refresh_interval: Some(REFRESH_INTERVAL),
            total_fields_max: TOTAL_FIELDS_MAX,
            result_window_max: RESULT_WINDOW_MAX,
            block: None,
        }
    }

    /// Settings of an index that is made now.
    pub(crate) fn create(&mut self, body: &Value) -> Result<(), Refusal> {
        for (key, value) in flatten(body)? {
            if !DYNAMIC.contains(&key.as_str()) && !STATIC.contains(&key.as_str()) {
                return Err(unknown(&key));
            }
            self.values.extend(value.map(|value| (key, value)));
        }
        self.values.entry("number_of_shards".into()).or_insert_with(|| "1".into());
        self.values.entry("number_of_replicas".into()).or_insert_with(|| "1".into());
        self.resolve()
    }

    /// Settings of an index that is there.
    pub(crate) fn update(&mut self, body: &Value) -> Result<(), Refusal> {
        for (key, value) in flatten(body)? {
            if STATIC.contains(&key.as_str()) {
                return Err(Refusal::illegal(format!(
                    "Can't update non dynamic settings [[index.{key}]] for open indices"
                )));
            }
            if !DYNAMIC.contains(&key.as_str()) {
                return Err(unknown(&key));
            }
            match value {
                Some(value) => self.values.insert(key, value),
                None => self.values.remove(&key),
            };
        }
        self.resolve()
    }

    /// Settings as the log kept them.
    pub(crate) fn restore(&mut self, stored: &Value) -> Result<(), Refusal> {
        for (key, value) in stored.as_object().into_iter().flatten() {
            self.values.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
        }
        self.resolve()
    }

    pub(crate) fn stored(&self) -> Value {
        self.values.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What holds where nothing is set, for `include_defaults`.
    pub(crate) fn defaults(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("gc_deletes", format!("{}ms", self.gc_deletes_default.as_millis())),
            ("mapping.total_fields.limit", TOTAL_FIELDS_MAX.to_string()),
            ("max_result_window", RESULT_WINDOW_MAX.to_string()),
            ("refresh_interval", "1s".to_owned()),
        ];
        all.into_iter().filter(|(key, _)| !self.values.contains_key(*key)).collect()
    }

    fn resolve(&mut self) -> Result<(), Refusal> {
        let get = |key: &str| self.values.get(key).map(String::as_str);
        let bad = |key: &str, value: &str| {
            Refusal::illegal(format!("failed to parse value [{value}] for setting [index.{key}]"))
        };
        let count = |key: &str, default: usize| match get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| bad(key, text)),
        };
        let flag = |key: &str| match get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(bad(key, text)),
        };
        let gc_deletes = match get("gc_deletes") {
            None => self.gc_deletes_default,
            Some(text) => time(text).ok_or_else(|| bad("gc_deletes", text))?,
        };
        let refresh_interval = match get("refresh_interval") {
            None => Some(REFRESH_INTERVAL),
            Some("-1") => None,
            Some(text) => Some(time(text).ok_or_else(|| bad("refresh_interval", text))?),
        };
        let total_fields_max = count("mapping.total_fields.limit", TOTAL_FIELDS_MAX)?;
        let result_window_max = count("max_result_window", RESULT_WINDOW_MAX)?;
        let block = match (flag("blocks.read_only")?, flag("blocks.write")?, flag("blocks.read_only_allow_delete")?) {
            (true, _, _) => Some(Block::ReadOnly),
            (_, true, _) => Some(Block::Write),
            (_, _, true) => Some(Block::DiskFull),
            _ => None,
        };
        (self.gc_deletes, self.refresh_interval) = (gc_deletes, refresh_interval);
        (self.total_fields_max, self.result_window_max, self.block) = (total_fields_max, result_window_max, block);
        Ok(())
    }
}

impl Block {
    pub(crate) fn refusal(self, index: &str) -> Refusal {
        let (status, what) = match self {
            Block::Write => (403, "FORBIDDEN/8/index write (api)"),
            Block::ReadOnly => (403, "FORBIDDEN/5/index read-only (api)"),
            Block::DiskFull => (
                429,
                "TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block",
            ),
        };
        Refusal::new(status, "cluster_block_exception", format!("index [{index}] blocked by: [{what}];"))
    }
}

/// `60s`, `1m`, `500ms`; the number zero needs no unit.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// `{"settings": {"index": {"a": {"b": 1}}}}` and all its shorter forms, as `a.b` and `1`.
fn flatten(body: &Value) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let mut out = Vec::new();
    flatten_into(body.get("settings").unwrap_or(body), "", &mut out)?;
    Ok(out)
}

fn flatten_into(value: &Value, path: &str, out: &mut Vec<(String, Option<String>)>) -> Result<(), Refusal> {
    let text = match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten_into(value, &path, out)?;
            }
            return Ok(());
        }
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => None,
        Value::Array(_) => return Err(Refusal::not_there(format_args!("a list as the setting [{path}]"))),
    };
    if path.is_empty() {
        return Err(Refusal::parsing("settings have to be an object"));
    }
    out.push((path.strip_prefix("index.").unwrap_or(path).to_owned(), text));
    Ok(())
}

fn unknown(key: &str) -> Refusal {
    Refusal::illegal(format!(
        "unknown setting [index.{key}] please check that any required plugins are installed, or check the breaking changes \
         documentation for removed settings (this is Tidemill's embedded index, which has few)"
    ))
}

/// Puts a value at a path with dots into nested objects.
pub(crate) fn nest(out: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            out.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Some(below) = out.entry(first.to_owned()).or_insert_with(|| json!({})).as_object_mut() {
                nest(below, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        for body in [
            json!({"settings": {"index": {"gc_deletes": "1h"}}}),
            json!({"settings": {"index.gc_deletes": "1h"}}),
            json!({"gc_deletes": "1h"}),
            json!({"index": {"gc_deletes": "1h", "refresh_interval": -1}}),
        ] {
            let mut settings = Settings::new(Duration::from_secs(60));
            settings.create(&body).expect("accepted");
            assert_eq!(settings.gc_deletes, Duration::from_secs(3600), "{body}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let mut settings = Settings::new(Duration::from_secs(60));
        let check = |refusal: Result<(), Refusal>, needle: &str| {
            let refusal = refusal.expect_err("refused");
            assert!(refusal.reason.contains(needle), "{}", refusal.reason);
        };
        check(settings.create(&json!({"foo": 1})), "unknown setting [index.foo]");
        check(settings.create(&json!({"gc_deletes": "soon"})), "failed to parse value [soon]");
        settings.values.clear();
        check(settings.update(&json!({"number_of_shards": 2})), "non dynamic settings [[index.number_of_shards]]");
    }

    #[test]
    fn reads_times() {
        assert_eq!(time("60s"), Some(Duration::from_secs(60)));
        assert_eq!(time("0"), Some(Duration::ZERO));
        assert_eq!(time("5"), None);
        assert_eq!(time(""), None);
    }
}
