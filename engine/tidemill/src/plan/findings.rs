//! What was looked at and found right or wrong: `check` prints all of it, `run` stops at what is wrong.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::source::Runner;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// What it is about: `source`, `sink main`, `stream products`.
    pub subject: String,
    pub message: String,
    /// The statements that mend it, where SQL can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Who may run them.
    #[serde(skip)]
    pub runner: Runner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Right,
    /// It works, and may not be what was meant.
    Warning,
    Wrong,
}

/// All that was found so far.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub list: Vec<Finding>,
    /// The first that lets nothing run, as an error.
    first: Option<(bool, String)>,
}

impl Findings {
    pub fn right(&mut self, subject: &str, message: impl Into<String>) {
        self.add(Verdict::Right, subject, message.into(), None);
    }

    pub fn warn(&mut self, subject: &str, message: impl Into<String>) {
        self.add(Verdict::Warning, subject, message.into(), None);
    }

    pub fn wrong(&mut self, subject: &str, message: impl Into<String>, sql: Option<String>) {
        let message = message.into();
        self.first.get_or_insert_with(|| (false, format!("{subject}: {message}")));
        self.add(Verdict::Wrong, subject, message, sql);
    }

    /// What is wrong with one stream alone: `check` says so, and `run` pauses it.
    pub fn pauses(&mut self, subject: &str, message: impl Into<String>, sql: Option<String>) {
        self.add(Verdict::Wrong, subject, message.into(), sql);
    }

    /// An error of the source, with the statements that it carries.
    pub fn source(&mut self, subject: &str, error: &crate::source::Error) {
        self.first.get_or_insert_with(|| (error.is_transient(), format!("{subject}: {error}")));
        self.add(Verdict::Wrong, subject, error.to_string(), error.sql().map(str::to_owned));
        self.list.last_mut().expect("added above").runner = error.runner();
    }

    /// Keeps what is right; what is not is written down.
    pub fn take<T>(&mut self, subject: &str, result: crate::source::Result<T>) -> Option<T> {
        result.map_err(|error| self.source(subject, &error)).ok()
    }

    /// How many are wrong so far.
    pub fn wrong_count(&self) -> usize {
        self.list.iter().filter(|finding| finding.verdict == Verdict::Wrong).count()
    }

    pub fn is_right(&self) -> bool {
        self.wrong_count() == 0
    }

    /// An error where something is wrong that lets nothing run: the first in full, and how many more there are.
    pub fn require(&self) -> Result<()> {
        let Some((transient, first)) = &self.first else { return Ok(()) };
        let message = match self.wrong_count() {
            0 | 1 => first.clone(),
            more => format!("{first}; `tidemill check` shows {} more", more - 1),
        };
        Err(if *transient { Error::transient(message) } else { Error::failed(message) })
    }

    fn add(&mut self, verdict: Verdict, subject: &str, message: String, sql: Option<String>) {
        self.list.push(Finding { verdict, subject: subject.to_owned(), message, sql, runner: Runner::Owner });
    }
}
