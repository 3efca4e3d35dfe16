//! Reads the table of built-in types.
//!
//! `types.txt` has one line for each package, type and field:
//!
//! ```text
//! package io.k8s.api.apps.v1 apps.v1            full name, alias
//! type DeploymentSpec [atomic] [proto] [kind=G/V/K] [unions=JSON] [behind=FIELD/OTHER,…]
//!  minReadySeconds i32 #5                        name, type, marks
//! ```
//! `behind` moves fields from where their protobuf number would put them in the order of writing to directly behind
//! another field, or, with `-`, to the front.
//!
//! Types: `str bytes bool i32 i64 f64 qty time utime ios any:…`, a type's name with its package's alias where that is
//! another one (`core.v1:PodSpec`), `{T}` a map and `{T}a` an atomic one, `[T]` a list whose merging is not declared,
//! `[T]a` atomic, `[T]s` a set, `[T]m(key,…)` by keys. Marks: `!` required, `&` written though absent, `*` a pointer,
//! `=JSON` default, `|a|b` values with `~` for a space, `granular`, `^merge,retainKeys` and `^:key` strategic merge, `#1.2` protobuf number.

use std::sync::{Arc, LazyLock};

use rustc_hash::FxHashMap;

use super::{
    AnyKind, Field, GroupVersionKind, ListKind, ListType, MapType, Schema, StructId, StructType, Type,
};
use crate::object::Name;

static BUILTIN: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(parse(concat!(include_str!("types.txt"), include_str!("optional.txt")))));

impl Schema {
    /// The types of every built-in kind of Kubernetes 1.36, those of versions that are not served by default among them
    /// ([`OptionalVersion`](crate::scheme::OptionalVersion)). Read on first use, which takes about a millisecond.
    pub fn builtin() -> &'static Arc<Schema> {
        &BUILTIN
    }
}

struct Names<'a> {
    /// Alias of a package to the ids of its types.
    ids: FxHashMap<(&'a str, &'a str), StructId>,
}

fn parse(text: &'static str) -> Schema {
    let mut names = Names { ids: FxHashMap::default() };
    let mut alias = "";
    let mut count = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("package ") {
            alias = rest.split(' ').nth(1).unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix("type ") {
            names.ids.insert((alias, rest.split(' ').next().unwrap_or_default()), StructId(count));
            count += 1;
        }
    }
    let mut schema = Schema::default();
    let mut package = "";
    let mut head: Option<&str> = None;
    let mut fields = Vec::new();
    let mut close = |head: Option<&str>, package: &str, fields: &mut Vec<Field>| {
        if let Some(head) = head {
            schema.push(struct_type(head, package, std::mem::take(fields)));
        }
    };
    for line in text.lines() {
        if let Some(field) = line.strip_prefix(' ') {
            fields.push(names.field(field, alias));
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        close(head.take(), package, &mut fields);
        if let Some(rest) = line.strip_prefix("package ") {
            (package, alias) = rest.split_once(' ').expect("a package has a name and an alias");
        } else {
            head = line.strip_prefix("type ");
        }
    }
    close(head, package, &mut fields);
    schema
}

fn struct_type(head: &str, package: &str, fields: Vec<Field>) -> StructType {
    let mut words = head.split(' ');
    let short = words.next().unwrap_or_default();
    let mut ty = StructType::with_fields(smol_str::format_smolstr!("{package}.{short}"), fields);
    for word in words {
        if let Some(kind) = word.strip_prefix("kind=") {
            let mut parts = kind.split('/').map(Name::new);
            let mut next = || parts.next().unwrap_or_default();
            ty.kinds = [GroupVersionKind { group: next(), version: next(), kind: next() }].into();
        } else if let Some(unions) = word.strip_prefix("unions=") {
            ty.unions = Some(Box::new(serde_json::from_str(unions).expect("unions are JSON")));
        } else if let Some(pairs) = word.strip_prefix("behind=") {
            pairs
                .split(',')
                .filter_map(|pair| pair.split_once('/'))
                .for_each(|(name, other)| ty.move_behind(name, other));
        } else if word == "atomic" {
            ty.atomic = true;
        } else if word == "proto" {
            ty.protobuf = true;
        } else {
            unreachable!("a mark of a type: {word}");
        }
    }
    ty
}

impl Names<'_> {
    fn field(&self, line: &'static str, alias: &str) -> Field {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let ty = words.next().unwrap_or_default();
        let mut field = Field::new(Name::new_static(name), self.ty(ty, alias));
        for word in words {
            match word.as_bytes()[0] {
                b'!' => field.required = true,
                b'&' => field.keep_empty = true,
                b'*' => field.pointer = true,
                b'=' => {
                    field.default =
                        Some(Box::new(serde_json::from_str(&word[1..]).expect("defaults are JSON")))
                }
                b'|' => field.values = word[1..].split('|').map(|v| v.replace('~', " ").into()).collect(),
                b'g' => field.granular = true,
                b'^' if word.starts_with("^:") => field.patch_merge_key = Some(Name::new_static(&word[2..])),
                b'^' => {
                    field.patch.merge = word.contains("merge");
                    field.patch.retain_keys = word.contains("retainKeys");
                    field.patch.replace = word.contains("replace");
                }
                b'#' => {
                    for (at, number) in word[1..].split('.').enumerate() {
                        field.number[at] = number.parse().expect("protobuf numbers are small");
                    }
                }
                _ => unreachable!("a mark of a field: {word}"),
            }
        }
        field
    }

    fn ty(&self, text: &'static str, alias: &str) -> Type {
        if let Some(rest) = text.strip_prefix('[') {
            let (item, mark) = rest.rsplit_once(']').expect("a list ends");
            let kind = match mark.as_bytes().first() {
                Some(b's') => ListKind::Set,
                Some(b'm') => {
                    ListKind::Map(mark[2..mark.len() - 1].split(',').map(Name::new_static).collect())
                }
                _ => ListKind::Atomic,
            };
            return Type::List(Box::new(ListType {
                item: self.ty(item, alias),
                kind,
                declared: !mark.is_empty(),
            }));
        }
        if let Some(rest) = text.strip_prefix('{') {
            let (value, mark) = rest.rsplit_once('}').expect("a map ends");
            return Type::Map(Box::new(MapType { value: self.ty(value, alias), atomic: mark == "a" }));
        }
        match text {
            "str" => Type::String,
            "bytes" => Type::Bytes,
            "bool" => Type::Bool,
            "i32" => Type::Int32,
            "i64" => Type::Int64,
            "f64" => Type::Float,
            "qty" => Type::Quantity,
            "time" => Type::Time,
            "utime" => Type::MicroTime,
            "ios" => Type::IntOrString,
            "any:json" => Type::Any(AnyKind::Json),
            "any:fields" => Type::Any(AnyKind::FieldsV1),
            "any:raw" => Type::Any(AnyKind::RawExtension),
            "any:object" => Type::Any(AnyKind::Object),
            "any:schema-or-array" => Type::Any(AnyKind::SchemaOrArray),
            "any:schema-or-bool" => Type::Any(AnyKind::SchemaOrBool),
            "any:schema-or-strings" => Type::Any(AnyKind::SchemaOrStrings),
            _ => {
                let (home, short) = text.split_once(':').unwrap_or((alias, text));
                Type::Struct(*self.ids.get(&(home, short)).expect("types refer to types of the table"))
            }
        }
    }
}
