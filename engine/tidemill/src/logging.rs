//! Logs: lines on stderr, as text for people or JSON for machines. Never a row's values, never a secret.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Sends what the program logs to stderr, from here to the end of the process.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let filter = filter(level)?;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = layer(format, colour, std::io::stderr).with_filter(filter);
    registry().with(layer).try_init().map_err(|error| Error::failed("logging is set up already").with_cause(error))
}

fn layer<W>(
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Box<dyn tracing_subscriber::Layer<registry::Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_ansi(colour)
            .with_target(false)
            // A line that cannot be written is let go: the layer would say so on stderr, and panic where nobody reads that.
            .log_internal_errors(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .log_internal_errors(false)
            .with_writer(writer)
            .boxed(),
    }
}

/// One level is for our own lines; what libraries say is shown from warnings on, unless it is asked for by name.
fn filter(level: &str) -> Result<Targets> {
    if let Ok(level) = level.parse::<LevelFilter>() {
        return Ok(Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("tidemill", level));
    }
    level.parse().map_err(|_| {
        Error::usage(format!(
            "`{level}` is no log level: one of off, error, warn, info, debug, trace, or by part as in `tidemill::source=debug,info`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = layer(format, false, move || writer.clone()).with_filter(filter(level).unwrap());
        tracing::subscriber::with_default(registry().with(layer), || {
            tracing::info!(target: "tidemill::source", stream = "products", "began");
            tracing::info!(target: "hyper", "chatter");
            tracing::warn!(target: "hyper", "trouble");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn our_lines_have_a_level_of_their_own() {
        let text = logged(LogFormat::Text, "info");
        assert!(text.contains("began") && text.contains("products") && text.contains("trouble"), "{text}");
        assert!(!text.contains("chatter"), "{text}");
        let text = logged(LogFormat::Text, "error");
        assert!(text.is_empty(), "{text}");
        assert!(logged(LogFormat::Text, "hyper=info").contains("chatter"));
        assert!(filter("loud=very").unwrap_err().is_usage());
    }

    #[test]
    fn json_lines_are_objects() {
        let text = logged(LogFormat::Json, "info");
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&first["message"], &first["stream"], &first["level"]),
            (&"began".into(), &"products".into(), &"INFO".into())
        );
    }
}
