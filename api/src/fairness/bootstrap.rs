//! The flow schemas and priority levels that every cluster has, as Kubernetes' documentation lists them ("API Priority
//! and Fairness", defaults).

use orlop_core::Kind;
use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMA: Kind = Kind::cluster(GROUP, "v1", "FlowSchema", "flowschemas");
const LEVEL: Kind = Kind::cluster(GROUP, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations");

fn object(kind: &Kind, name: &str, spec: Value) -> (Kind, Value) {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind.kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec,
    });
    (kind.clone(), object)
}

fn limited(name: &str, shares: i64, lendable: i64, queuing: Option<(i64, i64)>) -> (Kind, Value) {
    let response = match queuing {
        Some((queues, hand)) => json!({
            "type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
        }),
        None => json!({"type": "Reject"}),
    };
    let limited = json!({
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": response,
    });
    object(&LEVEL, name, json!({"type": "Limited", "limited": limited}))
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn everything() -> Value {
    json!({
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn schema(
    name: &str,
    level: &str,
    precedence: i64,
    by: Option<&str>,
    subjects: Vec<Value>,
    rules: Value,
) -> (Kind, Value) {
    let mut rule = json!({"subjects": subjects});
    if let (Some(rule), Value::Object(rules)) = (rule.as_object_mut(), rules) {
        rule.extend(rules);
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule],
    });
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object(&SCHEMA, name, spec)
}

/// The default levels and schemas.
pub fn bootstrap() -> Vec<(Kind, Value)> {
    const EVERYONE: &[&str] = &["system:unauthenticated", "system:authenticated"];
    const ELECT: &[&str] = &["get", "create", "update"];
    const USER: Option<&str> = Some("ByUser");
    const NAMESPACE: Option<&str> = Some("ByNamespace");
    let leases = || json!({"resourceRules": [resources(ELECT, "coordination.k8s.io", &["leases"], false)]});
    let exempt = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0});
    vec![
        object(&LEVEL, "exempt", json!({"type": "Exempt", "exempt": exempt})),
        limited("catch-all", 5, 0, None),
        limited("system", 30, 33, Some((64, 6))),
        limited("node-high", 40, 25, Some((64, 6))),
        limited("leader-election", 10, 0, Some((16, 4))),
        limited("workload-high", 40, 50, Some((128, 6))),
        limited("workload-low", 100, 90, Some((128, 6))),
        limited("global-default", 20, 50, Some((128, 6))),
        schema("exempt", "exempt", 1, None, groups(&["system:masters"]), everything()),
        schema("catch-all", "catch-all", 10_000, USER, groups(EVERYONE), everything()),
        schema("system-nodes", "system", 500, USER, groups(&["system:nodes"]), everything()),
        schema(
            "system-node-high",
            "node-high",
            400,
            USER,
            groups(&["system:nodes"]),
            json!({"resourceRules": [
                resources(&["*"], "", &["nodes", "nodes/status"], true),
                resources(&["*"], "coordination.k8s.io", &["leases"], false),
            ]}),
        ),
        schema(
            "probes",
            "exempt",
            2,
            None,
            groups(EVERYONE),
            json!({"nonResourceRules": [
                {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]},
            ]}),
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            USER,
            vec![user("system:kube-controller-manager"), user("system:kube-scheduler"), account("*")],
            leases(),
        ),
        schema("workload-leader-election", "leader-election", 200, USER, vec![account("*")], leases()),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            USER,
            vec![
                user("system:kube-controller-manager"),
                account("endpoint-controller"),
                account("endpointslicemirroring-controller"),
            ],
            json!({"resourceRules": [
                resources(ELECT, "", &["endpoints"], false),
                resources(ELECT, "discovery.k8s.io", &["endpointslices"], false),
            ]}),
        ),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            NAMESPACE,
            vec![user("system:kube-controller-manager")],
            everything(),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            NAMESPACE,
            vec![user("system:kube-scheduler")],
            everything(),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            NAMESPACE,
            vec![account("*")],
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            USER,
            groups(&["system:serviceaccounts"]),
            everything(),
        ),
        schema("global-default", "global-default", 9900, USER, groups(EVERYONE), everything()),
    ]
}
