//! Kinds that users define: what a definition may say, and what their objects then must be.
//!
//! [`definition`] judges a CustomResourceDefinition, [`object`] an object of one. Both read the same schema:
//! [`schema`] is its form for objects, where it is asked often; definitions are judged as they are written.

pub(crate) mod approval;
pub(crate) mod definition;
mod embedded;
mod field_path;
pub(crate) mod formats;
mod lists;
pub(crate) mod object;
mod openapi;
pub(crate) mod pattern;
pub(crate) mod prune;
mod ratchet;
pub(crate) mod rules;
pub(crate) mod schema;
mod structural;
mod values;
