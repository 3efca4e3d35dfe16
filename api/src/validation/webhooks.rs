//! How a webhook is reached.

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::error::Errors;
use super::path::{Path, Read};

/// A client's configuration: an address, or a Service. `one`: what is said where it is neither or both.
pub(crate) fn webhook_client(e: &mut Errors, at: &Path<'_>, client: &Value, one: &str) {
    let (url, service) = (&client["url"], &client["service"]);
    match (url.as_str(), service.is_null()) {
        (Some(url), true) => webhook_url(e, at.field("url"), url),
        (None, false) => webhook_service(e, &at.field("service"), service),
        _ => e.required(*at, one),
    }
}

fn webhook_url(e: &mut Errors, at: Path<'_>, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if url.bytes().any(|b| b <= b' ' || b == 0x7f) {
        e.required(at, &format!("url must be a valid URL: parse {url:?}: invalid character in URL{FORM}"));
        return;
    }
    if scheme != "https" {
        e.invalid_text(at, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        e.invalid_text(at, host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        e.invalid_text(at, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        e.invalid_text(at, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        e.invalid_text(at, query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(e: &mut Errors, at: &Path<'_>, service: &Value) {
    if service.text("name").is_empty() {
        e.required(at.field("name"), "service name is required");
    }
    if service.text("namespace").is_empty() {
        e.required(at.field("namespace"), "service namespace is required");
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        e.invalid(at.field("port"), &port.into(), why);
    }
    let path = service.text("path");
    let at = at.field("path");
    if matches!(path, "" | "/") {
        return;
    }
    if path == "//" {
        e.invalid_text(at, path, "segment[0] may not be empty");
        return;
    }
    if !path.starts_with('/') {
        e.invalid_text(at, path, "must start with a '/'");
    }
    let steps = path.get(1..).unwrap_or_default();
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (i, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            e.invalid_text(at, path, &format!("segment[{i}] may not be empty"));
        } else {
            for why in dns_subdomain(step) {
                e.invalid_text(at, path, &format!("segment[{i}]: {why}"));
            }
        }
    }
}
