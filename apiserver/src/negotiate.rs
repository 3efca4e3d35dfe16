//! What a client sends and what it takes.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use orlop_api::render::{Encoding, Form, Include, Want};
use orlop_api::{MediaType, Status};

use crate::query::Query;

/// The media types that Kubernetes names in refusals.
pub(crate) const KNOWN: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// The media types of watches.
pub(crate) const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// What is asked for, as far as it matters to the form of the answer.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// A collection is read.
    pub(crate) list: bool,
    /// Events are read, each with an object of its own.
    pub(crate) watch: bool,
    /// The kind is a custom one, whose paths are not looked at before.
    pub(crate) custom: bool,
    /// The API group.
    pub(crate) group: &'a str,
    /// The object's kind.
    pub(crate) kind: &'a str,
}

/// One media range of an `Accept` header.
struct Range<'h> {
    media: Cow<'h, str>,
    parameters: Vec<(&'h str, &'h str)>,
    weight: u16,
}

/// The media ranges that a client takes, those that it likes best first.
fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let all = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let mut ranges: Vec<Range<'_>> = all
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = small(parts.next().unwrap_or_default());
            let parameters: Vec<(&str, &str)> =
                parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
            let weight =
                parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, q)| q.parse::<f32>().ok());
            // Thousandths, as HTTP allows no finer ones.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
            let weight = (weight.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16;
            Range { media, parameters, weight }
        })
        .collect();
    ranges.sort_by_key(|range| std::cmp::Reverse(range.weight));
    ranges
}

/// Refuses clients that take none of `available` as a path offers them.
///
/// # Errors
/// 406 with a list of what there is.
pub(crate) fn offered(headers: &HeaderMap, available: &[&str]) -> Result<(), Status> {
    offered_to(&ranges(headers), available)
}

fn offered_to(ranges: &[Range<'_>], available: &[&str]) -> Result<(), Status> {
    let takes = |range: &Range<'_>| {
        range.media == "*/*" || available.iter().any(|media| media.split(';').next() == Some(&*range.media))
    };
    if ranges.is_empty() || ranges.iter().any(takes) {
        return Ok(());
    }
    Err(Status::no_representation(available))
}

/// Whether a person reads the answer: who says so, and what people use by hand.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some_and(|text| !text.is_empty()) {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|by_hand| agent.starts_with(by_hand))
}

fn not_acceptable() -> Status {
    Status::not_acceptable(&KNOWN)
}

/// How the answer is to be written. The best media range that can be served decides.
///
/// # Errors
/// 406 where none can.
pub(crate) fn wanted(headers: &HeaderMap, query: &Query, asked: Asked<'_>) -> Result<Want, Status> {
    let ranges = ranges(headers);
    if !asked.custom {
        let available: [&str; 5] = [KNOWN[0], KNOWN[1], KNOWN[2], STREAMS[0], STREAMS[1]];
        offered_to(&ranges, &available[..if asked.list { 5 } else { KNOWN.len() }])?;
    }
    let pretty = pretty(headers, query);
    let include = match query.get("includeObject") {
        None | Some("" | "Metadata") => Include::Metadata,
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        Some(_) => Include::Metadata,
    };
    if ranges.is_empty() {
        return Ok(Want { pretty, ..Want::default() });
    }
    // Custom kinds have no protobuf form.
    let fits = |(want, _): &(Want, &str)| !(asked.custom && want.encoding == Encoding::Protobuf);
    let (want, form) = ranges
        .iter()
        .find_map(|range| range_wants(range, include).filter(fits))
        .ok_or_else(not_acceptable)?;
    if let (Form::Table(_), Some(other)) = (want.form, query.get("includeObject"))
        && !["", "Metadata", "Object", "None"].contains(&other)
    {
        return Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: \"{other}\": must be 'Metadata', 'Object', 'None', or empty"
        )));
    }
    let list_form = form == "PartialObjectMetadataList";
    if want.form == Form::Partial && list_form != asked.list && !asked.watch {
        let go_type = go_type(asked);
        return Err(Status::wrong_metadata_form(form, asked.list, &go_type));
    }
    Ok(Want { pretty, ..want })
}

