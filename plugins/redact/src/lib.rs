//! `redact`: takes out of rows what must not get into an index.
//!
//! ```text
//! {"hash": ["email"], "mask": {"phone": 4}, "truncate": {"name": 10}, "drop": ["ssn"], "key": …}
//! ```
//!
//! The key of the hashes comes from the stage's `secrets`. Every row comes out or none does: nothing is ever refused, so no
//! message can hold what was redacted.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidemill_sdk::{
    Batch, Buffers, Column, Config, DataType, Error, Failure, Field, MakeBytes, Number, Numbers, Transform,
    TransformPlan, Transformed,
};

/// The key of a keyed hash is worth what guessing it costs.
const KEY_BYTES_MIN: usize = 16;

#[derive(Config)]
struct Settings {
    #[config(default)]
    hash: Vec<String>,
    /// How many characters at the end stay.
    #[config(default = Vec::new())]
    mask: Vec<(String, usize)>,
    /// How many characters at the beginning stay.
    #[config(default = Vec::new())]
    truncate: Vec<(String, usize)>,
    #[config(default)]
    drop: Vec<String>,
    key: Option<String>,
    /// Columns of the table's key may be redacted, though documents' ids are made of them.
    #[config(default)]
    allow_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Hash,
    Mask(usize),
    Truncate(usize),
    Drop,
}

/// A column that is hashed by the text that Postgres has for it.
#[derive(Clone, Copy, Debug)]
enum Of {
    Text(Column<str>),
    Int16(Column<i16>),
    Int32(Column<i32>),
    Int64(Column<i64>),
}

pub struct Redact {
    key: Option<Hmac<Sha256>>,
    columns: Vec<(Of, Rule)>,
}

impl Transform for Redact {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Redact, Error> {
        let settings: Settings = config.typed()?;
        let key = settings.key.as_deref().map(hasher).transpose()?;
        let rules = rules(&settings)?;
        let schema = plan.schema();
        if let Some((name, _)) = rules.iter().find(|(name, _)| schema.key.contains(name) && !settings.allow_key) {
            return Err([
                "`",
                name,
                "` is part of the table's key, and documents' ids and dead letters tell the key as it is: give the stream \
                 another `id` and say `allow_key: true` if that will do",
            ]
            .concat()
            .into());
        }
        for (name, _) in &rules {
            // Says which columns there are.
            plan.require::<()>(name).map(drop)?;
        }
        let mut columns = Vec::new();
        for field in &schema.fields {
            match rules.iter().find(|(name, _)| *name == field.name) {
                None => plan.pass(&field.name)?,
                Some((_, Rule::Drop)) => {}
                Some((_, rule)) => {
                    if *rule == Rule::Hash && key.is_none() {
                        return Err(NO_KEY.into());
                    }
                    columns.push((of(plan, field, *rule)?, *rule));
                    plan.make(field.name.clone(), DataType::Utf8);
                }
            }
        }
        Ok(Redact { key, columns })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let rows = batch.rows();
        let columns = self.columns.iter().map(|(of, rule)| match of {
            Of::Text(column) => {
                let texts = batch.column(*column);
                MakeBytes::of((0..rows).map(|row| texts.get(row).map(|text| self.redact(*rule, text))))
            }
            Of::Int16(column) => self.numbers(*rule, rows, batch.column(*column)),
            Of::Int32(column) => self.numbers(*rule, rows, batch.column(*column)),
            Of::Int64(column) => self.numbers(*rule, rows, batch.column(*column)),
        });
        Ok(Transformed::all(columns.collect()))
    }
}

const NO_KEY: &str =
    "hashes need a key, since guesses can be hashed too: give the stage `secrets: { key: { file: … } }`";

fn hasher(key: &str) -> Result<Hmac<Sha256>, Error> {
    if key.len() < KEY_BYTES_MIN {
        return Err("`key` is shorter than 16 bytes: `openssl rand -hex 32` makes one".into());
    }
    Hmac::new_from_slice(key.as_bytes()).map_err(|_| "`key` is too long".into())
}

/// What becomes of each column; each has one rule.
fn rules(settings: &Settings) -> Result<Vec<(String, Rule)>, Error> {
    let hash = settings.hash.iter().map(|name| (name, Rule::Hash));
    let mask = settings.mask.iter().map(|(name, keep)| (name, Rule::Mask(*keep)));
    let truncate = settings.truncate.iter().map(|(name, keep)| (name, Rule::Truncate(*keep)));
    let drop = settings.drop.iter().map(|name| (name, Rule::Drop));
    let mut rules: Vec<(String, Rule)> = Vec::new();
    for (name, rule) in hash.chain(mask).chain(truncate).chain(drop) {
        if rules.iter().any(|(known, _)| known == name) {
            return Err(["`", name, "` has two rules: leave one of them out"].concat().into());
        }
        rules.push((name.clone(), rule));
    }
    if rules.is_empty() {
        return Err("nothing is redacted: name columns under `hash`, `mask`, `truncate` or `drop`".into());
    }
    Ok(rules)
}

