//! Devices that pods claim (dynamic resource allocation).

use std::collections::BTreeSet;

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key, label_value};
use serde_json::Value;

use crate::cel::{self, Env, ObjectType, Type};

use super::common::named;
use super::config::fixed;
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const LIST_MAX: usize = 32;

pub(super) fn claim(e: &mut Errors, object: &Value) {
    claim_spec(e, &SPEC, &object["spec"]);
}

pub(super) fn claim_template(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    super::pod::labelled(e, &SPEC.field("metadata"), &spec["metadata"]);
    claim_spec(e, &SPEC.field("spec"), &spec["spec"]);
}

pub(super) fn fixed_spec(e: &mut Errors, old: &Value, new: &Value) {
    fixed(e, SPEC, &old["spec"], &new["spec"]);
}

/// What a claim was given, and who uses it.
pub(super) fn claim_status(e: &mut Errors, old: &Value, new: &Value) {
    const USERS_MAX: usize = 256;
    let (before, status) = (&old["status"], &new["status"]);
    let at = Path::root("status");
    let (list, users) = (at.field("reservedFor"), status.list("reservedFor"));
    if users.len() > USERS_MAX {
        e.too_many(list, users.len(), USERS_MAX);
    }
    let mut uids = BTreeSet::new();
    for (i, user) in users.iter().enumerate() {
        let at = list.index(i);
        for field in ["resource", "name", "uid"] {
            if user.text(field).is_empty() {
                e.required(at.field(field), "");
            }
        }
        if !uids.insert(user.text("uid")) {
            e.duplicate_text(at.field("uid"), user.text("uid"));
        }
    }
    if !users.is_empty() && !status.has("allocation") {
        e.forbidden(list, "may not be specified when `allocated` is not set");
    } else if new["metadata"].has("deletionTimestamp")
        && users.iter().take(USERS_MAX).any(|user| !before.list("reservedFor").contains(user))
    {
        let text =
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        e.forbidden(list, text);
    }
    let allocation = at.field("allocation");
    if before.has("allocation") && status.has("allocation") {
        return fixed(e, allocation, &before["allocation"], &status["allocation"]);
    }
    let names: BTreeSet<String> = request_names(&new["spec"]["devices"]).into_iter().collect();
    let devices = allocation.field("devices");
    let list = devices.field("results");
    for (i, result) in status["allocation"]["devices"].list("results").iter().enumerate() {
        let request = result.text("request");
        if !names.contains(request) {
            e.invalid_text(list.index(i).field("request"), request, UNKNOWN_REQUEST);
        }
    }
}

/// The requests of a claim as others name them, the alternatives of each included.
fn request_names(devices: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for request in devices.list("requests") {
        let name = request.text("name");
        names.push(name.to_owned());
        names.extend(request.list("firstAvailable").iter().map(|sub| format!("{name}/{}", sub.text("name"))));
    }
    names
}

const UNKNOWN_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

