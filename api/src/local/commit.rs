//! From a request to a revision: decide, ask webhooks, charge quotas, take addresses, commit, and again where somebody was quicker.

use std::sync::Arc;

use orlop_core::Name;
use orlop_core::scheme::Resource;
use orlop_core::store::{Compare, Op, Revision, Store, StoreError, Txn};

use super::admit::{Admitted, Call, Moment, Then};
use super::{LocalApi, charge, crd, delete, registrations};
use crate::admission::webhook::Conversation;
use crate::request::{Request, Response, Verb};
use crate::status::Status;

/// As often is a decision made anew when somebody else was quicker.
pub(super) const ATTEMPTS: usize = 64;
/// As often are webhooks asked for one write, those that are asked anew because something changed included.
const QUESTIONS: usize = 1024;

impl<S: Store> LocalApi<S> {
    /// Decides and commits until nobody is quicker.
    pub(super) async fn write(
        &self,
        request: &Request,
        resource: &Arc<Resource>,
        decide: impl Fn(&mut Call<'_>) -> Result<Admitted, Status>,
    ) -> Result<Response, Status> {
        let mut paid = charge::Paid::new();
        let done = self.attempt(request, resource, decide, &mut paid).await;
        self.refund(&request.key.namespace, paid).await;
        done
    }

    /// [`LocalApi::write`]; what is left in `paid` was charged for nothing.
    async fn attempt(
        &self,
        request: &Request,
        resource: &Arc<Resource>,
        decide: impl Fn(&mut Call<'_>) -> Result<Admitted, Status>,
        paid: &mut charge::Paid,
    ) -> Result<Response, Status> {
        // Time and chance stay, so that a webhook is asked the same however often it is decided.
        let (chance, now) = (self.chance(), self.now());
        let mut hooks = Conversation::default();
        let (mut attempts, mut questions) = (0, 0);
        while attempts < ATTEMPTS && questions < QUESTIONS {
            hooks.rewind();
            let decided = {
                let served = self.shared.served();
                let view = self.shared.store.view();
                let mut entropy = chance.clone();
                let moment = Moment { view: &*view, served: &served, config: &self.shared.config, now };
                let mut call = Call::new(request, resource, moment, &mut entropy, (&mut hooks, paid));
                let decided = decide(&mut call);
                // What was noticed is told, even where the request is refused.
                decided.map_err(|mut status| {
                    if !call.warnings.is_empty() || !call.audit.is_empty() {
                        let beside = status.beside_mut();
                        beside.warnings.append(&mut call.warnings);
                        beside.audit.append(&mut call.audit);
                    }
                    status
                })
            };
            if let Some((webhook, question)) = hooks.question() {
                let body = question.to_string().into_bytes();
                let answer = self.shared.config.webhooks.call(&webhook, body).await;
                hooks.answer(question, answer);
                questions += 1;
                continue;
            }
            attempts += 1;
            let decided = decided.and_then(|admitted| {
                if admitted.code == 201 && matches!(request.verb, Verb::Update | Verb::Patch(_)) {
                    self.check_access(request, "create")?;
                }
                Ok(admitted)
            });
            let mut admitted = decided?;
            if request.options.dry_run || admitted.txn.ops.is_empty() {
                return Ok(dry(admitted));
            }
            let charges = std::mem::take(&mut admitted.charges);
            let mut elsewhere = paid.clone();
            elsewhere.retain(|name, _| charges.iter().all(|charge| charge.name != *name));
            if !elsewhere.is_empty() {
                paid.retain(|name, _| !elsewhere.contains_key(name));
                self.refund(&request.key.namespace, elsewhere).await;
            }
            if !charges.is_empty() {
                let (served, namespace) = (self.shared.served(), &request.key.namespace);
                let (txn, charged) = charge::transaction(&served, self.now(), namespace, charges)?;
                if !txn.ops.is_empty() {
                    match self.shared.store.commit(txn).await {
                        Ok(_) => {}
                        Err(StoreError::Conflict { .. }) => continue,
                        Err(other) => return Err(Status::unavailable(other.to_string())),
                    }
                }
                *paid = charged;
            }
            let taken = self.taken(std::mem::take(&mut admitted.before)).await?;
            let Some(taken) = taken else { continue };
            match self.shared.store.commit(admitted.txn).await {
                Ok(revision) => {
                    paid.clear();
                    let last = self.follow_up(admitted.then, revision).await?;
                    return Ok(admitted.answer.into_response(
                        admitted.code,
                        admitted.warnings,
                        admitted.audit,
                        Some(last),
                    ));
                }
                Err(StoreError::Conflict { .. }) => self.give_back(taken).await,
                Err(other) => return Err(Status::unavailable(other.to_string())),
            }
        }
        let id = &request.resource;
        Err(Status::stale(&id.group, &id.plural, &request.key.name))
    }

    /// Commits what goes before an object. Answers how it is undone; `None`: somebody was quicker.
    async fn taken(&self, before: Txn) -> Result<Option<Txn>, Status> {
        if before.ops.is_empty() {
            return Ok(Some(Txn::default()));
        }
        let keys: Vec<Arc<str>> = before.compares.iter().map(|c| c.key.clone()).collect();
        match self.shared.store.commit(before).await {
            Ok(revision) => Ok(Some(Txn {
                compares: keys.iter().map(|key| Compare { key: key.clone(), revision }).collect(),
                ops: keys.into_iter().map(Op::Delete).collect(),
            })),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(other) => Err(Status::unavailable(other.to_string())),
        }
    }

    async fn give_back(&self, taken: Txn) {
        if !taken.ops.is_empty() {
            // Whoever has changed it since holds it; what is left over is swept up at the next start.
            let _ = self.shared.store.commit(taken).await;
        }
    }

    /// What follows a commit. Answers with the revision that the client is told.
    async fn follow_up(&self, then: Then, revision: Revision) -> Result<Revision, Status> {
        match then {
            Then::Nothing => Ok(revision),
            Then::Remove { key, also } => {
                let compares = vec![Compare { key: key.clone(), revision }];
                let ops = delete::removal_ops(&key, &also);
                match self.shared.store.commit(Txn { compares, ops }).await {
                    Ok(last) => Ok(last),
                    // Whoever was quicker has seen that nothing holds the object, and has removed it.
                    Err(StoreError::Conflict { .. }) => Ok(revision),
                    Err(other) => Err(Status::unavailable(other.to_string())),
                }
            }
            Then::Settle(name) => {
                self.refresh();
                self.settle(&name).await?;
                Ok(revision)
            }
        }
    }

    /// Brings a definition to where it should be.
    async fn settle(&self, name: &Name) -> Result<(), Status> {
        loop {
            let next = {
                let view = self.shared.store.view();
                crd::settle(name, &*view, &self.shared.served(), self.now())
            };
            let Some(txn) = next else { break };
            match self.shared.store.commit(txn).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(Status::unavailable(other.to_string())),
            }
        }
        self.refresh();
        self.register().await
    }

    /// Registers what is served.
    pub(super) async fn register(&self) -> Result<(), Status> {
        for _ in 0..ATTEMPTS {
            let next = {
                let view = self.shared.store.view();
                registrations::settle(&self.shared.served(), &*view, self.now(), &mut self.chance())?
            };
            let Some(txn) = next else { break };
            match self.shared.store.commit(txn).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(other) => return Err(Status::unavailable(other.to_string())),
            }
        }
        Ok(())
    }
}

/// The answer to what is not written.
fn dry(admitted: Admitted) -> Response {
    let Admitted { answer, code, warnings, audit, txn, .. } = admitted;
    // An object that exists keeps its revision; a new one has none.
    let seen = txn.compares.iter().map(|c| c.revision).next_back().filter(|r| r.0 > 0);
    Response { committed: None, ..answer.into_response(code, warnings, audit, seen) }
}
