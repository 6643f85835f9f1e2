//! SQL expressions in Postgres' words and with Postgres' results, over batches of columns.
//!
//! ```text
//! "price > 10 and name like 'a%'" ─ parse ─► tree ─ bind to the schema ─► nodes ─ eval, a column at a time ─► masks, columns
//! ```
//!
//! What cannot be judged as Postgres would is refused when it is opened, with its place; `table` says what can. What
//! Postgres would answer with an error is a fault of its row. Parts are evaluated from left to right: `and` ends at the
//! first false, `or` at the first true, `coalesce` at the first value, and what stands behind is not evaluated.

mod big;
mod bind;
mod bits;
mod decimal;
mod eval;
mod fault;
mod like;
mod literal;
mod node;
mod number;
mod out;
mod parse;
mod plan;
mod refused;
pub mod table;
mod types;

use tidemill_sdk::{Batch, Buffers, Keep, Reject, Schema};

use crate::eval::Eval;
use crate::node::Node;

pub use fault::Fault;
pub use node::Op;
pub use out::{Cell, Cells};
pub use plan::{Plan, fact};
pub use refused::Refused;
pub use types::Type;

/// An expression that is true, false or unknown.
#[derive(Debug)]
pub struct Predicate(Node);

/// An expression that makes a column.
#[derive(Debug)]
pub struct Value {
    node: Node,
    of: Type,
}

impl Predicate {
    pub fn bind(text: &str, schema: &Schema, plan: &mut dyn Plan) -> Result<Predicate, Refused> {
        let parsed = parse::parse(text)?;
        let node = bind::Binder { parsed: &parsed, schema, plan, facts: false }.boolean(&parsed.expr)?;
        not_failing(&node)?;
        Ok(Predicate(node))
    }

    /// Whether a row may be answered with an error, or with the doubt that its locale raises.
    pub fn can_fail(&self) -> bool {
        self.0.can_fail()
    }

    /// The rows for which it is true, and those that Postgres would answer with an error.
    pub fn keep(&self, batch: &Batch<'_>) -> (Keep, Vec<Reject>) {
        let mut eval = Eval::new(batch);
        let all = eval.all();
        let yes = eval.truth(&self.0, &all).yes.and_not(eval.failed());
        (yes.into_keep(), rejects(eval))
    }
}

impl Value {
    pub fn bind(text: &str, schema: &Schema, plan: &mut dyn Plan) -> Result<Value, Refused> {
        let parsed = parse::parse(text)?;
        let (node, of) = bind::Binder { parsed: &parsed, schema, plan, facts: true }.value(&parsed.expr)?;
        not_failing(&node)?;
        Ok(Value { node, of })
    }

    pub fn of(&self) -> Type {
        self.of
    }

    /// The values, row by row, and the rows that Postgres would answer with an error; these have none.
    pub fn cells<'b>(&self, batch: &'b Batch<'b>) -> (Cells<'b>, Vec<Reject>) {
        let mut eval = Eval::new(batch);
        let all = eval.all();
        let vector = eval.vector(&self.node, &all);
        (Cells::new(vector, self.of, eval.failed().clone()), rejects(eval))
    }

    /// The column's buffers, and the rows that Postgres would answer with an error; at these, null.
    pub fn make(&self, batch: &Batch<'_>) -> (Buffers, Vec<Reject>) {
        let mut eval = Eval::new(batch);
        let all = eval.all();
        let vector = eval.vector(&self.node, &all);
        let buffers = out::buffers(&vector, self.of, batch.rows(), eval.failed());
        (buffers, rejects(eval))
    }
}

fn not_failing(node: &Node) -> Result<(), Refused> {
    match node.failing() {
        None => Ok(()),
        Some((fault, at)) => {
            Err(Refused::at(at, format!("this fails for every row: {}", fault.message)).with_code(fault.code))
        }
    }
}

fn rejects(eval: Eval<'_>) -> Vec<Reject> {
    let reject =
        |(row, fault): (u32, Fault)| Reject { row, code: fault.code.to_owned(), message: fault.message.into_owned() };
    eval.into_faults().into_iter().map(reject).collect()
}
