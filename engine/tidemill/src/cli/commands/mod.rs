//! What each command does, once its arguments are read.

mod bench;
mod capture;
mod check;
mod dead_letters;
mod engine;
mod plugin;
mod replay;
mod teardown;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::{Arguments, Command, DemoArguments, IndexArguments, StreamArguments};
use super::output::Output;
use crate::config::{self, Config};
use crate::control::{self, Request};
use crate::error::{Error, Result};
use crate::{demo, signals};

/// A running engine answers a command within this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// The engine's tasks: one core may read and decode while another delivers. Plugins run on threads of their own.
const RUNTIME_THREADS: usize = 2;

pub(super) fn dispatch(arguments: &Arguments) -> Result<()> {
    let path = &arguments.global.config;
    match &arguments.command {
        Command::Schema => Output::stdout().text(&format!("{:#}", config::schema())),
        Command::Completions { shell } => super::completions(*shell),
        Command::Run(run) => engine::run(path, run),
        Command::Check(asked) => block_on(check::check(path, asked)),
        Command::Status(json) => engine::status(path, json.json),
        Command::Pause(asked) => ask(path, asked, &Request::Pause { stream: asked.stream.clone() }),
        Command::Resume(asked) => ask(path, asked, &Request::Resume { stream: asked.stream.clone() }),
        Command::Backfill(asked) => {
            let asked = StreamArguments { stream: asked.stream.clone(), json: asked.json };
            ask(path, &asked, &Request::Backfill { stream: asked.stream.clone() })
        }
        Command::DeadLetters(asked) => dead_letters::run(path, asked),
        Command::Teardown(asked) => block_on(teardown::teardown(path, asked)),
        Command::Plugin(asked) => plugin::run(asked),
        Command::Capture(asked) => block_on(capture::capture(path, asked)),
        Command::Index(index) => block_on(serve(index)),
        Command::Demo(asked) => block_on(demonstrate(asked)),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_stack_size(tidemill_stage::Limits::THREAD_STACK_BYTES)
        .enable_all()
        .build();
    runtime.map_err(|error| Error::failed("no threads can be made").with_cause(error))?.block_on(work)
}

/// Asks the running engine; where none runs, does what can be done in the state alone.
fn ask(path: &Path, asked: &StreamArguments, request: &Request) -> Result<()> {
    let config = Config::load(path)?;
    config.stream(&asked.stream)?;
    let answer = match control::send(&config.state, request, ANSWER_PATIENCE)? {
        Some(answer) => answer,
        None => engine::without_engine(&config, request)?,
    };
    if asked.json {
        return Output::stdout().json(&answer);
    }
    let stream = &asked.stream;
    let running = answer["running"] != json!(false);
    let next = if running { "" } else { "; no engine is running, so with the next `tidemill run`" };
    Output::stdout().text(&match request {
        Request::Pause { .. } => {
            format!("stream `{stream}` is paused{next}: the slot keeps its WAL until `tidemill resume {stream}`")
        }
        Request::Resume { .. } => format!("stream `{stream}` goes on{next}"),
        _ => {
            let tables: Vec<&str> =
                answer["tables"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("stream `{stream}` reads {} anew{next}", tables.join(", "))
        }
    })
}

/// `tidemill index`: the embedded index until it is told to stop.
async fn serve(index: &IndexArguments) -> Result<()> {
    let mut stop = signals::stop(index.with_stdin)?;
    let options = tidemill_embedded::Options { dir: index.dir.clone(), listen: index.listen, ..Default::default() };
    let server = tidemill_embedded::Server::bind(options).await.map_err(|error| Error::failed(error.to_string()))?;
    Output::stdout().text(&format!("the embedded index, for demos and tests, listens on http://{}", server.addr()))?;
    let stopped = async move {
        let _told = stop.wait_for(|stop| *stop).await;
    };
    server.run(stopped).await.map_err(|error| Error::failed(error.to_string()))
}

async fn demonstrate(asked: &DemoArguments) -> Result<()> {
    let stop = signals::stop(false)?;
    let options = demo::Options {
        rows: asked.rows,
        seconds: asked.seconds,
        keep: asked.keep,
        json: asked.json,
        sink: asked.sink.clone(),
        api_key: asked.api_key.clone(),
        break_one: asked.break_one,
    };
    demo::run(options, stop).await
}
