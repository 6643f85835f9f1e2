//! Where columns are asked for: the plan of a filter or of a transform.

use tidemill_sdk::{DataType, Error, Fact, Field, FilterPlan, TransformPlan};

use crate::node::Source;

/// Asks for columns.
pub trait Plan {
    #[doc(hidden)]
    fn require(&mut self, field: &Field) -> Result<Handle, Error>;

    #[doc(hidden)]
    fn require_fact(&mut self, fact: Fact) -> Result<Handle, Error>;
}

/// A column's handle, by its type.
#[derive(Debug)]
pub struct Handle(pub(crate) Source);

macro_rules! plan {
    ($($plan:ident),*) => {$(
        impl Plan for $plan<'_> {
            fn require(&mut self, field: &Field) -> Result<Handle, Error> {
                let name = &field.name;
                Ok(Handle(match field.data_type {
                    DataType::Boolean => Source::Bool($plan::require(self, name)?),
                    DataType::Int16 => Source::Int2($plan::require(self, name)?),
                    DataType::Int32 | DataType::Date32 => Source::Int4($plan::require(self, name)?),
                    DataType::Int64 | DataType::Timestamp | DataType::TimestampUtc | DataType::Time64 => {
                        Source::Int8($plan::require(self, name)?)
                    }
                    DataType::Uint32 => Source::Oid($plan::require(self, name)?),
                    DataType::Float32 => Source::Float4($plan::require(self, name)?),
                    DataType::Float64 => Source::Float8($plan::require(self, name)?),
                    DataType::Utf8 | DataType::Binary => Source::Bytes($plan::require(self, name)?),
                    DataType::List => return Err(format!("column `{name}` is a list, which is not read yet").into()),
                }))
            }

            fn require_fact(&mut self, fact: Fact) -> Result<Handle, Error> {
                Ok(Handle(match fact {
                    Fact::Time => Source::Int8($plan::require_fact(self, fact)?),
                    _ => Source::Bytes($plan::require_fact(self, fact)?),
                }))
            }
        }
    )*};
}

plan!(FilterPlan, TransformPlan);

/// What `change.…` stands for, by the names that expressions have for the facts of a row's change.
pub fn fact(name: &str) -> Option<Fact> {
    Some(match name {
        "op" => Fact::Op,
        "lsn" => Fact::Lsn,
        "time" => Fact::Time,
        "schema" => Fact::Namespace,
        "table" => Fact::Table,
        _ => return None,
    })
}
