//! What is let in, and what is added to it on the way.
//!
//! The built-in rules are one function in a file each, run in the order of [`BUILTIN`]; an embedder's own implement
//! [`Admission`] and follow them. All are pure: they see a view of the store, the time and a source of chance.

use orlop_core::scheme::Scheme;
use orlop_core::store::View;
use orlop_core::{Entropy, Key, Kind, Stored, Timestamp};
use serde_json::Value;

use crate::auth::Authorizer;
use crate::request::User;
use crate::status::Status;

mod default_class;
pub(crate) mod expressions;
mod matching;
mod mutating_policy;
mod namespace_lifecycle;
mod node_taint;
pub(crate) mod policy;
mod priority;
mod runtime_class;
mod service_account;
mod storage_protection;
mod tolerations;
pub(crate) mod webhook;

pub use webhook::{NoWebhooks, Webhook, WebhookClient};

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It is new.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
}

/// One write, on its way in.
pub struct Review<'a> {
    /// What is done.
    pub operation: Operation,
    /// To which kind.
    pub kind: &'a Kind,
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
    /// Policies that have been compiled.
    pub(crate) policies: &'a policy::Cache,
    /// What webhooks were asked and answered.
    pub(crate) hooks: &'a mut webhook::Conversation,
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

/// The built-in rules, in order, by the names that Kubernetes' plugins have.
pub const BUILTIN: &[(&str, Rule)] = &[
    ("NamespaceLifecycle", namespace_lifecycle::check),
    ("ServiceAccount", service_account::admit),
    ("TaintNodesByCondition", node_taint::admit),
    ("Priority", priority::admit),
    ("DefaultTolerationSeconds", tolerations::admit),
    ("RuntimeClass", runtime_class::admit),
    ("StorageObjectInUseProtection", storage_protection::admit),
    ("DefaultStorageClass", default_class::storage),
    ("DefaultIngressClass", default_class::ingress),
    ("MutatingAdmissionPolicy", mutating_policy::mutate),
    ("MutatingAdmissionWebhook", webhook::mutate),
];

/// The built-in rules that judge what is written once nothing changes it any more, in order. They run after
/// validation.
pub const JUDGES: &[(&str, Rule)] =
    &[("ValidatingAdmissionPolicy", policy::judge), ("ValidatingAdmissionWebhook", webhook::judge)];

/// Runs the built-in rules.
pub(crate) fn run(review: &mut Review<'_>) -> Result<(), Status> {
    BUILTIN.iter().try_for_each(|(_, rule)| rule(review))
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
        let Some(prefix) = self.scheme.storage_range(kind, "") else { return Vec::new() };
        self.view.range(&prefix, "", usize::MAX).into_iter().map(|e| e.object).collect()
    }

    /// A refusal, in the words of admission.
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.kind.group, &self.kind.plural, &self.key.name, why)
    }
}
