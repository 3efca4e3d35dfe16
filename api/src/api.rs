//! The seam through which every component reads and writes: [`Api`].

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use orlop_core::store::Revision;
use orlop_core::{Action, Cut, Kind, Write};

use crate::request::{Body, Request, Response, User, Verb, WatchFrame};
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

    /// Several requests that have nothing to do with each other, as if they came at one moment from as many callers:
    /// none waits for another, and one that is refused keeps none of the others back. Answers with an answer for each.
    ///
    /// An API that decides in this process decides them on one view and commits them in one go, each in a revision of
    /// its own.
    async fn call_all(&self, requests: &[Request]) -> Vec<Result<Response, Status>> {
        futures_util::future::join_all(requests.iter().map(|request| self.call(request.clone()))).await
    }

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

    /// Carries writes out that have nothing to do with each other, as [`Api::call_all`] does. Answers with each write's
    /// revision, or with the API's refusal and the write.
    pub async fn perform_all(&self, writes: Vec<Write>) -> Vec<Result<Revision, Box<(Write, Status)>>> {
        let mut shells = Vec::with_capacity(writes.len());
        let mut requests = Vec::with_capacity(writes.len());
        for mut write in writes {
            // What is written goes into the request, and comes back from there if it is needed again.
            let kept = match &write.action {
                Action::Delete { .. } => write.action.clone(),
                _ => Action::Merge(serde_json::Value::Null),
            };
            let action = std::mem::replace(&mut write.action, kept);
            shells.push(write.clone());
            write.action = action;
            requests.push(Request::from_write(&self.user, &self.manager, write));
        }
        let answers = self.api.call_all(&requests).await;
        let each = shells.into_iter().zip(requests).zip(answers);
        each.map(|((shell, request), answer)| {
            let refused = |status| Box::new((given_back(shell, request), status));
            answer.map(|response| response.revision()).map_err(refused)
        })
        .collect()
    }
}

/// A write whose object is in the request that was made of it.
fn given_back(mut shell: Write, request: Request) -> Write {
    let Some(Body::Value(object)) = request.body else { return shell };
    shell.action = match request.verb {
        Verb::Create => Action::Create(object),
        Verb::Update => Action::Replace(object),
        Verb::Patch(_) => Action::Merge(object),
        _ => shell.action,
    };
    shell
}