fn claim_spec(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let (devices, at) = (&spec["devices"], at.field("devices"));
    let list = at.field("requests");
    let requests = devices.list("requests");
    if requests.len() > LIST_MAX {
        e.too_many(list, requests.len(), LIST_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, request) in requests.iter().enumerate() {
        self::request(e, &list.index(i), request);
        if !seen.insert(request.text("name")) {
            e.duplicate_text(list.index(i), request.text("name"));
        }
    }
    let names = request_names(devices);
    let list = at.field("constraints");
    for (i, constraint) in devices.list("constraints").iter().enumerate() {
        let at = list.index(i);
        references(e, &at.field("requests"), constraint, &names);
        match constraint["matchAttribute"].as_str() {
            Some(attribute) => fully_qualified(e, at.field("matchAttribute"), attribute),
            None if !constraint.has("distinctAttribute") => e.required(at.field("matchAttribute"), ""),
            None => {}
        }
    }
    let list = at.field("config");
    for (i, config) in devices.list("config").iter().enumerate() {
        let at = list.index(i);
        references(e, &at.field("requests"), config, &names);
        opaque(e, &at, config);
    }
}

fn references(e: &mut Errors, list: &Path<'_>, object: &Value, names: &[String]) {
    let references = object.list("requests");
    if references.len() > LIST_MAX {
        e.too_many(*list, references.len(), LIST_MAX);
    }
    for (i, reference) in references.iter().enumerate() {
        let text = reference.as_str().unwrap_or_default();
        if !names.iter().any(|name| name == text) {
            e.invalid_text(list.index(i), text, UNKNOWN_REQUEST);
        }
        if references[..i].contains(reference) {
            e.duplicate(list.index(i), reference);
        }
    }
}

fn request(e: &mut Errors, at: &Path<'_>, request: &Value) {
    named(e, at, request, "name", dns_label);
    let (exactly, first) = (request.has("exactly"), !request.is_empty("firstAvailable"));
    if first {
        let list = at.field("firstAvailable");
        let alternatives = request.list("firstAvailable");
        if alternatives.len() > 8 {
            e.too_many(list, alternatives.len(), 8);
        }
        for (i, sub) in alternatives.iter().enumerate() {
            let at = list.index(i);
            named(e, &at, sub, "name", dns_label);
            device_request(e, &at, sub);
            if alternatives[..i].iter().any(|other| other["name"] == sub["name"]) {
                e.duplicate_text(at, sub.text("name"));
            }
        }
    }
    if exactly {
        device_request(e, &at.field("exactly"), &request["exactly"]);
    }
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly, first) {
        (false, false) => e.required(*at, ONE),
        (true, true) => e.invalid(*at, &Value::Null, &format!("{ONE}, but multiple fields are set")),
        _ => {}
    }
}

fn device_request(e: &mut Errors, at: &Path<'_>, request: &Value) {
    named(e, at, request, "deviceClassName", dns_subdomain);
    selectors(e, &at.field("selectors"), request.list("selectors"));
    let (mode, count) = (request.text("allocationMode"), request.int("count"));
    match mode {
        "All" => {
            if count != 0 {
                let text = "must not be specified when allocationMode is 'All'";
                e.invalid(at.field("count"), &count.into(), text);
            }
        }
        "ExactCount" => {
            if count <= 0 {
                e.invalid(at.field("count"), &count.into(), "must be greater than zero");
            }
        }
        _ => e.unsupported(at.field("allocationMode"), &mode.into(), &["All", "ExactCount"]),
    }
    let list = at.field("tolerations");
    for (i, toleration) in request.list("tolerations").iter().enumerate() {
        let at = list.index(i);
        let key = toleration.text("key");
        if !key.is_empty() {
            e.rule(at.field("key"), key, label_key(key));
        }
        match toleration.text("operator") {
            "Exists" => {
                if !toleration.text("value").is_empty() {
                    let text = "must be empty for operator `Exists`";
                    e.invalid_text(at.field("value"), toleration.text("value"), text);
                }
            }
            "Equal" => {
                let value = toleration.text("value");
                e.rule(at.field("value"), value, label_value(value));
            }
            "" => e.required(at.field("operator"), ""),
            operator => e.unsupported(at.field("operator"), &operator.into(), &["Equal", "Exists"]),
        }
        match toleration.text("effect") {
            "" => {}
            effect if EFFECTS.contains(&effect) => {}
            effect => e.unsupported(at.field("effect"), &effect.into(), &EFFECTS),
        }
    }
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

fn selectors(e: &mut Errors, list: &Path<'_>, selectors: &[Value]) {
    if selectors.len() > LIST_MAX {
        e.too_many(*list, selectors.len(), LIST_MAX);
    }
    for (i, selector) in selectors.iter().enumerate() {
        let at = list.index(i);
        if !selector.has("cel") {
            e.required(at.field("cel"), "");
            continue;
        }
        const MAX: usize = 10 * 1024;
        let (expression, at) = (selector["cel"].text("expression"), at.field("cel"));
        if expression.is_empty() {
            e.required(at.field("expression"), "");
        } else if expression.len() > MAX {
            e.too_long(at.field("expression"), MAX);
        } else if let Err(why) = compiles(expression) {
            e.invalid_text(at.field("expression"), expression, &why);
        }
    }
}

/// Whether an expression says of a device if it is wanted.
fn compiles(expression: &str) -> Result<(), String> {
    let program =
        cel::compile(expression, &device_env()).map_err(|why| format!("compilation failed: {why}"))?;
    match program.result_type() {
        Type::Bool | Type::Dyn => Ok(()),
        other => Err(format!("must evaluate to bool or the unknown type, not {other}")),
    }
}

/// What expressions about devices may name.
fn device_env() -> Env {
    let by_name = |ty: Type| Type::map(Type::String, Type::map(Type::String, ty));
    let fields = [
        ("driver", Type::String),
        ("attributes", by_name(Type::Dyn)),
        ("capacity", by_name(Type::Opaque("kubernetes.Quantity"))),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
    let device = ObjectType { name: "kubernetes.DRADevice".into(), fields };
    Env::default().with("device", Type::Object(std::sync::Arc::new(device)))
}

fn fully_qualified(e: &mut Errors, at: Path<'_>, name: &str) {
    match name {
        "" => e.required(at, "name required"),
        name if !name.contains('/') => {
            let text = "a fully qualified name must be a domain and a name separated by a slash";
            e.invalid_text(at, name, text);
        }
        name => qualified(e, at, name),
    }
}

/// An attribute's name: an identifier, perhaps behind a driver's domain.
fn qualified(e: &mut Errors, at: Path<'_>, name: &str) {
    let identifier = |e: &mut Errors, text: &str| {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if text.len() > 32 {
            e.too_long(at, 32);
        }
        if !first || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let why = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                       alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                       validation is '[A-Za-z_][A-Za-z0-9_]*')";
            e.invalid_text(at, text, why);
        }
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [""] => e.required(at, "name required"),
        [name] => identifier(e, name),
        [domain, name] => {
            match *domain {
                "" => e.required(at, "the domain must not be empty"),
                domain => driver_text(e, at, domain),
            }
            match *name {
                "" => e.required(at, "the name must not be empty"),
                name => identifier(e, name),
            }
        }
        _ => e.invalid_text(at, name, "must consist of a domain and a name separated by a slash"),
    }
}

