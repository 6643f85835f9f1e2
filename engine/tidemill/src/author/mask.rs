//! Values that do not leave the database: each is replaced while it is captured.
//!
//! A replacement is made of the value and a random key that is thrown away with the process: equal values stay equal within one
//! capture, so that joins and filters still say something, and nothing leads back. It is of the column's type, so that it is
//! decoded as the value would have been; where a type has no such text, the value becomes null.

use std::io::Read as _;

use sha2::{Digest, Sha256};
use tidemill_change::Kind;

use super::row::{Cell, RowChange};
use super::table::Table;
use crate::error::{Error, Result};

/// How long the replacement of a key is: long enough that no two are equal.
const KEY_CHARS: usize = 32;

pub(super) struct Mask {
    key: [u8; 32],
    /// The columns, by their places: kind, and whether it is part of the key.
    columns: Vec<(usize, Kind, bool)>,
}

impl Mask {
    pub(super) fn new(table: &Table, names: &[String]) -> Result<Mask> {
        let types = table.types();
        let column = |name: &String| {
            let known = || table.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
            let place = table
                .place(name)
                .ok_or_else(|| Error::usage(format!("--mask names `{name}`, and the table has {}", known())))?;
            let (kind, is_key) = (types[place].kind, table.key.contains(name));
            if is_key && !matches!(kind, Kind::Text | Kind::Uuid) {
                return Err(Error::usage(format!(
                    "--mask names `{name}`, which is the key and no text: rows could not be told apart any more"
                )));
            }
            Ok((place, kind, is_key))
        };
        let columns = names.iter().map(column).collect::<Result<_>>()?;
        let mut key = [0; 32];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut key))
            .map_err(|error| Error::failed("this system gives no random bytes").with_cause(error))?;
        Ok(Mask { key, columns })
    }

    pub(super) fn apply(&self, change: &mut RowChange) {
        for (place, kind, is_key) in &self.columns {
            for cells in [Some(&mut change.row), change.old.as_mut()].into_iter().flatten() {
                if let Some(cell) = cells.get_mut(*place)
                    && let Cell::Text(text) = cell
                {
                    *cell = self.replaced(text, *kind, *is_key).map_or(Cell::Null, Cell::Text);
                }
            }
        }
    }

    fn replaced(&self, text: &str, kind: Kind, is_key: bool) -> Option<String> {
        let bytes = |count: usize| {
            let blocks = (0_u32..).map(|block| {
                Sha256::new().chain_update(self.key).chain_update(block.to_be_bytes()).chain_update(text).finalize()
            });
            blocks.flatten().take(count).collect::<Vec<u8>>()
        };
        let letters = |count: usize| bytes(count).iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>();
        // A first digit of 1 keeps the length and lets no value grow past its type.
        let digits = |count: usize| {
            let digit =
                |(at, byte): (usize, &u8)| char::from(if at == 0 && count > 1 { b'1' } else { b'0' + byte % 10 });
            bytes(count.max(1)).iter().enumerate().map(digit).collect::<String>()
        };
        let hex = |count: usize| bytes(count).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Some(match kind {
            Kind::Text if is_key => letters(KEY_CHARS),
            Kind::Text => letters(text.chars().count()),
            Kind::Uuid => {
                let hex = hex(16);
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
            Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Oid | Kind::Numeric | Kind::Float4 | Kind::Float8 => {
                let whole = text.trim_start_matches('-').split(['.', 'e']).next().unwrap_or_default();
                digits(whole.bytes().filter(u8::is_ascii_digit).count())
            }
            Kind::Bytea => format!("\\x{}", hex(text.len().saturating_sub(2) / 2)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::parse(
            r#"{"table": "t", "columns": [{"name": "id", "type": "text"}, {"name": "n", "type": "int2"}, {"name": "d", "type": "date"},
               {"name": "u", "type": "uuid"}, {"name": "s", "type": "text"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_masked_value_is_of_its_type_and_tells_nothing() {
        let names = ["id", "n", "d", "u", "s"].map(str::to_owned);
        let mask = Mask::new(&table(), &names).unwrap();
        let text = |text: &str| Cell::Text(text.to_owned());
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let row = vec![text("ann@example"), text("-32768"), text("2024-02-29"), text(uuid), text("Müller")];
        let masked = |row: &[Cell]| {
            let mut change = RowChange { op: tidemill_change::Op::Insert, row: row.to_vec(), old: None, commit: None };
            mask.apply(&mut change);
            change.row
        };
        let once = masked(&row);
        assert_eq!(once, masked(&row), "equal values stay equal");
        let texts: Vec<_> =
            once.iter().map(|cell| if let Cell::Text(text) = cell { text.as_str() } else { "" }).collect();
        assert_eq!((texts[0].len(), texts[2], texts[4].chars().count()), (KEY_CHARS, "", 6));
        assert!(texts[1].parse::<i16>().is_ok() && texts[1] != "-32768", "{}", texts[1]);
        assert!(texts[3].len() == uuid.len() && texts[3] != uuid && texts[4] != "Müller");
        assert_ne!(masked(&[text("bob@example"), Cell::Null, Cell::Null, Cell::Null, Cell::Null])[0], once[0]);
        let other = Mask::new(&table(), &names).unwrap();
        let mut change = RowChange { op: tidemill_change::Op::Insert, row, old: None, commit: None };
        other.apply(&mut change);
        assert_ne!(change.row[0], once[0], "another capture has another key");
    }

    #[test]
    fn a_column_that_cannot_be_masked_is_named() {
        let error = |table: &Table, name: &str| Mask::new(table, &[name.to_owned()]).map(drop).unwrap_err().to_string();
        assert!(error(&table(), "idd").contains("`idd`"));
        let table = Table::parse(r#"{"table": "t", "columns": [{"name": "id", "type": "bigint"}]}"#).unwrap();
        assert!(error(&table, "id").contains("the key"));
    }
}
