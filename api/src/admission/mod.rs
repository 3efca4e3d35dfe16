//! What is let in, and what is added to it on the way.
//!
//! The built-in rules are one function in a file each. Those of [`BUILTIN`] change what is written; then it is
//! validated; then those of [`JUDGES`] decide, and last of all quotas are charged. An embedder's own implement
//! [`Admission`]: what they change follows the built-in changes, and what they judge follows the built-in judgements.
//! All are pure: they see a view of the store, the time and a source of chance.
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures_util::FutureExt;
//! use orlop_api::admission::{Admission, Operation, Review};
//! use orlop_api::request::Payload;
//! use orlop_api::{Api, Body, Config, LocalApi, Options, Request, Status, User, Verb};
//! use orlop_core::store::MemoryStore;
//! use orlop_core::{Entropy, Key, ManualClock, Timestamp};
//! use serde_json::{Value, json};
//!
//! /// Every ConfigMap says which team it belongs to; without one, it is the author's.
//! struct Teams;
//!
//! impl Admission for Teams {
//!     fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
//!         let missing = review.object.pointer("/metadata/labels/team").is_none();
//!         if review.creates("", "configmaps") && missing {
//!             review.object["metadata"]["labels"] = json!({"team": review.user.name.as_str()});
//!             review.warnings.push("no team given".into());
//!         }
//!         Ok(())
//!     }
//!
//!     fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
//!         let changes = review.operation == Operation::Update && review.is("", "configmaps");
//!         let team = |object: &Value| object["metadata"]["labels"]["team"].clone();
//!         match review.old {
//!             Some(old) if changes && team(old) != team(review.object) => {
//!                 Err(review.forbidden("it stays with its team"))
//!             }
//!             _ => Ok(()),
//!         }
//!     }
//! }
//!
//! let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
//! let store = MemoryStore::new(clock.clone());
//! let config = Config { admission: vec![Arc::new(Teams)], ..Config::default() };
//! let api = LocalApi::new(store, clock, Entropy::seeded(1), config);
//! // A memory store commits at once, so that nothing waits.
//! api.bootstrap().now_or_never().expect("at once")?;
//!
//! let create = Request {
//!     user: User { name: "ada".into(), ..User::default() },
//!     verb: Verb::Create,
//!     resource: orlop_api::ResourceId { group: "".into(), version: "v1".into(), plural: "configmaps".into() },
//!     key: Key::new("default", ""),
//!     subresource: "".into(),
//!     options: Options::default(),
//!     body: Some(Body::Value(json!({"metadata": {"name": "colours"}, "data": {"sky": "blue"}}))),
//! };
//! let made = api.call(create).now_or_never().expect("at once")?;
//! assert_eq!(made.warnings, ["no team given"]);
//! let Payload::Object(_, stored) = made.payload else { panic!("an object is created") };
//! assert_eq!(stored.to_value()["metadata"]["labels"]["team"], "ada");
//! # Ok::<(), Status>(())
//! ```

use orlop_core::scheme::Scheme;
use orlop_core::store::{Entry, View};
use orlop_core::{Entropy, Key, Kind, Stored, Timestamp};
use serde_json::Value;

use crate::auth::{Attributes, Authorizer};
use crate::local::likeness::Drawn;
use crate::request::User;
use crate::status::Status;

mod certificates;
mod claim_resize;
mod default_class;
pub(crate) mod expressions;
mod limit_ranger;
mod matching;
mod mutating_policy;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod pod_security;
pub(crate) mod policy;
mod priority;
mod quota;
mod reinvocation;
mod runtime_class;
mod service_account;
mod storage_protection;
mod tolerations;
pub(crate) mod webhook;

pub use webhook::{NoWebhooks, Webhook, WebhookClient};

pub(crate) use quota::Charge;

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
    /// Somebody connects to what it stands for: a session in a pod.
    Connect,
}

