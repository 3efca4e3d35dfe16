//! Entry points for fuzzers: each takes bytes, sends them to an API with a Deployment in it, and panics where the answer
//! is none that Kubernetes would give. Nothing that is sent is kept, so one API serves all runs of a [`Target`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, Key, ManualClock, Timestamp};
use serde_json::json;

use crate::admission::expressions::{self, Names, Wanted};
use crate::cel::{self, Activation};
use crate::{
    Api, Body, Config, ListOptions, LocalApi, MediaType, Options, PatchType, Request, ResourceId, Status,
    User, Verb,
};

/// One expression may cost as much when it runs; so it ends soon, and makes nothing that is large.
const CEL_COST_MAX: u64 = 100_000;

/// An API to send things to.
pub struct Target(LocalApi<MemoryStore>);

impl Default for Target {
    fn default() -> Target {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
        let store = MemoryStore::new(clock.clone());
        let target = Target(LocalApi::new(store, clock, Entropy::seeded(1), Config::default()));
        let begun = target.0.bootstrap().now_or_never().expect("a memory store completes at once");
        begun.expect("a new cluster");
        let deployment = json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [
                        {"name": "a", "image": "a:1", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}]},
                        {"name": "b", "image": "b:1"},
                    ]},
                },
            },
        });
        let mut create = request(Verb::Create, "");
        create.body = Some(Body::Value(deployment));
        target.answer(create).expect("a Deployment");
        target
    }
}

fn request(verb: Verb, name: &str) -> Request {
    Request {
        user: User { name: "admin".into(), groups: vec!["system:masters".into()], ..User::default() },
        verb,
        resource: ResourceId { group: "apps".into(), version: "v1".into(), plural: "deployments".into() },
        key: Key::new("default", name),
        subresource: "".into(),
        options: Options { field_manager: "fuzzer".into(), ..Options::default() },
        body: None,
    }
}

/// What a fuzzer drives: bytes from outside, at a target.
pub type Way = fn(&Target, &[u8]);

/// Every way in, by the name that a fuzzer's target has.
pub const ALL: [(&str, Way); 11] = [
    ("json", Target::json),
    ("yaml", Target::yaml),
    ("protobuf", Target::protobuf),
    ("json_patch", Target::json_patch),
    ("merge_patch", Target::merge_patch),
    ("strategic_merge", Target::strategic_merge),
    ("apply", Target::apply),
    ("label_selector", Target::label_selector),
    ("field_selector", Target::field_selector),
    ("continue_token", Target::continue_token),
    ("cel", Target::cel),
];

impl Target {
    /// An object as JSON.
    pub fn json(&self, bytes: &[u8]) {
        self.create(MediaType::Json, bytes);
    }

    /// An object as YAML.
    pub fn yaml(&self, bytes: &[u8]) {
        self.create(MediaType::Yaml, bytes);
    }

    /// An object as protobuf.
    pub fn protobuf(&self, bytes: &[u8]) {
        self.create(MediaType::Protobuf, bytes);
    }

    /// A JSON patch (RFC 6902).
    pub fn json_patch(&self, bytes: &[u8]) {
        self.patch(PatchType::Json, MediaType::Json, bytes);
    }

    /// A merge patch (RFC 7386).
    pub fn merge_patch(&self, bytes: &[u8]) {
        self.patch(PatchType::Merge, MediaType::Json, bytes);
    }

    /// A strategic merge patch.
    pub fn strategic_merge(&self, bytes: &[u8]) {
        self.patch(PatchType::Strategic, MediaType::Json, bytes);
    }

    /// A server-side apply.
    pub fn apply(&self, bytes: &[u8]) {
        self.patch(PatchType::Apply, MediaType::Yaml, bytes);
    }

    /// A label selector.
    pub fn label_selector(&self, bytes: &[u8]) {
        let label_selector = String::from_utf8_lossy(bytes).into_owned();
        self.list(ListOptions { label_selector, ..ListOptions::default() });
    }

    /// A field selector.
    pub fn field_selector(&self, bytes: &[u8]) {
        let field_selector = String::from_utf8_lossy(bytes).into_owned();
        self.list(ListOptions { field_selector, ..ListOptions::default() });
    }

    /// Where a list goes on.
    pub fn continue_token(&self, bytes: &[u8]) {
        let continue_token = String::from_utf8_lossy(bytes).into_owned();
        self.list(ListOptions { continue_token, limit: 1, ..ListOptions::default() });
    }

    /// An expression in CEL, as an admission policy has it; what compiles is estimated, and run with an object.
    pub fn cel(&self, bytes: &[u8]) {
        let source = String::from_utf8_lossy(bytes);
        let names = Names { authorizer: true, constructs: true, ..Names::default() };
        let program = match expressions::compile(&source, &names, Wanted::Anything) {
            Ok(program) => program,
            Err(why) => return assert!(!why.is_empty(), "refused without a word"),
        };
        program.estimate(&BTreeMap::new());
        let object = json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 3, "ports": [80, 443], "image": "web:1"},
        });
        let values = Activation::default()
            .with("object", cel::Value::from_json(&object))
            .with("oldObject", cel::Value::Null)
            .with("request", cel::Value::from_json(&json!({"name": "web", "operation": "CREATE"})));
        if let Ok((_, cost)) = program.evaluate(&values, CEL_COST_MAX) {
            assert!(cost <= CEL_COST_MAX, "{cost} is more than it may cost");
        }
    }

    fn create(&self, media: MediaType, bytes: &[u8]) {
        let mut create = request(Verb::Create, "");
        create.body = Some(Body::Bytes(media, Bytes::copy_from_slice(bytes)));
        create.options.dry_run = true;
        self.judge(create);
    }

    fn patch(&self, patch: PatchType, media: MediaType, bytes: &[u8]) {
        let mut change = request(Verb::Patch(patch), "web");
        change.body = Some(Body::Bytes(media, Bytes::copy_from_slice(bytes)));
        change.options.dry_run = true;
        self.judge(change);
    }

    fn list(&self, list: ListOptions) {
        let mut asked = request(Verb::List, "");
        asked.options.list = list;
        self.judge(asked);
    }

    fn answer(&self, request: Request) -> Result<crate::Response, Status> {
        self.0.call(request).now_or_never().expect("a memory store completes at once")
    }

    /// What comes from outside is the client's fault or nobody's: an error of the server's own would be a mistake here.
    /// Some faults of clients Kubernetes answers with 500 and no reason, such as a field that an apply makes up.
    fn judge(&self, request: Request) {
        if let Err(status) = self.answer(request) {
            let bare = status.code == 500 && status.reason.is_empty();
            assert!(bare || (400..500).contains(&status.code), "{} {}", status.code, status.message);
            assert!(!status.message.is_empty(), "{} without a word", status.code);
        }
    }
}
