//! The audit log: who did what, as `audit.k8s.io/v1` events, one JSON object a line (Kubernetes' documentation,
//! "Auditing").

mod policy;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use orlop_api::User;
use orlop_api::auth::{Attributes, Target};
use orlop_core::{Clock, Entropy, Timestamp};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::body::{Answer, AnswerBody};
pub use policy::{AuditPolicy, InvalidAuditPolicy, Level};

/// Where events go.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one event: a JSON object without line breaks.
    fn note(&self, line: &str);
}

/// A file to which events are appended; only its owner may read it.
pub struct AuditFile(Mutex<Box<dyn Write + Send>>);

impl AuditFile {
    /// Opens the file, or makes it; `-` is standard output.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> std::io::Result<AuditFile> {
        if path.as_os_str() == "-" {
            return Ok(AuditFile(Mutex::new(Box::new(std::io::stdout()))));
        }
        let mut options = File::options();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(AuditFile(Mutex::new(Box::new(options.open(path)?))))
    }
}

impl AuditSink for AuditFile {
    fn note(&self, line: &str) {
        let mut file = self.0.lock();
        // A whole line at once, so that what others append does not come in between.
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.flush()) {
            tracing::warn!(%error, "an audit event is lost");
        }
    }
}

/// Notes requests as a policy wants it. Clones are one log.
#[derive(Clone)]
pub struct Audit(Arc<Log>);

struct Log {
    policy: AuditPolicy,
    sink: Arc<dyn AuditSink>,
    clock: Arc<dyn Clock>,
    entropy: Mutex<Entropy>,
}

impl Audit {
    /// A log that goes to `sink`. `entropy` makes the events' identifiers.
    pub fn new(
        policy: AuditPolicy,
        sink: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
        entropy: Entropy,
    ) -> Audit {
        Audit(Arc::new(Log { policy, sink, clock, entropy: Mutex::new(entropy) }))
    }

    /// Begins to note a request; `None`: nothing is to be noted of it. `user` is who has authenticated, `acting_as`
    /// whom the request is made for, if that is somebody else.
    pub(crate) fn begin(
        &self,
        head: &Parts,
        asked: &Attributes,
        user: &User,
        acting_as: Option<&User>,
        received: Timestamp,
    ) -> Option<Pending> {
        let wanted = self.0.policy.wanted(user, asked);
        if wanted.level == Level::None {
            return None;
        }
        let agent = head.headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": wanted.level.word(),
            "auditID": self.0.entropy.lock().uuid(),
            "stage": "",
            "requestURI": head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            "verb": asked.verb,
            "user": user_info(user),
        });
        if let Some(user) = acting_as {
            event["impersonatedUser"] = user_info(user);
        }
        event["sourceIPs"] = source_ips(&head.headers).into();
        if let Some(agent) = agent {
            event["userAgent"] = agent.into();
        }
        if let Target::Resource { group, resource, subresource, key } = &asked.target {
            let version = head.uri.path().split('/').nth(if group.is_empty() { 2 } else { 3 });
            event["objectRef"] = without_empty(json!({
                "resource": resource,
                "namespace": key.namespace,
                "name": key.name,
                "apiGroup": group,
                "apiVersion": version.unwrap_or_default(),
                "subresource": subresource,
            }));
        }
        let pending = Pending { log: self.0.clone(), event, wanted, received };
        pending.note("RequestReceived", &Map::new());
        Some(pending)
    }
}

fn without_empty(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| *value != "");
    }
    object
}

fn user_info(user: &User) -> Value {
    let mut info = without_empty(json!({"username": user.name, "uid": user.uid}));
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        let extra: Map<String, Value> = user.extra.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        info["extra"] = extra.into();
    }
    info
}

fn source_ips(headers: &HeaderMap) -> Vec<String> {
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let all = forwarded.flat_map(|list| list.split(',')).map(str::trim);
    all.filter(|ip| ip.parse::<std::net::IpAddr>().is_ok()).map(str::to_owned).collect()
}

/// A request of which something is to be noted.
pub(crate) struct Pending {
    log: Arc<Log>,
    event: Value,
    wanted: policy::Wanted,
    received: Timestamp,
}

impl Pending {
    /// Whether what is sent belongs into the log.
    pub(crate) fn wants_request(&self) -> bool {
        self.wanted.level >= Level::Request
    }

    /// Takes what was sent.
    pub(crate) fn sent(&mut self, body: &[u8]) {
        if let Some(object) = self.object(body) {
            self.event["requestObject"] = object;
        }
    }

    fn object(&self, body: &[u8]) -> Option<Value> {
        let mut object: Value =
            serde_json::from_slice(body).or_else(|_| serde_yaml::from_slice(body)).ok()?;
        if !object.is_object() && !object.is_array() {
            return None;
        }
        if self.wanted.omit_managed_fields {
            forget_managed_fields(&mut object);
        }
        Some(object)
    }

