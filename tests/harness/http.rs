//! An index over HTTP, as any client sees it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{PATIENCE, await_some, runtime};

/// A server and what it takes to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

impl Http {
    /// A server that lets everybody in.
    pub(crate) fn open(url: &str) -> Http {
        static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
        let client = CLIENT.get_or_init(|| client(None, None)).clone();
        Http { url: url.to_owned(), client }
    }

    /// A server that asks for a header, and whose certificate a file of authorities vouches for.
    pub(crate) fn guarded(url: &str, authorization: Option<&str>, ca: Option<&Path>) -> Http {
        Http { url: url.to_owned(), client: client(authorization, ca) }
    }

    /// One request; the answer's status and body as JSON.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, body) = self.try_call(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// One request; the answer's status and body, or why there is none.
    pub(crate) fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Vec<u8>), String> {
        runtime().block_on(async {
            let method = method.parse::<reqwest::Method>().expect("a method");
            let mut request = self.client.request(method, format!("{}{path}", self.url));
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status().as_u16();
            Ok((status, answer.bytes().await.map_err(|error| error.to_string())?.to_vec()))
        })
    }

    /// All documents of an index by id; none where it is missing.
    #[track_caller]
    pub(crate) fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        let (status, _) = self.call("POST", &format!("/{index}/_refresh"), None);
        if status == 404 {
            return BTreeMap::new();
        }
        let query = json!({ "size": 1000, "query": { "match_all": {} } });
        let (_, mut page) = self.call("POST", &format!("/{index}/_search?scroll=1m"), Some(&query));
        let mut found = BTreeMap::new();
        loop {
            let hits = page["hits"]["hits"].as_array().unwrap_or_else(|| panic!("no hits: {page}")).clone();
            let scroll = page["_scroll_id"].clone();
            if hits.is_empty() {
                // Servers keep few scrolls open.
                self.call("DELETE", "/_search/scroll", Some(&json!({ "scroll_id": [scroll] })));
                return found;
            }
            for hit in hits {
                found.insert(hit["_id"].as_str().expect("an id").to_owned(), hit["_source"].clone());
            }
            let next = json!({ "scroll": "1m", "scroll_id": scroll });
            (_, page) = self.call("POST", "/_search/scroll", Some(&next));
        }
    }

    /// Waits until the index holds just what is asked for.
    #[track_caller]
    pub(crate) fn await_documents(&self, index: &str, right: impl Fn(&BTreeMap<String, Value>) -> bool) {
        let mut last = BTreeMap::new();
        let found = await_some(PATIENCE, || {
            last = self.documents(index);
            right(&last).then_some(())
        });
        let some: Vec<_> = last.iter().take(20).collect();
        assert!(found.is_some(), "the index still holds {} documents, among them {some:#?}", last.len());
    }

    /// How many documents an index has, as `_count` says it; none where it is missing.
    #[track_caller]
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.call("POST", &format!("/{index}/_refresh"), None);
        self.call("GET", &format!("/{index}/_count"), None).1["count"].as_u64().unwrap_or(0)
    }
}

fn client(authorization: Option<&str>, ca: Option<&Path>) -> reqwest::Client {
    // The runtime chooses who does the cryptography.
    runtime();
    let mut builder = reqwest::Client::builder().no_proxy();
    if let Some(authorization) = authorization {
        let value = reqwest::header::HeaderValue::from_str(authorization).expect("a header");
        builder = builder.default_headers([(reqwest::header::AUTHORIZATION, value)].into_iter().collect());
    }
    if let Some(ca) = ca {
        let pem = std::fs::read(ca).expect("the authority's file");
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).expect("PEM"));
    }
    builder.build().expect("a client")
}
