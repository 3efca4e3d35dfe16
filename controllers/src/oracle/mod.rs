//! Answers to the recorded cases that concern controllers.

mod cron;
mod daemonset;
mod disruption;
mod job;
mod statefulset;

use orlop_core::kinds::{EndpointSlice, Node, Pod, Service, Taint, Toleration};
use orlop_core::oracle::{Answer, Family, equal};
use orlop_core::rules::IntOrString;
use orlop_core::rules::taints::{Stay, stay};
use orlop_core::{Labels, Timestamp};
use serde_json::{Value, json};

use crate::deployment::{Act, DeploymentView, Pass, ReplicaSetView, fenceposts};
use crate::endpointslice::{Slice, place, shares};
use crate::node_lifecycle::no_schedule_taints;
use crate::ranking::{per_node, sort_for_deletion};

/// All families of this crate.
pub const FAMILIES: &[Family] = &[
    Family { name: "deployment", answer: deployment, agrees: deployment_agrees },
    Family { name: "deployment-fenceposts", answer: posts, agrees: equal },
    Family { name: "replicaset-ranking", answer: ranking, agrees: equal },
    Family { name: "endpointslice", answer: slices, agrees: slices_agree },
    Family { name: "taint-eviction", answer: taints, agrees: equal },
    Family { name: "daemonset-nodes", answer: daemonset::nodes, agrees: equal },
    Family { name: "daemonset-update", answer: daemonset::update, agrees: daemonset::update_agrees },
    Family { name: "disruption", answer: disruption::answer, agrees: disruption::agrees },
    Family { name: "cron", answer: cron::answer, agrees: equal },
    Family { name: "job", answer: job::answer, agrees: job::agrees },
    Family { name: "statefulset", answer: statefulset::answer, agrees: statefulset::agrees },
];

fn parse<T: serde::de::DeserializeOwned + Default>(value: &Value) -> Result<T, Answer> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value.clone()).map_err(|e| Answer::Error(e.to_string()))
}

fn answered(answer: Result<Value, Answer>) -> Answer {
    answer.map_or_else(|refusal| refusal, Answer::Output)
}

fn now(input: &Value) -> Timestamp {
    input["now"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::EPOCH)
}

fn posts(input: &Value) -> Answer {
    answered((|| {
        let surge: Option<IntOrString> = parse(&input["maxSurge"])?;
        let unavailable: Option<IntOrString> = parse(&input["maxUnavailable"])?;
        let replicas: i32 = parse(&input["replicas"])?;
        let (surge, unavailable) = fenceposts(surge.as_ref(), unavailable.as_ref(), replicas)
            .map_err(|e| Answer::Error(e.to_string()))?;
        Ok(json!({"surge": surge, "unavailable": unavailable}))
    })())
}

fn ranking(input: &Value) -> Answer {
    answered((|| {
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let others: Vec<Pod> = parse(&input["otherRelatedPods"])?;
        let crowd = per_node(pods.iter().chain(&others));
        let mut order: Vec<&Pod> = pods.iter().collect();
        sort_for_deletion(&mut order, &crowd, now(input));
        let ranks: serde_json::Map<String, Value> = pods
            .iter()
            .map(|pod| {
                let rank = crowd.get(&pod.spec.node_name).copied().unwrap_or(0);
                (pod.metadata.name.to_string(), rank.into())
            })
            .collect();
        let order: Vec<&str> = order.iter().map(|pod| pod.metadata.name.as_str()).collect();
        Ok(json!({"deleteOrder": order, "colocatedRank": ranks}))
    })())
}

fn taints(input: &Value) -> Answer {
    answered((|| match input["op"].as_str() {
        Some("eviction") => {
            let taints: Vec<Taint> = parse(&input["taints"])?;
            let tolerations: Vec<Toleration> = parse(&input["tolerations"])?;
            let decision = stay(&taints, &tolerations);
            let execute: Vec<&Taint> = taints.iter().filter(|taint| taint.effect == "NoExecute").collect();
            let mut out = json!({
                "noExecuteTaints": execute,
                "allTolerated": decision != Stay::Leave,
                "decision": match decision {
                    Stay::Untainted => "none",
                    Stay::Forever => "tolerateForever",
                    Stay::For(_) => "evictAfter",
                    Stay::Leave => "evictNow",
                },
            });
            if let Stay::For(time) = decision {
                out["seconds"] = time.as_secs().into();
            }
            Ok(out)
        }
        _ => {
            let node: Node = parse(&input["node"])?;
            let conditions = &node.status.conditions;
            let taints = no_schedule_taints(&node.spec.taints, conditions, node.spec.unschedulable);
            let mut taints: Vec<String> =
                taints.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
            taints.sort();
            Ok(json!({"taints": taints}))
        }
    })())
}

