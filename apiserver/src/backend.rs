//! What the HTTP shell needs of the API behind it: [`Backend`].

use std::sync::Arc;

use orlop_api::auth::{Attributes, Decision};
use orlop_api::render::CustomColumns;
use orlop_api::{Api, User};
use orlop_core::scheme::Scheme;

/// An [`Api`] with what is served beside its objects.
pub trait Backend: Api {
    /// The kinds that are served now.
    fn scheme(&self) -> Arc<Scheme>;

    /// The columns of custom kinds.
    fn custom_columns(&self) -> Arc<CustomColumns>;

    /// Whether `user` may. [`Api::call`] and [`Api::watch`] ask themselves; this is for paths that are no resource.
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision;
}
