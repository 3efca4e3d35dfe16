//! The audit log of a server: what is noted of requests of each kind, in which stages.

use std::sync::Arc;

use futures_util::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use orlop_api::rbac::Rbac;
use orlop_api::{Config, LocalApi, User};
use orlop_apiserver::{Audit, AuditPolicy, AuditSink, Authentication, Shell, TokenFile};
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, ManualClock, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;

#[derive(Default)]
struct Lines(Mutex<Vec<Value>>);

impl AuditSink for Lines {
    fn note(&self, line: &str) {
        self.0.lock().push(serde_json::from_str(line).expect("a line of JSON"));
    }
}

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitManagedFields: true}
  - {level: Metadata}
";

const TOKENS: &str = "good,ada,1,system:masters\nplain,bob,2\n";

struct Served {
    shell: Shell,
    lines: Arc<Lines>,
}

fn served() -> Served {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
    let config = Config { authorizer: Arc::new(Rbac), ..Config::default() };
    let api = LocalApi::new(MemoryStore::new(clock.clone()), clock.clone(), Entropy::seeded(1), config);
    api.bootstrap().now_or_never().expect("a memory store completes at once").expect("a new cluster");
    let tokens = TokenFile::parse(TOKENS).expect("tokens");
    let authentication = Authentication { tokens: vec![Arc::new(tokens)], ..Authentication::default() };
    let shell = Shell::new(Arc::new(api), authentication, clock.clone());
    let lines = Arc::new(Lines::default());
    let policy = AuditPolicy::parse(POLICY).expect("a policy");
    shell.audit(Audit::new(policy, lines.clone(), clock, Entropy::seeded(2)));
    Served { shell, lines }
}

impl Served {
    /// What is noted of a request, one line for each stage.
    async fn noted(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<Value> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.shell.handle(request.body(body.to_owned()).expect("a request"), None).await;
        // What lasts is over when its client has gone.
        match path.contains("watch") {
            true => drop(answer),
            false => drop(answer.into_body().collect().await.expect("a body")),
        }
        std::mem::take(&mut *self.lines.0.lock())
    }
}

const ADA: (&str, &str) = ("authorization", "Bearer good");
const BOB: (&str, &str) = ("authorization", "Bearer plain");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["stage"].as_str()).collect()
}

fn decision(event: &Value) -> (&str, &str) {
    let of =
        |what: &str| event["annotations"][format!("authorization.k8s.io/{what}")].as_str().unwrap_or("-");
    (of("decision"), of("reason"))
}

