//! What the workload's pods are like.

use orlop_core::Entropy;
use orlop_runtime_mock::SCRIPT_ANNOTATION;
use serde_json::{Value, json};

use crate::facts::HEALTHY;

/// How the pods of a template fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// They serve.
    Plain,
    /// They take their time to start and to become ready.
    Slow,
    /// They are probed, and well.
    Probed,
    /// They crash twice before they serve.
    Shaky,
    /// Their image is in no registry.
    NoImage,
    /// They crash again and again.
    Crashing,
    /// They are never ready.
    Unready,
    /// They fail their liveness probe after a while.
    Dying,
}

const GOOD: [Manner; 4] = [Manner::Plain, Manner::Slow, Manner::Probed, Manner::Shaky];
const BAD: [Manner; 4] = [Manner::NoImage, Manner::Crashing, Manner::Unready, Manner::Dying];

impl Manner {
    pub(super) fn good(entropy: &mut Entropy) -> Manner {
        GOOD[entropy.below(4) as usize]
    }

    pub(super) fn bad(entropy: &mut Entropy) -> Manner {
        BAD[entropy.below(4) as usize]
    }

    pub(super) fn is_good(self) -> bool {
        GOOD.contains(&self)
    }

    fn script(self) -> Option<&'static str> {
        match self {
            Manner::Plain | Manner::Probed | Manner::NoImage => None,
            Manner::Slow => Some("start 3s; ready after 4s; pull 5s"),
            Manner::Shaky => Some("exit 1 after 2s for 2 starts"),
            Manner::Crashing => Some("exit 1 after 3s"),
            Manner::Unready => Some("ready never"),
            Manner::Dying => Some("liveness fail after 40s"),
        }
    }

    /// A pod template of the Deployment `app`, as the patch that makes it of any other.
    pub(super) fn template(self, app: &str, version: u64, entropy: &mut Entropy) -> Value {
        let tag = if self == Manner::NoImage { "missing".to_owned() } else { format!("v{version}") };
        let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
        let probed = |wanted: bool| if wanted { probe.clone() } else { Value::Null };
        let container = json!({
            "name": "main",
            "image": format!("registry.example.com/{app}:{tag}"),
            "ports": [{"containerPort": 8080}],
            "resources": {"requests": {"cpu": format!("{}m", 50 * (1 + entropy.below(4))), "memory": "64Mi"}},
            "readinessProbe": probed(matches!(self, Manner::Slow | Manner::Probed | Manner::Unready)),
            "livenessProbe": probed(matches!(self, Manner::Probed | Manner::Dying)),
        });
        let healthy = if self.is_good() { "true" } else { "false" };
        json!({
            "metadata": {
                "labels": {"app": app, HEALTHY: healthy},
                "annotations": {SCRIPT_ANNOTATION: self.script(), "sim.orlop.dev/version": version.to_string()},
            },
            "spec": {
                "containers": [without_nulls(container)],
                "terminationGracePeriodSeconds": 1 + entropy.below(30),
            },
        })
    }
}

/// A Deployment that does not exist yet.
pub(super) fn deployment(
    app: &str,
    namespace: &str,
    replicas: u64,
    template: Value,
    entropy: &mut Entropy,
) -> Value {
    let strategy = match entropy.below(4) {
        0 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
        1 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        2 => json!({"type": "Recreate"}),
        _ => json!({}),
    };
    without_nulls(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "strategy": strategy,
            "template": template,
        },
    }))
}

/// A pod of its own, that ends by itself or does not.
pub(super) fn pod(name: &str, namespace: &str, entropy: &mut Entropy) -> Value {
    let (command, policy) = match entropy.below(6) {
        0 | 1 => (format!("sleep {}", 5 + entropy.below(120)), "Never"),
        2 => (format!("sleep {}; exit 1", 1 + entropy.below(20)), "Never"),
        3 => (format!("sleep {}; exit 3", 5 + entropy.below(20)), "OnFailure"),
        4 => (format!("sleep {}", 20 + entropy.below(200)), "Always"),
        _ => ("sleep 1000000".to_owned(), "Always"),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"task": name}},
        "spec": {
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 1 + entropy.below(20),
            "containers": [{
                "name": "task",
                "image": "registry.example.com/task:v1",
                "command": ["sh", "-c", command],
                "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
            }],
        },
    })
}

/// A Service for the pods of `app`.
pub(super) fn service(name: &str, namespace: &str, app: &str, entropy: &mut Entropy) -> Value {
    let kind = match entropy.below(4) {
        0 => "NodePort",
        _ => "ClusterIP",
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
