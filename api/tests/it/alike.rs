//! Creations that are alike take a short way. Nobody can tell.

use orlop_api::{Api, Body, Config, MediaType, Request, User};
use orlop_core::codec::protobuf;
use orlop_core::store::Store;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{World, now, request, world_with};

const NAMESPACES: [&str; 2] = ["default", "other"];

/// A form in which a body comes.
#[derive(Clone, Copy, Debug)]
enum Form {
    Tree,
    Json,
    Pretty,
    Yaml,
    Protobuf,
}

#[derive(Clone, Debug)]
enum Step {
    Create { what: usize, name: String, form: Form, user: usize, namespace: usize, options: usize },
    Change(usize),
    Wait(u64),
}

/// What is created, by its resource and kind.
fn bodies() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let container = json!({"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "100m"}}});
    let pod = |spec: Value, labels: Value| {
        let mut spec = spec;
        spec["containers"] = json!([container, {"name": "d", "image": "busybox:1"}]);
        json!({"metadata": {"labels": labels, "annotations": {"a": "2026-01-01T00:00:00Z"}}, "spec": spec})
    };
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
    let set = json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    vec![
        ("api/v1", "pods", "Pod", pod(json!({}), json!({"app": "web"}))),
        ("api/v1", "pods", "Pod", pod(json!({"priorityClassName": "high"}), json!({"app": "web"}))),
        ("api/v1", "pods", "Pod", pod(json!({"runtimeClassName": "small"}), json!({"app": "web", "x": "y"}))),
        ("api/v1", "pods", "Pod", pod(json!({"automountServiceAccountToken": false}), json!({}))),
        (
            "api/v1",
            "pods",
            "Pod",
            pod(json!({"schedulingGates": [{"name": "example.com/g"}]}), json!({"a": "\"b"})),
        ),
        (
            "api/v1",
            "pods",
            "Pod",
            pod(json!({"schedulingGates": [{"name": "example.com/g"}]}), json!({"a": "b"})),
        ),
        (
            "api/v1",
            "pods",
            "Pod",
            pod(json!({"volumes": [{"name": "kube-api-access-x", "emptyDir": {}}]}), json!({})),
        ),
        (
            "api/v1",
            "pods",
            "Pod",
            pod(
                json!({"volumes": [
                    {"name": "v", "ephemeral": {"volumeClaimTemplate": claim}},
                    {"name": "w", "persistentVolumeClaim": {"claimName": "a-1-v"}},
                ]}),
                json!({}),
            ),
        ),
        ("api/v1", "pods", "Pod", {
            let mut pod = pod(json!({}), json!({}));
            pod["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Update", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
            pod
        }),
        ("api/v1", "pods", "Pod", pod(json!({"hostNetwork": true, "nothing": 1}), json!({}))),
        ("api/v1", "configmaps", "ConfigMap", json!({"data": {"name": "x", "text": "a-1"}})),
        ("api/v1", "configmaps", "ConfigMap", json!({"data": {"name": "y"}, "immutable": true})),
        ("api/v1", "secrets", "Secret", json!({"stringData": {"k": "v"}, "type": "Opaque"})),
        ("api/v1", "services", "Service", json!({"spec": {"ports": [{"port": 80}]}})),
        ("api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", claim),
        ("apis/apps/v1", "replicasets", "ReplicaSet", set.clone()),
        ("apis/apps/v1", "deployments", "Deployment", set),
        (
            "apis/batch/v1",
            "jobs",
            "Job",
            json!({"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx"}]}}}}),
        ),
    ]
}

