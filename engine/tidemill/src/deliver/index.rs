//! What Tidemill asks of an index besides Bulk: that it is there with a mapping, whose it is, and which ids it holds.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Answer, Sink, SinkError};
use super::making::Making;

/// A new index keeps tombstones this long, so that a late request does not bring a deleted document back.
pub const GC_DELETES: &str = "1h";
/// Below this a request that was delayed on its way can outlive the tombstone that would refuse it.
pub(super) const GC_DELETES_LEAST: Duration = Duration::from_secs(600);
/// What an index has where nothing is set.
const GC_DELETES_DEFAULT: Duration = Duration::from_secs(60);
/// How many ids are read at a time when an index is emptied.
const SCROLL_PAGE: usize = 10_000;

/// What the server says of itself.
#[derive(Clone, Debug)]
pub struct Product {
    pub name: String,
    pub version: String,
}

/// An index as it is.
#[derive(Clone, Debug)]
pub struct IndexInfo {
    pub name: String,
    pub uuid: String,
    pub settings: Value,
    pub mappings: Value,
}

impl IndexInfo {
    /// What Tidemill wrote into the mapping when it made the index.
    pub fn meta(&self) -> Option<&Value> {
        self.mappings.get("_meta")?.get("tidemill")
    }

    /// How long it knows the version of a document that was deleted; `None` where it says so in a way that is not known here.
    pub fn gc_deletes(&self) -> Option<Duration> {
        match &self.settings["index"]["gc_deletes"] {
            Value::Null => Some(GC_DELETES_DEFAULT),
            set => time(set.as_str()?),
        }
    }
}

/// What became of the wish to have an index.
#[derive(Clone, Debug)]
pub enum Ensured {
    Made,
    WasThere(IndexInfo),
}

impl Sink {
    pub async fn product(&self) -> Result<Product, SinkError> {
        let answer = self.get("/").await?;
        let body = self.json("/", &answer)?;
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        let name = match body["version"]["distribution"].as_str() {
            Some("opensearch") => "OpenSearch".to_owned(),
            Some(other) => other.to_owned(),
            None => "Elasticsearch".to_owned(),
        };
        Ok(Product { name, version: text(&body["version"]["number"]) })
    }

    /// The index of this name, `None` when it is missing. An alias answers with the index behind it.
    pub async fn index(&self, index: &str) -> Result<Option<IndexInfo>, SinkError> {
        let path = format!("/{}", escape(index));
        let answer = self.get(&path).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let body = self.json(&path, &answer)?;
        let (name, found) =
            body.as_object().and_then(|indices| indices.iter().next()).ok_or_else(|| self.unusable(&path, &answer))?;
        let uuid = found["settings"]["index"]["uuid"].as_str().unwrap_or_default().to_owned();
        Ok(Some(IndexInfo {
            name: name.clone(),
            uuid,
            settings: found["settings"].clone(),
            mappings: found["mappings"].clone(),
        }))
    }

    /// The UUIDs of what stands behind a name: one for an index, several for an alias of several; none where it is missing.
    pub async fn uuids(&self, index: &str) -> Result<Vec<String>, SinkError> {
        let path = format!("/{}?filter_path=*.settings.index.uuid", escape(index));
        let answer = self.get(&path).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let body = self.json(&path, &answer)?;
        let indices = body.as_object().into_iter().flat_map(serde_json::Map::values);
        Ok(indices.filter_map(|found| Some(found["settings"]["index"]["uuid"].as_str()?.to_owned())).collect())
    }

    /// Makes the index where it is missing. One that another made at the same moment counts as there.
    pub async fn ensure_index(&self, index: &str, making: &Making) -> Result<Ensured, SinkError> {
        if let Some(found) = self.index(index).await? {
            return Ok(Ensured::WasThere(found));
        }
        let path = format!("/{}", escape(index));
        let body = json!({ "settings": settings(&making.settings), "mappings": making.mappings });
        let answer = self.send(Method::PUT, &path, &body).await?;
        if answer.is_success() {
            return Ok(Ensured::Made);
        }
        let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if error["error"]["type"] == "resource_already_exists_exception"
            && let Some(found) = self.index(index).await?
        {
            return Ok(Ensured::WasThere(found));
        }
        Err(self.unusable(&path, &answer))
    }

    pub async fn refresh(&self, index: &str) -> Result<(), SinkError> {
        let path = format!("/{}/_refresh", escape(index));
        let answer = self.post(&path).await?;
        if answer.is_success() { Ok(()) } else { Err(self.unusable(&path, &answer)) }
    }

