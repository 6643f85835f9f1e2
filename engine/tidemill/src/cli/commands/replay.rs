//! `plugin replay`: what came out of one plugin or two, and how it differs.

use serde_json::{Value, json};

use super::super::arguments::ReplayArguments;
use super::super::output::{Output, count, counted, table};
use crate::author::{self, Comparison, Component, Cost, Example, ReplayOptions, Replayed, Side};
use crate::error::{Error, Result};

pub(super) fn replay(asked: &ReplayArguments) -> Result<()> {
    let find = |path: &std::path::PathBuf| Component::find(path).map(|component| component.path);
    let grants = author::grants(asked.stage.grants.as_deref())?;
    let config = author::config(asked.stage.typed())?;
    let plugin = find(&asked.plugin)?;
    let against = asked.against.as_ref().map(find).transpose()?;
    let against_config = match &asked.against_config {
        None => config.clone(),
        Some(typed) => author::config(Some(typed))?,
    };
    let options = ReplayOptions {
        capture: &asked.capture,
        plugin: Side { plugin: &plugin, config, grants: grants.clone() },
        against: against.as_deref().map(|plugin| Side { plugin, config: against_config, grants }),
        examples: asked.examples,
    };
    let replayed = author::replay(&options)?;
    match asked.json {
        true => Output::stdout().json(&as_json(&replayed))?,
        false => Output::stdout().text(&as_text(&replayed))?,
    }
    let sides = [Some(&replayed.plugin), replayed.against.as_ref()];
    if let Some((name, error)) = sides.into_iter().flatten().find_map(|cost| Some((&cost.name, cost.error.as_ref()?))) {
        return Err(Error::failed(format!("plugin `{name}`: {error}")));
    }
    if !replayed.comparison.is_equal() {
        return Err(Error::differs("the documents of the two plugins differ"));
    }
    Ok(())
}

fn as_text(replayed: &Replayed) -> String {
    let row = |cost: &Cost| {
        let per_row = cost.busy.as_secs_f64() * 1e6 / replayed.rows.max(1) as f64;
        let number = |number: usize| count(number as u64);
        [
            cost.name.clone(),
            number(cost.documents),
            number(cost.deletes),
            number(cost.rejects),
            count(cost.calls),
            format!("{per_row:.2}"),
        ]
    };
    let costs: Vec<_> = [Some(&replayed.plugin), replayed.against.as_ref()].into_iter().flatten().map(row).collect();
    let mut lines = vec![
        format!(
            "{} of {}, captured of stream `{}`",
            counted(replayed.rows as u64, "row"),
            replayed.head.table.table,
            replayed.head.stream
        ),
        digests(replayed),
        table(["PLUGIN", "DOCUMENTS", "DELETES", "REJECTS", "CALLS", "µs A ROW"], &costs),
    ];
    if replayed.against.is_some() {
        lines.push(summary(&replayed.comparison));
        lines.extend(replayed.comparison.examples.iter().flat_map(example));
    } else {
        lines.extend(replayed.documents.iter().map(|document| format!("  {document}")));
    }
    lines.join("\n")
}

/// Which components the rows met when they were captured, and meet now.
fn digests(replayed: &Replayed) -> String {
    let line = |when: &str, name: &str, sha256: &str| format!("{when} {name}  sha256 {sha256}");
    let then = replayed.head.plugins.iter().map(|plugin| line("captured with", &plugin.name, &plugin.sha256));
    let sides =
        [Some(("plugin       ", &replayed.plugin)), replayed.against.as_ref().map(|cost| ("against      ", cost))];
    let now = sides.into_iter().flatten().map(|(side, cost)| line(side, &cost.name, &cost.sha256));
    then.chain(now).collect::<Vec<_>>().join("\n")
}

fn summary(comparison: &Comparison) -> String {
    let Comparison { equal, added, removed, changed, fields, .. } = comparison;
    let fields: Vec<_> = fields.iter().map(|(field, times)| format!("{field} {times}")).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
    format!("{equal} equal, {added} added, {removed} removed, {changed} changed{fields}")
}

fn example(example: &Example) -> Vec<String> {
    let fields = if example.fields.is_empty() { String::new() } else { format!(": {}", example.fields.join(", ")) };
    let mut lines = vec![format!("  row {}{fields}", example.row)];
    lines.extend(example.against.iter().map(|line| format!("    - {line}")));
    lines.extend(example.plugin.iter().map(|line| format!("    + {line}")));
    lines
}

fn as_json(replayed: &Replayed) -> Value {
    let cost = |cost: &Cost| {
        json!({
            "plugin": cost.name, "sha256": cost.sha256, "documents": cost.documents, "deletes": cost.deletes,
            "rejects": cost.rejects, "error": cost.error, "calls": cost.calls, "busy_us": cost.busy.as_micros() as u64,
        })
    };
    let parsed = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let examples: Vec<Value> = replayed
        .comparison
        .examples
        .iter()
        .map(|example| {
            json!({ "row": example.row, "plugin": parsed(&example.plugin), "against": parsed(&example.against), "fields": example.fields })
        })
        .collect();
    let documents: Vec<Value> =
        replayed.documents.iter().filter_map(|document| serde_json::from_str(document).ok()).collect();
    let Comparison { equal, added, removed, changed, fields, .. } = &replayed.comparison;
    let differences = replayed.against.is_some().then(|| {
        json!({ "equal": equal, "added": added, "removed": removed, "changed": changed, "fields": fields, "examples": examples })
    });
    json!({
        "ok": replayed.comparison.is_equal(), "rows": replayed.rows, "stream": replayed.head.stream,
        "table": replayed.head.table.table, "captured_with": replayed.head.plugins, "masked": replayed.head.masked,
        "plugin": cost(&replayed.plugin), "against": replayed.against.as_ref().map(cost), "differences": differences,
        "documents": documents,
    })
}
