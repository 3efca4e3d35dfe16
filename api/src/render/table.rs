//! Tables: what `kubectl get` prints.

use orlop_core::{Kind, Name, Stored, Timestamp};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::age::{between, time};
use super::cells::pod_row_conditions;
use super::columns::{Column, printer};
use super::json_path::JsonPath;
use super::kept::Row;
use super::{inner, splice};

/// What a table's rows carry besides their cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

/// The columns that custom kinds declare (`additionalPrinterColumns`).
#[derive(Clone, Debug, Default)]
pub struct CustomColumns {
    by_kind: FxHashMap<(Name, Name, Name), Vec<(Column, JsonPath)>>,
}

impl CustomColumns {
    /// Reads a version's `additionalPrinterColumns`; a kind without any shows its age.
    pub fn insert(&mut self, kind: &Kind, declared: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut columns: Vec<(Column, JsonPath)> = declared
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| {
                let column = Column {
                    name: text(&c["name"]),
                    ty: text(&c["type"]),
                    format: text(&c["format"]),
                    description: text(&c["description"]),
                    priority: c["priority"].as_i64().unwrap_or_default(),
                };
                (column, JsonPath::parse(c["jsonPath"].as_str().unwrap_or_default()))
            })
            .collect();
        if columns.is_empty() {
            let age = Column {
                name: "Age".into(),
                ty: "date".into(),
                format: String::new(),
                description: String::new(),
                priority: 0,
            };
            columns.push((age, JsonPath::parse(".metadata.creationTimestamp")));
        }
        self.by_kind.insert((kind.group.clone(), kind.version.clone(), kind.plural.clone()), columns);
    }

    fn of(&self, kind: &Kind) -> Option<&[(Column, JsonPath)]> {
        let key = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        self.by_kind.get(&key).map(Vec::as_slice)
    }

    /// Whether the kind is a custom one.
    pub fn has(&self, kind: &Kind) -> bool {
        self.of(kind).is_some()
    }
}

/// The definitions of a kind's columns.
pub(super) fn definitions(kind: &Kind, custom: &CustomColumns) -> Vec<Value> {
    match custom.of(kind) {
        Some(columns) => {
            let mut all = vec![super::columns::NAME.definition()];
            all.extend(columns.iter().map(|(column, _)| column.definition()));
            all
        }
        None => printer(&kind.group, &kind.plural).columns.iter().map(|c| c.definition()).collect(),
    }
}

/// One object's cells.
pub(super) fn cells(kind: &Kind, object: &Value, custom: &CustomColumns, now: Timestamp) -> Vec<Value> {
    match custom.of(kind) {
        Some(columns) => {
            let mut all = vec![object["metadata"]["name"].clone()];
            all.extend(columns.iter().map(|(column, path)| custom_cell(column, path, object, now)));
            all
        }
        None => (printer(&kind.group, &kind.plural).cells)(object, now),
    }
}

/// The value that the path finds, in the column's type; null where there is none or it is of another type.
fn custom_cell(column: &Column, path: &JsonPath, object: &Value, now: Timestamp) -> Value {
    let found = path.find(object);
    let Some(first) = found.first().copied() else { return Value::Null };
    match column.ty.as_str() {
        "integer" => match first {
            Value::Number(n) if n.is_i64() => first.clone(),
            Value::Number(n) => n.as_f64().map_or(Value::Null, |f| json!(f as i64)),
            _ => Value::Null,
        },
        "number" => match first {
            Value::Number(_) => first.clone(),
            _ => Value::Null,
        },
        "boolean" => match first {
            Value::Bool(_) => first.clone(),
            _ => Value::Null,
        },
        "date" => match (first, time(first)) {
            (_, Some(at)) => between(at, now).into(),
            (Value::String(_), None) => "<invalid>".into(),
            _ => Value::Null,
        },
        _ => match first {
            Value::String(text) => text.as_str().into(),
            other => other.to_string().into(),
        },
    }
}

