//! Services, endpoints and policies.

use serde_json::{Value, json};

use super::tree::{Object, absent, at, each, is_empty, is_zero, made, text, within, zero};

pub(super) fn service(object: &mut Object) {
    let mut balancer = false;
    within(object, "spec", |spec| {
        zero(spec, "sessionAffinity", "None");
        match text(spec, "sessionAffinity") {
            "None" => {
                spec.shift_remove("sessionAffinityConfig");
            }
            "ClientIP" => {
                if let Some(client) = made(spec, "sessionAffinityConfig").and_then(|c| made(c, "clientIP")) {
                    absent(client, "timeoutSeconds", 10_800);
                }
            }
            _ => {}
        }
        zero(spec, "type", "ClusterIP");
        each(spec, "ports", |port| {
            zero(port, "protocol", "TCP");
            if is_zero(port.get("targetPort")) {
                let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
                port.insert("targetPort".into(), number);
            }
        });
        let kind = text(spec, "type");
        balancer = kind == "LoadBalancer";
        let internal = matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer");
        let outside = balancer || kind == "NodePort" || kind == "ClusterIP" && !is_empty(spec, "externalIPs");
        if outside {
            zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if internal {
            absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if balancer {
            absent(spec, "allocateLoadBalancerNodePorts", true);
        }
    });
    if balancer {
        at(object, "status", |status| {
            at(status, "loadBalancer", |status| {
                each(status, "ingress", |ingress| {
                    if !text(ingress, "ip").is_empty() {
                        absent(ingress, "ipMode", "VIP");
                    }
                });
            });
        });
    }
}

pub(super) fn endpoints(object: &mut Object) {
    each(object, "subsets", |subset| each(subset, "ports", |port| zero(port, "protocol", "TCP")));
}

pub(super) fn endpoint_slice(object: &mut Object) {
    each(object, "ports", |port| {
        absent(port, "name", "");
        absent(port, "protocol", "TCP");
    });
}

pub(super) fn network_policy(object: &mut Object) {
    at(object, "spec", |spec| {
        for direction in ["ingress", "egress"] {
            each(spec, direction, |rule| each(rule, "ports", |port| absent(port, "protocol", "TCP")));
        }
        if is_empty(spec, "policyTypes") {
            let types =
                if is_empty(spec, "egress") { json!(["Ingress"]) } else { json!(["Ingress", "Egress"]) };
            spec.insert("policyTypes".into(), types);
        }
    });
}

pub(super) fn ingress_class(object: &mut Object) {
    at(object, "spec", |spec| {
        at(spec, "parameters", |parameters| {
            if parameters.values().any(|v| !matches!(v, Value::Null)) || parameters.is_empty() {
                absent(parameters, "scope", "Cluster");
            }
        });
    });
}
