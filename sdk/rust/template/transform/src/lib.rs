//! A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it.

use tidemill_sdk::{Config, Made, Row};

/// What stands under `config:` of the stage.
#[derive(Config)]
struct Settings {
    #[config(default = "-".to_owned())]
    between: String,
}

/// The columns that are needed, by their names. Nothing else ever gets here; None is NULL.
#[derive(Row)]
struct Product<'a> {
    name: Option<&'a str>,
}

/// The columns that are made, by the names that they get.
#[derive(Made)]
struct Address {
    slug: Option<String>,
}

fn address(product: Product<'_>, settings: &Settings) -> Address {
    Address { slug: product.name.map(|name| slug(name, &settings.between)) }
}

fn slug(text: &str, between: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(between)
}

tidemill_sdk::transform!(rows: address);

#[cfg(test)]
mod tests {
    use tidemill_sdk::testing::Table;

    use super::*;

    #[test]
    fn names_become_addresses() {
        let rows = r#"{"id": 1, "name": "Red Shoe"} {"id": 2, "name": null}"#;
        let out = Table::of(rows).transform::<Plugin>("{}").unwrap();
        assert_eq!(
            out.documents,
            [r#"{"id":1,"name":"Red Shoe","slug":"red-shoe"}"#, r#"{"id":2,"name":null,"slug":null}"#]
        );
    }
}
