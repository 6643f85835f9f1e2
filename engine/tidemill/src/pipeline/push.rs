//! What of a stream's filter Postgres may judge itself while its rows are read for the first time.
//!
//! Only where its verdict cannot be another than the plugin's, and no row can end the COPY with an error: so nothing that may
//! fail, no types but those that are compared alike everywhere, no text that two lexers might read differently. The plugin
//! judges all the same; what this leaves out never crosses the wire.

use tidemill_change::Relation;
use tidemill_expr::Predicate;
use tidemill_sdk::{DataType, Field, FilterPlan, Schema};

/// The conditions for a table's rows: of the filters that stand before all else those up to the first that only the plugin may
/// judge. What comes after that one may not be known sooner: a row that the one makes fail is a dead letter.
pub(super) fn conditions<'a>(filters: &'a [String], relation: &Relation) -> Vec<&'a str> {
    filters.iter().map(String::as_str).take_while(|text| may_be_judged(text, relation)).collect()
}

fn may_be_judged(text: &str, relation: &Relation) -> bool {
    let is_plain = !text.contains(['\\', '$', '\0']) && !text.contains("--") && !text.contains("/*");
    if !is_plain {
        return false;
    }
    let schema = schema(relation);
    let mut plan = FilterPlan::new(&schema);
    let Ok(predicate) = Predicate::bind(text, &schema, &mut plan) else { return false };
    // Letters beyond ASCII in a name that is not quoted are folded by the database's locale.
    let are_plain = plan.required().iter().all(|place| schema.fields[*place as usize].name.is_ascii());
    are_plain && !predicate.can_fail()
}

/// The table as a plugin sees it, with nothing said of types that are not judged here: these can only be null or not.
fn schema(relation: &Relation) -> Schema {
    let fields = relation.columns.iter().map(|column| {
        let (data_type, extension, postgres_type) = match column.type_oid {
            16 => (DataType::Boolean, None, "bool"),
            17 => (DataType::Binary, None, "bytea"),
            20 => (DataType::Int64, None, "int8"),
            21 => (DataType::Int16, None, "int2"),
            23 => (DataType::Int32, None, "int4"),
            25 => (DataType::Utf8, None, "text"),
            700 => (DataType::Float32, None, "float4"),
            701 => (DataType::Float64, None, "float8"),
            1042 => (DataType::Utf8, None, "bpchar"),
            1043 => (DataType::Utf8, None, "varchar"),
            1082 => (DataType::Date32, None, "date"),
            1083 => (DataType::Time64, None, "time"),
            1114 => (DataType::Timestamp, None, "timestamp"),
            1184 => (DataType::TimestampUtc, None, "timestamptz"),
            1700 => (DataType::Utf8, Some("tidemill.numeric"), "numeric"),
            2950 => (DataType::Utf8, None, "uuid"),
            _ => (DataType::Utf8, None, "unknown"),
        };
        let extension = extension.map(str::to_owned);
        Field { name: column.name.clone(), data_type, extension, postgres_type: Some(postgres_type.to_owned()) }
    });
    Schema {
        namespace: relation.schema.clone(),
        table: relation.name.clone(),
        key: Vec::new(),
        fields: fields.collect(),
        old: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use tidemill_change::{Column, Kind, ReplicaIdentity, TableId};

    use super::*;

    #[test]
    fn only_what_cannot_fail_or_differ_is_left_to_postgres() {
        let columns = [("id", 20), ("name", 25), ("price", 1700), ("mood", 99_999), ("j", 3802), ("Zoë", 23)];
        let columns = columns.map(|(name, type_oid)| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            kind: Kind::from_oid(type_oid),
            identity: false,
        });
        let relation = Relation::new(TableId(1), "public", "t", ReplicaIdentity::Default, columns.to_vec());
        let judged = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            conditions(&filters, &relation).len()
        };
        for filter in
            ["id > 5", "name like 'a%' or price is null", "mood is null", "t.price between 1 and 9.5", "name = 'ë'"]
        {
            assert_eq!(judged(&[filter]), 1, "{filter}");
        }
        for filter in [
            "10 / id > 1",
            "id + 1 > 2",
            "name::int4 = 1",
            "mood = 'good'",
            "j ->> 'a' = 'b'",
            "lower(name) = 'a'",
            "name ilike 'a%'",
            "id > 5 -- so",
            "name = E'\\n'",
            "\"Zoë\" = 1",
            "nothing = 1",
        ] {
            assert_eq!(judged(&[filter]), 0, "{filter}");
        }
        assert_eq!(judged(&["id > 5", "name = 'a'", "10 / id > 1", "id < 9"]), 2, "none behind one that may fail");
    }
}
