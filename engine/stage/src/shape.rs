//! What rows look like between two stages, and the contract's names for Arrow's and Postgres' types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType as Arrow, Field as ArrowField, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit};
use tidemill_change::{
    Column, DOCUMENT, EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC, FACT, Kind, Relation, ReplicaIdentity,
};

use crate::abi::{DataType, Fact, Field, Schema};
use crate::limits::LIST_DEPTH_MAX;

/// What Arrow calls the field of a list's elements.
const ELEMENT: &str = "item";

/// A column on its way through the chain.
#[derive(Clone, Debug)]
pub(crate) struct ShapeColumn {
    pub(crate) field: FieldRef,
    /// The catalog's name of the type; none where a stage made the column.
    pub(crate) postgres_type: Option<Cow<'static, str>>,
    /// It is no part of the documents: a stage that may do so names them by it.
    pub(crate) is_name: bool,
}

/// A column that changes tell of the row before.
#[derive(Clone, Debug)]
pub(crate) struct OldColumn {
    /// Its place in the table.
    pub(crate) place: usize,
    pub(crate) column: ShapeColumn,
}

/// What the stages so far say of names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naming {
    /// What an index has to match that a stage names.
    pub(crate) index_pattern: Option<Arc<str>>,
    /// Names are made of more than the key.
    pub(crate) of_row: bool,
    /// One row may become several documents.
    pub(crate) many: bool,
}

/// The columns of a table's rows, from the table to the document.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    namespace: String,
    table: String,
    key: Vec<String>,
    pub(crate) columns: Vec<ShapeColumn>,
    pub(crate) old: Vec<OldColumn>,
    pub(crate) naming: Naming,
}

impl Shape {
    pub(crate) fn of(relation: &Relation) -> Shape {
        let columns = relation.arrow().fields().iter().zip(&relation.columns).map(|(field, column)| ShapeColumn {
            field: Arc::clone(field),
            postgres_type: Some(postgres_type(column).into()),
            is_name: false,
        });
        let columns: Vec<ShapeColumn> = columns.collect();
        let is_told = |place: usize| match relation.replica_identity {
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
            ReplicaIdentity::Default | ReplicaIdentity::Index => relation.columns[place].identity,
        };
        let old = columns.iter().enumerate().filter(|(place, _)| is_told(*place));
        let old = old.map(|(place, column)| OldColumn { place, column: column.clone() }).collect();
        let key = relation.columns.iter().filter(|column| column.identity).map(|column| column.name.clone());
        Shape {
            namespace: relation.schema.clone(),
            table: relation.name.clone(),
            key: key.collect(),
            columns,
            old,
            naming: Naming::default(),
        }
    }

    pub(crate) fn with_columns(&self, columns: Vec<ShapeColumn>, naming: Naming) -> Shape {
        Shape { columns, naming, ..self.clone() }
    }

    /// What documents consist of, were these columns the last.
    pub(crate) fn documents(&self) -> SchemaRef {
        let fields = self.columns.iter().filter(|column| !column.is_name).map(|column| Arc::clone(&column.field));
        Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()))
    }

    /// Whether a stage brought whole documents, so that there are no columns any more.
    pub(crate) fn is_whole(&self) -> bool {
        self.columns.iter().any(|column| column.field.metadata().contains_key(DOCUMENT))
    }

    /// The place of a column that names documents.
    pub(crate) fn name(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.is_name && column.field.name() == name)
    }

    /// The column at a place of the contract's `fields`, where the parts of nested columns have places too.
    pub(crate) fn column_at(&self, place: u32) -> Option<usize> {
        let mut at = 0;
        self.columns.iter().position(|column| {
            let is_there = at == place as usize;
            at += parts(&column.field);
            is_there
        })
    }

    /// The shape in the contract's words. Every type that decode makes has its place there.
    pub(crate) fn to_guest(&self) -> Result<Schema, String> {
        let fields = |columns: &mut dyn Iterator<Item = &ShapeColumn>| {
            let mut fields = Vec::new();
            for ShapeColumn { field, postgres_type, .. } in columns {
                let fail = |of: &Arrow| format!("column `{}` is {of}, which cannot cross yet", field.name());
                push_fields(field.name(), field, postgres_type.as_deref(), &mut fields).map_err(fail)?;
            }
            Ok::<_, String>(fields)
        };
        Ok(Schema {
            namespace: self.namespace.clone(),
            table: self.table.clone(),
            key: self.key.clone(),
            fields: fields(&mut self.columns.iter())?,
            old: fields(&mut self.old.iter().map(|old| &old.column))?,
        })
    }
}

