//! Pods and pod templates.

use orlop_core::rules::Quantity;
use serde_json::Value;

use super::image::pull_policy;
use super::resources::round;
use super::storage;
use super::tree::{Object, absent, at, each, is_empty, is_zero, made, text, within, zero};

const FILE_MODE: i64 = 0o644;

/// A Pod, which also derives requests from limits; its template does not, so that a quota or limit range sees what
/// the author wrote.
pub(super) fn pod(object: &mut Object) {
    within(object, "spec", |spec| {
        pod_spec(spec);
        for list in ["containers", "initContainers"] {
            each(spec, list, |container| at(container, "resources", requests_from_limits));
        }
        pod_requests(spec);
        absent(spec, "enableServiceLinks", true);
        if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
            for list in ["containers", "initContainers"] {
                each(spec, list, |container| {
                    each(container, "ports", |port| {
                        if let Some(number) = port.get("containerPort").cloned().filter(|n| !is_zero(Some(n)))
                        {
                            zero(port, "hostPort", number);
                        }
                    });
                });
            }
        }
    });
}

pub(super) fn pod_template(object: &mut Object) {
    at(object, "template", template);
}

/// `spec.template` of whatever makes pods.
pub(super) fn template(template: &mut Object) {
    if let Some(spec) = made(template, "spec") {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Object) {
    zero(spec, "dnsPolicy", "ClusterFirst");
    zero(spec, "restartPolicy", "Always");
    absent(spec, "securityContext", Object::new());
    absent(spec, "terminationGracePeriodSeconds", 30);
    zero(spec, "schedulerName", "default-scheduler");
    at(spec, "overhead", round);
    at(spec, "resources", |resources| {
        at(resources, "limits", round);
        at(resources, "requests", round);
    });
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Object) {
    let policy = pull_policy(text(container, "image"));
    zero(container, "imagePullPolicy", policy);
    zero(container, "terminationMessagePath", "/dev/termination-log");
    zero(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| zero(port, "protocol", "TCP"));
    each(container, "env", |env| {
        at(env, "valueFrom", |from| {
            at(from, "fieldRef", |field| zero(field, "apiVersion", "v1"));
            at(from, "fileKeyRef", |file| absent(file, "optional", false));
        });
    });
    at(container, "resources", |resources| {
        at(resources, "limits", round);
        at(resources, "requests", round);
    });
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        at(container, kind, probe);
    }
    at(container, "lifecycle", |lifecycle| {
        at(lifecycle, "postStart", handler);
        at(lifecycle, "preStop", handler);
    });
}

fn probe(probe: &mut Object) {
    zero(probe, "timeoutSeconds", 1);
    zero(probe, "periodSeconds", 10);
    zero(probe, "successThreshold", 1);
    zero(probe, "failureThreshold", 3);
    handler(probe);
}

fn handler(handler: &mut Object) {
    at(handler, "httpGet", |get| {
        zero(get, "path", "/");
        zero(get, "scheme", "HTTP");
    });
    at(handler, "grpc", |grpc| absent(grpc, "service", ""));
}

fn volume(volume: &mut Object) {
    // Without a source it is an empty directory.
    if volume.iter().all(|(key, value)| key == "name" || !value.is_object()) {
        absent(volume, "emptyDir", Object::new());
    }
    for (source, list) in [("secret", ""), ("configMap", ""), ("downwardAPI", "items"), ("projected", "")] {
        at(volume, source, |source| {
            absent(source, "defaultMode", FILE_MODE);
            each(source, list, downward_file);
        });
    }
    at(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            at(source, "serviceAccountToken", |token| absent(token, "expirationSeconds", 3600));
            at(source, "downwardAPI", |api| each(api, "items", downward_file));
        });
    });
    at(volume, "ephemeral", |ephemeral| {
        at(ephemeral, "volumeClaimTemplate", |claim| {
            at(claim, "spec", storage::claim_spec);
        });
    });
    at(volume, "image", |image| {
        let policy = pull_policy(text(image, "reference"));
        zero(image, "pullPolicy", policy);
    });
    storage::sources(volume);
}

fn downward_file(file: &mut Object) {
    at(file, "fieldRef", |field| zero(field, "apiVersion", "v1"));
}

fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if let Some(requests) = made(resources, "requests") {
        for (name, amount) in limits {
            absent(requests, &name, amount);
        }
    }
    if is_empty(resources, "requests") {
        resources.shift_remove("requests");
    }
}

/// Requests of the pod as a whole, where it has limits: what its containers request in sum, else the limit.
fn pod_requests(spec: &mut Object) {
    let limits = spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned();
    let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { return };
    let mut found: Vec<(String, Value)> = Vec::new();
    for name in ["cpu", "memory"] {
        if let Some(sum) = containers_request(spec, name) {
            found.push((name.to_owned(), sum.to_string().into()));
        }
    }
    let level = |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    found.extend(limits.into_iter().filter(|(name, _)| level(name)));
    let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) else { return };
    if found.is_empty() {
        return;
    }
    if let Some(requests) = made(resources, "requests") {
        for (name, amount) in found {
            absent(requests, &name, amount);
        }
    }
}

/// Containers in sum; init containers one after another, but those that stay add to all after them.
fn containers_request(spec: &Object, name: &str) -> Option<Quantity> {
    let request = |container: &Value| -> Option<Quantity> {
        container.get("resources")?.get("requests")?.get(name)?.as_str()?.parse().ok()
    };
    let list = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let (mut sum, mut staying, mut peak): (Option<Quantity>, Quantity, Option<Quantity>) =
        (None, Quantity::default(), None);
    for amount in list("containers").filter_map(request) {
        sum = Some(sum.map_or(amount.clone(), |sum| sum + amount));
    }
    for container in list("initContainers") {
        let Some(amount) = request(container) else { continue };
        let stays = container.get("restartPolicy").is_some_and(|p| p == "Always");
        let now = if stays {
            sum = Some(sum.map_or(amount.clone(), |sum| sum + amount.clone()));
            staying += &amount;
            staying.clone()
        } else {
            staying.clone() + amount
        };
        peak = peak.max(Some(now));
    }
    sum.max(peak)
}
