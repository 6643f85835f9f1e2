//! What a plugin says when it is opened: which columns it needs, and which come out.

use serde::de::DeserializeOwned;

#[cfg(target_arch = "wasm32")]
use crate::bindings::transform::exports::tidemill::plugin::transforming::{Output, Passed};
#[cfg(not(target_arch = "wasm32"))]
use crate::native::{Output, Passed};
use crate::{Column, ColumnType, DataType, Error, Field, Schema};

/// The stage's configuration, a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a>(pub(crate) &'a str);

impl<'a> Config<'a> {
    /// A configuration out of JSON, for tests.
    pub fn new(json: &'a str) -> Config<'a> {
        Config(json)
    }

    /// The configuration as a type of the plugin's own: derive `serde::Deserialize` with `deny_unknown_fields`.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_str(self.0).map_err(|error| format!("the configuration does not fit: {error}").into())
    }

    pub fn value(self) -> Result<serde_json::Value, Error> {
        self.read()
    }

    pub fn text(self) -> &'a str {
        self.0
    }
}

/// The columns that a plugin asked for, in order.
#[derive(Debug)]
struct Requires<'a> {
    schema: &'a Schema,
    places: Vec<u32>,
}

impl<'a> Requires<'a> {
    fn new(schema: &'a Schema) -> Requires<'a> {
        Requires { schema, places: Vec::new() }
    }

    fn find(&self, name: &str) -> Result<usize, Error> {
        self.schema.fields.iter().position(|field| field.name == name).ok_or_else(|| {
            let known: Vec<_> = self.schema.fields.iter().map(|field| format!("`{}`", field.name)).collect();
            let table = format!("{}.{}", self.schema.namespace, self.schema.table);
            format!("no column `{name}` reaches this stage; of {table} there are {}", known.join(", ")).into()
        })
    }

    fn require<T: ColumnType + ?Sized>(&mut self, place: usize) -> Result<Column<T>, Error> {
        let field = &self.schema.fields[place];
        if !T::OF.is_empty() && !T::OF.contains(&field.data_type) {
            let (name, is, wanted) = (&field.name, field.data_type, T::OF[0]);
            return Err(format!("column `{name}` is {}, and {} is needed", type_name(is), type_name(wanted)).into());
        }
        let place = place as u32;
        let at = self.places.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        });
        Ok(Column::at(at))
    }
}

/// A type by the name that the WIT has for it.
pub(crate) fn type_name(of: DataType) -> &'static str {
    match of {
        DataType::Boolean => "boolean",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Uint32 => "uint32",
        DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        DataType::Utf8 => "utf8",
        DataType::Binary => "binary",
        DataType::Date32 => "date32",
        DataType::Timestamp => "timestamp",
        DataType::TimestampUtc => "timestamp-utc",
        DataType::Time64 => "time64",
        DataType::List => "list",
    }
}

/// What a filter needs.
#[derive(Debug)]
pub struct FilterPlan<'a>(Requires<'a>);

impl<'a> FilterPlan<'a> {
    pub fn new(schema: &'a Schema) -> FilterPlan<'a> {
        FilterPlan(Requires::new(schema))
    }

    pub fn schema(&self) -> &'a Schema {
        self.0.schema
    }

    /// Asks for a column by name, with its type checked. Only required columns cross.
    pub fn require<T: ColumnType + ?Sized>(&mut self, name: &str) -> Result<Column<T>, Error> {
        self.0.require(self.0.find(name)?)
    }

    /// The same for a place in the schema's fields.
    pub fn require_at<T: ColumnType + ?Sized>(&mut self, place: usize) -> Result<Column<T>, Error> {
        self.0.require(place)
    }

    /// The places of the required columns, in the order in which a batch brings them, for tests.
    pub fn required(&self) -> &[u32] {
        &self.0.places
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_requires(self) -> Vec<u32> {
        self.0.places
    }
}

/// What a transform needs and what comes out. Columns come out in the order in which `pass` and `make` name them; what is
/// not named is removed. [`documents`](TransformPlan::documents) instead says that whole documents come out.
#[derive(Debug)]
pub struct TransformPlan<'a> {
    requires: Requires<'a>,
    outputs: Vec<Output>,
    documents: bool,
}

impl<'a> TransformPlan<'a> {
    pub fn new(schema: &'a Schema) -> TransformPlan<'a> {
        TransformPlan { requires: Requires::new(schema), outputs: Vec::new(), documents: false }
    }

    pub fn schema(&self) -> &'a Schema {
        self.requires.schema
    }

    /// Asks for a column by name, with its type checked. Only required columns cross.
    pub fn require<T: ColumnType + ?Sized>(&mut self, name: &str) -> Result<Column<T>, Error> {
        self.requires.require(self.requires.find(name)?)
    }

    /// Lets a column out under a name. It does not cross for that.
    pub fn pass_as(&mut self, name: &str, out: impl Into<String>) -> Result<(), Error> {
        let column = self.requires.find(name)? as u32;
        self.outputs.push(Output::Pass(Passed { column, name: out.into() }));
        Ok(())
    }

    pub fn pass(&mut self, name: &str) -> Result<(), Error> {
        self.pass_as(name, name)
    }

    /// Lets out every column but these.
    pub fn pass_all_but(&mut self, names: &[&str]) {
        for (column, field) in self.requires.schema.fields.iter().enumerate() {
            if !names.contains(&field.name.as_str()) {
                self.outputs.push(Output::Pass(Passed { column: column as u32, name: field.name.clone() }));
            }
        }
    }

    /// Adds a column that each answer brings; they are brought in the order of these calls.
    pub fn make(&mut self, name: impl Into<String>, data_type: DataType) {
        let field = Field { name: name.into(), data_type, extension: None, postgres_type: None };
        self.outputs.push(Output::Make(vec![field]));
    }

    /// Each answer brings whole documents, as JSON.
    pub fn documents(&mut self) {
        self.documents = true;
    }

    /// Whether [`documents`](TransformPlan::documents) was said.
    pub fn brings_documents(&self) -> bool {
        self.documents
    }

    /// What is required, and the columns that come out; none for whole documents.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_parts(self) -> (Vec<u32>, Option<Vec<Output>>) {
        (self.requires.places, (!self.documents).then_some(self.outputs))
    }

    /// What comes out as (name, passed column or none), for tests.
    pub fn columns(&self) -> Vec<(&str, Option<&str>)> {
        let field = |place: u32| self.requires.schema.fields[place as usize].name.as_str();
        self.outputs
            .iter()
            .map(|output| match output {
                Output::Pass(passed) => (passed.name.as_str(), Some(field(passed.column))),
                Output::Make(fields) => (fields[0].name.as_str(), None),
            })
            .collect()
    }
}
