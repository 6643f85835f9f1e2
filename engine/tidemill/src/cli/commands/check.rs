//! `check`: proves that everything is ready, by looking at all of it and doing what can be undone.

use std::path::Path;

use serde_json::json;
use tidemill_change::{Epoch, Lsn};

use super::super::arguments::CheckArguments;
use super::super::output::Output;
use crate::config::Config;
use crate::control::{self, Request};
use crate::deliver::{self, Preparation, Sink};
use crate::error::{Error, Result};
use crate::pipeline::{Changed, Look, connector, say_blockers};
use crate::plan::{self, Findings, Plan, Plugins, Verdict};
use crate::source::publication::{self, Actions, Wanted};
use crate::source::slot::{self, SlotName};
use crate::source::{Connector, Session};
use crate::state::State;

const SOURCE: &str = "source";

pub(super) async fn check(path: &Path, asked: &CheckArguments) -> Result<()> {
    let config = Config::load(path)?;
    let connector = connector(&config)?;
    let mut findings = Findings::default();
    let mut script = None;
    look_at_state(&config, &mut findings);
    // Before the server is looked at: what an engine beside us receives meanwhile is no sign that the server went back.
    let reached = match State::read(&config.state)? {
        Some(state) => state.source()?.map(|known| known.reached()).unwrap_or_default(),
        None => Lsn::ZERO,
    };
    if let Some(session) = findings.take(SOURCE, connector.sql().await) {
        let plan = Plan::resolve(&config, &session, &connector, &mut Plugins::default(), &mut findings).await?;
        if let Some(plan) = plan {
            look_at_source(&config, &plan, &connector, &session, reached, &mut findings).await?;
            look_at_sinks(&config, &plan, &mut findings).await;
            script = Some(plan::script(&findings, &plan.server));
        }
    }
    if asked.sql {
        let script = script.ok_or_else(|| {
            findings.require().err().unwrap_or_else(|| Error::failed("the source cannot be looked at"))
        })?;
        return Output::stdout().text(&script);
    }
    let is_right = findings.is_right();
    if asked.json {
        Output::stdout().json(&json!({ "ok": is_right, "findings": findings.list }))?;
    } else {
        Output::stdout().text(&render(&findings))?;
    }
    if is_right { Ok(()) } else { Err(Error::failed("not everything is ready: see the lines with ✗")) }
}

