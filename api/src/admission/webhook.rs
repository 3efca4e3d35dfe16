//! Admission webhooks: others are asked over HTTPS, and may change what is written or refuse it.
//!
//! The decision stays pure. Where it needs an answer that it has not got, it ends with the question; whoever runs it
//! asks by a [`WebhookClient`] and decides again, with all answers so far. What is asked is the same to the byte as
//! long as the store has not changed, so that no webhook is asked twice for one state of affairs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use orlop_core::store::Entry;
use orlop_core::{Key, Kind};
use serde_json::{Value, json};

use super::expressions::{self, Names, Wanted};
use super::reinvocation::Rounds;
use super::{Operation, Review, matching};
use crate::auth::{Attributes, Decision};
use crate::cel::{self, Program};
use crate::request::User;
use crate::status::{Details, Status};

/// Where a webhook is, and how it is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, `policy.example.com`.
    pub name: String,
    /// The address to post to, with its query.
    pub url: String,
    /// Host and port to connect to, where these are not the address's own: a Service's cluster address.
    pub connect: Option<(String, u16)>,
    /// Certificates that may have signed its own, in PEM; empty: those that the client trusts anyway.
    pub ca_bundle: Arc<[u8]>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Calls webhooks.
#[async_trait]
pub trait WebhookClient: Send + Sync + 'static {
    /// Posts a body of JSON; answers with the body that comes back.
    ///
    /// # Errors
    /// A sentence: it cannot be reached, is not trusted, takes too long, or answers no success.
    async fn call(&self, webhook: &Webhook, body: Vec<u8>) -> Result<Vec<u8>, String>;
}

/// Reaches no webhook.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWebhooks;

#[async_trait]
impl WebhookClient for NoWebhooks {
    async fn call(&self, _webhook: &Webhook, _body: Vec<u8>) -> Result<Vec<u8>, String> {
        Err("no way to webhooks is configured".into())
    }
}

/// Questions and answers of one write.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    answered: Vec<(Value, Result<Value, String>)>,
    /// How many of them were needed so far in this decision.
    used: usize,
    /// What must be asked before there can be a decision.
    open: Option<(Webhook, Value)>,
    /// Who is asked twice.
    pub(super) rounds: Rounds,
}

impl Conversation {
    /// A new decision begins.
    pub(crate) fn rewind(&mut self) {
        self.used = 0;
        self.open = None;
        self.rounds = Rounds::default();
    }

    /// What is to be asked, if that is why there was no decision.
    pub(crate) fn question(&mut self) -> Option<(Webhook, Value)> {
        self.open.take()
    }

    /// What was answered to the question.
    pub(crate) fn answer(&mut self, question: Value, answer: Result<Vec<u8>, String>) {
        let answer = answer.and_then(|bytes| {
            serde_json::from_slice(&bytes).map_err(|e| format!("couldn't decode the webhook's answer: {e}"))
        });
        self.answered.push((question, answer));
    }

    fn ask(&mut self, webhook: &Webhook, question: Value) -> Option<Result<Value, String>> {
        match self.answered.get(self.used) {
            Some((known, answer)) if *known == question => {
                self.used += 1;
                Some(answer.clone())
            }
            _ => {
                // What was asked of another state of affairs is worth nothing.
                self.answered.truncate(self.used);
                self.open = Some((webhook.clone(), question));
                None
            }
        }
    }
}

/// The entries of one configuration, ready to be asked about.
pub(super) struct Configuration(Vec<Arc<Hook>>);

impl Configuration {
    fn read(entry: &Entry) -> Configuration {
        let tree = entry.object.to_value();
        let entries = tree["webhooks"].as_array().into_iter().flatten();
        Configuration(entries.map(|entry| Arc::new(Hook::read(entry.clone()))).collect())
    }
}

/// One entry of a configuration.
struct Hook {
    entry: Value,
    conditions: Vec<Result<Program, String>>,
    /// In PEM.
    ca_bundle: Arc<[u8]>,
}

