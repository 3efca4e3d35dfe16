//! Requests and responses as the recorded conversations hold them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The response headers that are recorded.
const HEADERS: [&str; 6] =
    ["content-type", "warning", "retry-after", "www-authenticate", "allow", "location"];

/// A request, its placeholders filled in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn new(request: &Value) -> Asked {
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![("user-agent".to_owned(), "recorder/1.0".to_owned())];
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            headers.extend(values.iter().filter_map(Value::as_str).map(|v| (name.clone(), v.to_owned())));
        }
        let user = request["user"].as_str().unwrap_or("admin");
        if request["headers"]["authorization"].is_null() && !user.is_empty() {
            headers.push(("authorization".to_owned(), format!("Bearer token-{user}")));
        }
        let body = match (&request["body"], request["bodyBase64"].as_str()) {
            (_, Some(raw)) => STANDARD.decode(raw).expect("base64").into(),
            (Value::Null, None) => Bytes::new(),
            (Value::String(text), None) => text.clone().into(),
            (tree, None) => spaced(tree).into(),
        };
        Asked { method: text("method"), path: text("path"), headers, body }
    }

    fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|part| match part.split_once('=') {
            Some((key, value)) if key == name => Some(value),
            None if part == name => Some(""),
            _ => None,
        })
    }

    /// Whether the answer is a stream of events.
    pub(crate) fn is_watch(&self) -> bool {
        let (path, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let deprecated = path.contains("/v1/watch/");
        self.method == "GET"
            && (deprecated || self.query("watch").is_some_and(|v| !matches!(v, "0" | "false" | "False")))
    }

    /// How long a watch lasts, in seconds.
    pub(crate) fn timeout_seconds(&self) -> u64 {
        self.query("timeoutSeconds").and_then(|v| v.parse().ok()).unwrap_or(1)
    }
}

/// JSON as the recorder wrote it: with a space behind each comma and colon. Of free-form parts of objects, Kubernetes
/// keeps it.
fn spaced(tree: &Value) -> Vec<u8> {
    struct Spaced;
    impl serde_json::ser::Formatter for Spaced {
        fn begin_array_value<W: std::io::Write + ?Sized>(
            &mut self,
            w: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { w.write_all(b", ") }
        }
        fn begin_object_key<W: std::io::Write + ?Sized>(
            &mut self,
            w: &mut W,
            first: bool,
        ) -> std::io::Result<()> {
            if first { Ok(()) } else { w.write_all(b", ") }
        }
        fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, w: &mut W) -> std::io::Result<()> {
            w.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    serde::Serialize::serialize(tree, &mut writer).expect("writing to memory");
    out
}

/// A response in the recorded form.
pub(crate) fn recorded(asked: &Asked, head: &http::response::Parts, body: &[u8]) -> Value {
    let mut headers = Map::new();
    for name in HEADERS {
        let all: Vec<&str> = head.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
        match (name, all.as_slice()) {
            (_, []) => {}
            ("warning", all) => drop(headers.insert(name.into(), all.into())),
            (_, all) => drop(headers.insert(name.into(), all.join(", ").into())),
        }
    }
    let media = headers.get("content-type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut out = json!({"status": head.status.as_u16(), "headers": headers});
    let text = || Value::from(String::from_utf8_lossy(body));
    out["body"] = if media.contains("protobuf") {
        envelope(body)
    } else if asked.is_watch() && head.status.is_success() && media.contains("json") {
        serde_json::Deserializer::from_slice(body).into_iter::<Value>().filter_map(Result::ok).collect()
    } else if media.contains("json") || media.starts_with("text/plain") && body.starts_with(b"{") {
        serde_json::from_slice(body).unwrap_or_else(|_| text())
    } else {
        text()
    };
    let token = out["body"]["status"]["token"].as_str().and_then(|token| token.split('.').nth(1));
    if let Some(claims) = token.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()) {
        out["jwtClaims"] = serde_json::from_slice(&claims).unwrap_or_default();
    }
    out
}

/// What is recorded of a protobuf body: the head of its envelope.
fn envelope(body: &[u8]) -> Value {
    fn field(message: &[u8], number: u8) -> Option<&[u8]> {
        let mut rest = message;
        while let [tag, length, after @ ..] = rest {
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            if *tag == number << 3 | 2 {
                return Some(value);
            }
            rest = after;
        }
        None
    }
    let (magic, rest) = body.split_at(body.len().min(4));
    let head = field(rest, 1).unwrap_or_default();
    let text = |number| String::from_utf8_lossy(field(head, number).unwrap_or_default()).into_owned();
    let magic: String = magic.iter().map(|b| format!("{b:02x}")).collect();
    json!({"protobufEnvelope": {"magic": magic, "apiVersion": text(1), "kind": text(2)}})
}

/// Whether `found` has all that `wanted` has.
pub(crate) fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(k, w)| found.get(k).is_some_and(|f| contains(f, w)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            wanted.iter().all(|w| found.iter().any(|f| contains(f, w)))
        }
        (found, wanted) => found == wanted,
    }
}

/// What is kept of a body that was recorded in part.
pub(crate) fn project(how: &str, body: &Value) -> Value {
    let keys = |value: &Value| {
        let mut keys: Vec<String> =
            value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    };
    let methods = |paths: &Value| -> Value {
        let known = ["get", "put", "post", "delete", "options", "head", "patch"];
        let paths = paths.as_object().into_iter().flatten();
        Value::Object(
            paths
                .map(|(path, item)| {
                    let all = keys(item).into_iter().filter(|k| known.contains(&k.as_str()));
                    (path.clone(), all.collect())
                })
                .collect(),
        )
    };
    match how {
        "openapi-v3-index" => json!({"paths": keys(&body["paths"])}),
        "openapi-v3" => json!({
            "topLevelKeys": keys(body),
            "openapi": body["openapi"],
            "schemas": keys(&body["components"]["schemas"]),
            "paths": methods(&body["paths"]),
        }),
        "openapi-v2" => json!({
            "topLevelKeys": keys(body),
            "swagger": body["swagger"],
            "definitions": keys(&body["definitions"]),
            "pathCount": keys(&body["paths"]).len(),
            "paths": keys(&body["paths"]),
        }),
        "version" => json!({
            "keys": keys(body), "major": body["major"], "minor": body["minor"], "platform": body["platform"],
        }),
        "names-only" => {
            let items = body["items"].as_array().into_iter().flatten();
            json!({
                "kind": body["kind"],
                "apiVersion": body["apiVersion"],
                "names": items.map(|item| item["metadata"]["name"].clone()).collect::<Value>(),
            })
        }
        "kind-only" => json!({"kind": body["kind"], "apiVersion": body["apiVersion"]}),
        other => panic!("unknown projection {other}"),
    }
}
