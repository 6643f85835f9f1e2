//! The contract's types as wasmtime moves them: `wit/0.1/plugin.wit` says what each means.
//!
//! What goes in is borrowed, so that a column's bytes are copied once, into the guest; what comes out is owned.

use wasmtime::component::{ComponentType, Lift, Lower};

pub(crate) const TYPES: &str = "tidemill:plugin/types@0.1.0";
pub(crate) const LOG: &str = "tidemill:plugin/log@0.1.0";
pub(crate) const METRICS: &str = "tidemill:plugin/metrics@0.1.0";
pub(crate) const FILTERING: &str = "tidemill:plugin/filtering@0.1.0";
pub(crate) const TRANSFORMING: &str = "tidemill:plugin/transforming@0.1.0";
/// What the names of all versions begin with.
pub(crate) const PACKAGE: &str = "tidemill:plugin/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum DataType {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "int16")]
    Int16,
    #[component(name = "int32")]
    Int32,
    #[component(name = "int64")]
    Int64,
    #[component(name = "uint32")]
    Uint32,
    #[component(name = "float32")]
    Float32,
    #[component(name = "float64")]
    Float64,
    #[component(name = "utf8")]
    Utf8,
    #[component(name = "binary")]
    Binary,
    #[component(name = "date32")]
    Date32,
    #[component(name = "timestamp")]
    Timestamp,
    #[component(name = "timestamp-utc")]
    TimestampUtc,
    #[component(name = "time64")]
    Time64,
    #[component(name = "list")]
    List,
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(record)]
pub(crate) struct Field {
    pub(crate) name: String,
    #[component(name = "data-type")]
    pub(crate) data_type: DataType,
    pub(crate) extension: Option<String>,
    #[component(name = "postgres-type")]
    pub(crate) postgres_type: Option<String>,
}

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Schema {
    pub(crate) namespace: String,
    pub(crate) table: String,
    pub(crate) key: Vec<String>,
    pub(crate) fields: Vec<Field>,
    pub(crate) old: Vec<Field>,
}

/// What is known of a row's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
#[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "guests make them"))]
pub(crate) enum Fact {
    #[component(name = "op")]
    Op,
    #[component(name = "lsn")]
    Lsn,
    #[component(name = "time")]
    Time,
    #[component(name = "namespace")]
    Namespace,
    #[component(name = "table")]
    Table,
}

/// A column that a stage may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Source {
    #[component(name = "field")]
    Field(u32),
    #[component(name = "fact")]
    Fact(Fact),
    #[component(name = "old")]
    Old(u32),
}

/// What names of documents are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
#[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "guests make them"))]
pub(crate) enum Naming {
    #[component(name = "key")]
    Key,
    #[component(name = "row")]
    Row,
}

/// A column on its way in.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Pushed<'a> {
    pub(crate) validity: Option<&'a [u8]>,
    pub(crate) offsets: &'a [u8],
    pub(crate) values: &'a [u8],
}

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Batch<'a> {
    pub(crate) rows: u32,
    pub(crate) columns: &'a [Pushed<'a>],
}

/// A column on its way out.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Buffers {
    pub(crate) validity: Option<Vec<u8>>,
    pub(crate) offsets: Vec<u8>,
    pub(crate) values: Vec<u8>,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reject {
    pub(crate) row: u32,
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "retry")]
    Retry(String),
    #[component(name = "fatal")]
    Fatal(String),
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct FilterPlan {
    pub(crate) requires: Vec<Source>,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Keep {
    #[component(name = "all")]
    All,
    #[component(name = "none")]
    None,
    #[component(name = "bitmap")]
    Bitmap(Vec<u8>),
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Verdict {
    pub(crate) keep: Keep,
    pub(crate) rejects: Vec<Reject>,
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Passed {
    pub(crate) column: Source,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Output {
    #[component(name = "pass")]
    Pass(Passed),
    #[component(name = "make")]
    Make(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Outputs {
    #[component(name = "columns")]
    Columns(Vec<Output>),
    #[component(name = "documents")]
    Documents(Vec<Output>),
}

#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct TransformPlan {
    pub(crate) requires: Vec<Source>,
    pub(crate) outputs: Outputs,
    pub(crate) many: bool,
    pub(crate) naming: Naming,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Rows {
    #[component(name = "all")]
    All,
    #[component(name = "none")]
    None,
    #[component(name = "bitmap")]
    Bitmap(Vec<u8>),
    #[component(name = "indices")]
    Indices(Vec<u32>),
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Transformed {
    pub(crate) rows: Rows,
    pub(crate) columns: Vec<Buffers>,
    pub(crate) rejects: Vec<Reject>,
}

/// How much a guest's line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
