//! Tables: what `kubectl get` prints.

use orlop_core::{Kind, Name, Stored, Timestamp};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::age::{between, time};
use super::cells::pod_row_conditions;
use super::columns::{Column, printer};
use super::json_path::JsonPath;
use super::splice;

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
    row_of(kind, &object, include, custom, now, out, |out| splice::object(kind, stored, out), || None);
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
