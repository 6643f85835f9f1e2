//! A guest's plan, checked: which columns cross, and what the rows look like afterwards.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField};

use crate::abi::{self, Fact, FilterPlan, Output, Outputs, Source, TransformPlan};
use crate::grants::{Grants, Identity};
use crate::instance::GuestPlan;
use crate::known::Known;
use crate::limits::COLUMNS_MAX;
use crate::shape::{self, Shape, ShapeColumn, made};

/// Columns that say where a document goes, not what is in it. No plugin may put them out unless that is granted.
pub(crate) const ID: &str = "_id";
pub(crate) const INDEX: &str = "_index";
pub(crate) const ROUTING: &str = "_routing";
const RESERVED: [&str; 3] = [ID, INDEX, ROUTING];

/// A column that a stage may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A column of the input.
    Input(usize),
    Known(Known),
}

/// Where a column that comes out is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Given(Given),
    /// A column of the answer.
    Answer(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The columns that cross.
    pub(crate) requires: Vec<Given>,
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
    pub(crate) fn check(guest: &GuestPlan, input: &Shape, grants: &Grants) -> Result<Plan, String> {
        match guest {
            GuestPlan::Filter(FilterPlan { requires }) => Ok(Plan {
                requires: self::requires(requires, input)?,
                outputs: None,
                made: Vec::new(),
                shape: input.clone(),
                many: false,
            }),
            GuestPlan::Transform(plan) => match &plan.outputs {
                Outputs::Columns(columns) => transform(plan, columns, input, grants),
                Outputs::Documents(names) => transform(plan, names, input, grants),
            },
        }
    }

    /// The columns that are no part of the rows themselves.
    pub(crate) fn known(&self) -> impl Iterator<Item = Known> {
        let outputs = self.outputs.iter().flatten().filter_map(|from| match from {
            From::Given(given) => Some(*given),
            From::Answer(_) => None,
        });
        self.requires.iter().copied().chain(outputs).filter_map(|given| match given {
            Given::Known(known) => Some(known),
            Given::Input(_) => None,
        })
    }
}

fn requires(sources: &[Source], input: &Shape) -> Result<Vec<Given>, String> {
    let mut requires = Vec::with_capacity(sources.len().min(COLUMNS_MAX));
    let mut seen = sources.to_vec();
    seen.sort_unstable();
    if let Some(pair) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("its plan requires {} twice", told(pair[0])));
    }
    for source in sources {
        requires.push(given("requires", *source, input)?);
    }
    Ok(requires)
}

fn told(source: Source) -> String {
    match source {
        Source::Field(place) => format!("column {place}"),
        Source::Old(place) => format!("old column {place}"),
        Source::Fact(fact) => format!("the fact `{}`", shape::fact_name(fact)),
    }
}

/// What a plan means by a source.
fn given(does: &str, source: Source, input: &Shape) -> Result<Given, String> {
    let missing =
        |there: usize| Err(format!("its plan {does} {}, and there are {there} (counted from 0)", told(source)));
    match source {
        Source::Field(place) => match input.column_at(place) {
            Some(column) => Ok(Given::Input(column)),
            None => missing(input.columns.len()),
        },
        Source::Fact(fact) => Ok(Given::Known(Known::Fact(fact))),
        Source::Old(place) => match input.old.get(place as usize) {
            Some(old) => Ok(Given::Known(Known::Old(old.place))),
            None => missing(input.old.len()),
        },
    }
}

