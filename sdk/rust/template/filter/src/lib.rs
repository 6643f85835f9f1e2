//! A filter: keeps the rows whose name has a word in it, as it is written: capitals count.

use tidemill_sdk::{Config, Row};

/// What stands under `config:` of the stage.
#[derive(Config)]
struct Settings {
    word: String,
}

/// The columns that are needed, by their names. Nothing else ever gets here; None is NULL.
#[derive(Row)]
struct Product<'a> {
    name: Option<&'a str>,
}

fn has_word(product: Product<'_>, settings: &Settings) -> bool {
    product.name.is_some_and(|name| name.contains(&settings.word))
}

tidemill_sdk::filter!(rows: has_word);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Table;

    use super::*;

    #[test]
    fn rows_with_the_word_stay() {
        let rows = r#"{"id": 1, "name": "Red Shoe"} {"id": 2, "name": "Chair"} {"id": 3, "name": null}"#;
        let out = Table::of(rows).filter::<Plugin>(r#"{"word": "Shoe"}"#).unwrap();
        assert_eq!(out.documents, [r#"{"id":1,"name":"Red Shoe"}"#]);
    }
}
