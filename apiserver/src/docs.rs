//! What the server says about itself: discovery, OpenAPI, version.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use orlop_api::render::{Encoding, to_protobuf, to_yaml};
use orlop_api::{Status, discovery, openapi};
use orlop_core::Name;
use orlop_core::scheme::Scheme;
use parking_lot::Mutex;
use serde_json::Value;

use crate::body::{Answer, answer};
use crate::negotiate;
use crate::query::Query;

/// The media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api`, `/apis` and what lies below.
///
/// # Errors
/// 406 where the client takes none of the forms that there are.
pub(crate) fn discovery(
    scheme: &Scheme,
    server: &str,
    parts: &[Name],
    headers: &HeaderMap,
) -> Result<Answer, Status> {
    let parts: Vec<&str> = parts.iter().map(Name::as_str).collect();
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let aggregated = accept.split(',').any(|range| {
        let range = range.replace(' ', "");
        range.starts_with("application/json")
            && range.contains("as=APIGroupDiscoveryList")
            && range.contains("v=v2")
            && !range.contains("v=v2beta1")
    });
    let document = match (parts.as_slice(), aggregated) {
        (["api"], true) => return Ok(varied(AGGREGATED, &discovery::aggregated_api(scheme), headers)),
        (["apis"], true) => return Ok(varied(AGGREGATED, &discovery::aggregated_apis(scheme), headers)),
        (["api"], false) => Some(discovery::api_versions(server)),
        (["apis"], false) => Some(discovery::api_groups(scheme)),
        (["api", version], _) => discovery::resources(scheme, "", version),
        (["apis", group], _) => discovery::api_group(scheme, group),
        (["apis", group, version], _) => discovery::resources(scheme, group, version),
        _ => None,
    };
    let Some(document) = document else { return Ok(not_found()) };
    let encoding = negotiate::document(headers)?;
    Ok(match encoding {
        Encoding::Json => varied(JSON, &document, headers),
        Encoding::Yaml => answer(200, negotiate::content_type(encoding), to_yaml(&document)),
        Encoding::Protobuf => {
            let body = to_protobuf(&document).map_err(|e| Status::internal(&e.to_string()))?;
            answer(200, negotiate::content_type(encoding), body)
        }
    })
}

/// What is said of paths that lead nowhere.
pub(crate) fn not_found() -> Answer {
    answer(404, "text/plain; charset=utf-8", "404 page not found\n")
}

fn varied(media: &'static str, document: &Value, headers: &HeaderMap) -> Answer {
    let mut answer = tagged(media, document.to_string().into(), headers);
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

const JSON: &str = "application/json";

/// `/version`.
///
/// # Errors
/// 406 where the client does not take JSON.
pub(crate) fn version(headers: &HeaderMap) -> Result<Answer, Status> {
    negotiate::offered(headers, &[JSON])?;
    let document = serde_json::json!({
        "major": "1",
        "minor": "36",
        "gitVersion": concat!("v1.36.2+orlop.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": concat!("linux/", "amd64"),
    });
    Ok(answer(200, JSON, document.to_string()))
}

/// `/`: the paths that there are.
pub(crate) fn paths(scheme: &Scheme) -> Answer {
    let mut paths: Vec<String> = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
        "/api",
        "/apis",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, versions) in scheme.groups() {
        if group.is_empty() {
            paths.extend(versions.iter().map(|version| format!("/api/{version}")));
        } else {
            paths.push(format!("/apis/{group}"));
            paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
        }
    }
    paths.sort();
    answer(200, JSON, serde_json::json!({"paths": paths}).to_string())
}

/// OpenAPI documents, made when they are first asked for.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Documents>);

#[derive(Default)]
struct Documents {
    /// For which kinds they were made.
    scheme: u64,
    by_path: BTreeMap<String, Bytes>,
}

impl Cache {
    /// `/openapi/v2`, `/openapi/v3`, `/openapi/v3/apis/apps/v1`.
    pub(crate) fn openapi(
        &self,
        scheme: &Arc<Scheme>,
        path: &str,
        _query: &Query,
        headers: &HeaderMap,
    ) -> Answer {
        let mut documents = self.0.lock();
        let generation = openapi::generation(scheme);
        if documents.scheme != generation {
            *documents = Documents { scheme: generation, by_path: BTreeMap::new() };
        }
        // kubectl reads version 2 as protobuf alone.
        let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if path.trim_end_matches('/') == "/openapi/v2" && accept.contains(openapi::V2_PROTOBUF_ACCEPT) {
            let made = documents
                .by_path
                .entry(openapi::V2_PROTOBUF.to_owned())
                .or_insert_with(|| openapi::v2_protobuf(scheme).into());
            return tagged(openapi::V2_PROTOBUF, made.clone(), headers);
        }
        let place = path.trim_end_matches('/');
        if place == "/openapi/v2" && !takes_json(accept) {
            return bare(406);
        }
        // The original leaves the media type of its index to be guessed.
        let media = if place == "/openapi/v3" { "text/plain; charset=utf-8" } else { JSON };
        if let Some(bytes) = documents.by_path.get(path) {
            return tagged(media, bytes.clone(), headers);
        }
        let document = match place.strip_prefix("/openapi/") {
            Some("v2") => Some(openapi::v2(scheme)),
            Some("v3") => Some(openapi::v3_index(scheme)),
            Some(rest) => {
                rest.strip_prefix("v3/").and_then(|group_version| openapi::v3(scheme, group_version))
            }
            None => None,
        };
        match document {
            Some(document) => {
                let bytes = Bytes::from(document.to_string());
                documents.by_path.insert(path.to_owned(), bytes.clone());
                tagged(media, bytes, headers)
            }
            None => bare(404),
        }
    }
}

fn takes_json(accept: &str) -> bool {
    let takes = |range: &str| {
        matches!(range.split(';').next().unwrap_or_default().trim(), "*/*" | "application/*" | JSON)
    };
    accept.is_empty() || accept.split(',').any(takes)
}

/// An answer of nothing but its status.
fn bare(code: u16) -> Answer {
    let mut answer = answer(code, JSON, Bytes::new());
    answer.headers_mut().remove(http::header::CONTENT_TYPE);
    answer
}

/// An answer that a client need not fetch again while it is the same.
fn tagged(media: &'static str, body: Bytes, headers: &HeaderMap) -> Answer {
    let tag = format!("\"{}\"", openapi::hash(&body));
    let known =
        headers.get_all(IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).any(|v| v.contains(&tag));
    let mut answer = if known { answer(304, media, Bytes::new()) } else { answer(200, media, body) };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(ETAG, value);
    }
    answer
}
