use tidemill_change::{NO_ROW, OldImage, Op};

use super::*;
use crate::CopyDecoder;
use crate::testing::table;

fn read(relation: &Relation, text: &str) -> Result<ChangeBatch, Error> {
    let chunk = Bytes::copy_from_slice(text.as_bytes());
    let mut decoder = CopyDecoder::new(relation.clone().into(), commit(16));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        decoder.row(&chunk, start..start + line.len())?;
        start += line.len();
    }
    let batch = decoder.take();
    assert_whole(&batch);
    Ok(batch)
}

#[test]
fn lines_become_inserts() {
    let relation = table(1, "t", &[("id", 23), ("a", 25), ("b", 25)]);
    let check = |text: &str, expected: &[&str]| {
        let batch = read(&relation, text).unwrap();
        let rows: Vec<_> = (0..batch.rows.num_rows()).map(|index| row(&batch.rows, index, &[])).collect();
        assert_eq!(rows, expected, "{text:?}");
    };
    check("", &[]);
    check("1\tx\ty\n2\t\\N\t\n", &["1 x y", "2 NULL "]);
    check("1\tx\ty", &["1 x y"]);
    check("1\tx\ty\n\\.\n", &["1 x y"]);
    check("\\N\t\\N\t\\N\n", &["NULL NULL NULL"]);
    check("1\ta\\tb\tc\\nd\n", &["1 a\tb c\nd"]);
    check("1\t\\\\\t\\\\N\n", &["1 \\ \\N"]);
    check("1\t\\\\\\\\\tend\\\\\n", &["1 \\\\ end\\"]);
    check(
        "1\ta text with\\ra long escape\tand a long text without\n",
        &["1 a text with\ra long escape and a long text without"],
    );
}

#[test]
fn a_batch_is_one_commit_with_ordinals_that_go_on() {
    let relation = table(1, "t", &[("id", 23)]);
    let chunk = Bytes::from_static(b"1\n22\n3\n");
    let mut decoder = CopyDecoder::new(relation.into(), commit(16));
    decoder.row(&chunk, 0..2).unwrap();
    decoder.row(&chunk, 2..5).unwrap();
    assert_eq!((decoder.pending_rows(), decoder.pending_bytes()), (2, 5));
    let batch = decoder.take();
    assert_eq!((batch.commits.as_slice(), batch.bytes), (&[commit(16)][..], 5));
    assert!(
        batch.changes.iter().all(|c| (c.op, c.old_image, c.bucket, c.old) == (Op::Read, OldImage::None, 0, NO_ROW))
    );
    assert_eq!(batch.changes.iter().map(|change| change.ordinal).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((decoder.pending_rows(), decoder.pending_bytes()), (0, 0));
    decoder.row(&chunk, 5..7).unwrap();
    let batch = decoder.take();
    assert_eq!((batch.changes[0].ordinal, batch.commits.len()), (2, 1));
}

#[test]
fn what_is_no_line_is_named() {
    let relation = table(1, "t", &[("id", 23), ("a", 25)]);
    let check = |text: &str, expected: &str| {
        let message = read(&relation, text).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("table `public.t`"), "{expected}: {message}");
    };
    check("1\tx\n2\n", "row 2 of the copy: the line has 1 columns where the table has 2");
    check("\n", "row 1 of the copy: the line has 1 columns");
    check("1\tx\ty\n", "has 3 columns");
    check("1\tx\\\n", "column `a`, row 1 of the copy");
    check("1\tx\\q\n", "column `a`");
    check("1\tx\\N\n", "column `a`");
    check("1\t\\Nx\n", "column `a`");
    let chunk = Bytes::from_static(b"1\n1\tx\n");
    let mut decoder = CopyDecoder::new(relation.clone().into(), commit(16));
    let error = decoder.row(&chunk, 0..2).unwrap_err();
    assert_eq!(decoder.row(&chunk, 2..6).unwrap_err(), error, "an error stays");
    assert!(CopyDecoder::new(relation.into(), commit(16)).row(&chunk, 0..9).is_err());
}

#[test]
fn tables_of_no_and_one_column_have_empty_lines() {
    assert_eq!(read(&table(1, "none", &[]), "\n\n").unwrap().rows.num_rows(), 2);
    assert!(read(&table(1, "none", &[]), "x\n").is_err());
    let batch = read(&table(1, "one", &[("a", 25)]), "\n\\N\n").unwrap();
    assert_eq!((show(batch.rows.column(0), 0), show(batch.rows.column(0), 1)), (String::new(), "NULL".to_owned()));
}

#[test]
fn text_is_not_copied_where_it_has_no_escape() {
    use arrow_array::cast::AsArray;
    let relation = table(1, "t", &[("a", 25), ("b", 25)]);
    let chunk = Bytes::from_static(b"text that is taken as it is\ttext with \\\\ is written anew\n");
    let mut decoder = CopyDecoder::new(relation.into(), commit(16));
    decoder.row(&chunk, 0..chunk.len()).unwrap();
    let batch = decoder.take();
    let text = |column: usize| batch.rows.column(column).as_string_view().value(0).to_owned();
    assert_eq!((text(0).as_str(), text(1).as_str()), ("text that is taken as it is", "text with \\ is written anew"));
    assert!(lies_in(batch.rows.column(0).as_string_view().value(0), &chunk));
    assert!(!lies_in(batch.rows.column(1).as_string_view().value(0), &chunk));
}
