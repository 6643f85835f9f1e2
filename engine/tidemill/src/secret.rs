//! Secrets: values that never appear in logs, errors, metrics or answers. They come from the configuration or from a file,
//! and what came from a file can be read again when it changed.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// No password or token is larger; what is, is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A value that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret { value: value.into(), file: None }
    }

    /// Reads a secret from a file, without the line break that editors put at its end.
    pub fn from_file(path: &Path) -> Result<Secret> {
        let refuse = |why: String| Error::usage(format!("the secret file `{}` {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| refuse(format!("cannot be read: {e}")))?.len();
        if size > SECRET_BYTES_MAX {
            return Err(refuse(format!("is larger than {SECRET_BYTES_MAX} bytes: is it the right one?")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let value = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        if value.is_empty() {
            return Err(refuse("is empty".to_owned()));
        }
        Ok(Secret { value: value.to_owned(), file: Some(path.to_owned()) })
    }

    /// The value itself: for the wire only.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The secret as its file has it now; one that did not come from a file stays what it is.
    pub fn reload(&self) -> Result<Secret> {
        match &self.file {
            Some(path) => Secret::from_file(path),
            None => Ok(self.clone()),
        }
    }

    /// Whether `other` is this secret, in a time that does not tell how much of it is right.
    pub fn matches(&self, other: &str) -> bool {
        use sha2::{Digest, Sha256};
        // Equal lengths by hashing, then no early end.
        let (a, b) = (Sha256::digest(&self.value), Sha256::digest(other));
        a.iter().zip(b.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert!(secret.matches("hunter2") && !secret.matches("hunter") && !secret.matches(""));
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break_and_again_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "one\r\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(secret.expose(), "one");
        std::fs::write(&path, " two ").unwrap();
        assert_eq!(secret.reload().unwrap().expose(), " two ");
        std::fs::write(&path, "\n").unwrap();
        let error = secret.reload().unwrap_err();
        assert!(error.to_string().ends_with("/key` is empty") && error.is_usage(), "{error}");
        assert!(Secret::from_file(&dir.path().join("none")).unwrap_err().to_string().contains("/none` cannot be read"));
    }
}
