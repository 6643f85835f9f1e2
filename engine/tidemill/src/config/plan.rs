//! A stream's plan: what decides which document a row becomes. Its digest is kept in the state, so that documents of two
//! plans never mix unnoticed.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Columns, Stage, Stream};
use crate::secret::Secret;

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
    /// Of those stages that have some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<PlanGrants<'a>>,
    /// Of those stages that have some: name and print of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<(usize, &'a str, String)>,
}

/// So many times over makes guessing a secret by a stored plan digest expensive, and costs a start some milliseconds.
const PRINT_ROUNDS: u32 = 1 << 16;

/// What stands for a secret in a plan: documents differ with it, and the state must not tell it.
fn print(secret: &Secret) -> String {
    let first = Sha256::new().chain_update("tidemill stage secret\0").chain_update(secret.expose()).finalize();
    let last = (0..PRINT_ROUNDS).fold(first, |digest, _| Sha256::digest(digest));
    last.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn prints((stage, Stage { secrets, .. }): (usize, &Stage)) -> impl Iterator<Item = (usize, &str, String)> {
    secrets.iter().map(move |(name, secret)| (stage, name.as_str(), print(secret)))
}

/// What a stage may look at beside its rows, as far as the configuration says it.
#[derive(Serialize)]
struct PlanGrants<'a> {
    stage: usize,
    env: &'a [(String, String)],
    dirs: Vec<(&'a Path, &'a str)>,
}

impl PlanGrants<'_> {
    fn of((stage, Stage { grants, .. }): (usize, &Stage)) -> Option<PlanGrants<'_>> {
        let env = grants.env.as_deref().unwrap_or_default();
        let dirs = grants.dirs.as_deref().unwrap_or_default();
        let dirs: Vec<_> = dirs.iter().map(|folder| (folder.path.as_path(), folder.at.as_str())).collect();
        (!env.is_empty() || !dirs.is_empty()).then_some(PlanGrants { stage, env, dirs })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum PlanColumns<'a> {
    Names(&'a [String]),
    Fields(&'a [(String, String)]),
}

/// The digest of a stream's plan: where, stages with their plugins, grants and secrets, columns, id, index, routing.
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
        grants: stream.stages.iter().enumerate().filter_map(PlanGrants::of).collect(),
        secrets: stream.stages.iter().enumerate().flat_map(prints).collect(),
    };
    let bytes = serde_json::to_vec(&plan).expect("texts, lists and JSON values always have a JSON form");
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
