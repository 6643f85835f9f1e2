//! `where`: keeps the rows for which an SQL predicate, in Postgres' words and with Postgres' verdict, is true.
//!
//! ```text
//! "price > 10 and name like 'a%'" ─ parse ─► Expr ─ bind to the schema ─► Node ─ eval, a column at a time ─► bitmap
//! ```
//!
//! Whatever it cannot judge as Postgres would, it refuses when it is opened, with the place in the predicate. The one doubt
//! that only a row can raise (`ilike` on letters whose case depends on the database's locale) rejects that row.

mod bind;
mod bits;
mod decimal;
mod eval;
mod lex;
mod like;
mod literal;
mod node;
mod parse;

use serde::Deserialize;
use tidemill_sdk::{Batch, Config, Error, Failure, Filter, FilterPlan, Reject, Verdict};

use crate::lex::Refused;
use crate::node::Node;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    predicate: String,
}

#[derive(Debug)]
pub struct Where {
    node: Node,
}

impl Filter for Where {
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Where, Error> {
        let settings: Settings = config.read()?;
        let refused = |refused: Refused| refused.in_predicate(&settings.predicate);
        let expr = parse::parse(&settings.predicate).map_err(refused)?;
        let node = bind::bind(&expr, plan).map_err(refused)?;
        Ok(Where { node })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
        let (kept, doubtful) = eval::eval(&self.node, batch);
        let reject = |row| Reject {
            row,
            code: "locale".to_owned(),
            message: "ilike on this text depends on the database's locale: compare with lower case letters by `like`"
                .to_owned(),
        };
        let rejects = doubtful.map(|rows| rows.ones().map(reject).collect()).unwrap_or_default();
        Ok(Verdict { keep: kept.into_keep(), rejects })
    }
}

tidemill_sdk::filter!(Where);
