//! Objects as server-side apply sees them: what is one value, what is many, and how items of lists are told apart.

use std::borrow::Cow;

use orlop_core::Name;
use orlop_core::schema::{AnyKind, Field, ListKind, ListType, Schema, StructId, Type};
use serde_json::{Map, Value};

use super::set::{FieldSet, field, item, keyed};

/// A type within its schema.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(super) schema: &'a Schema,
    ty: Ty<'a>,
}

#[derive(Clone, Copy)]
enum Ty<'a> {
    Struct(StructId, bool),
    Of(&'a Type),
    /// Nothing is known; the value itself tells.
    Unknown,
}

/// What a value is to server-side apply.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    /// One value, however large.
    Leaf,
    /// A list whose items are told apart.
    List(&'a ListType),
    /// An object; its fields have types of their own.
    Object,
}

impl<'a> At<'a> {
    pub(crate) fn root(schema: &'a Schema, id: StructId) -> At<'a> {
        At { schema, ty: Ty::Struct(id, false) }
    }

    fn with(self, ty: &'a Type, granular: bool) -> At<'a> {
        let ty = match ty {
            Type::Struct(id) => Ty::Struct(*id, granular),
            other => Ty::Of(other),
        };
        At { ty, ..self }
    }

    fn of_field(self, field: &'a Field) -> At<'a> {
        self.with(&field.ty, field.granular)
    }

    /// What the value, or the two that are compared, is.
    pub(super) fn shape(self, one: Option<&Value>, other: Option<&Value>) -> Shape<'a> {
        match self.ty {
            Ty::Struct(id, granular) if self.schema[id].atomic && !granular => Shape::Leaf,
            Ty::Struct(..) => Shape::Object,
            Ty::Of(Type::List(list)) if list.kind != ListKind::Atomic => Shape::List(list),
            Ty::Of(Type::Map(map)) if !map.atomic => Shape::Object,
            Ty::Unknown | Ty::Of(Type::Any(AnyKind::Object)) => {
                let nothing = |v: Option<&Value>| v.is_none_or(|v| v.is_null() || v.is_object());
                let object = |v: Option<&Value>| v.is_some_and(Value::is_object);
                match (object(one) || object(other)) && nothing(one) && nothing(other) {
                    true => Shape::Object,
                    false => Shape::Leaf,
                }
            }
            Ty::Of(_) => Shape::Leaf,
        }
    }

    /// The type of a field, and whether the schema names the field; `None` where there may be no such field.
    pub(super) fn child(self, name: &str) -> Option<(bool, At<'a>)> {
        match self.ty {
            Ty::Struct(id, _) => {
                let ty = &self.schema[id];
                if let Some(field) = ty.field(name) {
                    return Some((true, self.of_field(field)));
                }
                if let Some(additional) = &ty.additional {
                    return Some((false, self.with(additional, false)));
                }
                ty.preserve_unknown.then_some((false, At { ty: Ty::Unknown, ..self }))
            }
            Ty::Of(Type::Map(map)) => Some((false, self.with(&map.value, false))),
            _ => Some((false, At { ty: Ty::Unknown, ..self })),
        }
    }

    pub(super) fn items(self, list: &'a ListType) -> At<'a> {
        self.with(&list.item, false)
    }

    /// The element of a list's item.
    pub(super) fn element(self, list: &ListType, value: &Value) -> Result<String, String> {
        let ListKind::Map(names) = &list.kind else {
            return match value {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".into())
                }
                scalar => Ok(item(scalar)),
            };
        };
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return Err("associative list with keys may not have a null element".into()),
            _ => return Err("associative list with keys may not have non-map elements".into()),
        };
        let mut keys = Vec::with_capacity(names.len());
        for name in names {
            let value = map.get(name.as_str()).map(Cow::Borrowed);
            let value = value.or_else(|| self.default_key(list, name).map(Cow::Owned));
            keys.extend(value.map(|value| (name.as_str(), value)));
        }
        if keys.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        Ok(keyed(&mut keys))
    }

    fn default_key(self, list: &ListType, name: &str) -> Option<Value> {
        let field = self.schema[list.item.as_struct()?].field(name)?;
        if let Some(default) = &field.default {
            return Some((**default).clone());
        }
        if field.keep_empty { zero(&field.ty) } else { None }
    }
}

fn zero(ty: &Type) -> Option<Value> {
    match ty {
        Type::String => Some("".into()),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => Some(0.into()),
        Type::Bool => Some(false.into()),
        _ => None,
    }
}

/// The object that has nothing but what its type always writes: what a new object is compared with.
pub(crate) fn blank(schema: &Schema, id: StructId) -> Value {
    fn fill(schema: &Schema, id: StructId, depth: usize) -> Map<String, Value> {
        let mut map = Map::new();
        for field in schema[id].in_order().filter(|f| f.keep_empty) {
            let value = match &field.ty {
                _ if field.pointer => Value::Null,
                Type::Struct(below) if depth > 0 => Value::Object(fill(schema, *below, depth - 1)),
                other => zero(other).unwrap_or_default(),
            };
            map.insert(field.name.to_string(), value);
        }
        map
    }
    Value::Object(fill(schema, id, 16))
}

/// The set of an object's fields; for the configuration that someone applies: what they own by it.
///
/// # Errors
/// A sentence with the path, for what the schema does not know or what has no place in a list.
pub(crate) fn to_set(at: At<'_>, object: &Value, repeated: bool) -> Result<FieldSet, String> {
    let custom = matches!(at.ty, Ty::Struct(id, _) if at.schema[id].custom);
    let mut walk = Walk { set: FieldSet::default(), path: Vec::new(), errors: Vec::new(), repeated, custom };
    walk.value(at, object);
    match walk.errors.len() {
        0 => Ok(walk.set),
        1 => Err(walk.errors.remove(0)),
        _ => Err(format!("errors:\n  {}", walk.errors.join("\n  "))),
    }
}

struct Walk {
    set: FieldSet,
    path: Vec<Name>,
    errors: Vec<String>,
    /// Whether items may repeat.
    repeated: bool,
    custom: bool,
}

impl Walk {
    fn own(&mut self) {
        self.set.insert(self.path.iter().cloned());
    }

