//! The contract's types for native builds, where a plugin's tests run: what `bindings` generates out of the WIT for wasm, so that
//! `cargo test` compiles no generator.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    Boolean,
    Int16,
    Int32,
    Int64,
    Uint32,
    Float32,
    Float64,
    Utf8,
    Binary,
    Date32,
    Timestamp,
    TimestampUtc,
    Time64,
    List,
}

/// One column of a schema.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub data_type: DataType,
    pub extension: Option<String>,
    pub postgres_type: Option<String>,
}

/// What the rows look like when they reach the stage.
#[derive(Clone, Debug)]
pub struct Schema {
    pub namespace: String,
    pub table: String,
    pub key: Vec<String>,
    pub fields: Vec<Field>,
    pub old: Vec<Field>,
}

/// What is known of a row's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Op,
    Lsn,
    Time,
    Namespace,
    Table,
}

/// A column that a stage may have.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Field(u32),
    Fact(Fact),
    Old(u32),
}

/// What names of documents are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Naming {
    Key,
    Row,
}

/// One column's buffers.
#[derive(Clone, Debug)]
pub struct Buffers {
    pub validity: Option<Vec<u8>>,
    pub offsets: Vec<u8>,
    pub values: Vec<u8>,
}

/// A row that cannot become a document.
#[derive(Clone, Debug)]
pub struct Reject {
    pub row: u32,
    pub code: String,
    pub message: String,
}

/// Why a whole batch was not processed.
#[derive(Clone, Debug)]
pub enum Failure {
    Retry(String),
    Fatal(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug)]
pub struct Passed {
    pub column: Source,
    pub name: String,
}

#[derive(Clone, Debug)]
pub enum Output {
    Pass(Passed),
    Make(Vec<Field>),
}
