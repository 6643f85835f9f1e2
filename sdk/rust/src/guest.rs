//! Between the generated bindings and a plugin's own type: its life in the component, and what it may call.

use std::cell::RefCell;

use crate::bindings::filter::exports::tidemill::plugin::filtering;
use crate::bindings::filter::tidemill::plugin::types;
use crate::bindings::transform::exports::tidemill::plugin::transforming;
use crate::{Batch, Config, Content, Failure, Filter, FilterPlan, Keep, Rows, Schema, Transform, TransformPlan};

pub use crate::bindings::filter::tidemill::plugin::log::Level;

/// Writes a line for the operator. Never put row values or secrets into it.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter of the plugin's own.
pub fn count(name: &str, add: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::metrics::count(name, add);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, add);
}

/// Sets a gauge of the plugin's own.
pub fn set(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::filter::tidemill::plugin::metrics::set(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, value);
}

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
    let (requires, outputs) = plan.into_parts();
    Ok(transforming::Plan { requires, outputs })
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
    let content = match out.content {
        Content::Columns(columns) => transforming::Content::Columns(columns),
        Content::Documents(documents) => transforming::Content::Documents(documents),
    };
    Ok(transforming::Transformed { rows, content, rejects: out.rejects })
}
