//! Expressions of the shipped plugins against Postgres' own verdict: random predicates, made from the published table of
//! operators and types, over random rows, which take the way of a backfill (COPY, decode) to the plugin.
//!
//! `TIDEMILL_PREDICATES` says how many (2,000), `TIDEMILL_SEED` where to begin; both are printed where one differs.

mod columns;
mod generate;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use tidemill_change::{ChangeBatch, Column, Commit, Kind, Lsn, Relation, ReplicaIdentity, TableId};
use tidemill_decode::CopyDecoder;
use tidemill_expr::Predicate;
use tidemill_expr::table::{self, Cell, Operator};
use tidemill_sdk::{Batch, Field, FilterPlan, Keep, Schema};
use tidemill_stage::{Chain, Engine, Grants, Limits, Plugin, Stage};

use self::generate::{Made, Random};
use crate::harness::{Sql, World};

/// Rows of one table, and the predicates that are judged over it before another is made.
const ROWS: usize = 40;
const PREDICATES_A_TABLE: usize = 500;
/// Every so many predicates go through the component too, which is the same code.
const THROUGH_COMPONENT: usize = 8;

#[test]
fn the_verdict_is_that_of_postgres_in_every_cell_of_the_table() {
    let number =
        |name: &str, default: u64| std::env::var(name).map_or(default, |value| value.parse().expect("a number"));
    let (count, seed) = (number("TIDEMILL_PREDICATES", 2000), number("TIDEMILL_SEED", 1));
    let world = World::new("predicates");
    world.sql.run(include_str!("predicates/verdicts.sql"));
    let mut run =
        Run { random: Random::new(seed), cells: BTreeMap::new(), wrong: Vec::new(), counts: [0; 4], through: 0 };
    let component = component();
    for from in (0..count as usize).step_by(PREDICATES_A_TABLE) {
        run.table(&world.sql, PREDICATES_A_TABLE.min(count as usize - from), &component);
    }
    let wrong = run.wrong.len();
    assert!(run.wrong.is_empty(), "seed {seed}: {wrong} of {count} differ:\n{}", run.wrong[..wrong.min(30)].join("\n"));
    let verdicts: usize = run.counts.iter().sum();
    assert!(run.counts.iter().all(|count| *count > verdicts / 200), "{:?}", run.counts);
    let few: Vec<_> = run.cells.iter().filter(|(_, cases)| **cases < 50).collect();
    assert!(few.is_empty(), "cells with few cases: {few:?}");
    assert_eq!(run.cells.len(), table::cells().count());
    assert!(run.through > 0);
}

fn component() -> Arc<Plugin> {
    let engine = Engine::new().expect("wasmtime runs here");
    let bytes = include_bytes!("../plugins/shipped/where.wasm");
    Arc::new(Plugin::load(&engine, "where", bytes).expect("the shipped component is a plugin"))
}

struct Run {
    random: Random,
    /// Cases (a predicate and a row) of each cell.
    cells: BTreeMap<(Operator, &'static str), usize>,
    wrong: Vec<String>,
    /// t, f, null, errors.
    counts: [usize; 4],
    through: usize,
}

impl Run {
    fn table(&mut self, sql: &Sql, count: usize, component: &Arc<Plugin>) {
        sql.run(&columns::create(&mut self.random, ROWS));
        let batch = decoded(sql);
        let schema = schema();
        let cells: Vec<_> = table::cells().collect();
        let made: Vec<Made> = (0..count)
            .map(|at| {
                let (operator, of, cell) = cells[(at + self.random.below(3)) % cells.len()];
                generate::predicate(&mut self.random, operator, of, cell == Cell::C)
            })
            .collect();
        let mut asked = String::from("SELECT verdicts(p)::text FROM unnest(ARRAY[");
        for (at, made) in made.iter().enumerate() {
            write!(asked, "{}{}", if at > 0 { "," } else { "" }, quoted(&made.sql)).expect("into a string");
        }
        asked.push_str("]::text[]) WITH ORDINALITY AS a(p, at) ORDER BY at");
        let answers = sql.rows(&asked);
        for (at, (made, answer)) in made.iter().zip(answers).enumerate() {
            let expected: Vec<&str> = answer[0].trim_matches(['{', '}']).split(',').collect();
            self.judge(made, &expected, &batch, &schema);
            if at % THROUGH_COMPONENT == 0 {
                self.through_component(made, &expected, &batch, component);
            }
        }
    }