fn slices(input: &Value) -> Answer {
    answered((|| {
        let service: Service = parse(&input["service"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let nodes: Vec<Node> = parse(&input["nodes"])?;
        let existing: Vec<EndpointSlice> = parse(&input["existingSlices"])?;
        let max: usize = parse(&input["maxEndpointsPerSlice"])?;
        let pods: Vec<&Pod> = pods.iter().collect();
        let views: Vec<&EndpointSlice> = existing.iter().collect();
        let node = |name: &str| nodes.iter().find(|node| node.metadata.name == name);
        let shares = || shares(nodes.iter());
        let placement = place(&service, &pods, &node, &shares, &views, max);

        let mut after: Vec<Slice> = placement.create.clone();
        after.extend(placement.update.iter().cloned());
        for slice in &existing {
            let name = &slice.metadata.name;
            if !placement.delete.contains(name) && !placement.update.iter().any(|s| s.name == *name) {
                after.push(Slice {
                    name: name.clone(),
                    address_type: slice.address_type.clone(),
                    labels: slice.metadata.labels.clone(),
                    endpoints: slice.endpoints.clone(),
                    ports: slice.ports.clone(),
                });
            }
        }
        let mut actions = Vec::new();
        for (verb, slices) in [("create", &placement.create), ("update", &placement.update)] {
            for slice in slices {
                let count = slice.endpoints.len();
                let mut action = json!({"verb": verb, "addressType": slice.address_type, "count": count});
                if !slice.name.is_empty() {
                    action["name"] = json!(slice.name);
                }
                actions.push(action);
            }
        }
        actions.extend(placement.delete.iter().map(|name| json!({"verb": "delete", "name": name})));
        let errors: Vec<String> =
            placement.homeless.iter().map(|pod| format!("skipping Pod {pod}")).collect();
        Ok(json!({
            "slices": after.iter().map(slice_json).collect::<Vec<_>>(),
            "actions": actions,
            "reconcileErrors": errors,
        }))
    })())
}

fn slice_json(slice: &Slice) -> Value {
    let ports: Vec<Value> = slice.ports.iter().map(|port| without_empty(&json!(port))).collect();
    let mut out = json!({
        "addressType": slice.address_type,
        "endpoints": slice.endpoints,
        "labels": slice.labels,
        "ports": ports,
    });
    if !slice.name.is_empty() {
        out["name"] = json!(slice.name);
    }
    out
}

fn sorted(list: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut list: Vec<Value> = list.into_iter().collect();
    list.sort_by_cached_key(canonical);
    list
}

/// With sorted fields, so that equal values have equal texts.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name:?}:{}", canonical(value))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Exact results compare slice by slice, others by the sizes and endpoints of each group of ports.
fn slices_agree(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let errors = |output: &Value| list(&output["reconcileErrors"]).len();
    if expected["exact"] == true {
        let normal = |output: &Value| {
            let slices = list(&output["slices"]).into_iter().map(|mut slice| {
                if let Some(fields) = slice.as_object_mut() {
                    fields.remove("annotations");
                }
                slice["endpoints"] = sorted(list(&slice["endpoints"])).into();
                slice["ports"] = sorted(list(&slice["ports"]).iter().map(no_empty_name)).into();
                slice
            });
            (sorted(slices), sorted(list(&output["actions"])))
        };
        return normal(expected) == normal(got) && (errors(expected) > 0) == (errors(got) > 0);
    }
    let mut wanted: Vec<(String, Vec<u64>, Option<Vec<Value>>)> = Vec::new();
    for group in list(&expected["groups"]) {
        let key = group["key"].as_str().unwrap_or_default();
        let (family, ports) = key.split_once(" ports=").unwrap_or((key, "[]"));
        let ports: Vec<Value> = serde_json::from_str(ports).unwrap_or_default();
        let ports = sorted(ports.iter().map(no_empty_name));
        let sizes = list(&group["sliceSizes"]).iter().filter_map(Value::as_u64).collect();
        let endpoints = group.get("endpoints").map(|endpoints| sorted(list(endpoints)));
        wanted.push((format!("{family} {}", canonical(&ports.into())), sizes, endpoints));
    }
    let mut have: std::collections::BTreeMap<String, (Vec<u64>, Vec<Value>)> = Default::default();
    for slice in list(&got["slices"]) {
        let ports = sorted(list(&slice["ports"]).iter().map(no_empty_name));
        let key =
            format!("{} {}", slice["addressType"].as_str().unwrap_or_default(), canonical(&ports.into()));
        let (sizes, endpoints) = have.entry(key).or_default();
        let of_slice = list(&slice["endpoints"]);
        sizes.push(of_slice.len() as u64);
        endpoints.extend(of_slice.into_iter().map(|mut endpoint| {
            if let Some(fields) = endpoint.as_object_mut() {
                fields.remove("hints");
            }
            endpoint
        }));
    }
    wanted.len() == have.len()
        && wanted.into_iter().all(|(key, mut sizes, endpoints)| {
            let Some((have_sizes, have_endpoints)) = have.get_mut(&key) else { return false };
            sizes.sort_unstable();
            have_sizes.sort_unstable();
            *have_sizes == sizes
                && endpoints.is_none_or(|wanted| wanted == sorted(std::mem::take(have_endpoints)))
        })
}

fn no_empty_name(port: &Value) -> Value {
    without_empty(port).as_object().cloned().map_or(Value::Null, |mut port| {
        if port.get("name").is_some_and(|name| name == "") {
            port.remove("name");
        }
        port.into()
    })
}

fn deployment(input: &Value) -> Answer {
    answered((|| {
        let deployment: DeploymentView = parse(&input["deployment"])?;
        let sets: Vec<ReplicaSetView> = parse(&input["replicaSets"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let views: Vec<&ReplicaSetView> = sets.iter().collect();
        let of = |set: &ReplicaSetView| -> Vec<&Pod> {
            pods.iter().filter(|pod| pod.metadata.is_controlled_by(&set.metadata)).collect()
        };
        let by_set: Vec<(&str, Vec<&Pod>)> =
            sets.iter().map(|set| (set.metadata.uid.as_str(), of(set))).collect();
        let taken = |name: &str| sets.iter().any(|set| set.metadata.name == name);
        let pass = Pass::run(&deployment, &views, &by_set, &taken, now(input));
        Ok(describe(&deployment, &sets, &pass))
    })())
}

fn describe(deployment: &DeploymentView, sets: &[ReplicaSetView], pass: &Pass<'_>) -> Value {
    let mut after: serde_json::Map<String, Value> = sets
        .iter()
        .map(|set| {
            let state = json!({
                "replicas": set.spec.replicas.unwrap_or(1),
                "annotations": set.metadata.annotations,
            });
            (set.metadata.name.to_string(), state)
        })
        .collect();
    let mut annotations: Labels = deployment.metadata.annotations.clone();
    let mut status = deployment.status.clone();
    let mut actions = Vec::new();
    for act in &pass.acts {
        match act {
            Act::Create { name, replicas, object } => {
                let annotations = &object["metadata"]["annotations"];
                actions.push(json!({"verb": "create", "resource": "replicasets", "name": name,
                    "replicas": replicas, "annotations": annotations}));
                after.insert(name.to_string(), json!({"replicas": replicas, "annotations": annotations}));
            }
            Act::Update { name, replicas, annotations, .. } => {
                actions.push(json!({"verb": "update", "resource": "replicasets", "name": name,
                    "replicas": replicas, "annotations": annotations}));
                after.insert(name.to_string(), json!({"replicas": replicas, "annotations": annotations}));
            }
            Act::Delete { name, .. } => {
                actions.push(json!({"verb": "delete", "resource": "replicasets", "name": name}));
                after.remove(name.as_str());
            }
            Act::Status { status: written, revision } => {
                actions.push(json!({"verb": "update", "resource": "deployments", "subresource": "status"}));
                status = written.clone();
                if let Some(revision) = revision {
                    annotations.insert(crate::deployment::REVISION.into(), revision.clone());
                }
            }
        }
    }
    let conditions: Vec<Value> = status
        .conditions
        .iter()
        .map(|c| json!({"type": c.r#type, "status": c.status, "reason": c.reason, "message": c.message}))
        .collect();
    let mut status = json!(status);
    status["conditions"] = conditions.into();
    json!({
        "actions": actions,
        "replicaSetsAfter": after,
        "deploymentAfter": {"annotations": annotations, "status": status},
    })
}

/// The hash in a new ReplicaSet's name may be another; absent, empty and zero are the same.
fn deployment_agrees(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let created = |output: &Value| {
        let actions = output["actions"].as_array();
        let name = actions.into_iter().flatten().find(|a| a["verb"] == "create").map(|a| a["name"].clone());
        name.and_then(|name| name.as_str().map(str::to_owned))
    };
    let normal = |output: &Value, name: Option<String>| {
        let mut output = json!({
            "actions": output["actions"],
            "replicaSetsAfter": output["replicaSetsAfter"],
            "deploymentAfter": output["deploymentAfter"],
        });
        for action in output["actions"].as_array_mut().into_iter().flatten() {
            if let Some(action) = action.as_object_mut() {
                action.remove("object");
            }
        }
        if let Some(conditions) = output["deploymentAfter"]["status"]["conditions"].as_array_mut() {
            conditions.sort_by_key(|c| c["type"].as_str().unwrap_or_default().to_owned());
        }
        let output = without_empty(&output).to_string();
        let output = match name {
            Some(name) => output.replace(&name, "<created>"),
            None => output,
        };
        serde_json::from_str::<Value>(&output).unwrap_or_default()
    };
    normal(expected, created(expected)) == normal(got, created(got))
}

fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), without_empty(value)))
            .filter(|(name, value)| {
                let empty = value.is_null()
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty)
                    || (value == 0 && name != "terminatingReplicas" && name != "replicas");
                !empty
            })
            .collect::<serde_json::Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}
