//! The fields that Kubernetes writes even where they are empty: a write owns them, too.

use orlop_core::schema::{Schema, StructId, Type};
use serde_json::{Map, Value};

/// Adds to a decoded object of a built-in type what its encoded form has besides.
pub(super) fn complete(schema: &Schema, ty: StructId, value: &mut Value) {
    if let Value::Object(map) = value {
        fill(schema, ty, map);
    }
}

fn fill(schema: &Schema, id: StructId, map: &mut Map<String, Value>) {
    let ty = &schema[id];
    if ty.custom {
        return;
    }
    for (name, value) in map.iter_mut().filter(|(_, value)| !value.is_null()) {
        if let Some(field) = ty.field(name) {
            walk(schema, &field.ty, value);
        }
    }
    for field in ty.kept() {
        let name = field.name.as_str();
        if map.get(name).is_none_or(Value::is_null) {
            let zero = if field.pointer { Value::Null } else { zero(schema, &field.ty) };
            map.insert(name.to_owned(), zero);
        }
    }
}

fn walk(schema: &Schema, ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Struct(id), Value::Object(map)) => fill(schema, *id, map),
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| walk(schema, &list.item, item));
        }
        (Type::Map(of), Value::Object(map)) => {
            map.values_mut().for_each(|value| walk(schema, &of.value, value));
        }
        _ => {}
    }
}

/// The empty value of a type: null for lists, maps and times.
fn zero(schema: &Schema, ty: &Type) -> Value {
    match ty {
        Type::Struct(id) => {
            let mut map = Map::new();
            fill(schema, *id, &mut map);
            Value::Object(map)
        }
        Type::String => "".into(),
        Type::Quantity => "0".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
        _ => Value::Null,
    }
}
