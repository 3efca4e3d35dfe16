//! Types of custom resources, from their structural schema.

use rustc_hash::FxHashSet;
use serde_json::Value;

use super::{AnyKind, Field, ListKind, ListType, MapType, Schema, StructId, StructType, Type};
use crate::object::Name;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Deeper schemas are free-form from there on; Kubernetes' own limits on a definition's size come first.
const DEPTH_MAX: usize = 100;

/// Objects of more properties than this are free-form; validation of definitions refuses them. Kubernetes has no such
/// bound but that of a request's size, which is near.
pub const PROPERTIES_MAX: usize = 60_000;

impl Schema {
    /// The types of a custom resource whose definition has this `openAPIV3Schema`, and the type of the object itself.
    ///
    /// `apiVersion`, `kind` and `metadata` are what every object has, whatever the schema says of them. A schema that
    /// is not structural still yields types: what it does not say is not pruned away but free-form.
    pub fn from_crd(open_api_v3_schema: &Value) -> (Schema, StructId) {
        let mut schema = Schema::default();
        let meta = schema.import(Schema::builtin(), OBJECT_META);
        let root = schema.custom_struct(open_api_v3_schema, "", meta, 0);
        let mut ty = schema[root].clone();
        ty.preserve_unknown |= open_api_v3_schema.get("properties").is_none();
        schema.set(root, with_object_fields(ty, meta));
        schema.set_source(open_api_v3_schema.clone());
        (schema, root)
    }

    /// Copies a struct and all that it refers to from another arena.
    fn import(&mut self, from: &Schema, name: &str) -> StructId {
        if let Some(id) = self.by_name(name) {
            return id;
        }
        let source = from.by_name(name).expect("the built-in tables have the type");
        // Reserve the place first: types may refer to themselves.
        let id = self.push(StructType { name: name.into(), ..StructType::default() });
        let mut ty = from[source].clone();
        for field in &mut ty.fields {
            self.import_type(from, &mut field.ty);
        }
        self.set(id, ty);
        id
    }

    fn import_type(&mut self, from: &Schema, ty: &mut Type) {
        match ty {
            Type::Struct(id) => *id = self.import(from, &from[*id].name.clone()),
            Type::List(list) => self.import_type(from, &mut list.item),
            Type::Map(map) => self.import_type(from, &mut map.value),
            _ => {}
        }
    }

    fn custom_type(&mut self, schema: &Value, path: &str, meta: StructId, depth: usize) -> Type {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        if flag("x-kubernetes-int-or-string") {
            return Type::IntOrString;
        }
        if depth > DEPTH_MAX {
            return Type::Any(AnyKind::Json);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => Type::String,
            Some("boolean") => Type::Bool,
            Some("integer") => Type::Int64,
            Some("number") => Type::Float,
            Some("array") => {
                let item = match schema.get("items") {
                    Some(items) => self.custom_type(items, &format!("{path}[]"), meta, depth + 1),
                    None => Type::Any(AnyKind::Json),
                };
                let declared = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
                let kind = match declared {
                    Some("set") => ListKind::Set,
                    Some("map") => {
                        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                        ListKind::Map(
                            keys.into_iter().flatten().filter_map(Value::as_str).map(Name::new).collect(),
                        )
                    }
                    _ => ListKind::Atomic,
                };
                Type::List(Box::new(ListType { item, kind, declared: declared.is_some() }))
            }
            Some("object") => {
                let additional = schema.get("additionalProperties");
                let has_properties = schema.get("properties").is_some();
                let atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
                match additional {
                    Some(Value::Bool(true)) if !has_properties => {
                        Type::Map(Box::new(MapType { value: Type::Any(AnyKind::Json), atomic }))
                    }
                    Some(value @ Value::Object(_)) if !has_properties => {
                        let value = self.custom_type(value, &format!("{path}.*"), meta, depth + 1);
                        Type::Map(Box::new(MapType { value, atomic }))
                    }
                    _ => Type::Struct(self.custom_struct(schema, path, meta, depth)),
                }
            }
            _ => Type::Any(AnyKind::Json),
        }
    }

    fn custom_struct(&mut self, schema: &Value, path: &str, meta: StructId, depth: usize) -> StructId {
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        let id = self.push(StructType { name: path.into(), ..StructType::default() });
        let required: FxHashSet<&str> = strings(schema.get("required")).collect();
        let properties = schema.get("properties").and_then(Value::as_object);
        let too_many = properties.is_some_and(|properties| properties.len() > PROPERTIES_MAX);
        let mut fields = Vec::new();
        for (name, property) in properties.filter(|_| !too_many).into_iter().flatten() {
            let child = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let mut field = Field::new(name.as_str(), self.custom_type(property, &child, meta, depth + 1));
            field.required = required.contains(name.as_str());
            field.pointer = true;
            field.nullable = property.get("nullable").and_then(Value::as_bool).unwrap_or(false);
            field.default = property.get("default").cloned().map(Box::new);
            field.values = strings(property.get("enum")).map(Name::new).collect();
            fields.push(field);
        }
        let mut ty = StructType::with_fields(path.into(), fields);
        ty.custom = true;
        ty.preserve_unknown = too_many || flag("x-kubernetes-preserve-unknown-fields");
        ty.atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
        ty.additional = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Box::new(Type::Any(AnyKind::Json))),
            Some(value @ Value::Object(_)) => {
                Some(Box::new(self.custom_type(value, &format!("{path}.*"), meta, depth + 1)))
            }
            _ => None,
        };
        ty.embedded_resource = flag("x-kubernetes-embedded-resource");
        if ty.embedded_resource {
            ty = with_object_fields(ty, meta);
        }
        self.set(id, ty);
        id
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The struct with `apiVersion`, `kind` and `metadata` as every object has them.
fn with_object_fields(ty: StructType, meta: StructId) -> StructType {
    let mut fields: Vec<Field> = ty.fields.into_vec();
    fields.retain(|f| !matches!(f.name.as_str(), "apiVersion" | "kind" | "metadata"));
    fields.push(Field::new("apiVersion", Type::String));
    fields.push(Field::new("kind", Type::String));
    fields.push(Field {
        keep_empty: !ty.embedded_resource,
        pointer: true,
        ..Field::new("metadata", Type::Struct(meta))
    });
    let StructType { fields, order, rank, kept, slots, .. } =
        StructType::with_fields(ty.name.clone(), fields);
    StructType { fields, order, rank, kept, slots, ..ty }
}
