//! Where documents are: ids, indices, routings, and the lines that say so.

use std::collections::HashSet;

use tidemill_change::{Epoch, Kind};

use super::story::{Row, Story, body, encode, encoding, key, relation, told};
use crate::{Encoding, IdRule, LongId};

#[test]
fn the_action_lines_are_these() {
    let relation = relation(&[("id", Kind::Int4), ("tenant", Kind::Text)], &["id", "tenant"]);
    let mut story = Story::of(&relation);
    story.commit(0x16_B374_D848).insert(&[Some("1"), Some("a\"c")]).delete(&[Some("2"), Some("b")]);
    let version = (0x16_B374_D848u64 >> 3) << 9;
    let plain = encode(&encoding(), &[story.staged()]).unwrap();
    assert_eq!(
        body(&plain),
        format!(
            "{{\"index\":{{\"_index\":\"shop\",\"_id\":\"1\",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n\
             {{\"id\":1,\"tenant\":\"a\\\"c\"}}\n\
             {{\"delete\":{{\"_index\":\"shop\",\"_id\":\"2\",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n"
        )
    );
    let all = Encoding {
        index: "{schema}-{table}-{tenant}".parse().unwrap(),
        routing: Some("t{tenant}".parse().unwrap()),
        pipeline: Some("embed".into()),
        epoch: Epoch::new(1).unwrap(),
        ..encoding()
    };
    let version = version | 1 << 59;
    let all = encode(&all, &[story.staged()]).unwrap();
    assert_eq!(
        body(&all),
        format!(
            "{{\"index\":{{\"_index\":\"public-things-a\\\"c\",\"_id\":\"1\",\"routing\":\"ta\\\"c\",\"version\":{version},\
             \"version_type\":\"external_gte\",\"pipeline\":\"embed\"}}}}\n\
             {{\"id\":1,\"tenant\":\"a\\\"c\"}}\n\
             {{\"delete\":{{\"_index\":\"public-things-b\",\"_id\":\"2\",\"routing\":\"tb\",\"version\":{version},\
             \"version_type\":\"external_gte\"}}}}\n"
        )
    );
    assert_eq!(all.actions[0].version.get(), version);
}

fn id(rule: &IdRule, columns: &[(&str, Kind)], row: Row<'_>) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let relation = relation(columns, &names);
    let encoded =
        encode(&Encoding { id: rule.clone(), ..encoding() }, &[Story::of(&relation).insert(row).staged()]).unwrap();
    match encoded.rejected.first() {
        Some(rejected) => format!("{}: {}", rejected.code, rejected.message),
        None => {
            let line: serde_json::Value = serde_json::from_str(body(&encoded).lines().next().unwrap()).unwrap();
            line["index"]["_id"].as_str().unwrap().to_owned()
        }
    }
}