/// Who is turned away at the door was not noted at all, so that guesses at tokens left no trace.
#[tokio::test]
async fn wrong_credentials_are_noted() {
    let served = served();
    let events = served.noted("GET", "/api/v1/nodes", &[("authorization", "Bearer bad")], "").await;
    assert_eq!(stages(&events), ["ResponseStarted"]);
    let event = &events[0];
    assert_eq!(event["responseStatus"]["code"], 401);
    assert_eq!(event["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!((&event["user"], &event["verb"]), (&serde_json::json!({}), &"list".into()));
    assert_eq!(event["objectRef"]["resource"], "nodes");
    let events = served.noted("GET", "/version", &[], "").await;
    assert_eq!(events[0]["responseStatus"]["message"], "Authentication failed, no credentials provided");
}

/// The decision is the authoriser's: 403 may as well come from admission, and then the request was allowed.
#[tokio::test]
async fn the_decision_is_the_authorisers() {
    let served = served();
    let events = served.noted("POST", MAPS, &[BOB], r#"{"metadata": {"name": "a"}}"#).await;
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(decision(&events[0]), ("-", "-"), "it is not decided yet");
    assert_eq!(decision(&events[1]), ("forbid", ""));
    assert_eq!(events[1]["responseStatus"]["reason"], "Forbidden");

    let nowhere = "/api/v1/namespaces/kube-system/serviceaccounts/x/token";
    let events = served.noted("POST", nowhere, &[ADA], "{}").await;
    assert_eq!(
        (events[1]["responseStatus"]["code"].as_u64(), decision(&events[1])),
        (Some(404), ("allow", ""))
    );

    let events = served.noted("GET", "/version", &[BOB], "").await;
    let (word, reason) = decision(&events[1]);
    assert_eq!(word, "allow");
    assert!(reason.starts_with("RBAC: allowed by ClusterRoleBinding "), "{reason}");

    // Impersonation is refused before there is any decision on the request.
    let events = served.noted("GET", MAPS, &[BOB, ("impersonate-user", "ada")], "").await;
    assert_eq!((events[1]["responseStatus"]["code"].as_u64(), decision(&events[1])), (Some(403), ("-", "-")));
    let events = served.noted("GET", MAPS, &[ADA, ("impersonate-user", "bob")], "").await;
    assert_eq!(events[1]["impersonatedUser"]["username"], "bob");
    assert_eq!(decision(&events[1]).0, "forbid");
}

/// Bodies are noted as what they say, whatever they are encoded in.
#[tokio::test]
async fn bodies_of_every_encoding_are_noted() {
    let served = served();
    let yaml = ("content-type", "application/yaml");
    let text = "metadata: {name: a}\ndata: {on: 'yes', number: \"017\"}\n";
    let events = served.noted("POST", MAPS, &[ADA, yaml], text).await;
    let event = &events[1];
    assert_eq!(event["requestObject"]["data"], serde_json::json!({"true": "yes", "number": "017"}));
    assert_eq!(event["objectRef"]["name"], "a", "the path does not name it, but the body does");
    assert!(event["responseObject"]["metadata"]["uid"].is_string());
    assert!(event["responseObject"]["metadata"]["managedFields"].is_null(), "the policy omits them");

    let apply = ("content-type", "application/apply-patch+yaml");
    let path = format!("{MAPS}/b?fieldManager=me");
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {k: v}\n";
    let events = served.noted("PATCH", &path, &[ADA, apply, ("accept", "application/yaml")], body).await;
    assert_eq!(events[1]["requestObject"]["data"]["k"], "v");
    assert_eq!(events[1]["responseObject"]["data"]["k"], "v", "answers in YAML, too");

    let strategic = ("content-type", "application/strategic-merge-patch+json");
    let events =
        served.noted("PATCH", &format!("{MAPS}/b"), &[ADA, strategic], r#"{"data": {"k": null}}"#).await;
    assert_eq!(events[1]["requestObject"], serde_json::json!({"data": {"k": null}}));

    let events = served.noted("DELETE", &format!("{MAPS}/b"), &[ADA], "").await;
    assert_eq!(events[1]["responseStatus"]["status"], "Success");
    let none = ("content-type", "text/plain");
    let events = served.noted("POST", MAPS, &[ADA, none], "a: &a [*a]").await;
    assert_eq!(
        (&events[1]["requestObject"], &events[1]["responseStatus"]["code"]),
        (&Value::Null, &415.into())
    );
}

#[tokio::test]
async fn what_lasts_is_noted_when_it_begins_and_when_it_ends() {
    let served = served();
    let events = served.noted("GET", &format!("{MAPS}?watch=1"), &[ADA], "").await;
    assert_eq!(stages(&events), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    let named = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dx");
    assert_eq!(served.noted("GET", &named, &[ADA], "").await[0]["objectRef"]["name"], "x");
    let log = "/api/v1/namespaces/default/pods/nobody/log";
    let events = served.noted("GET", log, &[ADA, ("audit-id", "mine")], "").await;
    assert_eq!(stages(&events), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    assert_eq!((&events[2]["auditID"], &events[2]["responseStatus"]["code"]), (&"mine".into(), &404.into()));
}

#[tokio::test]
async fn clients_in_this_process_are_noted_without_an_address() {
    let served = served();
    let user = User { name: "me".into(), groups: vec!["system:masters".into()], ..User::default() };
    let request = Request::get("/api/v1/nodes").header("x-forwarded-for", "192.0.2.1").body(String::new());
    let service = served.shell.in_process(user);
    let answer = tower::ServiceExt::oneshot(service, request.expect("a request")).await.expect("an answer");
    assert!(answer.headers().contains_key("audit-id"));
    assert_eq!(served.lines.0.lock()[1]["sourceIPs"], serde_json::json!(["192.0.2.1"]));
}
