//! Request bodies: from bytes of any encoding to a tree that its type allows.

use orlop_core::codec::{self, Duplicate};
use orlop_core::scheme::{Resource, Scheme, split_api_version};
use serde_json::{Map, Value};

use crate::request::{Body, MediaType};
use crate::status::Status;
use crate::tree::text;

/// A decoded body.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<Duplicate>,
    /// What strict decoding says of the body's text.
    pub(crate) complaint: Option<String>,
}

/// What should be in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect<'a> {
    pub(crate) kind: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) custom: bool,
}

impl<'a> Expect<'a> {
    pub(crate) fn of(resource: &'a Resource) -> Expect<'a> {
        let kind = &resource.kind;
        Expect { kind: &kind.kind, group: &kind.group, version: &kind.version, custom: resource.custom }
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// How JSON is read: [`codec::decode_json`], or [`codec::decode_untyped_json`] for what Kubernetes reads without types.
type Reader = fn(&[u8]) -> Result<codec::Decoded, codec::SyntaxError>;

/// Decodes a body without looking at what it is.
pub(crate) fn decode(body: Option<&Body>, scheme: &Scheme, read: Reader) -> Result<Parsed, String> {
    let json = |bytes: &[u8]| {
        read(bytes)
            .map(|d| Parsed { value: d.value, duplicates: d.duplicates, complaint: None })
            .map_err(|e| format!("couldn't get version/kind; json parse error: {}", e.message))
    };
    match body {
        None => json(b""),
        Some(Body::Value(value)) => Ok(Parsed { value: value.clone(), ..Parsed::default() }),
        Some(Body::Bytes(MediaType::Json, bytes)) => json(bytes),
        Some(Body::Bytes(MediaType::Yaml, bytes)) => yaml(bytes),
        Some(Body::Bytes(MediaType::Protobuf, bytes)) => {
            let type_of = |api_version: &str, kind: &str| {
                let (group, version) = split_api_version(api_version);
                scheme.type_of(group, version, kind)
            };
            codec::protobuf::decode_body(bytes, type_of)
                .map(|value| Parsed { value, ..Parsed::default() })
                .map_err(|e| e.to_string())
        }
    }
}

impl Body {
    /// What it says, whatever its encoding; `None` where it cannot be read. `scheme` knows the types of protobuf.
    pub fn tree(&self, scheme: &Scheme) -> Option<Value> {
        decode(Some(self), scheme, codec::decode_json).ok().map(|parsed| parsed.value)
    }
}

/// The first document; JSON is YAML, too, and the quicker one to read.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Parsed, String> {
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(decoded) = codec::decode_untyped_json(bytes)
    {
        return Ok(Parsed { value: decoded.value, duplicates: decoded.duplicates, complaint: None });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| format!("yaml: {e}"))?;
    let decoded =
        orlop_core::yaml::decode(text).map_err(|e| format!("yaml: line {}: {}", e.line, e.message))?;
    Ok(Parsed { value: decoded.value, duplicates: Vec::new(), complaint: decoded.complaint })
}

/// A body's bytes as error messages quote them.
fn quoted(body: Option<&Body>) -> String {
    let bytes: &[u8] = match body {
        Some(Body::Bytes(_, bytes)) => bytes,
        _ => b"",
    };
    if bytes.is_empty() {
        return "<empty>".into();
    }
    let (shown, dots) = if bytes.len() > 30 { (&bytes[..30], " ...") } else { (bytes, "") };
    if bytes.starts_with(b"{") {
        return format!("{}{dots}", String::from_utf8_lossy(shown));
    }
    use std::fmt::Write;
    let mut hex = String::new();
    for byte in shown {
        let _ = write!(hex, "{byte:02x}");
    }
    hex + dots
}

/// Decodes a body that is to hold an object of a kind; kind and version are filled in where they are missing.
pub(crate) fn object(body: Option<&Body>, expect: Expect<'_>, scheme: &Scheme) -> Result<Parsed, Status> {
    let unrecognized = |why: String| {
        let kind = expect.kind;
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            quoted(body)
        ))
    };
    let read = if expect.custom { codec::decode_untyped_json } else { codec::decode_json };
    let mut parsed = decode(body, scheme, read).map_err(unrecognized)?;
    if parsed.value.is_null() {
        parsed.value = Value::Object(Map::new());
    }
    if !parsed.value.is_object() {
        let what = match parsed.value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            _ => "number",
        };
        return Err(unrecognized(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into an object"
        )));
    }
    check_kind(&mut parsed.value, expect, scheme, unrecognized)?;
    Ok(parsed)
}

fn check_kind(
    value: &mut Value,
    expect: Expect<'_>,
    scheme: &Scheme,
    unrecognized: impl Fn(String) -> Status,
) -> Result<(), Status> {
    let (kind, api_version) = (text(value, &["kind"]).to_owned(), text(value, &["apiVersion"]).to_owned());
    if api_version.matches('/').count() > 1 {
        return Err(unrecognized(format!("unexpected GroupVersion string: {api_version}")));
    }
    let wanted = expect.api_version();
    if expect.custom && (api_version.is_empty() || kind.is_empty()) && !api_version.eq(&wanted) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    let kind = if kind.is_empty() { expect.kind.to_owned() } else { kind };
    let api_version = if api_version.is_empty() { wanted.clone() } else { api_version };
    let (group, version) = split_api_version(&api_version);
    if kind == expect.kind && api_version == wanted {
        if let Some(map) = value.as_object_mut() {
            map.insert("kind".into(), kind.into());
            map.insert("apiVersion".into(), api_version.into());
        }
        return Ok(());
    }
    if kind == expect.kind
        && group == expect.group
        && (expect.custom || scheme.by_kind(group, version, &kind).is_some())
    {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    let why = if scheme.type_of(group, version, &kind).is_some() || kind == "List" {
        let owner =
            if expect.group.is_empty() { "core" } else { expect.group.split('.').next().unwrap_or_default() };
        format!("converting ({version}.{kind}) to ({owner}.{}): unknown conversion", expect.kind)
    } else {
        let legacy = "pkg/api/legacyscheme/scheme.go:30";
        format!("no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{legacy}\"")
    };
    Err(Status::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
        expect.kind
    )))
}

/// Brings a tree into the shape of a resource's type. Complaints become warnings, or errors where the client wants it
/// strict; `validation` is the `fieldValidation` parameter.
pub(crate) fn conform(
    resource: &Resource,
    parsed: &mut Parsed,
    validation: &str,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let handled = |why: &str| {
        let Expect { kind, version, .. } = Expect::of(resource);
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    };
    let mut complaints: Vec<String> = parsed.complaint.take().into_iter().collect();
    complaints.extend(
        codec::conform(&resource.schema, resource.ty, &mut parsed.value, &parsed.duplicates)
            .map_err(|e| handled(&e.message))?,
    );
    match validation {
        "Ignore" => {}
        "Strict" if complaints.is_empty() => {}
        "Strict" => return Err(handled(&format!("strict decoding error: {}", complaints.join(", ")))),
        _ => warnings.extend(complaints),
    }
    Ok(())
}
