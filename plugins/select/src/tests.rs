use tidemill_sdk::MakeNumbers;

use super::*;

fn schema() -> Schema {
    let field = |name: &str, data_type, of: &str| Field {
        name: name.into(),
        data_type,
        extension: None,
        postgres_type: Some(of.into()),
    };
    let text = |name: &str| field(name, DataType::Utf8, "text");
    let fields = vec![field("id", DataType::Int64, "int8"), text("name"), text("first name"), text("city")];
    Schema { namespace: "public".into(), table: "products".into(), key: vec!["id".into()], fields, old: vec![] }
}

fn open(config: &str) -> Result<String, String> {
    let schema = schema();
    let mut plan = TransformPlan::new(&schema);
    Select::open(Config::new(config), &mut plan).map_err(|error| error.to_string())?;
    let columns = plan.columns();
    Ok(columns.iter().map(|(name, of)| format!("{name}={}", of.unwrap_or("made"))).collect::<Vec<_>>().join(" "))
}

/// Documents, or columns as text, of three rows; columns cross in the order in which they are first named.
fn made(config: &str, columns: &[Buffers]) -> (Vec<String>, Vec<Reject>) {
    let schema = schema();
    let mut plan = TransformPlan::new(&schema);
    let mut select = Select::open(Config::new(config), &mut plan).unwrap();
    let answer = select.process(&Batch::new(3, columns)).unwrap();
    let Buffers { offsets, values, .. } = &answer.columns[0];
    let ends: Vec<usize> = offsets.as_chunks().0.iter().map(|end| u32::from_le_bytes(*end) as usize).collect();
    let texts = ends.windows(2).map(|pair| String::from_utf8(values[pair[0]..pair[1]].to_vec()).unwrap());
    (texts.collect(), answer.rejects)
}

fn ids() -> Buffers {
    MakeNumbers::of([Some(1i64), Some(0), None])
}

fn names() -> Buffers {
    MakeBytes::of([Some("Ann"), None, Some("Bo")])
}

#[test]
fn columns_come_out_in_the_order_of_the_configuration() {
    assert_eq!(open(r#"{"columns": ["city", "name"]}"#).unwrap(), "city=city name=name");
    assert_eq!(open(r#"{"columns": {"z": "name", "a": "first name"}}"#).unwrap(), "z=name a=first name");
    assert_eq!(
        open(r#"{"columns": {"z": "NAME", "a": "\"first name\"", "o": "change.op"}}"#).unwrap(),
        "z=name a=first name o=op"
    );
    assert_eq!(
        open(r#"{"columns": {"id": "id", "full": "name || city", "kind": "'x'", "v": 2, "at.city": "city"}}"#).unwrap(),
        "id=id full=made kind=made v=made at=made"
    );
}

#[test]
fn columns_are_computed() {
    let (texts, rejects) =
        made(r#"{"columns": {"full": "name || ' ' || coalesce(id::text, '?')"}}"#, &[names(), ids()]);
    assert_eq!((texts, rejects.len()), (vec!["Ann 1".into(), String::new(), "Bo ?".into()], 0));
    let (_, rejects) = made(r#"{"columns": {"n": "(10 / id)::text", "m": "10 % id"}}"#, &[ids()]);
    let rejects: Vec<_> = rejects.iter().map(|reject| (reject.row, reject.code.as_str())).collect();
    assert_eq!(rejects, [(1, "22012")]);
}

#[test]
fn names_with_points_make_objects() {
    let (texts, _) = made(r#"{"columns": {"a.name": "name", "a.b.id": "id", "a.b.c": true}}"#, &[names(), ids()]);
    assert_eq!(
        texts,
        [
            r#"{"name":"Ann","b":{"id":1,"c":true}}"#,
            r#"{"name":null,"b":{"id":0,"c":true}}"#,
            r#"{"name":"Bo","b":{"id":null,"c":true}}"#
        ]
    );
}

#[test]
fn names_that_an_earlier_stage_gave_go_through() {
    let mut schema = schema();
    for (name, of) in [("_id", None), ("_routing", None), ("_index", Some("text"))] {
        let postgres_type = of.map(str::to_owned);
        schema.fields.push(Field { name: name.into(), data_type: DataType::Utf8, extension: None, postgres_type });
    }
    for (config, columns, is_whole) in [
        (r#"{"columns": ["name"]}"#, &["name", "_id", "_routing"][..], false),
        (r#"{"columns": {"_id": "name", "v": 1}}"#, &["_id", "v", "_routing"], false),
        (r#"{"columns": {"v": "name"}, "drop_nulls": true}"#, &["_id", "_routing"], true),
        (r#"{"columns": {"v": "id", "_id": "id::text"}, "drop_nulls": true}"#, &["_id", "_routing"], true),
    ] {
        let mut plan = TransformPlan::new(&schema);
        Select::open(Config::new(config), &mut plan).unwrap();
        assert_eq!(plan.columns().iter().map(|(name, _)| *name).collect::<Vec<_>>(), columns, "{config}");
        assert_eq!(plan.brings_documents(), is_whole);
    }
}

#[test]
fn nulls_are_dropped_and_what_they_leave_empty() {
    let config = r#"{"columns": {"id": "id", "who.name": "name"}, "drop_nulls": true}"#;
    let (texts, _) = made(config, &[ids(), names()]);
    assert_eq!(texts, [r#"{"id":1,"who":{"name":"Ann"}}"#, r#"{"id":0}"#, r#"{"who":{"name":"Bo"}}"#]);
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |config, part: &str| {
        let error = open(config).unwrap_err();
        assert!(error.contains(part), "{config}: {error}");
    };
    refused(r#"{"columns": ["nmae"]}"#, "no column `nmae`");
    refused(r#"{"columns": {"title": "nmae"}}"#, "did you mean `name`?");
    refused(r#"{"columns": {"title": "name ||"}}"#, "column 8 of the column `title`:");
    refused(r#"{"columns": {"n": "name + 1"}}"#, "`+` is not there for `name` (text)");
    refused(r#"{"columns": {"o": "change.who"}}"#, "change.op");
    refused(r#"{"columns": ["name", "name"]}"#, "`name` is named twice");
    refused(r#"{"columns": {"a": "id", "a.b": "id"}}"#, "`a.b` is a part of `a`");
    refused(r#"{"columns": {"a..b": "id"}}"#, "an empty part");
    refused(r#"{"columns": {"a": {"b": "id"}}}"#, "`a.part: …`");
    refused(r#"{"columns": []}"#, "is empty");
    refused(r#"{"columns": [1]}"#, "is a list of columns");
    refused(r#"{"columns": ["name"], "column": 1}"#, "no setting `column`");
    refused("[]", "is a list of columns");
}
