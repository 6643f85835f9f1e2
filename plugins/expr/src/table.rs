//! The table of operators and types: what is judged as Postgres judges it. Binding asks it, the documentation is made
//! from it, and the test against a real Postgres makes its predicates from it.

use crate::types::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    Equal,
    Order,
    In,
    Between,
    Distinct,
    Null,
    Truth,
    Like,
    ILike,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Negate,
    Any,
    Get,
    GetText,
    Coalesce,
    Lower,
    Upper,
    Length,
    Join,
    ToText,
    ToInt,
    ToNumeric,
    ToFloat,
    ToBool,
    ToUuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Yes,
    /// Only where `collate "C"` is said.
    C,
    No,
}

/// Every operator, with what it is called.
pub const OPERATORS: [(Operator, &str); 29] = [
    (Operator::Equal, "`=` `<>`"),
    (Operator::Order, "`<` `<=` `>` `>=`"),
    (Operator::In, "`in (…)`"),
    (Operator::Between, "`between`"),
    (Operator::Distinct, "`is distinct from`"),
    (Operator::Null, "`is null`"),
    (Operator::Truth, "`and` `or` `not`, `is true` …"),
    (Operator::Like, "`like`"),
    (Operator::ILike, "`ilike`"),
    (Operator::Add, "`+`"),
    (Operator::Subtract, "`-`"),
    (Operator::Multiply, "`*`"),
    (Operator::Divide, "`/`"),
    (Operator::Modulo, "`%`"),
    (Operator::Negate, "`-x`"),
    (Operator::Any, "`x = any(array)`"),
    (Operator::Get, "`->`"),
    (Operator::GetText, "`->>`"),
    (Operator::Coalesce, "`coalesce`"),
    (Operator::Lower, "`lower`"),
    (Operator::Upper, "`upper`"),
    (Operator::Length, "`length`"),
    (Operator::Join, "`x || text`"),
    (Operator::ToText, "`::text`"),
    (Operator::ToInt, "`::int2` `::int4` `::int8`"),
    (Operator::ToNumeric, "`::numeric`"),
    (Operator::ToFloat, "`::float4` `::float8`"),
    (Operator::ToBool, "`::bool`"),
    (Operator::ToUuid, "`::uuid`"),
];

/// The types that have columns of their own in the table, with what they are called.
pub const TYPES: [(Type, &str); 20] = [
    (Type::Bool, "bool"),
    (Type::Int2, "int2"),
    (Type::Int4, "int4"),
    (Type::Int8, "int8"),
    (Type::Oid, "oid"),
    (Type::Numeric, "numeric"),
    (Type::Float4, "float4"),
    (Type::Float8, "float8"),
    (Type::Text, "text, varchar"),
    (Type::Bpchar, "char(n)"),
    (Type::Name, "name"),
    (Type::Uuid, "uuid"),
    (Type::Bytea, "bytea"),
    (Type::Date, "date"),
    (Type::Timestamp, "timestamp"),
    (Type::TimestampTz, "timestamptz"),
    (Type::Time, "time"),
    (Type::Jsonb, "jsonb"),
    (Type::Json, "json"),
    (Type::Array, "arrays"),
];

/// What an operator does with a value of this type (of `any`, on its left).
pub fn cell(operator: Operator, of: Type) -> Cell {
    use Operator as O;
    let is_json = matches!(of, Type::Json | Type::Jsonb | Type::Array);
    let is_compared = !is_json && of != Type::Other;
    let yes = match operator {
        O::Null => true,
        O::Equal | O::In | O::Distinct => is_compared,
        O::Order | O::Between => {
            if matches!(of, Type::Text | Type::Bpchar) {
                return Cell::C;
            }
            is_compared
        }
        O::Truth => of == Type::Bool,
        O::Like | O::ILike => of.is_text(),
        O::Lower | O::Upper => of.is_text(),
        O::Length => of.is_text() || of == Type::Bytea,
        O::Add | O::Subtract | O::Multiply | O::Divide | O::Negate => of.is_number(),
        O::Modulo => of.is_int() || of == Type::Numeric,
        O::Any => of == Type::Bool || of.is_number() && !of.is_float() || matches!(of, Type::Text | Type::Uuid),
        O::Get | O::GetText => of == Type::Jsonb,
        O::Coalesce => is_compared && of != Type::Name,
        O::Join => matches!(of, Type::Text | Type::Bpchar | Type::Name) || is_spelt(of),
        O::ToText => matches!(of, Type::Text | Type::Bpchar | Type::Name | Type::Jsonb | Type::Bool) || is_spelt(of),
        O::ToInt | O::ToFloat | O::ToNumeric => {
            of.is_number() || of == Type::Text || of == Type::Bool && operator == O::ToInt
        }
        O::ToBool => matches!(of, Type::Bool | Type::Int4 | Type::Text),
        O::ToUuid => matches!(of, Type::Uuid | Type::Text),
    };
    if yes { Cell::Yes } else { Cell::No }
}

/// Types whose text is the same everywhere.
fn is_spelt(of: Type) -> bool {
    of.is_int() || matches!(of, Type::Oid | Type::Numeric | Type::Uuid)
}

/// The cells that are there.
pub fn cells() -> impl Iterator<Item = (Operator, Type, Cell)> {
    let all = OPERATORS.iter().flat_map(|(operator, _)| TYPES.iter().map(|(of, _)| (*operator, *of)));
    all.map(|(operator, of)| (operator, of, cell(operator, of))).filter(|(.., cell)| *cell != Cell::No)
}

/// The table as Markdown: a line an operator, with its types.
pub fn markdown() -> String {
    let mut lines = vec!["| operator | types |".to_owned(), "| --- | --- |".to_owned()];
    for (operator, name) in OPERATORS {
        let types = TYPES.iter().filter_map(|(of, name)| match cell(operator, *of) {
            Cell::Yes => Some((*name).to_owned()),
            Cell::C => Some(format!("{name} with `collate \"C\"`")),
            Cell::No => None,
        });
        let types = types.collect::<Vec<_>>();
        let types = if types.len() == TYPES.len() { "all".to_owned() } else { types.join(", ") };
        lines.push(format!("| {} | {types} |", name.replace('|', "\\|")));
    }
    lines.join("\n") + "\n"
}
