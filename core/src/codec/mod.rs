//! From bytes to trees and back, by the schema.
//!
//! The way of a request body: [`decode_json`] (or [`protobuf::decode`], or [`crate::yaml`]) makes a tree;
//! [`conform`] checks its types and takes away what the schema does not know; defaults, validation and patches work
//! on trees; [`encode`] writes the canonical bytes that the store keeps, [`peek`] looks at a few fields of these, and [`splice()`] changes
//! them.
//! A [`Template`] makes objects that differ from one only in what is a new object's own.

mod conform;
mod encode;
mod json;
pub mod protobuf;
pub(crate) mod scalar;
mod splice;
mod template;

pub use conform::{TypeError, conform};
pub(crate) use encode::height;
pub use encode::{canonical, encode, encode_to_vec, encode_with};
pub use json::{Decoded, Duplicate, SyntaxError, decode_json, decode_untyped_json};
pub use splice::{Change, peek, splice};
pub use template::{Born, Step, Template};

/// How deep objects and lists may be nested, in bodies, in patches and in what is stored. Kubernetes allows more; nothing
/// that it serves comes near.
pub const DEPTH_MAX: usize = 127;
