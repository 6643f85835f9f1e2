//! Write Tidemill plugins in Rust.
//!
//! A plugin is a type that implements [`Filter`] (which rows become documents?) or [`Transform`] (and what do these consist
//! of?), handed to [`filter!`] or [`transform!`]. It gets whole batches and reads columns by typed handles that it asked
//! for when it was opened:
//!
//! ```
//! use tidemill_sdk::{Batch, Column, Config, Error, Failure, Filter, FilterPlan, Verdict};
//!
//! struct Cheap {
//!     price: Column<i64>,
//!     below: i64,
//! }
//!
//! impl Filter for Cheap {
//!     fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Cheap, Error> {
//!         let below = config.value()?["below"].as_i64().ok_or("`below` must be a whole number")?;
//!         Ok(Cheap { price: plan.require("price")?, below })
//!     }
//!
//!     fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
//!         let price = batch.column(self.price);
//!         Ok(Verdict::keep((0..batch.rows()).map(|row| price.get(row).is_some_and(|p| p < self.below))))
//!     }
//! }
//!
//! tidemill_sdk::filter!(Cheap);
//! ```
//!
//! Build it for `wasm32-unknown-unknown` with the linker `wasm-component-ld`, which comes with Rust: what falls out is
//! the component. Natively it is an ordinary crate, so `cargo test` tests it. A panic is logged with its place
//! before it traps.

mod column;
#[cfg(target_arch = "wasm32")]
mod guest;
mod make;
#[cfg(not(target_arch = "wasm32"))]
mod native;
mod plan;
mod say;

#[cfg(target_arch = "wasm32")]
use bindings::filter::tidemill::plugin::types;
#[cfg(not(target_arch = "wasm32"))]
use native as types;

pub use column::{Batch, Bools, Bytes, Column, ColumnType, List, Lists, Number, Numbers, Texts};
pub use make::{Bits, MakeBytes, MakeNumbers, lists};
pub use plan::{Config, FilterPlan, TransformPlan};
pub use say::{Level, count, log, set};
pub use types::{Buffers, DataType, Fact, Failure, Field, Naming, Reject, Schema, Source};

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings {
    pub mod filter {
        wit_bindgen::generate!({
            path: "../../wit/0.1",
            world: "filter",
            pub_export_macro: true,
            export_macro_name: "export_filter",
            default_bindings_module: "tidemill_sdk::bindings::filter",
        });
    }

    pub mod transform {
        wit_bindgen::generate!({
            path: "../../wit/0.1",
            world: "transform",
            pub_export_macro: true,
            export_macro_name: "export_transform",
            default_bindings_module: "tidemill_sdk::bindings::transform",
            with: {
                "tidemill:plugin/types@0.1.0": crate::bindings::filter::tidemill::plugin::types,
                "tidemill:plugin/log@0.1.0": crate::bindings::filter::tidemill::plugin::log,
                "tidemill:plugin/metrics@0.1.0": crate::bindings::filter::tidemill::plugin::metrics,
            },
        });
    }
}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use guest::{open_filter, open_transform, process_filter, process_transform};

/// Says which rows become documents.
pub trait Filter: Sized + 'static {
    /// Called once, with the stage's configuration; asks the plan for columns. An error is shown to whoever wrote the
    /// configuration, so it names what is wrong and the way out.
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Self, Error>;

    fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure>;
}

/// Says which rows become documents, and what these consist of.
pub trait Transform: Sized + 'static {
    /// As in [`Filter::open`]; the plan also says which columns come out.
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Self, Error>;

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure>;
}

/// What [`Filter::process`] answers.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub keep: Keep,
    pub rejects: Vec<Reject>,
}

/// Which rows stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    All,
    None,
    /// A bit a row, least significant first.
    Bitmap(Vec<u8>),
}

impl Verdict {
    /// Keeps the rows for which the iterator, one item a row, says true.
    pub fn keep(rows: impl IntoIterator<Item = bool>) -> Verdict {
        Verdict { keep: rows.into_iter().collect::<Bits>().into_keep(), rejects: Vec::new() }
    }
}

impl From<Keep> for Verdict {
    fn from(keep: Keep) -> Verdict {
        Verdict { keep, rejects: Vec::new() }
    }
}

/// What [`Transform::process`] answers.
#[derive(Clone, Debug)]
pub struct Transformed {
    pub rows: Rows,
    /// The made columns in the plan's order, a row for each that comes out; where the plan says documents, these before them: one
    /// JSON object for each row that comes out.
    pub columns: Vec<Buffers>,
    pub rejects: Vec<Reject>,
}

/// The rows that come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    All,
    None,
    /// A bit a row, least significant first.
    Bitmap(Vec<u8>),
    /// For each row that comes out the one that it is made from.
    Indices(Vec<u32>),
}

impl Transformed {
    /// All rows come out, with these made columns.
    pub fn all(columns: Vec<Buffers>) -> Transformed {
        Transformed { rows: Rows::All, columns, rejects: Vec::new() }
    }
}

/// Why a plugin cannot be opened. Made from any message or error, so `?` works.
pub type Error = Box<dyn std::error::Error>;

/// Makes a component of the world `filter` out of a type that implements [`Filter`].
#[macro_export]
macro_rules! filter {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        pub mod __tidemill_component {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<Option<super::__TidemillPlugin>> = const { ::std::cell::RefCell::new(None) };
            }

            use $crate::bindings::filter::exports::tidemill::plugin::filtering as exported;

            struct Component;

            impl exported::Guest for Component {
                fn open(config: String, schema: $crate::Schema) -> Result<exported::Plan, String> {
                    PLUGIN.with(|plugin| $crate::open_filter(plugin, &config, &schema))
                }

                fn process(batch: exported::Batch) -> Result<exported::Verdict, $crate::Failure> {
                    PLUGIN.with(|plugin| $crate::process_filter(plugin, batch))
                }
            }

            $crate::bindings::filter::export_filter!(Component with_types_in $crate::bindings::filter);
        }

        #[cfg(target_arch = "wasm32")]
        type __TidemillPlugin = $plugin;
    };
}

/// Makes a component of the world `transform` out of a type that implements [`Transform`].
#[macro_export]
macro_rules! transform {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        pub mod __tidemill_component {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<Option<super::__TidemillPlugin>> = const { ::std::cell::RefCell::new(None) };
            }

            use $crate::bindings::transform::exports::tidemill::plugin::transforming as exported;

            struct Component;

            impl exported::Guest for Component {
                fn open(config: String, schema: $crate::Schema) -> Result<exported::Plan, String> {
                    PLUGIN.with(|plugin| $crate::open_transform(plugin, &config, &schema))
                }

                fn process(batch: exported::Batch) -> Result<exported::Transformed, $crate::Failure> {
                    PLUGIN.with(|plugin| $crate::process_transform(plugin, batch))
                }
            }

            $crate::bindings::transform::export_transform!(Component with_types_in $crate::bindings::transform);
        }

        #[cfg(target_arch = "wasm32")]
        type __TidemillPlugin = $plugin;
    };
}
