//! Validation: its sentences.

use expect_test::{Expect, expect};
use orlop_api::{defaults, validation};
use orlop_core::Kind;
use serde_json::{Value, json};

fn check(kind: &Kind, mut object: Value, expected: Expect) {
    defaults::apply(kind, &mut object);
    let errors = validation::create(kind, &object);
    let lines: String = errors.iter().map(|e| format!("{}: {}\n", e.field, e.message)).collect();
    expected.assert_eq(&lines);
}

#[test]
fn a_pod_that_says_little() {
    check(
        &Kind::namespaced("", "v1", "Pod", "pods"),
        json!({"metadata": {"name": "Web"}, "spec": {"restartPolicy": "Sometimes", "containers": [{"name": "a"}]}}),
        expect![[r#"
            metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].image: Required value
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
        "#]],
    );
}

#[test]
fn a_deployment_that_does_not_choose_its_own_pods() {
    let template = json!({
        "metadata": {"labels": {"app": "b"}},
        "spec": {"containers": [{"name": "a", "image": "b"}]},
    });
    check(
        &Kind::namespaced("apps", "v1", "Deployment", "deployments"),
        json!({
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
        }),
        expect![[r#"
            spec.template.metadata.labels: Invalid value: {"app":"b"}: `selector` does not match template `labels`
        "#]],
    );
}

#[test]
fn the_summary_tells_each_complaint_once() {
    let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    let errors = validation::create(&kind, &json!({"metadata": {}, "data": {"a b": "x"}}));
    let text = validation::summary(&errors);
    assert!(text.starts_with("[metadata.name: Required value: name or generateName is required, "), "{text}");
}
