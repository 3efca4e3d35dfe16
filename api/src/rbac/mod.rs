//! Authorisation by roles and bindings: [`Rbac`].
//!
//! A role lists what may be done, a binding gives a role to users, groups and service accounts, in one namespace or
//! everywhere. Nothing is forbidden; what no role allows is not allowed.

mod bootstrap;
pub(crate) mod escalation;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::store::{Entry, View};
use orlop_core::{Meta, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::{Attributes, Authorizer, Decision, Rules, Target};
use crate::request::User;

pub use bootstrap::bootstrap;
pub use node::NodeAuthorizer;

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

const BINDINGS: &str = "/registry/rolebindings/";
const CLUSTER_BINDINGS: &str = "/registry/clusterrolebindings/";
const ROLES: &str = "/registry/roles/";
const CLUSTER_ROLES: &str = "/registry/clusterroles/";

/// Decides by the roles and bindings in the view.
///
/// What it has read once is kept with the object, so that a decision costs look-ups and no parsing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rbac;

/// Admission has seen to the types; what cannot be read all the same gives nothing.
fn decoded<T: DeserializeOwned + Default + Send + Sync + 'static>(entry: &Entry) -> Arc<T> {
    let body = &entry.object.body;
    body.known().unwrap_or_else(|_| body.kept(T::default))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Role {
    rules: Vec<Rule>,
}

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    verbs: Vec<Name>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    api_groups: Vec<Name>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Name>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<Name>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    paths: Vec<Name>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Binding {
    metadata: Meta,
    subjects: Vec<Subject>,
    role_ref: RoleRef,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: Name,
    namespace: Name,
    name: Name,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: Name,
    name: Name,
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.groups.contains(&self.name),
            "ServiceAccount" => {
                let account =
                    user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account == Some((&self.namespace, &self.name))
            }
            _ => false,
        }
    }

    fn title(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", self.name, self.namespace),
            kind => format!("{kind} \"{}\"", self.name),
        }
    }
}

/// Whether a list names `wanted`, or everything.
fn names(list: &[Name], wanted: &str) -> bool {
    list.iter().any(|name| name == "*" || name == wanted)
}

impl Rule {
    fn allows(&self, attributes: &Attributes) -> bool {
        if !names(&self.verbs, &attributes.verb) {
            return false;
        }
        match &attributes.target {
            Target::Path(path) => self.paths.iter().any(|allowed| match allowed.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => allowed == path,
            }),
            Target::Resource { group, resource, subresource, key } => {
                names(&self.api_groups, group)
                    && self.resources.iter().any(|allowed| covers(allowed, resource, subresource))
                    && (self.resource_names.is_empty() || self.resource_names.contains(&key.name))
            }
        }
    }
}

/// Whether a resource of a rule (`*`, `pods`, `pods/log`, `*/scale`) covers this one.
fn covers(allowed: &str, resource: &str, subresource: &str) -> bool {
    match allowed.split_once('/') {
        None if allowed == "*" => true,
        None => subresource.is_empty() && allowed == resource,
        Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
        Some((main, sub)) => main == resource && sub == subresource,
    }
}

/// A role that a user has, and why.
struct Grant {
    role: Arc<Role>,
    binding: Arc<Binding>,
    /// Which of the binding's subjects the user is.
    subject: usize,
    /// The binding's kind.
    kind: &'static str,
}

impl Grant {
    fn reason(&self) -> String {
        let Binding { metadata, subjects, role_ref } = &*self.binding;
        let title = match metadata.namespace.as_str() {
            "" => metadata.name.to_string(),
            namespace => format!("{}/{namespace}", metadata.name),
        };
        format!(
            "RBAC: allowed by {} \"{title}\" of {} \"{}\" to {}",
            self.kind,
            role_ref.kind,
            role_ref.name,
            subjects[self.subject].title()
        )
    }

    fn allows(&self, attributes: &Attributes) -> bool {
        self.role.rules.iter().any(|rule| rule.allows(attributes))
    }

    fn decision(&self) -> Decision {
        Decision { allowed: true, denied: false, reason: self.reason() }
    }
}