impl Hook {
    fn read(entry: Value) -> Hook {
        let names = Names { authorizer: true, ..Names::default() };
        let conditions = entry["matchConditions"].as_array().into_iter().flatten().map(|condition| {
            expressions::compile(condition["expression"].as_str().unwrap_or_default(), &names, Wanted::Bool)
        });
        let ca_bundle = entry["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        let ca_bundle = base64::engine::general_purpose::STANDARD.decode(ca_bundle).unwrap_or_default();
        Hook { conditions: conditions.collect(), ca_bundle: ca_bundle.into(), entry }
    }

    fn text(&self, field: &str) -> &str {
        self.entry[field].as_str().unwrap_or_default()
    }

    fn fails_open(&self) -> bool {
        self.text("failurePolicy") == "Ignore"
    }
}

/// All webhooks of a sort, in order, each with a name of its own.
fn all(review: &Review<'_>, kind: &str, plural: &str) -> Vec<(String, Arc<Hook>)> {
    let own = review.kind.group == "admissionregistration.k8s.io";
    if own && (review.kind.plural.contains("webhook") || review.kind.plural.contains("admissionpolic")) {
        return Vec::new();
    }
    // What a Scale makes of its object was asked about as the Scale.
    if review.subresource == "scale" && review.sort.is_none() {
        return Vec::new();
    }
    let kind = Kind {
        kind: kind.into(),
        plural: plural.into(),
        ..Kind::cluster("admissionregistration.k8s.io", "v1", "", "")
    };
    let mut out = Vec::new();
    for stored in review.entries(&kind) {
        let configuration = stored.object.body.kept(|| Configuration::read(&stored));
        for hook in &configuration.0 {
            out.push((format!("{}/{}", stored.key, hook.text("name")), hook.clone()));
        }
    }
    out
}

/// Whether a webhook is to be asked about the write as it is by now.
fn concerns(review: &Review<'_>, hook: &Hook) -> Result<bool, Status> {
    let entry = &hook.entry;
    let equivalent = entry["matchPolicy"] != "Exact";
    let mut rules = entry["rules"].as_array().into_iter().flatten();
    if !rules.any(|rule| matching::ruled(review, rule, equivalent)) || !matching::selected(review, entry) {
        return Ok(false);
    }
    conditions(review, hook)
}

/// Whether the webhook's own conditions ask for it.
fn conditions(review: &Review<'_>, hook: &Hook) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let (authorizer, view) = (review.authorizer, review.view);
    let ask =
        |user: &User, attributes: &Attributes| -> Decision { authorizer.authorize(user, attributes, view) };
    let values = expressions::activation(review, &ask);
    let mut failed = None;
    for condition in &hook.conditions {
        let result = condition.as_ref().map_err(Clone::clone).and_then(|program| {
            program.evaluate(&values, expressions::CALL_COST_MAX).map_err(|failure| failure.to_string())
        });
        match result {
            Ok((cel::Value::Bool(true), _)) => {}
            Ok(_) => return Ok(false),
            Err(why) => failed = Some(why),
        }
    }
    match failed {
        None => Ok(true),
        Some(_) if hook.fails_open() => Ok(false),
        Some(why) => Err(review.forbidden(&why)),
    }
}

/// The question as it is posted.
fn question(review: &mut Review<'_>, hook: &Hook) -> Value {
    let versions = hook.entry["admissionReviewVersions"].as_array().map_or(&[][..], Vec::as_slice);
    let version =
        versions.iter().filter_map(Value::as_str).find(|v| matches!(*v, "v1" | "v1beta1")).unwrap_or("v1");
    let uid = review.entropy.child(&format!("webhook {}", hook.text("name"))).uuid();
    let mut request = json!({"uid": uid.to_string()});
    if let (Some(map), Value::Object(more)) = (request.as_object_mut(), expressions::request(review)) {
        map.extend(more);
        if !review.object.is_null() {
            map.insert("object".into(), review.object.clone());
        }
        if let Some(old) = review.old {
            map.insert("oldObject".into(), old.clone());
        }
    }
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request})
}

