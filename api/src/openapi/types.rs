//! Definitions of types, as far as a document refers to them.

use std::collections::BTreeSet;

use orlop_core::Kind;
use orlop_core::schema::{AnyKind, Field, ListKind, Schema, StructType, Type};
use orlop_core::scheme::{Resource, Scheme};
use serde_json::{Map, Value, json};

use super::render::Dialect;

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// Collects the types that a document names, then defines them and all that they name.
pub(super) struct Types<'a> {
    scheme: &'a Scheme,
    dialect: Dialect,
    wanted: BTreeSet<String>,
}

impl<'a> Types<'a> {
    pub(super) fn new(scheme: &'a Scheme, dialect: Dialect) -> Types<'a> {
        Types { scheme, dialect, wanted: BTreeSet::new() }
    }

    /// A reference to a type, which is thereby wanted.
    pub(super) fn reference(&mut self, name: &str) -> Value {
        if !self.wanted.contains(name) {
            self.wanted.insert(name.to_owned());
        }
        let place = match self.dialect {
            Dialect::V3 => "#/components/schemas/",
            Dialect::V2 => "#/definitions/",
        };
        json!({"$ref": format!("{place}{name}")})
    }

    /// Defines every wanted type. `group_version` is the document's own: it counts DeleteOptions among its kinds.
    pub(super) fn definitions(&mut self, group_version: &str) -> Map<String, Value> {
        let mut out = Map::new();
        loop {
            let next: Vec<String> =
                self.wanted.iter().filter(|name| !out.contains_key(*name)).cloned().collect();
            if next.is_empty() {
                break;
            }
            for name in next {
                let definition = self.definition(&name, group_version);
                out.insert(name, definition);
            }
        }
        out.sort_keys();
        out
    }

    fn definition(&mut self, name: &str, group_version: &str) -> Value {
        let schema = Schema::builtin();
        if let Some(id) = schema.by_name(name) {
            return self.structure(schema, &schema[id], group_version);
        }
        if let Some(scalar) = self.scalar(name) {
            return scalar;
        }
        let found = self.scheme.resources().find_map(|r| {
            let own = custom_name(&r.kind, &r.kind.kind);
            (r.custom && name.starts_with(&own)).then(|| (r.clone(), name == own))
        });
        match found {
            Some((resource, true)) => self.custom(&resource),
            Some((resource, false)) => self.custom_list(&resource),
            None => json!({"type": "object"}),
        }
    }

    /// Types that are no objects.
    fn scalar(&self, name: &str) -> Option<Value> {
        let v3 = self.dialect == Dialect::V3;
        Some(match name.rsplit('.').next()? {
            "Quantity" if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            "Quantity" => json!({"type": "string"}),
            "IntOrString" if v3 => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
            "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
            "FieldsV1" | "Patch" | "RawExtension" => json!({"type": "object"}),
            "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
                json!({})
            }
            _ => return None,
        })
    }

