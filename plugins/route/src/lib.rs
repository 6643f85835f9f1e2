//! `route`: says by templates which index a document goes to, and by which routing.
//!
//! ```text
//! {"index": "logs-{created_at:%Y.%m}", "routing": "tenant-{tenant_id}"}
//! ```
//!
//! Names are made of the row alone, so that an update or a delete finds the document where it was. Times are read as UTC.

mod calendar;
mod template;

use tidemill_sdk::{
    Batch, Buffers, Config, DataType, Error, Failure, MakeBytes, Naming, RowError, Transform, TransformPlan,
    Transformed,
};

use crate::template::Template;

#[derive(Config)]
struct Settings {
    index: Option<String>,
    routing: Option<String>,
    #[config(default = Illegal::Reject)]
    illegal: Illegal,
}

/// What becomes of a value that no index may have in its name.
#[derive(Clone, Copy, Config, Debug, PartialEq)]
enum Illegal {
    Reject,
    /// Small letters, and `_` for what cannot stand there.
    Replace,
}

pub struct Route {
    index: Option<Template>,
    routing: Option<Template>,
    illegal: Illegal,
}

impl Transform for Route {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Route, Error> {
        let settings: Settings = config.typed()?;
        if settings.index.is_none() && settings.routing.is_none() {
            return Err("nothing is named: give a template for `index`, for `routing`, or for both".into());
        }
        let made = [("_index", &settings.index), ("_routing", &settings.routing)];
        let made: Vec<&str> =
            made.into_iter().filter(|(_, template)| template.is_some()).map(|(name, _)| name).collect();
        plan.pass_all_but(&made);
        let mut columns = Vec::new();
        let mut template = |plan: &mut TransformPlan<'_>, name: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let template = Template::parse(text, plan, &mut columns);
            let template = template.map_err(|error| ["`", &name[1..], "`: ", &error.to_string()].concat())?;
            plan.make(name, DataType::Utf8);
            Ok::<_, Error>(Some(template))
        };
        let index = template(plan, "_index", &settings.index)?;
        let routing = template(plan, "_routing", &settings.routing)?;
        if let Some(index) = &index {
            index.check_index()?;
        }
        if columns.iter().all(|column| plan.schema().key.contains(column)) {
            plan.naming(Naming::Key);
        }
        Ok(Route { index, routing, illegal: settings.illegal })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let mut rejects = Vec::new();
        let mut columns: Vec<Buffers> = Vec::new();
        let templates = [(&self.index, self.illegal), (&self.routing, Illegal::Reject)];
        for (template, illegal) in
            templates.into_iter().filter_map(|(template, illegal)| Some((template.as_ref()?, illegal)))
        {
            let mut names = MakeBytes::default();
            for row in 0..batch.rows() {
                // A name that is missing, or that no index can have, is refused by the host, with a code for each.
                let name = template.fill(batch, row, illegal == Illegal::Replace);
                match name {
                    Ok(name) => names.push(name),
                    Err(infinite) => {
                        names.push(None::<&str>);
                        rejects.push(RowError::from(infinite).at(row));
                    }
                }
            }
            columns.push(names.finish());
        }
        Ok(Transformed { rejects, ..Transformed::all(columns) })
    }
}

impl From<template::Infinite> for RowError {
    fn from(template::Infinite(column): template::Infinite) -> RowError {
        RowError::new("route_infinite", ["`", &column, "` is infinite, and is in no month"].concat())
    }
}

tidemill_sdk::transform!(Route);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::{Outcome, Table};

    use super::*;

    fn logs() -> Table {
        Table::of(
            r#"{"id": 1, "at": "2024-02-29 23:59:59.9+00", "day": "1999-12-31", "tenant": "Acme Inc.", "n": -7, "ok": true}
               {"id": 2, "at": "1969-12-31 23:00:00+00", "day": null, "tenant": null, "n": 12, "ok": false}"#,
        )
        .column("at", "timestamptz")
        .column("day", "date")
    }

    fn run(config: &str) -> Result<Outcome, String> {
        logs().transform::<Route>(config)
    }

    fn names(config: &str) -> Vec<[String; 2]> {
        let out = run(config).unwrap();
        let of = |document: &String, name: &str| {
            let at = document.find(&format!("\"{name}\":")).map(|at| at + name.len() + 3);
            at.map_or_else(String::new, |at| {
                document[at..].split(",\"").next().unwrap().trim_end_matches('}').to_owned()
            })
        };
        out.documents.iter().map(|document| [of(document, "_index"), of(document, "_routing")]).collect()
    }

    #[test]
    fn templates_are_filled() {
        let config = r#"{"index": "logs-{at:%Y.%m}", "routing": "tenant-{id}"}"#;
        assert_eq!(names(config), [["\"logs-2024.02\"", "\"tenant-1\""], ["\"logs-1969.12\"", "\"tenant-2\""]]);
        let config = r#"{"index": "a-{day:%Y-%j}-{n}-{{{ok}}}"}"#;
        assert_eq!(names(config), [["\"a-1999-365--7-{true}\"", ""], ["null", ""]]);
        let config = r#"{"index": "w-{at:%G.%V}-{at:%d%H%%}"}"#;
        assert_eq!(names(config)[0], ["\"w-2024.09-2923%\"", ""]);
    }

    #[test]
    fn names_of_indices_are_made_legal_where_that_is_said() {
        assert_eq!(names(r#"{"index": "t-{tenant}"}"#)[0][0], "\"t-Acme Inc.\"");
        assert_eq!(names(r#"{"index": "t-{tenant}", "illegal": "replace"}"#)[0][0], "\"t-acme_inc.\"");
    }

    #[test]
    fn what_names_are_made_of_is_told() {
        assert_eq!(run(r#"{"routing": "{id}"}"#).unwrap().naming, Naming::Key);
        assert_eq!(run(r#"{"index": "x-{n}"}"#).unwrap().naming, Naming::Row);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |config: &str, part: &str| {
            let error = run(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        };
        refused("{}", "nothing is named");
        refused(r#"{"index": "logs-{at}"}"#, "`index`: `at` is a time: say which part of it, as in {at:%Y.%m}");
        refused(r#"{"index": "logs-{n:%Y}"}"#, "`n` is no time");
        refused(r#"{"index": "logs-{at:%Q}"}"#, "`%Q`");
        refused(r#"{"index": "logs-{at:}"}"#, "is empty");
        refused(r#"{"index": "logs-{nn}"}"#, "no column `nn`");
        refused(r#"{"index": "logs-{n"}"#, "without its `}`");
        refused(r#"{"index": "n}"}"#, "`}}` stands for `}`");
        refused(r#"{"index": "Logs-{n}"}"#, "`Logs-` cannot stand in the name of an index");
        refused(r#"{"index": "logs"}"#, "no column");
    }
}