impl Rbac {
    /// Calls `each` for every role that the user has, in `namespace` and everywhere, until it answers true.
    fn visit(&self, user: &User, namespace: &str, view: &dyn View, each: &mut dyn FnMut(Grant) -> bool) {
        let in_namespace = format!("{BINDINGS}{namespace}/");
        let ranges = [(CLUSTER_BINDINGS, "ClusterRoleBinding"), (in_namespace.as_str(), "RoleBinding")];
        let used = if namespace.is_empty() { 1 } else { 2 };
        for (range, kind) in &ranges[..used] {
            for entry in view.range(range, "", usize::MAX) {
                let binding: Arc<Binding> = decoded(&entry);
                let Some(subject) = binding.subjects.iter().position(|subject| subject.is(user)) else {
                    continue;
                };
                let role = role_of(&binding, view);
                if each(Grant { role, binding, subject, kind }) {
                    return;
                }
            }
        }
    }
}

/// The role that a binding gives. What an aggregated role collects, its controller has written into it.
fn role_of(binding: &Binding, view: &dyn View) -> Arc<Role> {
    let key = match binding.role_ref.kind.as_str() {
        "ClusterRole" => format!("{CLUSTER_ROLES}{}", binding.role_ref.name),
        _ => format!("{ROLES}{}/{}", binding.metadata.namespace, binding.role_ref.name),
    };
    view.get(&key).as_ref().map(decoded).unwrap_or_default()
}

fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}

fn namespace_of(attributes: &Attributes) -> &str {
    match &attributes.target {
        Target::Resource { key, .. } => key.namespace.as_str(),
        Target::Path(_) => "",
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, user: &User, attributes: &Attributes, view: &dyn View) -> Decision {
        if is_master(user) {
            return Decision { allowed: true, ..Decision::default() };
        }
        let mut decision = Decision::default();
        self.visit(user, namespace_of(attributes), view, &mut |grant| {
            let allowed = grant.allows(attributes);
            if allowed {
                decision = grant.decision();
            }
            allowed
        });
        decision
    }

    fn authorize_each(&self, user: &User, attributes: &[Attributes], view: &dyn View) -> Vec<Decision> {
        if is_master(user) {
            return vec![Decision { allowed: true, ..Decision::default() }; attributes.len()];
        }
        let mut grants: BTreeMap<&str, Vec<Grant>> = BTreeMap::new();
        let decide = |attributes| {
            let namespace = namespace_of(attributes);
            let grants = grants.entry(namespace).or_insert_with(|| {
                let mut grants = Vec::new();
                self.visit(user, namespace, view, &mut |grant| {
                    grants.push(grant);
                    false
                });
                grants
            });
            let allowing = grants.iter().find(|grant| grant.allows(attributes));
            allowing.map(Grant::decision).unwrap_or_default()
        };
        attributes.iter().map(decide).collect()
    }

    fn rules(&self, user: &User, namespace: &str, view: &dyn View) -> Rules {
        let mut rules = Rules::default();
        if is_master(user) {
            return crate::auth::AlwaysAllow.rules(user, namespace, view);
        }
        self.visit(user, namespace, view, &mut |grant| {
            for rule in &grant.role.rules {
                let shown = serde_json::to_value(rule).unwrap_or(Value::Null);
                if rule.paths.is_empty() {
                    rules.resources.push(shown);
                } else {
                    rules.paths.push(shown);
                }
            }
            false
        });
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_cover_what_they_say() {
        for (allowed, resource, subresource, expected) in [
            ("*", "pods", "log", true),
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/log", "pods", "log", true),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "", false),
            ("services", "pods", "", false),
        ] {
            assert_eq!(
                covers(allowed, resource, subresource),
                expected,
                "{allowed} {resource}/{subresource}"
            );
        }
    }

    #[test]
    fn the_bootstrap_roles_can_be_read() {
        for (kind, object) in bootstrap() {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if kind.kind == "ClusterRole" {
                let collects = object.get("aggregationRule").is_some();
                let role: Role = serde_json::from_value(object).unwrap();
                assert!(!role.rules.is_empty() || collects, "{name}");
            } else {
                let binding: Binding = serde_json::from_value(object).unwrap();
                assert!(!binding.subjects.is_empty() && !binding.role_ref.name.is_empty(), "{name}");
            }
        }
    }
}
