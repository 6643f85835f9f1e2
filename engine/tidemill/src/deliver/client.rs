//! The sink over HTTP: sends requests to its nodes and reads whole, bounded answers. It decides nothing: what an answer means
//! is `tidemill_settle`'s to say.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};

/// An answer longer than this is not read to its end: 10,000 failed items with long reasons fit several times.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A node that does not take a connection within this is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach a sink; made from the configuration.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    pub name: String,
    /// Base URLs without a trailing slash; each may have a path prefix.
    pub urls: Vec<String>,
    /// The value of the authorization header.
    pub authorization: Option<HeaderValue>,
    pub tls: Option<rustls::ClientConfig>,
    pub timeout: Duration,
    pub gzip: bool,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer, or none that can be used.
#[derive(Debug)]
pub struct SinkError {
    kind: SinkErrorKind,
    /// Its name and, where one node is meant, that node's URL.
    sink: String,
    source: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkErrorKind {
    /// No connection was made: nothing of the request was seen by the sink.
    Unreachable,
    /// The certificate was refused: trying again does not help.
    Untrusted,
    /// The request may have been carried out.
    Unknown,
    /// It says that it does not work at present: 429, 5xx.
    Unavailable,
    /// An answer that is no answer: too long, or not what was asked for.
    Answer,
    /// The client could not be built.
    Options,
}

impl SinkError {
    /// Whether the sink cannot have seen the request.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind, SinkErrorKind::Unreachable | SinkErrorKind::Untrusted)
    }

    /// Whether the same, tried again, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, SinkErrorKind::Unreachable | SinkErrorKind::Unknown | SinkErrorKind::Unavailable)
    }

    /// Whether a person must act before another try can succeed.
    pub fn is_untrusted(&self) -> bool {
        self.kind == SinkErrorKind::Untrusted
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sink = &self.sink;
        match self.kind {
            SinkErrorKind::Unreachable => write!(f, "sink {sink} cannot be reached")?,
            SinkErrorKind::Untrusted => {
                write!(f, "the certificate of sink {sink} is not trusted: name its authority in `tls.ca`")?;
            }
            SinkErrorKind::Unknown => write!(f, "sink {sink} did not answer in full")?,
            SinkErrorKind::Unavailable => write!(f, "sink {sink} is not available")?,
            SinkErrorKind::Answer => write!(f, "sink {sink} gave an answer that cannot be used")?,
            SinkErrorKind::Options => write!(f, "sink {sink} cannot be set up")?,
        }
        let mut source = self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for SinkError {}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The header `retry-after`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The server's own words, short enough for a message.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let mut excerpt: String = text.trim().chars().take(400).collect();
        if excerpt.len() < text.trim().len() {
            excerpt.push('…');
        }
        if excerpt.is_empty() { "an empty answer".to_owned() } else { excerpt }
    }
}

/// One sink. Cheap to clone; all clones share its connections.
#[derive(Clone, Debug)]
pub struct Sink {
    client: reqwest::Client,
    options: std::sync::Arc<SinkOptions>,
    /// The node that answered last.
    node: std::sync::Arc<AtomicUsize>,
}

impl Sink {
    pub fn new(options: SinkOptions) -> Result<Sink, SinkError> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &options.authorization {
            let mut authorization = authorization.clone();
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(options.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http1_only()
            // A redirect could carry credentials and documents to another host.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(tls) = &options.tls {
            builder = builder.tls_backend_preconfigured(tls.clone());
        }
        let client = builder.build().map_err(|error| SinkError {
            kind: SinkErrorKind::Options,
            sink: format!("`{}`", options.name),
            source: Some(Box::new(error)),
        })?;
        Ok(Sink { client, options: options.into(), node: AtomicUsize::new(0).into() })
    }

    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// One Bulk request. Its lines are sent as they are.
    pub async fn bulk(&self, body: Bytes) -> Result<Answer, SinkError> {
        let path = format!("/_bulk?filter_path={}", tidemill_settle::FILTER_PATH);
        self.call(Method::POST, &path, Some((body, "application/x-ndjson"))).await
    }

    pub async fn get(&self, path: &str) -> Result<Answer, SinkError> {
        self.call(Method::GET, path, None).await
    }

    /// A request without a body: some that take none refuse even an empty object.
    pub async fn post(&self, path: &str) -> Result<Answer, SinkError> {
        self.call(Method::POST, path, None).await
    }

    pub async fn send(&self, method: Method, path: &str, body: &serde_json::Value) -> Result<Answer, SinkError> {
        self.call(method, path, Some((body.to_string().into(), "application/json"))).await
    }

    /// Asks the node that answered last; when it takes no connection, the others in turn.
    async fn call(&self, method: Method, path: &str, body: Option<(Bytes, &'static str)>) -> Result<Answer, SinkError> {
        let nodes = self.options.urls.len();
        let first = self.node.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let node = (first + tried) % nodes;
            let base = &self.options.urls[node];
            let result = self.call_node(base, method.clone(), path, body.clone()).await;
            tried += 1;
            match result {
                Err(error) if error.kind == SinkErrorKind::Unreachable && tried < nodes => {}
                result => {
                    if result.is_ok() {
                        self.node.store(node, Ordering::Relaxed);
                    }
                    return result;
                }
            }
        }
    }

    async fn call_node(
        &self,
        base: &str,
        method: Method,
        path: &str,
        body: Option<(Bytes, &'static str)>,
    ) -> Result<Answer, SinkError> {
        let mut request = self.client.request(method, format!("{base}{path}"));
        if let Some((body, content_type)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        let mut response = request.send().await.map_err(|error| self.failed(base, error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(base, error))? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                let source = format!("more than {} MiB", ANSWER_BYTES_MAX >> 20);
                return Err(self.error(SinkErrorKind::Answer, base, Some(source.into())));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(Answer { status: status.as_u16(), retry_after: retry_after.map(Duration::from_secs), body: answer.freeze() })
    }

    fn failed(&self, base: &str, error: reqwest::Error) -> SinkError {
        let kind = match error.is_connect() {
            true if is_certificate_error(&error) => SinkErrorKind::Untrusted,
            true => SinkErrorKind::Unreachable,
            false => SinkErrorKind::Unknown,
        };
        self.error(kind, base, Some(Box::new(error.without_url())))
    }

    fn error(&self, kind: SinkErrorKind, base: &str, source: Option<Cause>) -> SinkError {
        SinkError { kind, sink: format!("`{}` at {base}", self.options.name), source }
    }

    /// An answer that was asked for and is not what it should be.
    pub(crate) fn unusable(&self, path: &str, answer: &Answer) -> SinkError {
        let status = StatusCode::from_u16(answer.status).map_or_else(|_| answer.status.to_string(), |s| s.to_string());
        let kind = match answer.status {
            408 | 429 | 500..=599 => SinkErrorKind::Unavailable,
            _ => SinkErrorKind::Answer,
        };
        let base = &self.options.urls[self.node.load(Ordering::Relaxed)];
        self.error(kind, base, Some(format!("{path} answered {status}: {}", answer.excerpt()).into()))
    }
}

/// Looks through all causes; an io::Error hides the error inside it from them.
fn is_certificate_error(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
        return true;
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_certificate_error(inner)) || error.source().is_some_and(is_certificate_error)
}
