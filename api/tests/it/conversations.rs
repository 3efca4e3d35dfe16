//! Recorded conversations with a real kube-apiserver, replayed against a [`LocalApi`].
//!
//! The HTTP shell replays them in full; here it is about what this crate decides. Values that differ from run to run
//! are masked.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use orlop_api::render::{Form, Include, Renderer, Want};
use orlop_api::request::Payload;
use orlop_api::{
    Api, Body, Config, DeleteOptions, ListOptions, LocalApi, MediaType, Options, PatchType, Request,
    ResourceId, Status, User, Verb,
};
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, Key, ManualClock, Timestamp};
use serde_json::{Value, json};

struct Server {
    api: LocalApi<MemoryStore>,
    now: Timestamp,
}

fn server() -> Server {
    let now: Timestamp = "2026-11-23T06:48:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::at(now));
    let store = MemoryStore::new(clock.clone());
    let api = LocalApi::new(store, clock, Entropy::seeded(1), Config::default());
    api.bootstrap().now_or_never().expect("completes at once").expect("a new cluster");
    Server { api, now }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            b'+' => out.push(b' '),
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A request as the HTTP shell would make it; `None` where it would answer itself.
fn request(method: &str, path: &str, headers: &Value, body: Option<Body>) -> Option<(Request, bool)> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: Vec<(String, String)> = query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")))
        .map(|(k, v)| (decoded(k), decoded(v)))
        .collect();
    let get = |name: &str| query.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let flag = |name: &str| get(name).is_some_and(|v| v != "false" && v != "0");
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts[..] {
        ["api", version, ref rest @ ..] => ("", version, rest),
        ["apis", group, version, ref rest @ ..] => (group, version, rest),
        _ => return None,
    };
    let (watch_path, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, sub) = match rest {
        [plural] => (*plural, "", String::new()),
        [plural, name, sub @ ..] => (*plural, *name, sub.join("/")),
        [] => return None,
    };
    let content = headers["content-type"].as_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let verb = match method {
        "GET" if watch_path || flag("watch") && name.is_empty() => Verb::Watch,
        "GET" if name.is_empty() => Verb::List,
        "GET" => Verb::Get,
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch(match content {
            "application/json-patch+json" => PatchType::Json,
            "application/merge-patch+json" => PatchType::Merge,
            "application/strategic-merge-patch+json" => PatchType::Strategic,
            "application/apply-patch+yaml" => PatchType::Apply,
            _ => return None,
        }),
        "DELETE" if name.is_empty() => Verb::DeleteCollection,
        "DELETE" => Verb::Delete,
        _ => return None,
    };
    let number = |name: &str| get(name).map(|v| v.parse::<i64>());
    if [number("limit"), number("timeoutSeconds"), number("gracePeriodSeconds")]
        .into_iter()
        .flatten()
        .any(|n| n.is_err())
    {
        return None;
    }
    let number = |name: &str| number(name).and_then(Result::ok);
    if query.iter().any(|(k, v)| k == "dryRun" && v != "All") {
        return None;
    }
    let mut options = Options {
        dry_run: get("dryRun").is_some(),
        field_manager: get("fieldManager").unwrap_or_default().into(),
        field_validation: get("fieldValidation").unwrap_or_default().into(),
        force: flag("force"),
        list: ListOptions {
            label_selector: get("labelSelector").unwrap_or_default(),
            field_selector: get("fieldSelector").unwrap_or_default(),
            limit: number("limit").and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            continue_token: get("continue").unwrap_or_default(),
            resource_version: get("resourceVersion"),
            resource_version_match: get("resourceVersionMatch").unwrap_or_default(),
            timeout_seconds: None,
            allow_watch_bookmarks: flag("allowWatchBookmarks"),
            send_initial_events: get("sendInitialEvents").map(|_| flag("sendInitialEvents")),
        },
        delete: DeleteOptions {
            grace_period_seconds: number("gracePeriodSeconds"),
            propagation_policy: get("propagationPolicy").map(Into::into),
            orphan_dependents: get("orphanDependents").map(|_| flag("orphanDependents")),
            ..DeleteOptions::default()
        },
        ..Options::default()
    };
    if options.field_manager.is_empty() && verb != Verb::Patch(PatchType::Apply) {
        options.field_manager = "recorder".into();
    }
    let request = Request {
        user: User {
            name: "admin".into(),
            uid: "uid-admin".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..User::default()
        },
        verb,
        resource: ResourceId { group: group.into(), version: version.into(), plural: plural.into() },
        key: Key::new(namespace, name),
        subresource: sub.into(),
        options,
        body,
    };
    Some((request, flag("pretty")))
}

