//! The audit log: who did what, as `audit.k8s.io/v1` events, one JSON object a line (Kubernetes' documentation,
//! "Auditing").
//!
//! A request is noted in stages: when it is received, when the answer to one that lasts begins, and when it is over.
//! What was sent is noted as it was sent, defaults not filled in.

mod event;
mod policy;
mod source;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use http::request::Parts;
use orlop_api::User;
use orlop_api::auth::{Attributes, Target};
use orlop_core::{Clock, Entropy, Name, Timestamp};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

pub(crate) use event::{Pending, SessionEnd};
pub use policy::{AuditPolicy, InvalidAuditPolicy, Level};
pub(crate) use source::Peer;

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

    /// Begins to note a request; `None`: nothing is to be noted of it. `user` is who has authenticated.
    pub(crate) fn begin(
        &self,
        head: &Parts,
        asked: &Attributes,
        user: &User,
        received: Timestamp,
    ) -> Option<Pending> {
        let pending = self.event(head, asked, Some(user), received)?;
        pending.note("RequestReceived", &Map::new());
        Some(pending)
    }

    /// Notes a request whose credentials are worth nothing. `certificate`: TLS has verified one.
    pub(crate) fn refused(&self, head: &Parts, asked: &Attributes, certificate: bool, received: Timestamp) {
        let Some(pending) = self.event(head, asked, None, received) else { return };
        let attempted = source::credentials(head, certificate).join(", ");
        let message = match attempted.as_str() {
            "" => "Authentication failed, no credentials provided".to_owned(),
            attempted => format!("Authentication failed, attempted: {attempted}"),
        };
        let status = json!({"metadata": {}, "message": message, "code": 401});
        pending.note("ResponseStarted", &Map::from_iter([("responseStatus".to_owned(), status)]));
    }

    fn event(
        &self,
        head: &Parts,
        asked: &Attributes,
        user: Option<&User>,
        received: Timestamp,
    ) -> Option<Pending> {
        let wanted = self.0.policy.wanted(user, asked);
        if wanted.level == Level::None {
            return None;
        }
        // Who sends an identifier can follow the request through the logs of several servers.
        let given = head.headers.get(source::AUDIT_ID).and_then(|id| id.to_str().ok());
        let id = match given.filter(|id| !id.is_empty()) {
            Some(id) => Name::from(id),
            None => self.0.entropy.lock().uuid(),
        };
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": wanted.level.word(),
            "auditID": id,
            "stage": "",
            "requestURI": head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            "verb": asked.verb,
            "user": user.map_or_else(|| json!({}), user_info),
        });
        let sources = source::ips(head);
        if !sources.is_empty() {
            event["sourceIPs"] = sources.into();
        }
        if let Some(agent) = source::agent(&head.headers) {
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
        Some(Pending::new(self.0.clone(), id, event, wanted, received))
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};
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
            let pending = audit.begin(&head, &asked, &user, Timestamp::EPOCH).unwrap();
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