/// What the decision about a creation may depend on: to be created where it is absent, and to be deleted otherwise.
fn surroundings() -> Vec<(String, Value)> {
    let policy = |kind: &str, expression: Value| {
        let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [{"apiGroups": [""],
            "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}});
        for (field, value) in expression.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "p"}, "spec": spec})
    };
    let hook = json!({"metadata": {"name": "h"}, "webhooks": [{"name": "h.example.com", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
        "clientConfig": {"url": "https://example.com/"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]}]});
    let mut all = vec![
        (
            "apis/scheduling.k8s.io/v1/priorityclasses/high".to_owned(),
            json!({"metadata": {"name": "high"}, "value": 7}),
        ),
        (
            "apis/scheduling.k8s.io/v1/priorityclasses/usual".to_owned(),
            json!({"metadata": {"name": "usual"}, "value": 3, "globalDefault": true}),
        ),
        (
            "apis/node.k8s.io/v1/runtimeclasses/small".to_owned(),
            json!({"metadata": {"name": "small"}, "handler": "x", "overhead": {"podFixed": {"cpu": "10m"}}}),
        ),
        (
            "apis/storage.k8s.io/v1/storageclasses/fast".to_owned(),
            json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "example.com/p"}),
        ),
        (
            "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/p".to_owned(),
            policy(
                "ValidatingAdmissionPolicy",
                json!({"validations": [{"expression": "object.metadata.name != 'a-1'"}]}),
            ),
        ),
        (
            "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/p".to_owned(),
            json!({"metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}}),
        ),
        ("apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/h".to_owned(), hook),
    ];
    for namespace in NAMESPACES {
        let at = |rest: &str| format!("api/v1/namespaces/{namespace}/{rest}");
        all.push((
            at("serviceaccounts/default"),
            json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "s"}]}),
        ));
        all.push((
            at("limitranges/l"),
            json!({"metadata": {"name": "l"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "200m"}, "max": {"cpu": "1"}}]}}),
        ));
        all.push((
            at("resourcequotas/q"),
            json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "6"}}}),
        ));
        all.push((format!("api/v1/namespaces/{namespace}"), Value::Null));
    }
    all
}

fn creation(step: &Step) -> Option<Request> {
    let Step::Create { what, name, form, user, namespace, options } = step else { return None };
    let (api, plural, kind, mut body) = bodies().swap_remove(*what);
    let field = if name.ends_with('-') { "generateName" } else { "name" };
    body["metadata"][field] = name.as_str().into();
    let version = api.trim_start_matches("api/").trim_start_matches("apis/");
    body["kind"] = kind.into();
    body["apiVersion"] = version.into();
    let query = ["", "?dryRun", "", ""][*options];
    let line = format!("create /{api}/namespaces/{}/{plural}{query}", NAMESPACES[*namespace]);
    let mut request = request(&line, json!({}));
    request.options.field_validation = ["", "", "Ignore", "Strict"][*options].into();
    let name = ["admin", "ada"][*user];
    request.user = User { name: name.into(), groups: vec!["system:masters".into()], ..User::default() };
    let text = |media, text: String| Body::Bytes(media, text.into());
    request.body = Some(match form {
        Form::Tree => Body::Value(body),
        Form::Json => text(MediaType::Json, body.to_string()),
        Form::Pretty => text(MediaType::Json, serde_json::to_string_pretty(&body).expect("JSON")),
        Form::Yaml => text(MediaType::Yaml, serde_yaml::to_string(&body).expect("YAML")),
        Form::Protobuf => {
            let schema = orlop_core::schema::Schema::builtin();
            let (group, short) = version.rsplit_once('/').unwrap_or(("", version));
            let ty = schema.by_kind(group, short, kind).expect("a kind");
            let raw = protobuf::encode(schema, ty, &body).expect("a message");
            Body::Bytes(MediaType::Protobuf, protobuf::encode_body(version, kind, &raw).into())
        }
    });
    Some(request)
}

/// What a step comes to, in full.
fn take(world: &World, step: &Step) -> String {
    if let Some(request) = creation(step) {
        return match now(world.api.call(request)) {
            Ok(done) => format!("{done:?}"),
            Err(status) => format!("{status:?}"),
        };
    }
    match step {
        Step::Change(at) => {
            let (path, body) = surroundings().swap_remove(*at);
            let (collection, name) = path.rsplit_once('/').expect("a path");
            let line = match (now(world.api.call(request(&format!("get /{path}"), Value::Null))), &body) {
                (Ok(_), _) => format!("delete /{path}"),
                (Err(_), Value::Null) => {
                    return world_line(
                        world,
                        &format!("create /{collection}"),
                        json!({"metadata": {"name": name}}),
                    );
                }
                (Err(_), _) => format!("create /{collection}"),
            };
            let body = if line.starts_with("delete") { Value::Null } else { body };
            world_line(world, &line, body)
        }
        Step::Wait(seconds) => {
            world.clock.advance(std::time::Duration::from_millis(seconds * 700));
            String::new()
        }
        Step::Create { .. } => String::new(),
    }
}

