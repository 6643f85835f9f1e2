//! Rows made for a table: of every type something that Postgres could have written, the same at each run. One value in sixteen is
//! null; keys ascend.

use tidemill_change::{ElementKind, Kind, Op};

use super::row::{Cell, RowChange};
use super::table::Table;

const WORDS: [&str; 24] = [
    "red", "blue", "green", "walnut", "oak", "steel", "linen", "large", "small", "round", "folding", "outdoor",
    "chair", "table", "lamp", "shoe", "jacket", "bottle", "café", "Straße", "winter", "summer", "für", "2026",
];

pub(super) fn made(table: &Table, count: usize) -> Vec<RowChange> {
    let types = table.types();
    let keys = table.key_places();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut row = |at: usize| {
        let cells = types.iter().enumerate().map(|(place, of)| {
            if keys.contains(&place) {
                return Cell::Text(key(of.kind, at));
            }
            if dice.below(16) == 0 {
                return Cell::Null;
            }
            Cell::Text(value(of.kind, &mut dice))
        });
        RowChange { op: Op::Insert, row: cells.collect(), old: None, commit: None }
    };
    (0..count).map(&mut row).collect()
}

/// A value of a key: another one for each row, as far as its type has so many.
fn key(kind: Kind, at: usize) -> String {
    match kind {
        Kind::Int2 => (at % 32_768).to_string(),
        Kind::Uuid => format!("00000000-0000-4000-8000-{at:012x}"),
        Kind::Int4 | Kind::Int8 | Kind::Oid | Kind::Numeric | Kind::Float4 | Kind::Float8 => at.to_string(),
        Kind::Text | Kind::Other => format!("key-{at}"),
        other => value(other, &mut Dice(0x9e37_79b9_7f4a_7c15 ^ (at as u64 + 1))),
    }
}

/// A value's text, as Postgres writes it.
fn value(kind: Kind, dice: &mut Dice) -> String {
    match kind {
        Kind::Bool => ["t", "f"][dice.below(2)].to_owned(),
        Kind::Int2 => dice.below(30_000).to_string(),
        Kind::Int4 => dice.below(2_000_000_000).to_string(),
        Kind::Int8 => (dice.next() >> 8).to_string(),
        Kind::Oid => (16_384 + dice.below(1_000_000)).to_string(),
        Kind::Float4 | Kind::Float8 => format!("{}.{}", dice.below(10_000), 1 + dice.below(9)),
        Kind::Numeric => format!("{}.{:02}", dice.below(10_000), dice.below(100)),
        Kind::Text | Kind::Other => words(dice),
        Kind::Uuid => {
            let (high, low) = (dice.next(), dice.next());
            let part =
                |of: u64, from: u32, digits: usize| format!("{:0digits$x}", (of >> from) & ((1 << (4 * digits)) - 1));
            [part(high, 32, 8), part(high, 16, 4), part(high, 0, 4), part(low, 48, 4), part(low, 0, 12)].join("-")
        }
        Kind::Json | Kind::Jsonb => format!(r#"{{"word": "{}", "n": {}}}"#, word(dice), dice.below(1000)),
        Kind::Bytea => format!("\\x{:016x}", dice.next()),
        Kind::Date => date(dice),
        Kind::Timestamp => format!("{} {}", date(dice), time(dice)),
        Kind::TimestampTz => format!("{} {}+00", date(dice), time(dice)),
        Kind::Time => time(dice),
        Kind::Array(of) => {
            let item = |dice: &mut Dice| match of {
                ElementKind::Bool => "t".to_owned(),
                ElementKind::Number => dice.below(1000).to_string(),
                ElementKind::Text => word(dice).to_owned(),
                ElementKind::Json => format!(r#""{{\"n\": {}}}""#, dice.below(1000)),
            };
            let items: Vec<_> = (0..dice.below(4)).map(|_| item(dice)).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn word(dice: &mut Dice) -> &'static str {
    WORDS[dice.below(WORDS.len())]
}

fn words(dice: &mut Dice) -> String {
    let count = 1 + dice.below(8);
    (0..count).map(|_| word(dice)).collect::<Vec<_>>().join(" ")
}

fn date(dice: &mut Dice) -> String {
    format!("20{:02}-{:02}-{:02}", 10 + dice.below(20), 1 + dice.below(12), 1 + dice.below(28))
}

fn time(dice: &mut Dice) -> String {
    format!("{:02}:{:02}:{:02}.{:06}", dice.below(24), dice.below(60), dice.below(60), dice.below(1_000_000))
}

/// Numbers that look random and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Feeder;
    use super::*;

    #[test]
    fn made_rows_of_every_type_can_be_read() {
        let kinds = super::super::table::kind_names();
        let columns = kinds.map(|kind| format!(r#"{{"name": "c_{kind}", "type": "own", "kind": "{kind}"}}"#));
        let columns: Vec<_> = columns.collect();
        let table = Table::parse(&format!(
            r#"{{"table": "t", "columns": [{{"name": "id", "type": "bigint"}}, {}]}}"#,
            columns.join(",")
        ))
        .unwrap();
        let batch = Feeder::new(&table).unwrap().batch(&made(&table, 500)).unwrap();
        assert_eq!(batch.rows.num_rows(), 500);
        assert_eq!(batch.unreadable, vec![]);
        assert_eq!(made(&table, 20), made(&table, 500)[..20]);
        for (place, column) in batch.rows.columns().iter().enumerate().skip(1) {
            assert!((1..250).contains(&column.null_count()), "{:?}", table.columns[place]);
        }
    }
}
