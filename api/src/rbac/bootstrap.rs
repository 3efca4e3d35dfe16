//! The roles and bindings that every cluster has.

use orlop_core::Kind;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
const CLUSTER_ROLE: Kind = Kind::cluster(GROUP, "v1", "ClusterRole", "clusterroles");
const CLUSTER_BINDING: Kind = Kind::cluster(GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings");

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What runs in a namespace, by API group, with the subresources that go with it.
const NAMESPACED: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
        ],
    ),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("policy", &["poddisruptionbudgets"]),
];

/// What can only be looked at in a namespace.
const STATUSES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "persistentvolumeclaims/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
            "services/status",
        ],
    ),
    ("apps", &["daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status"]),
    ("autoscaling", &["horizontalpodautoscalers/status"]),
    ("batch", &["cronjobs/status", "jobs/status"]),
    ("networking.k8s.io", &["ingresses/status"]),
    ("policy", &["poddisruptionbudgets/status"]),
];

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn paths(paths: &[&str]) -> Value {
    json!({"verbs": ["get"], "nonResourceURLs": paths})
}

fn rules(verbs: &[&str], table: &[(&str, &[&str])]) -> Vec<Value> {
    table.iter().map(|(group, resources)| rule(verbs, group, resources)).collect()
}

fn role(name: &str, labels: &[(&str, &str)], rules: Vec<Value>) -> (Kind, Value) {
    let mut all = serde_json::Map::new();
    all.insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
    all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": name,
            "labels": all,
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "rules": rules,
    });
    (CLUSTER_ROLE, object)
}

/// A role that collects those with the label `rbac.authorization.k8s.io/aggregate-to-NAME`.
fn collecting(name: &str, labels: &[(&str, &str)]) -> (Kind, Value) {
    let (kind, mut object) = role(name, labels, Vec::new());
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
    object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    (kind, object)
}

fn binding(role: &str, subjects: &[(&str, &str)]) -> (Kind, Value) {
    let subjects: Vec<Value> =
        subjects.iter().map(|(kind, name)| json!({"kind": kind, "apiGroup": GROUP, "name": name})).collect();
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {
            "name": role,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "subjects": subjects,
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
    });
    (CLUSTER_BINDING, object)
}

