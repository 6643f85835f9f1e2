//! `tidemill demo`: the whole way on one machine, with nothing set up by hand.
//!
//! ```text
//!  private Postgres ──► tidemill run (a child, as an operator runs it) ──► tidemill index (a child) or --sink
//!        ▲   └──────────────── expected documents, by SQL ────────┐              │
//!    workload                                                  compare ◄── HTTP ─┘
//! ```
//!
//! The engine and the index are processes of their own, so that the engine's CPU can be told apart and the demo sees them
//! only as any user would. Both end when the demo does, however it ends: their standard input closes then.

mod compare;
mod guest;
mod json;
mod process;
mod report;
mod shop;
mod shown;
mod workload;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use tokio_postgres::NoTls;

use self::compare::{Comparison, Reader};
use self::guest::Guest;
use self::process::Child;
use self::report::{Report, Screen};
use self::shown::Shown;
use self::workload::Done;
use crate::cpu;
use crate::error::{Error, Result};
use crate::private_postgres::{Options as PostgresOptions, PrivatePostgres};
use crate::secret::Secret;

/// How long the engine may take to drain what the workload left.
const DRAIN_PATIENCE: Duration = Duration::from_secs(120);
/// How often the engine is asked how it stands.
const POLL: Duration = Duration::from_millis(200);
/// Sessions that change rows at the same time.
const SESSIONS: u64 = 2;

/// What the command line says.
#[derive(Debug)]
pub struct Options {
    pub rows: u64,
    pub seconds: u64,
    pub keep: bool,
    pub json: bool,
    /// A real server instead of the embedded index.
    pub sink: Option<String>,
    pub api_key: Option<Secret>,
    /// For tests: breaks a document before the comparison, which must then find it.
    pub break_one: bool,
}

/// The demo's folder and everything that runs in it.
struct Stage {
    postgres: PrivatePostgres,
    dir: tempfile::TempDir,
    index: Option<Child>,
    guest: Option<Guest>,
    sink_url: String,
    engine: Child,
}

/// Runs the demo. An error says that it could not be run; differing documents are an error of that kind.
pub async fn run(options: Options, mut stop: watch::Receiver<bool>) -> Result<()> {
    let screen = Screen::new(options.json);
    let stage = set(&options, &screen).await?;
    let played = tokio::select! {
        played = play(&options, &stage, &screen) => played,
        _ = stop.wait_for(|stop| *stop) => Err(Error::failed("told to stop")),
        () = screen.closed() => Err(Error::failed("nobody reads what the demo says")),
    };
    let keeps = options.keep && played.is_ok();
    if let Ok(report) = &played {
        screen.report(report);
    }
    if keeps {
        let config = stage.dir.path().join("tidemill.yaml");
        let shown = Shown::new(&stage.sink_url, options.api_key.is_some());
        screen.keep(&stage.postgres.psql(), &shown, &config, stage.guest.is_some());
        let _told = stop.wait_for(|stop| *stop).await;
    }
    let struck = strike(stage, &screen, keeps).await;
    let report = played?;
    struck?;
    if report.comparisons.iter().all(Comparison::is_equal) {
        return Ok(());
    }
    Err(Error::differs("the index and Postgres differ"))
}

