//! What an index is made with.

use std::path::Path;

use serde_json::Value;

use super::mapping::{Origin, propose};
use super::preflight::malformed;
use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub struct Making {
    pub mappings: Value,
    pub settings: Value,
}

impl Making {
    pub(super) fn proposed(documents: &arrow_schema::Schema, origin: &Origin<'_>) -> Making {
        Making { mappings: propose(documents, origin), settings: Value::Null }
    }

    /// From a file: a mapping alone, or what `PUT index` takes, with `mappings` and `settings`.
    pub(super) fn read(path: &Path, origin: &Origin<'_>) -> Result<Making> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::failed(format!("mapping `{shown}` cannot be read")).with_cause(error))?;
        let mut file: Value = serde_json::from_str(&text)
            .map_err(|error| Error::failed(format!("mapping `{shown}` is not JSON")).with_cause(error))?;
        let Some(keys) = file.as_object_mut() else {
            return Err(Error::failed(format!("mapping `{shown}` is no object with `properties`")));
        };
        let (mut mappings, settings) = match keys.remove("mappings") {
            None => (file, Value::Null),
            Some(mappings) => {
                let settings = keys.remove("settings").unwrap_or_default();
                if let Some(other) = keys.keys().next() {
                    return Err(Error::failed(format!(
                        "mapping `{shown}` has `{other}` beside `mappings`: only `settings` is taken there"
                    )));
                }
                (mappings, settings)
            }
        };
        if !mappings.is_object() || !(settings.is_object() || settings.is_null()) {
            return Err(Error::failed(format!("mapping `{shown}`: `mappings` and `settings` are objects")));
        }
        if let Some(what) = malformed(&mappings) {
            return Err(Error::failed(format!("mapping `{shown}` {what}")));
        }
        mappings["_meta"]["tidemill"] = origin.meta();
        Ok(Making { mappings, settings })
    }
}
