//! How much crosses between host and guest in one call.

use crate::abi::{Keep, Pushed, Rows};
use crate::instance::GuestAnswer;

pub(crate) fn pushed_bytes(columns: &[Pushed<'_>]) -> u64 {
    let bytes =
        |column: &Pushed<'_>| column.validity.map_or(0, <[u8]>::len) + column.offsets.len() + column.values.len();
    columns.iter().map(bytes).sum::<usize>() as u64
}

/// Without the words of rejects, which are few.
pub(crate) fn answer_bytes(answer: &GuestAnswer) -> u64 {
    let bytes = match answer {
        GuestAnswer::Verdict(verdict) => match &verdict.keep {
            Keep::Bitmap(bits) => bits.len(),
            Keep::All | Keep::None => 0,
        },
        GuestAnswer::Transformed(transformed) => {
            let rows = match &transformed.rows {
                Rows::Bitmap(bits) => bits.len(),
                Rows::Indices(indices) => 4 * indices.len(),
                Rows::All | Rows::None => 0,
            };
            let columns = transformed.columns.iter().map(|column| {
                column.validity.as_ref().map_or(0, Vec::len) + column.offsets.len() + column.values.len()
            });
            rows + columns.sum::<usize>()
        }
    };
    bytes as u64
}