/// Where the webhook is.
///
/// # Errors
/// Why it cannot be known.
fn locate(review: &Review<'_>, hook: &Hook) -> (Webhook, Result<(), String>) {
    let client = &hook.entry["clientConfig"];
    let seconds = hook.entry["timeoutSeconds"].as_u64().unwrap_or(10);
    let mut webhook = Webhook {
        name: hook.text("name").into(),
        url: String::new(),
        connect: None,
        ca_bundle: hook.ca_bundle.clone(),
        timeout: Duration::from_secs(seconds),
    };
    if let Some(url) = client["url"].as_str() {
        webhook.url = format!("{url}?timeout={seconds}s");
        return (webhook, Ok(()));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let service = &client["service"];
    let (name, namespace) = (text(&service["name"]), text(&service["namespace"]));
    let port = service["port"].as_u64().unwrap_or(443);
    let path = text(&service["path"]);
    let path = path.trim_start_matches('/');
    webhook.url = format!("https://{name}.{namespace}.svc:{port}/{path}?timeout={seconds}s");
    let kind = Kind::namespaced("", "v1", "Service", "services");
    let Some(found) = review.get(&kind, &Key::new(&namespace, &name)).map(|s| s.to_value()) else {
        return (webhook, Err(format!("service {name:?} not found")));
    };
    let host = match found["spec"]["type"].as_str() {
        Some("ExternalName") => text(&found["spec"]["externalName"]),
        _ => text(&found["spec"]["clusterIP"]),
    };
    if host.is_empty() || host == "None" {
        return (webhook, Err(format!("no endpoints available for service {name:?}")));
    }
    webhook.connect = Some((host, u16::try_from(port).unwrap_or(443)));
    (webhook, Ok(()))
}

/// The answer to one webhook's question: what it says of the request, and `None` where it may be passed over.
fn asked(review: &mut Review<'_>, hook: &Hook) -> Result<Option<Value>, Status> {
    let name = hook.text("name").to_owned();
    if review.dry_run && !matches!(hook.text("sideEffects"), "None" | "NoneOnDryRun") {
        return Err(Status::bad_request(format!("admission webhook {name:?} does not support dry run")));
    }
    let failed = |why: String| {
        if hook.fails_open() {
            return Ok(None);
        }
        Err(Status::internal(&format!("failed calling webhook {name:?}: {why}")))
    };
    let (webhook, located) = locate(review, hook);
    if let Err(why) = located {
        return failed(format!("failed to call webhook: Post {:?}: {why}", webhook.url));
    }
    let question = question(review, hook);
    let uid = question["request"]["uid"].clone();
    let Some(answer) = review.hooks.ask(&webhook, question) else {
        return Err(Status::internal("a webhook is to be asked first"));
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return failed(format!("failed to call webhook: Post {:?}: {why}", webhook.url)),
    };
    let response = &answer["response"];
    if !response.is_object() {
        return failed("received invalid webhook response: webhook response was absent".into());
    }
    if response["uid"] != uid {
        return failed(format!(
            "received invalid webhook response: expected response.uid={uid}, got {}",
            response["uid"]
        ));
    }
    for warning in response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        review.warnings.push(warning.to_owned());
    }
    for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
        review.audit(&format!("{name}/{key}"), value.as_str().unwrap_or_default());
    }
    if response["allowed"] == true {
        return Ok(Some(response.clone()));
    }
    Err(denied(&name, &response["status"]))
}

fn denied(name: &str, status: &Value) -> Status {
    let by = format!("admission webhook {name:?} denied the request");
    let (message, reason) =
        (status["message"].as_str().unwrap_or_default(), status["reason"].as_str().unwrap_or_default());
    let message = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code =
        status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| *c >= 400).unwrap_or(400);
    let details: Option<Details> = serde_json::from_value(status["details"].clone()).unwrap_or_default();
    Status { message, reason: reason.into(), code, details: details.map(Box::new), ..Status::default() }
}

/// The name of webhooks among those that are asked twice.
const SORT: &str = "webhooks";

/// Lets webhooks change the object, each as the one before it has left it.
pub(super) fn mutate(review: &mut Review<'_>) -> Result<(), Status> {
    let hooks = all(review, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
    if hooks.is_empty() {
        return Ok(());
    }
    review.hooks.rounds.enter(SORT, review.object);
    for (name, hook) in hooks {
        if !review.hooks.rounds.asks(SORT, &name) || !concerns(review, &hook)? {
            continue;
        }
        let changed = change(review, &hook)?;
        let if_needed = hook.text("reinvocationPolicy") == "IfNeeded";
        review.hooks.rounds.asked(SORT, name, changed, if_needed);
    }
    review.hooks.rounds.leave(SORT, review.object);
    Ok(())
}

/// Asks one webhook. Answers whether it has changed the object.
fn change(review: &mut Review<'_>, hook: &Hook) -> Result<bool, Status> {
    let Some(response) = asked(review, hook)? else { return Ok(false) };
    let patch = response["patch"].as_str().unwrap_or_default();
    if patch.is_empty() || review.operation == Operation::Delete {
        return Ok(false);
    }
    let name = hook.text("name");
    let wrong = |why: String| {
        Status::internal(&format!(
            "failed calling webhook {name:?}: received invalid webhook response: {why}"
        ))
    };
    if response["patchType"] != "JSONPatch" {
        return Err(wrong("webhook response includes a patch without patchType JSONPatch".into()));
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(patch).map_err(|e| wrong(e.to_string()))?;
    let patch: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    let object = crate::patch::json(review.object.clone(), &patch).map_err(|e| wrong(e.to_string()))?;
    let object = super::remade(review, object).map_err(wrong)?;
    let changed = object != *review.object;
    *review.object = object;
    Ok(changed)
}

/// Asks webhooks whether the write may be.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    for (_, hook) in all(review, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations") {
        if concerns(review, &hook)? {
            asked(review, &hook)?;
        }
    }
    Ok(())
}
