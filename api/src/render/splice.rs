//! Objects out of their stored bytes, without decoding: the kind they are asked for as, and their revision, are put
//! between slices of what is stored.

use orlop_core::{Kind, Stored};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Appends the object.
pub(super) fn object(kind: &Kind, stored: &Stored, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"");
    out.extend_from_slice(kind.kind.as_bytes());
    out.extend_from_slice(b"\",\"apiVersion\":\"");
    out.extend_from_slice(kind.api_version().as_bytes());
    out.extend_from_slice(b"\",\"metadata\":{");
    rest(stored, out);
}

/// Appends the object as the items of built-in lists are: without its kind.
pub(super) fn item(stored: &Stored, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"metadata\":{");
    rest(stored, out);
}

/// The revision, where there is one, and everything behind it. Kind and version come first in stored bytes and
/// `metadata` next, so that nothing is lost by leaving out what lies before.
fn rest(stored: &Stored, out: &mut Vec<u8>) {
    let (_, tail) = stored.body.parts();
    if stored.revision.0 != 0 {
        out.extend_from_slice(b"\"resourceVersion\":\"");
        push_number(stored.revision.0, out);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(tail);
}

pub(super) fn push_number(number: u64, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{number}").expect("writing to memory does not fail");
}

/// Appends the metadata of an encoded object as a `PartialObjectMetadata`.
pub(super) fn partial(object: &[u8], out: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Top<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let metadata = serde_json::from_slice::<Top<'_>>(object).ok().and_then(|top| top.metadata);
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
    );
    out.extend_from_slice(metadata.map_or("{}", RawValue::get).as_bytes());
    out.push(b'}');
}