/// The name of the type in the original, which it tells its clients.
fn go_type(asked: Asked<'_>) -> String {
    let list = if asked.list { "List" } else { "" };
    if asked.custom {
        return format!("unstructured.Unstructured{list}");
    }
    let package = match asked.group {
        "" => "core",
        "rbac.authorization.k8s.io" => "rbac",
        "flowcontrol.apiserver.k8s.io" => "flowcontrol",
        "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("{package}.{}{list}", asked.kind)
}

fn range_wants<'h>(range: &Range<'h>, include: Include) -> Option<(Want, &'h str)> {
    let encoding = encoding(&range.media)?;
    let (mut form, mut version, mut group) = ("", "v1", "meta.k8s.io");
    for (key, value) in &range.parameters {
        match *key {
            "as" => form = value,
            "v" => version = value,
            "g" => group = value,
            _ => {}
        }
    }
    let shape = match (form, group, version) {
        ("", _, _) => Form::Whole,
        ("Table", "meta.k8s.io", "v1" | "v1beta1") if encoding != Encoding::Protobuf => Form::Table(include),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Form::Partial,
        _ => return None,
    };
    Some((Want { encoding, form: shape, pretty: false, beta_table: version == "v1beta1" }, form))
}

fn encoding(media: &str) -> Option<Encoding> {
    match media {
        "application/json" | "*/*" | "application/*" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// How a document that has but one form is written; plain media ranges only.
///
/// # Errors
/// 406 where the client takes none that there is.
pub(crate) fn document(headers: &HeaderMap) -> Result<Encoding, Status> {
    let ranges = ranges(headers);
    if ranges.is_empty() {
        return Ok(Encoding::Json);
    }
    let plain = ranges.iter().filter(|range| range.parameters.iter().all(|(key, _)| *key != "as"));
    plain.filter_map(|range| encoding(&range.media)).next().ok_or_else(not_acceptable)
}

/// How a refusal is written: as the client likes it, or in JSON.
pub(crate) fn of_refusal(headers: &HeaderMap) -> Encoding {
    let ranges = ranges(headers);
    let plain = ranges.iter().filter(|range| {
        // JSON is what is answered anyway, and YAML needs no form; a refusal in protobuf has none but its own.
        range.media != KNOWN[2] || range.parameters.iter().all(|(key, _)| *key != "as")
    });
    plain.filter_map(|range| encoding(&range.media)).next().unwrap_or(Encoding::Json)
}

/// The media type of an answer.
pub(crate) fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => KNOWN[0],
        Encoding::Yaml => KNOWN[1],
        Encoding::Protobuf => KNOWN[2],
    }
}

/// The media type of a request's body, without its parameters and in small letters; empty if it has none.
pub(crate) fn sent(headers: &HeaderMap) -> Cow<'_, str> {
    let header = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    small(header.split(';').next().unwrap_or_default().trim())
}

/// In small letters, as mostly it is.
fn small(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// How the body of a patch is read. Which media types are patches was asked before.
pub(crate) fn encoding_of_patch(media: &str) -> MediaType {
    if media.ends_with("+yaml") { MediaType::Yaml } else { MediaType::Json }
}

/// How a body of this media type is read.
///
/// # Errors
/// 415 for a type that is not known.
pub(crate) fn encoding_of_body(media: &str) -> Result<MediaType, Status> {
    match media {
        "" | "application/json" => Ok(MediaType::Json),
        "application/yaml" => Ok(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(MediaType::Protobuf),
        _ => Err(Status::unsupported_media_type(&KNOWN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        let asked = Asked { list: false, watch: false, custom: false, group: "", kind: "ConfigMap" };
        match wanted(&headers, &Query::default(), asked) {
            Ok(want) => format!("{:?} {:?}", want.encoding, want.form),
            Err(status) => format!("{} {}", status.code, status.message.lines().next().unwrap_or_default()),
        }
    }

    #[test]
    fn the_best_range_that_can_be_served_decides() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl), "Json Table(Metadata)");
        assert_eq!(form("application/vnd.kubernetes.protobuf,application/json"), "Protobuf Whole");
        assert_eq!(form("application/yaml"), "Yaml Whole");
        assert_eq!(form("text/html, */*;q=0.8"), "Json Whole");
        assert_eq!(form("application/json;q=0.1,application/yaml;q=0.9"), "Yaml Whole");
        assert_eq!(form("application/*"), "406 406: Not Acceptable");
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert!(form(table).starts_with("406 only the following"));
        let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        assert_eq!(
            form(list),
            "406 you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"
        );
    }
}
