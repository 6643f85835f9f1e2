//! The crate's one error: a message that names the thing and the way out, whether trying again can help, and what it means
//! for the exit code.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong. The message is lowercase and never holds a secret or a row's values.
pub struct Error {
    kind: Kind,
    message: String,
    cause: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The command line and the file alone tell that it is wrong.
    Usage,
    /// The world may change: the same thing, tried again later, can succeed.
    Transient,
    Failed,
    /// The answer to the question was "differs".
    Differs,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), cause: None }
    }

    /// What can be told from the command line and the file alone: exit code 2.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// A file that was named and cannot be read.
    pub fn unreadable(path: &Path, error: std::io::Error) -> Error {
        Error::usage(format!("`{}` cannot be read", path.display())).with_cause(error)
    }

    /// What may succeed when it is tried again.
    pub fn transient(message: impl Into<String>) -> Error {
        Error::new(Kind::Transient, message)
    }

    pub fn failed(message: impl Into<String>) -> Error {
        Error::new(Kind::Failed, message)
    }

    /// Not a failure of ours: two things that should be equal are not. Exit code 3.
    pub fn differs(message: impl Into<String>) -> Error {
        Error::new(Kind::Differs, message)
    }

    /// Keeps what lay underneath; it is shown after the message.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Cause>) -> Error {
        self.cause = Some(cause.into());
        self
    }

    pub fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }

    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Transient
    }

    pub fn is_differs(&self) -> bool {
        self.kind == Kind::Differs
    }

    /// 2: wrong by the command line and the file alone; 3: the answer is "differs"; 1: anything else.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Differs => 3,
            Kind::Transient | Kind::Failed => 1,
        }
    }
}

impl From<crate::source::Error> for Error {
    fn from(error: crate::source::Error) -> Error {
        let message = error.to_string();
        match error.kind() {
            crate::source::Kind::Config => Error::usage(message),
            _ if error.is_transient() => Error::transient(message),
            _ => Error::failed(message),
        }
    }
}

impl From<tidemill_decode::Error> for Error {
    fn from(error: tidemill_decode::Error) -> Error {
        Error::failed(error.to_string())
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> ExitCode {
        ExitCode::from(error.exit_code())
    }
}

impl fmt::Display for Error {
    /// The message and all causes, since each is read by a person in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.cause.as_ref().map(|cause| cause.as_ref() as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

// `source` stays empty: `Display` shows the causes already, and whoever prints the chain would print them twice.
impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [Error::usage(""), Error::failed(""), Error::transient(""), Error::differs("")];
        assert_eq!(codes.map(|error| error.exit_code()), [2, 1, 1, 3]);
    }

    #[test]
    fn causes_follow_the_message() {
        let error = Error::failed("`a.pem` cannot be read").with_cause(std::io::Error::other("gone"));
        assert_eq!(error.to_string(), "`a.pem` cannot be read: gone");
        assert_eq!(format!("{error:?}"), "Failed(`a.pem` cannot be read: gone)");
    }
}
