//! What servers answer to bulks, as one table: it runs against the embedded index and against real OpenSearch and
//! Elasticsearch, so that what the engine is tested with in a second is what it will meet. Where the real ones differ from one
//! another, the case takes any of their answers.
//!
//! In every text `{index}` is the case's own index, and `{x:N}` is N times the letter x.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A value that a document line cannot hold, as OpenSearch and as Elasticsearch call it.
const MISFIT: &[&str] = &["mapper_parsing_exception", "document_parsing_exception"];
/// The same, where some versions leave it at the argument.
const MISFIT_OR_ILLEGAL: &[&str] =
    &["mapper_parsing_exception", "document_parsing_exception", "illegal_argument_exception"];
/// How long a case with `until` may take to come true.
const UNTIL: Duration = Duration::from_secs(20);

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Method, path, body: each has to succeed.
    pub(crate) setup: &'static [(&'static str, &'static str, &'static str)],
    pub(crate) path: &'static str,
    pub(crate) body: &'static str,
    pub(crate) status: u16,
    /// One an action; empty where the whole request is refused.
    pub(crate) items: &'static [Item],
    /// The whole request's `error.type`, any of these.
    pub(crate) error: &'static [&'static str],
    /// Method, path, status, a part of the body: what holds afterwards.
    pub(crate) after: &'static [(&'static str, &'static str, u16, &'static str)],
    /// The answer comes true with time: ask again until it does.
    pub(crate) until: bool,
}

pub(crate) struct Item {
    pub(crate) status: u16,
    pub(crate) result: &'static str,
    /// `error.type`, any of these; empty where there must be no error.
    pub(crate) error: &'static [&'static str],
    /// A part of the error's reason.
    pub(crate) reason: &'static str,
}

const fn ok(status: u16, result: &'static str) -> Item {
    Item { status, result, error: &[], reason: "" }
}

const fn failed(status: u16, error: &'static [&'static str]) -> Item {
    Item { status, result: "", error, reason: "" }
}

const CONFLICT: Item = failed(409, &["version_conflict_engine_exception"]);

const BASE: Case = Case {
    name: "",
    setup: &[],
    path: "/{index}/_bulk",
    body: "",
    status: 200,
    items: &[],
    error: &[],
    after: &[],
    until: false,
};