/// One write, on its way in.
pub struct Review<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which kind.
    pub kind: &'a Kind,
    /// What the object is, where it is asked and not written: a Binding, an Eviction, a TokenRequest, a Scale, a review.
    pub(crate) sort: Option<&'a Kind>,
    /// To which object. The name is the prefix alone while the server has not made one yet.
    pub key: Key,
    /// `status`, …; empty for the object itself.
    pub subresource: &'a str,
    /// By whom.
    pub user: &'a User,
    /// Nothing will be written.
    pub dry_run: bool,
    /// The object as it is to be; null for deletions.
    pub object: &'a mut Value,
    /// The object as it is.
    pub old: Option<&'a Value>,
    /// What else there is.
    pub view: &'a dyn View,
    /// The kinds that are served.
    pub scheme: &'a Scheme,
    /// The present moment.
    pub now: Timestamp,
    /// Chance, for names.
    pub entropy: &'a mut Entropy,
    /// What the client is warned of.
    pub warnings: &'a mut Vec<String>,
    /// Who may do what.
    pub authorizer: &'a dyn Authorizer,
    /// What the audit log is told besides, by key.
    pub(crate) audit: &'a mut Vec<(String, String)>,
    /// What was drawn from chance for an object that is created.
    pub(crate) drawn: &'a mut Vec<Drawn>,
    /// What webhooks were asked and answered.
    pub(crate) hooks: &'a mut webhook::Conversation,
    /// What is drawn from quotas.
    pub(crate) charges: &'a mut Vec<Charge>,
    /// What was charged for this write already, when it was decided before.
    pub(crate) paid:
        &'a std::collections::BTreeMap<orlop_core::Name, orlop_core::rules::pod_resources::Resources>,
}

/// Admission of an embedder's own.
pub trait Admission: Send + Sync + 'static {
    /// Changes what is written. Runs before validation.
    ///
    /// # Errors
    /// Refuses the write.
    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let _ = review;
        Ok(())
    }

    /// Judges what is written, after everything has changed it.
    ///
    /// # Errors
    /// Refuses the write.
    fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let _ = review;
        Ok(())
    }
}

/// The priority classes that every cluster has, with their values.
pub(crate) fn system_priorities() -> [(&'static str, i64); 2] {
    priority::SYSTEM
}

/// One built-in rule.
pub type Rule = fn(&mut Review<'_>) -> Result<(), Status>;

/// The built-in rules that change what is written, in order, by the names that Kubernetes' plugins have. They run
/// before validation, and before an embedder's [`Admission::mutate`].
pub const BUILTIN: &[(&str, Rule)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::check),
    ("LimitRanger", limit_ranger::default),
    ("ServiceAccount", service_account::admit),
    ("NodeRestriction", node_restriction::admit),
    ("TaintNodesByCondition", node_taint::admit),
    ("Priority", priority::admit),
    ("DefaultTolerationSeconds", tolerations::admit),
    ("DefaultStorageClass", default_class::storage),
    ("StorageObjectInUseProtection", storage_protection::admit),
    ("RuntimeClass", runtime_class::admit),
    ("DefaultIngressClass", default_class::ingress),
    ("MutatingAdmissionPolicy", mutating_policy::mutate),
    ("MutatingAdmissionWebhook", webhook::mutate),
    ("RBAC", crate::rbac::escalation::admit),
];

/// The built-in rules that judge what is written once nothing changes it any more, in order. They run after
/// validation.
pub const JUDGES: &[(&str, Rule)] = &[
    ("LimitRanger", limit_ranger::judge),
    ("PodSecurity", pod_security::judge),
    ("PersistentVolumeClaimResize", claim_resize::judge),
    ("CertificateApproval", certificates::approval),
    ("CertificateSigning", certificates::signing),
    ("ClusterTrustBundleAttest", certificates::attest),
    ("CertificateSubjectRestriction", certificates::subject),
    ("ValidatingAdmissionPolicy", policy::judge),
    ("ValidatingAdmissionWebhook", webhook::judge),
];

/// Runs the built-in rules that change what is written; all of them once more where a policy or a webhook has changed
/// it.
pub(crate) fn run(review: &mut Review<'_>) -> Result<(), Status> {
    BUILTIN.iter().try_for_each(|(_, rule)| rule(review))?;
    if review.hooks.rounds.begin_second() {
        BUILTIN.iter().try_for_each(|(_, rule)| rule(review))?;
    }
    Ok(())
}

/// Lets policies and webhooks change what is asked rather than written: a session, a binding, an eviction, a token.
pub(crate) fn change_asked(review: &mut Review<'_>) -> Result<(), Status> {
    let change = |review: &mut Review<'_>| {
        mutating_policy::mutate(review)?;
        webhook::mutate(review)
    };
    change(review)?;
    if review.hooks.rounds.begin_second() {
        change(review)?;
    }
    Ok(())
}