/// How many fields, and so buffers, a column has in the contract: one, and those of its elements.
pub(crate) fn parts(field: &ArrowField) -> usize {
    match field.data_type() {
        Arrow::List(item) => 1 + parts(item),
        _ => 1,
    }
}

/// A column's field and behind it that of its elements, which has no name.
fn push_fields<'a>(
    name: &str,
    field: &'a ArrowField,
    postgres_type: Option<&str>,
    into: &mut Vec<Field>,
) -> Result<(), &'a Arrow> {
    into.push(Field {
        name: name.to_owned(),
        data_type: data_type(field.data_type()).ok_or(field.data_type())?,
        extension: field.metadata().get(EXTENSION_NAME).cloned(),
        postgres_type: postgres_type.map(str::to_owned),
    });
    match field.data_type() {
        Arrow::List(item) => push_fields("", item, None, into),
        _ => Ok(()),
    }
}

fn data_type(of: &Arrow) -> Option<DataType> {
    Some(match of {
        Arrow::Boolean => DataType::Boolean,
        Arrow::Int16 => DataType::Int16,
        Arrow::Int32 => DataType::Int32,
        Arrow::Int64 => DataType::Int64,
        Arrow::UInt32 => DataType::Uint32,
        Arrow::Float32 => DataType::Float32,
        Arrow::Float64 => DataType::Float64,
        Arrow::Utf8View => DataType::Utf8,
        Arrow::BinaryView => DataType::Binary,
        Arrow::Date32 => DataType::Date32,
        Arrow::Timestamp(TimeUnit::Microsecond, None) => DataType::Timestamp,
        Arrow::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => DataType::TimestampUtc,
        Arrow::Time64(TimeUnit::Microsecond) => DataType::Time64,
        Arrow::List(_) => DataType::List,
        _ => return None,
    })
}

/// The type; a list's is that of its elements, which the next field tells.
fn arrow(of: DataType) -> Option<Arrow> {
    Some(match of {
        DataType::Boolean => Arrow::Boolean,
        DataType::Int16 => Arrow::Int16,
        DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::Uint32 => Arrow::UInt32,
        DataType::Float32 => Arrow::Float32,
        DataType::Float64 => Arrow::Float64,
        DataType::Utf8 => Arrow::Utf8View,
        DataType::Binary => Arrow::BinaryView,
        DataType::Date32 => Arrow::Date32,
        DataType::Timestamp => Arrow::Timestamp(TimeUnit::Microsecond, None),
        DataType::TimestampUtc => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Time64 => Arrow::Time64(TimeUnit::Microsecond),
        DataType::List => return None,
    })
}

/// A column that a guest says it makes: its field, and behind it that of its elements. Inside the engine it has the type that
/// decode would have given it.
pub(crate) fn made(fields: &[Field]) -> Result<ShapeColumn, String> {
    let (field, elements) = fields.split_first().ok_or("it makes a column of no field")?;
    let depth = elements.iter().filter(|element| element.data_type == DataType::List).count();
    if depth >= LIST_DEPTH_MAX {
        return Err(format!("it makes column `{}` of lists in lists, deeper than {LIST_DEPTH_MAX}", field.name));
    }
    let arrow =
        made_field(&field.name, field, elements).map_err(|why| format!("it makes column `{}` {why}", field.name))?;
    Ok(ShapeColumn { field: Arc::new(arrow), postgres_type: None, is_name: false })
}

fn made_field(name: &str, field: &Field, elements: &[Field]) -> Result<ArrowField, String> {
    let of = match (field.data_type, elements) {
        (DataType::List, [element, inner @ ..]) => Arrow::List(Arc::new(made_field(ELEMENT, element, inner)?)),
        (DataType::List, []) => return Err("a list, and tells no field of its elements".to_owned()),
        (of, []) => arrow(of).expect("not a list"),
        (_, [_, ..]) => return Err(format!("of {} fields more than it has parts", elements.len())),
    };
    let arrow = ArrowField::new(name, of, true);
    match field.extension.as_deref() {
        None => Ok(arrow),
        Some(extension @ (EXTENSION_JSON | EXTENSION_NUMERIC)) if field.data_type == DataType::Utf8 => {
            Ok(arrow.with_metadata(HashMap::from([(EXTENSION_NAME.to_owned(), extension.to_owned())])))
        }
        Some(other) => {
            Err(format!("of the extension type `{other}`: there are {EXTENSION_JSON} and {EXTENSION_NUMERIC}, on utf8"))
        }
    }
}

