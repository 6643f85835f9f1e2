//! What a plugin says when it is opened: which columns it needs, and which come out.

use serde::de::DeserializeOwned;

#[cfg(target_arch = "wasm32")]
use crate::bindings::transform::exports::tidemill::plugin::transforming::{Output, Outputs, Passed, Plan};
#[cfg(not(target_arch = "wasm32"))]
use crate::native::{Output, Passed};
use crate::say::{listed, said};
use crate::{Column, ColumnType, DataType, Error, Fact, Field, Json, Naming, Schema, Setting, Source};

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

    /// The configuration as a type that derives [`Config`](macro@crate::Config): a component is some 20 KB smaller for it than by
    /// [`read`](Config::read).
    pub fn typed<T: Setting>(self) -> Result<T, Error> {
        T::read(Json::parse(self.0)?)
    }

    pub fn value(self) -> Result<serde_json::Value, Error> {
        self.read()
    }

    pub fn text(self) -> &'a str {
        self.0
    }
}

/// What a column of these fields would have to be; none where it fits.
pub(crate) type Misfit = fn(&[DataType]) -> Option<DataType>;

/// The columns that a plugin asked for, in order.
#[derive(Debug)]
struct Requires<'a> {
    schema: &'a Schema,
    sources: Vec<Source>,
}

impl<'a> Requires<'a> {
    fn new(schema: &'a Schema) -> Requires<'a> {
        Requires { schema, sources: Vec::new() }
    }

    fn find(&self, name: &str) -> Result<Source, Error> {
        let place = place(&self.schema.fields, name).map_err(|known| {
            said(&["no column `", name, "` reaches this stage; of ", &self.table(), " there are ", &known])
        })?;
        Ok(Source::Field(place))
    }

    fn table(&self) -> String {
        said(&[&*self.schema.namespace, ".", &self.schema.table])
    }

    fn find_old(&self, name: &str) -> Result<Source, Error> {
        let place = place(&self.schema.old, name).map_err(|known| {
            said(&["an update of ", &self.table(), " does not tell what `", name, "` was; it tells ", &known])
        })?;
        Ok(Source::Old(place))
    }

    fn require<T: ColumnType + ?Sized>(&mut self, source: Source) -> Result<Column<T>, Error> {
        self.require_fit(source, T::misfit).map(Column::at)
    }

    fn require_fit(&mut self, source: Source, misfit: Misfit) -> Result<usize, Error> {
        let (name, is) = self.named(source);
        if let Some(wanted) = misfit(&is) {
            let is = is.into_iter().map(type_name).collect::<Vec<_>>().join(" of ");
            return Err(said(&["column `", name, "` is ", &is, ", and ", type_name(wanted), " is needed"]).into());
        }
        let known = self.sources.iter().position(|known| same(*known, source));
        let before = &self.sources[..known.unwrap_or(self.sources.len())];
        let at = before.iter().map(|source| self.named(*source).1.len()).sum();
        if known.is_none() {
            self.sources.push(source);
        }
        Ok(at)
    }

    /// A column's name, and its type with those of its elements.
    fn named(&self, source: Source) -> (&'a str, Vec<DataType>) {
        match source {
            Source::Field(place) => named(&self.schema.fields[place as usize..]),
            Source::Old(place) => named(&self.schema.old[place as usize..]),
            Source::Fact(Fact::Time) => ("time", vec![DataType::TimestampUtc]),
            Source::Fact(fact) => (fact_name(fact), vec![DataType::Utf8]),
        }
    }
}

/// A column's place by its name; an error lists those that there are.
fn place(fields: &[Field], name: &str) -> Result<u32, String> {
    match columns(fields).find(|(_, field)| field.name == name) {
        Some((place, _)) => Ok(place),
        None => Err(listed(columns(fields).map(|(_, field)| &*field.name))),
    }
}

/// The fields that are columns, with their places: a list's elements have a field behind it, too.
pub(crate) fn columns(fields: &[Field]) -> impl Iterator<Item = (u32, &Field)> {
    let mut is_element = false;
    (0..).zip(fields).filter(move |(_, field)| {
        let was_element = is_element;
        is_element = field.data_type == DataType::List;
        !was_element
    })
}

/// The name and types of the column that begins there.
fn named(fields: &[Field]) -> (&str, Vec<DataType>) {
    let lists = fields.iter().take_while(|field| field.data_type == DataType::List).count();
    (&fields[0].name, fields[..=lists].iter().map(|field| field.data_type).collect())
}

/// What the bindings generate can be matched, and not compared.
fn same(one: Source, other: Source) -> bool {
    match (one, other) {
        (Source::Field(one), Source::Field(other)) | (Source::Old(one), Source::Old(other)) => one == other,
        (Source::Fact(one), Source::Fact(other)) => one == other,
        _ => false,
    }
}

/// A fact by the name that the WIT has for it.
fn fact_name(fact: Fact) -> &'static str {
    match fact {
        Fact::Op => "op",
        Fact::Lsn => "lsn",
        Fact::Time => "time",
        Fact::Namespace => "namespace",
        Fact::Table => "table",
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

    pub(crate) fn require_fit(&mut self, name: &str, misfit: Misfit) -> Result<usize, Error> {
        self.0.require_fit(self.0.find(name)?, misfit)
    }

    /// The same for a place in the schema's fields.
    pub fn require_at<T: ColumnType + ?Sized>(&mut self, place: usize) -> Result<Column<T>, Error> {
        self.0.require(Source::Field(place as u32))
    }

    /// Asks for a fact of the change that brought each row: `i64` for the time, `str` for the others.
    pub fn require_fact<T: ColumnType + ?Sized>(&mut self, fact: Fact) -> Result<Column<T>, Error> {
        self.0.require(Source::Fact(fact))
    }

    /// Asks for a column of the row as it was before its change.
    pub fn require_old<T: ColumnType + ?Sized>(&mut self, name: &str) -> Result<Column<T>, Error> {
        self.0.require(self.0.find_old(name)?)
    }

    /// The places in the schema's fields of the required columns, in the order in which a batch brings them, for tests.
    pub fn required(&self) -> Vec<u32> {
        let place = |source: &Source| if let Source::Field(place) = source { Some(*place) } else { None };
        self.0.sources.iter().filter_map(place).collect()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn sources(&self) -> &[Source] {
        &self.0.sources
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_requires(self) -> Vec<Source> {
        self.0.sources
    }
}

/// A plan as `testing` looks at it.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) sources: &'a [Source],
    pub(crate) outputs: &'a [Output],
    pub(crate) documents: bool,
    pub(crate) many: bool,
    pub(crate) naming: Naming,
}

/// What a transform needs and what comes out. Columns come out in the order in which `pass` and `make` name them; what is
/// not named is removed. [`documents`](TransformPlan::documents) instead says that whole documents come out.
#[derive(Debug)]
pub struct TransformPlan<'a> {
    requires: Requires<'a>,
    outputs: Vec<Output>,
    documents: bool,
    many: bool,
    naming: Naming,
}

impl<'a> TransformPlan<'a> {
    pub fn new(schema: &'a Schema) -> TransformPlan<'a> {
        TransformPlan {
            requires: Requires::new(schema),
            outputs: Vec::new(),
            documents: false,
            many: false,
            naming: Naming::Row,
        }
    }

    pub fn schema(&self) -> &'a Schema {
        self.requires.schema
    }

