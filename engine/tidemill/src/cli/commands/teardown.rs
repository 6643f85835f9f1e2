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
use crate::source::quote::ident;
use crate::source::slot::{SlotInfo, SlotName};
use crate::source::{ServerInfo, Session, publication, slot};
use crate::state::{Made, SourceState, State};

/// What there is to drop.
struct Goes {
    session: Option<Session>,
    slot: Option<SlotName>,
    publication: Option<String>,
    state: bool,
    /// What stays for somebody else to drop.
    left: Option<Left>,
}

struct Left {
    /// What it is and why it stays.
    says: String,
    sql: String,
}

impl Goes {
    fn list(&self, config: &Config) -> Vec<String> {
        let slot = self.slot.as_ref().map(|name| format!("slot `{name}`"));
        let publication = self.publication.as_ref().map(|name| format!("publication `{name}`"));
        let state = self.state.then(|| format!("state `{}` with its dead letters", config.state.display()));
        [slot, publication, state].into_iter().flatten().collect()
    }
}

pub(super) async fn teardown(path: &Path, asked: &TeardownArguments) -> Result<()> {
    let config = Config::load(path)?;
    if control::send(&config.state, &Request::Status, super::ANSWER_PATIENCE)?.is_some() {
        return Err(Error::failed("an engine is running with this state: stop it first"));
    }
    let known = match State::read(&config.state)? {
        Some(state) => state.source()?,
        None => None,
    };
    let goes = match asked.state_only {
        true => without_source(&config, known.as_ref())?,
        false => look(&config, known.as_ref()).await?,
    };
    let list = goes.list(&config);
    let mut output = Output::stdout();
    if let Some(Left { says, sql }) = goes.left.as_ref().filter(|_| !asked.json) {
        output.text(&format!("{says}\n{sql}"))?;
    }
    if list.is_empty() {
        return answer(&mut output, asked, &goes, &list, "there is nothing to drop");
    }
    if !asked.json {
        output.text(&format!("drops {}; indices stay", list.join(", ")))?;
    }
    if !asked.yes && !output.ask("drop them?", "say --yes to drop them without a question")? {
        return Err(Error::failed("nothing was dropped"));
    }
    if let Some(session) = &goes.session {
        // What somebody else has dropped meanwhile is gone all the same.
        if let Some(name) = &goes.slot {
            slot::drop(session, name).await?;
        }
        if let Some(name) = &goes.publication {
            publication::drop(session, name).await?;
        }
    }
    if goes.state {
        State::remove(&config.state)?;
    }
    answer(&mut output, asked, &goes, &list, "done")
}

fn answer(output: &mut Output, asked: &TeardownArguments, goes: &Goes, list: &[String], words: &str) -> Result<()> {
    if !asked.json {
        return output.text(words);
    }
    let sql = goes.left.as_ref().map(|left| &left.sql);
    output.json(&json!({ "dropped": list, "left_sql": sql }))
}

/// The state knows better than the file what it follows.
fn names(config: &Config, known: Option<&SourceState>) -> Result<(SlotName, String)> {
    let slot = known.map_or(config.source.slot.as_str(), |known| known.identity.slot.as_str());
    let publication = known.map_or(config.source.publication.as_str(), |known| known.publication.as_str());
    Ok((slot.parse()?, publication.to_owned()))
}

async fn look(config: &Config, known: Option<&SourceState>) -> Result<Goes> {
    let (name, publication) = names(config, known)?;
    let session = connector(config)?.sql().await.map_err(|error| {
        let error = Error::from(error);
        Error::failed(format!(
            "{error}; slot `{name}` and publication `{publication}` cannot be dropped without the database: \
             `tidemill teardown --state-only` removes the state alone, and says what to run there"
        ))
    })?;
    if let Some(known) = known {
        let server = ServerInfo::read(&session).await?;
        if (known.identity.system_identifier, &known.identity.database) != (server.system, &server.database) {
            return Err(Error::failed(format!(
                "the state follows slot `{name}` of database `{}` in cluster {}, and `source.url` leads elsewhere: name that \
                 database, or remove the state alone by `tidemill teardown --state-only`",
                known.identity.database, known.identity.system_identifier
            )));
        }
    }
    let found = slot::inspect(&session, &name).await?;
    // A slot that others made is left to them; without a state nobody knows, and the configuration names it.
    let found = found.filter(|_| known.is_none_or(|known| known.slot_made == Made::ByUs));
    if let Some(pid) = found.as_ref().and_then(|slot| slot.active_pid) {
        let holder = holder(&session, pid).await?;
        return Err(Error::failed(format!(
            "slot `{name}` is in use by process {pid} of the server{holder}: end that one first; nothing was dropped"
        )));
    }
    let published = publication::inspect(&session, &publication).await?;
    let is_kept = published.as_ref().is_some_and(PublicationInfo::is_kept);
    let left = published.filter(|found| found.is_ours && !found.owned).map(|found| Left {
        says: format!("publication `{publication}` belongs to `{}` and stays: let its owner run", found.owner),
        sql: publication::drop_sql(&publication),
    });
    Ok(Goes {
        session: Some(session),
        slot: found.map(|SlotInfo { name, .. }| name),
        publication: is_kept.then_some(publication),
        state: config.state.exists(),
        left,
    })
}

/// Who streams from the slot, as far as our role may know.
async fn holder(session: &Session, pid: i32) -> Result<String> {
    let query =
        "SELECT usename::text, application_name, host(client_addr) FROM pg_catalog.pg_stat_activity WHERE pid = $1";
    let found = session.query_opt(query, &[&pid]).await.map_err(crate::source::Error::from)?;
    let Some(row) = found else { return Ok(String::new()) };
    let named = [("user", row.get::<_, Option<String>>(0)), ("application", row.get(1)), ("from", row.get(2))];
    let known =
        named.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name.filter(|n| !n.is_empty())?)));
    let known = known.collect::<Vec<_>>().join(", ");
    Ok(if known.is_empty() { known } else { format!(" ({known})") })
}

fn without_source(config: &Config, known: Option<&SourceState>) -> Result<Goes> {
    let (name, publication) = names(config, known)?;
    let sql =
        format!("SELECT pg_drop_replication_slot('{name}');\nDROP PUBLICATION IF EXISTS {};", ident(&publication));
    let says = format!(
        "leaves slot `{name}` and publication `{publication}` as they are. Where they are still there, this drops them:"
    );
    let left = Some(Left { says, sql });
    Ok(Goes { session: None, slot: None, publication: None, state: config.state.exists(), left })
}