/// The column of whole documents. It has no name: it is all that there is.
pub(crate) fn document() -> ShapeColumn {
    let metadata = [(EXTENSION_NAME, EXTENSION_JSON), (DOCUMENT, "")];
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let field = ArrowField::new("", Arrow::Utf8View, false).with_metadata(metadata);
    ShapeColumn { field: Arc::new(field), postgres_type: None, is_name: false }
}

/// The column of a fact.
pub(crate) fn fact(fact: Fact) -> ShapeColumn {
    let of = match fact {
        Fact::Time => DataType::TimestampUtc,
        Fact::Op | Fact::Lsn | Fact::Namespace | Fact::Table => DataType::Utf8,
    };
    let name = fact_name(fact);
    let field = ArrowField::new(name, arrow(of).expect("no list"), true);
    let field = field.with_metadata(HashMap::from([(FACT.to_owned(), name.to_owned())]));
    ShapeColumn { field: Arc::new(field), postgres_type: None, is_name: false }
}

/// A fact by the name that the contract has for it.
pub(crate) fn fact_name(fact: Fact) -> &'static str {
    match fact {
        Fact::Op => "op",
        Fact::Lsn => "lsn",
        Fact::Time => "time",
        Fact::Namespace => "namespace",
        Fact::Table => "table",
    }
}

fn postgres_type(column: &Column) -> &'static str {
    match (column.kind, column.type_oid) {
        (Kind::Bool, _) => "bool",
        (Kind::Int2, _) => "int2",
        (Kind::Int4, _) => "int4",
        (Kind::Int8, _) => "int8",
        (Kind::Oid, _) => "oid",
        (Kind::Float4, _) => "float4",
        (Kind::Float8, _) => "float8",
        (Kind::Numeric, _) => "numeric",
        (Kind::Text, 18) => "char",
        (Kind::Text, 19) => "name",
        (Kind::Text, 1042) => "bpchar",
        (Kind::Text, 1043) => "varchar",
        (Kind::Text, _) => "text",
        (Kind::Uuid, _) => "uuid",
        (Kind::Json, _) => "json",
        (Kind::Jsonb, _) => "jsonb",
        (Kind::Bytea, _) => "bytea",
        (Kind::Date, _) => "date",
        (Kind::Timestamp, _) => "timestamp",
        (Kind::TimestampTz, _) => "timestamptz",
        (Kind::Time, _) => "time",
        (Kind::Array(_), _) => "array",
        (Kind::Other, oid) => other_type(oid),
    }
}

/// The built-in types that cross as text, by their oid in `pg_type.dat`.
fn other_type(oid: u32) -> &'static str {
    match oid {
        142 => "xml",
        600 => "point",
        601 => "lseg",
        602 => "path",
        603 => "box",
        604 => "polygon",
        628 => "line",
        650 => "cidr",
        718 => "circle",
        774 => "macaddr8",
        790 => "money",
        829 => "macaddr",
        869 => "inet",
        1186 => "interval",
        1266 => "timetz",
        1560 => "bit",
        1562 => "varbit",
        3614 => "tsvector",
        3615 => "tsquery",
        3904 => "int4range",
        3906 => "numrange",
        3908 => "tsrange",
        3910 => "tstzrange",
        3912 => "daterange",
        3926 => "int8range",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_decode_crosses_and_comes_back_as_it_was() {
        let kinds = [
            Kind::Bool,
            Kind::Int2,
            Kind::Int4,
            Kind::Int8,
            Kind::Oid,
            Kind::Float4,
            Kind::Float8,
            Kind::Numeric,
            Kind::Text,
            Kind::Uuid,
            Kind::Json,
            Kind::Jsonb,
            Kind::Bytea,
            Kind::Date,
            Kind::Timestamp,
            Kind::TimestampTz,
            Kind::Time,
            Kind::Other,
        ];
        for kind in kinds {
            let of = kind.arrow();
            assert_eq!(data_type(&of).and_then(arrow), Some(of));
        }
    }
}
