//! A server of somebody else that the demo delivers to: looked at before anything is started, and left as it was.

use std::path::Path;

use super::compare::Reader;
use super::shop;
use super::shown::Shown;
use crate::config::Config;
use crate::deliver::{self, Sink};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The demo's part of the server: indices that were not there before.
#[derive(Debug)]
pub(super) struct Guest {
    reader: Reader,
    sink: Sink,
}

impl Guest {
    /// Makes sure that the server answers, lets us in, and has no index that the demo would write to.
    pub(super) async fn visit(reader: Reader, api_key: Option<&Secret>) -> Result<Guest> {
        let sink = sink(&reader.url, api_key)?;
        sink.product().await.map_err(|error| {
            Error::failed(format!("{error}: name another server by --sink, or leave it out for the embedded index"))
        })?;
        for expected in &shop::EXPECTED {
            let index = expected.index;
            let found = sink.index(index).await.map_err(|error| Error::failed(error.to_string()))?;
            if found.is_some() {
                let Shown { url, curl } = Shown::new(&reader.url, api_key.is_some());
                return Err(Error::failed(format!(
                    "index `{index}` is there already, and the demo would mix its own documents with it: delete it \
                     (`{curl} -X DELETE {url}/{index}`), or name another server by --sink"
                )));
            }
        }
        Ok(Guest { reader, sink })
    }

    /// Removes what the demo made.
    pub(super) async fn leave(&self) -> Result<()> {
        for expected in &shop::EXPECTED {
            let index = expected.index;
            let stays = |error: String| Error::failed(format!("index `{index}` is left behind on the server: {error}"));
            if self.sink.index(index).await.map_err(|error| stays(error.to_string()))?.is_some() {
                let deleted = self.reader.call(reqwest::Method::DELETE, &format!("/{index}"), None).await;
                deleted.map_err(|error| stays(error.to_string()))?;
            }
        }
        Ok(())
    }
}

/// As the engine reaches it by the configuration that the demo writes.
fn sink(url: &str, api_key: Option<&Secret>) -> Result<Sink> {
    let text = shop::configuration("postgres://demo@localhost/demo", &shop::sink(url, api_key.is_some()));
    let variable = |name: &str| api_key.filter(|_| name == shop::KEY_VARIABLE).map(|key| key.expose().to_owned());
    let config = Config::parse(&text, Path::new("--sink"), &variable).map_err(|error| {
        // The place in a file that nobody wrote says nothing.
        let message = error.to_string();
        let (_, what) = message.split_once(": ").unwrap_or(("", &message));
        Error::usage(format!("--sink: {what}"))
    })?;
    let sink = config.sinks.values().next().expect("the demo's configuration has one");
    Sink::new(deliver::options(sink)?).map_err(|error| Error::failed(error.to_string()))
}
