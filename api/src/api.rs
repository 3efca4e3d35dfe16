//! The seam through which every component reads and writes: [`Api`].

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use orlop_core::store::Revision;
use orlop_core::{Cut, Kind, Write};

use crate::request::{Request, Response, User, WatchFrame};
use crate::status::Status;

/// A watch under way.
pub type WatchStream = Pin<Box<dyn Stream<Item = WatchFrame> + Send>>;

/// Consistent states of some kinds: the first item gives every object, those that follow the changes. Does not end
/// by itself: what falls behind is told everything anew, as a [`Cut`] with `reset`.
pub type Cuts = Pin<Box<dyn Stream<Item = Cut> + Send>>;

/// The Kubernetes API, in this process or elsewhere.
///
/// Authorisation and admission hold for every caller; a component in this process passes through the same decision
/// as kubectl, but not through HTTP.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Any request but a watch.
    ///
    /// # Errors
    /// Every refusal is a [`Status`] in Kubernetes' own form.
    async fn call(&self, request: Request) -> Result<Response, Status>;

    /// A watch.
    ///
    /// # Errors
    /// When the request is refused as a whole; what goes wrong later is the stream's last frame.
    async fn watch(&self, request: Request) -> Result<WatchStream, Status>;

    /// Follows several kinds in one order: a view and every later change.
    ///
    /// # Errors
    /// When the user may not, or a kind is not served.
    async fn follow(&self, user: &User, kinds: &[Kind]) -> Result<Cuts, Status>;
}

/// A component's way to the API: who it is, and the API itself.
#[derive(Clone)]
pub struct Link {
    /// The API.
    pub api: Arc<dyn Api>,
    /// Who writes.
    pub user: User,
    /// The name in managed fields, `kube-controller-manager`.
    pub manager: orlop_core::Name,
}

impl Link {
    /// Carries one write of a plan out and answers with its revision.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn perform(&self, write: Write) -> Result<Revision, Status> {
        let response = self.api.call(Request::from_write(&self.user, &self.manager, write)).await?;
        Ok(response.revision())
    }
}
