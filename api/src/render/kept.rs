//! Rows of tables that are kept with their objects: all but the ages, which go on.

use orlop_core::{Kind, Stored, Timestamp};
use serde_json::Value;

use super::age::{self, MARK};
use super::cells::pod_row_conditions;
use super::columns::printer;
use super::{splice, table};

/// A row as far as it depends on its object alone.
pub(super) struct Row {
    /// As which the object was asked for.
    kind: Kind,
    /// The row up to the object, in parts; behind each part but the last the age of something is written.
    parts: Vec<(Box<[u8]>, Option<Timestamp>)>,
    /// Where the object's metadata ends in its bytes.
    metadata_end: usize,
}

impl Row {
    /// The row of an object of a built-in kind; `None` where it cannot be kept.
    pub(super) fn of(kind: &Kind, stored: &Stored) -> Option<std::sync::Arc<Option<Row>>> {
        let row = stored.body.kept(|| Row::new(kind, stored));
        (*row).as_ref().is_some_and(|row| row.kind == *kind).then_some(row)
    }

    fn new(kind: &Kind, stored: &Stored) -> Option<Row> {
        let bytes = stored.body.bytes();
        // What looks like our mark is none.
        if bytes.windows(MARK_JSON.len()).any(|w| w == MARK_JSON.as_bytes()) {
            return None;
        }
        let mut object: Value = serde_json::from_slice(bytes).ok()?;
        let metadata_end = splice::metadata_end(&stored.body)?;
        let pod = kind.plural == "pods" && kind.group.is_empty();
        if !pod {
            object["kind"] = kind.kind.as_str().into();
        }
        let mut text = b"{\"cells\":".to_vec();
        let cells = (printer(&kind.group, &kind.plural).cells)(&object, age::LATER);
        table::write_json(&Value::Array(cells), &mut text);
        if let Some(conditions) = pod.then(|| pod_row_conditions(&object)).flatten() {
            text.extend_from_slice(b",\"conditions\":");
            table::write_json(&conditions, &mut text);
        }
        text.extend_from_slice(b",\"object\":");
        let text = String::from_utf8(text).ok()?;
        let mut pieces = text.split(MARK_JSON);
        let mut parts = Vec::new();
        while let Some(piece) = pieces.next() {
            let at = match pieces.next() {
                Some(nanos) => Some(Timestamp::from_nanos(nanos.parse().ok()?)),
                None => None,
            };
            parts.push((piece.as_bytes().into(), at));
        }
        Some(Row { kind: kind.clone(), parts, metadata_end })
    }

    /// Appends the row, as it is now, up to the object.
    pub(super) fn cells(&self, now: Timestamp, out: &mut Vec<u8>) {
        for (part, at) in &self.parts {
            out.extend_from_slice(part);
            if let Some(at) = at {
                out.extend_from_slice(age::between(*at, now).as_bytes());
            }
        }
    }

    /// Appends the object's metadata as a `PartialObjectMetadata`.
    pub(super) fn partial(&self, stored: &Stored, out: &mut Vec<u8>) {
        splice::partial_of(stored, self.metadata_end, out);
    }
}

/// [`MARK`] as JSON writes it.
const MARK_JSON: &str = "\\u0001";

const _: () = assert!(MARK == '\u{1}');