    /// Asks for a column by name, with its type checked. Only required columns cross.
    pub fn require<T: ColumnType + ?Sized>(&mut self, name: &str) -> Result<Column<T>, Error> {
        self.requires.require(self.requires.find(name)?)
    }

    /// Asks for a fact of the change that brought each row: `i64` for the time, `str` for the others.
    pub fn require_fact<T: ColumnType + ?Sized>(&mut self, fact: Fact) -> Result<Column<T>, Error> {
        self.requires.require(Source::Fact(fact))
    }

    /// Asks for a column of the row as it was before its change.
    pub fn require_old<T: ColumnType + ?Sized>(&mut self, name: &str) -> Result<Column<T>, Error> {
        self.requires.require(self.requires.find_old(name)?)
    }

    pub(crate) fn require_fit(&mut self, name: &str, misfit: Misfit) -> Result<usize, Error> {
        self.requires.require_fit(self.requires.find(name)?, misfit)
    }

    /// Lets a column out under a name. It does not cross for that.
    pub fn pass_as(&mut self, name: &str, out: impl Into<String>) -> Result<(), Error> {
        let column = self.requires.find(name)?;
        self.outputs.push(Output::Pass(Passed { column, name: out.into() }));
        Ok(())
    }

    /// Lets a fact of the change out as a column.
    pub fn pass_fact(&mut self, fact: Fact, out: impl Into<String>) {
        self.outputs.push(Output::Pass(Passed { column: Source::Fact(fact), name: out.into() }));
    }

