//! Answers in protobuf: what is written as JSON, in Kubernetes' binary envelope.

use orlop_core::codec::protobuf::{Invalid, bytes, encode, encode_body};
use orlop_core::schema::Schema;
use orlop_core::scheme::split_api_version;
use serde_json::Value;

use crate::tree::text;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// An object, a list or a `Status` in the envelope.
///
/// # Errors
/// When its kind has no protobuf form, as custom kinds and tables have none.
pub fn to_protobuf(object: &Value) -> Result<Vec<u8>, Invalid> {
    let (api_version, kind) = (text(object, &["apiVersion"]), text(object, &["kind"]));
    let raw = match kind {
        "PartialObjectMetadata" => partial(object)?,
        "PartialObjectMetadataList" => {
            let mut raw = Vec::new();
            bytes(1, &meta("ListMeta", &object["metadata"])?, &mut raw);
            for item in object["items"].as_array().into_iter().flatten() {
                bytes(2, &partial(item)?, &mut raw);
            }
            raw
        }
        _ => {
            let (group, version) = split_api_version(api_version);
            let schema = Schema::builtin();
            let ty = schema
                .by_kind(group, version, kind)
                .ok_or_else(|| Invalid::NoMessage(format!("{api_version}, Kind={kind}")))?;
            encode(schema, ty, object)?
        }
    };
    Ok(encode_body(api_version, kind, &raw))
}

fn partial(object: &Value) -> Result<Vec<u8>, Invalid> {
    let mut raw = Vec::new();
    bytes(1, &meta("ObjectMeta", &object["metadata"])?, &mut raw);
    Ok(raw)
}

fn meta(name: &str, value: &Value) -> Result<Vec<u8>, Invalid> {
    let schema = Schema::builtin();
    let ty = schema.by_name(&format!("{META}{name}")).ok_or_else(|| Invalid::NoMessage(name.to_owned()))?;
    encode(schema, ty, value)
}

/// An event of a watch as a frame: its length in four bytes, then a `WatchEvent` that holds the object's envelope.
///
/// # Errors
/// Those of [`to_protobuf`].
pub(super) fn frame(event: &Value, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let (mut object, mut message) = (Vec::new(), Vec::new());
    bytes(1, &to_protobuf(&event["object"])?, &mut object);
    bytes(1, text(event, &["type"]).as_bytes(), &mut message);
    bytes(2, &object, &mut message);
    // No object is larger than a request body may be.
    let length = u32::try_from(message.len()).map_err(|_| Invalid::Truncated)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_frame_with_an_envelope_in_it() {
        let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "a", "resourceVersion": "7"}});
        let mut out = Vec::new();
        frame(&json!({"type": "ADDED", "object": object}), &mut out).expect("it has a form");
        let (length, message) = out.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().expect("four bytes")) as usize, message.len());
        assert!(message.starts_with(b"\x0a\x05ADDED\x12"));
        assert!(message.windows(4).any(|w| w == b"k8s\0"));
        let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"});
        assert!(to_protobuf(&table).is_err());
    }
}