fn driver_text(e: &mut Errors, at: Path<'_>, name: &str) {
    if name.len() > 63 {
        e.too_long(at, 63);
    }
    e.rule(at, name, dns_subdomain(name));
}

fn driver(e: &mut Errors, at: &Path<'_>, object: &Value) {
    match object.text("driver") {
        "" => e.required(at.field("driver"), ""),
        name => driver_text(e, at.field("driver"), name),
    }
}

fn opaque(e: &mut Errors, at: &Path<'_>, config: &Value) {
    let (opaque, at) = (&config["opaque"], at.field("opaque"));
    if opaque.is_null() {
        return e.required(at, "");
    }
    driver(e, &at, opaque);
    match &opaque["parameters"] {
        Value::Null => e.required(at.field("parameters"), ""),
        Value::Object(_) => {}
        _ => e.invalid_text(at.field("parameters"), "<value omitted>", "must be a valid JSON object"),
    }
}

pub(super) fn class(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    selectors(e, &SPEC.field("selectors"), spec.list("selectors"));
    let list = SPEC.field("config");
    for (i, config) in spec.list("config").iter().enumerate() {
        opaque(e, &list.index(i), config);
    }
    if let Some(name) = spec["extendedResourceName"].as_str() {
        let extended = name.contains('/')
            && !name.contains("kubernetes.io/")
            && !name.starts_with("requests.")
            && label_key(&format!("requests.{name}")).is_empty();
        if !extended {
            let text = "must be a valid extended resource name";
            e.invalid_text(SPEC.field("extendedResourceName"), name, text);
        }
    }
}

pub(super) fn slice(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    driver(e, &SPEC, spec);
    let (pool, at) = (&spec["pool"], SPEC.field("pool"));
    match pool.text("name") {
        "" => e.required(at.field("name"), ""),
        name => {
            if name.len() > 253 {
                e.too_long(at.field("name"), 253);
            }
            for part in name.split('/') {
                e.rule(at.field("name"), part, dns_subdomain(part));
            }
        }
    }
    if pool.int("resourceSliceCount") <= 0 {
        let count = pool.int("resourceSliceCount").into();
        e.invalid(at.field("resourceSliceCount"), &count, "must be greater than zero");
    }
    if pool.int("generation") < 0 {
        let text = "must be greater than or equal to zero";
        e.invalid(at.field("generation"), &pool["generation"], text);
    }
    places(e, spec);
    let devices = SPEC.field("devices");
    let mut names: Vec<&str> = Vec::new();
    let count = spec.list("devices").len();
    if count > 128 {
        e.too_many(devices, count, 128);
    }
    for (i, device) in spec.list("devices").iter().enumerate() {
        let at = devices.index(i);
        self::device(e, &at, device);
        let name = device.text("name");
        if names.contains(&name) {
            e.duplicate_text(at, name);
        }
        names.push(name);
    }
}

