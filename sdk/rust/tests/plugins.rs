//! Plugins as their authors write and test them.

use tidemill_sdk::testing::Table;
use tidemill_sdk::{
    Batch, Buffers, Column, DataType, Failure, List, MakeBytes, Rows, Transform, TransformPlan, Transformed, lists,
};

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

mod listed {
    use tidemill_sdk::{Made, Row};

    #[derive(Row)]
    pub struct Listed<'a> {
        tags: Vec<Option<&'a str>>,
        grid: Option<Vec<Vec<i64>>>,
        flags: Option<Vec<bool>>,
    }

    #[derive(Made)]
    pub struct Told {
        told: String,
    }

    pub fn tell(row: Listed<'_>, _: &()) -> Told {
        Told { told: format!("{:?} {:?} {:?}", row.tags, row.grid, row.flags) }
    }

    tidemill_sdk::transform!(rows: tell);
}

#[test]
fn a_field_of_a_row_may_be_a_list() {
    let rows = r#"
        {"tags": ["a", null], "grid": [[1, 2], []], "flags": [true, false]}
        {"tags": [], "grid": null, "flags": null}
        {"tags": null, "grid": [], "flags": []}
        {"tags": ["b"], "grid": [[1], null], "flags": null}
        {"tags": ["c"], "grid": [[1, null]], "flags": null}
        {"tags": ["d"], "grid": [], "flags": [null]}
        {"tags": ["e"], "grid": [[], [3]], "flags": [false]}
    "#;
    let table = Table::of(rows).lists("tags", "text[]").lists("grid", "bigint[][]").lists("flags", "boolean[]");
    let out = table.transform::<listed::Plugin>("{}").unwrap();
    let told = out.documents.iter().map(|document| document.split_once("\"told\":").unwrap().1.replace("\\\"", "'"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            r#""[Some('a'), None] Some([[1, 2], []]) Some([true, false])"}"#,
            r#""[] None None"}"#,
            r#""[Some('e')] Some([[], [3]]) Some([false])"}"#,
        ]
    );
    let in_list = |column: &str| format!("null: column `{column}` has a null in its list");
    let (grid, flags) = (in_list("grid"), in_list("flags"));
    assert_eq!(out.rejects, [(3, "null: column `tags` is null"), (4, &*grid), (5, &*grid), (6, &*flags)]);
    let refused = Table::of(rows).lists("tags", "int8[]").lists("grid", "bigint[][]").lists("flags", "boolean[]");
    assert!(refused.transform::<listed::Plugin>("{}").unwrap_err().contains("column `tags` is list of int64"));
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

/// Reads lists, lists of lists too, and makes both: turned round, and with how many there are.
struct Turned {
    tags: Column<List<str>>,
    grid: Column<List<List<i64>>>,
    name: Column<str>,
}

thread_local! {
    /// What is done to the answer before it goes back.
    static SPOIL: std::cell::RefCell<fn(&mut Vec<Buffers>)> = const { std::cell::RefCell::new(|_| {}) };
}

impl Transform for Turned {
    fn open(_: tidemill_sdk::Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Turned, tidemill_sdk::Error> {
        plan.pass("id")?;
        plan.pass_as("grid", "was")?;
        plan.make_list("tags", DataType::Utf8);
        plan.make_lists("prices", 2, DataType::Utf8, Some("tidemill.numeric"));
        plan.make("of", DataType::Utf8);
        Ok(Turned { tags: plan.require("tags")?, grid: plan.require("grid")?, name: plan.require("name")? })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let (tags, grid, name) = (batch.column(self.tags), batch.column(self.grid), batch.column(self.name));
        let rows = 0..batch.rows();
        let turned = rows.clone().filter_map(|row| tags.get(row)).flat_map(Iterator::rev);
        let inner = rows.clone().filter_map(|row| grid.get(row)).flatten();
        let numbers = inner.clone().filter_map(|list| grid.elements().get(list)).flatten();
        let price = |at| grid.elements().elements().get(at).map(|number| format!("{number}.50"));
        let mut columns = vec![
            lists(rows.clone().map(|row| Some(tags.get(row)?.len()))),
            MakeBytes::of(turned.map(|at| tags.elements().get(at))),
            lists(rows.clone().map(|row| Some(grid.get(row)?.len()))),
            lists(inner.map(|list| Some(grid.elements().get(list)?.len()))),
            MakeBytes::of(numbers.map(price)),
            MakeBytes::of(rows.map(|row| name.get(row))),
        ];
        SPOIL.with_borrow(|spoil| spoil(&mut columns));
        Ok(Transformed::all(columns))
    }
}

#[test]
fn lists_go_in_and_come_out_as_arrays() {
    let rows = r#"
        {"id": 1, "tags": ["a", null, "\u00fc"], "grid": [[1, null], null, []], "name": "x"}
        {"id": 2, "tags": null, "grid": null, "name": null}
        {"id": 3, "tags": [], "grid": [[2]], "name": "z"}
    "#;
    let table = Table::of(rows).lists("tags", "text[]").lists("grid", "bigint[][]");
    let out = table.transform::<Turned>("{}").unwrap();
    assert_eq!(
        out.documents,
        [
            r#"{"id":1,"was":[[1,null],null,[]],"tags":["ü",null,"a"],"prices":[[1.50,null],null,[]],"of":"x"}"#,
            r#"{"id":2,"was":null,"tags":null,"prices":null,"of":null}"#,
            r#"{"id":3,"was":[[2]],"tags":[],"prices":[[2.50]],"of":"z"}"#,
        ]
    );
    // A filter's documents have them as they came.
    let out = table.clone().column("list price", "numeric").column("stock", "int8");
    let out = out.filter::<words::Plugin>(r#"{"word": "z"}"#).unwrap();
    assert_eq!(out.documents, [r#"{"id":3,"tags":[],"grid":[[2]],"name":"z","list price":null,"stock":null}"#]);

    let refused = Table::of(rows).lists("grid", "int8[]").lists("tags", "text[]").transform::<Turned>("{}");
    assert_eq!(refused.unwrap_err(), "column `grid` is list of int64, and list is needed");
    let spoilt = move |spoil: fn(&mut Vec<Buffers>), part: &str| {
        SPOIL.set(spoil);
        let table = table.clone();
        let error = std::panic::catch_unwind(move || table.transform::<Turned>("{}")).unwrap_err();
        let error = error.downcast_ref::<String>().unwrap();
        assert!(error.contains(part), "{error}");
    };
    spoilt(|columns| drop(columns.remove(3)), "the plan makes so many columns");
    spoilt(|columns| columns[0].values.push(0), "`tags` is of lists, and has values of its own");
    spoilt(|columns| columns[1] = MakeBytes::of([Some("a")]), "`tags` has no offsets of 3 rows");
    spoilt(|columns| columns[2].offsets[4] = 9, "`prices` has offsets that fall");
}