fn of(plan: &mut TransformPlan<'_>, field: &Field, rule: Rule) -> Result<Of, Error> {
    let is_json = field.extension.as_deref() == Some("arrow.json");
    match (field.data_type, rule) {
        (DataType::Utf8, Rule::Mask(_) | Rule::Truncate(_)) if is_json => {
            Err(["`", &field.name, "` is JSON, of which no part can be left: `hash` or `drop` it"].concat().into())
        }
        (DataType::Utf8, _) => plan.require(&field.name).map(Of::Text),
        (DataType::Int16, _) => plan.require(&field.name).map(Of::Int16),
        (DataType::Int32, _) => plan.require(&field.name).map(Of::Int32),
        (DataType::Int64, _) => plan.require(&field.name).map(Of::Int64),
        _ => Err(["`", &field.name, "` is neither text nor a whole number: `drop` it"].concat().into()),
    }
}

impl Redact {
    fn numbers<T: Number + ToString>(&self, rule: Rule, rows: usize, numbers: Numbers<'_, T>) -> Buffers {
        MakeBytes::of((0..rows).map(|row| numbers.get(row).map(|number| self.redact(rule, &number.to_string()))))
    }

    fn redact(&self, rule: Rule, text: &str) -> String {
        match rule {
            Rule::Hash => self.key.as_ref().map(|key| hashed(key, text)).unwrap_or_default(),
            Rule::Mask(keep) => masked(text, keep),
            Rule::Truncate(keep) => text.chars().take(keep).collect(),
            Rule::Drop => String::new(),
        }
    }
}

fn hashed(key: &Hmac<Sha256>, text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = key.clone().chain_update(text).finalize().into_bytes();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// All but the last characters are stars. A text that has no more than those is all stars: it would be told whole.
fn masked(text: &str, keep: usize) -> String {
    let count = text.chars().count();
    let hidden = if count > keep { count - keep } else { count };
    text.chars().enumerate().map(|(at, letter)| if at < hidden { '*' } else { letter }).collect()
}

tidemill_sdk::transform!(Redact);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Table;

    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn people() -> Table {
        Table::of(
            r#"{"id": 1, "email": "a@example.com", "phone": "+49 30 1234", "name": "Zoë Ångström", "ssn": "078-05", "pin": 7, "data": {"a": 1}}
               {"id": 2, "email": null, "phone": "34", "name": "Al", "ssn": null, "pin": null, "data": null}"#,
        )
    }

    fn run(config: &str) -> Result<Vec<String>, String> {
        let out = people().transform::<Redact>(&config.replace("KEY", KEY))?;
        assert!(out.rejects.is_empty(), "{:?}", out.rejects);
        Ok(out.documents)
    }

    #[test]
    fn columns_are_hashed_masked_truncated_and_dropped_in_place() {
        let config = r#"{"hash": ["email", "pin"], "mask": {"phone": 4}, "truncate": {"name": 4}, "drop": ["ssn", "data"], "key": "KEY"}"#;
        // As `printf %s a@example.com | openssl dgst -sha256 -hmac 0123456789abcdef` has it.
        let email = "87c8707b0c61806881347867c370e9f6bba71e47fb7aa89200288026b10d38de";
        let pin = "f69cf4852626eee19b92af564b9413e44aa526cc9e726ab9b8972af1d3b39092";
        assert_eq!(
            run(config).unwrap(),
            [
                format!(r#"{{"id":1,"email":"{email}","phone":"*******1234","name":"Zoë ","pin":"{pin}"}}"#),
                r#"{"id":2,"email":null,"phone":"**","name":"Al","pin":null}"#.to_owned(),
            ]
        );
    }

    #[test]
    fn masks_tell_no_short_text() {
        assert_eq!(masked("12345", 4), "*2345");
        assert_eq!(masked("1234", 4), "****");
        assert_eq!((masked("é1", 0), masked("", 3)), ("**".to_owned(), String::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |config: &str, part: &str| {
            let error = run(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
            assert!(!error.contains(KEY), "{error}");
        };
        refused("{}", "nothing is redacted");
        refused(r#"{"hash": ["email"]}"#, "secrets: { key: { file: … } }");
        refused(r#"{"hash": ["email"], "key": "short"}"#, "shorter than 16 bytes");
        refused(r#"{"hash": ["emial"], "key": "KEY"}"#, "no column `emial`");
        refused(r#"{"drop": ["email"], "mask": {"email": 1}}"#, "`email` has two rules");
        refused(r#"{"mask": {"data": 1}}"#, "`data` is JSON");
        refused(r#"{"drop": ["id"]}"#, "`id` is part of the table's key");
        refused(r#"{"drop": ["email"], "key": 1}"#, "`key` must be a text");
        assert!(run(r#"{"drop": ["id"], "allow_key": true}"#).is_ok());
    }
}
