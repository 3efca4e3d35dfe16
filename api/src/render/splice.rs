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

/// Where the metadata of a stored object ends in its bytes.
pub(super) fn metadata_end(body: &orlop_core::Body) -> Option<usize> {
    let (head, tail) = body.parts();
    // The brace was read already.
    let mut deep = 1usize;
    let mut quoted = false;
    let mut bytes = tail.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if quoted => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => deep += 1,
            b'}' | b']' => {
                deep -= 1;
                if deep == 0 {
                    return Some(head.len() + at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Appends the metadata of a stored object, which ends at `end` in its bytes, as a `PartialObjectMetadata`.
pub(super) fn partial_of(stored: &Stored, end: usize, out: &mut Vec<u8>) {
    let (head, tail) = stored.body.parts();
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{",
    );
    if stored.revision.0 != 0 {
        out.extend_from_slice(b"\"resourceVersion\":\"");
        push_number(stored.revision.0, out);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(tail.get(..end.saturating_sub(head.len())).unwrap_or_default());
    out.push(b'}');
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
