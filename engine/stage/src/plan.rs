//! A guest's plan, checked: which columns cross, and what the rows look like afterwards.

use std::sync::Arc;

use arrow_schema::Field as ArrowField;

use crate::abi::{self, Fact, Output, Outputs, Source};
use crate::instance::GuestPlan;
use crate::limits::COLUMNS_MAX;
use crate::shape::{Shape, ShapeColumn, made};

/// Names that say where a document goes, not what is in it. No plugin may make them unless that is granted.
const RESERVED: [&str; 3] = ["_id", "_index", "_routing"];

/// Where a column that comes out is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A column of the input.
    Input(usize),
    /// A column of the answer.
    Answer(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The columns that cross, as places in the input.
    pub(crate) requires: Vec<usize>,
    /// For each column that comes out; none for a filter, which changes no column.
    pub(crate) outputs: Option<Vec<From>>,
    /// The columns that each answer brings.
    pub(crate) made: Vec<ShapeColumn>,
    /// What the rows look like afterwards.
    pub(crate) shape: Shape,
    /// Whether one row may become several.
    pub(crate) many: bool,
}

impl Plan {
    pub(crate) fn check(guest: &GuestPlan, input: &Shape) -> Result<Plan, String> {
        match guest {
            GuestPlan::Filter(plan) => Ok(Plan {
                requires: requires(&plan.requires, input)?,
                outputs: None,
                made: Vec::new(),
                shape: input.clone(),
                many: false,
            }),
            GuestPlan::Transform(plan) => match &plan.outputs {
                Outputs::Columns(columns) => {
                    let of = transform(requires(&plan.requires, input)?, columns, input)?;
                    Ok(Plan { many: plan.many, ..of })
                }
                Outputs::Documents(_) => {
                    Err("it brings whole documents as JSON, which is not there yet: let it bring columns".to_owned())
                }
            },
        }
    }
}

fn requires(sources: &[Source], input: &Shape) -> Result<Vec<usize>, String> {
    let mut known = vec![false; input.columns.len()];
    let mut requires = Vec::with_capacity(sources.len().min(COLUMNS_MAX));
    for source in sources {
        let place = field("requires", *source, input)?;
        if std::mem::replace(&mut known[place], true) {
            return Err(format!("its plan requires column {place} twice"));
        }
        requires.push(place);
    }
    Ok(requires)
}

/// The place in the input of a column that a plan speaks of.
fn field(does: &str, source: Source, input: &Shape) -> Result<usize, String> {
    match source {
        Source::Field(place) if (place as usize) < input.columns.len() => Ok(place as usize),
        Source::Field(place) => {
            Err(format!("its plan {does} column {place}, and there are {} (counted from 0)", input.columns.len()))
        }
        Source::Fact(fact) => Err(format!("its plan {does} the fact `{}`, which is not there yet", fact_name(fact))),
        Source::Old(place) => Err(format!("its plan {does} old column {place}, and there are 0 (counted from 0)")),
    }
}

fn fact_name(fact: Fact) -> &'static str {
    match fact {
        Fact::Op => "op",
        Fact::Lsn => "lsn",
        Fact::Time => "time",
        Fact::Namespace => "namespace",
        Fact::Table => "table",
    }
}

fn transform(requires: Vec<usize>, columns: &[Output], input: &Shape) -> Result<Plan, String> {
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        return Err(format!("its plan lets {} columns out: a document has 1 to {COLUMNS_MAX}", columns.len()));
    }
    let (mut outputs, mut makes, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for output in columns {
        let (from, column) = match output {
            Output::Pass(passed) => pass(passed, input)?,
            Output::Make(fields) => {
                let [field] = fields.as_slice() else {
                    return Err("it makes a column of several fields, which is not there yet".to_owned());
                };
                makes.push(made(field)?);
                let column = makes.last().expect("just pushed").clone();
                is_free(column.field.name())?;
                (From::Answer(makes.len() - 1), column)
            }
        };
        outputs.push(from);
        shape.push(column);
    }
    check_names(&shape)?;
    Ok(Plan { requires, outputs: Some(outputs), made: makes, shape: input.with_columns(shape), many: false })
}

fn pass(passed: &abi::Passed, input: &Shape) -> Result<(From, ShapeColumn), String> {
    let place = field("passes", passed.column, input)?;
    let column = &input.columns[place];
    if *column.field.name() == passed.name {
        return Ok((From::Input(place), column.clone()));
    }
    is_free(&passed.name)?;
    let field = ArrowField::clone(&column.field).with_name(&passed.name);
    Ok((From::Input(place), ShapeColumn { field: Arc::new(field), ..column.clone() }))
}

fn is_free(name: &str) -> Result<(), String> {
    match name {
        "" => Err("its plan lets out a column without a name".to_owned()),
        name if RESERVED.contains(&name) => Err(format!(
            "its plan lets out `{name}`, which says where a document goes: that must be granted, and the grant is not \
             there yet"
        )),
        _ => Ok(()),
    }
}

fn check_names(columns: &[ShapeColumn]) -> Result<(), String> {
    let mut names: Vec<&str> = columns.iter().map(|column| column.field.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("its plan lets out two columns called `{}`", pair[0])),
        None => Ok(()),
    }
}