/// The default roles for people and for components, and their bindings, as Kubernetes' documentation lists them
/// ("Default roles and role bindings").
pub fn bootstrap() -> Vec<(Kind, Value)> {
    const TO_ADMIN: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-admin", "true");
    const TO_EDIT: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-edit", "true");
    const TO_VIEW: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-view", "true");
    let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let every_path = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});

    let mut view = rules(READ, NAMESPACED);
    view.extend(rules(READ, STATUSES));
    let mut edit = rules(WRITE, NAMESPACED);
    edit.push(rule(
        READ,
        "",
        &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
    ));
    edit.push(rule(&["impersonate"], "", &["serviceaccounts"]));
    edit.push(rule(
        WRITE,
        "",
        &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
    ));
    edit.push(rule(&["create"], "", &["pods/eviction", "serviceaccounts/token"]));
    edit.push(rule(WRITE, "", &["events"]));
    edit.push(rule(ALL, "coordination.k8s.io", &["leases"]));
    let admin = vec![
        rule(&["create"], "authorization.k8s.io", &["localsubjectaccessreviews"]),
        rule(ALL, GROUP, &["rolebindings", "roles"]),
    ];

    let node = vec![
        rule(&["create"], "authentication.k8s.io", &["tokenreviews"]),
        rule(&["create"], "authorization.k8s.io", &["localsubjectaccessreviews", "subjectaccessreviews"]),
        rule(
            READ,
            "",
            &[
                "services",
                "nodes",
                "configmaps",
                "secrets",
                "persistentvolumeclaims",
                "persistentvolumes",
                "serviceaccounts",
            ],
        ),
        rule(&["create", "get", "list", "watch", "patch", "update", "delete"], "", &["nodes", "pods"]),
        rule(&["patch", "update"], "", &["nodes/status", "pods/status"]),
        rule(&["create"], "", &["pods/eviction", "serviceaccounts/token"]),
        rule(&["create", "patch", "update"], "", &["events"]),
        rule(&["create", "get", "update", "patch", "delete"], "coordination.k8s.io", &["leases"]),
        rule(READ, "node.k8s.io", &["runtimeclasses"]),
        rule(READ, "storage.k8s.io", &["csidrivers", "csinodes", "volumeattachments"]),
    ];
    let scheduler = vec![
        rule(&["create", "patch", "update"], "events.k8s.io", &["events"]),
        rule(&["create", "patch", "update"], "", &["events"]),
        rule(
            READ,
            "",
            &[
                "namespaces",
                "nodes",
                "persistentvolumeclaims",
                "persistentvolumes",
                "replicationcontrollers",
                "services",
            ],
        ),
        rule(&["delete", "get", "list", "watch"], "", &["pods"]),
        rule(&["create"], "", &["bindings", "pods/binding"]),
        rule(&["patch", "update"], "", &["pods/status"]),
        rule(READ, "apps", &["replicasets", "statefulsets"]),
        rule(READ, "policy", &["poddisruptionbudgets"]),
        rule(
            READ,
            "storage.k8s.io",
            &["csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"],
        ),
        rule(ALL, "coordination.k8s.io", &["leases"]),
    ];
    let proxier = vec![
        rule(&["list", "watch"], "", &["nodes", "services"]),
        rule(READ, "discovery.k8s.io", &["endpointslices"]),
        rule(READ, "networking.k8s.io", &["servicecidrs"]),
        rule(&["create", "patch", "update"], "events.k8s.io", &["events"]),
        rule(&["create", "patch", "update"], "", &["events"]),
    ];
    let reviews = |resources: &[&str]| rule(&["create"], "authorization.k8s.io", resources);
    vec![
        role("cluster-admin", &[], vec![everything.clone(), every_path.clone()]),
        collecting("admin", &[]),
        collecting("edit", &[TO_ADMIN]),
        collecting("view", &[TO_EDIT]),
        role("system:aggregate-to-admin", &[TO_ADMIN], admin),
        role("system:aggregate-to-edit", &[TO_EDIT], edit),
        role("system:aggregate-to-view", &[TO_VIEW], view),
        role(
            "system:discovery",
            &[],
            // What `/.well-known` serves holds public keys and addresses only.
            vec![paths(&[
                "/.well-known",
                "/.well-known/*",
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ])],
        ),
        role(
            "system:public-info-viewer",
            &[],
            vec![paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])],
        ),
        role(
            "system:basic-user",
            &[],
            vec![
                reviews(&["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                rule(&["create"], "authentication.k8s.io", &["selfsubjectreviews"]),
            ],
        ),
        role(
            "system:monitoring",
            &[],
            vec![paths(&[
                "/healthz",
                "/healthz/*",
                "/livez",
                "/livez/*",
                "/metrics",
                "/metrics/slis",
                "/readyz",
                "/readyz/*",
            ])],
        ),
        role(
            "system:auth-delegator",
            &[],
            vec![
                rule(&["create"], "authentication.k8s.io", &["tokenreviews"]),
                reviews(&["subjectaccessreviews"]),
            ],
        ),
        role("system:node", &[], node),
        role("system:node-proxier", &[], proxier),
        role("system:kube-scheduler", &[], scheduler),
        role("system:kube-controller-manager", &[], vec![everything, every_path]),
        role(
            "system:service-account-issuer-discovery",
            &[],
            vec![paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ])],
        ),
        // The discovery document says nothing that is not public, and whoever is to trust our tokens reads it first. Who is
        // known may read it by `system:discovery`.
        role(
            "system:openid-configuration-viewer",
            &[],
            vec![paths(&["/.well-known/openid-configuration", "/.well-known/openid-configuration/"])],
        ),
        binding("system:openid-configuration-viewer", &[("Group", "system:unauthenticated")]),
        binding("cluster-admin", &[("Group", super::MASTERS)]),
        binding("system:discovery", &[("Group", "system:authenticated")]),
        binding("system:basic-user", &[("Group", "system:authenticated")]),
        binding(
            "system:public-info-viewer",
            &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
        ),
        binding("system:monitoring", &[("Group", "system:monitoring")]),
        binding("system:node-proxier", &[("User", "system:kube-proxy")]),
        binding("system:kube-scheduler", &[("User", "system:kube-scheduler")]),
        binding("system:kube-controller-manager", &[("User", "system:kube-controller-manager")]),
        binding("system:service-account-issuer-discovery", &[("Group", "system:serviceaccounts")]),
    ]
}