    fn error(&mut self, text: &str) {
        let path: Vec<&str> = self.path.iter().map(Name::as_str).collect();
        self.errors.push(format!("{}: {text}", super::set::path_text(&path)));
    }

    /// A custom resource's texts, numbers and truths are what they are declared to be; other kinds are decoded before.
    fn scalar(&mut self, at: At<'_>, value: &Value) {
        if !self.custom {
            return;
        }
        let wanted = match (at.ty, value) {
            (_, Value::Null)
            | (Ty::Of(Type::String), Value::String(_))
            | (Ty::Of(Type::Int64 | Type::Float), Value::Number(_))
            | (Ty::Of(Type::Bool), Value::Bool(_)) => return,
            (Ty::Of(Type::String), _) => "string",
            (Ty::Of(Type::Int64 | Type::Float), _) => "numeric (int or float)",
            (Ty::Of(Type::Bool), _) => "boolean",
            _ => return,
        };
        self.error(&format!("expected {wanted}, got &value.valueUnstructured{{Value:{value}}}"));
    }

    /// What is one value must still be of declared fields.
    fn declared(&mut self, at: At<'_>, value: &Value) {
        let fields: Vec<(Name, Option<At<'_>>, &Value)> = match (at.ty, value) {
            (Ty::Struct(..) | Ty::Of(Type::Map(_)), Value::Object(map)) => {
                map.iter().map(|(name, v)| (field(name), at.child(name).map(|(_, at)| at), v)).collect()
            }
            (Ty::Of(Type::List(list)), Value::Array(items)) => {
                let part = |i| smol_str::format_smolstr!("i:{i}");
                items.iter().enumerate().map(|(i, v)| (part(i), Some(at.items(list)), v)).collect()
            }
            _ => return,
        };
        for (part, below, value) in fields {
            self.path.push(part);
            match below {
                Some(below) => self.declared(below, value),
                None => self.error("field not declared in schema"),
            }
            self.path.pop();
        }
    }

    fn value(&mut self, at: At<'_>, value: &Value) {
        match (at.shape(Some(value), None), value) {
            (Shape::Leaf, _) => {
                self.declared(at, value);
                self.scalar(at, value);
                self.own();
            }
            (_, Value::Null) => {}
            (Shape::List(list), Value::Array(items)) => {
                let mut seen = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    let part = match at.element(list, item).map(Name::from) {
                        Ok(part) => part,
                        Err(error) => {
                            self.error(&format!("element {i}: {error}"));
                            continue;
                        }
                    };
                    if seen.contains(&part) {
                        if !self.repeated {
                            let key = super::set::part_text(&part);
                            self.error(&format!("duplicate entries for key {key}"));
                        }
                        continue;
                    }
                    let twice = items[i + 1..]
                        .iter()
                        .any(|other| at.element(list, other).is_ok_and(|other| part == other));
                    seen.push(part.clone());
                    self.path.push(part);
                    // Of items that cannot be told apart only their being there is owned.
                    if !twice {
                        self.value(at.items(list), item);
                    }
                    self.own();
                    self.path.pop();
                }
            }
            (Shape::Object, Value::Object(map)) => {
                for (name, value) in map {
                    self.path.push(field(name));
                    match at.child(name) {
                        None => self.error("field not declared in schema"),
                        Some((named, below)) => {
                            self.value(below, value);
                            let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                            if empty || !named {
                                self.own();
                            }
                        }
                    }
                    self.path.pop();
                }
            }
            (Shape::List(_), _) => self.error("expected list"),
            (Shape::Object, _) => self.error("expected map"),
        }
    }
}

/// The named fields that lead to members become members, so that what they hold can be removed with them.
pub(crate) fn promote(set: &mut FieldSet, at: At<'_>) {
    set.promote(Some(at), &|at: Option<At<'_>>, part: &str| {
        let Some(at) = at else { return (false, None) };
        match part.split_once(':') {
            Some(("f", name)) => match at.child(name) {
                Some((named, below)) => (named, Some(below)),
                None => (false, None),
            },
            Some(("k", _)) => match at.shape(None, None) {
                Shape::List(list) => (false, Some(at.items(list))),
                _ => (false, None),
            },
            _ => (false, None),
        }
    });
}
