//! Misbehaves as its configuration says: `{"misdeed": "trap", "rows": [3, 7]}`. `rows` are values of the column `id` at which
//! the misdeed happens; without them it happens at every call. With `column`, a misdeed at open happens only to a table that
//! has this column. Else it is honest: it makes a text column `made` of `id` and passes everything else.

mod forged;

use serde::Deserialize;
use tidemill_sdk::{
    Batch, Buffers, Column, Config, DataType, Error, Failure, Level, MakeBytes, Naming, Reject, Rows, Transform,
    TransformPlan, Transformed,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misdeed {
    misdeed: String,
    #[serde(default)]
    rows: Vec<i64>,
    #[serde(default)]
    amount: usize,
    column: Option<String>,
}

pub struct Hostile {
    id: Column<i64>,
    config: Misdeed,
    /// Misdeeds so far.
    count: usize,
    /// What the batch before made.
    carried: Vec<String>,
    /// What the batch before was answered with.
    answered: Option<Transformed>,
}

impl Transform for Hostile {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Hostile, Error> {
        let config: Misdeed = config.read()?;
        let fields = plan.schema().fields.len();
        let id = plan.require("id")?;
        if config.misdeed.starts_with("document-") {
            plan.documents();
        } else {
            plan.pass_all_but(&[]);
            plan.make("made", DataType::Utf8);
        }
        let is_there = |column: &String| plan.schema().fields.iter().any(|field| field.name == *column);
        match config.misdeed.as_str() {
            _ if !config.column.iter().all(is_there) => {}
            "open-error" => return Err("asked to fail at open".into()),
            "open-trap" => panic!("asked to trap at open"),
            "open-loop" => spin(),
            "plan-name-twice" => plan.pass_as("id", "made")?,
            "plan-name-empty" => plan.pass_as("id", "")?,
            "plan-list" => plan.make("list", DataType::List),
            "plan-documents" => plan.documents(),
            "rows-twice" => plan.many(),
            "plan-reserved" => plan.pass_as("id", "_id")?,
            "realloc-loop" => forged::allocate_no_more(config.amount),
            misdeed if misdeed.starts_with("id-") => name(plan, "_id"),
            misdeed if misdeed.starts_with("index-forged") => name(plan, "_index"),
            "plan-many" => (0..5_000 - fields).for_each(|i| plan.make(format!("c{i}"), DataType::Utf8)),
            _ => {}
        }
        Ok(Hostile { id, config, count: 0, carried: Vec::new(), answered: None })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let id = batch.column(self.id);
        let is_document = self.config.misdeed.starts_with("document-");
        let made = |id| if is_document { format!("{{\"whole\":{id}}}") } else { format!("made of {id}") };
        let texts: Vec<String> = id.values().map(made).collect();
        let mut out = Transformed::all(vec![MakeBytes::of(texts.iter().map(Some))]);
        if let Some(names) = self.names(id.values()) {
            out.columns.push(MakeBytes::of(names.into_iter().map(Some)));
        }
        if self.config.misdeed == "carry" {
            let carried = std::mem::replace(&mut self.carried, texts);
            let stale = (0..batch.rows()).map(|row| carried.get(row).cloned());
            out.columns = vec![MakeBytes::of(stale)];
        }
        if self.config.misdeed == "carry-answer"
            && let Some(stale) = self.answered.replace(out.clone())
        {
            return Ok(stale);
        }
        if self.config.misdeed == "random" && id.values().any(is_poison) {
            panic!("asked to trap at random");
        }
        let at: Vec<u32> = (0..batch.rows() as u32)
            .filter(|row| id.get(*row as usize).is_some_and(|id| self.config.rows.contains(&id)))
            .collect();
        if self.config.rows.is_empty() || !at.is_empty() {
            self.count += 1;
            self.misbehave(batch.rows(), &at, &mut out)?;
        }
        Ok(out)
    }
}

impl Hostile {
    /// What documents are called, or where they are to go.
    fn names(&self, ids: impl Iterator<Item = i64>) -> Option<Vec<String>> {
        let is_at = |id: i64| self.config.rows.is_empty() || self.config.rows.contains(&id);
        let wrong: &dyn Fn(i64) -> String = match self.config.misdeed.as_str() {
            "id-long" => &|_| "x".repeat(600),
            "id-empty" => &|_| String::new(),
            // The next row's, or the one that is given as amount.
            "id-forged" if self.config.amount == 0 => &|id| format!("{}", id + 1),
            "id-forged" => &|_| self.config.amount.to_string(),
            "index-forged" => &|_| "honest".to_owned(),
            _ => return None,
        };
        let is_index = self.config.misdeed == "index-forged";
        let right = |id: i64| if is_index { "index-forged-own".to_owned() } else { id.to_string() };
        Some(ids.map(|id| if is_at(id) { wrong(id) } else { right(id) }).collect())
    }

    fn misbehave(&self, rows: usize, at: &[u32], out: &mut Transformed) -> Result<(), Failure> {
        match self.config.misdeed.as_str() {
            "trap" => panic!("asked to trap"),
            "loop" => spin(),
            "slow" => {
                for turn in 0..self.config.amount {
                    std::hint::black_box(turn);
                }
            }
            // As random as it gets without a grant: by the rows that came together and how often it was called.
            "chance" if chance(rows, self.count) => panic!("asked to trap at random"),
            "leak" => std::mem::forget(vec![1u8; self.config.amount]),
            "recursion" => drop(recurse(rows as u64)),
            "memory" => drop(vec![1u8; self.config.amount]),
            "memory-a-row" => drop(vec![1u8; self.config.amount * rows]),
            "fatal" => return Err(Failure::Fatal("asked to be fatal".into())),
            "fatal-words" => return Err(Failure::Fatal("asked to be fatal; then `tidemill run` anew".into())),
            // An amount is how often.
            "retry" if self.config.amount > 0 && self.count > self.config.amount => {}
            "retry" => return Err(Failure::Retry("asked to retry".into())),
            "reject" => out.rejects = at.iter().map(|row| reject(*row)).collect(),
            "reject-range" => out.rejects = vec![reject(rows as u32)],
            "reject-long" => out.rejects = vec![Reject { message: "x".repeat(1 << 20), ..reject(0) }],
            "reject-utf8" => out.rejects = vec![Reject { message: forged::text(), ..reject(0) }],
            "log-utf8" => tidemill_sdk::log(Level::Info, &forged::text()),
            "log-flood" => (0..10_000).for_each(|i| tidemill_sdk::log(Level::Info, &format!("line {i}"))),
            "log-long" => tidemill_sdk::log(Level::Info, &"é".repeat(1 << 20)),
            "metric-flood" => (0..10_000).for_each(|i| tidemill_sdk::count(&format!("m{i}"), 1)),
            "rows-none" => *out = Transformed { rows: Rows::None, ..Transformed::all(Vec::new()) },
            "rows-twice" | "rows-twice-unannounced" => self.fan_out(rows, out),
            "bitmap-short" => out.rows = Rows::Bitmap(vec![255; rows.div_ceil(8) - 1]),
            "bitmap-long" => out.rows = Rows::Bitmap(vec![255; rows.div_ceil(8) + 1]),
            "index-range" => out.rows = Rows::Indices((1..=rows as u32).collect()),
            "index-billion" => out.rows = Rows::Indices(forged::vector(64, 1 << 30)),
            "index-flood" => out.rows = Rows::Indices(vec![0; 2_000_000]),
            "document-honest" => {}
            "document-list" => out.columns = vec![MakeBytes::of(vec![Some("[]"); rows])],
            "document-cut" => out.columns = vec![MakeBytes::of(vec![Some("{"); rows])],
            "document-lines" => out.columns = vec![MakeBytes::of(vec![Some("{\n}"); rows])],
            "document-null" => out.columns = vec![MakeBytes::of(vec![None::<&str>; rows])],
            "document-missing" => out.columns = Vec::new(),
            "pointer" => out.columns[0].values = forged::vector(0xffff_fff0, 64),
            "answer-2g" => out.columns[0].values = forged::vector(64, 2 << 30),
            "answer-large" => out.columns[0].values = vec![b'x'; self.config.amount],
            "column-missing" => out.columns = Vec::new(),
            "random" | "chance" | "carry" | "carry-answer" | "realloc-loop" | "id-long" | "id-empty" | "id-forged"
            | "index-forged" => {}
            misdeed if misdeed.starts_with("open-") => {}
            _ => self.spoil(out),
        }
        Ok(())
    }

    /// Each row twice, in reverse order.
    fn fan_out(&self, rows: usize, out: &mut Transformed) {
        let order: Vec<u32> = (0..rows as u32).rev().flat_map(|row| [row, row]).collect();
        out.columns = vec![MakeBytes::of(order.iter().map(|row| Some(format!("from {row}"))))];
        out.rows = Rows::Indices(order);
    }

    /// Spoils the buffers of the made column.
    fn spoil(&self, out: &mut Transformed) {
        let columns = &mut out.columns;
        if self.config.misdeed == "column-extra" {
            return columns.push(columns[0].clone());
        }
        let Buffers { validity, offsets, values } = &mut columns[0];
        let last = offsets.len() - 4;
        let mut put = |at: usize, offset: i32| offsets[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        match self.config.misdeed.as_str() {
            "offsets-fall" => put(4, 1 << 20),
            "offsets-negative" => put(4, -1),
            "offsets-first" => put(0, 1),
            "offsets-past-end" => put(last, i32::MAX),
            "offsets-before-end" => put(last, values.len() as i32 - 1),
            "offsets-short" => drop(offsets.split_off(last)),
            "offsets-odd" => offsets.push(0),
            "values-short" => drop(values.pop()),
            "utf8" => values[0] = 0xff,
            "utf8-cut" => {
                // One character whose two bytes are in two rows: valid as a whole, in neither row.
                values[..2].copy_from_slice("é".as_bytes());
                put(4, 1);
            }
            "validity-short" => *validity = Some(Vec::new()),
            "validity-long" => *validity = Some(vec![255; 1 << 20]),
            other => panic!("no misdeed is called {other}"),
        }
    }
}

/// Makes a column that names documents, by the row's key.
fn name(plan: &mut TransformPlan<'_>, column: &str) {
    plan.make(column, DataType::Utf8);
    plan.naming(Naming::Key);
}

/// One row in 512, by what nobody sees in it.
fn is_poison(id: i64) -> bool {
    (id as u64).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 55 == 0
}

/// One call in four.
fn chance(rows: usize, count: usize) -> bool {
    let seed = (rows as u64) << 32 | count as u64;
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) == 0
}

fn reject(row: u32) -> Reject {
    Reject { row, code: "asked".into(), message: "asked to reject".into() }
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

fn recurse(depth: u64) -> u64 {
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => recurse(depth + 1).wrapping_add(depth),
    }
}

tidemill_sdk::transform!(Hostile);
