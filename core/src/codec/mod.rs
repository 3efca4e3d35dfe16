//! From bytes to trees and back, by the schema.
//!
//! The way of a request body: [`decode_json`] (or [`protobuf::decode`], or [`crate::yaml`]) makes a tree;
//! [`conform`] checks its types and takes away what the schema does not know; defaults, validation and patches work
//! on trees; [`encode`] writes the canonical bytes that the store keeps.

mod conform;
mod encode;
mod json;
pub mod protobuf;
pub(crate) mod scalar;

pub use conform::{TypeError, conform};
pub use encode::{canonical, encode, encode_to_vec};
pub use json::{Decoded, Duplicate, SyntaxError, decode_json};

/// How deep objects and lists may be nested. Kubernetes allows more; nothing that it serves comes near.
pub const DEPTH_MAX: usize = 127;
