//! A stream's plan: what decides which document a row becomes. Its digest is kept in the state, so that documents of two
//! plans never mix unnoticed.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Columns, Stream};

/// What is hashed, in this order. Changing it makes every user's streams look changed.
#[derive(Serialize)]
struct Plan<'a> {
    version: u32,
    r#where: Option<&'a str>,
    stages: Vec<Option<&'a serde_json::Value>>,
    plugins: &'a [String],
    columns: Option<PlanColumns<'a>>,
    id: Option<String>,
    index: String,
    routing: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum PlanColumns<'a> {
    Names(&'a [String]),
    Fields(&'a [(String, String)]),
}

/// The digest of a stream's plan: where, stages and their plugins, columns, id, index, routing.
///
/// `plugins` are the digests of all plugins that run for the stream, in order, those behind `where` and `columns`
/// included. Limits and pins are left out: they do not change a document.
pub fn plan_digest(stream: &Stream, plugins: &[String]) -> String {
    let plan = Plan {
        version: 1,
        r#where: stream.filter.as_deref(),
        stages: stream.stages.iter().map(|stage| stage.config.as_ref()).collect(),
        plugins,
        columns: stream.columns.as_ref().map(|columns| match columns {
            Columns::Names(names) => PlanColumns::Names(names),
            Columns::Fields(fields) => PlanColumns::Fields(fields),
        }),
        id: stream.id.as_ref().map(ToString::to_string),
        index: stream.index.to_string(),
        routing: stream.routing.as_ref().map(ToString::to_string),
    };
    let bytes = serde_json::to_vec(&plan).expect("texts, lists and JSON values always have a JSON form");
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
