//! The Kubernetes API as pure functions over a store.
//!
//! `admit(request, view) -> Result<Txn, Status>` decides; [`Api`] is the seam through which every component reads and
//! writes, in this process or across HTTPS.

pub mod api;
pub mod apply;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod admission;
pub mod auth;
pub mod fields;
pub mod local;
pub mod node;
pub mod rbac;
pub mod defaults;
pub mod discovery;
pub mod openapi;
pub mod managed_fields;
pub mod patch;
pub mod render;
pub mod request;
pub mod status;
pub mod validation;
mod strategy;
pub mod subresources;
mod tree;

pub use api::{Api, Link};
pub use local::{Config, LocalApi};
pub use request::{
    Body, ByteStream, DeleteOptions, ListOptions, LogOptions, MediaType, Options, PatchType, Request, ResourceId, Response, User, Verb, WatchFrame,
};
pub use status::Status;
