//! Keeps the rows whose text has a word in it.

use tidemill_sdk::{Config, Row};

#[derive(Config)]
struct Settings {
    word: String,
}

#[derive(Row)]
struct Product<'a> {
    name: Option<&'a str>,
}

fn has_word(product: Product<'_>, settings: &Settings) -> bool {
    product.name.is_some_and(|name| name.contains(&settings.word))
}

tidemill_sdk::filter!(rows: has_word);
