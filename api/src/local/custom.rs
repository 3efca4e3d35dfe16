//! The defaults that a custom resource's schema declares.

use orlop_core::schema::{Schema, Type};
use serde_json::{Map, Value};

/// Deeper objects keep what they have.
const DEPTH_MAX: usize = 64;

/// Fills in declared defaults, also within what defaults have filled in.
pub(super) fn default(schema: &Schema, ty: &Type, value: &mut Value) {
    walk(schema, ty, value, 0);
}

fn walk(schema: &Schema, ty: &Type, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (ty, value) {
        (Type::Struct(id), Value::Object(map)) => {
            let ty = &schema[*id];
            for field in &ty.fields {
                // The object's own metadata has no defaults.
                if depth == 0 && matches!(field.name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                fill(map, field);
                if let Some(value) = map.get_mut(field.name.as_str()) {
                    walk(schema, &field.ty, value, depth + 1);
                }
            }
            if let Some(additional) = &ty.additional {
                for (_, value) in map.iter_mut().filter(|(key, _)| ty.field(key).is_none()) {
                    walk(schema, additional, value, depth + 1);
                }
            }
        }
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| walk(schema, &list.item, item, depth + 1));
        }
        (Type::Map(of), Value::Object(map)) => {
            map.values_mut().for_each(|value| walk(schema, &of.value, value, depth + 1));
        }
        _ => {}
    }
}

/// Null is the same as nothing where a field has a default and may not be null.
fn fill(map: &mut Map<String, Value>, field: &orlop_core::schema::Field) {
    let Some(default) = &field.default else { return };
    match map.get(field.name.as_str()) {
        None => {}
        Some(Value::Null) if !field.nullable => {}
        Some(_) => return,
    }
    map.insert(field.name.to_string(), (**default).clone());
}