/// Appends one row.
pub(super) fn row(
    kind: &Kind,
    stored: &Stored,
    include: Include,
    custom: &CustomColumns,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let asked = stored;
    let stored = &*inner::inner(kind, stored);
    if !custom.has(kind)
        && let Some(row) = Row::of(kind, stored)
        && let Some(row) = &*row
    {
        row.cells(now, out);
        match include {
            Include::None => out.extend_from_slice(b"null"),
            Include::Object => splice::object(kind, asked, out),
            Include::Metadata => row.partial(stored, out),
        }
        out.push(b'}');
        return;
    }
    let mut object: Value = serde_json::from_slice(stored.body.bytes()).unwrap_or_default();
    if kind.plural == "pods" && kind.group.is_empty() {
        row_of(
            kind,
            &object,
            include,
            custom,
            now,
            out,
            |out| splice::object(kind, stored, out),
            || pod_row_conditions(&object),
        );
        return;
    }
    // Printers of kinds that share one tell them apart by what they are asked for as.
    object["kind"] = kind.kind.as_str().into();
    let whole = if include == Include::Object { asked } else { stored };
    row_of(kind, &object, include, custom, now, out, |out| splice::object(kind, whole, out), || None);
}

/// Appends the row of an object that is not stored.
pub(super) fn value_row(
    kind: &Kind,
    object: &Value,
    include: Include,
    custom: &CustomColumns,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let whole = |out: &mut Vec<u8>| write_json(object, out);
    row_of(kind, object, include, custom, now, out, whole, || None);
}

#[expect(clippy::too_many_arguments, reason = "the pieces of one row")]
fn row_of(
    kind: &Kind,
    object: &Value,
    include: Include,
    custom: &CustomColumns,
    now: Timestamp,
    out: &mut Vec<u8>,
    whole: impl FnOnce(&mut Vec<u8>),
    conditions: impl FnOnce() -> Option<Value>,
) {
    out.extend_from_slice(b"{\"cells\":");
    write_json(&Value::Array(cells(kind, object, custom, now)), out);
    if let Some(conditions) = conditions() {
        out.extend_from_slice(b",\"conditions\":");
        write_json(&conditions, out);
    }
    out.extend_from_slice(b",\"object\":");
    match include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Object => whole(out),
        Include::Metadata => {
            let mut bytes = Vec::new();
            whole(&mut bytes);
            splice::partial(&bytes, out);
        }
    }
    out.push(b'}');
}

pub(super) fn write_json(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of a row, and its ages as they are now, make the row.
    #[test]
    fn kept_rows_are_rows() {
        let now = Timestamp::from_secs(1_767_225_600);
        let meta = json!({"name": "a", "namespace": "n", "creationTimestamp": "2025-12-31T23:00:00Z",
            "managedFields": [{"fieldsV1": {"f:x}\\\"": {}}}]});
        let statuses = json!([{"name": "c", "restartCount": 2, "ready": true,
            "lastState": {"terminated": {"finishedAt": "2025-12-31T23:30:00Z"}}, "state": {"running": {}}}]);
        let objects = [
            (
                Kind::namespaced("", "v1", "Pod", "pods"),
                json!({"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": [{"name": "c"}]},
                "status": {"phase": "Succeeded", "containerStatuses": statuses}}),
            ),
            (
                Kind::namespaced("", "v1", "ConfigMap", "configmaps"),
                json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": meta, "data": {"a": "1"}}),
            ),
            (
                Kind::namespaced("batch", "v1", "Job", "jobs"),
                json!({"kind": "Job", "apiVersion": "batch/v1", "metadata": meta, "spec": {}, "status": {"startTime": "2025-12-31T23:30:00Z"}}),
            ),
            (
                Kind::namespaced("", "v1", "Event", "events"),
                json!({"kind": "Event", "apiVersion": "v1", "metadata": meta, "lastTimestamp": "2025-12-31T23:30:00Z",
                "message": "\u{1}5\u{1}"}),
            ),
            (
                Kind::namespaced("x", "v1", "Unknown", "unknowns"),
                json!({"kind": "Unknown", "metadata": meta}),
            ),
        ];
        let custom = CustomColumns::default();
        for (kind, object) in objects {
            let body = orlop_core::Body::parse(object.to_string().into()).unwrap();
            let stored = Stored { body: std::sync::Arc::new(body), revision: orlop_core::Revision(7) };
            for include in [Include::None, Include::Metadata, Include::Object] {
                let (mut kept, mut plain) = (Vec::new(), Vec::new());
                row(&kind, &stored, include, &custom, now, &mut kept);
                let mut tree = object.clone();
                tree["kind"] = kind.kind.as_str().into();
                let whole = |out: &mut Vec<u8>| splice::object(&kind, &stored, out);
                let conditions = || (kind.plural == "pods").then(|| pod_row_conditions(&tree)).flatten();
                row_of(&kind, &tree, include, &custom, now, &mut plain, whole, conditions);
                assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(plain).unwrap());
            }
        }
    }
}
