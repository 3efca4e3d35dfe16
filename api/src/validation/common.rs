//! Rules that many kinds share.

use std::net::IpAddr;

use orlop_core::rules::{Quantity, names};
use serde_json::Value;

use super::error::Errors;
use super::path::{Path, Read};

pub(super) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(super) const IMMUTABLE: &str = "field is immutable";
const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The field, where it is set, is not negative.
pub(super) fn not_negative(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str) {
    if object.int(field) < 0 {
        e.invalid(at.field(field), &object[field], NOT_NEGATIVE);
    }
}

/// The field is one of these; where it is empty it is missing.
pub(super) fn one_of(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
    match object.text(field) {
        "" => e.required(at.field(field), ""),
        value if values.contains(&value) => {}
        _ => e.unsupported(at.field(field), &object[field], values),
    }
}

/// The field, where it is set, is one of these.
pub(super) fn one_of_if_set(e: &mut Errors, at: &Path<'_>, object: &Value, field: &str, values: &[&str]) {
    if object.has(field) && !values.contains(&object.text(field)) {
        e.unsupported(at.field(field), &object[field], values);
    }
}

/// The field is there and passes the rule.
pub(super) fn named(
    e: &mut Errors,
    at: &Path<'_>,
    object: &Value,
    field: &str,
    rule: fn(&str) -> Vec<String>,
) {
    match object.text(field) {
        "" => e.required(at.field(field), ""),
        name => e.rule(at.field(field), name, rule(name)),
    }
}

/// The field passes the rule, where it is set.
pub(super) fn named_if_set(
    e: &mut Errors,
    at: &Path<'_>,
    object: &Value,
    field: &str,
    rule: fn(&str) -> Vec<String>,
) {
    let name = object.text(field);
    if !name.is_empty() {
        e.rule(at.field(field), name, rule(name));
    }
}

pub(super) fn immutable(e: &mut Errors, at: Path<'_>, old: &Value, new: &Value) {
    if old != new {
        e.invalid(at, new, IMMUTABLE);
    }
}

/// The name of something as a part of a path.
pub(super) fn path_segment(name: &str) -> Vec<String> {
    match name {
        "." | ".." => return vec![format!("may not be '{name}'")],
        _ => {}
    }
    ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

pub(super) fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 15 {
        errors.push("must be no more than 15 characters".to_owned());
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

pub(super) fn port(e: &mut Errors, at: Path<'_>, value: &Value) {
    if !(1..=65_535).contains(&value.as_i64().unwrap_or_default()) {
        e.invalid(at, value, PORT_RANGE);
    }
}

/// A port by number, or by name.
pub(super) fn port_or_name(e: &mut Errors, at: Path<'_>, value: &Value) {
    match value.as_str() {
        Some(name) => e.rule(at, name, port_name(name)),
        None if value.is_null() => e.invalid(at, &Value::from(0), PORT_RANGE),
        None => port(e, at, value),
    }
}

/// A key of a ConfigMap or Secret.
pub(super) fn config_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > 253 {
        errors.push("must be no more than 253 characters".to_owned());
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        errors.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match key {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

pub(super) fn env_name(name: &str) -> Vec<String> {
    match !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        true => Vec::new(),
        false => vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        ],
    }
}

/// What is wrong with an address in new objects: leading zeros, IPv4 written as IPv6, no canonical form.
pub(super) fn ip_problem(text: &str) -> Option<String> {
    let lenient = lenient_ip(text);
    let Some((ip, zeros)) = lenient else { return Some(BAD_IP.to_owned()) };
    if zeros {
        return Some("must not have leading 0s".to_owned());
    }
    if let IpAddr::V6(six) = ip
        && six.to_ipv4_mapped().is_some()
    {
        return Some("must not be an IPv4-mapped IPv6 address".to_owned());
    }
    None
}

/// An address as Kubernetes once read it, and whether its parts have leading zeros.
fn lenient_ip(text: &str) -> Option<(IpAddr, bool)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, false));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| {
        let digits = !part.is_empty() && part.len() <= 15 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<u8>().ok()).flatten()
    };
    let numbers: Vec<u8> = parts.iter().filter_map(number).collect();
    let four: [u8; 4] = (parts.len() == 4).then(|| numbers.try_into().ok()).flatten()?;
    Some((IpAddr::from(four), true))
}

pub(super) fn ip(e: &mut Errors, at: Path<'_>, text: &str) {
    if let Some(why) = ip_problem(text) {
        e.invalid_text(at, text, &why);
    }
}

/// An address that must be written as it is usually written.
pub(super) fn canonical_ip(e: &mut Errors, at: Path<'_>, text: &str) {
    match ip_problem(text) {
        Some(why) => e.invalid_text(at, text, &why),
        None => {
            let canonical = text.parse::<IpAddr>().map(|ip| ip.to_string()).unwrap_or_default();
            if canonical != text {
                e.invalid_text(at, text, &format!("must be in canonical form (\"{canonical}\")"));
            }
        }
    }
}