/// A value at `steps[3].body.metadata["a b"][0]`.
fn place<'a>(answers: &'a [Value], path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix("steps[")?;
    let (index, path) = path.split_once(']')?;
    let mut value = answers.get(index.parse::<usize>().ok()?)?;
    let mut rest = path.strip_prefix(".body")?;
    while !rest.is_empty() {
        if let Some(field) = rest.strip_prefix('.') {
            let end = field.find(['.', '[']).unwrap_or(field.len());
            value = value.get(&field[..end])?;
            rest = &field[end..];
        } else {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            value = match inside.parse::<usize>() {
                Ok(at) => value.get(at)?,
                Err(_) => value.get(inside.trim_matches('"'))?,
            };
            rest = after;
        }
    }
    Some(value)
}

fn filled(text: &str, answers: &[Value]) -> Value {
    if let Some(only) =
        text.strip_prefix("${").and_then(|t| t.strip_suffix('}')).filter(|t| !t.contains("${"))
    {
        // What this crate leaves out, such as managed fields, is left out of later requests, too.
        if !only.starts_with("repeat(") {
            return place(answers, only).cloned().unwrap_or_default();
        }
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, after)) = after.split_once('}') else { break };
        out.push_str(before);
        if let Some(repeat) = inside.strip_prefix("repeat(") {
            let (what, times) = repeat.trim_end_matches(')').split_once(',').unwrap();
            out.push_str(&what.repeat(times.parse().unwrap()));
        } else {
            match place(answers, inside) {
                Some(Value::String(text)) => out.push_str(text),
                Some(other) => out.push_str(&other.to_string()),
                None => out.push_str("<absent>"),
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.into()
}

fn fill(value: &Value, answers: &[Value]) -> Value {
    match value {
        Value::String(text) => filled(text, answers),
        Value::Array(items) => items.iter().map(|v| fill(v, answers)).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), fill(v, answers))).collect()),
        other => other.clone(),
    }
}

/// Masks what differs from run to run.
fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove("description");
            if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
                let text = |e: &Value| {
                    ["manager", "operation", "subresource", "apiVersion", "fieldsV1"]
                        .map(|f| e[f].to_string())
                };
                entries.sort_by_key(text);
            }
            let generated = map.get("generateName").is_some();
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &*value) {
                    ("resourceVersion", Value::String(v)) if !matches!(v.as_str(), "" | "0") => {
                        *value = "<rv>".into()
                    }
                    ("continue", Value::String(v)) if !v.is_empty() => *value = "<continue>".into(),
                    ("name", Value::String(_)) if generated => *value = "<generated>".into(),
                    ("nodePort" | "healthCheckNodePort", Value::Number(_)) => *value = "<port>".into(),
                    _ => mask(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => *text = mask_text(text),
        _ => {}
    }
}

