//! The Kubernetes API as pure functions over a store.
//!
//! `admit(request, view) -> Txn`: what a request does is decided from the request, a view of the store, the time and
//! chance; then it happens in one transaction. [`Api`] is the seam through which every component reads and writes, in
//! this process or across HTTPS; [`LocalApi`] is the API in this process, over any store.
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures_util::FutureExt;
//! use orlop_api::{Api, Body, Config, LocalApi, Options, Request, ResourceId, User, Verb};
//! use orlop_core::store::MemoryStore;
//! use orlop_core::{Entropy, Key, ManualClock, Timestamp};
//! use serde_json::json;
//!
//! let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
//! let api = LocalApi::new(MemoryStore::new(clock.clone()), clock, Entropy::seeded(1), Config::default());
//! api.bootstrap().now_or_never().expect("a memory store completes at once")?;
//!
//! let create = Request {
//!     user: User { name: "me".into(), ..User::default() },
//!     verb: Verb::Create,
//!     resource: ResourceId { group: "".into(), version: "v1".into(), plural: "services".into() },
//!     key: Key::new("default", ""),
//!     subresource: "".into(),
//!     options: Options::default(),
//!     body: Some(Body::Value(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}))),
//! };
//! let service = api.call(create).now_or_never().expect("at once")?;
//! assert_eq!(service.code, 201);
//! # Ok::<(), orlop_api::Status>(())
//! ```
//!
//! The map, in reading order: [`api`] and [`request`] are the seam, [`local`] the decisions, with [`admission`],
//! [`defaults`], [`validation`], [`patch`], [`apply`] and [`managed_fields`] on a write's way in; [`subresources`];
//! [`render`] turns answers into bytes; [`discovery`] and [`openapi`] describe what is served; [`auth`] and [`rbac`]
//! say who may, and [`fairness`] who first; [`node`] is the way to node agents.

pub mod admission;
pub mod api;
pub mod apply;
pub mod auth;
mod cel;
mod crd;
pub mod defaults;
pub mod discovery;
pub mod fairness;
pub mod fields;
#[doc(hidden)]
pub mod fuzz;
pub mod local;
pub mod managed_fields;
pub mod node;
pub mod openapi;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod patch;
pub mod rbac;
pub mod render;
pub mod request;
pub mod status;
mod strategy;
pub mod subresources;
mod tree;
pub mod validation;

pub use api::{Api, Link};
pub use local::{Config, LocalApi};
pub use request::{
    Body, ByteStream, DeleteOptions, ListOptions, LogOptions, MediaType, Options, PatchType, Request,
    ResourceId, Response, User, Verb, WatchFrame,
};
pub use status::Status;
