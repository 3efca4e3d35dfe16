//! Which requests are noted, and how much of them: an `audit.k8s.io/v1` Policy.

use orlop_api::User;
use orlop_api::auth::{Attributes, Target};
use serde::Deserialize;

/// How much of a request is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who did what to which object, and how it ended.
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// Rules of which the first that fits a request decides; what none fits is not noted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuditPolicy {
    api_version: String,
    kind: String,
    rules: Vec<Rule>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rule {
    level: Level,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What a policy says about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<String>,
    pub(super) omit_managed_fields: bool,
    /// Nothing of what the request or its answer holds may be noted.
    pub(super) secret: bool,
}

/// A policy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit policy: {0}")]
pub struct InvalidAuditPolicy(String);

impl AuditPolicy {
    /// Reads a `--audit-policy-file`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(yaml: &str) -> Result<AuditPolicy, InvalidAuditPolicy> {
        let policy: AuditPolicy =
            serde_yaml::from_str(yaml).map_err(|error| InvalidAuditPolicy(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(InvalidAuditPolicy(format!(
                "apiVersion \"{}\", kind \"{}\"; it must be audit.k8s.io/v1, Policy",
                policy.api_version, policy.kind
            )));
        }
        if policy.rules.is_empty() {
            return Err(InvalidAuditPolicy("it has no rules".to_owned()));
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            if !rule.paths.is_empty() && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
                let why = format!("rules[{index}]: nonResourceURLs exclude resources and namespaces");
                return Err(InvalidAuditPolicy(why));
            }
        }
        Ok(policy)
    }

    /// What is to be noted of a request. Of what holds secrets, never the content, whatever the policy says.
    pub(super) fn wanted(&self, user: &User, asked: &Attributes) -> Wanted {
        let Some(rule) = self.rules.iter().find(|rule| rule.fits(user, asked)) else {
            return Wanted::default();
        };
        let secret = holds_secrets(asked);
        let most = if secret { Level::Metadata } else { Level::RequestResponse };
        Wanted {
            level: rule.level.min(most),
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).cloned().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            secret,
        }
    }
}

fn holds_secrets(asked: &Attributes) -> bool {
    let Target::Resource { group, resource, subresource, .. } = &asked.target else { return false };
    match (group.as_str(), resource.as_str()) {
        ("", "secrets") | ("authentication.k8s.io", "tokenreviews") => true,
        ("", "serviceaccounts") => subresource == "token",
        _ => false,
    }
}

impl Rule {
    fn fits(&self, user: &User, asked: &Attributes) -> bool {
        let any = |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|item| item == wanted);
        let groups = self.user_groups.is_empty()
            || self.user_groups.iter().any(|g| user.groups.iter().any(|own| own == g));
        if !any(&self.users, &user.name) || !groups || !any(&self.verbs, &asked.verb) {
            return false;
        }
        match &asked.target {
            Target::Path(path) => {
                let all = self.resources.is_empty() && self.namespaces.is_empty() && self.paths.is_empty();
                all || self.paths.iter().any(|allowed| match allowed.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == allowed,
                })
            }
            Target::Resource { group, resource, subresource, key } => {
                self.paths.is_empty()
                    && any(&self.namespaces, &key.namespace)
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|of| {
                            of.group == group.as_str()
                                && any(&of.resource_names, &key.name)
                                && (of.resources.is_empty()
                                    || of.resources.iter().any(|r| covers(r, resource, subresource)))
                        }))
            }
        }
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/status`, `*`.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None if pattern == "*" => true,
        None => pattern == resource && subresource.is_empty(),
        Some((main, sub)) => {
            (main == "*" || main == resource) && !subresource.is_empty() && (sub == "*" || sub == subresource)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_core::Key;

    fn level(verb: &str, resource: &str, user: &str) -> Level {
        let policy = AuditPolicy::parse(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n\
             - level: None\n  users: [robot]\n\
             - level: None\n  nonResourceURLs: ['/healthz*']\n\
             - level: Request\n  resources: [{group: '', resources: [pods/log, '*/status']}]\n\
             - level: RequestResponse\n  verbs: [create, update]\n\
             - level: Metadata\n",
        )
        .unwrap();
        let user = User { name: user.into(), ..User::default() };
        let target = match resource.strip_prefix('/') {
            Some(_) => Target::Path(resource.into()),
            None => {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                Target::Resource {
                    group: "".into(),
                    resource: resource.into(),
                    subresource: subresource.into(),
                    key: Key::new("ns", "x"),
                }
            }
        };
        policy.wanted(&user, &Attributes { verb: verb.into(), target }).level
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        assert_eq!(level("get", "pods", "robot"), Level::None);
        assert_eq!(level("get", "/healthz/etcd", "ada"), Level::None);
        assert_eq!(level("get", "/metrics", "ada"), Level::Metadata);
        assert_eq!(level("get", "pods/log", "ada"), Level::Request);
        assert_eq!(level("patch", "nodes/status", "ada"), Level::Request);
        assert_eq!(level("create", "pods", "ada"), Level::RequestResponse);
        assert_eq!(level("get", "pods", "ada"), Level::Metadata);
    }

    #[test]
    fn what_holds_secrets_is_never_noted_in_full() {
        assert_eq!(level("create", "secrets", "ada"), Level::Metadata);
        assert_eq!(level("create", "serviceaccounts/token", "ada"), Level::Metadata);
    }

    #[test]
    fn says_what_is_wrong() {
        for (yaml, why) in [
            ("kind: Policy\napiVersion: v1\nrules: [{level: None}]", "it must be audit.k8s.io/v1, Policy"),
            ("kind: Policy\napiVersion: audit.k8s.io/v1", "it has no rules"),
            ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: Some}]", "unknown variant"),
        ] {
            let error = AuditPolicy::parse(yaml).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
