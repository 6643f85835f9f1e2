//! Write Tidemill plugins in Rust.
//!
//! A plugin is a filter (which rows become documents?) or a transform (and what do these consist of?). Where a row at a time will
//! do, it is a function of a typed row and its configuration:
//!
//! ```
//! use tidemill_sdk::{Config, OrReject, Row, RowError};
//!
//! #[derive(Config)]
//! struct Settings {
//!     below: f64,
//! }
//!
//! #[derive(Row)]
//! struct Product<'a> {
//!     price: Option<&'a str>, // numeric is text, so that no digit is lost
//! }
//!
//! fn is_cheap(product: Product<'_>, settings: &Settings) -> Result<bool, RowError> {
//!     let Some(price) = product.price else { return Ok(false) };
//!     let price: f64 = price.parse().or_reject("price", "`price` is no number")?;
//!     Ok(price < settings.below)
//! }
//!
//! tidemill_sdk::filter!(rows: is_cheap);
//! # fn main() {}
//! ```
//!
//! A column of lists, which an earlier stage made, is a `Vec`:
//!
//! ```
//! #[derive(tidemill_sdk::Row)]
//! struct Tagged<'a> {
//!     tags: Vec<Option<&'a str>>,      // a null list refuses the row: `Option<Vec<…>>` takes it in
//!     sizes: Option<Vec<Vec<i32>>>,    // lists in lists
//! }
//!
//! fn is_new(row: Tagged<'_>, _: &()) -> bool {
//!     row.tags.contains(&Some("new")) && row.sizes.is_none_or(|sizes| sizes.concat().iter().sum::<i32>() > 9)
//! }
//!
//! tidemill_sdk::filter!(rows: is_new);
//! # fn main() {}
//! ```
//!
//! A transform's function gives the columns that it makes:
//!
//! ```
//! use tidemill_sdk::{Made, Row};
//!
//! #[derive(Row)]
//! struct Person<'a> {
//!     first: &'a str,
//!     last: &'a str,
//! }
//!
//! #[derive(Made)]
//! struct Names {
//!     full_name: String,
//! }
//!
//! fn full_name(person: Person<'_>, _: &()) -> Names {
//!     Names { full_name: [person.first, " ", person.last].concat() }
//! }
//!
//! tidemill_sdk::transform!(rows: full_name);
//! # fn main() {}
//! ```
//!
//! Where more is to be decided, or a loop is to be fast, it is a type that implements [`Filter`] or [`Transform`]: a function of a
//! batch, whose columns are read in place by typed handles that were asked for when it was opened:
//!
//! ```
//! use tidemill_sdk::{Batch, Column, Config, Error, Failure, Filter, FilterPlan, Verdict};
//!
//! #[derive(Config)]
//! struct Settings {
//!     below: i64,
//! }
//!
//! struct Cheap {
//!     price: Column<i64>,
//!     below: i64,
//! }
//!
//! impl Filter for Cheap {
//!     fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Cheap, Error> {
//!         let settings: Settings = config.typed()?;
//!         Ok(Cheap { price: plan.require("price")?, below: settings.below })
//!     }
//!
//!     fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
//!         let price = batch.column(self.price);
//!         Ok(Verdict::keep((0..batch.rows()).map(|row| price.get(row).is_some_and(|p| p < self.below))))
//!     }
//! }
//!
//! tidemill_sdk::filter!(Cheap);
//! # fn main() {}
//! ```
//!
//! Build it for `wasm32-unknown-unknown` with the linker `wasm-component-ld`, which comes with Rust: what falls out is
//! the component. Natively it is an ordinary crate, so `cargo test` tests it. A panic becomes a message with
//! file and line, which the dead letter of its row shows.

extern crate self as tidemill_sdk;

/// The examples of the page are tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod column;
mod function;
#[cfg(target_arch = "wasm32")]
mod guest;
mod json;
mod make;
#[cfg(not(target_arch = "wasm32"))]
mod native;
mod plan;
mod row;
mod say;
mod setting;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
use bindings::filter::tidemill::plugin::types;
#[cfg(not(target_arch = "wasm32"))]
use native as types;

pub use column::{Batch, Bools, Bytes, Column, ColumnType, List, Lists, Number, Numbers, Texts};
#[doc(hidden)]
pub use function::{BatchFilter, BatchTransform, filter_rows, open_function, plan_function, transform_rows};
pub use function::{Keeps, Makes};
pub use json::Json;
pub use make::{Bits, MakeBytes, MakeNumbers, lists, take};
pub use plan::{Config, FilterPlan, TransformPlan};
#[doc(hidden)]
pub use row::require_in;
pub use row::{Cell, Made, MakeCell, Null, OrReject, Require, Row, RowError};
pub use say::{Level, count, log, set};
pub use setting::{Setting, Settings};
pub use tidemill_sdk_derive::{Config, Made, Row};
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

