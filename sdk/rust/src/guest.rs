//! Between the generated bindings and a plugin's own type: its life in the component.

use std::cell::RefCell;

use crate::bindings::filter::exports::tidemill::plugin::filtering;
use crate::bindings::filter::tidemill::plugin::types;
use crate::bindings::transform::exports::tidemill::plugin::transforming;
use crate::{Batch, Config, Failure, Filter, FilterPlan, Keep, Level, Rows, Schema, Transform, TransformPlan, log};

/// Without WASI a panic traps without a word, so it is logged first.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
}

pub fn open_filter<T: Filter>(
    plugin: &RefCell<Option<T>>,
    config: &str,
    schema: &Schema,
) -> Result<filtering::Plan, String> {
    log_panics();
    let mut plan = FilterPlan::new(schema);
    let opened = T::open(Config(config), &mut plan).map_err(|error| error.to_string())?;
    plugin.replace(Some(opened));
    Ok(filtering::Plan { requires: plan.into_requires() })
}

pub fn process_filter<T: Filter>(
    plugin: &RefCell<Option<T>>,
    batch: types::Batch,
) -> Result<filtering::Verdict, Failure> {
    let mut plugin = plugin.borrow_mut();
    let plugin = plugin.as_mut().ok_or_else(|| Failure::Fatal("process was called before open".to_owned()))?;
    let verdict = plugin.process(&Batch::new(batch.rows as usize, &batch.columns))?;
    let keep = match verdict.keep {
        Keep::All => filtering::Keep::All,
        Keep::None => filtering::Keep::None,
        Keep::Bitmap(bits) => filtering::Keep::Bitmap(bits),
    };
    Ok(filtering::Verdict { keep, rejects: verdict.rejects })
}

pub fn open_transform<T: Transform>(
    plugin: &RefCell<Option<T>>,
    config: &str,
    schema: &Schema,
) -> Result<transforming::Plan, String> {
    log_panics();
    let mut plan = TransformPlan::new(schema);
    let opened = T::open(Config(config), &mut plan).map_err(|error| error.to_string())?;
    plugin.replace(Some(opened));
    Ok(plan.into_guest())
}

pub fn process_transform<T: Transform>(
    plugin: &RefCell<Option<T>>,
    batch: types::Batch,
) -> Result<transforming::Transformed, Failure> {
    let mut plugin = plugin.borrow_mut();
    let plugin = plugin.as_mut().ok_or_else(|| Failure::Fatal("process was called before open".to_owned()))?;
    let out = plugin.process(&Batch::new(batch.rows as usize, &batch.columns))?;
    let rows = match out.rows {
        Rows::All => transforming::Rows::All,
        Rows::None => transforming::Rows::None,
        Rows::Bitmap(bits) => transforming::Rows::Bitmap(bits),
        Rows::Indices(indices) => transforming::Rows::Indices(indices),
    };
    Ok(transforming::Transformed { rows, columns: out.columns, rejects: out.rejects })
}
