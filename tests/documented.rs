//! What docs/where.md and docs/select.md show is what happens.

use std::fmt::Write;

use serde_json::{Value, json};
use tidemill_expr::table;

use crate::harness::World;

const WHERE: &str = include_str!("../docs/where.md");
const SELECT: &str = include_str!("../docs/select.md");

/// The statements of a page, and the two cells of each line of its table of examples, without their ticks.
fn page(page: &str, head: &str) -> (String, Vec<(String, String)>) {
    let (_, sql) = page.split_once("```sql\n").unwrap();
    let (sql, _) = sql.split_once("```").unwrap();
    let (_, lines) = page.split_once(head).unwrap();
    let lines = lines.lines().skip(2).take_while(|line| line.starts_with('|')).map(|line| {
        let (left, right) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        let cell = |cell: &str| cell.trim_matches(['`', ' ']).replace("\\|", "|");
        (cell(left), cell(right))
    });
    (sql.to_owned(), lines.collect())
}

#[test]
fn the_examples_of_where_and_select() {
    let world = World::new("documented");
    let (items, predicates) = page(WHERE, "| `where:` | rows |");
    let (people, columns) = page(SELECT, "| `columns:` | document |");
    assert!(predicates.len() > 9 && columns.len() > 7);
    world.sql.run(&items);
    world.sql.run(&people);
    let mut streams = "streams:\n".to_owned();
    for (at, (predicate, _)) in predicates.iter().enumerate() {
        writeln!(
            streams,
            "  - {{ name: w{at}, from: public.items, where: {}, columns: [id], index: w{at} }}",
            json!(predicate)
        )
        .unwrap();
    }
    for (at, (columns, _)) in columns.iter().enumerate() {
        writeln!(streams, "  - {{ name: s{at}, from: public.people, columns: {columns}, index: s{at} }}").unwrap();
    }
    let nulls = "{ columns: { id: id, address.zip: zip, at.city: city, at.zip: zip }, drop_nulls: true }";
    writeln!(streams, "  - {{ name: n, from: public.people, stages: [{{ plugin: select, config: {nulls} }}] }}")
        .unwrap();
    writeln!(streams, "  - {{ name: e, from: public.items, where: 21 / sold > 0 }}").unwrap();
    world.config(&streams);
    world.catch_up();
    for (at, (predicate, rows)) in predicates.iter().enumerate() {
        let kept: Vec<String> = world.documents(&format!("w{at}")).into_keys().collect();
        assert_eq!(kept.join(" "), *rows, "{predicate}");
    }
    for (at, (columns, document)) in columns.iter().enumerate() {
        let documents: Vec<Value> = world.documents(&format!("s{at}")).into_values().collect();
        let expected: Value = serde_json::from_str(document).unwrap();
        assert_eq!(documents, [expected], "{columns}");
    }
    assert_eq!(world.documents("n")["7"], json!({ "id": 7, "at": { "city": "Oslo" } }));
    // The second row sold nothing.
    assert_eq!(world.documents("e").into_keys().collect::<Vec<_>>(), ["1", "3"]);
    let letters = world.tidemill(&["dead-letters", "list", "--json"]);
    assert!(letters.stdout.contains("22012"), "{}", letters.stdout);
}

#[test]
fn the_page_shows_the_table_that_is_judged_by() {
    assert!(WHERE.contains(&table::markdown()), "docs/where.md should hold:\n{}", table::markdown());
}
