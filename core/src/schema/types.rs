//! The types of which a schema consists.

use std::hash::Hasher;
use std::ops::Index;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};
use serde_json::Value;

use crate::object::Name;

/// An arena of types that refer to each other by [`StructId`].
#[derive(Clone, Debug, Default)]
pub struct Schema {
    structs: Vec<StructType>,
    by_name: FxHashMap<Name, StructId>,
    source: Option<Arc<Value>>,
}

/// A [`StructType`]'s place in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(pub(crate) u32);

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// A text.
    String,
    /// Bytes, in base64.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Float,
    /// An amount, as a text or a number; kept as a text in canonical form.
    Quantity,
    /// A moment in RFC 3339, whole seconds.
    Time,
    /// A moment in RFC 3339, microseconds.
    MicroTime,
    /// A number of 32 bits or a text.
    IntOrString,
    /// Free-form JSON, never pruned.
    Any(AnyKind),
    /// A list.
    List(Box<ListType>),
    /// An object with keys of the user's choice.
    Map(Box<MapType>),
    /// An object with declared fields.
    Struct(StructId),
}

/// Where free-form JSON comes from; only OpenAPI and protobuf tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnyKind {
    /// Any JSON value (`apiextensions.v1.JSON`, or a custom resource's field without a type).
    Json,
    /// A set of fields, in `managedFields`.
    FieldsV1,
    /// An object of any kind.
    RawExtension,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of texts.
    SchemaOrStrings,
    /// An object whose type says nothing more (`type: object`).
    Object,
}

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListType {
    /// What the items are.
    pub item: Type,
    /// How two lists merge under server-side apply.
    pub kind: ListKind,
    /// Whether the schema says so itself; OpenAPI documents repeat only what was declared.
    pub declared: bool,
}

/// How two lists merge under server-side apply (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// As a whole. Also what an undeclared list is.
    #[default]
    Atomic,
    /// Item by item; items are scalars and occur once.
    Set,
    /// By these keys of the items (`x-kubernetes-list-map-keys`).
    Map(Box<[Name]>),
}

/// An object with keys of the user's choice.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// What the values are.
    pub value: Type,
    /// Whether server-side apply treats it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// An object with declared fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructType {
    /// `io.k8s.api.apps.v1.DeploymentSpec`; for a custom resource's parts, the path within its schema.
    pub name: Name,
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// Indices into `fields` in the order in which Kubernetes writes them.
    pub order: Box<[u16]>,
    /// By index into `fields`, its place in `order`.
    pub(crate) rank: Box<[u16]>,
    /// The places in `order` of the fields that are written though absent, ascending.
    pub(crate) kept: Box<[u16]>,
    /// Finds fields by a hash of their names, by open addressing: indices into `fields`, plus one; 0 is free.
    pub(crate) slots: Box<[u16]>,
    /// Undeclared fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// Whether server-side apply treats it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// What undeclared fields must be, where a custom resource's schema has both properties and additional ones.
    pub additional: Option<Box<Type>>,
    /// `x-kubernetes-unions`, as written.
    pub unions: Option<Box<Value>>,
    /// The kinds of which this is the type; most structs have none.
    pub kinds: Box<[GroupVersionKind]>,
    /// An object within the object, with `apiVersion`, `kind` and `metadata` (`x-kubernetes-embedded-resource`).
    pub embedded_resource: bool,
    /// Part of a custom resource's own schema: values are kept as they were written, nulls too.
    pub custom: bool,
    /// Has a protobuf message of the same name.
    pub protobuf: bool,
}

/// A kind by group, version and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// Empty for the legacy group.
    pub group: Name,
    /// `v1`.
    pub version: Name,
    /// `Deployment`.
    pub kind: Name,
}

/// One field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub name: Name,
    /// What it holds.
    pub ty: Type,
    /// Whether the schema lists it as required.
    pub required: bool,
    /// Whether it is written even where it is absent: as `null` where it is a pointer, a list, a map or a moment, else
    /// as the zero of its type or `{}` (a Go field without `omitempty`, or a struct that is no pointer).
    pub keep_empty: bool,
    /// Whether an empty value (`0`, `false`, `""`, `{}`, `[]`) means something else than an absent one and is kept (a
    /// pointer in Go, and everything in custom resources).
    pub pointer: bool,
    /// Whether `null` is a value of its own (custom resources only; elsewhere null is the same as absent).
    pub nullable: bool,
    /// The value that it has where it is absent. Zero values that the built-in documents list as defaults are told by
    /// `keep_empty` instead.
    pub default: Option<Box<Value>>,
    /// The only values that it, or its items, may have; empty where anything goes.
    pub values: Box<[Name]>,
    /// How strategic merge patch treats it.
    pub patch: PatchStrategy,
    /// The field of the items by which strategic merge patch matches them.
    pub patch_merge_key: Option<Name>,
    /// Server-side apply goes into it although its struct is atomic (`x-kubernetes-map-type: granular`).
    pub granular: bool,
    /// The protobuf field number. Where the field is part of embedded messages, their numbers come first: `[n, 0, 0]`
    /// is a field of this message itself, `[m, n, 0]` the field `n` of the message in field `m`. All 0: not in
    /// protobuf.
    pub number: [u16; 3],
}

/// How strategic merge patch treats a field (`x-kubernetes-patch-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PatchStrategy {
    /// Lists merge by key (or as sets, where there is no key) instead of being replaced.
    pub merge: bool,
    /// Keys that the patch does not name are cleared.
    pub retain_keys: bool,
    /// Declared to be replaced; the same as nothing declared, for lists and scalars.
    pub replace: bool,
}

impl Schema {
    /// Every struct, in order of their ids.
    pub fn structs(&self) -> &[StructType] {
        &self.structs
    }

