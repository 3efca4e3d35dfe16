//! What would have to change for a built-in predicate to take a node, in a sentence.

use orlop_core::kinds::{NodeSelectorRequirement, NodeSelectorTerm, Taint};
use orlop_core::rules::node_affinity::NodeTerm;
use orlop_core::rules::taints;

use crate::facts::{AffinityTerm, PodFacts};
use crate::snapshot::NodeView;

/// The sentence; empty for plugins that are not built in.
pub(super) fn of(plugin: &str, pod: &PodFacts, node: &NodeView<'_>) -> String {
    match plugin {
        "NodeUnschedulable" => "uncordon the node".to_owned(),
        "NodeName" => format!("the pod asks for node {}", pod.node),
        "TaintToleration" => untolerated(pod, node),
        "NodeAffinity" => affinity(pod, node),
        "NodePorts" => ports(pod, node),
        "NodeResourcesFit" => resources(pod, node),
        "PodTopologySpread" => spread(pod, node),
        "InterPodAffinity" => inter_pod(pod, node),
        "VolumeBinding" | "VolumeZone" => volumes(pod, node),
        "DynamicResources" => "remove spec.resourceClaims".to_owned(),
        _ => String::new(),
    }
}

fn taint(taint: &Taint) -> String {
    match taint.value.as_str() {
        "" => format!("{}:{}", taint.key, taint.effect),
        value => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

fn untolerated(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let keeps_off = |t: &Taint| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute");
    let all = node
        .facts()
        .taints
        .iter()
        .filter(|t| taints::untolerated(std::slice::from_ref(*t), &pod.tolerations, keeps_off).is_some());
    let all: Vec<String> = all.map(taint).collect();
    format!("tolerate {}, or take it off the node", all.join(" and "))
}

/// What the node has of a label, for people.
fn has(node: &NodeView<'_>, key: &str) -> String {
    match node.label(key) {
        Some(value) => format!("it has {key}={value}"),
        None => format!("it has no label {key}"),
    }
}

fn affinity(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let mut wanted = Vec::new();
    for (key, value) in pod.node_selector.iter() {
        if node.label(key) != Some(value) {
            wanted.push(format!("the node must have {key}={value} ({})", has(node, key)));
        }
    }
    let required = pod.node_affinity.as_ref();
    let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    if let Some(required) = required {
        let (labels, name) = (&node.facts().labels, node.name());
        let misses = |term: &NodeSelectorTerm| -> Vec<String> {
            let fields = term.match_fields.iter().map(|r| {
                (r, NodeSelectorTerm { match_fields: vec![r.clone()], ..NodeSelectorTerm::default() })
            });
            let expressions = term.match_expressions.iter().map(|r| {
                (r, NodeSelectorTerm { match_expressions: vec![r.clone()], ..NodeSelectorTerm::default() })
            });
            let failing = expressions.chain(fields).filter(|(_, t)| !NodeTerm::new(t).matches(labels, name));
            failing.map(|(requirement, _)| requirement_text(requirement)).collect()
        };
        let terms = &required.node_selector_terms;
        if !terms.iter().any(|term| NodeTerm::new(term).matches(labels, name)) {
            // One term must hold in full: the one that lacks least says what is the least to do. An empty one never does.
            let least = terms.iter().map(misses).filter(|missing| !missing.is_empty()).min_by_key(Vec::len);
            wanted.push(match least {
                Some(least) => format!("the node must have {}", least.join(" and ")),
                None => "the pod's required node affinity is empty, which no node fulfils".to_owned(),
            });
        }
    }
    if wanted.is_empty() {
        "the profile's added affinity asks for other nodes".to_owned()
    } else {
        wanted.join("; ")
    }
}

fn requirement_text(requirement: &NodeSelectorRequirement) -> String {
    let NodeSelectorRequirement { key, operator, values } = requirement;
    match (operator.as_str(), values.join(", ")) {
        ("In", values) if requirement.values.len() == 1 => format!("{key}={values}"),
        ("In", values) => format!("{key} in ({values})"),
        ("NotIn", values) => format!("{key} not in ({values})"),
        ("Exists", _) => format!("a label {key}"),
        ("DoesNotExist", _) => format!("no label {key}"),
        (operator, values) => format!("{key} {operator} {values}"),
    }
}

fn ports(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let mut taken = Vec::new();
    for port in &pod.host_ports {
        let holds = |other: &PodFacts| other.host_ports.iter().any(|p| p.conflicts(port));
        for other in node.pods().filter(|other| holds(other)) {
            taken.push(format!("port {}/{} is {}'s", port.port, port.protocol, other.key));
        }
    }
    taken.sort_unstable();
    taken.join(", ")
}

/// An amount as people write it.
fn amount(resource: &str, amount: i64) -> String {
    const MI: i64 = 1 << 20;
    match resource {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        "memory" | "ephemeral-storage" if amount != 0 && amount % (MI << 10) == 0 => {
            format!("{}Gi", amount / (MI << 10))
        }
        "memory" | "ephemeral-storage" if amount != 0 && amount % MI == 0 => format!("{}Mi", amount / MI),
        _ => amount.to_string(),
    }
}

fn resources(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let mut lacks = Vec::new();
    if node.pod_count() + 1 > node.facts().pods {
        lacks.push(format!("one of its {} pods must go", node.facts().pods));
    }
    let names = ["cpu", "memory", "ephemeral-storage"].into_iter();
    for resource in names.chain(pod.requests.others.iter().map(|(name, _)| name.as_str())) {
        let (wanted, free, all) =
            (pod.requests.get(resource), node.free(resource), node.allocatable(resource));
        if wanted > 0 && wanted > free {
            let say = |n| amount(resource, n);
            lacks.push(match wanted > all {
                true => format!("{resource}: {} asked for, the node has {} in all", say(wanted), say(all)),
                false => format!(
                    "{resource}: {} asked for, {} of {} free, {} more needed",
                    say(wanted),
                    say(free),
                    say(all),
                    say(wanted - free)
                ),
            });
        }
    }
    lacks.join("; ")
}

/// The nodes that share a label's value with this one hold these pods.
fn in_domain<'a>(node: &NodeView<'a>, key: &str) -> Vec<&'a PodFacts> {
    let Some(value) = node.label(key) else { return Vec::new() };
    let nodes = node.cluster().nodes().filter(|other| other.label(key) == Some(value));
    nodes.flat_map(|other| other.pods()).collect()
}

