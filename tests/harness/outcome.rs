//! How a command ended, and what it said.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{PATIENCE, await_some};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn of(command: Command) -> Outcome {
        Outcome::within(PATIENCE, command)
    }

    /// The same with a bound of its own; a command that does not end by then is killed, and the story fails.
    #[track_caller]
    pub(crate) fn within(patience: Duration, mut command: Command) -> Outcome {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let status = await_some(patience, || child.try_wait().expect("a child"));
        if status.is_none() {
            child.kill().expect("it was running");
            child.wait().expect("it ends");
        }
        let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("a reader does not panic");
        let code = status.and_then(|status: ExitStatus| status.code()).unwrap_or(-1);
        let outcome = Outcome { code, stdout: text(stdout), stderr: text(stderr) };
        assert!(status.is_some(), "{command:?} did not end within {patience:?}: {outcome}");
        outcome
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The error names the thing and the way out, and the code says of which sort it is.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        for word in words {
            assert!(says(&self.stderr, word) || says(&self.stdout, word), "nothing says `{word}`: {self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
    }

    /// It did what it should.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Outcome {
        assert_eq!(self.code, 0, "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }
}

/// Whether a text holds a word, or one of several with `|` between, small letters or not.
pub(crate) fn says(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    word.split('|').any(|word| text.contains(&word.to_lowercase()))
}

fn collect(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut from = from.expect("piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before the pipe broke is better than nothing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}