fn render(findings: &Findings) -> String {
    let line = |finding: &crate::plan::Finding| {
        let mark = match finding.verdict {
            Verdict::Right => '✓',
            Verdict::Warning => '!',
            Verdict::Wrong => '✗',
        };
        let sql = finding.sql.iter().flat_map(|sql| sql.lines()).map(|line| format!("\n      {line}"));
        format!("{mark} {}: {}{}", finding.subject, finding.message, sql.collect::<String>())
    };
    findings.list.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Proves that the state can be written where it is or will be, and beside it.
fn look_at_state(config: &Config, findings: &mut Findings) {
    let folder = config.state.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = tempfile::Builder::new().prefix(".tidemill-check-").tempfile_in(folder) {
        let message = format!(
            "cannot write in `{}`, where the state `{}` belongs: make the folder writable, or name another file by `state:`: {error}",
            folder.display(),
            config.state.display()
        );
        findings.wrong("state", message, None);
    } else if let Err(error) = State::prove_writable(&config.state) {
        findings.wrong("state", error.to_string(), None);
    }
}

async fn look_at_source(
    config: &Config,
    plan: &Plan,
    connector: &Connector,
    session: &Session,
    reached: Lsn,
    findings: &mut Findings,
) -> Result<()> {
    let name = &config.source.slot;
    let found = findings.take(SOURCE, slot::inspect(session, name).await);
    let mut is_gone = false;
    if let (Some(slot), Some(state)) = (&found, State::read(&config.state)?) {
        let look = Look { plan, name, slot: slot.as_ref(), reached, state: &state };
        is_gone = look.is_gone()?;
        for difference in look.differences(Changed::Refuse)? {
            findings.wrong(&difference.subject, difference.error.to_string(), None);
        }
    }
    let may_replicate = prove_replication(plan, connector, findings).await;
    match found {
        Some(Some(slot)) => {
            // Our own engine may well stream from it.
            let runs = matches!(control::send(&config.state, &Request::Status, super::ANSWER_PATIENCE), Ok(Some(_)));
            let free = if runs { Ok(()) } else { slot.require_free() };
            if findings.take(SOURCE, slot.require_usable(&plan.server.database).and(free)).is_some() {
                findings.right(SOURCE, format!("slot `{}` is there", name.as_str()));
            }
        }
        // That has been said.
        Some(None) if is_gone => {}
        Some(None) if may_replicate => prove_slot(plan, connector, name, findings).await,
        Some(None) => {}
        None => {}
    }
    let tables: Vec<_> = plan.tables().iter().map(|table| (**table).clone()).collect();
    if tables.iter().filter_map(|table| table.require_identity().err()).any(|error| error.sql().is_none()) {
        // Told already, and no script may publish it.
        return Ok(());
    }
    let wanted = Wanted { name: &config.source.publication, tables: &tables, actions: Actions::ALL };
    if let Some(found) = findings.take(SOURCE, publication::preview(session, &plan.server.user, wanted).await) {
        let message = match found {
            Some(_) => format!("publication `{}` is there", config.source.publication),
            None => format!("publication `{}` can be made", config.source.publication),
        };
        findings.right(SOURCE, message);
    }
    Ok(())
}

/// Whatever else is wrong with the server: a session of its own, since no catalog tells who may replicate.
async fn prove_replication(plan: &Plan, connector: &Connector, findings: &mut Findings) -> bool {
    let server = &plan.server;
    let proved = findings.take(SOURCE, slot::prove_replication(connector).await).is_some();
    if proved {
        let message = format!(
            "user `{}` may replicate; {} of {} replication slots and {} of {} WAL senders are in use",
            server.user, server.slots_used, server.slots_max, server.senders_used, server.senders_max
        );
        findings.right(SOURCE, message);
    }
    proved
}

/// Privileges are proved by doing: a temporary slot on a replication connection, gone with its session.
async fn prove_slot(plan: &Plan, connector: &Connector, name: &SlotName, findings: &mut Findings) {
    let free = [plan.server.require_free_slot(), plan.server.require_free_sender(), plan.server.require_logical()];
    if free.iter().any(Result::is_err) {
        free.into_iter().take(2).for_each(|free| {
            findings.take(SOURCE, free);
        });
        return;
    }
    if findings.take(SOURCE, slot::prove(connector, say_blockers).await).is_some() {
        findings.right(SOURCE, format!("slot `{}` can be made", name.as_str()));
    }
}

async fn look_at_sinks(config: &Config, plan: &Plan, findings: &mut Findings) {
    for sink_config in config.sinks.values() {
        let subject = format!("sink {}", sink_config.name);
        let sink = match deliver::options(sink_config)
            .and_then(|options| Sink::new(options).map_err(|error| Error::failed(error.to_string())))
        {
            Ok(sink) => sink,
            Err(error) => {
                findings.wrong(&subject, error.to_string(), None);
                continue;
            }
        };
        match sink.product().await {
            Ok(product) => findings.right(&subject, format!("reached: {} {}", product.name, product.version)),
            Err(error) => {
                findings.wrong(&subject, error.to_string(), None);
                continue;
            }
        }
        for stream in plan.streams.iter().filter(|stream| stream.sink == sink_config.name) {
            // What is wrong with it the plan has told.
            if let Ok(preparation) = Preparation::of(stream, plan.server.system, Epoch::default()) {
                preparation.look(&sink, &format!("stream {}", stream.name), findings).await;
            }
        }
    }
}