const TYPED: (&str, &str, &str) = (
    "PUT",
    "/{index}",
    r#"{"mappings":{"properties":{"n":{"type":"long"},"s":{"type":"short"},"b":{"type":"boolean"},"t":{"type":"text"},"k":{"type":"keyword"},"d":{"type":"date"},"f":{"type":"double"},"o":{"properties":{"n":{"type":"long"}}}}}}"#,
);

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a new document, a newer version, the same version again, an older one",
        body: r#"{"index":{"_id":"1","version":10,"version_type":"external_gte"}}
{"a":1}
{"index":{"_id":"1","version":20,"version_type":"external_gte"}}
{"a":2}
{"index":{"_id":"1","version":20,"version_type":"external_gte"}}
{"a":3}
{"index":{"_id":"1","version":15,"version_type":"external_gte"}}
{"a":4}
"#,
        items: &[
            ok(201, "created"),
            ok(200, "updated"),
            ok(200, "updated"),
            Item {
                reason: "[1]: version conflict, current version [20] is higher than the one provided [15]",
                ..CONFLICT
            },
        ],
        after: &[("GET", "/{index}/_doc/1", 200, r#""_version":20"#), ("GET", "/{index}/_doc/1", 200, r#"{"a":3}"#)],
        ..BASE
    },
    Case {
        name: "external refuses an equal version",
        body: r#"{"index":{"_id":"1","version":10,"version_type":"external"}}
{"a":1}
{"index":{"_id":"1","version":10,"version_type":"external"}}
{"a":2}
"#,
        items: &[
            ok(201, "created"),
            Item { reason: "current version [10] is higher or equal to the one provided [10]", ..CONFLICT },
        ],
        ..BASE
    },
    Case {
        name: "a tombstone outranks what is older, and not what is newer",
        body: r#"{"delete":{"_id":"1","version":20,"version_type":"external_gte"}}
{"index":{"_id":"1","version":15,"version_type":"external_gte"}}
{"a":1}
{"delete":{"_id":"1","version":20,"version_type":"external_gte"}}
{"delete":{"_id":"1","version":19,"version_type":"external_gte"}}
{"index":{"_id":"1","version":20,"version_type":"external_gte"}}
{"a":2}
{"delete":{"_id":"1","version":30,"version_type":"external_gte"}}
"#,
        items: &[
            ok(404, "not_found"),
            CONFLICT,
            ok(404, "not_found"),
            CONFLICT,
            ok(201, "created"),
            ok(200, "deleted"),
        ],
        after: &[("GET", "/{index}/_doc/1", 404, r#""found":false"#)],
        ..BASE
    },
    Case {
        name: "a delete of what is not there is no error, and makes the index",
        body: "{\"delete\":{\"_id\":\"1\",\"version\":20,\"version_type\":\"external_gte\"}}\n",
        items: &[ok(404, "not_found")],
        after: &[("HEAD", "/{index}", 200, "")],
        ..BASE
    },
    Case {
        name: "after gc_deletes a stale write comes back to life",
        setup: &[
            ("PUT", "/{index}", r#"{"settings":{"index":{"number_of_shards":1}}}"#),
            ("PUT", "/{index}/_settings", r#"{"index":{"gc_deletes":"100ms"}}"#),
            (
                "POST",
                "/{index}/_bulk",
                "{\"delete\":{\"_id\":\"1\",\"version\":20,\"version_type\":\"external_gte\"}}\n",
            ),
        ],
        body: "{\"index\":{\"_id\":\"1\",\"version\":15,\"version_type\":\"external_gte\"}}\n{}\n",
        items: &[ok(201, "created")],
        until: true,
        ..BASE
    },
    Case {
        name: "values that do not fit stop their own document only",
        setup: &[TYPED],
        body: r#"{"index":{"_id":"1"}}
{"n":"abc"}
{"index":{"_id":"2"}}
{"n":1}
{"index":{"_id":"3"}}
{"b":"maybe"}
{"index":{"_id":"4"}}
{"b":1}
{"index":{"_id":"5"}}
{"t":{"x":1}}
{"index":{"_id":"6"}}
{"d":"soon"}
{"index":{"_id":"7"}}
{"n":9223372036854775808}
{"index":{"_id":"8"}}
{"s":40000}
{"index":{"_id":"9"}}
{"o":1}
{"index":{"_id":"10"}}
{"n":{"x":1}}
{"index":{"_id":"11"}}
{"n":true}
{"index":{"_id":"12"}}
{"f":1e400}
{"index":{"_id":"13"}}
{"n":[1,"x"]}
"#,
        items: &[
            Item { reason: "failed to parse field [n] of type [long] in document with id '1'", ..failed(400, MISFIT) },
            ok(201, "created"),
            Item { reason: "failed to parse field [b] of type [boolean]", ..failed(400, MISFIT) },
            failed(400, MISFIT),
            failed(400, MISFIT),
            Item { reason: "failed to parse field [d] of type [date]", ..failed(400, MISFIT) },
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
        ],
        ..BASE
    },
    Case {
        name: "values that fit after all",
        setup: &[TYPED],
        body: r#"{"index":{"_id":"1"}}
{"n":"12","b":"true","t":5,"k":true,"d":1700000000000,"f":"1.5"}
{"index":{"_id":"2"}}
{"n":1.9,"b":"","d":"2024-02-29T10:00:00.123Z","t":["a","b"],"o":[{"n":1},{"n":2}]}
{"index":{"_id":"3"}}
{"n":null,"b":[],"o":null,"o.n":3}
{"index":{"_id":"4"}}
{}
"#,
        items: &[ok(201, "created"), ok(201, "created"), ok(201, "created"), ok(201, "created")],
        ..BASE
    },
    Case {
        name: "the first value decides a field's type",
        body: r#"{"index":{"_id":"1"}}
{"a":1,"s":"x","o":{"p":true}}
{"index":{"_id":"2"}}
{"a":"x"}
{"index":{"_id":"3"}}
{"s":{"x":1}}
{"index":{"_id":"4"}}
{"o":"x"}
{"index":{"_id":"5"}}
{"o":{"p":"x"}}
{"index":{"_id":"6"}}
{"s":7}
"#,
        items: &[
            ok(201, "created"),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            ok(201, "created"),
        ],
        ..BASE
    },
    Case {
        name: "a strict mapping refuses unknown fields",
        setup: &[("PUT", "/{index}", r#"{"mappings":{"dynamic":"strict","properties":{"n":{"type":"long"}}}}"#)],
        body: r#"{"index":{"_id":"1"}}
{"n":1,"x":1}
{"index":{"_id":"2"}}
{"n":1}
"#,
        items: &[
            Item {
                reason: "mapping set to strict, dynamic introduction of [x] within [_doc] is not allowed",
                ..failed(400, &["strict_dynamic_mapping_exception"])
            },
            ok(201, "created"),
        ],
        ..BASE
    },
    Case {
        name: "document lines that are no document",
        body: r#"{"index":{"_id":"1"}}
{"a":
{"index":{"_id":"2"}}
[1]
{"index":{"_id":"3"}}
{"a":1,"a":2}
{"index":{"_id":"4"}}
{"_id":"x"}
{"index":{"_id":"5"}}
{"a..b":1}
{"index":{"_id":"6"}}
{"":1}
{"index":{"_id":"7"}}
{"a":01}
{"index":{"_id":"8"}}
{"a":1}
"#,
        items: &[
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT),
            failed(400, MISFIT_OR_ILLEGAL),
            failed(400, MISFIT_OR_ILLEGAL),
            failed(400, MISFIT),
            ok(201, "created"),
        ],
        ..BASE
    },
    Case {
        name: "a keyword longer than a term can be",
        setup: &[TYPED],
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"k\":\"{x:40000}\"}\n{\"index\":{\"_id\":\"2\"}}\n{\"k\":\"x\",\"dyn\":\"{x:40000}\"}\n",
        items: &[Item { reason: "immense term", ..failed(400, MISFIT_OR_ILLEGAL) }, ok(201, "created")],
        ..BASE
    },
    Case {
        name: "more fields than the index may have",
        setup: &[("PUT", "/{index}", r#"{"settings":{"index.mapping.total_fields.limit":3}}"#)],
        body: r#"{"index":{"_id":"1"}}
{"a":1,"b":2,"c":3}
{"index":{"_id":"2"}}
{"d":1}
{"index":{"_id":"3"}}
{"a":2}
"#,
        items: &[
            ok(201, "created"),
            Item { reason: "Limit of total fields [3] has been exceeded", ..failed(400, MISFIT_OR_ILLEGAL) },
            ok(201, "created"),
        ],
        ..BASE
    },
    Case {
        name: "digits stay as they were sent",
        setup: &[("PUT", "/{index}", r#"{"mappings":{"dynamic":false}}"#)],
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"n\":12345678901234567890.123456789012345678901234567890, \"m\":1.50}\n",
        items: &[ok(201, "created")],
        after: &[(
            "GET",
            "/{index}/_doc/1",
            200,
            r#"{"n":12345678901234567890.123456789012345678901234567890, "m":1.50}"#,
        )],
        ..BASE
    },
    Case {
        name: "create makes what is not there, once",
        body: r#"{"create":{"_id":"1"}}
{"a":1}
{"create":{"_id":"1"}}
{"a":2}
"#,
        items: &[ok(201, "created"), Item { reason: "document already exists (current version [1])", ..CONFLICT }],
        ..BASE
    },
    Case {
        name: "versions of the server's own",
        body: r#"{"index":{"_id":"1"}}
{"a":1}
{"index":{"_id":"1"}}
{"a":2}
{"delete":{"_id":"1"}}
{"delete":{"_id":"1"}}
{"index":{"_id":"1"}}
{"a":3}
{"index":{}}
{"a":4}
"#,
        items: &[
            ok(201, "created"),
            ok(200, "updated"),
            ok(200, "deleted"),
            ok(404, "not_found"),
            ok(201, "created"),
            ok(201, "created"),
        ],
        after: &[("GET", "/{index}/_doc/1", 200, r#""_version":5"#)],
        ..BASE
    },
    Case {
        name: "lines with carriage returns and blank lines between",
        body: "{\"index\":{\"_id\":\"1\"}}\r\n{\"a\":1}\r\n\n{\"index\":{\"_id\":\"2\"}}\n{\"a\":2}\n\n",
        items: &[ok(201, "created"), ok(201, "created")],
        ..BASE
    },
    Case {
        name: "an update of a missing document",
        body: "{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{\"a\":1}}\n",
        items: &[failed(404, &["document_missing_exception"])],
        ..BASE
    },
    Case {
        name: "an alias is required and there is none",
        body: "{\"index\":{\"_id\":\"1\",\"require_alias\":true}}\n{\"a\":1}\n",
        items: &[failed(404, &["index_not_found_exception"])],
        ..BASE
    },
    Case {
        name: "a plain delete makes no index",
        body: "{\"delete\":{\"_id\":\"1\"}}\n",
        items: &[failed(404, &["index_not_found_exception"])],
        after: &[("HEAD", "/{index}", 404, "")],
        ..BASE
    },
    Case {
        name: "an index name that no server takes",
        path: "/_bulk",
        body: "{\"index\":{\"_index\":\"{index}-UPPER\",\"_id\":\"1\"}}\n{\"a\":1}\n{\"index\":{\"_index\":\"{index}\",\"_id\":\"1\"}}\n{\"a\":1}\n",
        items: &[failed(400, &["invalid_index_name_exception"]), ok(201, "created")],
        ..BASE
    },
    Case {
        name: "a pipeline that is not there",
        body: "{\"index\":{\"_id\":\"1\",\"pipeline\":\"none-such\"}}\n{\"a\":1}\n{\"index\":{\"_id\":\"2\"}}\n{\"a\":1}\n",
        items: &[
            Item {
                reason: "pipeline with id [none-such] does not exist",
                ..failed(400, &["illegal_argument_exception"])
            },
            ok(201, "created"),
        ],
        ..BASE
    },
    Case {
        name: "an index that is blocked for writes",
        setup: &[("PUT", "/{index}", "{}"), ("PUT", "/{index}/_settings", r#"{"index.blocks.write":true}"#)],
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n{\"delete\":{\"_id\":\"2\"}}\n",
        items: &[failed(403, &["cluster_block_exception"]), failed(403, &["cluster_block_exception"])],
        ..BASE
    },
    Case {
        name: "an index whose disk is full",
        setup: &[
            ("PUT", "/{index}", "{}"),
            ("PUT", "/{index}/_settings", r#"{"index.blocks.read_only_allow_delete":true}"#),
        ],
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n{\"delete\":{\"_id\":\"2\"}}\n",
        items: &[
            Item { reason: "disk usage exceeded flood-stage", ..failed(429, &["cluster_block_exception"]) },
            failed(429, &["cluster_block_exception"]),
        ],
        ..BASE
    },
    Case {
        name: "an update with an external version refuses the whole bulk",
        setup: &[("PUT", "/{index}", "{}")],
        body: r#"{"index":{"_id":"1"}}
{"a":1}
{"update":{"_id":"2","version":5,"version_type":"external_gte"}}
{"doc":{"a":1}}
"#,
        status: 400,
        error: &["illegal_argument_exception", "action_request_validation_exception"],
        after: &[("GET", "/{index}/_doc/1", 404, r#""found":false"#)],
        ..BASE
    },
    Case {
        name: "one id that is too long refuses the whole bulk",
        setup: &[("PUT", "/{index}", "{}")],
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n{\"index\":{\"_id\":\"{x:513}\"}}\n{\"a\":1}\n",
        status: 400,
        error: &["action_request_validation_exception"],
        after: &[("GET", "/{index}/_doc/1", 404, r#""found":false"#)],
        ..BASE
    },
    Case {
        name: "the longest id",
        body: "{\"index\":{\"_id\":\"{x:512}\"}}\n{\"a\":1}\n",
        items: &[ok(201, "created")],
        ..BASE
    },
    Case {
        name: "no newline at the end",
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}",
        status: 400,
        error: &["illegal_argument_exception"],
        ..BASE
    },
    Case {
        name: "no actions",
        body: "\n",
        status: 400,
        error: &["action_request_validation_exception", "parse_exception", "illegal_argument_exception"],
        ..BASE
    },
    Case { name: "no body", body: "", status: 400, error: &["parse_exception"], ..BASE },
    Case {
        name: "an action that does not exist",
        body: "{\"upsert\":{\"_id\":\"1\"}}\n{\"a\":1}\n",
        status: 400,
        error: &["illegal_argument_exception"],
        ..BASE
    },
    Case {
        name: "a parameter that does not exist",
        body: "{\"index\":{\"_id\":\"1\",\"foo\":1}}\n{\"a\":1}\n",
        status: 400,
        error: &["illegal_argument_exception"],
        ..BASE
    },
    Case {
        name: "an action line that is no JSON",
        body: "{\"index\"\n{\"a\":1}\n",
        status: 400,
        error: &[
            "x_content_parse_exception",
            "json_parse_exception",
            "parse_exception",
            "i_o_exception",
            "x_content_e_o_f_exception",
            "json_e_o_f_exception",
        ],
        ..BASE
    },
    Case {
        name: "create with an external version",
        body: "{\"create\":{\"_id\":\"1\",\"version\":5,\"version_type\":\"external_gte\"}}\n{\"a\":1}\n",
        status: 400,
        error: &["action_request_validation_exception"],
        ..BASE
    },
    Case {
        name: "a version without its type",
        body: "{\"index\":{\"_id\":\"1\",\"version\":5}}\n{\"a\":1}\n",
        status: 400,
        error: &["action_request_validation_exception"],
        ..BASE
    },
    Case {
        name: "a negative version",
        body: "{\"index\":{\"_id\":\"1\",\"version\":-1,\"version_type\":\"external_gte\"}}\n{\"a\":1}\n",
        status: 400,
        error: &["action_request_validation_exception"],
        ..BASE
    },
    Case {
        name: "the greatest version",
        body: "{\"index\":{\"_id\":\"1\",\"version\":9223372036854775807,\"version_type\":\"external_gte\"}}\n{\"a\":1}\n",
        items: &[ok(201, "created")],
        after: &[("GET", "/{index}/_doc/1", 200, r#""_version":9223372036854775807"#)],
        ..BASE
    },
    Case {
        name: "no index named",
        path: "/_bulk",
        body: "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n",
        status: 400,
        error: &["action_request_validation_exception"],
        ..BASE
    },
];

/// Runs all cases against a server and gives what was not as it should be, a line each; the client brings credentials.
pub(crate) async fn run(base_url: &str, client: &reqwest::Client) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let index = format!("bulk-case-{number}");
        let server = Server { base_url, client, index: &index };
        let _ = server.send("DELETE", "/{index}?ignore_unavailable=true", "").await;
        if let Err(what) = server.case(case).await {
            wrong.push(format!("{}: {what}", case.name));
        }
        let _ = server.send("DELETE", "/{index}?ignore_unavailable=true", "").await;
    }
    wrong
}

struct Server<'a> {
    base_url: &'a str,
    client: &'a reqwest::Client,
    index: &'a str,
}

impl Server<'_> {
    async fn send(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let method = method.parse::<reqwest::Method>().map_err(|error| error.to_string())?;
        let url = format!("{}{}", self.base_url, self.fill(path));
        let mut request = self.client.request(method, url);
        if !body.is_empty() || path.contains("_bulk") {
            request = request.header("content-type", "application/json").body(self.fill(body));
        }
        let response = request.send().await.map_err(|error| format!("{path}: {error}"))?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(|error| format!("{path}: {error}"))?))
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{index}", self.index);
        while let Some(at) = text.find("{x:") {
            let end = at + text[at..].find('}').expect("the table closes what it opens");
            let count = text[at + 3..end].parse().expect("the table holds numbers");
            text.replace_range(at..=end, &"x".repeat(count));
        }
        text
    }

    async fn case(&self, case: &Case) -> Result<(), String> {
        for (method, path, body) in case.setup {
            let (status, text) = self.send(method, path, body).await?;
            if status >= 300 {
                return Err(format!("setup {method} {path}: {status} {text}"));
            }
        }
        let started = Instant::now();
        loop {
            let (status, text) = self.send("POST", case.path, case.body).await?;
            match check(case, status, &text) {
                Ok(()) => break,
                Err(_) if case.until && started.elapsed() < UNTIL => {}
                Err(what) => return Err(what),
            }
        }
        for (method, path, status, part) in case.after {
            let (found, text) = self.send(method, path, "").await?;
            if found != *status || !text.contains(part) {
                return Err(format!("afterwards {method} {path}: {found} {text}, expected {status} with {part}"));
            }
        }
        Ok(())
    }
}

fn check(case: &Case, status: u16, text: &str) -> Result<(), String> {
    let short = || text.chars().take(1500).collect::<String>();
    if status != case.status {
        return Err(format!("status {status}, expected {}: {}", case.status, short()));
    }
    let answer: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {}", short()))?;
    if status != 200 {
        let kind = answer["error"]["type"].as_str().unwrap_or_default();
        let same = case.error.contains(&kind) && answer["status"] == status;
        return if same { Ok(()) } else { Err(format!("expected one of {:?}: {}", case.error, short())) };
    }
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    if items.len() != case.items.len() {
        return Err(format!("{} items, expected {}: {}", items.len(), case.items.len(), short()));
    }
    let mut wrong = String::new();
    for (number, (item, expected)) in items.iter().zip(case.items).enumerate() {
        let item = item.as_object().and_then(|item| item.values().next()).cloned().unwrap_or_default();
        if !matches(&item, expected) {
            let _ = write!(
                wrong,
                " item {number}, expected {} {:?} {}: {item};",
                expected.status, expected.error, expected.reason
            );
        }
    }
    let errors = case.items.iter().any(|item| !item.error.is_empty());
    if answer["errors"] != errors {
        let _ = write!(wrong, " errors is {}", answer["errors"]);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn matches(item: &Value, expected: &Item) -> bool {
    let kind = item["error"]["type"].as_str();
    let error = match kind {
        None => expected.error.is_empty() && item["error"].is_null() && item["result"] == expected.result,
        Some(kind) => expected.error.contains(&kind),
    };
    let all = item["error"].to_string().replace("\\\"", "\"");
    item["status"] == expected.status && error && all.contains(expected.reason)
}
