//! Plugins that are a function of a row: what `filter!(rows: …)` and `transform!(rows: …)` are made of.

use crate::plan::Misfit;
use crate::{
    Batch, Bits, Config, Error, FilterPlan, Made, Require, Row, RowError, Rows, Setting, TransformPlan, Transformed,
    Verdict,
};

/// What a filter's function of a row gives: whether the row stays, or why it cannot.
pub trait Keeps {
    fn keeps(self) -> Result<bool, RowError>;
}

impl Keeps for bool {
    fn keeps(self) -> Result<bool, RowError> {
        Ok(self)
    }
}

impl Keeps for Result<bool, RowError> {
    fn keeps(self) -> Result<bool, RowError> {
        self
    }
}

/// What a transform's function of a row gives: its made columns, none where the row is dropped, several where it becomes
/// several documents, or why it cannot become one.
pub trait Makes {
    type Made: Made;
    const MANY: bool;
    fn each(self, push: &mut dyn FnMut(Self::Made)) -> Result<(), RowError>;
}

impl<T: Made> Makes for T {
    type Made = T;
    const MANY: bool = false;

    fn each(self, push: &mut dyn FnMut(T)) -> Result<(), RowError> {
        push(self);
        Ok(())
    }
}

impl<T: Made> Makes for Option<T> {
    type Made = T;
    const MANY: bool = false;

    fn each(self, push: &mut dyn FnMut(T)) -> Result<(), RowError> {
        self.into_iter().for_each(push);
        Ok(())
    }
}

impl<T: Made> Makes for Vec<T> {
    type Made = T;
    const MANY: bool = true;

    fn each(self, push: &mut dyn FnMut(T)) -> Result<(), RowError> {
        self.into_iter().for_each(push);
        Ok(())
    }
}

impl<M: Makes> Makes for Result<M, RowError> {
    type Made = M::Made;
    const MANY: bool = M::MANY;

    fn each(self, push: &mut dyn FnMut(M::Made)) -> Result<(), RowError> {
        self?.each(push)
    }
}

/// Asks for the columns of the row that a function takes, and reads its settings.
pub fn open_function<'a, R: Row<'a>, C: Setting, O>(
    _function: impl Fn(R, &C) -> O,
    config: Config<'_>,
    plan: &mut dyn Require,
) -> Result<(R::Columns, C), Error> {
    let settings = config.typed()?;
    Ok((R::require(plan)?, settings))
}

/// Lets all columns out, and those that a function makes.
pub fn plan_function<R, C, O: Makes>(_function: impl Fn(R, &C) -> O, plan: &mut TransformPlan<'_>) {
    plan.pass_all_but(O::Made::NAMES);
    O::Made::plan(plan);
    if O::MANY {
        plan.many();
    }
}

pub fn filter_rows<K: Keeps>(batch: &Batch<'_>, mut keep: impl FnMut(usize) -> Result<K, RowError>) -> Verdict {
    let (mut kept, mut rejects) = (Bits::default(), Vec::new());
    for row in 0..batch.rows() {
        let keeps = keep(row).and_then(K::keeps);
        kept.push(matches!(keeps, Ok(true)));
        if let Err(error) = keeps {
            rejects.push(error.at(row));
        }
    }
    Verdict { keep: kept.into_keep(), rejects }
}

pub fn transform_rows<M: Makes>(batch: &Batch<'_>, mut make: impl FnMut(usize) -> Result<M, RowError>) -> Transformed {
    let (mut indices, mut rejects) = (Vec::with_capacity(batch.rows()), Vec::new());
    let mut columns = <M::Made as Made>::Columns::default();
    for row in 0..batch.rows() {
        let mut push = |made: M::Made| {
            made.push(&mut columns);
            indices.push(row as u32);
        };
        if let Err(error) = make(row).and_then(|made| made.each(&mut push)) {
            rejects.push(error.at(row));
        }
    }
    let is_all = indices.len() == batch.rows() && indices.iter().enumerate().all(|(at, row)| at == *row as usize);
    let rows = if is_all { Rows::All } else { Rows::Indices(indices) };
    Transformed { rows, columns: <M::Made as Made>::finish(columns), rejects }
}

/// A filter that is a function of a batch, opened.
pub type BatchFilter = Box<dyn FnMut(&Batch<'_>) -> Verdict>;

/// A transform that is a function of a batch, opened.
pub type BatchTransform = Box<dyn FnMut(&Batch<'_>) -> Transformed>;

/// Both kinds of plans are asked for columns alike.
macro_rules! require {
    ($($plan:ident)*) => {$(
        impl Require for $plan<'_> {
            fn require_any(&mut self, name: &str, misfit: Misfit) -> Result<usize, Error> {
                self.require_fit(name, misfit)
            }
        }
    )*};
}

require! { FilterPlan TransformPlan }