fn spread(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let mut said = Vec::new();
    for constraint in pod.spread.iter().filter(|c| c.required) {
        let key = &constraint.topology_key;
        let Some(value) = node.label(key) else {
            said.push(format!("the node must have a label {key}"));
            continue;
        };
        let count = |node: &NodeView<'_>| {
            let counted = |other: &&PodFacts| {
                other.key.namespace == pod.key.namespace
                    && !other.is_terminating()
                    && constraint.selector.matches(&other.labels)
            };
            in_domain(node, key).into_iter().filter(counted).count()
        };
        let here = count(node);
        let fewest = node.cluster().nodes().filter(|n| n.label(key).is_some()).map(|n| count(&n)).min();
        if here as i64 + 1 > constraint.max_skew + fewest.unwrap_or(0) as i64 {
            said.push(format!(
                "{key}={value} has {here} such pods and another {key} has {}; maxSkew is {}",
                fewest.unwrap_or(0),
                constraint.max_skew
            ));
        }
    }
    said.join("; ")
}

fn inter_pod(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let cluster = node.cluster();
    let meant =
        |term: &AffinityTerm, other: &PodFacts| term.matches(other, cluster.namespace(&other.key.namespace));
    let place = |key: &str| node.label(key).map(|value| format!("{key}={value}"));
    let mut said = Vec::new();
    for term in &pod.affinity {
        match place(&term.topology_key) {
            None => said.push(format!("the node must have a label {}", term.topology_key)),
            Some(at) if !in_domain(node, &term.topology_key).iter().any(|other| meant(term, other)) => {
                said.push(format!("a pod that the affinity means must run in {at}"));
            }
            Some(_) => {}
        }
    }
    for term in &pod.anti_affinity {
        for other in in_domain(node, &term.topology_key).into_iter().filter(|other| meant(term, other)) {
            let at = place(&term.topology_key).unwrap_or_default();
            said.push(format!("{} must leave {at}", other.key));
        }
    }
    for (other, there) in cluster.pods().filter(|(other, _)| !other.anti_affinity.is_empty()) {
        for term in other.anti_affinity.iter().filter(|term| meant(term, pod)) {
            let key = &term.topology_key;
            if cluster.view(there).label(key).is_some_and(|value| node.label(key) == Some(value)) {
                said.push(format!("{} must leave {}", other.key, place(key).unwrap_or_default()));
            }
        }
    }
    said.sort_unstable();
    said.dedup();
    said.join("; ")
}

fn volumes(pod: &PodFacts, node: &NodeView<'_>) -> String {
    let mut said = Vec::new();
    for claim in &pod.claims {
        let key = orlop_core::Key { namespace: pod.key.namespace.clone(), name: claim.name.clone() };
        let Some(facts) = node.cluster().claim(&key) else {
            said.push(format!("claim {} must be created", claim.name));
            continue;
        };
        if facts.bound {
            match node.cluster().volume(&facts.volume) {
                Some(volume) if !volume.reaches(&node.facts().labels) => {
                    said.push(format!("volume {} of claim {} is elsewhere", volume.name, claim.name));
                }
                Some(_) => {}
                None => said.push(format!("volume {} of claim {} must exist", facts.volume, claim.name)),
            }
        } else {
            said.push(format!("claim {} needs a volume that this node reaches", claim.name));
        }
    }
    said.join("; ")
}
