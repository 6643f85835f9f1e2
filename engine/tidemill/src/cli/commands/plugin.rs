//! `plugin`: the tools for authors, and how their answers look.

use std::path::Path;

use serde_json::{Value, json};

use super::super::arguments::{
    BuildArguments, InspectArguments, NewArguments, PluginCommand, PluginKind, TestArguments,
};
use super::super::output::{Output, bytes, counted, duration};
use crate::author::{
    self, Built, CaseResult, Component, Difference, Inspection, Kind, Language, NamedInfo, Opened, Project, TestOptions,
};
use crate::error::{Error, Result};

/// So many differences of a case are shown; `--json` has them all.
const SHOWN_MAX: usize = 20;

pub(super) fn run(command: &PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(asked) => new(asked),
        PluginCommand::Build(asked) => build(asked),
        PluginCommand::Test(asked) => test(asked),
        PluginCommand::Bench(asked) => super::bench::bench(asked),
        PluginCommand::Inspect(asked) => inspect(asked),
        PluginCommand::Replay(asked) => super::replay::replay(asked),
    }
}

fn kind(kind: PluginKind) -> Kind {
    match kind {
        PluginKind::Filter => Kind::Filter,
        PluginKind::Transform => Kind::Transform,
    }
}

fn new(asked: &NewArguments) -> Result<()> {
    let language = Language::named(&asked.lang)?;
    let created = author::create(&asked.name, language, kind(asked.kind))?;
    let folder = created.folder.display();
    if asked.json {
        return Output::stdout().json(&json!({
            "folder": created.folder, "language": language.name, "kind": kind(asked.kind).name(), "files": created.files,
        }));
    }
    Output::stdout().text(&format!(
        "`{folder}` holds a {} in {}: {}\nnext: `tidemill plugin test {folder}` builds it and runs its case; its README says how to go on",
        kind(asked.kind).name(),
        language.name,
        created.files.join(", "),
    ))
}

fn build(asked: &BuildArguments) -> Result<()> {
    let built = match (asked.path.is_dir(), &asked.output) {
        (false, None) if asked.path.exists() => {
            return Err(Error::usage("a core module needs a place for its component: give `-o FILE.wasm`"));
        }
        (false, Some(output)) => author::convert(&asked.path, asked.world.map(kind), output)?,
        _ => author::build(&Project::open(&asked.path)?)?,
    };
    if asked.json {
        return Output::stdout().json(&json!({
            "name": built.name, "component": built.component, "bytes": built.bytes, "sha256": built.sha256,
            "world": built.world, "toolchain": built.toolchain, "build_ms": built.build_time.as_millis() as u64,
            "compile_ms": built.compile_time.as_millis() as u64,
        }));
    }
    Output::stdout().text(&said(&built))
}

fn said(built: &Built) -> String {
    let toolchain = built.toolchain.as_ref().map_or(String::new(), |toolchain| format!(", by {toolchain}"));
    format!(
        "{}: a {} of {}, built in {}{toolchain}; compiled for this machine in {}\nsha256 {}",
        built.component.display(),
        built.world,
        bytes(built.bytes),
        duration(built.build_time),
        duration(built.compile_time),
        built.sha256
    )
}

fn test(asked: &TestArguments) -> Result<()> {
    let component = Component::find(&asked.path)?;
    let cases = asked.cases.as_deref().unwrap_or(&component.cases);
    let result = author::test(&TestOptions { component: &component.path, cases, accept: asked.accept })?;
    let failed = result.cases.iter().filter(|case| !case.passed()).count();
    if asked.json {
        let cases: Vec<Value> = result.cases.iter().map(case_json).collect();
        let ok = failed == 0;
        Output::stdout()
            .json(&json!({ "ok": ok, "plugin": result.plugin, "sha256": result.sha256, "cases": cases }))?;
    } else {
        let cases: Vec<String> = result.cases.iter().map(|case| case_text(case, cases)).collect();
        Output::stdout().text(&cases.join("\n"))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Error::differs(format!(
            "{} of {} came out differently: mend the plugin, or take what came out as right with `--accept`",
            failed,
            counted(result.cases.len() as u64, "case")
        ))),
    }
}

fn case_text(case: &CaseResult, cases: &Path) -> String {
    let count = |number: usize, noun| counted(number as u64, noun);
    let mark = if case.passed() { '✓' } else { '✗' };
    let mut lines = vec![format!(
        "{mark} {}: {} in, {} and {} out",
        case.name,
        count(case.rows, "row"),
        count(case.documents, "document"),
        count(case.rejects, "reject"),
    )];
    let file = cases.join(&case.name).join("documents.ndjson");
    if case.accepted {
        lines.push(format!("    {} holds what came out", file.display()));
    }
    if case.unwritten {
        lines.push(format!("    {} is not there: `--accept` writes what came out", file.display()));
    }
    lines.extend(case.differences.iter().take(SHOWN_MAX).flat_map(difference_text));
    if let Some(more) = case.differences.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        lines.push(format!("    and {more} more: `--json` has them all"));
    }
    if let Some(row) = case.depends_on_batches {
        lines.push(format!(
            "    row {row} comes out differently when rows come one by one: what a plugin answers must not depend on how rows are \
             cut into batches"
        ));
    }
    lines.extend(case.logs.iter().map(|line| format!("    log {line}")));
    lines.join("\n")
}

