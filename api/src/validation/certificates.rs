//! Certificate signing requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_core::rules::names::{dns_label, dns_subdomain};
use serde_json::Value;

use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// A domain and a path: `example.com/signer-name`.
pub(super) fn signer_name(e: &mut Errors, at: Path<'_>, name: &str) {
    if name.is_empty() {
        return e.required(at, "");
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, path] = parts.as_slice() else {
        let text = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return e.invalid_text(at, name, text);
    };
    if domain.len() > 253 {
        e.too_long(at, 253);
    }
    let labels: Vec<&str> = domain.split('.').collect();
    for label in &labels {
        let complaints = dns_label(label);
        if !complaints.is_empty() {
            for why in complaints {
                e.invalid_text(at, domain, &format!("validating label \"{label}\": {why}"));
            }
            return;
        }
    }
    if labels.len() < 2 {
        let text = "should be a domain with at least two segments separated by dots";
        return e.invalid_text(at, domain, text);
    }
    for label in path.split('.') {
        let complaints = dns_subdomain(label);
        if !complaints.is_empty() {
            for why in complaints {
                e.invalid_text(at, path, &format!("validating label \"{label}\": {why}"));
            }
            return;
        }
    }
    if name.len() > 571 {
        e.too_long(at, 571);
    }
}

pub(super) fn request(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if let Some(why) = unreadable(spec.text("request")) {
        e.invalid(SPEC.field("request"), &spec["request"], why);
    }
    let list = SPEC.field("usages");
    let usages = spec.list("usages");
    if usages.is_empty() {
        e.required(list, "");
    }
    for (i, usage) in usages.iter().enumerate() {
        if !USAGES.contains(&usage.as_str().unwrap_or_default()) {
            e.unsupported(list.index(i), usage, &USAGES);
        }
    }
    for (i, usage) in usages.iter().enumerate() {
        if usages[..i].contains(usage) {
            e.duplicate(list.index(i), usage);
        }
    }
    match spec.text("signerName") {
        "kubernetes.io/legacy-unknown" => e.invalid_text(
            SPEC.field("signerName"),
            "kubernetes.io/legacy-unknown",
            "the legacy signerName is not allowed via this API version",
        ),
        name => signer_name(e, SPEC.field("signerName"), name),
    }
    if spec["expirationSeconds"].as_i64().is_some_and(|s| s < 600) {
        let text = "may not specify a duration less than 600 seconds (10 minutes)";
        e.invalid(SPEC.field("expirationSeconds"), &spec["expirationSeconds"], text);
    }
    conditions(e, object);
    certificate(e, object);
}

/// What was issued: nothing but certificates in PEM.
pub(super) fn certificate(e: &mut Errors, object: &Value) {
    let issued = object["status"].text("certificate");
    if issued.is_empty() {
        return;
    }
    let bytes = STANDARD.decode(issued).unwrap_or_default();
    if let Err(why) = certificates_in(&String::from_utf8_lossy(&bytes)) {
        e.invalid_text(Path::root("status").field("certificate"), "<certificate data>", &why);
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    object["status"].list("conditions").iter().filter(|c| c.text("type") == kind).collect()
}

/// What was decided stays decided.
pub(super) fn decided(e: &mut Errors, old: &Value, new: &Value) {
    let at = Path::root("status");
    for kind in ["Approved", "Denied", "Failed"] {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            let text = format!("updates may not remove a condition of type {kind:?}");
            e.forbidden(at.field("conditions"), &text);
        }
    }
}

/// Whoever signs neither approves nor denies, and signs once.
pub(super) fn undecided(e: &mut Errors, old: &Value, new: &Value) {
    let at = Path::root("status");
    for kind in ["Approved", "Denied"] {
        let (before, after) = (of_type(old, kind), of_type(new, kind));
        let what = match after.len().cmp(&before.len()) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Greater => "add",
            std::cmp::Ordering::Equal if after != before => "modify",
            std::cmp::Ordering::Equal => continue,
        };
        e.forbidden(at.field("conditions"), &format!("updates may not {what} a condition of type {kind:?}"));
    }
    let certificate = |object: &Value| object["status"].text("certificate").to_owned();
    if !certificate(old).is_empty() && certificate(new) != certificate(old) {
        e.forbidden(at.field("certificate"), "updates may not modify existing certificate content");
    }
}

/// Whether a text has blocks of PEM, and none but certificates (RFC 7468).
fn certificates_in(pem: &str) -> Result<(), String> {
    let mut found = false;
    let mut rest = pem;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((kind, after)) = after.split_once("-----") else { break };
        let Some((inside, after)) = after.split_once(&format!("-----END {kind}-----")) else { break };
        rest = after;
        // A block that is no base64 is none at all; headers stand before an empty line.
        let (headers, body) = match inside.split_once("\n\n") {
            Some((headers, body)) if headers.contains(':') => (true, body),
            _ => (false, inside),
        };
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let Ok(der) = STANDARD.decode(body) else { continue };
        if kind != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {kind:?}"));
        }
        if headers {
            return Err("no PEM block headers are permitted".into());
        }
        if der.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".into());
        }
        // What an X.509 certificate begins with (a sequence of a sequence).
        let sequence = |der: &[u8]| der.first() == Some(&0x30);
        let inner = match der.get(1) {
            Some(short) if *short < 0x80 => der.get(2..),
            Some(long) => der.get(2 + usize::from(*long & 0x7f)..),
            None => None,
        };
        if !sequence(&der) || !inner.is_some_and(sequence) {
            return Err("x509: malformed certificate".into());
        }
        found = true;
    }
    if found { Ok(()) } else { Err("must contain at least one CERTIFICATE PEM block".into()) }
}

/// Why the text is not a request in PEM, itself in base64.
fn unreadable(text: &str) -> Option<&'static str> {
    const NO_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let pem = String::from_utf8_lossy(&bytes);
    let Some((_, after)) = pem.split_once("-----BEGIN CERTIFICATE REQUEST-----") else { return Some(NO_PEM) };
    let Some((body, _)) = after.split_once("-----END CERTIFICATE REQUEST-----") else { return Some(NO_PEM) };
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    match STANDARD.decode(body) {
        Ok(der) if der.first() == Some(&0x30) => None,
        Ok(_) => Some("asn1: structure error: tags don't match"),
        Err(_) => Some(NO_PEM),
    }
}

/// What was decided about a request.
pub(super) fn conditions(e: &mut Errors, object: &Value) {
    let at = Path::root("status");
    let list = at.field("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in object["status"].list("conditions").iter().enumerate() {
        let at = list.index(i);
        let kind = condition.text("type");
        if kind.is_empty() {
            e.required(at.field("type"), "");
        }
        if seen.contains(&kind) {
            e.duplicate_text(at.field("type"), kind);
        }
        match (kind, condition.text("status")) {
            (_, "") => e.required(at.field("status"), ""),
            ("Approved" | "Denied" | "Failed", status) if status != "True" => {
                e.unsupported(at.field("status"), &status.into(), &["True"]);
            }
            (_, "True" | "False" | "Unknown") => {}
            (_, status) => {
                e.unsupported(at.field("status"), &status.into(), &["False", "True", "Unknown"]);
            }
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            let text = format!("{kind} and {other} conditions are mutually exclusive");
            e.invalid_text(at.field("type"), kind, &text);
        }
        seen.push(kind);
    }
}
