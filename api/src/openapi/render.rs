//! Paths in the words of either version of OpenAPI.

use serde_json::{Map, Value, json};

use super::paths::{Answer, Body, Item, Operation};
use super::types::{META, Types};

/// Which version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

const MEDIA: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// One path.
pub(super) fn item(item: &Item, dialect: Dialect, types: &mut Types<'_>) -> Value {
    let mut out = Map::new();
    for operation in &item.operations {
        let rendered = match dialect {
            Dialect::V3 => v3(operation, types),
            Dialect::V2 => v2(operation, types),
        };
        out.insert(operation.method.to_owned(), rendered);
    }
    let mut parameters: Vec<Value> =
        item.in_path.iter().map(|name| parameter(name, "path", dialect)).collect();
    parameters.extend(item.query.iter().map(|name| parameter(name, "query", dialect)));
    parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(out)
}

fn parameter(name: &str, place: &str, dialect: Dialect) -> Value {
    let ty = match name {
        "limit" | "gracePeriodSeconds" | "timeoutSeconds" | "limitBytes" | "sinceSeconds" | "tailLines"
        | "ports" => "integer",
        "allowWatchBookmarks"
        | "follow"
        | "force"
        | "ignoreStoreReadErrorWithClusterBreakingPotential"
        | "insecureSkipTLSVerifyBackend"
        | "orphanDependents"
        | "previous"
        | "sendInitialEvents"
        | "stderr"
        | "stdin"
        | "stdout"
        | "timestamps"
        | "tty"
        | "watch" => "boolean",
        _ => "string",
    };
    let mut out = match dialect {
        Dialect::V3 => json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}}),
        Dialect::V2 => json!({"name": name, "in": place, "type": ty, "uniqueItems": true}),
    };
    if place == "path" {
        out["required"] = true.into();
    }
    out
}

/// What both versions say of an operation.
fn common(operation: &Operation) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("operationId".to_owned(), operation.id.as_str().into());
    out.insert("tags".to_owned(), json!([operation.tag]));
    if let Some(action) = operation.action {
        out.insert("x-kubernetes-action".to_owned(), action.into());
    }
    if let Some([group, version, kind]) = &operation.kind {
        let kind = json!({"group": group, "version": version, "kind": kind});
        out.insert("x-kubernetes-group-version-kind".to_owned(), kind);
    }
    out
}

/// The media types and the schema of an answer.
fn answer(operation: &Operation, types: &mut Types<'_>) -> (Vec<&'static str>, Value) {
    let text = json!({"type": "string"});
    match &operation.answer {
        Answer::Object(name) => (MEDIA.to_vec(), types.reference(name)),
        Answer::Watchable(name) => (MEDIA.into_iter().chain(STREAMS).collect(), types.reference(name)),
        Answer::Log => (["text/plain"].into_iter().chain(MEDIA).collect(), text),
        Answer::Anything => (vec!["*/*"], text),
        Answer::Text(media) => (vec![media], text),
        Answer::Json(name) => (vec!["application/json"], types.reference(name)),
    }
}

fn v3(operation: &Operation, types: &mut Types<'_>) -> Value {
    let mut out = common(operation);
    let parameters: Vec<Value> =
        operation.query.iter().map(|name| parameter(name, "query", Dialect::V3)).collect();
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    let content = |media: &[&str], schema: &Value| -> Map<String, Value> {
        media.iter().map(|media| ((*media).to_owned(), json!({"schema": schema}))).collect()
    };
    match &operation.body {
        Some(Body::Object(name, required)) => {
            let mut body = json!({"content": content(&["*/*"], &types.reference(name))});
            if *required {
                body["required"] = true.into();
            }
            out.insert("requestBody".to_owned(), body);
        }
        Some(Body::Patch) => {
            let patch = types.reference(&format!("{META}Patch"));
            out.insert(
                "requestBody".to_owned(),
                json!({"content": content(&PATCHES, &patch), "required": true}),
            );
        }
        None => {}
    }
    let (media, schema) = answer(operation, types);
    let mut responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|code| ((*code).to_owned(), json!({"description": "OK", "content": content(&media, &schema)})))
        .collect();
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    out.insert("responses".to_owned(), responses.into());
    Value::Object(out)
}

fn v2(operation: &Operation, types: &mut Types<'_>) -> Value {
    let mut out = common(operation);
    let (media, schema) = answer(operation, types);
    let consumes: &[&str] = match (&operation.body, &operation.answer) {
        (Some(Body::Patch), _) => &PATCHES,
        (_, Answer::Text(_)) => &[],
        (_, Answer::Json(_)) => &["application/json"],
        _ if operation.action.is_none() => &MEDIA,
        _ => &["*/*"],
    };
    if !consumes.is_empty() {
        out.insert("consumes".to_owned(), json!(consumes));
    }
    out.insert("produces".to_owned(), json!(media));
    out.insert("schemes".to_owned(), json!(["https"]));
    let mut parameters = Vec::new();
    match &operation.body {
        Some(Body::Object(name, required)) => {
            let mut body = json!({"name": "body", "in": "body", "schema": types.reference(name)});
            if *required {
                body["required"] = true.into();
            }
            parameters.push(body);
        }
        Some(Body::Patch) => {
            let patch = types.reference(&format!("{META}Patch"));
            parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": patch}));
        }
        None => {}
    }
    parameters.extend(operation.query.iter().map(|name| parameter(name, "query", Dialect::V2)));
    if !parameters.is_empty() {
        out.insert("parameters".to_owned(), parameters.into());
    }
    let mut responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|code| ((*code).to_owned(), json!({"description": "OK", "schema": schema})))
        .collect();
    responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
    out.insert("responses".to_owned(), responses.into());
    Value::Object(out)
}