    /// Lets a column out as it was before the change.
    pub fn pass_old(&mut self, name: &str, out: impl Into<String>) -> Result<(), Error> {
        let column = self.requires.find_old(name)?;
        self.outputs.push(Output::Pass(Passed { column, name: out.into() }));
        Ok(())
    }

    pub fn pass(&mut self, name: &str) -> Result<(), Error> {
        self.pass_as(name, name)
    }

    /// Lets out every column but these.
    pub fn pass_all_but(&mut self, names: &[&str]) {
        for (column, field) in columns(&self.requires.schema.fields) {
            if !names.contains(&field.name.as_str()) {
                let column = Source::Field(column);
                self.outputs.push(Output::Pass(Passed { column, name: field.name.clone() }));
            }
        }
    }

    /// Adds a column that each answer brings; they are brought in the order of these calls.
    pub fn make(&mut self, name: impl Into<String>, data_type: DataType) {
        let field = Field { name: name.into(), data_type, extension: None, postgres_type: None };
        self.outputs.push(Output::Make(vec![field]));
    }

    /// The same for a column of a type that Arrow tells by its extension: `arrow.json`, `tidemill.numeric`.
    pub fn make_as(&mut self, name: impl Into<String>, data_type: DataType, extension: Option<&str>) {
        let extension = extension.map(str::to_owned);
        self.outputs.push(Output::Make(vec![Field { name: name.into(), data_type, extension, postgres_type: None }]));
    }

    /// The same for a column of JSON, which stands in the document as it is: utf8 without raw newlines.
    pub fn make_json(&mut self, name: impl Into<String>) {
        self.make_as(name, DataType::Utf8, Some("arrow.json"));
    }

    /// Adds a column of lists of this type. Each answer brings its buffers ([`lists`](crate::lists)), then those of the
    /// elements.
    pub fn make_list(&mut self, name: impl Into<String>, elements: DataType) {
        self.make_lists(name, 1, elements, None);
    }

    /// The same so deep, 8 at most, with the extension of the innermost elements: `2` are lists of lists of them. Each answer brings
    /// the buffers of the outermost lists first.
    pub fn make_lists(&mut self, name: impl Into<String>, depth: usize, elements: DataType, extension: Option<&str>) {
        let field = |data_type| Field { name: String::new(), data_type, extension: None, postgres_type: None };
        let mut fields = vec![field(DataType::List); depth];
        fields.push(Field { extension: extension.map(str::to_owned), ..field(elements) });
        fields[0].name = name.into();
        self.outputs.push(Output::Make(fields));
    }

    /// Each answer brings whole documents, as JSON. Of what `pass` and `make` name there may then be only `_id`, `_index` and
    /// `_routing`.
    pub fn documents(&mut self) {
        self.documents = true;
    }

    /// Whether [`documents`](TransformPlan::documents) was said.
    pub fn brings_documents(&self) -> bool {
        self.documents
    }

    /// One row may become several documents, each with an `_id` of its own.
    pub fn many(&mut self) {
        self.many = true;
    }

    /// What names of documents are made of; any columns, unless this says otherwise.
    pub fn naming(&mut self, naming: Naming) {
        self.naming = naming;
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_guest(self) -> Plan {
        let outputs = if self.documents { Outputs::Documents(self.outputs) } else { Outputs::Columns(self.outputs) };
        Plan { requires: self.requires.sources, outputs, many: self.many, naming: self.naming }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn parts(&self) -> Parts<'_> {
        let TransformPlan { requires, outputs, documents, many, naming } = self;
        Parts { sources: &requires.sources, outputs, documents: *documents, many: *many, naming: *naming }
    }

    /// What comes out as (name, passed column or none), for tests.
    pub fn columns(&self) -> Vec<(&str, Option<&str>)> {
        let schema = self.requires.schema;
        let source = |source: Source| match source {
            Source::Field(place) => schema.fields[place as usize].name.as_str(),
            Source::Old(place) => schema.old[place as usize].name.as_str(),
            Source::Fact(fact) => fact_name(fact),
        };
        self.outputs
            .iter()
            .map(|output| match output {
                Output::Pass(passed) => (passed.name.as_str(), Some(source(passed.column))),
                Output::Make(fields) => (fields[0].name.as_str(), None),
            })
            .collect()
    }
}