#[test]
fn an_id_is_the_keys_text() {
    for (kind, value, expected) in [
        (Kind::Int8, "-5", "-5"),
        (Kind::Int2, "7", "7"),
        (Kind::Oid, "7", "7"),
        (Kind::Text, "a-b%c \"ü\n", "a-b%c \"ü\n"),
        (Kind::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (Kind::Numeric, "1.50", "1.50"),
        (Kind::Bool, "true", "true"),
        (Kind::Date, "0", "1970-01-01"),
        (Kind::TimestampTz, "1709210096123456", "2024-02-29T12:34:56.123456Z"),
        (Kind::Bytea, "hello?>", "aGVsbG8/Pg=="),
        (Kind::Float8, "0.5", "0.5"),
    ] {
        assert_eq!(id(&key(&["k"]), &[("k", kind)], &[Some(value)]), expected);
    }
}

#[test]
fn defect_4_composite_ids_are_injective() {
    let texts = [("a", Kind::Text), ("b", Kind::Text)];
    let composite = |a, b| id(&key(&["a", "b"]), &texts, &[Some(a), Some(b)]);
    assert_eq!(composite("a-b", "c"), "a%2Db-c");
    assert_eq!(composite("a", "b-c"), "a-b%2Dc");
    assert_eq!(composite("a%2Db", "c"), "a%252Db-c");
    assert_eq!(composite("", ""), "-");
    let numbers = [("a", Kind::Int4), ("b", Kind::Int4), ("c", Kind::Uuid), ("d", Kind::Text)];
    let row = [Some("-1"), Some("-2"), Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), Some("x-y")];
    assert_eq!(id(&key(&["d", "a", "b", "c"]), &numbers, &row), "x%2Dy--1--2-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    let mut seen = HashSet::new();
    for (a, b) in ["", "-", "%", "a", "-a", "a-", "%2D", "2D", "--"]
        .iter()
        .flat_map(|a| ["", "-", "%", "a", "-a", "a-", "%2D", "2D", "--"].iter().map(move |b| (*a, *b)))
    {
        assert!(seen.insert(composite(a, b)), "{a:?} {b:?}");
    }
}

#[test]
fn a_template_of_several_columns_is_guarded_like_a_key() {
    let texts = [("a", Kind::Text), ("b", Kind::Text)];
    let rule = |text: &str| IdRule::Template(text.parse().unwrap());
    assert_eq!(id(&rule("{a}-{b}"), &texts, &[Some("a-b"), Some("c")]), "a%2Db-c");
    assert_eq!(id(&rule("{table}-{a}"), &texts, &[Some("a-b"), Some("c")]), "things-a%2Db");
    assert_eq!(id(&rule("x-{a}"), &texts, &[Some("a-b"), Some("c")]), "x-a-b");
}

/// Whatever joins the columns: two rows are never one document.
#[test]
fn ids_of_templates_are_injective() {
    let rule = |text: &str| IdRule::Template(text.parse().unwrap());
    let texts = [("a", Kind::Text), ("b", Kind::Text)];
    assert_eq!(id(&rule("{a}_{b}"), &texts, &[Some("x_y"), Some("z")]), "x%5Fy_z");
    assert_eq!(id(&rule("x_{a}/{b}_x"), &texts, &[Some("x_y"), Some("/")]), "x_x_y/%2F_x");
    assert_eq!(id(&rule("{a}·{b}"), &texts, &[Some("½"), Some("·z")]), "%C2%BD·%C2%B7z");
    let numbers = [("a", Kind::Numeric), ("b", Kind::Int4)];
    assert_eq!(id(&rule("{a}_{b}"), &numbers, &[Some("-1.5"), Some("-5")]), "-1.5_-5");
    assert_eq!(id(&rule("{a}1{b}"), &numbers, &[Some("1"), Some("15")]), "%311%315");
    let values = ["1", "11", "111", "12", "-1", "31", "1.1", "1.5", "5"];
    let words = ["", "_", "x", "_x", "x_", "%", "%5F", "5F", "-", "1", "·", "é", "½", "__"];
    let of_kind = |kind: Kind| if kind == Kind::Text { words.as_slice() } else { values.as_slice() };
    for joint in ["_", "__", "x", "_x", "1", "-", "-1", "·", ":%", ".", "_1"] {
        for kinds in [
            (Kind::Text, Kind::Text),
            (Kind::Text, Kind::Numeric),
            (Kind::Numeric, Kind::Text),
            (Kind::Numeric, Kind::Numeric),
        ] {
            let columns = [("a", kinds.0), ("b", kinds.1)];
            let mut seen = HashSet::new();
            for (a, b) in of_kind(kinds.0).iter().flat_map(|a| of_kind(kinds.1).iter().map(move |b| (*a, *b))) {
                let id = id(&rule(&format!("{{a}}{joint}{{b}}")), &columns, &[Some(a), Some(b)]);
                assert!(seen.insert(id.clone()), "{joint:?}: {a:?} and {b:?} give {id}");
            }
        }
    }
}

#[test]
fn an_id_that_cannot_be_is_refused() {
    let text = [("k", Kind::Text)];
    assert_eq!(id(&key(&["k"]), &text, &[None]), "id_null: a column that the id is made of is null");
    assert_eq!(id(&key(&["k"]), &text, &[Some("")]), "id_empty: the id is empty");
    assert_eq!(
        id(&key(&["k"]), &text, &[Some(&"ü".repeat(257))]),
        "id_too_long: the id has 514 bytes and the index takes 512: `long_id: hash` shortens such ids"
    );
    // What counts are the id's bytes, not those of its escape in the line.
    assert_eq!(id(&key(&["k"]), &text, &[Some(&"\n".repeat(512))]).len(), 512);
}

#[test]
fn an_index_or_routing_that_cannot_be_is_refused() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id", "t"]);
    let staged = [Story::of(&relation).insert(&[Some("1"), None]).insert(&[Some("2"), Some("")]).staged()];
    let codes = |encoding| {
        let encoded = encode(&encoding, &staged).unwrap();
        encoded.rejected.iter().map(|rejected| rejected.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        codes(Encoding { routing: Some("{t}".parse().unwrap()), ..encoding() }),
        ["routing_null", "routing_empty"]
    );
    assert_eq!(codes(Encoding { index: "{t}".parse().unwrap(), ..encoding() }), ["index_null", "index_empty"]);
}

#[test]
fn a_long_id_can_be_hashed() {
    let relation = relation(&[("k", Kind::Text)], &["k"]);
    let long = "k".repeat(513);
    let mut story = Story::of(&relation);
    story.insert(&[Some(&long)]).commit(0x200).delete(&[Some(&"x".repeat(600))]);
    let encoding = Encoding { id: key(&["k"]), long_id: LongId::Hash, ..encoding() };
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    assert_eq!(
        told(&encoded),
        [
            format!("index sha256:RafH75XDQX6AA2L1Zyq6FtqAcmH-cSHzqBsKD7a5oFw {{\"k\":\"{long}\"}}"),
            "delete sha256:UTCzPmuH-_UxbtkEnpiSTrEQgAvLqq2AUPZC-6bfN8k".into(),
        ]
    );
}

#[test]
fn a_delete_whose_id_no_document_can_have_is_nothing() {
    let relation = relation(&[("k", Kind::Text)], &["k"]);
    let mut story = Story::of(&relation);
    story.delete(&[Some(&"x".repeat(600))]).delete_full(&[None]).delete(&[Some("a")]);
    let encoded = encode(&Encoding { id: key(&["k"]), ..encoding() }, &[story.staged()]).unwrap();
    assert_eq!((told(&encoded), encoded.counts.placeless), (vec!["delete a".to_owned()], 2));
    assert!(encoded.rejected.is_empty());
}

#[test]
fn the_key_tells_documents_and_not_routings() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id", "t"]);
    let encoding = Encoding { routing: Some("{t}".parse().unwrap()), ..encoding() };
    let mut story = Story::of(&relation);
    story.insert(&[Some("2"), Some("a")]).update_key(&[Some("1"), Some("a")], &[Some("1"), Some("b")]);
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    let keys: Vec<_> = encoded.actions.iter().map(|action| action.key).collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[1], keys[2], "both places may be one shard");
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_key_is_the_same_whether_its_index_is_a_name_or_a_template() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id", "t"]);
    let staged = [Story::of(&relation).insert(&[Some("1"), Some("shop")]).staged()];
    let key = |encoding| encode(&encoding, &staged).unwrap().actions[0].key;
    assert_eq!(key(encoding()), key(Encoding { index: "{t}".parse().unwrap(), ..encoding() }));
    assert_ne!(key(encoding()), key(Encoding { index: "other".parse().unwrap(), ..encoding() }));
}

#[test]
fn a_rule_that_does_not_fit_the_table_is_named() {
    let relation = relation(&[("id", Kind::Int4)], &["id"]);
    let staged = [Story::of(&relation).insert(&[Some("1")]).staged()];
    let error = |encoding| encode(&encoding, &staged).unwrap_err().to_string();
    assert_eq!(
        error(Encoding { index: "logs-{tenant}".parse().unwrap(), ..encoding() }),
        "`logs-{tenant}` names the column `tenant`, which public.things does not have: it has `id`"
    );
    assert_eq!(
        error(Encoding { id: key(&["sku"]), ..encoding() }),
        "public.things has no column `sku`, which its key was made of: read its key again"
    );
    assert_eq!(
        error(Encoding { id: IdRule::Key([].into()), ..encoding() }),
        "public.things has no key that ids could be made of: set `id` to a template"
    );
}