/// An address that objects had before the rules became stricter.
pub(super) fn lenient(e: &mut Errors, at: Path<'_>, text: &str) {
    if lenient_ip(text).is_none() {
        e.invalid_text(at, text, BAD_IP);
    }
}

pub(super) fn cidr(e: &mut Errors, at: Path<'_>, text: &str) {
    let Some((address, length)) = text.split_once('/') else {
        return e.invalid_text(at, text, BAD_CIDR);
    };
    let length = length.parse::<u8>().ok().filter(|_| !length.starts_with('+'));
    let (Some((ip, zeros)), Some(length)) = (lenient_ip(address), length) else {
        return e.invalid_text(at, text, BAD_CIDR);
    };
    let Ok(net) = ipnet::IpNet::new(ip, length) else {
        return e.invalid_text(at, text, BAD_CIDR);
    };
    if zeros {
        return e.invalid_text(at, text, "must not have leading 0s");
    }
    if let IpAddr::V6(six) = ip
        && six.to_ipv4_mapped().is_some()
    {
        return e.invalid_text(at, text, "must not have an IPv4-mapped IPv6 address");
    }
    if net.trunc() != net {
        e.invalid_text(at, text, "must not have bits set beyond the prefix length");
    }
}

/// A count or a percentage.
pub(super) fn count_or_percent(e: &mut Errors, at: Path<'_>, value: &Value) {
    match value {
        Value::String(text) if percent(text).is_some() => {}
        Value::String(text) => e.invalid_text(
            at,
            text,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
             regex used for validation is '[0-9]+%')",
        ),
        _ if value.as_i64().unwrap_or_default() < 0 => e.invalid(at, value, NOT_NEGATIVE),
        _ => {}
    }
}

pub(super) fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if whole { Some(digits.parse().unwrap_or(i64::MAX)) } else { None }
}

/// The number of a count or percentage; 0 where it is neither.
pub(super) fn amount(value: &Value) -> i64 {
    let of_text = |text: &str| percent(text).or_else(|| text.parse().ok()).unwrap_or(0);
    value.as_str().map_or_else(|| value.as_i64().unwrap_or_default(), of_text)
}

pub(super) fn at_most_100_percent(e: &mut Errors, at: Path<'_>, value: &Value) {
    if value.as_str().and_then(percent).is_some_and(|n| n > 100) {
        e.invalid(at, value, "must not be greater than 100%");
    }
}

pub(super) fn labels(e: &mut Errors, at: Path<'_>, labels: &Value) {
    let Some(labels) = labels.as_object() else { return };
    for (key, value) in labels {
        let value = value.as_str().unwrap_or_default();
        e.rule(at, key, names::label_key(key));
        e.rule(at, value, names::label_value(value));
    }
}

pub(super) fn label_selector(e: &mut Errors, at: Path<'_>, selector: &Value) {
    labels(e, at.field("matchLabels"), &selector["matchLabels"]);
    let list = at.field("matchExpressions");
    for (i, requirement) in selector.list("matchExpressions").iter().enumerate() {
        let at = list.index(i);
        let values = requirement.list("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                e.required(at.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => e.forbidden(
                at.field("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => e.invalid_text(at.field("operator"), operator, "not a valid selector operator"),
        }
        let key = requirement.text("key");
        e.rule(at.field("key"), key, names::label_key(key));
        for (i, value) in values.iter().filter_map(Value::as_str).enumerate() {
            e.rule(at.field("values").index(i), value, names::label_value(value));
        }
    }
}

/// What a label selector comes to.
pub(super) enum Chosen {
    /// It cannot be read.
    Invalid,
    /// It chooses these labels.
    Yes,
    /// It does not choose them.
    No,
}

/// Whether a label selector chooses the labels; an absent selector chooses nothing.
pub(super) fn selects(selector: &Value, labels: &Value) -> Chosen {
    if selector.is_null() {
        return Chosen::No;
    }
    let mut scratch = Errors::default();
    label_selector(&mut scratch, Path::root(""), selector);
    if !scratch.0.is_empty() {
        return Chosen::Invalid;
    }
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let mut all = selector.entries("matchLabels").iter().all(|(key, value)| label(key) == value.as_str());
    for requirement in selector.list("matchExpressions") {
        let found = label(requirement.text("key"));
        let among = || requirement.list("values").iter().any(|v| v.as_str() == found);
        all &= match requirement.text("operator") {
            "In" => found.is_some() && among(),
            "NotIn" => found.is_none() || !among(),
            "Exists" => found.is_some(),
            _ => found.is_none(),
        };
    }
    if all { Chosen::Yes } else { Chosen::No }
}

pub(super) fn selector_is_empty(selector: &Value) -> bool {
    selector.is_empty("matchLabels") && selector.is_empty("matchExpressions")
}

/// Whether a resource without a domain is one that Kubernetes knows.
pub(super) fn standard_resource(name: &str) -> bool {
    const KNOWN: [&str; 19] = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
    ];
    KNOWN.contains(&name)
        || name == "services.loadbalancers"
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