/// Lets them judge it, once nothing changes it any more.
pub(crate) fn judge_asked(review: &mut Review<'_>) -> Result<(), Status> {
    policy::judge(review)?;
    webhook::judge(review)
}

/// Runs the built-in rules that judge what is written.
pub(crate) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    JUDGES.iter().try_for_each(|(_, rule)| rule(review))
}

/// An object that admission has changed, brought into the shape of its kind again.
///
/// # Errors
/// Why it is none any more.
fn remade(review: &Review<'_>, mut object: Value) -> Result<Value, String> {
    if let Some(sort) = review.sort {
        if let Some((schema, ty)) = review.scheme.type_of(&sort.group, &sort.version, &sort.kind) {
            orlop_core::codec::conform(&schema, ty, &mut object, &[]).map_err(|e| e.message)?;
        }
        return Ok(object);
    }
    let kind = review.kind;
    let Some(resource) = review.scheme.resource(&kind.group, &kind.version, &kind.plural) else {
        return Ok(object);
    };
    orlop_core::codec::conform(&resource.schema, resource.ty, &mut object, &[]).map_err(|e| e.message)?;
    if !resource.custom {
        crate::defaults::apply(kind, &mut object);
        crate::defaults::settle(kind, &mut object);
    }
    Ok(object)
}

/// NodeRestriction for requests of tokens, which are not written.
pub(crate) fn restrict_token(review: &mut Review<'_>) -> Result<(), Status> {
    node_restriction::admit(review)
}

/// ResourceQuota: charges what is written. Nobody is asked after it, so that what is charged is written too.
pub(crate) fn charge(review: &mut Review<'_>) -> Result<(), Status> {
    quota::judge(review)
}

impl Review<'_> {
    /// Whether this creates an object of that kind itself.
    pub fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }

    /// Whether this is about objects of that kind themselves.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.kind.plural == plural && self.kind.group == group && self.subresource.is_empty()
    }

    /// An object of any kind.
    pub fn get(&self, kind: &Kind, key: &Key) -> Option<Stored> {
        Some(self.view.get(&self.scheme.storage_key(kind, key)?)?.object)
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &Kind) -> Vec<Stored> {
        self.entries(kind).into_iter().map(|e| e.object).collect()
    }

    /// All objects of a kind, with their places.
    fn entries(&self, kind: &Kind) -> Vec<Entry> {
        match self.scheme.storage_range(kind, "") {
            Some(prefix) => self.view.range(&prefix, "", usize::MAX),
            None => Vec::new(),
        }
    }

    /// The objects of a kind in one namespace.
    pub fn all_in(&self, kind: &Kind, namespace: &str) -> Vec<Stored> {
        let Some(prefix) = self.scheme.storage_range(kind, namespace) else { return Vec::new() };
        self.view.range(&prefix, "", usize::MAX).into_iter().map(|e| e.object).collect()
    }

    /// Whether the user may.
    pub fn may(&self, attributes: &Attributes) -> bool {
        let decision = self.authorizer.authorize(self.user, attributes, self.view);
        decision.permits()
    }

    /// What the object is.
    pub(crate) fn object_kind(&self) -> &Kind {
        self.sort.unwrap_or(self.kind)
    }

    /// Tells the audit log something. What was said of a key first stays.
    pub(crate) fn audit(&mut self, key: &str, value: &str) {
        if self.audit.iter().all(|(known, _)| known != key) {
            self.audit.push((key.to_owned(), value.to_owned()));
        }
    }

    /// A refusal, in the words of admission.
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.kind.group, &self.kind.plural, &self.key.name, why)
    }
}