fn transform(plan: &TransformPlan, columns: &[Output], input: &Shape, grants: &Grants) -> Result<Plan, String> {
    let is_whole = matches!(plan.outputs, Outputs::Documents(_));
    if columns.is_empty() && !is_whole || columns.len() > COLUMNS_MAX {
        return Err(format!("its plan lets {} columns out: a document has 1 to {COLUMNS_MAX}", columns.len()));
    }
    let requires = requires(&plan.requires, input)?;
    let (mut outputs, mut makes, mut columns_out) = (Vec::new(), Vec::new(), Vec::new());
    if is_whole {
        outputs.push(From::Answer(0));
        makes.push(shape::document());
        columns_out.push(shape::document());
    }
    let (mut naming, mut names) = (input.naming.clone(), plan.many);
    for output in columns {
        let (from, mut column) = match output {
            Output::Pass(passed) => pass(passed, input)?,
            Output::Make(fields) => {
                makes.push(made(fields)?);
                (From::Answer(makes.len() - 1), makes.last().expect("just pushed").clone())
            }
        };
        if column.field.name().is_empty() {
            return Err("its plan lets out a column without a name".to_owned());
        }
        if is_named_here(&column, from, input, grants) {
            let identity = may_name(&column, from, grants)?;
            if column.field.name() == INDEX {
                naming.index_pattern.clone_from(&identity.index);
            }
            column.is_name = true;
            names = true;
        }
        if is_whole && !column.is_name {
            return Err(format!(
                "its plan lets out `{}` beside whole documents, where only `{ID}`, `{INDEX}` and `{ROUTING}` can be",
                column.field.name()
            ));
        }
        outputs.push(from);
        columns_out.push(column);
    }
    check_names(&columns_out)?;
    keeps_names(input, &columns_out)?;
    naming.many |= plan.many;
    naming.of_row |= names && plan.naming == abi::Naming::Row;
    let shape = input.with_columns(columns_out, naming);
    Ok(Plan { requires, outputs: Some(outputs), made: makes, shape, many: plan.many })
}

fn pass(passed: &abi::Passed, input: &Shape) -> Result<(From, ShapeColumn), String> {
    let given = given("passes", passed.column, input)?;
    let of_fact;
    let column = match given {
        Given::Input(place) => &input.columns[place],
        Given::Known(Known::Fact(fact)) => {
            of_fact = shape::fact(fact);
            &of_fact
        }
        Given::Known(Known::Old(place)) => {
            &input.old.iter().find(|old| old.place == place).expect("found by its place above").column
        }
    };
    if *column.field.name() == passed.name {
        return Ok((From::Given(given), column.clone()));
    }
    let field = ArrowField::clone(&column.field).with_name(&passed.name);
    Ok((From::Given(given), ShapeColumn { field: Arc::new(field), is_name: false, ..column.clone() }))
}

/// Whether a column that comes out names documents from here on. A table's own column of such a name, passed by a plugin that
/// may not name anything, is only a column; and one that an earlier stage put out stays what it is.
fn is_named_here(column: &ShapeColumn, from: From, input: &Shape, grants: &Grants) -> bool {
    let name = column.field.name();
    let is_reserved = RESERVED.contains(&name.as_str());
    let is_as_it_was = match from {
        From::Given(Given::Input(place)) => input.columns[place].field.name() == name,
        _ => false,
    };
    is_reserved && !column.is_name && !(is_as_it_was && grants.identity.is_none())
}

fn may_name<'a>(column: &ShapeColumn, from: From, grants: &'a Grants) -> Result<&'a Identity, String> {
    let name = column.field.name();
    let identity = grants.identity.as_ref().ok_or_else(|| {
        let pattern = if name == INDEX { "{ index: \"logs-*\" }" } else { "{}" };
        format!(
            "its plan lets out `{name}`, which says where a document goes: allow that by `grants: {{ identity: {pattern} }}`"
        )
    })?;
    if name == INDEX && identity.index.is_none() {
        return Err(format!(
            "its plan lets out `{name}`, and `grants: {{ identity: … }}` does not say which indices it may name: let it say \
             `index: \"logs-*\"`"
        ));
    }
    if *column.field.data_type() != DataType::Utf8View {
        return Err(format!("its plan lets out `{name}` as {}, and a name is utf8", column.field.data_type()));
    }
    match from {
        From::Given(Given::Known(Known::Old(_) | Known::Fact(Fact::Op | Fact::Lsn | Fact::Time))) => Err(format!(
            "its plan makes `{name}` of what a change brought, and what an update or a delete removes is found by names that are made \
             of the row alone"
        )),
        _ => Ok(identity),
    }
}

/// A name that an earlier stage gave is not lost on the way: its documents would be elsewhere than that stage says.
fn keeps_names(input: &Shape, output: &[ShapeColumn]) -> Result<(), String> {
    let is_kept = |name: &ShapeColumn| output.iter().any(|out| out.is_name && out.field.name() == name.field.name());
    match input.columns.iter().find(|column| column.is_name && !is_kept(column)) {
        Some(column) => Err(format!(
            "it leaves out `{}`, by which an earlier stage names the documents: let it out too, or put this stage first",
            column.field.name()
        )),
        None => Ok(()),
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
