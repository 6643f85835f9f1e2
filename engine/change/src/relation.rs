use std::collections::HashMap;
use std::fmt;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table's oid: what stays when the table is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What Postgres sends of a row's old image, as `pg_class.relreplident` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    Default,
    Nothing,
    Full,
    Index,
}

impl ReplicaIdentity {
    pub fn from_code(code: u8) -> Option<ReplicaIdentity> {
        Some(match code {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            _ => return None,
        })
    }
}

/// The metadata key under which Arrow keeps the name of an extension type.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
/// A text column that holds JSON (Arrow's canonical name).
pub const EXTENSION_JSON: &str = "arrow.json";
/// A text column that holds a number's digits as Postgres wrote them.
pub const EXTENSION_NUMERIC: &str = "tidemill.numeric";

/// The metadata key of a column that holds a fact of the change: its value is the fact's name in the plugin contract.
pub const FACT: &str = "tidemill.fact";

/// The metadata key of a column whose texts are whole documents, each a JSON object: there is no other beside it.
pub const DOCUMENT: &str = "tidemill.document";

/// How a Postgres type crosses the engine. Each has one Arrow type; all that has none of its own crosses as the text that
/// Postgres writes.
///
/// Infinite dates and times are the extreme values of their Arrow type, as inside Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// Text: every digit is kept, and `NaN`, `Infinity`, `-Infinity` are told.
    Numeric,
    Text,
    Uuid,
    /// Text that decode validated and compacted.
    Json,
    /// Text as Postgres wrote it: always valid JSON without raw newlines.
    Jsonb,
    Bytea,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    /// An array of any depth, crossing as JSON text; the element's own kind says how elements are written.
    Array(ElementKind),
    /// Any other type, as its text.
    Other,
}

/// How an array's elements stand in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementKind {
    Bool,
    /// Digits as they are: int2, int4, int8, oid, numeric, float4, float8 (what is not finite: a string).
    Number,
    Json,
    Text,
}

impl Kind {
    /// The kind of a built-in type by its oid (`pg_type.dat`); anything else is [`Kind::Other`] until the catalog tells more.
    pub fn from_oid(oid: u32) -> Kind {
        use ElementKind as E;
        match oid {
            16 => Kind::Bool,
            17 => Kind::Bytea,
            20 => Kind::Int8,
            21 => Kind::Int2,
            23 => Kind::Int4,
            26 => Kind::Oid,
            700 => Kind::Float4,
            701 => Kind::Float8,
            1700 => Kind::Numeric,
            18 | 19 | 25 | 1042 | 1043 => Kind::Text,
            2950 => Kind::Uuid,
            114 => Kind::Json,
            3802 => Kind::Jsonb,
            1082 => Kind::Date,
            1114 => Kind::Timestamp,
            1184 => Kind::TimestampTz,
            1083 => Kind::Time,
            1000 => Kind::Array(E::Bool),
            1005 | 1007 | 1016 | 1021 | 1022 | 1028 | 1231 => Kind::Array(E::Number),
            199 | 3807 => Kind::Array(E::Json),
            1002 | 1003 | 1009 | 1014 | 1015 | 2951 => Kind::Array(E::Text),
            _ => Kind::Other,
        }
    }

    pub fn arrow(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Oid => DataType::UInt32,
            Kind::Float4 => DataType::Float32,
            Kind::Float8 => DataType::Float64,
            Kind::Bytea => DataType::BinaryView,
            Kind::Date => DataType::Date32,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
            Kind::Numeric | Kind::Text | Kind::Uuid | Kind::Json | Kind::Jsonb | Kind::Array(_) | Kind::Other => {
                DataType::Utf8View
            }
        }
    }

    fn extension(self) -> Option<&'static str> {
        match self {
            Kind::Json | Kind::Jsonb | Kind::Array(_) => Some(EXTENSION_JSON),
            Kind::Numeric => Some(EXTENSION_NUMERIC),
            _ => None,
        }
    }
}

/// A column as the relation message or the catalog gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    /// The type's modifier (`atttypmod`), -1 where there is none.
    pub type_modifier: i32,
    pub kind: Kind,
    /// Part of the replica identity: an old key carries it.
    pub identity: bool,
}

/// A table's shape at one moment of the stream. Batches never mix two.
#[derive(Clone, Debug)]
pub struct Relation {
    pub id: TableId,
    pub schema: String,
    pub name: String,
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<Column>,
    arrow: SchemaRef,
}

impl Relation {
    pub fn new(
        id: TableId,
        schema: impl Into<String>,
        name: impl Into<String>,
        replica_identity: ReplicaIdentity,
        columns: Vec<Column>,
    ) -> Relation {
        let fields = columns.iter().map(|column| {
            // Every field is nullable: a key-only old image has nulls in all other columns.
            let field = Field::new(&column.name, column.kind.arrow(), true);
            match column.kind.extension() {
                Some(name) => field.with_metadata(HashMap::from([(EXTENSION_NAME.to_owned(), name.to_owned())])),
                None => field,
            }
        });
        let arrow = Schema::new(fields.collect::<Vec<_>>()).into();
        Relation { id, schema: schema.into(), name: name.into(), replica_identity, columns, arrow }
    }

    /// One field for each column, in order; both the new and the old images have this schema.
    pub fn arrow(&self) -> &SchemaRef {
        &self.arrow
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl PartialEq for Relation {
    fn eq(&self, other: &Relation) -> bool {
        (self.id, &self.schema, &self.name, self.replica_identity, &self.columns)
            == (other.id, &other.schema, &other.name, other.replica_identity, &other.columns)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_has_one_field_a_column() {
        let column = |name: &str, oid| Column {
            name: name.into(),
            type_oid: oid,
            type_modifier: -1,
            kind: Kind::from_oid(oid),
            identity: name == "id",
        };
        let columns = vec![column("id", 20), column("price", 1700), column("tags", 1009), column("shape", 603)];
        let relation = Relation::new(TableId(1), "public", "products", ReplicaIdentity::Default, columns);
        let kinds: Vec<_> = relation.arrow().fields().iter().map(|f| f.data_type().clone()).collect();
        assert_eq!(kinds, [DataType::Int64, DataType::Utf8View, DataType::Utf8View, DataType::Utf8View]);
        assert_eq!(relation.arrow().field(1).metadata()[EXTENSION_NAME], EXTENSION_NUMERIC);
        assert_eq!(relation.arrow().field(2).metadata()[EXTENSION_NAME], EXTENSION_JSON);
        assert!(relation.arrow().field(3).metadata().is_empty());
        assert_eq!((relation.to_string().as_str(), relation.column("tags")), ("public.products", Some(2)));
    }
}
