//! Checks a tree against the schema and takes away what that does not know.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json::{Duplicate, Path, Step};
use super::scalar;
use crate::rules::Quantity;
use crate::schema::{Field, Schema, StructId, StructType, Type};

/// As many complaints as Kubernetes' strict decoder makes at most.
pub(super) const COMPLAINTS_MAX: usize = 100;

/// A value of the wrong type, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeError {
    /// Where: `spec.containers[0].name`.
    pub path: String,
    /// What Kubernetes says; it names no index.
    pub message: String,
}

/// Brings a decoded tree into the shape of its type.
///
/// Takes away undeclared fields, and, in built-in types, what means the same as nothing: nulls, empty lists and maps,
/// and zeros of fields that are no pointers. Answers with the complaints of strict decoding, as Kubernetes words them
/// (`unknown field "spec.foo"`, `duplicate field "spec.x"`): in the order of the document; for custom resources
/// duplicates come first, and unknown fields follow by name. There are a hundred at most, and paths are cut where they
/// are long. Field names match exactly, unlike in Go's own decoder.
///
/// Of a custom resource only the metadata is checked for its types: validation does the rest, with other words.
///
/// # Errors
/// For the first value that its field cannot hold.
pub fn conform(
    schema: &Schema,
    ty: StructId,
    value: &mut Value,
    duplicates: &[Duplicate],
) -> Result<Vec<String>, TypeError> {
    let mut walk = Walk { schema, duplicates, complaints: Vec::new(), unknown: BTreeSet::new() };
    if schema[ty].custom {
        walk.duplicates = &[];
        walk.custom(&Type::Struct(ty), value, None)?;
        // Of the metadata.
        walk.unknown.append(&mut walk.complaints.into_iter().collect());
        let again = duplicates.iter().map(|d| format!("duplicate field {:?}", d.path));
        return Ok(again.chain(walk.unknown).take(COMPLAINTS_MAX).collect());
    }
    let place = Place { path: None, go: None, owner: &schema[ty].name };
    walk.value(&Type::Struct(ty), value, place)?;
    Ok(walk.complaints)
}

struct Walk<'a> {
    schema: &'a Schema,
    duplicates: &'a [Duplicate],
    /// At most [`COMPLAINTS_MAX`], in the order of the document.
    complaints: Vec<String>,
    /// Of a custom resource, the first so many by name.
    unknown: BTreeSet<String>,
}

/// Where a value is: its path, and what Kubernetes calls the place: the struct that has the field, and the names of
/// fields down to it.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: Option<&'a Path<'a>>,
    go: Option<&'a Path<'a>>,
    owner: &'a str,
}

