//! A cluster for tests: requests as lines of text, answers as lines of text.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use orlop_api::api::WatchStream;
use orlop_api::request::Payload;
use orlop_api::{
    Api, Body, Config, ListOptions, LocalApi, MediaType, Options, PatchType, Request, ResourceId, Response,
    Status, User, Verb, WatchFrame,
};
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, Key, ManualClock, Timestamp};
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) api: LocalApi<MemoryStore>,
    pub(crate) clock: ManualClock,
}

pub(crate) fn world() -> World {
    world_with(Config::default())
}

pub(crate) fn world_with(config: Config) -> World {
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_600));
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let api = LocalApi::new(store, Arc::new(clock.clone()), Entropy::seeded(7), config);
    let world = World { api, clock };
    now(world.api.bootstrap()).expect("a new cluster");
    world.ok("create /api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}}));
    world
}

pub(crate) fn admin() -> User {
    User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// Everything completes on its first poll.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("completes on the first poll")
}

/// `create /apis/apps/v1/namespaces/default/deployments?dryRun` as a request.
pub(crate) fn request(line: &str, body: Value) -> Request {
    let (verb, path) = line.split_once(' ').expect("a verb and a path");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let (group, version, rest) = match parts[..] {
        ["api", version, ref rest @ ..] => ("", version, rest),
        ["apis", group, version, ref rest @ ..] => (group, version, rest),
        _ => panic!("no path: {path}"),
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let verb = match verb {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        "merge" => Verb::Patch(PatchType::Merge),
        "json" => Verb::Patch(PatchType::Json),
        "strategic" => Verb::Patch(PatchType::Strategic),
        "apply" => Verb::Patch(PatchType::Apply),
        other => panic!("no verb: {other}"),
    };
    let mut options = Options { field_manager: "test".into(), ..Options::default() };
    let list: &mut ListOptions = &mut options.list;
    for (name, value) in
        query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
    {
        match name {
            "labels" => list.label_selector = value.replace("%3D", "="),
            "fields" => list.field_selector = value.replace("%3D", "="),
            "limit" => list.limit = value.parse().expect("a number"),
            "continue" => list.continue_token = value.into(),
            "rv" => list.resource_version = Some(value.into()),
            "match" => list.resource_version_match = value.into(),
            "bookmarks" => list.allow_watch_bookmarks = true,
            "initial" => list.send_initial_events = Some(true),
            "timeout" => list.timeout_seconds = Some(value.parse().expect("a number")),
            "grace" => options.delete.grace_period_seconds = Some(value.parse().expect("a number")),
            "propagation" => options.delete.propagation_policy = Some(value.into()),
            "dryRun" => options.dry_run = true,
            "force" => options.force = true,
            other => panic!("no parameter: {other}"),
        }
    }
    Request {
        user: admin(),
        verb,
        resource: ResourceId { group: group.into(), version: version.into(), plural: rest[0].into() },
        key: Key::new(namespace, rest.get(1).copied().unwrap_or_default()),
        subresource: rest.get(2..).unwrap_or_default().join("/").into(),
        options,
        body: (!body.is_null()).then(|| Body::Bytes(MediaType::Json, body.to_string().into())),
    }
}

/// What a response holds, as a tree.
pub(crate) fn tree(response: &Response) -> Value {
    match &response.payload {
        Payload::Object(_, stored) => stored.to_value(),
        Payload::Value(_, value) => value.clone(),
        Payload::Status(status) => serde_json::from_slice(&status.to_bytes()).expect("JSON"),
        Payload::List(_, list) => json!({
            "items": list.items.iter().map(|i| i.to_value()).collect::<Vec<_>>(),
            "continue": list.continue_token,
            "remaining": list.remaining,
            "revision": list.revision.0,
        }),
        Payload::Stream(_) => Value::Null,
    }
}

impl World {
    pub(crate) fn call(&self, line: &str, body: Value) -> Result<Response, Status> {
        now(self.api.call(request(line, body)))
    }

    pub(crate) fn ok(&self, line: &str, body: Value) -> Value {
        match self.call(line, body) {
            Ok(response) => tree(&response),
            Err(status) => panic!("{line}: {status}"),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.ok(&format!("get {path}"), Value::Null)
    }

    pub(crate) fn refused(&self, line: &str, body: Value) -> String {
        match self.call(line, body) {
            Ok(response) => panic!("{line} was let in: {}", tree(&response)),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    pub(crate) fn watch(&self, line: &str) -> WatchStream {
        now(self.api.watch(request(line, Value::Null))).unwrap_or_else(|status| panic!("{line}: {status}"))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// The frames that are ready, one word and one name each.
pub(crate) fn seen(stream: &mut WatchStream) -> String {
    let mut out = Vec::new();
    loop {
        match stream.next().now_or_never() {
            Some(Some(frame)) => out.push(word(&frame)),
            Some(None) => {
                out.push("end".to_owned());
                break;
            }
            None => break,
        }
    }
    out.join(" ")
}

fn word(frame: &WatchFrame) -> String {
    let name = |stored: &orlop_core::Stored| {
        stored.to_value()["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    };
    match frame {
        WatchFrame::Added(_, o) => format!("+{}", name(o)),
        WatchFrame::Modified(_, o) => format!("~{}", name(o)),
        WatchFrame::Deleted(_, o) => format!("-{}", name(o)),
        WatchFrame::Bookmark { initial_end: true, .. } => "initial-end".into(),
        WatchFrame::Bookmark { .. } => "bookmark".into(),
        WatchFrame::Error(status) => format!("error {} {}", status.code, status.reason),
    }
}
