//! What `tidemill-sdk` derives: `Row` (typed rows), `Made` (columns that a transform makes) and `Config` (typed configuration).
//!
//! Only structs with named fields, and enums without fields for `Config`. They are taken apart by hand, since a parser of all
//! of Rust would take longer to compile than most plugins.

mod input;

use proc_macro::TokenStream;

use input::{Body, Field, Input};

/// A row of which each field is a column of the same name.
///
/// `&str`, `&[u8]`, `bool` and numbers, a `Vec` of one where the column has lists (of `Vec`s where these have lists), or an `Option` of any
/// of them: a null where there is no `Option` refuses the row.
/// `#[column("first name")]` names the column where it is called otherwise.
#[proc_macro_derive(Row, attributes(column))]
pub fn row(item: TokenStream) -> TokenStream {
    derive(item, write_row)
}

/// Columns that a transform makes, each called as its field is, or as `#[column("first name")]` says.
#[proc_macro_derive(Made, attributes(column))]
pub fn made(item: TokenStream) -> TokenStream {
    derive(item, write_made)
}

/// A stage's configuration, a setting a field. `Option`s may be missing; what has `#[config(default)]` or
/// `#[config(default = EXPRESSION)]` may be too. Other keys are refused by name. An enum without fields is one of its names,
/// in small letters.
#[proc_macro_derive(Config, attributes(config))]
pub fn config(item: TokenStream) -> TokenStream {
    derive(item, write_config)
}

fn derive(item: TokenStream, write: fn(&Input) -> Result<String, String>) -> TokenStream {
    let written = Input::parse(item).and_then(|input| write(&input));
    let written = written.unwrap_or_else(|error| format!("::core::compile_error!({error:?});"));
    written.parse().expect("what is written here is Rust")
}

fn fields<'a>(input: &'a Input, what: &str) -> Result<&'a [Field], String> {
    match &input.body {
        Body::Fields(fields) => Ok(fields),
        Body::Names(_) => Err(format!("{what} is a struct with named fields")),
    }
}

fn write_row(input: &Input) -> Result<String, String> {
    let fields = fields(input, "a row")?;
    let name = &input.name;
    let (generics, lifetime) = match &input.lifetime {
        Some(lifetime) => (format!("<{lifetime}>"), lifetime.as_str()),
        None => (String::new(), "'row"),
    };
    let each = |write: &dyn Fn(usize, &Field) -> String| {
        fields.iter().enumerate().map(|(at, field)| write(at, field)).collect::<String>()
    };
    let of = |field: &Field| format!("<{} as ::tidemill_sdk::Cell<{lifetime}>>", field.of);
    let handles = each(&|_, field| format!("::tidemill_sdk::Column<{}::Column>,", of(field)));
    let requires = each(&|_, field| format!("::tidemill_sdk::require_in(plan, {:?})?,", field.column));
    let reads = each(&|at, field| {
        format!(
            "{}: {}::cell(&batch.column(columns.{at}), row).map_err(|null| ::tidemill_sdk::RowError::null({:?}, null))?,",
            field.name,
            of(field),
            field.column
        )
    });
    Ok(format!(
        "#[automatically_derived]
         impl<{lifetime}> ::tidemill_sdk::Row<{lifetime}> for {name}{generics} {{
             type Columns = ({handles});
             fn require(plan: &mut dyn ::tidemill_sdk::Require) -> ::core::result::Result<Self::Columns, ::tidemill_sdk::Error> {{
                 ::core::result::Result::Ok(({requires}))
             }}
             #[inline]
             fn read(columns: &Self::Columns, batch: &::tidemill_sdk::Batch<{lifetime}>, row: usize)
                 -> ::core::result::Result<Self, ::tidemill_sdk::RowError> {{
                 ::core::result::Result::Ok({name} {{ {reads} }})
             }}
         }}"
    ))
}

fn write_made(input: &Input) -> Result<String, String> {
    let fields = fields(input, "what a transform makes")?;
    if fields.is_empty() {
        return Err("what a transform makes has one field at least".to_owned());
    }
    let name = &input.name;
    let (generics, lifetime) = match &input.lifetime {
        Some(lifetime) => (format!("<{lifetime}>"), format!("<{lifetime}>")),
        None => (String::new(), String::new()),
    };
    let each = |write: &dyn Fn(usize, &Field) -> String| {
        fields.iter().enumerate().map(|(at, field)| write(at, field)).collect::<String>()
    };
    let builders = each(&|_, field| format!("<{} as ::tidemill_sdk::MakeCell>::Column,", field.of));
    let plans = each(&|_, field| {
        format!("plan.make({:?}, <{} as ::tidemill_sdk::MakeCell>::DATA_TYPE);", field.column, field.of)
    });
    let pushes = each(&|at, field| {
        let name = &field.name;
        format!("::tidemill_sdk::MakeCell::push(::core::option::Option::Some(self.{name}), &mut columns.{at});")
    });
    let names = each(&|_, field| format!("{:?},", field.column));
    let finishes = each(&|at, field| format!("<{} as ::tidemill_sdk::MakeCell>::finish(columns.{at}),", field.of));
    Ok(format!(
        "#[automatically_derived]
         impl{generics} ::tidemill_sdk::Made for {name}{lifetime} {{
             type Columns = ({builders});
             const NAMES: &'static [&'static str] = &[{names}];
             fn plan(plan: &mut ::tidemill_sdk::TransformPlan<'_>) {{ {plans} }}
             fn push(self, columns: &mut Self::Columns) {{ {pushes} }}
             fn finish(columns: Self::Columns) -> ::std::vec::Vec<::tidemill_sdk::Buffers> {{ ::std::vec![{finishes}] }}
         }}"
    ))
}

fn write_config(input: &Input) -> Result<String, String> {
    if input.lifetime.is_some() {
        return Err("a configuration owns its texts: String, not &str".to_owned());
    }
    let name = &input.name;
    let body = match &input.body {
        Body::Fields(fields) => {
            let known = fields.iter().map(|field| format!("{:?},", field.column)).collect::<String>();
            let reads = fields.iter().map(|field| {
                let default = match &field.default {
                    None => "::core::option::Option::None".to_owned(),
                    Some(default) => format!("::core::option::Option::Some(|| {default})"),
                };
                format!("{}: settings.take({:?}, {default})?,", field.name, field.column)
            });
            format!(
                "let mut settings = ::tidemill_sdk::Settings::of(json, &[{known}])?;
                 ::core::result::Result::Ok({name} {{ {} }})",
                reads.collect::<String>()
            )
        }
        Body::Names(names) => {
            let known = names.iter().map(|name| format!("{:?},", name.to_lowercase())).collect::<String>();
            let arms = names.iter().enumerate().map(|(at, variant)| format!("{at} => {name}::{variant},"));
            format!(
                "::core::result::Result::Ok(match ::tidemill_sdk::Settings::choice(json, &[{known}])? {{
                     {} _ => ::core::unreachable!() }})",
                arms.collect::<String>()
            )
        }
    };
    Ok(format!(
        "#[automatically_derived]
         impl ::tidemill_sdk::Setting for {name} {{
             fn read(json: ::tidemill_sdk::Json) -> ::core::result::Result<Self, ::tidemill_sdk::Error> {{ {body} }}
         }}"
    ))
}