fn difference_text(difference: &Difference) -> Vec<String> {
    match difference {
        Difference::Changed { row, expected_line, expected, found, fields } => {
            let mut lines = vec![format!("    row {row}, line {expected_line} of documents.ndjson:")];
            if fields.is_empty() {
                lines.extend([format!("      - {expected}"), format!("      + {found}")]);
            }
            lines.extend(fields.iter().flat_map(|field| {
                let side = |sign: char, value: &Option<String>| {
                    let value = value.as_deref().unwrap_or("(no such field)");
                    format!("      {sign} {}: {value}", field.field)
                };
                [side('-', &field.expected), side('+', &field.found)]
            }));
            lines
        }
        Difference::Missing { expected_line, expected } => {
            vec![
                format!("    line {expected_line} of documents.ndjson did not come out:"),
                format!("      - {expected}"),
            ]
        }
        Difference::Extra { row, found } => {
            vec![format!("    row {row} gave what is not expected:"), format!("      + {found}")]
        }
    }
}

fn case_json(case: &CaseResult) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    let differences: Vec<Value> = case
        .differences
        .iter()
        .map(|difference| match difference {
            Difference::Changed { row, expected_line, expected, found, fields } => {
                let fields: Vec<Value> = fields
                    .iter()
                    .map(|field| json!({ "field": field.field, "expected": field.expected.as_deref().map(parsed), "found": field.found.as_deref().map(parsed) }))
                    .collect();
                json!({ "kind": "changed", "row": row, "line": expected_line, "expected": parsed(expected), "found": parsed(found), "fields": fields })
            }
            Difference::Missing { expected_line, expected } => {
                json!({ "kind": "missing", "line": expected_line, "expected": parsed(expected) })
            }
            Difference::Extra { row, found } => json!({ "kind": "extra", "row": row, "found": parsed(found) }),
        })
        .collect();
    json!({
        "name": case.name, "ok": case.passed(), "rows": case.rows, "documents": case.documents, "rejects": case.rejects,
        "time_us": case.time.as_micros() as u64, "accepted": case.accepted, "differences": differences,
        "depends_on_batches": case.depends_on_batches, "logs": case.logs,
    })
}

fn inspect(asked: &InspectArguments) -> Result<()> {
    let found = author::inspect(&asked.path)?;
    let opened = match (&asked.schema, &found.problem) {
        (Some(schema), None) => {
            let grants = author::grants(asked.stage.grants.as_deref())?;
            Some(author::open(&asked.path, schema, author::config(asked.stage.typed())?, grants)?)
        }
        _ => None,
    };
    if asked.json {
        let imports: Vec<Value> =
            found.imports.iter().map(|name| json!({ "name": name, "granted_by": author::granted_by(name) })).collect();
        let outputs = |opened: &Opened| -> Vec<Value> {
            opened.outputs.iter().map(|(name, of)| json!({ "name": name, "column": of })).collect()
        };
        Output::stdout().json(&json!({
            "file": asked.path, "world": found.world, "contract": found.contract, "bytes": found.bytes,
            "sha256": found.sha256, "imports": imports, "exports": found.exports, "producers": found.producers,
            "problem": found.problem, "requires": opened.as_ref().map(|opened| &opened.requires),
            "outputs": opened.as_ref().map(outputs), "naming": opened.as_ref().and_then(|opened| opened.named.as_ref()).map(naming_json),
        }))?;
    } else {
        Output::stdout().text(&inspection_text(asked, &found, opened.as_ref()))?;
    }
    match &found.problem {
        None => Ok(()),
        Some(problem) => Err(Error::failed(format!("`{}` is no plugin: {problem}", asked.path.display()))),
    }
}

fn inspection_text(asked: &InspectArguments, found: &Inspection, opened: Option<&Opened>) -> String {
    let mut lines = vec![match (found.world, &found.contract) {
        (Some(world), Some(contract)) => format!("{}: a {world} of contract {contract}", asked.path.display()),
        _ => format!("{}: no plugin", asked.path.display()),
    }];
    lines.push(format!("size     {}", bytes(found.bytes)));
    lines.push(format!("sha256   {}", found.sha256));
    lines.extend(found.imports.iter().map(|name| {
        let granted = author::granted_by(name).unwrap_or_else(|| "nobody: it is refused".to_owned());
        format!("imports  {name}  granted by {granted}")
    }));
    lines.extend(found.exports.iter().map(|name| format!("exports  {name}")));
    lines.extend(found.producers.iter().map(|(what, names)| format!("made by  {what}: {}", names.join(", "))));
    if let Some(opened) = opened {
        let requires = if opened.requires.is_empty() { "nothing".to_owned() } else { opened.requires.join(", ") };
        lines.push(format!("requires {requires}"));
        let output = |(name, of): &(String, Option<String>)| match of {
            None => format!("{name} (made)"),
            Some(of) if of == name => name.clone(),
            Some(of) => format!("{name} (of {of})"),
        };
        lines.push(format!("outputs  {}", opened.outputs.iter().map(output).collect::<Vec<_>>().join(", ")));
        lines.extend(opened.named.as_ref().map(naming_text));
    }
    lines.join("\n")
}

fn naming_text(named: &NamedInfo) -> String {
    let index = named.index.as_ref().map(|pattern| format!("_index (within {pattern})"));
    let names = [named.id.then(|| "_id".to_owned()), index, named.routing.then(|| "_routing".to_owned())];
    let names: Vec<String> = names.into_iter().flatten().collect();
    let of = if named.of_row { "any column: needs REPLICA IDENTITY FULL" } else { "the key alone" };
    let many = if named.many { "; one row may become several documents" } else { "" };
    format!("names    {}, made of {of}{many}", names.join(", "))
}

fn naming_json(named: &NamedInfo) -> Value {
    json!({
        "id": named.id, "index": named.index.as_deref(), "routing": named.routing,
        "of": if named.of_row { "row" } else { "key" }, "many": named.many,
    })
}