fn world_line(world: &World, line: &str, body: Value) -> String {
    format!("{:?}", now(world.api.call(request(line, body))))
}

fn stored(world: &World) -> Vec<String> {
    let entries = world.api.store().view().range("", "", usize::MAX);
    entries
        .iter()
        .map(|e| {
            let body = &e.object.body;
            format!(
                "{} {} {} {body:?} {:?} {}",
                e.key,
                e.object.revision,
                e.created,
                body.header(),
                body.parts().0.len()
            )
        })
        .collect()
}

fn new_world(alike: usize) -> World {
    let world = world_with(Config { alike, ..Config::default() });
    world.ok("create /api/v1/namespaces", json!({"metadata": {"name": "other"}}));
    world.ok("create /api/v1/namespaces/other/serviceaccounts", json!({"metadata": {"name": "default"}}));
    world
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = [
        "a-1", "a-2", "b-10", "c-3", "d-4", "e-5", "f-6", "g-7", "h-8", "i-9", "a.b", "Nope", "gen-", "gen-",
        "x.y-",
    ];
    let long = "n".repeat(64);
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).chain([long]).collect();
    let forms = prop_oneof![
        Just(Form::Tree),
        Just(Form::Json),
        Just(Form::Pretty),
        Just(Form::Yaml),
        Just(Form::Protobuf)
    ];
    // Runs of creations of a few sorts, as they come in life, and what goes on between them.
    let sort =
        (0..bodies().len(), forms, 0..2usize, 0..2usize, prop_oneof![5 => Just(0usize), 1 => 1..4usize]);
    let run = (any::<prop::sample::Index>(), prop::collection::vec(prop::sample::select(names), 2..7));
    let piece = prop_oneof![
        5 => run.prop_map(Ok),
        4 => (0..surroundings().len()).prop_map(|at| Err(Step::Change(at))),
        1 => (1..4u64).prop_map(|seconds| Err(Step::Wait(seconds))),
    ];
    (prop::collection::vec(sort, 1..3), prop::collection::vec(piece, 4..24)).prop_map(|(sorts, pieces)| {
        let mut steps = Vec::new();
        for piece in pieces {
            match piece {
                Err(step) => steps.push(step),
                Ok((sort, names)) => {
                    let (what, form, user, namespace, options) = *sort.get(&sorts);
                    let one = |name| Step::Create { what, name, form, user, namespace, options };
                    steps.extend(names.into_iter().map(one));
                }
            }
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_leads_where_the_long_one_does(steps in steps(), alike in 1..4usize) {
        let (short, long) = (new_world(alike), new_world(0));
        for (n, step) in steps.iter().enumerate() {
            prop_assert_eq!(take(&short, step), take(&long, step), "step {}: {:?}", n, step);
        }
        prop_assert_eq!(stored(&short), stored(&long));
    }
}

/// Each change of what a pod depends on is seen by the next pod, though many like it went before.
#[test]
fn what_changes_around_a_burst_is_seen_at_once() {
    let (short, long) = (new_world(8), new_world(0));
    let mut count = 0;
    for around in 0..surroundings().len() {
        for (form, what) in
            [(Form::Tree, 0), (Form::Json, 1), (Form::Json, 2), (Form::Tree, 10), (Form::Tree, 14)]
        {
            for step in 0..5 {
                count += 1;
                let create =
                    Step::Create { what, name: format!("p{count}"), form, user: 0, namespace: 0, options: 0 };
                assert_eq!(take(&short, &create), take(&long, &create), "{create:?}");
                if step == 3 {
                    let change = Step::Change(around);
                    assert_eq!(take(&short, &change), take(&long, &change), "{change:?}");
                }
            }
        }
    }
    assert_eq!(stored(&short), stored(&long));
}
