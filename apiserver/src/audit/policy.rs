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

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
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
        let invalid = |why: String| InvalidAuditPolicy(why);
        let decoded = orlop_core::yaml::decode(yaml)
            .map_err(|error| invalid(format!("line {}: {}", error.line, error.message)))?;
        if let Some(complaint) = decoded.complaint {
            return Err(invalid(complaint));
        }
        let policy: AuditPolicy =
            serde_json::from_value(decoded.value).map_err(|error| invalid(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            return Err(invalid(format!(
                "apiVersion \"{}\", kind \"{}\"; it must be audit.k8s.io/v1, Policy",
                policy.api_version, policy.kind
            )));
        }
        if policy.rules.is_empty() {
            return Err(invalid("it has no rules".to_owned()));
        }
        check_stages(&policy.omit_stages).map_err(|why| invalid(format!("omitStages: {why}")))?;
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| invalid(format!("rules[{index}]: {why}")))?;
        }
        Ok(policy)
    }

    /// What is to be noted of a request; without `user`, nobody has authenticated. Of what holds secrets, never the content,
    /// whatever the policy says.
    pub(super) fn wanted(&self, user: Option<&User>, asked: &Attributes) -> Wanted {
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

const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

fn check_stages(stages: &[String]) -> Result<(), String> {
    match stages.iter().find(|stage| !STAGES.contains(&stage.as_str())) {
        Some(stage) => Err(format!("invalid stage {stage:?}, it must be one of {}", STAGES.join(", "))),
        None => Ok(()),
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
    /// What Kubernetes does not allow a rule to say.
    fn check(&self) -> Result<(), String> {
        check_stages(&self.omit_stages).map_err(|why| format!("omitStages: {why}"))?;
        if !self.paths.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            return Err("rules cannot apply to both regular resources and non-resource URLs".into());
        }
        for path in self.paths.iter().filter(|path| *path != "*") {
            if !path.starts_with('/') {
                return Err(format!("nonResourceURLs: {path:?} must begin with a slash"));
            }
            if path[..path.len() - 1].contains('*') {
                return Err(format!("nonResourceURLs: {path:?} has a wildcard before its end"));
            }
        }
        for of in &self.resources {
            if !of.resource_names.is_empty() && of.resources.is_empty() {
                return Err("resourceNames require at least one resource".into());
            }
            // A group with a version would fit nothing, and nobody would notice what is missing in the log.
            if of.group.contains('/') {
                return Err(format!("group {:?} must not have a version", of.group));
            }
        }
        Ok(())
    }

    fn fits(&self, user: Option<&User>, asked: &Attributes) -> bool {
        let any = |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|item| item == wanted);
        let known = self.users.is_empty() || user.is_some_and(|user| any(&self.users, &user.name));
        let groups = self.user_groups.is_empty()
            || user.is_some_and(|user| {
                self.user_groups.iter().any(|group| user.groups.iter().any(|own| own == group))
            });
        if !known || !groups || !any(&self.verbs, &asked.verb) {
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
                    // What is in no namespace is in the one without a name.
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

/// `pods`, `pods/log`, `*/status`, `*`; and `pods/*`, which is pods themselves, too.
fn covers(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || pattern == resource && subresource.is_empty(),
        Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
        Some((main, "*")) => main == resource,
        Some((main, sub)) => main == resource && !subresource.is_empty() && sub == subresource,
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
        policy.wanted(Some(&user), &Attributes { verb: verb.into(), target }).level
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
            ("kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{verbs: [get]}]", "missing field `level`"),
            (
                "kind: Policy\napiVersion: audit.k8s.io/v1\nomitStages: [Begun]\nrules: [{level: None}]",
                "invalid stage \"Begun\"",
            ),
            (
                "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: None, nonResourceURLs: ['/a*b']}]",
                "wildcard before its end",
            ),
            (
                "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: None, nonResourceURLs: ['/'], namespaces: [a]}]",
                "rules[0]: rules cannot apply to both",
            ),
            (
                "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: None, resources: [{resourceNames: [a]}]}]",
                "require at least one resource",
            ),
        ] {
            let error = AuditPolicy::parse(yaml).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    /// `pods/*` once meant pods' subresources alone, so that a policy written for Kubernetes logged less here.
    #[test]
    fn wildcards_mean_what_they_mean_to_kubernetes() {
        for (pattern, expected) in [
            ("pods", "pods"),
            ("pods/log", "pods/log"),
            ("pods/*", "pods pods/log"),
            ("*/log", "pods/log"),
            ("*", "pods pods/log"),
            ("*/*", ""),
            ("nodes/*", ""),
        ] {
            let covered: Vec<&str> = [("pods", ""), ("pods/log", "log")]
                .into_iter()
                .filter_map(|(whole, sub)| covers(pattern, "pods", sub).then_some(whole))
                .collect();
            assert_eq!(covered.join(" "), expected, "{pattern}");
        }
    }

    #[test]
    fn who_has_not_authenticated_is_no_user_of_a_rule() {
        let policy = AuditPolicy::parse(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
             - level: Request\n  users: [ada]\n\
             - level: Request\n  userGroups: ['system:unauthenticated']\n\
             - level: Metadata\n  namespaces: [ns]\n  omitStages: [ResponseStarted]\n  omitManagedFields: true\n\
             - level: Metadata\n  namespaces: ['']\n",
        )
        .unwrap();
        let asked = |namespace: &str| Attributes {
            verb: "get".into(),
            target: Target::Resource {
                group: "".into(),
                resource: "pods".into(),
                subresource: "".into(),
                key: Key::new(namespace, "x"),
            },
        };
        let wanted = policy.wanted(None, &asked("ns"));
        assert_eq!(wanted.level, Level::Metadata);
        assert_eq!(wanted.omit_stages, ["RequestReceived", "ResponseStarted"]);
        assert!(wanted.omit_managed_fields);
        assert!(!policy.wanted(None, &asked("")).omit_managed_fields);
        assert_eq!(policy.wanted(None, &asked("other")).level, Level::None);
        assert_eq!(policy.wanted(None, &Attributes::default()).level, Level::None);
    }
}
