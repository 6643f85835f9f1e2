//! Plugins as their authors write and test them.

use tidemill_sdk::testing::Table;
use tidemill_sdk::{Batch, Buffers, Failure, MakeBytes, Rows, Transform, TransformPlan, Transformed};

mod words {
    use tidemill_sdk::{Config, OrReject, Row, RowError};

    #[derive(Config)]
    pub struct Settings {
        pub word: String,
        pub below: Option<f64>,
    }

    #[derive(Row)]
    pub struct Product<'a> {
        name: &'a str,
        #[column("list price")]
        price: Option<&'a str>,
        stock: Option<i64>,
    }

    pub fn is_wanted(product: Product<'_>, settings: &Settings) -> Result<bool, RowError> {
        if let (Some(below), Some(price)) = (settings.below, product.price)
            && price.parse::<f64>().or_reject("price", "`list price` is no number")? >= below
        {
            return Ok(false);
        }
        // An error of anybody's becomes a reject too.
        let stock = u32::try_from(product.stock.unwrap_or(1))?;
        Ok(stock > 0 && product.name.contains(&settings.word))
    }

    tidemill_sdk::filter!(rows: is_wanted);
}

mod parts {
    use tidemill_sdk::{Made, Row, RowError};

    #[derive(Row)]
    pub struct Item<'a> {
        id: i64,
        tags: Option<&'a str>,
    }

    #[derive(Made)]
    pub struct Part<'a> {
        _id: String,
        tags: &'a str,
        len: Option<i32>,
        is_first: bool,
    }

    pub fn split<'a>(item: Item<'a>, _: &()) -> Result<Vec<Part<'a>>, RowError> {
        let Some(tags) = item.tags else { return Ok(Vec::new()) };
        if tags.is_empty() {
            return Err(RowError::new("empty", "`tags` is empty"));
        }
        let part = |(at, tags): (usize, &'a str)| {
            let len = (at != 1).then_some(tags.len() as i32);
            Part { _id: format!("{}-{at}", item.id), tags, len, is_first: at == 0 }
        };
        Ok(tags.split(',').enumerate().map(part).collect())
    }

    tidemill_sdk::transform!(rows: split);
}

#[test]
fn a_filter_is_a_function_of_a_row() {
    let rows = r#"
        {"id": 1, "name": "red shoe", "list price": "12.50", "stock": 1}
        {"id": 2, "name": "blue shoe", "list price": "80.00", "stock": 1}
        {"id": 3, "name": null, "list price": "1", "stock": 1}
        {"id": 4, "name": "shoe", "list price": "NaN or so", "stock": 1}
        {"id": 5, "name": "shoelace", "list price": null, "stock": -1}
        {"id": 6, "name": "old shoe", "list price": null, "stock": 0}
    "#;
    let table = Table::of(rows).column("list price", "numeric(10,2)");
    let out = table.filter::<words::Plugin>(r#"{"word": "shoe", "below": 50}"#).unwrap();
    assert_eq!(out.documents, [r#"{"id":1,"name":"red shoe","list price":12.50,"stock":1}"#]);
    assert_eq!(
        out.rejects,
        [
            (3, "null: column `name` is null"),
            (4, "price: `list price` is no number: invalid float literal"),
            (5, "failed: out of range integral type conversion attempted"),
        ]
    );
}

#[test]
fn what_cannot_be_opened_says_why() {
    let table = Table::of(r#"{"id": 1, "name": "a", "stock": "x"}"#).named("shop.products");
    let refused = |config: &str| table.filter::<words::Plugin>(config).unwrap_err();
    assert_eq!(refused("{}"), "`word` is missing");
    assert_eq!(
        refused(r#"{"word": ""}"#),
        "no column `list price` reaches this stage; of shop.products there are `id`, `name`, `stock`"
    );
    let table = table.column("list price", "text");
    let error = table.filter::<words::Plugin>(r#"{"word": ""}"#).unwrap_err();
    assert_eq!(error, "column `stock` is utf8, and int64 is needed");
}

#[test]
fn a_transform_is_a_function_of_a_row_to_columns() {
    let rows = r#"{"id": 7, "tags": "a,bc,d"} {"id": 8, "tags": null} {"id": 9, "tags": ""}"#;
    let out = Table::of(rows).transform::<parts::Plugin>("{}").unwrap();
    assert_eq!(
        out.documents,
        [
            r#"{"id":7,"_id":"7-0","tags":"a","len":1,"is_first":true}"#,
            r#"{"id":7,"_id":"7-1","tags":"bc","len":null,"is_first":false}"#,
            r#"{"id":7,"_id":"7-2","tags":"d","len":1,"is_first":false}"#,
        ]
    );
    assert_eq!((out.sources, out.many), (vec![1, 1, 1], true));
    assert_eq!(out.rejects, [(3, "empty: `tags` is empty")]);
}

/// A transform whose answer is what a test says.
struct Wrong;

thread_local! {
    static ANSWER: std::cell::RefCell<fn(usize) -> Transformed> = const { std::cell::RefCell::new(honest) };
}

fn honest(rows: usize) -> Transformed {
    Transformed::all(vec![MakeBytes::of(vec![Some("x"); rows])])
}

impl Transform for Wrong {
    fn open(_: tidemill_sdk::Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Wrong, tidemill_sdk::Error> {
        plan.pass("id")?;
        plan.make("made", tidemill_sdk::DataType::Utf8);
        Ok(Wrong)
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        Ok(ANSWER.with_borrow(|answer| answer(batch.rows())))
    }
}

#[test]
fn what_the_engine_would_refuse_fails_the_test() {
    let table = Table::of(r#"{"id": 1} {"id": 2} {"id": 3}"#);
    let run = move |answer: fn(usize) -> Transformed| {
        ANSWER.set(answer);
        let run = std::panic::catch_unwind(|| table.transform::<Wrong>("{}"));
        run.map_err(|error| error.downcast_ref::<String>().cloned().unwrap_or_default())
    };
    let one = run(honest).unwrap().unwrap();
    assert_eq!(one.documents[2], r#"{"id":3,"made":"x"}"#);
    let refused = |answer: fn(usize) -> Transformed, part: &str| {
        let error = run.clone()(answer).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    refused(|_| Transformed::all(Vec::new()), "the plan makes so many columns");
    refused(|rows| honest(rows + 1), "`made` has no offsets of 3 rows");
    refused(|rows| Transformed { rows: Rows::Indices(vec![rows as u32]), ..honest(1) }, "there is no row 3 among 3");
    refused(|_| Transformed { rows: Rows::Indices(vec![0, 0]), ..honest(2) }, "comes out twice without `many`");
    refused(|rows| Transformed { rows: Rows::Bitmap(vec![]), ..honest(rows) }, "a bitmap has a bit a row");
    refused(
        |rows| {
            let mut made: Buffers = honest(rows).columns.remove(0);
            made.values[0] = 0xff;
            Transformed::all(vec![made])
        },
        "holds what is no UTF-8",
    );
    refused(
        |rows| Transformed::all(vec![MakeBytes::of(vec![Some(rows.to_string()); rows])]),
        "rows that come one by one give other documents than together",
    );
}