    fn note(&self, stage: &'static str, more: &Map<String, Value>) {
        if self.wanted.omit_stages.iter().any(|omitted| omitted == stage) {
            return;
        }
        let mut event = self.event.clone();
        event["stage"] = stage.into();
        if let Some(map) = event.as_object_mut() {
            map.extend(more.clone());
            map.insert("requestReceivedTimestamp".into(), self.received.to_micro_string().into());
            map.insert("stageTimestamp".into(), self.log.clock.now().to_micro_string().into());
        }
        self.log.sink.note(&event.to_string());
    }

    /// Notes how the request was answered. What is still under way, such as a watch, is noted when it begins and when
    /// it ends.
    pub(crate) async fn answered(self, answer: Answer, lasting: bool) -> Answer {
        let status = answer.status();
        let mut more = Map::new();
        let decision = if status == StatusCode::FORBIDDEN { "forbid" } else { "allow" };
        more.insert("annotations".into(), json!({"authorization.k8s.io/decision": decision}));
        if lasting && status.is_success() {
            more.insert("responseStatus".into(), json!({"metadata": {}, "code": status.as_u16()}));
            self.note("ResponseStarted", &more);
            let (head, body) = answer.into_parts();
            let body = Lasting { body, end: Some((self, more)) };
            return http::Response::from_parts(head, body.boxed_unsync());
        }
        let wants_answer = self.wanted.level == Level::RequestResponse;
        if status.is_success() && !wants_answer {
            more.insert("responseStatus".into(), json!({"metadata": {}, "code": status.as_u16()}));
            self.note("ResponseComplete", &more);
            return answer;
        }
        let (head, body) = answer.into_parts();
        // The body of an answer cannot fail.
        let bytes: Bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(never) => match never {},
        };
        let mut told = json!({"metadata": {}, "code": status.as_u16()});
        if let Some(refusal) = serde_json::from_slice::<Value>(&bytes).ok().filter(|v| v["kind"] == "Status")
        {
            // Refusals quote what they refuse.
            let fields = if self.wanted.secret {
                &["status", "reason"][..]
            } else {
                &["status", "reason", "message", "details"]
            };
            for &field in fields {
                if let Some(value) = refusal.get(field) {
                    told[field] = value.clone();
                }
            }
        }
        more.insert("responseStatus".into(), told);
        if let Some(object) = wants_answer.then(|| self.object(&bytes)).flatten() {
            more.insert("responseObject".into(), object);
        }
        self.note("ResponseComplete", &more);
        http::Response::from_parts(head, Full::new(bytes).boxed_unsync())
    }
}

fn forget_managed_fields(object: &mut Value) {
    let forget = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.shift_remove("managedFields");
        }
    };
    forget(object);
    if let Some(Value::Array(items)) = object.get_mut("items") {
        items.iter_mut().for_each(forget);
    }
}

/// A body whose end is noted, be it that the server is through or that the client has gone.
struct Lasting {
    body: AnswerBody,
    end: Option<(Pending, Map<String, Value>)>,
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let Some((pending, more)) = self.end.take() {
            pending.note("ResponseComplete", &more);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use orlop_core::{Key, ManualClock};

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<String>);

    impl AuditSink for Lines {
        fn note(&self, line: &str) {
            self.0.lock().push_str(line);
        }
    }

    /// A refusal quotes what it refuses: a patch that made a Secret's field of the wrong type once brought all of its
    /// data into the log, whatever the level.
    #[test]
    fn a_refusal_of_a_secret_is_noted_without_its_words() {
        let lines = Arc::new(Lines::default());
        let policy = "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: RequestResponse}]";
        let policy = AuditPolicy::parse(policy).unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let audit = Audit::new(policy, lines.clone(), clock, Entropy::seeded(1));
        let head = http::Request::patch("/api/v1/namespaces/a/secrets/s").body(()).unwrap().into_parts().0;
        let noted = |resource: &str| {
            let target = Target::Resource {
                group: "".into(),
                resource: resource.into(),
                subresource: "".into(),
                key: Key::new("a", "s"),
            };
            let asked = Attributes { verb: "patch".into(), target };
            let user = User { name: "ada".into(), ..User::default() };
            let pending = audit.begin(&head, &asked, &user, None, Timestamp::EPOCH).unwrap();
            let status =
                json!({"kind": "Status", "reason": "Invalid", "message": "aHVudGVyMg==", "code": 422});
            let body = Full::new(Bytes::from(status.to_string())).boxed_unsync();
            let answer = http::Response::builder().status(422).body(body).unwrap();
            pending.answered(answer, false).now_or_never().expect("no need to wait");
            std::mem::take(&mut *lines.0.lock())
        };
        assert!(noted("configmaps").contains("aHVudGVyMg=="));
        let secret = noted("secrets");
        assert!(secret.contains("Invalid") && !secret.contains("aHVudGVyMg=="), "{secret}");
    }
}
