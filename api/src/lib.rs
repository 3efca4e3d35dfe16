//! The Kubernetes API as pure functions over a store.
//!
//! `admit(request, view) -> Result<Txn, Status>` decides; [`Api`] is the seam through which every component reads and
//! writes, in this process or across HTTPS.

pub mod api;
pub mod request;
pub mod status;

pub use api::{Api, Link};
pub use request::{
    Body, ListOptions, MediaType, Options, PatchType, Request, ResourceId, Response, User, Verb, WatchFrame,
};
pub use status::Status;
