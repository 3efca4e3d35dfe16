//! Answers to the recorded cases of the real Kubernetes: `ip-allocation`, `endpoint-choice`.

use ipnet::IpNet;
use orlop_core::kinds::Service;
use orlop_core::oracle::{Answer, Family};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::choice::{self, Place};
use crate::ipam::{CidrSet, PortRange, ServiceRange};
use crate::plan::{Endpoint, TrafficPolicy};

/// The families that this crate answers.
pub const FAMILIES: &[Family] = &[
    Family { name: "ip-allocation", answer: ip_allocation, agrees: alike },
    Family { name: "endpoint-choice", answer: endpoint_choice, agrees: alike },
];

/// Outputs are compared to the letter, refusals by being refusals: their words are Go's.
fn alike(input: &Value, expected: &Answer, got: &Answer) -> bool {
    orlop_core::oracle::equal(input, expected, got)
}

fn ip_allocation(input: &Value) -> Answer {
    let done = match input["op"].as_str() {
        Some("serviceIPStaticBand") => service_band(input),
        Some("nodePortStaticBand") => port_band(input),
        Some("cidrset") => cidr_set(input),
        other => Err(format!("no such operation: {other:?}")),
    };
    match done {
        Ok(output) => Answer::Output(output),
        Err(error) => Answer::Error(error),
    }
}

fn service_band(input: &Value) -> Result<Value, String> {
    let range = ServiceRange::new(net(&input["cidr"])?);
    Ok(json!({"rangeSize": range.size(), "staticBandSize": range.static_band()}))
}

fn port_band(input: &Value) -> Result<Value, String> {
    let range: PortRange = input["range"].as_str().unwrap_or_default().parse().map_err(|e| format!("{e}"))?;
    Ok(json!({"base": range.base(), "size": range.size(), "staticBandSize": range.static_band()}))
}

fn cidr_set(input: &Value) -> Result<Value, String> {
    let mask = input["nodeMask"].as_u64().and_then(|m| u8::try_from(m).ok()).ok_or("nodeMask is no mask")?;
    let mut set = CidrSet::new(net(&input["clusterCIDR"])?, mask).map_err(|e| e.to_string())?;
    let mut results = Vec::new();
    for op in input["ops"].as_array().into_iter().flatten() {
        let done = match op["op"].as_str() {
            Some("allocateNext") => set.allocate_next().map(|cidr| json!({"cidr": cidr.to_string()})),
            Some("occupy") => set.occupy(&net(&op["cidr"])?).map(|()| json!({"ok": true})),
            Some("release") => set.release(&net(&op["cidr"])?).map(|()| json!({"ok": true})),
            other => return Err(format!("no such operation: {other:?}")),
        };
        results.push(done.unwrap_or_else(|e| json!({"error": e.to_string()})));
    }
    // The recorded form of "nothing was asked" is the absent list.
    Ok(json!({"results": if results.is_empty() { Value::Null } else { results.into() }}))
}

fn net(value: &Value) -> Result<IpNet, String> {
    value.as_str().unwrap_or_default().parse().map_err(|e| format!("{value}: {e}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChoiceInput {
    #[serde(default)]
    endpoints: Option<Vec<EndpointInput>>,
    node_name: String,
    service: Service,
    #[serde(default)]
    topology_labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointInput {
    ip: std::net::IpAddr,
    port: u16,
    is_local: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    #[serde(default)]
    zone_hints: Vec<String>,
    #[serde(default)]
    node_hints: Vec<String>,
}

fn endpoint_choice(input: &Value) -> Answer {
    let input: ChoiceInput = match serde_json::from_value(input.clone()) {
        Ok(input) => input,
        Err(e) => return Answer::Error(e.to_string()),
    };
    let node = input.node_name.as_str();
    let endpoints: Vec<Endpoint> = input
        .endpoints
        .unwrap_or_default()
        .into_iter()
        .map(|e| Endpoint {
            node: if e.is_local { node.into() } else { "elsewhere".into() },
            ready: e.ready,
            serving: e.serving,
            terminating: e.terminating,
            zone_hints: e.zone_hints.into_iter().map(Into::into).collect(),
            node_hints: e.node_hints.into_iter().map(Into::into).collect(),
            ..Endpoint::at(e.ip, e.port)
        })
        .collect();
    let spec = &input.service.spec;
    let balancer = input.service.status.load_balancer.iter().flat_map(|lb| &lb.ingress);
    let accessible = spec.ports.iter().any(|port| port.node_port.is_some_and(|n| n != 0))
        || !spec.external_ips.is_empty()
        || balancer.into_iter().any(|ingress| !ingress.ip.is_empty());
    // A policy for the outside means nothing where a Service has no way in.
    let external =
        matches!(spec.r#type.as_str(), "NodePort" | "LoadBalancer") || !spec.external_ips.is_empty();
    let policy = TrafficPolicy {
        internal_local: spec.internal_traffic_policy == "Local",
        external_local: external && spec.external_traffic_policy == "Local",
    };
    let zone = input.topology_labels.get("topology.kubernetes.io/zone").map_or("", String::as_str);
    let place = Place { node: node.into(), zone: zone.into() };
    let choice = choice::choose(&endpoints, policy, accessible, &place);
    let uses_cluster = choice::uses_cluster(policy, accessible);
    // Go tells a list that was never made from an empty one.
    let texts = |indices: &[usize], made: bool| -> Value {
        let mut texts: Vec<String> = indices.iter().map(|i| endpoints[*i].socket().to_string()).collect();
        texts.sort();
        if texts.is_empty() && (endpoints.is_empty() || !made) { Value::Null } else { texts.into() }
    };
    Answer::Output(json!({
        "cluster": texts(&choice.cluster, uses_cluster),
        "local": texts(&choice.local, false),
        "allReachable": texts(&choice.reachable, uses_cluster),
        "hasAnyEndpoints": choice.any,
        "internalPolicyLocal": policy.internal_local,
        "externalPolicyLocal": policy.external_local,
        "externallyAccessible": accessible,
        "usesClusterEndpoints": uses_cluster,
        "usesLocalEndpoints": choice::uses_local(policy, accessible),
    }))
}
