//! How answers look: lines and tables for people, one object for programs, and numbers that can be read aloud.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};

/// Where answers go.
pub struct Output {
    writer: Box<dyn Write>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Output")
    }
}

impl Output {
    pub fn stdout() -> Output {
        Output { writer: Box::new(io::stdout()) }
    }

    /// Writes text and a line break.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let written = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
        match written {
            // Whoever read has read enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Error::failed("the answer cannot be written").with_cause(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Writes one object in one line.
    pub fn json(&mut self, answer: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(answer)
            .map_err(|error| Error::failed("the answer cannot be written as JSON").with_cause(error))?;
        self.text(&text)
    }

    /// Asks on stderr and reads the answer. Where nobody sits there is none, and that is an error with the way out.
    pub fn ask(&self, question: &str, way_out: &str) -> Result<bool> {
        if !io::stdin().is_terminal() {
            return Err(Error::usage(format!("there is no terminal to ask on: {way_out}")));
        }
        let mut answer = String::new();
        let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stdin().read_line(&mut answer));
        asked.map_err(|error| Error::failed("the answer cannot be read").with_cause(error))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// Columns side by side under their names; the last one is as long as it likes.
pub fn table<const N: usize>(names: [&str; N], rows: &[[String; N]]) -> String {
    let width = |text: &str| text.chars().count();
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| width(&row[i])).chain([width(names[i])]).max().unwrap_or(0));
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(std::array::from_fn(|i| row[i].as_str())));
    std::iter::once(line(names)).chain(rows).collect::<Vec<_>>().join("\n")
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 letter`, `2,000 letters`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// `1.5 GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `12 ms`, `3.4 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=59 => format!("{:.1} s", time.as_secs_f64()),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([0, 999, 1000, 1234567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1023, 1024, 1 << 20, 1_600_000_000].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB"]
        );
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        let times = [12, 3_400, 125_000, 12_000_000].map(Duration::from_millis);
        assert_eq!(times.map(duration), ["12 ms", "3.4 s", "2 min 5 s", "3 h 20 min"]);
    }

    #[test]
    fn tables_stand_in_columns() {
        let rows =
            [["products".to_owned(), "ü".to_owned(), "5".to_owned()], ["a".to_owned(), "b".to_owned(), "".to_owned()]];
        assert_eq!(table(["STREAM", "X", "LAG"], &rows), "STREAM    X  LAG\nproducts  ü  5\na         b");
    }
}