/// Makes a component of the world `filter`: out of a function of a row, `filter!(rows: FUNCTION)`, or out of a type that
/// implements [`Filter`], a function of a batch, `filter!(TYPE)`.
///
/// The function takes a typed [`Row`] and the configuration (`&()` where there is none), and gives `bool` or
/// `Result<bool, RowError>`. What is made of it is a type called `Plugin`, for tests.
#[macro_export]
macro_rules! filter {
    (rows: $function:path) => {
        /// The filter that keeps the rows of which a function says so.
        pub struct Plugin($crate::BatchFilter);

        impl $crate::Filter for Plugin {
            fn open(config: $crate::Config<'_>, plan: &mut $crate::FilterPlan<'_>) -> Result<Plugin, $crate::Error> {
                let (columns, settings) = $crate::open_function($function, config, plan)?;
                Ok(Plugin(Box::new(move |batch: &$crate::Batch<'_>| {
                    $crate::filter_rows(batch, |row| Ok($function($crate::Row::read(&columns, batch, row)?, &settings)))
                })))
            }

            fn process(&mut self, batch: &$crate::Batch<'_>) -> Result<$crate::Verdict, $crate::Failure> {
                Ok((self.0)(batch))
            }
        }

        $crate::filter!(Plugin);
    };
    ($plugin:ty) => {
        $crate::component!($plugin, filter, filtering, Verdict, open_filter, process_filter, export_filter);
    };
}

/// Makes a component of the world `transform`: out of a function of a row, `transform!(rows: FUNCTION)`, or out of a type
/// that implements [`Transform`], a function of a batch, `transform!(TYPE)`.
///
/// The function takes a typed [`Row`] and the configuration (`&()` where there is none), and gives [`Made`] columns, an `Option` of
/// them (none drops the row), a `Vec` of them (each is a document), or a `Result` of one of these. All columns of the row
/// come out beside them, but those that are made under the same name. What is made of it is a type called `Plugin`, for tests.
#[macro_export]
macro_rules! transform {
    (rows: $function:path) => {
        /// The transform that adds the columns that a function makes.
        pub struct Plugin($crate::BatchTransform);

        impl $crate::Transform for Plugin {
            fn open(config: $crate::Config<'_>, plan: &mut $crate::TransformPlan<'_>) -> Result<Plugin, $crate::Error> {
                let (columns, settings) = $crate::open_function($function, config, plan)?;
                $crate::plan_function($function, plan);
                Ok(Plugin(Box::new(move |batch: &$crate::Batch<'_>| {
                    $crate::transform_rows(batch, |row| {
                        Ok($function($crate::Row::read(&columns, batch, row)?, &settings))
                    })
                })))
            }

            fn process(&mut self, batch: &$crate::Batch<'_>) -> Result<$crate::Transformed, $crate::Failure> {
                Ok((self.0)(batch))
            }
        }

        $crate::transform!(Plugin);
    };
    ($plugin:ty) => {
        $crate::component!(
            $plugin,
            transform,
            transforming,
            Transformed,
            open_transform,
            process_transform,
            export_transform
        );
    };
}

/// What both worlds share: the exported functions, and the plugin's one instance between them.
#[macro_export]
#[doc(hidden)]
macro_rules! component {
    ($plugin:ty, $world:ident, $interface:ident, $answer:ident, $open:ident, $process:ident, $export:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        pub mod __tidemill_component {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<Option<super::__TidemillPlugin>> = const { ::std::cell::RefCell::new(None) };
            }

            use $crate::bindings::$world::exports::tidemill::plugin::$interface as exported;

            struct Component;

            impl exported::Guest for Component {
                fn open(config: String, schema: $crate::Schema) -> Result<exported::Plan, String> {
                    PLUGIN.with(|plugin| $crate::$open(plugin, &config, &schema))
                }

                fn process(batch: exported::Batch) -> Result<exported::$answer, $crate::Failure> {
                    PLUGIN.with(|plugin| $crate::$process(plugin, batch))
                }
            }

            $crate::bindings::$world::$export!(Component with_types_in $crate::bindings::$world);
        }

        #[cfg(target_arch = "wasm32")]
        type __TidemillPlugin = $plugin;
    };
}