/// Starts Postgres and the index, fills the shop, writes the configuration, starts the engine.
async fn set(options: &Options, screen: &Screen) -> Result<Stage> {
    let guest = match &options.sink {
        Some(url) => {
            let reader = Reader { client: http_client(options, url)?, url: url.trim_end_matches('/').to_owned() };
            Some(Guest::visit(reader, options.api_key.as_ref()).await?)
        }
        None => None,
    };
    let dir = tempfile::Builder::new()
        .prefix("tidemill-demo-")
        .tempdir()
        .map_err(|error| Error::failed("no temporary folder can be made").with_cause(error))?;
    screen.step("starting a private Postgres (a few seconds)");
    let postgres_options = PostgresOptions { beside: Some(dir.path().to_owned()), ..PostgresOptions::default() };
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(postgres_options))
        .await
        .map_err(|error| Error::failed("starting Postgres failed").with_cause(error))?
        .map_err(|error| Error::failed("the demo needs a Postgres of its own").with_cause(error))?;
    screen.step(&format!("filling the shop: {} products, {} orders", options.rows, options.rows / 10));
    let client = connect(&postgres).await?;
    let sql = |error: tokio_postgres::Error| Error::failed("the shop cannot be made").with_cause(error);
    client.batch_execute(shop::TABLES).await.map_err(sql)?;
    client.batch_execute(&shop::fill(options.rows)).await.map_err(sql)?;
    let (index, sink_url) = match &options.sink {
        Some(url) => (None, url.trim_end_matches('/').to_owned()),
        None => {
            let (child, url) = Child::index(&dir.path().join("index")).await?;
            (Some(child), url)
        }
    };
    let sink = shop::sink(&sink_url, options.api_key.is_some());
    let config = dir.path().join("tidemill.yaml");
    std::fs::write(&config, shop::configuration(&postgres.url(), &sink))
        .map_err(|error| Error::failed(format!("{} cannot be written", config.display())).with_cause(error))?;
    screen.step(&format!("starting the engine: tidemill run --config {}", config.display()));
    let engine = Child::engine(&config, options.api_key.as_ref()).await?;
    Ok(Stage { postgres, dir, index, guest, sink_url, engine })
}

async fn connect(postgres: &PrivatePostgres) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(&postgres.url(), NoTls)
        .await
        .map_err(|error| Error::failed("the demo's Postgres takes no connection").with_cause(error))?;
    tokio::spawn(connection);
    Ok(client)
}

/// Backfill, live changes, drain, comparison.
async fn play(options: &Options, stage: &Stage, screen: &Screen) -> Result<Report> {
    let mut report = Report::new(options.rows);
    let status = watch_backfill(stage, screen).await?;
    report.backfill(&status);

    let before = cpu::of(stage.engine.id());
    let start = Instant::now();
    let done = live(options, stage, screen).await?;
    let status = drain(stage, screen).await?;
    report.live(done, start.elapsed(), cpu::of(stage.engine.id()).saturating_sub(before), &status);

    let reader = Reader { client: http_client(options, &stage.sink_url)?, url: stage.sink_url.clone() };
    if options.break_one {
        break_one(&reader).await?;
    }
    screen.step("comparing every document with what Postgres says it should be");
    let mut client = connect(&stage.postgres).await?;
    for expected in &shop::EXPECTED {
        let comparison = compare::compare(&mut client, &reader, expected)
            .await
            .map_err(|error| Error::failed("the comparison could not be made").with_cause(error))?;
        report.comparisons.push(comparison);
    }
    report.search = search(&reader).await?;
    Ok(report)
}

