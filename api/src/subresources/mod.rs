//! Parts of objects with paths of their own, and kinds that are asked rather than stored.

pub(crate) mod binding;
pub mod eviction;
pub(crate) mod log;
pub(crate) mod reviews;
pub(crate) mod scale;
pub(crate) mod token;
