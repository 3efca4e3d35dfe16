//! Admission by policies and by webhooks.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use orlop_api::Config;
use orlop_api::admission::{Webhook, WebhookClient};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::world::{World, world, world_with};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn constraints() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"]}]})
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// A policy and its binding.
fn policy(world: &World, kind: &str, spec: Value, binding: Value) {
    let mut spec = spec;
    spec["matchConstraints"] = constraints();
    let plural = format!("{}policies", kind.to_lowercase());
    world.ok(&format!("create {GROUP}/{plural}"), json!({"metadata": {"name": "p"}, "spec": spec}));
    let mut bound = binding;
    bound["policyName"] = "p".into();
    world.ok(
        &format!("create {GROUP}/{}policybindings", kind.to_lowercase()),
        json!({"metadata": {"name": "b"}, "spec": bound}),
    );
}

#[test]
fn a_policy_refuses_with_its_own_words() {
    let world = world();
    let spec = json!({
        "variables": [{"name": "keys", "expression": "object.?data.orValue({}).size()"}],
        "matchConditions": [{"name": "named", "expression": "!object.metadata.name.startsWith('kube-')"}],
        "validations": [
            {"expression": "variables.keys < 2", "messageExpression": "'has ' + string(variables.keys) + ' keys'"},
            {"expression": "request.userInfo.username == 'admin'", "message": "not yours", "reason": "Forbidden"},
            {"expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"},
        ],
    });
    policy(&world, "ValidatingAdmission", spec, json!({"validationActions": ["Deny"]}));
    world.ok(&format!("create {MAPS}"), map("few", json!({"a": "1"})));
    world.ok(&format!("create {MAPS}"), map("kube-many", json!({"a": "1", "b": "2"})));
    assert_eq!(
        world.refused(&format!("create {MAPS}"), map("many", json!({"a": "1", "b": "2"}))),
        "422 configmaps \"many\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: has 2 keys"
    );
}

#[test]
fn parameters_come_from_the_binding() {
    let world = world();
    world.ok(&format!("create {MAPS}"), map("limits", json!({"max": "1"})));
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.data.size() <= int(params.data.max)"}]});
    let binding = json!({"validationActions": ["Deny", "Audit"],
        "paramRef": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    policy(&world, "ValidatingAdmission", spec, binding);
    world.ok(&format!("create {MAPS}"), map("one", json!({"a": "1"})));
    let refused = world.refused(&format!("create {MAPS}"), map("two", json!({"a": "1", "b": "2"})));
    assert!(refused.ends_with("failed expression: object.data.size() <= int(params.data.max)"), "{refused}");
    // Without its parameters it fails closed.
    world.ok(&format!("delete {MAPS}/limits"), Value::Null);
    let refused = world.refused(&format!("create {MAPS}"), map("three", json!({})));
    assert!(
        refused.contains("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{refused}"
    );
}

#[test]
fn a_policy_may_only_warn() {
    let world = world();
    let spec = json!({"validations": [{"expression": "'team' in object.?metadata.?labels.orValue({})", "message": "no team"}]});
    policy(&world, "ValidatingAdmission", spec, json!({"validationActions": ["Warn"]}));
    let made = world.call(&format!("create {MAPS}"), map("m", json!({}))).unwrap();
    assert_eq!(
        made.warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no team"]
    );
}

#[test]
fn a_policy_changes_what_is_written() {
    let world = world();
    let spec = json!({"reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration":
            {"expression": "Object{metadata: Object.metadata{labels: {'team': request.userInfo.username}}}"}},
        {"patchType": "JSONPatch", "jsonPatch":
            {"expression": "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a.b'), value: 'x'}]"}},
    ]});
    policy(&world, "MutatingAdmission", spec, json!({}));
    let made = world.ok(&format!("create {MAPS}"), map("m", json!({"k": "v"})));
    assert_eq!(made["metadata"]["labels"], json!({"team": "admin"}));
    assert_eq!(made["data"], json!({"k": "v", "a.b": "x"}));
}

/// Answers each review by a function, and keeps what it was asked.
struct Answers {
    by: fn(&Value) -> Result<Value, String>,
    asked: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl WebhookClient for Answers {
    async fn call(&self, webhook: &Webhook, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let review: Value = serde_json::from_slice(&body).expect("a review is JSON");
        self.asked.lock().push((webhook.url.clone(), review.clone()));
        let mut response = (self.by)(&review)?;
        response["uid"] = review["request"]["uid"].clone();
        Ok(json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
            .to_string()
            .into_bytes())
    }
}

fn hooked(by: fn(&Value) -> Result<Value, String>) -> (World, Arc<Answers>) {
    let answers = Arc::new(Answers { by, asked: Mutex::default() });
    (world_with(Config { webhooks: answers.clone(), ..Config::default() }), answers)
}

fn webhook(world: &World, kind: &str, more: Value) {
    let mut hook = json!({"name": "w.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://hooks.example.com/w"}, "rules": constraints()["resourceRules"]});
    if let (Some(hook), Value::Object(more)) = (hook.as_object_mut(), more) {
        hook.extend(more);
    }
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    world.ok(&format!("create {GROUP}/{plural}"), json!({"metadata": {"name": "c"}, "webhooks": [hook]}));
}

#[test]
fn a_webhook_changes_and_another_refuses() {
    let (world, answers) = hooked(|review| {
        let request = &review["request"];
        if request["object"]["data"]["secret"] == "yes" {
            return Ok(json!({"allowed": false, "status": {"code": 403, "message": "no secrets"}}));
        }
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "true"}}]).to_string();
        let patch = base64::engine::general_purpose::STANDARD.encode(patch);
        Ok(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["looked at"]}))
    });
    webhook(&world, "Mutating", json!({"reinvocationPolicy": "Never"}));
    let made = world.call(&format!("create {MAPS}"), map("m", json!({"a": "b"}))).unwrap();
    assert_eq!(made.warnings, ["looked at"]);
    assert_eq!(crate::world::tree(&made)["metadata"]["labels"], json!({"seen": "true"}));
    let asked = answers.asked.lock().clone();
    assert_eq!(asked.len(), 1, "a write asks once, however often it is decided");
    assert_eq!(asked[0].0, "https://hooks.example.com/w?timeout=10s");
    let request = &asked[0].1["request"];
    assert_eq!(
        (&request["operation"], &request["name"], &request["namespace"], &request["resource"]["resource"]),
        (&json!("CREATE"), &json!("m"), &json!("default"), &json!("configmaps"))
    );
    assert_eq!(
        world.refused(&format!("create {MAPS}"), map("s", json!({"secret": "yes"}))),
        "403 admission webhook \"w.example.com\" denied the request: no secrets"
    );
}

