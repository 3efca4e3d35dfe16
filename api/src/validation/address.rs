//! Addresses and where they come from; endpoints; events.

use std::net::IpAddr;

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use serde_json::Value;

use super::common::{self, PROTOCOLS, cidr, ip, named, one_of, path_segment, port};
use super::config::fixed;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");

/// An address is the name of its object, in the form in which it is usually written.
pub(super) fn address_name(name: &str) -> Vec<String> {
    let mut e = Errors::default();
    common::canonical_ip(&mut e, Path::root(""), name);
    e.0.into_iter().map(|error| error.detail).collect()
}

pub(super) fn ip_address(e: &mut Errors, object: &Value) {
    let parent = &object["spec"]["parentRef"];
    let at = SPEC.field("parentRef");
    if parent.is_null() {
        return e.required(at, "");
    }
    let group = parent.text("group");
    if !group.is_empty() {
        e.rule(at.field("group"), group, dns_subdomain(group));
    }
    for field in ["resource", "name"] {
        named(e, &at, parent, field, path_segment);
    }
    let namespace = parent.text("namespace");
    if !namespace.is_empty() {
        e.rule(at.field("namespace"), namespace, path_segment(namespace));
    }
}

pub(super) fn ip_address_change(e: &mut Errors, old: &Value, new: &Value) {
    fixed(e, SPEC.field("parentRef"), &old["spec"]["parentRef"], &new["spec"]["parentRef"]);
}

pub(super) fn service_cidr(e: &mut Errors, object: &Value) {
    let list = SPEC.field("cidrs");
    let cidrs = object["spec"].list("cidrs");
    if cidrs.is_empty() {
        return e.required(list, "at least one CIDR required");
    }
    if cidrs.len() > 2 {
        return e.invalid(list, &object["spec"], "may only hold up to 2 values");
    }
    for (i, text) in cidrs.iter().filter_map(Value::as_str).enumerate() {
        let before = e.0.len();
        cidr(e, list.index(i), text);
        if e.0.len() > before {
            continue;
        }
        let canonical = text.parse::<ipnet::IpNet>().map(|net| net.to_string()).unwrap_or_default();
        if canonical != text {
            e.invalid_text(list.index(i), text, &format!("must be in canonical form (\"{canonical}\")"));
        }
    }
    let six: Vec<bool> = cidrs.iter().filter_map(Value::as_str).map(|text| text.contains(':')).collect();
    if six.len() == 2 && six[0] == six[1] {
        let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        e.invalid(list, &object["spec"]["cidrs"], text);
    }
}

/// Ranges stay; a second one may be added.
pub(super) fn service_cidr_change(e: &mut Errors, old: &Value, new: &Value) {
    let list = SPEC.field("cidrs");
    let (before, after) = (old["spec"].list("cidrs"), new["spec"].list("cidrs"));
    if after.len() < before.len() || before.len() == 2 && before != after {
        return fixed(e, list, &old["spec"]["cidrs"], &new["spec"]["cidrs"]);
    }
    for (i, (a, b)) in before.iter().zip(after).enumerate() {
        if a != b {
            e.invalid(list.index(i), b, common::IMMUTABLE);
        }
    }
}

pub(super) fn endpoints(e: &mut Errors, object: &Value) {
    let list = Path::root("subsets");
    for (i, subset) in object.list("subsets").iter().enumerate() {
        let at = list.index(i);
        if subset.is_empty("addresses") && subset.is_empty("notReadyAddresses") {
            e.required(at, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            let list = at.field(field);
            for (i, address) in subset.list(field).iter().enumerate() {
                let at = list.index(i);
                endpoint_ip(e, at.field("ip"), address.text("ip"));
                common::named_if_set(e, &at, address, "hostname", dns_label);
                if let Some(node) = address["nodeName"].as_str() {
                    e.rule(at.field("nodeName"), node, dns_subdomain(node));
                }
            }
        }
        let list = at.field("ports");
        let ports = subset.list("ports");
        for (i, entry) in ports.iter().enumerate() {
            let at = list.index(i);
            match entry.text("name") {
                "" if ports.len() > 1 => e.required(at.field("name"), ""),
                "" => {}
                name => e.rule(at.field("name"), name, dns_label(name)),
            }
            port(e, at.field("port"), &entry.int("port").into());
            one_of(e, &at, entry, "protocol", &PROTOCOLS);
            if let Some(protocol) = entry["appProtocol"].as_str() {
                e.rule(at.field("appProtocol"), protocol, label_key(protocol));
            }
        }
    }
}

fn endpoint_ip(e: &mut Errors, at: Path<'_>, text: &str) {
    let before = e.0.len();
    ip(e, at, text);
    if e.0.len() == before {
        special_address(e, at, text);
    }
}

/// Traffic to these would not leave the node, or reach many.
pub(super) fn special_address(e: &mut Errors, at: Path<'_>, text: &str) {
    let Ok(ip) = text.parse::<IpAddr>() else { return };
    if ip.is_unspecified() {
        e.invalid_text(at, text, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        e.invalid_text(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        e.invalid_text(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if local_multicast {
        let range = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        e.invalid_text(at, text, range);
    }
}

/// An event, as the older API asks for it.
pub(super) fn event(e: &mut Errors, object: &Value) {
    let (namespace, about) =
        (object["metadata"].text("namespace"), object["involvedObject"].text("namespace"));
    let agrees = if about.is_empty() { matches!(namespace, "" | "default") } else { namespace == about };
    if !agrees {
        let at = Path::root("involvedObject");
        e.invalid_text(at.field("namespace"), about, "does not match event.namespace");
    }
}

fn series(e: &mut Errors, series: &Value) {
    if series.is_null() {
        return;
    }
    let at = Path::root("series");
    if series.int("count") < 2 {
        e.invalid_text(at.field("count"), "", "should be at least 2");
    }
    if !series.has("lastObservedTime") {
        e.required(at.field("lastObservedTime"), "");
    }
}

/// A change of an event, as the newer API asks for it: but for its series, it is what happened.
pub(super) fn event_change(e: &mut Errors, old: &Value, new: &Value) {
    if old["series"] != new["series"] {
        series(e, &new["series"]);
    }
    for (field, shown) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        super::config::fixed(e, Path::root(shown), &old[field], &new[field]);
    }
}

/// An event, as the newer API asks for it.
pub(super) fn new_event(e: &mut Errors, object: &Value) {
    const LONG: &str = "can have at most 128 characters";
    let at = |field| Path::root(field);
    series(e, &object["series"]);
    if !object.has("eventTime") {
        e.required(at("eventTime"), "");
    }
    let kind = object.text("type");
    if !["Normal", "Warning"].contains(&kind) {
        e.invalid_text(at("type"), "", &format!("has invalid value: {kind}"));
    }
    let controller = object.text("reportingComponent");
    if controller.is_empty() {
        e.required(at("reportingController"), "");
    }
    e.rule(at("reportingController"), controller, label_key(controller));
    for field in ["reportingInstance", "action", "reason"] {
        match object.text(field) {
            "" => e.required(at(field), ""),
            text if text.len() > 128 => e.invalid_text(at(field), "", LONG),
            _ => {}
        }
    }
    if object.text("message").len() > 1024 {
        e.invalid_text(at("message"), "", "can have at most 1024 characters");
    }
}
