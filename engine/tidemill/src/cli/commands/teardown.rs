//! `teardown`: leaves nothing behind in the database that could fill its disk.

use std::path::Path;

use serde_json::json;

use super::super::arguments::TeardownArguments;
use super::super::output::Output;
use crate::config::Config;
use crate::control::{self, Request};
use crate::error::{Error, Result};
use crate::pipeline::connector;
use crate::source::publication::PublicationInfo;
use crate::source::{publication, slot};
use crate::state::{Made, State};

pub(super) async fn teardown(path: &Path, asked: &TeardownArguments) -> Result<()> {
    let config = Config::load(path)?;
    if control::send(&config.state, &Request::Status, super::ANSWER_PATIENCE)?.is_some() {
        return Err(Error::failed("an engine is running with this state: stop it first"));
    }
    let known = match State::read(&config.state)? {
        Some(state) => state.source()?,
        None => None,
    };
    let name = &config.source.slot;
    let session = connector(&config)?.sql().await?;
    let slot_found = slot::inspect(&session, name).await?;
    let publication_found = publication::inspect(&session, &config.source.publication).await?;
    // A slot that others made is left to them; without a state nobody knows, and the configuration names it.
    let drops_slot = slot_found.is_some() && known.as_ref().is_none_or(|known| known.slot_made == Made::ByUs);
    let drops_publication = publication_found.as_ref().is_some_and(PublicationInfo::is_kept);
    let left = publication_found.filter(|found| found.is_ours && !found.owned);
    let left_sql = left.as_ref().map(|found| publication::drop_sql(&found.name));
    let has_state = config.state.exists();
    let mut goes = Vec::new();
    if drops_slot {
        goes.push(format!("slot `{}`", name.as_str()));
    }
    if drops_publication {
        goes.push(format!("publication `{}`", config.source.publication));
    }
    if has_state {
        goes.push(format!("state `{}` with its dead letters", config.state.display()));
    }
    let mut output = Output::stdout();
    if let (Some(found), Some(sql), false) = (&left, &left_sql, asked.json) {
        let (name, owner) = (&found.name, &found.owner);
        output.text(&format!("publication `{name}` belongs to `{owner}` and stays: let its owner run `{sql}`"))?;
    }
    if goes.is_empty() {
        return match asked.json {
            true => output.json(&json!({ "dropped": goes, "left": left_sql })),
            false => output.text("there is nothing to drop"),
        };
    }
    if !asked.json {
        output.text(&format!("drops {}; indices stay", goes.join(", ")))?;
    }
    if !asked.yes && !output.ask("drop them?", "say --yes to drop them without a question")? {
        return Err(Error::failed("nothing was dropped"));
    }
    if drops_slot {
        slot::drop(&session, name).await?;
    }
    if drops_publication {
        publication::drop(&session, &config.source.publication).await?;
    }
    if has_state {
        State::remove(&config.state)?;
    }
    match asked.json {
        true => output.json(&json!({ "dropped": goes, "left": left_sql })),
        false => output.text("done"),
    }
}