#[test]
fn a_webhook_that_is_away_fails_closed_unless_it_may_be_ignored() {
    let (world, _) = hooked(|_| Err("connection refused".into()));
    webhook(&world, "Validating", json!({}));
    assert_eq!(
        world.refused(&format!("create {MAPS}"), map("m", json!({}))),
        "500 Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://hooks.example.com/w?timeout=10s\": connection refused"
    );
    let path = format!("{GROUP}/validatingwebhookconfigurations/c");
    world.ok(
        &format!("json {path}"),
        json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]),
    );
    world.ok(&format!("create {MAPS}"), map("m", json!({})));
}

#[test]
fn selectors_and_conditions_say_whom_a_webhook_is_asked_about() {
    let (world, answers) = hooked(|_| Ok(json!({"allowed": true})));
    let more = json!({"objectSelector": {"matchLabels": {"watched": "yes"}},
        "matchConditions": [{"name": "not-dry", "expression": "!request.dryRun"}]});
    webhook(&world, "Validating", more);
    world.ok(&format!("create {MAPS}"), map("m", json!({})));
    let labelled = json!({"metadata": {"name": "n", "labels": {"watched": "yes"}}});
    world.ok(&format!("create {MAPS}?dryRun"), labelled.clone());
    assert!(answers.asked.lock().is_empty());
    world.ok(&format!("create {MAPS}"), labelled);
    assert_eq!(answers.asked.lock().len(), 1);
}

/// Managed fields of a new object are written as text, and once were not there for those who judge the object.
#[test]
fn policies_see_managed_fields() {
    let world = world();
    let spec = json!({"validations": [{"expression": "has(object.metadata.managedFields)", "message": "whose is it?"}]});
    policy(&world, "ValidatingAdmission", spec, json!({"validationActions": ["Deny"]}));
    let made = world.ok(&format!("create {MAPS}"), map("m", json!({"a": "1"})));
    assert_eq!(made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:a"], json!({}));
}

/// Bindings, evictions and sessions used to go past policies: nobody could say who may open a shell where.
#[test]
fn policies_see_what_is_asked_of_pods() {
    let world = world();
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    world.ok(&format!("create {PODS}"), pod);
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "CONNECT"],
        "resources": ["pods/binding", "pods/eviction", "pods/exec"]});
    let spec = json!({
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "messageExpression": "request.operation + ' ' + request.kind.kind + ' ' + request.name"}],
    });
    world.ok(
        &format!("create {GROUP}/validatingadmissionpolicies"),
        json!({"metadata": {"name": "p"}, "spec": spec}),
    );
    world.ok(
        &format!("create {GROUP}/validatingadmissionpolicybindings"),
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    );
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let refused = world.refused(&format!("create {PODS}/p/binding"), binding);
    assert!(refused.ends_with("denied request: CREATE Binding p"), "{refused}");
    let eviction = json!({"metadata": {"name": "p"}});
    let refused = world.refused(&format!("create {PODS}/p/eviction"), eviction);
    assert!(refused.ends_with("denied request: CREATE Eviction p"), "{refused}");
    let session = crate::world::request(&format!("create {PODS}/p/exec"), Value::Null);
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]});
    let refused = crate::world::now(world.api.admit_session(&session, options)).unwrap_err().message;
    assert!(refused.ends_with("denied request: CONNECT PodExecOptions p"), "{refused}");
}

/// What a binding with the action `Audit` finds goes to the audit log, and to nobody else.
#[test]
fn a_policy_may_only_be_noted() {
    let world = world();
    let spec = json!({
        "validations": [{"expression": "has(object.data)", "message": "no data"}],
        "auditAnnotations": [{"key": "who", "valueExpression": "'by ' + request.userInfo.username"}],
    });
    policy(&world, "ValidatingAdmission", spec, json!({"validationActions": ["Audit"]}));
    let made = world.call(&format!("create {MAPS}"), json!({"metadata": {"name": "m"}})).unwrap();
    assert!(made.warnings.is_empty());
    let failure = r#"[{"message":"no data","policy":"p","binding":"b","expressionIndex":0,"validationActions":["Audit"]}]"#;
    let noted: Vec<(&str, &str)> = made.audit.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        noted,
        [("validation.policy.admission.k8s.io/validation_failure", failure), ("p/who", "by admin")]
    );
}