fn mask_text(text: &str) -> String {
    if text.parse::<Timestamp>().is_ok() {
        return "<time>".into();
    }
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(after) = rest.strip_prefix("kube-api-access-") {
            out.push_str("kube-api-access-<x>");
            at += rest.len() - after.len() + after.len().min(5);
            continue;
        }
        if rest.starts_with("10.96.") {
            out.push_str("<ip>");
            at += rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            continue;
        }
        let uuid = rest.len() >= 36
            && bytes[at..at + 36].iter().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => *b == b'-',
                _ => b.is_ascii_hexdigit(),
            });
        if uuid {
            out.push_str("<uid>");
            at += 36;
            continue;
        }
        let c = rest.chars().next().unwrap();
        out.push(c);
        at += c.len_utf8();
    }
    // Numbers of the store in messages.
    for lead in [
        "current: ",
        "ResourceVersion in precondition: ",
        "ResourceVersion in object meta: ",
        "precondition (",
        "record (",
    ] {
        if let Some((before, after)) = out.clone().split_once(lead) {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 {
                out = format!("{before}{lead}<rv>{}", &after[digits..]);
            }
        }
    }
    out
}

fn wanted(headers: &Value, path: &str) -> Option<Want> {
    let include = match path.split("includeObject=").nth(1).map(|v| v.split('&').next().unwrap_or_default()) {
        None | Some("" | "Metadata") => Include::Metadata,
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        Some(_) => return None,
    };
    let accept = headers["accept"].as_str().unwrap_or("application/json");
    let form = match accept {
        a if a.contains("as=Table") => Form::Table(include),
        a if a.contains("as=PartialObjectMetadata") => Form::Partial,
        "application/json" | "*/*" => Form::Whole,
        _ => return None,
    };
    Some(Want { form, ..Want::default() })
}

/// A floor for the steps that agree.
const AGREED_PERCENT: usize = 84;

type Frames = (orlop_api::api::WatchStream, orlop_core::Kind, Form);

fn drain(server: &Server, (mut stream, kind, form): Frames) -> Value {
    let columns = server.api.served().columns.clone();
    let renderer = Renderer { custom: &columns, now: server.now };
    let mut events = Vec::new();
    while let Some(Some(frame)) = stream.next().now_or_never() {
        let line = renderer.frame(&kind, &frame, form, events.is_empty());
        events.push(serde_json::from_slice::<Value>(&line).expect("a frame is JSON"));
    }
    events.into()
}

enum Replayed {
    /// Not for this crate.
    Skipped,
    Answer(u16, Value),
    Later(Frames),
}

fn replay(server: &Server, step: &Value, answers: &[Value]) -> Replayed {
    let asked = fill(&step["request"], answers);
    let headers = &asked["headers"];
    if asked["bodyBase64"].is_string() || asked["user"].is_string() {
        return Replayed::Skipped;
    }
    let path = asked["path"].as_str().unwrap_or_default();
    let Some(want) = wanted(headers, path) else { return Replayed::Skipped };
    let content = headers["content-type"].as_str().unwrap_or("application/json").split(';').next().unwrap();
    let media = match content.to_ascii_lowercase().as_str() {
        "application/json" => MediaType::Json,
        "application/yaml" | "application/apply-patch+yaml" => MediaType::Yaml,
        c if c.ends_with("patch+json") => MediaType::Json,
        _ => return Replayed::Skipped,
    };
    let body = match &asked["body"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        tree => Some(tree.to_string()),
    };
    let method = asked["method"].as_str().unwrap();
    let body = body.map(|text| Body::Bytes(media, text.into()));
    let Some((request, _)) = request(method, asked["path"].as_str().unwrap(), headers, body) else {
        return Replayed::Skipped;
    };
    let refusal =
        |status: Status| Replayed::Answer(status.code, serde_json::from_slice(&status.to_bytes()).unwrap());
    if request.verb == Verb::Watch {
        let id = request.resource.clone();
        let scheme = server.api.served().scheme.clone();
        let kind = scheme.resource(&id.group, &id.version, &id.plural).map(|r| r.kind.clone());
        return match server.api.watch(request).now_or_never().expect("completes at once") {
            Ok(stream) => Replayed::Later((stream, kind.unwrap(), want.form)),
            Err(status) => refusal(status),
        };
    }
    match server.api.call(request).now_or_never().expect("completes at once") {
        Ok(response) => {
            let columns = server.api.served().columns.clone();
            let renderer = Renderer { custom: &columns, now: server.now };
            if matches!(response.payload, Payload::Stream(_)) {
                return Replayed::Skipped;
            }
            let bytes = renderer.response(&response, want);
            Replayed::Answer(response.code, serde_json::from_slice(&bytes).expect("an answer is JSON"))
        }
        Err(status) => refusal(status),
    }
}

