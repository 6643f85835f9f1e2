//! From an HTTP request to a [`Request`] and from a [`Reply`] back: reading bodies within the limit, gzip, parameters,
//! `filter_path` and `pretty`. The work itself blocks (it waits for the disk), so it runs beside the async threads.

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::error::Refusal;
use crate::node::Node;
use crate::routes::route;
use crate::select::Selector;

/// How much of a body that is too large is still read, so that the client gets to read the answer.
const DRAINED_BYTES_MAX: usize = 256 << 20;

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: Vec<String>,
    pub(crate) body: Bytes,
    parameters: Vec<(String, String)>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Reply {
        Reply::text(value.to_string())
    }

    pub(crate) fn text(body: String) -> Reply {
        Reply { status: 200, body }
    }
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn owned_parameter(&self, name: &str) -> Option<String> {
        self.parameter(name).map(str::to_owned)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | ""))
    }

    /// A parameter that nobody reads would be ignored silently.
    pub(crate) fn check_parameters(&self, known: &[&[&str]]) -> Result<(), Refusal> {
        let unknown = self.parameters.iter().find(|(key, _)| !known.iter().any(|known| known.contains(&key.as_str())));
        match unknown {
            None => Ok(()),
            Some((key, _)) => Err(Refusal::illegal(format!(
                "request [/{}] contains unrecognized parameter: [{key}]",
                self.path.join("/")
            ))),
        }
    }
}

pub(crate) async fn handle(node: Arc<Node>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match read(body, node.max_content_length).await {
        Ok(Some(body)) => body,
        Ok(None) => return too_large(),
        Err(_) => return respond(Reply { status: 400, body: Refusal::parsing("the body ended early").body() }, false),
    };
    let head = parts.method == Method::HEAD;
    let gzipped = parts.headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_vec());
    let content_type =
        parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && !content_type.contains("json") {
        let reason = format!("Content-Type header [{content_type}] is not supported");
        return respond(
            Reply { status: 406, body: Refusal::new(406, "media_type_header_exception", reason).body() },
            head,
        );
    }
    let work = move || {
        let body = match decode(body, gzipped.as_deref(), node.max_content_length) {
            Ok(Some(body)) => body,
            Ok(None) => return None,
            Err(refusal) => return Some(Reply { status: refusal.status, body: refusal.body() }),
        };
        let request = Request {
            path: segments(parts.uri.path()),
            parameters: parameters(parts.uri.query().unwrap_or_default()),
            method: parts.method,
            body,
        };
        Some(dispatch(&node, &request))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Some(reply)) => respond(reply, head),
        Ok(None) => too_large(),
        Err(_) => {
            let refusal = Refusal::new(500, "exception", "the embedded index failed on this request: please report it");
            respond(Reply { status: 500, body: refusal.body() }, head)
        }
    }
}

fn dispatch(node: &Node, request: &Request) -> Reply {
    let reply = route(node, request).and_then(|reply| shape(request, reply));
    reply.unwrap_or_else(|refusal| Reply { status: refusal.status, body: refusal.body() })
}

/// As the client asked to see it.
fn shape(request: &Request, mut reply: Reply) -> Result<Reply, Refusal> {
    if let Some(paths) = request.parameter("filter_path") {
        let filtered = Selector::from_filter_path(paths).apply(&reply.body);
        reply.body = filtered.map_err(|error| Refusal::json(&error))?;
    }
    if request.flag("pretty") {
        reply.body = crate::json::pretty(&reply.body).map_err(|error| Refusal::json(&error))?;
    }
    Ok(reply)
}

/// The whole body; None if it is larger than the limit.
async fn read(mut body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut whole = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length <= most {
            whole.extend_from_slice(&data);
        } else if length > most.saturating_add(DRAINED_BYTES_MAX) {
            break;
        }
    }
    Ok((length <= most).then(|| whole.freeze()))
}

/// The body as it was before it was compressed; None if that is larger than the limit.
fn decode(body: Bytes, encoding: Option<&[u8]>, most: usize) -> Result<Option<Bytes>, Refusal> {
    match encoding {
        None | Some(b"" | b"identity") => Ok(Some(body)),
        Some(b"gzip" | b"x-gzip") => {
            let mut decoded = Vec::with_capacity(body.len() * 4);
            let limit = most as u64 + 1;
            let read = flate2::read::MultiGzDecoder::new(&body[..]).take(limit).read_to_end(&mut decoded);
            read.map_err(|error| Refusal::parsing(format!("the body is not gzip: {error}")))?;
            Ok((decoded.len() <= most).then(|| decoded.into()))
        }
        Some(other) => Err(Refusal::not_there(format_args!("content-encoding {}", String::from_utf8_lossy(other)))),
    }
}

/// Real servers answer with nothing but the status.
fn too_large() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

fn respond(reply: Reply, head: bool) -> Response<Body> {
    let mut response = Response::new(if head { Body::empty() } else { Body::from(reply.body) });
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn segments(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}
