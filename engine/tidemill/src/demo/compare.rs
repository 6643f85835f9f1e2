//! Holds every document of an index against what Postgres says it should be.
//!
//! Both sides are read in pages, so that memory does not grow with the shop: rows by a cursor, documents of the same ids
//! by `_mget`; then the index is scrolled for ids that no row has.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json;
use super::shop::Expected;

/// How many rows are compared at a time.
const PAGE_ROWS: usize = 1_000;
/// How many differing documents are named.
const EXAMPLES_MAX: usize = 5;

/// What the comparison of an index found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Comparison {
    pub(crate) index: String,
    pub(crate) equal: u64,
    pub(crate) missing: u64,
    pub(crate) extra: u64,
    pub(crate) different: u64,
    /// The first that differ: what, `_id`, and both texts where there are two.
    pub(crate) examples: Vec<String>,
}

impl Comparison {
    pub(crate) fn is_equal(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.different == 0
    }

    fn example(&mut self, what: fmt::Arguments<'_>) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what.to_string());
        }
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    docs: Vec<Document<'a>>,
}

#[derive(Deserialize)]
struct Document<'a> {
    _id: String,
    #[serde(borrow, default)]
    _source: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Page {
    _scroll_id: Option<String>,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    _id: String,
}

/// The index's HTTP side, as any client would use it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) client: reqwest::Client,
    pub(crate) url: String,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Reader {
    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<String>,
    ) -> Result<String, Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{path} answered {status}: {text}").into());
        }
        Ok(text)
    }
}

/// Compares the whole index with the rows that belong in it.
pub(crate) async fn compare(
    postgres: &mut tokio_postgres::Client,
    reader: &Reader,
    expected: &Expected,
) -> Result<Comparison, Failure> {
    let mut found = Comparison { index: expected.index.to_owned(), ..Comparison::default() };
    reader.call(reqwest::Method::POST, &format!("/{}/_refresh", expected.index), None).await?;
    let transaction = postgres.transaction().await?;
    let query = format!("{} WHERE {} ORDER BY id", expected.documents, expected.filter);
    let statement = transaction.prepare(&query).await?;
    let portal = transaction.bind(&statement, &[]).await?;
    loop {
        let rows = transaction.query_portal(&portal, PAGE_ROWS as i32).await?;
        if rows.is_empty() {
            break;
        }
        let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        compare_page(reader, &mut found, &rows).await?;
    }
    find_extra(&transaction, reader, expected, &mut found).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn compare_page(reader: &Reader, found: &mut Comparison, rows: &[(String, String)]) -> Result<(), Failure> {
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let body = serde_json::json!({ "ids": ids }).to_string();
    let text = reader.call(reqwest::Method::POST, &format!("/{}/_mget", found.index), Some(body)).await?;
    let answer: Found<'_> = serde_json::from_str(&text)?;
    let documents: HashMap<&str, Option<&RawValue>> =
        answer.docs.iter().map(|document| (document._id.as_str(), document._source)).collect();
    for (id, expected) in rows {
        match documents.get(id.as_str()).copied().flatten() {
            None => {
                found.missing += 1;
                found.example(format_args!("missing {id}: {expected}"));
            }
            Some(document) if json::same(document.get(), expected) => found.equal += 1,
            Some(document) => {
                found.different += 1;
                found.example(format_args!("different {id}: the index has {document}, Postgres {expected}"));
            }
        }
    }
    Ok(())
}

/// Counts the documents whose row is not there or does not belong in the index.
async fn find_extra(
    transaction: &tokio_postgres::Transaction<'_>,
    reader: &Reader,
    expected: &Expected,
    found: &mut Comparison,
) -> Result<(), Failure> {
    let query = format!("SELECT id::text FROM {} WHERE {} AND id = ANY($1)", expected.index, expected.filter);
    let statement = transaction.prepare(&query).await?;
    let start = format!("/{}/_search?scroll=1m", expected.index);
    let body = serde_json::json!({ "size": PAGE_ROWS, "_source": false, "query": { "match_all": {} } });
    let mut page: Page =
        serde_json::from_str(&reader.call(reqwest::Method::POST, &start, Some(body.to_string())).await?)?;
    while !page.hits.hits.is_empty() {
        let ids: Vec<&str> = page.hits.hits.iter().map(|hit| hit._id.as_str()).collect();
        // An id that is no number belongs to no row of the shop.
        let keys: Vec<i64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let rows = transaction.query(&statement, &[&keys]).await?;
        let known: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
        for id in ids.iter().filter(|id| !known.contains(**id)) {
            found.extra += 1;
            found.example(format_args!("extra {id}: the index has it, no row belongs to it"));
        }
        let Some(scroll) = page._scroll_id.take() else { break };
        let body = serde_json::json!({ "scroll": "1m", "scroll_id": scroll }).to_string();
        page = serde_json::from_str(&reader.call(reqwest::Method::POST, "/_search/scroll", Some(body)).await?)?;
    }
    if let Some(scroll) = page._scroll_id {
        let body = serde_json::json!({ "scroll_id": [scroll] }).to_string();
        reader.call(reqwest::Method::DELETE, "/_search/scroll", Some(body)).await?;
    }
    Ok(())
}
