//! Writes that come together: decided on one view, committed in one go.

use std::sync::Arc;

use orlop_core::scheme::Resource;
use orlop_core::store::{Store, StoreError, View};

use super::admit::{Admitted, Call, Moment, Then, verb_name};
use super::{LocalApi, attributes, charge, check_options, deprecated, write};
use crate::admission::webhook::Conversation;
use crate::api::Api;
use crate::auth::Decision;
use crate::request::{Request, Response, Verb};
use crate::status::Status;
use crate::subresources::binding;

/// So many are decided on one view, and then committed: those who read meanwhile wait for no more.
const GROUP: usize = 64;

impl<S: Store> LocalApi<S> {
    /// [`Api::call_all`]. What takes more than a decision and a commit, and what is refused, has its turn alone when the
    /// rest is committed: on the view of that moment it may be another matter.
    pub(super) async fn write_together(&self, requests: &[Request]) -> Vec<Result<Response, Status>> {
        let mut answers = Vec::with_capacity(requests.len());
        for group in requests.chunks(GROUP) {
            let mut done: Vec<Option<Result<Response, Status>>> = group.iter().map(|_| None).collect();
            if let [_, _, ..] = group {
                self.commit_together(group, &mut done).await;
            }
            for (request, done) in group.iter().zip(done) {
                answers.push(match done {
                    Some(answer) => answer,
                    None => self.call(request.clone()).await,
                });
            }
        }
        answers
    }

    async fn commit_together(&self, group: &[Request], done: &mut [Option<Result<Response, Status>>]) {
        let (mut decided, mut txns) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        {
            let served = self.shared.served();
            let view = self.shared.store.view();
            let moment =
                Moment { view: &*view, served: &served, config: &self.shared.config, now: self.now() };
            for (at, (request, permitted)) in group.iter().zip(self.permitted(group, moment.view)).enumerate()
            {
                if !permitted {
                    continue;
                }
                if let Some(mut admitted) = self.decide_plainly(request, moment) {
                    txns.push(std::mem::take(&mut admitted.txn));
                    decided.push((at, admitted));
                }
            }
        }
        let outcomes = self.shared.store.commit_all(txns).await;
        for ((at, admitted), outcome) in decided.into_iter().zip(outcomes) {
            let Admitted { answer, code, warnings, audit, .. } = admitted;
            done[at] = match outcome {
                Ok(revision) => Some(Ok(answer.into_response(code, warnings, audit, Some(revision)))),
                Err(StoreError::Conflict { .. }) => None,
                Err(other) => Some(Err(Status::unavailable(other.to_string()))),
            };
        }
    }

    /// Whether each may be done by its user.
    fn permitted(&self, group: &[Request], view: &dyn View) -> Vec<bool> {
        let same_user = |a: &Request, b: &Request| a.user == b.user;
        let mut permitted = Vec::with_capacity(group.len());
        for requests in group.chunk_by(same_user) {
            let asked: Vec<_> =
                requests.iter().map(|request| attributes(request, verb_name(request.verb))).collect();
            let authorizer = &self.shared.config.authorizer;
            let mut decisions = authorizer.authorize_each(&requests[0].user, &asked, view);
            // What nothing is said of may not be done; and nobody gets the answer to somebody else.
            decisions.resize(requests.len(), Decision::default());
            permitted.extend(decisions.iter().map(Decision::permits));
        }
        permitted
    }

    /// The decision about a write that is permitted and that one commit carries out; `None` for everything else.
    fn decide_plainly(&self, request: &Request, moment: Moment<'_>) -> Option<Admitted> {
        if request.options.dry_run
            || deprecated(request.resource.group.as_str(), &request.resource.plural).is_some()
        {
            return None;
        }
        let resource = self.route(request, moment.served).ok()?;
        check_options(request).ok()?;
        if resource.custom {
            return None;
        }
        let (mut entropy, mut hooks) = (self.chance(), Conversation::default());
        let paid = charge::Paid::new();
        let mut call = Call::new(request, &resource, moment, &mut entropy, (&mut hooks, &paid));
        let admitted = decision(request, &resource, &mut call)?.ok()?;
        let changes = matches!(request.verb, Verb::Update | Verb::Patch(_));
        let plain = hooks.question().is_none()
            && admitted.charges.is_empty()
            && admitted.before.ops.is_empty()
            && matches!(admitted.then, Then::Nothing)
            && !admitted.txn.ops.is_empty()
            && !(changes && admitted.code == 201);
        plain.then_some(admitted)
    }
}

fn decision(
    request: &Request,
    resource: &Arc<Resource>,
    call: &mut Call<'_>,
) -> Option<Result<Admitted, Status>> {
    let body = request.body.as_ref();
    let bindings = resource.kind.plural == "bindings" && resource.kind.group.is_empty();
    if !resource.is_stored() || bindings {
        return None;
    }
    Some(match (request.subresource.as_str(), request.verb) {
        ("", Verb::Create) => write::create(call, body),
        ("binding", Verb::Create) => binding::create(call, body),
        ("" | "status", Verb::Update) => write::update(call, body),
        ("" | "status", Verb::Patch(ty)) => write::patch(call, ty, body),
        _ => return None,
    })
}