/// Where the devices of a slice can be used.
fn places(e: &mut Errors, spec: &Value) {
    const ALL: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let set: Vec<String> = ALL
        .iter()
        .filter(|field| match **field {
            "nodeName" => spec["nodeName"].as_str().is_some_and(|name| !name.is_empty()),
            "nodeSelector" => spec.has("nodeSelector"),
            flag => spec.is_true(flag),
        })
        .map(|field| format!("`{field}`"))
        .collect();
    if let Some(name) = spec["nodeName"].as_str() {
        if name.is_empty() {
            e.invalid_text(SPEC.field("nodeName"), name, "must be either unset or set to a non-empty string");
        } else {
            e.rule(SPEC.field("nodeName"), name, dns_subdomain(name));
        }
    }
    if spec.has("nodeSelector") {
        let (selector, at) = (&spec["nodeSelector"], SPEC.field("nodeSelector"));
        super::affinity::node_selector(e, &at, selector);
        if selector.list("nodeSelectorTerms").len() > 1 {
            let text = "must have exactly one node selector term";
            e.invalid(at.field("nodeSelectorTerms"), &selector["nodeSelectorTerms"], text);
        }
    }
    const ONE: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => e.required(SPEC, ONE),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            e.invalid_text(SPEC, &shown, &format!("{ONE}, but multiple fields are set"));
        }
    }
}

fn device(e: &mut Errors, at: &Path<'_>, device: &Value) {
    named(e, at, device, "name", dns_label);
    let map = at.field("attributes");
    const VALUES: [&str; 8] = ["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];
    for (key, attribute) in device.entries("attributes") {
        qualified(e, map, key);
        let at = map.key(key);
        match VALUES.iter().filter(|field| attribute.has(field)).count() {
            0 => e.invalid_text(at, "", "exactly one value must be specified"),
            1 => {}
            _ => e.invalid(at, attribute, "exactly one value must be specified"),
        }
        if let Some(text) = attribute["string"].as_str().filter(|text| text.len() > 64) {
            let _ = text;
            e.too_long(at.field("string"), 64);
        }
        if let Some(version) = attribute["version"].as_str() {
            if version.len() > 64 {
                e.too_long(at.field("version"), 64);
            } else if !is_semantic(version) {
                let text = "must be a string compatible with semver.org spec 2.0.0";
                e.invalid_text(at.field("version"), version, text);
            }
        }
    }
    let map = at.field("capacity");
    for (key, _) in device.entries("capacity") {
        qualified(e, map, key);
    }
    let list = at.field("taints");
    for (i, taint) in device.list("taints").iter().enumerate() {
        let at = list.index(i);
        let (key, value) = (taint.text("key"), taint.text("value"));
        e.rule(at.field("key"), key, label_key(key));
        if !value.is_empty() {
            e.rule(at.field("value"), value, label_value(value));
        }
        match taint.text("effect") {
            "" => e.required(at.field("effect"), ""),
            effect if EFFECTS.contains(&effect) => {}
            effect => e.unsupported(at.field("effect"), &effect.into(), &EFFECTS),
        }
    }
}

/// Whether a text is a version as semver.org means it.
fn is_semantic(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre_word = |part: &str| word(part) && (!part.bytes().all(|b| b.is_ascii_digit()) || number(part));
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(pre_word))
        && build.is_none_or(|build| build.split('.').all(word))
}

pub(super) fn slice_change(e: &mut Errors, old: &Value, new: &Value) {
    let (old, new) = (&old["spec"], &new["spec"]);
    for (path, a, b) in
        [("driver", &old["driver"], &new["driver"]), ("nodeName", &old["nodeName"], &new["nodeName"])]
    {
        fixed(e, SPEC.field(path), a, b);
    }
    let at = SPEC.field("pool");
    fixed(e, at.field("name"), &old["pool"]["name"], &new["pool"]["name"]);
}
