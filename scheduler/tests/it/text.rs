//! A cluster in a small notation, so that a test shows a cluster and not constructors.
//!
//! ```text
//! node a  cpu=4 mem=8Gi pods=10 zone=x disk=ssd taint=gpu:NoSchedule cordoned
//! pod  p1 cpu=1 on=a app=web prio=5 port=80 tolerate=gpu select=disk:ssd near=app:web/zone apart=app:web/host
//! pod  p2 spread=zone:1 gate=later by=other-scheduler
//! ```
//! Words that are not known are labels. A node has its `kubernetes.io/hostname`; `zone` and `host` stand for the
//! well-known labels. Pods without `on` are pending.

use serde_json::{Map, Value, json};

/// A line as an object of the API; its kind is in `kind`.
pub(crate) fn object(line: &str) -> Option<Value> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "node" => Some(node(words.next()?, words)),
        "pod" => Some(pod(words.next()?, words)),
        other => panic!("{other}: neither a node nor a pod"),
    }
}

/// All lines, as objects.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    text.lines().filter_map(object).collect()
}

fn topology(key: &str) -> &str {
    match key {
        "zone" => "topology.kubernetes.io/zone",
        "host" => "kubernetes.io/hostname",
        other => other,
    }
}

fn node<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Value {
    let mut node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    let mut taints = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let allocatable = &mut node["status"]["allocatable"];
        match key {
            "cpu" | "pods" => allocatable[key] = value.into(),
            "mem" => allocatable["memory"] = value.into(),
            "gpu" => allocatable["example.com/gpu"] = value.into(),
            "cordoned" => node["spec"]["unschedulable"] = true.into(),
            "image" => {
                let (name, size) = value.split_once('@').expect("image=NAME@BYTES");
                let size: i64 = size.parse().expect("bytes");
                node["status"]["images"] = json!([{"names": [name], "sizeBytes": size}]);
            }
            "taint" => {
                let (key, effect) = value.split_once(':').expect("taint=KEY:EFFECT");
                taints.push(json!({"key": key, "effect": effect}));
            }
            key => node["metadata"]["labels"][topology(key)] = value.into(),
        }
    }
    node["spec"]["taints"] = taints.into();
    node
}

fn pod<'a>(name: &str, words: impl Iterator<Item = &'a str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {}},
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {}}}]},
    });
    let selector = |value: &str| {
        let (key, value) = value.split_once(':').expect("KEY:VALUE");
        json!({"matchLabels": {key: value}})
    };
    let list = |pod: &mut Value, at: &[&str], item: Value| {
        let mut here = &mut pod["spec"];
        for key in at {
            if here.is_null() {
                *here = Value::Object(Map::new());
            }
            here = &mut here[*key];
        }
        match here {
            Value::Array(items) => items.push(item),
            none => *none = json!([item]),
        }
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let requests = &mut pod["spec"]["containers"][0]["resources"]["requests"];
        match key {
            "cpu" => requests["cpu"] = value.into(),
            "mem" => requests["memory"] = value.into(),
            "gpu" => requests["example.com/gpu"] = value.into(),
            "on" => pod["spec"]["nodeName"] = value.into(),
            "prio" => pod["spec"]["priority"] = value.parse::<i32>().expect("a priority").into(),
            "by" => pod["spec"]["schedulerName"] = value.into(),
            "image" => pod["spec"]["containers"][0]["image"] = value.into(),
            "gate" => list(&mut pod, &["schedulingGates"], json!({"name": value})),
            "tolerate" => list(&mut pod, &["tolerations"], json!({"key": value, "operator": "Exists"})),
            "port" => {
                let port: i32 = value.parse().expect("a port");
                pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port, "hostPort": port}]);
            }
            "select" => {
                let (key, value) = value.split_once(':').expect("select=KEY:VALUE");
                pod["spec"]["nodeSelector"] = json!({topology(key): value});
            }
            "prefer" => {
                let (key, value) = value.split_once(':').expect("prefer=KEY:VALUE");
                let term = json!({"matchExpressions": [{"key": topology(key), "operator": "In", "values": [value]}]});
                let at = ["affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution"];
                list(&mut pod, &at, json!({"weight": 1, "preference": term}));
            }
            "near" | "apart" => {
                let (labels, key) = value.split_once('/').expect("LABEL:VALUE/TOPOLOGY");
                let kind = if key_is(word, "near") { "podAffinity" } else { "podAntiAffinity" };
                let at = ["affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"];
                list(&mut pod, &at, json!({"labelSelector": selector(labels), "topologyKey": topology(key)}));
            }
            "spread" => {
                let (key, skew) = value.split_once(':').expect("spread=TOPOLOGY:SKEW");
                let constraint = json!({
                    "topologyKey": topology(key),
                    "maxSkew": skew.parse::<i32>().expect("a skew"),
                    "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": {},
                });
                list(&mut pod, &["topologySpreadConstraints"], constraint);
            }
            key => pod["metadata"]["labels"][key] = value.into(),
        }
    }
    // An empty selector counts nothing: pods are spread with those of their own labels.
    let labels = pod["metadata"]["labels"].clone();
    let constraints = pod["spec"].get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    for constraint in constraints.into_iter().flatten() {
        constraint["labelSelector"] = json!({"matchLabels": labels});
    }
    pod
}

fn key_is(word: &str, key: &str) -> bool {
    word.split('=').next() == Some(key)
}