/// Shows the backfill until it has ended.
async fn watch_backfill(stage: &Stage, screen: &Screen) -> Result<Value> {
    let mut bar = screen.backfill();
    loop {
        let status = stage.engine.status().await?;
        bar.show(&status);
        if status["phase"] == "streaming" {
            bar.end();
            return Ok(status);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Changes rows for the time that was asked for, and shows how the engine keeps up.
async fn live(options: &Options, stage: &Stage, screen: &Screen) -> Result<Done> {
    let length = Duration::from_secs(options.seconds);
    screen.step(&format!(
        "{} s of live changes: inserts, updates, deletes, new keys, rows that leave and enter the filter",
        options.seconds
    ));
    let mut sessions = tokio::task::JoinSet::new();
    let mut counts = Vec::new();
    for session in 0..SESSIONS {
        let mut client = connect(&stage.postgres).await?;
        let (sender, receiver) = watch::channel(Done::default());
        counts.push(receiver);
        let rows = options.rows;
        sessions.spawn(async move { workload::run(&mut client, session, rows, length, sender).await });
    }
    let mut line = screen.live(length);
    let mut done = Done::default();
    let mut poll = tokio::time::interval(POLL);
    loop {
        tokio::select! {
            ended = sessions.join_next() => match ended {
                None => break,
                Some(result) => {
                    let result = result.map_err(|error| Error::failed("the workload failed").with_cause(error))?;
                    done.add(&result.map_err(|error| Error::failed("the workload failed").with_cause(error))?);
                }
            },
            _ = poll.tick() => {
                let changes = counts.iter().map(|count| count.borrow().changes()).sum();
                line.show(changes, &stage.engine.status().await?);
            }
        }
    }
    line.end();
    Ok(done)
}

/// Waits until everything that is committed has settled.
async fn drain(stage: &Stage, screen: &Screen) -> Result<Value> {
    screen.step("draining");
    let client = connect(&stage.postgres).await?;
    let row = client
        .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
        .await
        .map_err(|error| Error::failed("Postgres does not tell where its WAL ends").with_cause(error))?;
    let end: tidemill_change::Lsn =
        row.get::<_, String>(0).parse().map_err(|error| Error::failed("no LSN").with_cause(error))?;
    let start = Instant::now();
    loop {
        let status = stage.engine.status().await?;
        let settled = status["confirmed_lsn"].as_str().and_then(|lsn| lsn.parse::<tidemill_change::Lsn>().ok());
        if settled.is_some_and(|settled| settled >= end) {
            return Ok(status);
        }
        if start.elapsed() > DRAIN_PATIENCE {
            return Err(Error::failed(format!("the engine did not drain in {} s: {status}", DRAIN_PATIENCE.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn http_client(options: &Options, sink_url: &str) -> Result<reqwest::Client> {
    let mut headers = reqwest::header::HeaderMap::new();
    if let Some(key) = &options.api_key {
        let auth = crate::config::Auth::ApiKey(key.clone()).header().expect("a key has a header");
        let value = reqwest::header::HeaderValue::from_str(auth.expose())
            .map_err(|error| Error::usage("the API key cannot stand in a header").with_cause(error))?;
        headers.insert(reqwest::header::AUTHORIZATION, value);
    }
    let mut builder = reqwest::Client::builder().default_headers(headers);
    // As the engine's own client does it.
    if reqwest::Url::parse(sink_url).is_ok_and(|url| crate::deliver::is_loopback(&url)) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::failed("no HTTP client").with_cause(error))
}

/// Spoils one document behind the engine's back.
async fn break_one(reader: &Reader) -> Result<()> {
    let fail = |error| Error::failed("no document could be broken").with_cause(error);
    reader.call(reqwest::Method::POST, "/products/_refresh", None).await.map_err(fail)?;
    let page = reader
        .call(reqwest::Method::POST, "/products/_search", Some(r#"{"size":1}"#.to_owned()))
        .await
        .map_err(fail)?;
    let page: Value = serde_json::from_str(&page).map_err(|error| fail(error.into()))?;
    let id = page["hits"]["hits"][0]["_id"].as_str().unwrap_or_default();
    let broken = Some(r#"{"name":"broken"}"#.to_owned());
    reader.call(reqwest::Method::PUT, &format!("/products/_doc/{id}"), broken).await.map_err(fail)?;
    Ok(())
}

/// The search that is shown at the end.
pub(super) const SEARCH: &str = r#"{"size":3,"query":{"match":{"name":"walnut bookshelf"}}}"#;

async fn search(reader: &Reader) -> Result<Value> {
    let fail = |error| Error::failed("the search failed").with_cause(error);
    let text = reader.call(reqwest::Method::POST, "/products/_search", Some(SEARCH.to_owned())).await.map_err(fail)?;
    serde_json::from_str(&text).map_err(|error| fail(error.into()))
}

/// Ends everything, whatever of it fails; nothing stays behind but the indices of a guest that keeps them.
async fn strike(stage: Stage, screen: &Screen, keeps: bool) -> Result<()> {
    screen.step("ending the engine, the index and Postgres");
    let Stage { postgres, dir, index, guest, engine, .. } = stage;
    let mut ended = engine.stop().await;
    if let Some(index) = index {
        ended = ended.and(index.stop().await);
    }
    if let Some(guest) = guest.filter(|_| !keeps) {
        ended = ended.and(guest.leave().await);
    }
    // Before Postgres, whose watchdog would remove it too.
    let path: PathBuf = dir.path().to_owned();
    let removed = dir.close();
    let removed =
        removed.map_err(|error| Error::failed(format!("{} is left behind", path.display())).with_cause(error));
    let stopped = tokio::task::spawn_blocking(move || postgres.stop())
        .await
        .map_err(|error| Error::failed("ending Postgres failed").with_cause(error))?
        .map_err(|error| Error::failed("Postgres did not end").with_cause(error));
    ended.and(removed).and(stopped)
}