    /// The struct of that name.
    pub fn by_name(&self, name: &str) -> Option<StructId> {
        self.by_name.get(name).copied()
    }

    /// Adds a struct; a later one of the same name hides the earlier.
    pub fn push(&mut self, ty: StructType) -> StructId {
        let id = StructId(u32::try_from(self.structs.len()).expect("fewer than 2^32 types"));
        self.by_name.insert(ty.name.clone(), id);
        self.structs.push(ty);
        id
    }

    /// The `openAPIV3Schema` from which it was made, as it was written; none for built-in types.
    pub fn source(&self) -> Option<&Value> {
        self.source.as_deref()
    }

    pub(crate) fn set_source(&mut self, source: Value) {
        self.source = Some(Arc::new(source));
    }

    pub(crate) fn set(&mut self, id: StructId, ty: StructType) {
        self.structs[id.0 as usize] = ty;
    }

    /// The type of a built-in kind, stored or not (`Status`, `Scale`, reviews).
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        if matches!(kind, "DeleteOptions" | "WatchEvent") {
            // Every group has these two, and they are the same type.
            return self.by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
        }
        let wanted = |k: &GroupVersionKind| k.kind == kind && k.version == version && k.group == group;
        let at = self.structs.iter().position(|s| s.kinds.iter().any(wanted))?;
        Some(StructId(u32::try_from(at).expect("an index into the arena")))
    }
}

impl Index<StructId> for Schema {
    type Output = StructType;

    fn index(&self, id: StructId) -> &StructType {
        &self.structs[id.0 as usize]
    }
}

fn hash(name: &str) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish() as usize
}

impl StructType {
    /// A struct with these fields; sorts them and works out the order of writing: `apiVersion` and `kind` first, then
    /// by protobuf number, which is the order of declaration, then by name.
    pub(crate) fn with_fields(name: Name, mut fields: Vec<Field>) -> StructType {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let rank = |f: &Field| match f.name.as_str() {
            "kind" if f.number[0] == 0 => 0,
            "apiVersion" if f.number[0] == 0 => 1,
            "metadata" => 2,
            _ => 3,
        };
        let number = |f: &Field| if f.number[0] == 0 { [u16::MAX; 3] } else { f.number };
        let count = u16::try_from(fields.len()).expect("fewer than 65,536 fields");
        let mut order: Vec<u16> = (0..count).collect();
        order.sort_by_key(|&at| (rank(&fields[usize::from(at)]), number(&fields[usize::from(at)])));
        StructType { name, fields: fields.into(), ..StructType::default() }.arranged(order)
    }

    /// The same with its fields written in this order.
    fn arranged(mut self, order: Vec<u16>) -> StructType {
        let mut rank = vec![0; order.len()];
        let mut kept = Vec::new();
        for (place, &at) in (0..).zip(&order) {
            rank[usize::from(at)] = place;
            if self.fields[usize::from(at)].keep_empty {
                kept.push(place);
            }
        }
        let mut slots = vec![0; (2 * self.fields.len()).next_power_of_two()];
        for (number, field) in (1..).zip(&self.fields) {
            let mut slot = hash(&field.name) & (slots.len() - 1);
            while slots[slot] != 0 {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot] = number;
        }
        (self.order, self.rank, self.kept, self.slots) =
            (order.into(), rank.into(), kept.into(), slots.into());
        self
    }

    /// Moves a field, in the order of writing, directly behind another one; to the front where there is no such.
    pub(crate) fn move_behind(&mut self, name: &str, other: &str) {
        let mut order = std::mem::take(&mut self.order).into_vec();
        let place = |order: &[u16], name: &str| {
            order.iter().position(|&at| self.fields[usize::from(at)].name == name)
        };
        if let Some(from) = place(&order, name) {
            let moved = order.remove(from);
            let to = place(&order, other).map_or(0, |at| at + 1);
            order.insert(to, moved);
        }
        *self = std::mem::take(self).arranged(order);
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        Some(&self.fields[self.position(name)?])
    }

    /// The place in `order` of the field of that name.
    pub(crate) fn rank(&self, name: &str) -> Option<u16> {
        Some(self.rank[self.position(name)?])
    }

    /// The field at a place in `order`.
    pub(crate) fn ranked(&self, place: u16) -> &Field {
        &self.fields[usize::from(self.order[usize::from(place)])]
    }

    fn position(&self, name: &str) -> Option<usize> {
        let last = self.slots.len().checked_sub(1)?;
        let mut slot = hash(name) & last;
        loop {
            // At least half of the slots are free.
            let at = usize::from(self.slots[slot]).checked_sub(1)?;
            if self.fields[at].name == name {
                return Some(at);
            }
            slot = (slot + 1) & last;
        }
    }

    /// The fields that are written though absent, in the order in which Kubernetes writes them.
    pub fn kept(&self) -> impl Iterator<Item = &Field> {
        self.kept.iter().map(|&place| self.ranked(place))
    }

    /// The fields in the order in which Kubernetes writes them.
    pub fn in_order(&self) -> impl Iterator<Item = &Field> {
        self.order.iter().map(|&at| &self.fields[usize::from(at)])
    }
}

impl Field {
    /// An optional field with nothing special about it.
    pub fn new(name: impl Into<Name>, ty: Type) -> Field {
        Field {
            name: name.into(),
            ty,
            required: false,
            keep_empty: false,
            pointer: false,
            nullable: false,
            default: None,
            values: Box::default(),
            patch: PatchStrategy::default(),
            patch_merge_key: None,
            granular: false,
            number: [0; 3],
        }
    }
}

impl Type {
    /// The struct's id, where it is one.
    pub fn as_struct(&self) -> Option<StructId> {
        match self {
            Type::Struct(id) => Some(*id),
            _ => None,
        }
    }
}
