//! The embedded index over real HTTP, as a client sees it.

#[path = "../../../tests/bulk_cases.rs"]
mod bulk_cases;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_embedded::{Options, Server};
use tokio::sync::oneshot;

/// A server of one test.
struct Index {
    url: String,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<()>,
}

impl Index {
    async fn start(options: Options) -> Index {
        let server = Server::bind(options).await.expect("binds");
        let url = format!("http://{}", server.addr());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.await;
            };
            server.run(shutdown).await.expect("runs");
        });
        Index { url, client: client(), stop: Some(stop), running }
    }

    async fn in_memory() -> Index {
        Index::start(Options::default()).await
    }

    async fn stop(mut self) {
        drop(self.client);
        let _ = self.stop.take().expect("stopped once").send(());
        self.running.await.expect("ends");
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
        let request = self.client.request(method.parse().expect("a method"), format!("{}{path}", self.url));
        let response =
            request.header("content-type", "application/json").body(body.into()).send().await.expect("answers");
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.send(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn refused(&self, method: &str, path: &str, body: Value, status: u16, kind: &str) -> String {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (found, text) = self.send(method, path, body).await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((found, answer["error"]["type"].as_str()), (status, Some(kind)), "{method} {path}: {text}");
        answer["error"]["reason"].as_str().expect("a reason").to_owned()
    }

    async fn ids(&self, query: Value) -> Vec<String> {
        let answer = self.json("POST", "/p/_search", json!({"query": query, "size": 100})).await;
        let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
        let mut ids: Vec<_> = hits.iter().map(|hit| hit["_id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

fn bulk(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Documents 0 to `count`, each under the version that is given.
fn documents(index: &str, ids: std::ops::Range<usize>, version: u64) -> String {
    let mut body = String::new();
    for id in ids {
        body.push_str(&format!(
            "{{\"index\":{{\"_index\":\"{index}\",\"_id\":\"{id}\",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n\
             {{\"id\":{id},\"name\":\"Product number {id} in red\",\"description\":\"A thing of quality that has the number {id}, made \
             by hand of wood, steel and glass, and sent to you within {} days of your order wherever you may live; it comes with \
             a guarantee of ten years\",\"price\":{}.99,\"in_stock\":{},\"category\":\"c{}\",\"created_at\":\"2024-01-02T03:04:05.678Z\"}}\n",
            id % 9,
            id % 500,
            id % 3 != 0,
            id % 20
        ));
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_bulks_as_real_servers_do() {
    let index = Index::in_memory().await;
    // Any server can be held against the table, so that the table stays true.
    let url = std::env::var("TIDEMILL_BULK_CASES_URL").unwrap_or_else(|_| index.url.clone());
    let wrong = bulk_cases::run(&url, &index.client).await;
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_it_is_and_what_it_is_not() {
    let index = Index::in_memory().await;
    let root = index.json("GET", "/", Value::Null).await;
    assert!(root["tagline"].as_str().expect("a tagline").contains("Tidemill's embedded index: for demos and tests"));
    assert!(root["version"]["number"].is_string());
    assert_eq!(index.json("GET", "/_cluster/health?wait_for_status=yellow", Value::Null).await["status"], "green");
    for (method, path) in [
        ("GET", "/_nodes"),
        ("POST", "/_delete_by_query"),
        ("GET", "/p/_alias"),
        ("PATCH", "/p"),
        ("POST", "/_reindex"),
    ] {
        let reason = index.refused(method, path, Value::Null, 400, "illegal_argument_exception").await;
        assert!(reason.contains("is not there") && reason.contains(path), "{reason}");
    }
    let reason = index.refused("GET", "/p/_count?q=x", Value::Null, 400, "illegal_argument_exception").await;
    assert!(reason.contains("unrecognized parameter: [q]"), "{reason}");
    index.refused("GET", "/p/_search", Value::Null, 404, "index_not_found_exception").await;
    index.refused("GET", "/p/_doc/1", Value::Null, 404, "index_not_found_exception").await;
    let (status, text) = index.send("HEAD", "/p", "").await;
    assert_eq!((status, text.as_str()), (404, ""));
}

async fn shop() -> Index {
    let index = Index::in_memory().await;
    let mapping = json!({"mappings": {"properties": {
        "name": {"type": "text", "fields": {"raw": {"type": "keyword"}}}, "price": {"type": "double"}, "stock": {"type": "long"},
        "sold": {"type": "boolean"}, "day": {"type": "date"}, "hidden": {"type": "keyword", "index": false},
    }}});
    index.json("PUT", "/p", mapping).await;
    let body = bulk(&[
        json!({"index": {"_id": "1"}}),
        json!({"name": "Red wooden chair", "price": 19.5, "stock": 3, "sold": true, "day": "2024-01-01", "tags": ["a", "b"]}),
        json!({"index": {"_id": "2"}}),
        json!({"name": "red steel table", "price": -1, "stock": 0, "sold": false, "day": "2024-03-01T12:00:00Z"}),
        json!({"index": {"_id": "3"}}),
        json!({"name": "Blue chair", "price": 100, "stock": 30, "o": {"deep": {"x": 7}}}),
        json!({"index": {"_id": "4"}}),
        json!({"name": "chair red", "tags": "b", "hidden": "x"}),
    ]);
    let (status, text) = index.send("POST", "/p/_bulk?refresh=true", body).await;
    assert!(status == 200 && text.contains("\"errors\":false"), "{text}");
    index
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_by_every_query_it_has() {
    let index = shop().await;
    for (query, expected) in [
        (json!({"match_all": {}}), vec!["1", "2", "3", "4"]),
        (json!({"match_none": {}}), vec![]),
        (json!({"match": {"name": "RED chair"}}), vec!["1", "2", "3", "4"]),
        (json!({"match": {"name": {"query": "red chair", "operator": "and"}}}), vec!["1", "4"]),
        (json!({"match_phrase": {"name": "chair red"}}), vec!["4"]),
        (json!({"term": {"name": "red"}}), vec!["1", "2", "4"]),
        (json!({"term": {"name": "Red"}}), vec![]),
        (json!({"term": {"name.raw": "Blue chair"}}), vec!["3"]),
        (json!({"term": {"tags.keyword": {"value": "b"}}}), vec!["1", "4"]),
        (json!({"term": {"stock": "30"}}), vec!["3"]),
        (json!({"term": {"sold": true}}), vec!["1"]),
        (json!({"term": {"_id": "2"}}), vec!["2"]),
        (json!({"term": {"nowhere": 1}}), vec![]),
        (json!({"terms": {"stock": [0, 3, 99]}}), vec!["1", "2"]),
        (json!({"range": {"price": {"lt": 19.5}}}), vec!["2"]),
        (json!({"range": {"price": {"gte": 19.5, "lte": 100}}}), vec!["1", "3"]),
        (json!({"range": {"stock": {"gt": 0.5}}}), vec!["1", "3"]),
        (json!({"range": {"stock": {"lt": 3.5, "gt": 2.5}}}), vec!["1"]),
        (json!({"range": {"day": {"gte": "2024-02", "lt": "2025-01-01"}}}), vec!["2"]),
        (json!({"range": {"name.raw": {"gte": "Blue", "lt": "Blue d"}}}), vec!["3"]),
        (json!({"range": {"o.deep.x": {"gte": 7}}}), vec!["3"]),
        (json!({"ids": {"values": ["4", "9", "1"]}}), vec!["1", "4"]),
        (json!({"exists": {"field": "price"}}), vec!["1", "2", "3"]),
        (json!({"exists": {"field": "o"}}), vec!["3"]),
        (json!({"bool": {"must": {"match": {"name": "chair"}}, "filter": [{"term": {"sold": true}}]}}), vec!["1"]),
        (json!({"bool": {"must_not": [{"match": {"name": "red"}}]}}), vec!["3"]),
        (json!({"bool": {"should": [{"term": {"stock": 0}}, {"term": {"stock": 3}}]}}), vec!["1", "2"]),
        (json!({"bool": {"must": [{"match_all": {}}], "should": [{"term": {"stock": 0}}]}}), vec!["1", "2", "3", "4"]),
        (
            json!({"bool": {"should": [{"match": {"name": "red"}}, {"match": {"name": "chair"}}], "minimum_should_match": 2}}),
            vec!["1", "4"],
        ),
        (json!({"bool": {}}), vec!["1", "2", "3", "4"]),
        (json!({"constant_score": {"filter": {"term": {"stock": 0}}}}), vec!["2"]),
    ] {
        assert_eq!(index.ids(query.clone()).await, expected, "{query}");
        let count = index.json("POST", "/p/_count", json!({"query": query})).await;
        assert_eq!(count["count"], expected.len(), "{query}");
    }
    for (query, kind) in [
        (json!({"fuzzy": {"name": "x"}}), "parsing_exception"),
        (json!({"match": {"name": {"query": "x", "fuzziness": 1}}}), "parsing_exception"),
        (json!({"term": {"stock": "many"}}), "query_shard_exception"),
        (json!({"term": {"hidden": "x"}}), "illegal_argument_exception"),
        (json!({"bool": {"musty": []}}), "parsing_exception"),
        (json!({"range": {"day": {"gte": "2024-01-01", "format": "x"}}}), "parsing_exception"),
    ] {
        index.refused("POST", "/p/_search", json!({"query": query}), 400, kind).await;
    }
    index.refused("POST", "/p/_search", json!({"aggs": {}}), 400, "parsing_exception").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_hits_as_asked() {
    let index = shop().await;
    let answer = index
        .json(
            "POST",
            "/p/_search",
            json!({"query": {"match": {"name": "blue"}}, "version": true, "_source": ["name", "o.*"]}),
        )
        .await;
    assert_eq!(answer["hits"]["total"], json!({"value": 1, "relation": "eq"}));
    let hit = &answer["hits"]["hits"][0];
    assert_eq!((&hit["_id"], &hit["_version"]), (&json!("3"), &json!(1)));
    assert_eq!(hit["_source"], json!({"name": "Blue chair", "o": {"deep": {"x": 7}}}));
    assert!(hit["_score"].as_f64().expect("a score") > 0.0);
    let answer = index.json("POST", "/p/_search?_source=false&size=1&from=2", json!({})).await;
    assert_eq!(answer["hits"]["hits"], json!([{"_index": "p", "_id": "3", "_score": 1.0}]));
    let sorted = |sort: Value| json!({"sort": sort, "_source": false, "size": 3});
    let answer = index.json("POST", "/p/_search", sorted(json!([{"price": "desc"}]))).await;
    assert_eq!(answer["hits"]["hits"][0]["sort"], json!([100.0]));
    let ids: Vec<_> = answer["hits"]["hits"].as_array().expect("hits").iter().map(|hit| hit["_id"].as_str()).collect();
    assert_eq!(ids, [Some("3"), Some("1"), Some("2")]);
    index.refused("POST", "/p/_search", sorted(json!(["name"])), 400, "illegal_argument_exception").await;
    index.refused("POST", "/p/_search", sorted(json!(["zip"])), 400, "query_shard_exception").await;
    let reason =
        index.refused("POST", "/p/_search", json!({"from": 9991, "size": 10}), 400, "illegal_argument_exception").await;
    assert!(reason.contains("less than or equal to: [10000] but was [10001]"), "{reason}");
    let (_, text) = index.send("GET", "/p/_search?filter_path=hits.hits._id&pretty", "").await;
    assert!(text.contains("\"_id\" : \"1\"") && !text.contains("_source"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_see_what_was_refreshed_and_gets_see_all() {
    let index = Index::in_memory().await;
    index.json("PUT", "/p", json!({"settings": {"refresh_interval": "-1"}})).await;
    index.json("PUT", "/p/_doc/1", json!({"a": 1})).await;
    assert_eq!(index.json("GET", "/p/_count", Value::Null).await["count"], 0);
    assert_eq!(index.ids(json!({"term": {"a": 1}})).await, Vec::<String>::new());
    assert_eq!(index.json("GET", "/p/_doc/1", Value::Null).await["_source"], json!({"a": 1}));
    index.json("POST", "/p/_refresh", Value::Null).await;
    assert_eq!(index.ids(json!({"term": {"a": 1}})).await, ["1"]);
    index.json("PUT", "/p/_doc/1", json!({"a": 2})).await;
    index.json("DELETE", "/p/_doc/1", Value::Null).await;
    index.json("PUT", "/p/_doc/2?refresh=true", json!({"a": 2})).await;
    assert_eq!(index.ids(json!({"range": {"a": {"gte": 0}}})).await, ["2"]);
    assert_eq!(index.ids(json!({"match_all": {}})).await, ["2"]);
    index.json("PUT", "/p/_settings", json!({"index": {"refresh_interval": "1ms"}})).await;
    index.json("DELETE", "/p/_doc/2", Value::Null).await;
    let started = Instant::now();
    while index.json("GET", "/p/_count", Value::Null).await["count"] != 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "never refreshed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scroll_reads_what_was_there_when_it_began() {
    let index = Index::in_memory().await;
    let (status, _) = index.send("POST", "/_bulk?refresh=true", documents("p", 0..2500, 7)).await;
    assert_eq!(status, 200);
    for query in [json!({"match_all": {}}), json!({"match": {"name": "red"}})] {
        let mut page =
            index.json("POST", "/p/_search?scroll=1m", json!({"query": query, "size": 1000, "version": true})).await;
        // None of this may show.
        index.send("POST", "/_bulk?refresh=true", documents("p", 0..100, 8)).await;
        index.send("POST", "/_bulk?refresh=true", documents("p", 2500..2600, 7)).await;
        let id = page["_scroll_id"].as_str().expect("a scroll id").to_owned();
        let mut seen = std::collections::BTreeSet::new();
        let mut pages = 0;
        while let Some(hits) = page["hits"]["hits"].as_array().filter(|hits| !hits.is_empty()) {
            assert_eq!(page["hits"]["total"]["value"], 2500);
            assert!(hits.iter().all(|hit| hit["_version"] == 7), "a newer version shows");
            seen.extend(hits.iter().map(|hit| hit["_id"].as_str().expect("an id").to_owned()));
            pages += 1;
            page = index.json("POST", "/_search/scroll", json!({"scroll": "1m", "scroll_id": id})).await;
        }
        assert_eq!((seen.len(), pages), (2500, 3));
        assert_eq!(index.json("DELETE", "/_search/scroll", json!({"scroll_id": id})).await["num_freed"], 1);
        index
            .refused("POST", "/_search/scroll", json!({"scroll_id": id}), 404, "search_context_missing_exception")
            .await;
        index.json("DELETE", "/p", Value::Null).await;
        index.send("POST", "/_bulk?refresh=true", documents("p", 0..2500, 7)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_documents_and_several_at_once() {
    let index = Index::in_memory().await;
    let (status, text) =
        index.send("PUT", "/p/_doc/a%2Fb?version=5&version_type=external&routing=r", r#"{"n":1.10}"#).await;
    assert!(status == 201 && text.contains("\"_id\":\"a/b\""), "{text}");
    let (_, text) = index.send("GET", "/p/_doc/a%2Fb", "").await;
    assert!(
        text.contains("\"_version\":5")
            && text.contains("\"_routing\":\"r\"")
            && text.contains(r#""_source":{"n":1.10}"#),
        "{text}"
    );
    let reason = index
        .refused(
            "PUT",
            "/p/_doc/a%2Fb?version=5&version_type=external",
            json!({}),
            409,
            "version_conflict_engine_exception",
        )
        .await;
    assert_eq!(reason, "[a/b]: version conflict, current version [5] is higher or equal to the one provided [5]");
    index.refused("PUT", "/p/_create/a%2Fb", json!({}), 409, "version_conflict_engine_exception").await;
    index
        .refused(
            "PUT",
            "/p/_doc/a%2Fb?if_seq_no=7&if_primary_term=1",
            json!({}),
            409,
            "version_conflict_engine_exception",
        )
        .await;
    index.json("PUT", "/p/_doc/a%2Fb?if_seq_no=0&if_primary_term=1", json!({"n": 2})).await;
    index.refused("PUT", "/p/_doc/x", json!({"n": "many"}), 400, "document_parsing_exception").await;
    assert_eq!(index.send("HEAD", "/p/_doc/none", "").await.0, 404);
    let answer = index.json("POST", "/p/_mget", json!({"ids": ["a/b", "none"]})).await;
    assert_eq!((&answer["docs"][0]["_source"], &answer["docs"][1]["found"]), (&json!({"n": 2}), &json!(false)));
    let docs = json!({"docs": [{"_index": "p", "_id": "a/b", "_source": false}, {"_index": "q", "_id": "1"}]});
    let answer = index.json("POST", "/_mget", docs).await;
    assert_eq!(answer["docs"][0]["found"], true);
    assert_eq!(answer["docs"][1]["error"]["type"], "index_not_found_exception");
    assert_eq!(index.send("DELETE", "/p/_doc/a%2Fb", "").await.0, 200);
    assert_eq!(index.send("DELETE", "/p/_doc/a%2Fb", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_mappings_and_settings() {
    let index = Index::in_memory().await;
    index.json("PUT", "/p", json!({"settings": {"index": {"gc_deletes": "1h"}}, "mappings": {"_meta": {"e": 1}, "properties": {"n": {"type": "long"}}}})).await;
    index.refused("PUT", "/p", json!({}), 400, "resource_already_exists_exception").await;
    index
        .refused(
            "PUT",
            "/q",
            json!({"mappings": {"properties": {"v": {"type": "dense_vector"}}}}),
            400,
            "mapper_parsing_exception",
        )
        .await;
    index.refused("PUT", "/Q", json!({}), 400, "invalid_index_name_exception").await;
    index.json("PUT", "/p/_mapping", json!({"_meta": {"e": 2}, "properties": {"s": {"type": "keyword"}}})).await;
    index
        .refused(
            "PUT",
            "/p/_mapping",
            json!({"properties": {"n": {"type": "text"}}}),
            400,
            "illegal_argument_exception",
        )
        .await;
    let mapping = index.json("GET", "/p/_mapping", Value::Null).await;
    let expected = json!({"_meta": {"e": 2}, "properties": {"n": {"type": "long"}, "s": {"type": "keyword"}}});
    assert_eq!(mapping["p"]["mappings"], expected);
    let settings = index.json("GET", "/p/_settings", Value::Null).await;
    assert_eq!(settings["p"]["settings"]["index"]["gc_deletes"], "1h");
    assert_eq!(settings["p"]["settings"]["index"]["uuid"].as_str().map(str::len), Some(22));
    let flat = index.json("GET", "/p/_settings?flat_settings=true&include_defaults=true", Value::Null).await;
    assert_eq!(flat["p"]["defaults"]["index.max_result_window"], "10000");
    index.refused("PUT", "/p/_settings", json!({"index.number_of_shards": 3}), 400, "illegal_argument_exception").await;
    index.json("DELETE", "/p", Value::Null).await;
    index.json("PUT", "/p", json!({})).await;
    let again = index.json("GET", "/p/_settings", Value::Null).await;
    assert_ne!(again["p"]["settings"]["index"]["uuid"], settings["p"]["settings"]["index"]["uuid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_compressed_too_large_and_of_the_wrong_type() {
    let index = Index::start(Options { max_content_length: 100_000, ..Options::default() }).await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(documents("p", 0..100, 1).as_bytes()).expect("compresses");
    let post = |body: Vec<u8>| {
        let request = index.client.post(format!("{}/_bulk", index.url)).header("content-encoding", "gzip");
        request.header("content-type", "application/x-ndjson").body(body).send()
    };
    let response = post(gzip.finish().expect("compresses")).await.expect("answers");
    assert_eq!(response.status(), 200);
    assert!(response.text().await.expect("a body").contains("\"errors\":false"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(documents("p", 0..1000, 1).as_bytes()).expect("compresses");
    assert_eq!(post(gzip.finish().expect("compresses")).await.expect("answers").status(), 413);
    assert_eq!(post(b"not gzip".to_vec()).await.expect("answers").status(), 400);
    assert_eq!(index.send("POST", "/_bulk", documents("p", 0..1000, 1)).await, (413, String::new()));
    let plain = index.client.post(format!("{}/_bulk", index.url)).body("x\n").send().await.expect("answers");
    assert_eq!(plain.status(), 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_outlives_its_server_and_serves_one_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let index = Index::start(options.clone()).await;
    index.json("PUT", "/p", json!({"settings": {"gc_deletes": "1h"}, "mappings": {"_meta": {"e": 1}}})).await;
    index.send("POST", "/_bulk", documents("p", 0..1000, 7)).await;
    index.send("DELETE", "/p/_doc/5?version=9&version_type=external_gte", "").await;
    index.json("PUT", "/gone", json!({})).await;
    index.json("DELETE", "/gone", Value::Null).await;
    let mapping = index.json("GET", "/p", Value::Null).await;
    let error = Server::bind(options.clone()).await.expect_err("the directory is taken");
    assert!(error.is_directory_in_use(), "{error}");
    index.stop().await;
    let index = Index::start(options).await;
    assert_eq!(index.json("GET", "/p", Value::Null).await, mapping);
    assert_eq!(index.json("GET", "/p/_count", Value::Null).await["count"], 999);
    assert_eq!(index.ids(json!({"term": {"id": 77}})).await, ["77"]);
    // The tombstone outlived the server too.
    let (status, _) = index.send("PUT", "/p/_doc/5?version=8&version_type=external_gte", "{}").await;
    assert_eq!(status, 409);
    assert_eq!(index.send("HEAD", "/gone", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_full_of_old_versions_is_written_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let index = Index::start(options.clone()).await;
    index.json("PUT", "/p", json!({"mappings": {"dynamic": false, "properties": {"n": {"type": "long"}}}})).await;
    let write = async |n: u64| {
        let fill = "x".repeat(1 << 20);
        let lines = (0..8).flat_map(|id| {
            let head = json!({"index": {"_id": id.to_string(), "version": n, "version_type": "external_gte"}});
            [head, json!({"n": n * 100 + id, "fill": fill})]
        });
        let (status, _) =
            index.send("POST", "/p/_bulk?refresh=true&filter_path=errors", bulk(&lines.collect::<Vec<_>>())).await;
        assert_eq!(status, 200);
    };
    write(1).await;
    index.send("DELETE", "/p/_doc/gone?version=50&version_type=external_gte", "").await;
    assert_eq!(index.ids(json!({"term": {"n": 103}})).await, ["3"]);
    let page = index.json("POST", "/p/_search?scroll=1m", json!({"size": 4, "_source": ["n"]})).await;
    for n in 2..=20 {
        write(n).await;
    }
    let bytes: u64 = std::fs::read_dir(dir.path())
        .expect("readable")
        .map(|e| e.expect("an entry").metadata().expect("there").len())
        .sum();
    assert!(bytes < 100 << 20, "160 MiB were written, 8 are of use, and {bytes} bytes are kept");
    // The scroll reads the log that is no longer there.
    let page = index.json("POST", "/_search/scroll", json!({"scroll_id": page["_scroll_id"]})).await;
    assert_eq!(page["hits"]["hits"][3]["_source"]["n"], 107);
    let check = async |index: &Index| {
        assert_eq!(index.json("GET", "/p/_count", Value::Null).await["count"], 8);
        assert_eq!(index.ids(json!({"term": {"n": 2003}})).await, ["3"]);
        assert_eq!(index.ids(json!({"term": {"n": 103}})).await, Vec::<String>::new());
        assert_eq!(index.send("PUT", "/p/_doc/gone?version=49&version_type=external_gte", "{}").await.0, 409);
    };
    check(&index).await;
    index.stop().await;
    check(&Index::start(options).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_told() {
    let index = Index::in_memory().await;
    let listen = index.url.trim_start_matches("http://").parse().expect("an address");
    let error = Server::bind(Options { listen, ..Options::default() }).await.expect_err("taken");
    assert!(error.is_address_in_use(), "{error}");
}

const CHILD_DIR: &str = "TIDEMILL_EMBEDDED_TEST_DIR";

/// Not a test of its own: [`an_answered_bulk_survives_kill_9`] starts this test binary anew to have a server to kill.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_serves() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let server = Server::bind(Options { dir: Some(dir.into()), ..Options::default() }).await.expect("binds");
    let address = Path::new(&std::env::var_os(CHILD_DIR).expect("set")).join("address");
    std::fs::write(address.with_extension("tmp"), server.addr().to_string()).expect("written");
    std::fs::rename(address.with_extension("tmp"), address).expect("renamed");
    server.run(std::future::pending()).await.expect("runs");
}

/// A server in a process of its own, which dies by SIGKILL.
struct Child {
    process: std::process::Child,
    url: String,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn spawn_child(dir: &Path) -> Child {
    let address = dir.join("address");
    let _ = std::fs::remove_file(&address);
    let process = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "child_that_serves", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let mut child = Child { process, url: String::new() };
    let started = Instant::now();
    while child.url.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the child never listened");
        child.url = std::fs::read_to_string(&address).map(|text| format!("http://{text}")).unwrap_or_default();
        tokio::task::yield_now().await;
    }
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_bulk_survives_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let client = client();
    let mut answered: u64 = 0;
    for round in 1..=4_u64 {
        let child = spawn_child(dir.path()).await;
        let url = &child.url;
        for part in 0..3 {
            let body = documents("p", part * 500..(part + 1) * 500, round * 10);
            let request = client.post(format!("{url}/_bulk")).header("content-type", "application/x-ndjson").body(body);
            let text = request.send().await.expect("answers").text().await.expect("a body");
            assert!(text.contains("\"errors\":false"), "round {round}: {text}");
        }
        answered = answered.max(round * 10);
        // One more is in flight when the process dies: it may be there or not, but nothing else may change.
        let body = documents("p", 1500..6000, round * 10);
        let in_flight =
            client.post(format!("{url}/_bulk")).header("content-type", "application/x-ndjson").body(body).send();
        let in_flight = tokio::spawn(in_flight);
        tokio::task::yield_now().await;
        drop(child);
        let _ = in_flight.await;
    }
    let child = spawn_child(dir.path()).await;
    let url = &child.url;
    let search = client.post(format!("{url}/p/_search?size=10000")).header("content-type", "application/json");
    let text = search.body(r#"{"version":true,"query":{"match_all":{}}}"#).send().await.expect("answers").text().await;
    let answer: Value = serde_json::from_str(&text.expect("a body")).expect("JSON");
    let hits = answer["hits"]["hits"].as_array().expect("hits");
    let of = |id: usize| hits.iter().find(|hit| hit["_id"] == id.to_string().as_str());
    for id in 0..1500 {
        let hit = of(id).unwrap_or_else(|| panic!("document {id} was answered for and is gone"));
        assert_eq!((&hit["_version"], &hit["_source"]["id"]), (&json!(answered), &json!(id)));
    }
    let rest = hits.len() - 1500;
    assert!(rest == 0 || rest == 4500, "{rest} documents of a bulk that was cut short are there");
}