fn comparable(answer: &Value) -> Value {
    let mut answer = answer.clone();
    mask(&mut answer);
    if let Some(events) = answer.as_array_mut() {
        events.retain(|e| e["type"] != "BOOKMARK" || e["object"]["metadata"]["annotations"].is_object());
    }
    // Refusals that quote whole objects or Go's internals compare by what programs see.
    if answer["status"] == "Failure" {
        let message = answer["message"].as_str().unwrap_or_default();
        let accident = [
            "json: cannot unmarshal",
            "parse error",
            "strconv.",
            "\n@@",
            "Invalid value: \"{\\\"",
            "yaml:",
            "parsing time",
            "map[",
        ]
        .iter()
        .any(|a| message.contains(a));
        if accident {
            answer["message"] = "<accident>".into();
            if let Some(causes) = answer["details"]["causes"].as_array_mut() {
                causes.iter_mut().for_each(|c| c["message"] = "<accident>".into());
            }
        }
    }
    answer
}

#[test]
fn conversations() {
    let Some(folder) = orlop_core::oracle::shared("api-conversations") else { return };
    let only = std::env::var("ORLOP_CONVERSATION").ok();
    let show = std::env::var("ORLOP_CONVERSATIONS_ALL").ok();
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    names.sort();
    let mut topics: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    // One server for all, as when they were recorded; those about defaults of the whole cluster get their own.
    let shared = server();
    for path in names {
        let conversation: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = conversation["name"].as_str().unwrap_or_default().to_owned();
        if conversation["server"] != "main"
            || only.as_ref().is_some_and(|only| !name.starts_with(only.as_str()))
        {
            continue;
        }
        let own = name.starts_with("admission-default").then(server);
        let server = own.as_ref().unwrap_or(&shared);
        let mut answers: Vec<Value> = Vec::new();
        let mut background = Vec::new();
        let topic = name.split('-').next().unwrap_or_default().to_owned();
        let mut count = |step: usize, code: u16, got: &Value, expected: &Value| {
            let tally = topics.entry(topic.clone()).or_default();
            tally.1 += 1;
            let (a, b) = (comparable(got), comparable(&expected["body"]));
            let only = only.as_ref().or(show.as_ref());
            if json!(code) == expected["status"] && a == b {
                tally.0 += 1;
            } else if only.is_some() {
                println!("{name} [{step}]\n  expected {} {b}\n  got      {code} {a}", expected["status"]);
            }
        };
        for (at, step) in conversation["steps"].as_array().unwrap().iter().enumerate() {
            match replay(server, step, &answers) {
                Replayed::Skipped => answers.push(Value::Null),
                Replayed::Answer(code, answer) => {
                    if step["project"].is_null() && step["role"] != "setup" {
                        count(at, code, &answer, &step["response"]);
                    }
                    answers.push(answer);
                }
                Replayed::Later(frames) if step["request"]["background"] == true => {
                    answers.push(Value::Null);
                    background.push((at, frames, step["response"].clone()));
                }
                Replayed::Later(frames) => {
                    let events = drain(server, frames);
                    count(at, 200, &events, &step["response"]);
                    answers.push(events);
                }
            }
        }
        for (at, frames, expected) in background {
            let events = drain(server, frames);
            count(at, 200, &events, &expected);
        }
    }
    let (mut agreed, mut all) = (0, 0);
    for (topic, (right, steps)) in &topics {
        println!("{topic}: {right} of {steps} steps");
        agreed += right;
        all += steps;
    }
    println!("conversations: {agreed} of {all} steps agreed");
    // What agrees goes on agreeing; what is missing is mostly admission and validation that are not there yet.
    assert!(only.is_some() || agreed * 100 >= all * AGREED_PERCENT, "{agreed} of {all}");
}
