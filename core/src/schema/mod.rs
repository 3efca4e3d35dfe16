//! What every kind looks like: fields, types, and how lists and maps merge.
//!
//! One table drives decoding, pruning, encoding, strategic merge patch, server-side apply, protobuf and the OpenAPI
//! documents. Built-in kinds share [`Schema::builtin`], read from a text table of this crate; a custom resource
//! brings an arena of its own ([`Schema::from_crd`]).

mod crd;
mod table;
mod types;

pub use crd::PROPERTIES_MAX;
pub use types::{
    AnyKind, Field, GroupVersionKind, ListKind, ListType, MapType, PatchStrategy, Schema, StructId,
    StructType, Type,
};