    fn structure(&mut self, schema: &Schema, ty: &StructType, group_version: &str) -> Value {
        let mut out = Map::new();
        out.insert("type".to_owned(), "object".into());
        let required: Vec<&str> = ty.in_order().filter(|f| f.required).map(|f| f.name.as_str()).collect();
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        if !ty.fields.is_empty() {
            let properties: Map<String, Value> =
                ty.fields.iter().map(|f| (f.name.to_string(), self.field(schema, &ty.name, f))).collect();
            out.insert("properties".to_owned(), properties.into());
        }
        // These two stand for every group's own.
        let everywhere = [format!("{META}DeleteOptions"), format!("{META}WatchEvent")];
        if everywhere.contains(&ty.name.to_string()) {
            let kind = ty.name.rsplit('.').next().unwrap_or_default();
            let gvk = |group: &str, version: &str| json!({"group": group, "version": version, "kind": kind});
            let mut kinds = vec![gvk("", "v1")];
            match self.dialect {
                Dialect::V3 => kinds.extend(group_version.split_once('/').map(|(g, v)| gvk(g, v))),
                Dialect::V2 => {
                    for (group, versions) in self.scheme.groups().iter().filter(|(g, _)| !g.is_empty()) {
                        kinds.extend(versions.iter().map(|v| gvk(group, v)));
                    }
                }
            }
            out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
        } else if !ty.kinds.is_empty() {
            let kinds: Vec<Value> = ty
                .kinds
                .iter()
                .map(|k| json!({"group": k.group, "version": k.version, "kind": k.kind}))
                .collect();
            out.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
        }
        if ty.atomic {
            out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        if let Some(unions) = &ty.unions {
            out.insert("x-kubernetes-unions".to_owned(), (**unions).clone());
        }
        Value::Object(out)
    }

    fn field(&mut self, schema: &Schema, owner: &str, field: &Field) -> Value {
        let mut out = self.ty(schema, &field.ty);
        let is_struct = matches!(field.ty, Type::Struct(_));
        if self.dialect == Dialect::V3 {
            if let Some(reference) = out.as_object_mut().and_then(|o| o.shift_remove("$ref")) {
                out = json!({"allOf": [{"$ref": reference}]});
            }
            let zero = match field.ty {
                Type::Struct(_) => Some(json!({})),
                Type::String => Some("".into()),
                Type::Bool => Some(false.into()),
                Type::Int32 | Type::Int64 | Type::Float => Some(0.into()),
                _ => None,
            };
            let default =
                field.default.as_deref().cloned().or(zero.filter(|_| field.keep_empty && !field.pointer));
            if let Some(default) = default {
                out["default"] = default;
            }
        }
        if !field.values.is_empty() {
            match &field.ty {
                Type::List(_) => out["items"]["enum"] = json!(field.values),
                Type::Map(_) => out["additionalProperties"]["enum"] = json!(field.values),
                _ => out["enum"] = json!(field.values),
            }
        }
        // Declared on the bytes of this one field, where it means nothing.
        if field.name == "caBundle" && owner.ends_with(".APIServiceSpec") {
            out["x-kubernetes-list-type"] = "atomic".into();
        }
        if field.granular && (is_struct || matches!(field.ty, Type::Map(_))) {
            out["x-kubernetes-map-type"] = "granular".into();
        }
        if let Some(key) = &field.patch_merge_key {
            out["x-kubernetes-patch-merge-key"] = key.as_str().into();
        }
        let patch = field.patch;
        let strategies =
            [(patch.merge, "merge"), (patch.retain_keys, "retainKeys"), (patch.replace, "replace")];
        let strategies: Vec<&str> =
            strategies.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        if !strategies.is_empty() {
            out["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        out
    }

    fn ty(&mut self, schema: &Schema, ty: &Type) -> Value {
        match ty {
            Type::String => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Float => json!({"type": "number", "format": "double"}),
            Type::Quantity => self.reference("io.k8s.apimachinery.pkg.api.resource.Quantity"),
            Type::Time => self.reference(&format!("{META}Time")),
            Type::MicroTime => self.reference(&format!("{META}MicroTime")),
            Type::IntOrString => self.reference("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
            Type::Any(kind) => match kind {
                AnyKind::Object => json!({"type": "object"}),
                AnyKind::FieldsV1 => self.reference(&format!("{META}FieldsV1")),
                AnyKind::RawExtension => self.reference("io.k8s.apimachinery.pkg.runtime.RawExtension"),
                AnyKind::Json => self.reference(&format!("{EXTENSIONS}JSON")),
                AnyKind::SchemaOrArray => self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrArray")),
                AnyKind::SchemaOrBool => self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrBool")),
                AnyKind::SchemaOrStrings => {
                    self.reference(&format!("{EXTENSIONS}JSONSchemaPropsOrStringArray"))
                }
            },
            Type::List(list) => {
                let mut out = json!({"type": "array", "items": self.ty(schema, &list.item)});
                if list.declared {
                    out["x-kubernetes-list-type"] = match &list.kind {
                        ListKind::Atomic => "atomic",
                        ListKind::Set => "set",
                        ListKind::Map(_) => "map",
                    }
                    .into();
                }
                if let ListKind::Map(keys) = &list.kind {
                    out["x-kubernetes-list-map-keys"] = json!(keys);
                }
                out
            }
            Type::Map(map) => {
                let mut out = json!({"type": "object", "additionalProperties": self.ty(schema, &map.value)});
                if map.atomic {
                    out["x-kubernetes-map-type"] = "atomic".into();
                }
                out
            }
            Type::Struct(id) => self.reference(&schema[*id].name),
        }
    }

    /// A custom resource: its schema as it was written, and what every object has.
    fn custom(&mut self, resource: &Resource) -> Value {
        let mut out = resource.schema.source().cloned().unwrap_or_else(|| json!({"type": "object"}));
        if !out.is_object() {
            out = json!({"type": "object"});
        }
        if self.dialect == Dialect::V2 {
            for_v2(&mut out, 0);
        }
        let meta = self.object_meta("ObjectMeta");
        if !out["properties"].is_object() {
            out["properties"] = json!({});
        }
        for field in ["apiVersion", "kind"] {
            if out["properties"].get(field).is_none() {
                out["properties"][field] = json!({"type": "string"});
            }
        }
        out["properties"]["metadata"] = meta;
        out["x-kubernetes-group-version-kind"] = json!([gvk(&resource.kind, &resource.kind.kind)]);
        out
    }

    fn custom_list(&mut self, resource: &Resource) -> Value {
        let item = self.reference(&custom_name(&resource.kind, &resource.kind.kind));
        let meta = self.object_meta("ListMeta");
        json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": meta,
                "items": {"type": "array", "items": item},
            },
            "x-kubernetes-group-version-kind": [gvk(&resource.kind, &resource.list_kind)],
        })
    }

    fn object_meta(&mut self, name: &str) -> Value {
        let reference = self.reference(&format!("{META}{name}"));
        match self.dialect {
            Dialect::V3 => json!({"allOf": [reference]}),
            Dialect::V2 => reference,
        }
    }
}

fn gvk(kind: &Kind, name: &str) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": name})
}

/// `com.example.v1.Widget`: the group's parts in reverse.
pub(super) fn custom_name(kind: &Kind, name: &str) -> String {
    let group: Vec<&str> = kind.group.split('.').rev().collect();
    format!("{}.{}.{name}", group.join("."), kind.version)
}

/// Takes away what OpenAPI v2 has no words for.
fn for_v2(schema: &mut Value, depth: usize) {
    // As deep as a request body may be.
    if depth > orlop_core::codec::DEPTH_MAX {
        return;
    }
    let Value::Object(map) = schema else { return };
    for name in ["default", "nullable", "oneOf", "anyOf", "allOf", "not"] {
        map.shift_remove(name);
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        map.shift_remove("properties");
        map.shift_remove("items");
    }
    for (name, inner) in map.iter_mut() {
        match (name.as_str(), inner) {
            ("properties", Value::Object(fields)) => fields.values_mut().for_each(|f| for_v2(f, depth + 1)),
            ("items" | "additionalProperties", inner) => for_v2(inner, depth + 1),
            _ => {}
        }
    }
}
