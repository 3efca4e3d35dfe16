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
