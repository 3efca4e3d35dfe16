//! What a client sends and what it takes.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use orlop_api::render::{Encoding, Form, Include, Want};
use orlop_api::{MediaType, Status};

use crate::query::Query;

/// What answers can be written as.
const OFFERED: [&str; 2] = ["application/json", "application/yaml"];

/// How the answer is to be written. The first media range that can be served decides.
///
/// # Errors
/// 406 where none can.
pub(crate) fn wanted(headers: &HeaderMap, query: &Query) -> Result<Want, Status> {
    let pretty = query.flag("pretty");
    let include = match query.get("includeObject") {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        _ => Include::Metadata,
    };
    let mut ranges =
        headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).peekable();
    if ranges.peek().is_none() {
        return Ok(Want { pretty, ..Want::default() });
    }
    ranges.find_map(|range| range_wants(range, include)).map(|want| Want { pretty, ..want }).ok_or_else(
        || {
            let known = [
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
                "application/cbor",
            ];
            Status::not_acceptable(&known)
        },
    )
}

fn range_wants(range: &str, include: Include) -> Option<Want> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    let encoding = match media.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let (mut form, mut version, mut group) = ("", "v1", "meta.k8s.io");
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim() {
            "as" => form = value,
            "v" => version = value,
            "g" => group = value,
            _ => {}
        }
    }
    let form = match (form, group, version) {
        ("", _, _) => Form::Whole,
        ("Table", "meta.k8s.io", "v1") => Form::Table(include),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Form::Partial,
        _ => return None,
    };
    Some(Want { encoding, form, pretty: false })
}

/// The media type of an answer.
pub(crate) fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => OFFERED[0],
        Encoding::Yaml => OFFERED[1],
    }
}

/// The media type of a request's body, without its parameters; empty if it has none.
pub(crate) fn sent(headers: &HeaderMap) -> &str {
    let header = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim()
}

/// How a body of this media type is read.
///
/// # Errors
/// 415 for a type that is not known.
pub(crate) fn encoding_of_body(media: &str) -> Result<MediaType, Status> {
    match media {
        "" | "application/json" => Ok(MediaType::Json),
        "application/yaml" | "application/apply-patch+yaml" => Ok(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(MediaType::Protobuf),
        other if other.ends_with("+json") => Ok(MediaType::Json),
        _ => Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        match wanted(&headers, &Query::default()) {
            Ok(want) => format!("{:?} {:?}", want.encoding, want.form),
            Err(status) => status.code.to_string(),
        }
    }

    #[test]
    fn the_first_range_that_can_be_served_decides() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl), "Json Table(Metadata)");
        assert_eq!(form("application/vnd.kubernetes.protobuf,application/json"), "Json Whole");
        assert_eq!(form("application/yaml"), "Yaml Whole");
        assert_eq!(form("text/html, */*;q=0.8"), "Json Whole");
        assert_eq!(form("application/vnd.kubernetes.protobuf"), "406");
    }
}