impl<'a> Walk<'a> {
    fn value(&mut self, ty: &Type, value: &mut Value, place: Place<'_>) -> Result<(), TypeError> {
        match (ty, &mut *value) {
            (Type::Struct(id), Value::Object(map)) => self.fields(&self.schema[*id], map, place),
            (Type::Map(map_type), Value::Object(map)) => {
                for again in self.duplicates_in(place.path) {
                    self.complain("duplicate", &again.path);
                }
                for (key, item) in map.iter_mut() {
                    let path = Path { up: place.path, step: Step::Key(key) };
                    self.item(&map_type.value, item, Place { path: Some(&path), ..place })?;
                }
                Ok(())
            }
            (Type::List(list), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let path = Path { up: place.path, step: Step::Index(index) };
                    self.item(&list.item, item, Place { path: Some(&path), ..place })?;
                }
                Ok(())
            }
            (Type::String, Value::String(_))
            | (Type::Bool, Value::Bool(_))
            | (Type::Float, Value::Number(_)) => Ok(()),
            (Type::Any(_), _) => Ok(()),
            (Type::Int64, Value::Number(n)) if n.is_i64() => Ok(()),
            (Type::Int32 | Type::IntOrString, Value::Number(n)) if n.as_i64().is_some_and(fits_i32) => Ok(()),
            (Type::IntOrString, Value::String(_)) => Ok(()),
            (Type::Quantity, Value::Number(n)) => self.quantity(&n.to_string(), place),
            (Type::Quantity, Value::String(text)) => self.quantity(text, place),
            (Type::Quantity, _) => self.quantity("true", place),
            (Type::Bytes, Value::String(text)) => match scalar::decode_base64(text) {
                Ok(_) => Ok(()),
                Err(at) => Err(error(place, format!("illegal base64 data at input byte {at}"))),
            },
            (Type::Time | Type::MicroTime, Value::String(text)) => {
                let micro = *ty == Type::MicroTime;
                if scalar::parse_time(text, micro).is_some() {
                    return Ok(());
                }
                let layout =
                    if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
                Err(error(
                    place,
                    format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""),
                ))
            }
            _ => Err(self.mismatch(ty, value, place)),
        }
    }

    /// An item of a list or map: null is the zero of its type.
    fn item(&mut self, ty: &Type, item: &mut Value, place: Place<'_>) -> Result<(), TypeError> {
        if !item.is_null() {
            return self.value(ty, item, place);
        }
        *item = match ty {
            Type::Struct(_) => Value::Object(Map::new()),
            Type::String => "".into(),
            Type::Bool => false.into(),
            Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
            Type::Quantity => "0".into(),
            _ => Value::Null,
        };
        Ok(())
    }

    fn fields(
        &mut self,
        ty: &StructType,
        map: &mut Map<String, Value>,
        place: Place<'_>,
    ) -> Result<(), TypeError> {
        let mut drop = false;
        let mut again = self.duplicates_in(place.path).into_iter().peekable();
        for (at, (key, value)) in map.iter_mut().enumerate() {
            let path = Path { up: place.path, step: Step::Key(key) };
            // Those that came again when the object had so many keys.
            while let Some(again) = again.next_if(|d| d.at <= at) {
                self.complain("duplicate", &again.path);
            }
            let Some(field) = ty.field(key) else {
                if !ty.preserve_unknown {
                    if self.complaints.len() < COMPLAINTS_MAX {
                        self.complain("unknown", &path.text());
                    }
                    drop = true;
                }
                continue;
            };
            if value.is_null() {
                drop = true;
                continue;
            }
            let go = Path { up: place.go, step: Step::Key(key) };
            self.value(&field.ty, value, Place { path: Some(&path), go: Some(&go), owner: &ty.name })?;
            drop |= means_nothing(field, value);
        }
        for again in again {
            self.complain("duplicate", &again.path);
        }
        if drop {
            map.retain(|key, value| match ty.field(key) {
                Some(field) => !value.is_null() && !means_nothing(field, value),
                None => ty.preserve_unknown,
            });
        }
        Ok(())
    }

    fn complain(&mut self, what: &str, path: &str) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(format!("{what} field {path:?}"));
        }
    }

    /// The keys of an object that came again, in the order of the document.
    fn duplicates_in(&self, parent: Option<&Path<'_>>) -> Vec<&'a Duplicate> {
        if self.duplicates.is_empty() {
            return Vec::new();
        }
        let parent = parent.map(Path::text).unwrap_or_default();
        self.duplicates.iter().filter(|d| d.parent == parent).collect()
    }

    fn quantity(&self, text: &str, place: Place<'_>) -> Result<(), TypeError> {
        text.parse::<Quantity>().map(|_| ()).map_err(|e| error(place, e.to_string()))
    }

    fn mismatch(&self, ty: &Type, value: &Value, place: Place<'_>) -> TypeError {
        let found = match value {
            Value::Number(n) if matches!(ty, Type::Int32 | Type::Int64 | Type::IntOrString) => {
                format!("number {n}")
            }
            Value::Number(_) => "number".to_owned(),
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let owner = place.owner.rsplit('.').next().unwrap_or_default();
        let into = match place.go {
            Some(go) => format!("struct field {owner}.{go}"),
            None => "value".to_owned(),
        };
        error(place, format!("json: cannot unmarshal {found} into Go {into} of type {}", self.go_type(ty)))
    }

    fn go_type(&self, ty: &Type) -> String {
        match ty {
            Type::String | Type::Quantity | Type::Time | Type::MicroTime => "string".to_owned(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::Int32 | Type::IntOrString => "int32".to_owned(),
            Type::Int64 => "int64".to_owned(),
            Type::Float => "float64".to_owned(),
            Type::Any(_) => "interface {}".to_owned(),
            Type::List(list) => format!("[]{}", self.go_type(&list.item)),
            Type::Map(map) => format!("map[string]{}", self.go_type(&map.value)),
            Type::Struct(id) => {
                let mut parts = self.schema[*id].name.rsplit('.');
                let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                format!("{package}.{name}")
            }
        }
    }

    /// Prunes a custom resource; types are left to validation, but for metadata.
    fn custom(&mut self, ty: &Type, value: &mut Value, path: Option<&Path<'_>>) -> Result<(), TypeError> {
        match (ty, value) {
            (Type::Struct(id), value) if !self.schema[*id].custom => {
                if value.is_null() {
                    return Ok(());
                }
                self.value(ty, value, Place { path, go: None, owner: &self.schema[*id].name })
            }
            (Type::Struct(id), Value::Object(map)) => {
                let ty = &self.schema[*id];
                let mut drop = false;
                for (key, value) in map.iter_mut() {
                    let path = Path { up: path, step: Step::Key(key) };
                    match (ty.field(key), &ty.additional) {
                        (Some(field), _) => self.custom(&field.ty, value, Some(&path))?,
                        (None, Some(additional)) => self.custom(additional, value, Some(&path))?,
                        (None, None) if ty.preserve_unknown => {}
                        (None, None) => {
                            self.unknown.insert(format!("unknown field {:?}", path.text()));
                            if self.unknown.len() > COMPLAINTS_MAX {
                                self.unknown.pop_last();
                            }
                            drop = true;
                        }
                    }
                }
                if drop {
                    map.retain(|key, _| ty.field(key).is_some());
                }
                Ok(())
            }
            (Type::Map(map_type), Value::Object(map)) => map.iter_mut().try_for_each(|(key, value)| {
                self.custom(&map_type.value, value, Some(&Path { up: path, step: Step::Key(key) }))
            }),
            (Type::List(list), Value::Array(items)) => {
                items.iter_mut().enumerate().try_for_each(|(index, item)| {
                    self.custom(&list.item, item, Some(&Path { up: path, step: Step::Index(index) }))
                })
            }
            _ => Ok(()),
        }
    }
}

fn fits_i32(n: i64) -> bool {
    i32::try_from(n).is_ok()
}

/// Whether an absent field would mean the same.
fn means_nothing(field: &Field, value: &Value) -> bool {
    !field.pointer && !field.keep_empty && is_zero(&field.ty, value)
}

/// Whether a value is the zero of its type; a struct never is.
pub(super) fn is_zero(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        (Type::Struct(_) | Type::Any(_), _) => false,
        (_, Value::Null) => true,
        (_, Value::Bool(b)) => !b,
        (Type::Quantity, _) => false,
        (_, Value::Number(n)) => n.as_f64() == Some(0.0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(map)) => map.is_empty(),
    }
}

fn error(place: Place<'_>, message: String) -> TypeError {
    TypeError { path: place.path.map(Path::to_string).unwrap_or_default(), message }
}