    /// The first ids of the index, and the scroll that gives the others.
    pub async fn scroll(&self, index: &str) -> Result<(String, Vec<ScrolledId>), SinkError> {
        let path = format!("/{}/_search?scroll=5m", escape(index));
        let body = json!({ "size": SCROLL_PAGE, "_source": false, "version": true, "sort": ["_doc"], "query": { "match_all": {} } });
        let answer = self.send(Method::POST, &path, &body).await?;
        self.scrolled(&path, &answer)
    }

    pub async fn scroll_on(&self, scroll: &str) -> Result<(String, Vec<ScrolledId>), SinkError> {
        let path = "/_search/scroll";
        let answer = self.send(Method::POST, path, &json!({ "scroll": "5m", "scroll_id": scroll })).await?;
        // The sink started again meanwhile, or took longer than the scroll lives.
        if answer.status == 404 {
            return Err(self.cut_off(path, &answer));
        }
        self.scrolled(path, &answer)
    }

    /// Lets go of a scroll. One that could not be ended ends by itself.
    pub async fn end_scroll(&self, scroll: &str) {
        let _ended = self.send(Method::DELETE, "/_search/scroll", &json!({ "scroll_id": [scroll] })).await;
    }

    fn scrolled(&self, path: &str, answer: &Answer) -> Result<(String, Vec<ScrolledId>), SinkError> {
        #[derive(Deserialize)]
        struct Page {
            _scroll_id: String,
            #[serde(default)]
            _shards: Shards,
            hits: Hits,
        }
        #[derive(Default, Deserialize)]
        struct Shards {
            total: u64,
            successful: u64,
        }
        #[derive(Deserialize)]
        struct Hits {
            hits: Vec<ScrolledId>,
        }
        if !answer.is_success() {
            return Err(self.unusable(path, answer));
        }
        let page: Page = serde_json::from_slice(&answer.body).map_err(|_| self.unusable(path, answer))?;
        // The ids of a shard that is away would be taken for ids that are not there.
        if page._shards.successful < page._shards.total {
            return Err(self.cut_off(path, answer));
        }
        Ok((page._scroll_id, page.hits.hits))
    }

    fn json(&self, path: &str, answer: &Answer) -> Result<Value, SinkError> {
        if !answer.is_success() {
            return Err(self.unusable(path, answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| self.unusable(path, answer))
    }
}

/// A document's place, without the document.
#[derive(Clone, Debug, Deserialize)]
pub struct ScrolledId {
    pub _index: String,
    pub _id: String,
    #[serde(default)]
    pub _routing: Option<String>,
    #[serde(default)]
    pub _version: Option<u64>,
}

/// A time as the servers write it.
fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "nanos" => return Some(Duration::from_nanos(number)),
        "micros" => return Some(Duration::from_micros(number)),
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "" if number == 0 => 0,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

/// The settings that were asked for, and how long tombstones are kept where they do not say it.
fn settings(asked: &Value) -> Value {
    let mut settings = match asked {
        Value::Null => json!({}),
        asked => asked.clone(),
    };
    let says =
        |key: &str, inner: &str| asked[key].get(inner).is_some() || asked.get(format!("{key}.{inner}")).is_some();
    let short = asked.get("gc_deletes").is_some();
    if !says("index", "gc_deletes") && !short {
        // A dotted key stands beside whichever form the others have.
        settings["index.gc_deletes"] = GC_DELETES.into();
    }
    settings
}

fn escape(index: &str) -> String {
    percent_encoding::utf8_percent_encode(index, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_an_index_keeps_tombstones() {
        let of = |settings: Value| {
            IndexInfo { name: String::new(), uuid: String::new(), settings, mappings: Value::Null }.gc_deletes()
        };
        assert_eq!(of(json!({ "index": { "uuid": "x" } })), Some(Duration::from_secs(60)));
        for (text, expected) in [
            ("1h", Some(3600)),
            ("10m", Some(600)),
            ("599s", Some(599)),
            ("1d", Some(86_400)),
            ("5000ms", Some(5)),
            ("0", Some(0)),
            ("-1", None),
            ("1.5h", None),
            ("soon", None),
        ] {
            assert_eq!(of(json!({ "index": { "gc_deletes": text } })), expected.map(Duration::from_secs), "{text}");
        }
    }
}