    fn judge(&mut self, made: &Made, expected: &[&str], batch: &ChangeBatch, schema: &Schema) {
        match verdicts(&made.sql, batch, schema) {
            Err(refused) => {
                // Refused with the code that Postgres gives for every row.
                let is_right =
                    expected.iter().all(|code| code.len() == 5 && refused.contains(&format!("SQLSTATE {code}")));
                if !is_right {
                    self.wrong.push(format!(
                        "{}\n    refused: {refused}\n    Postgres: {}",
                        made.sql,
                        expected[..8].join(" ")
                    ));
                }
                return;
            }
            Ok(is) => {
                for (row, (is, expected)) in is.iter().zip(expected).enumerate() {
                    // What hangs on the locale is not judged.
                    if is != expected && is != "locale" {
                        let row = columns::row(batch, row, &made.sql);
                        self.wrong.push(format!("{}\n    is {is}, and Postgres says {expected}: {row}", made.sql));
                        break;
                    }
                    let kind = match *expected {
                        "t" => 0,
                        "f" => 1,
                        "n" => 2,
                        _ => 3,
                    };
                    self.counts[kind] += 1;
                }
            }
        }
        for cell in &made.cells {
            *self.cells.entry(*cell).or_default() += expected.len();
        }
    }

    fn through_component(&mut self, made: &Made, expected: &[&str], batch: &Arc<ChangeBatch>, plugin: &Arc<Plugin>) {
        let config = serde_json::json!({ "predicate": made.sql });
        let stage = Stage {
            name: "where".into(),
            plugin: Arc::clone(plugin),
            config,
            limits: Limits::default(),
            grants: Grants::default(),
        };
        let Ok(staged) = Chain::new(vec![stage]).run(Arc::clone(batch)) else { return };
        self.through += 1;
        let yes: Vec<u32> = (0..expected.len()).filter(|row| expected[*row] == "t").map(|row| row as u32).collect();
        let doubtful = staged.rejects.iter().any(|reject| reject.code == "locale");
        if staged.of != yes && !doubtful {
            self.wrong.push(format!("{}\n    the component keeps {:?}, and Postgres {yes:?}", made.sql, staged.of));
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table's rows, on the way that a backfill takes.
fn decoded(sql: &Sql) -> Arc<ChangeBatch> {
    let columns = columns::COLUMNS.iter().map(|column| Column {
        name: column.name.to_owned(),
        type_oid: column.oid,
        type_modifier: -1,
        kind: Kind::from_oid(column.oid),
        identity: false,
    });
    let relation = Relation::new(TableId(1), "public", "t", ReplicaIdentity::Full, columns.collect());
    let mut decoder = CopyDecoder::new(Arc::new(relation), Commit { lsn: Lsn(8), xid: 1, time_us: 0 });
    let names: Vec<_> = columns::COLUMNS.iter().map(|column| column.name).collect();
    let body = Bytes::from(sql.copy(&format!("COPY (SELECT {} FROM t ORDER BY id) TO STDOUT", names.join(","))));
    let mut from = 0;
    while from < body.len() {
        let to = from + body[from..].iter().position(|byte| *byte == b'\n').expect("a line ends") + 1;
        decoder.row(&body, from..to).expect("what Postgres writes is read");
        from = to;
    }
    Arc::new(decoder.take())
}

fn schema() -> Schema {
    let field = |column: &columns::Column| Field {
        name: column.name.to_owned(),
        data_type: column.data_type(),
        extension: column.extension().map(str::to_owned),
        postgres_type: Some(column.postgres_type().to_owned()),
    };
    let fields = columns::COLUMNS.iter().map(field).collect();
    Schema { namespace: "public".into(), table: "t".into(), key: vec![], fields, old: vec![] }
}

/// t, f, n or the code, row by row.
fn verdicts(sql: &str, batch: &ChangeBatch, schema: &Schema) -> Result<Vec<String>, String> {
    let rows = batch.rows.num_rows();
    let asked = |sql: &str| {
        let mut plan = FilterPlan::new(schema);
        let predicate =
            Predicate::bind(sql, schema, &mut plan).map_err(|refused| refused.of("predicate", sql).to_string())?;
        let columns = plan.required().iter().map(|place| columns::buffers(&batch.rows, *place)).collect::<Vec<_>>();
        let (keep, rejects) = predicate.keep(&Batch::new(rows, &columns));
        let is_kept = move |row: usize| match &keep {
            Keep::All => true,
            Keep::None => false,
            Keep::Bitmap(bits) => bits[row / 8] >> (row % 8) & 1 == 1,
        };
        Ok::<_, String>((is_kept, rejects))
    };
    let (yes, rejects) = asked(sql)?;
    let (no, _) = asked(&format!("not ({sql})"))?;
    let mut verdicts: Vec<String> = (0..rows)
        .map(|row| match (yes(row), no(row)) {
            (true, true) => "both",
            (true, false) => "t",
            (false, true) => "f",
            (false, false) => "n",
        })
        .map(str::to_owned)
        .collect();
    for reject in rejects {
        verdicts[reject.row as usize] = reject.code;
    }
    Ok(verdicts)
}
