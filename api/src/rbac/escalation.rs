//! Nobody grants what they do not hold themselves.
//!
//! Who writes a role needs all that the role gives, or leave to `escalate` it; who binds one, likewise, or leave to
//! `bind` it.

use std::collections::BTreeMap;

use orlop_core::{Key, Kind, Name};
use serde::Deserialize;
use serde_json::Value;

use super::{MASTERS, Rule};
use crate::admission::{Operation, Review};
use crate::auth::{Attributes, Target};
use crate::status::Status;
use crate::tree::text;

const GROUP: &str = "rbac.authorization.k8s.io";
const CLUSTER_ROLE: Kind = Kind::cluster(GROUP, "v1", "ClusterRole", "clusterroles");
const ROLE: Kind = Kind::namespaced(GROUP, "v1", "Role", "roles");

/// Refuses roles and bindings that give more than their author has.
pub(crate) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if review.kind.group != GROUP || review.operation == Operation::Delete {
        return Ok(());
    }
    if review.user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    match review.kind.plural.as_str() {
        "roles" | "clusterroles" => role(review),
        "rolebindings" | "clusterrolebindings" => binding(review),
        _ => Ok(()),
    }
}

fn may(review: &Review<'_>, verb: &'static str, resource: &Kind, key: Key) -> bool {
    let target = Target::Resource {
        group: Name::new_static(GROUP),
        resource: resource.plural.clone(),
        subresource: Name::default(),
        key,
    };
    review.may(&Attributes { verb: Name::new_static(verb), target })
}

fn rules_of(role: &Value) -> Vec<Rule> {
    Vec::<Rule>::deserialize(&role["rules"]).unwrap_or_default()
}

fn role(review: &Review<'_>) -> Result<(), Status> {
    let aggregates = |role: &Value| role.get("aggregationRule").filter(|rule| !rule.is_null()).cloned();
    let (new, old) = (&*review.object, review.old);
    if old.is_some_and(|old| old.get("rules") == new.get("rules") && aggregates(old) == aggregates(new)) {
        return Ok(());
    }
    if may(review, "escalate", review.kind, review.key.clone()) {
        return Ok(());
    }
    if aggregates(new).is_some() {
        let all = || vec![Name::new_static("*")];
        let everything = [
            Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), paths: all(), ..Rule::default() },
        ];
        if missing(review, &everything).is_some() {
            return Err(review.forbidden("must have cluster-admin privileges to use the aggregationRule"));
        }
    }
    refuse_missing(review, &rules_of(new))
}

fn binding(review: &Review<'_>) -> Result<(), Status> {
    let (new, old) = (&*review.object, review.old);
    let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
    if same("roleRef") && same("subjects") {
        return Ok(());
    }
    let name = text(new, &["roleRef", "name"]);
    let (kind, key) = match text(new, &["roleRef", "kind"]) {
        "ClusterRole" => (CLUSTER_ROLE, Key::cluster(name)),
        "Role" => (ROLE, Key { namespace: review.key.namespace.clone(), name: name.into() }),
        // What is no reference is validation's matter.
        _ => return Ok(()),
    };
    let asked = Key { namespace: review.key.namespace.clone(), name: key.name.clone() };
    if may(review, "bind", &kind, asked) {
        return Ok(());
    }
    let Some(role) = review.get(&kind, &key) else {
        return Err(Status::not_found(GROUP, &kind.plural, name));
    };
    refuse_missing(review, &rules_of(&role.to_value()))
}

fn refuse_missing(review: &Review<'_>, wanted: &[Rule]) -> Result<(), Status> {
    let Some(missing) = missing(review, wanted) else { return Ok(()) };
    let groups: Vec<String> =
        review.user.groups.iter().map(|group| format!("{:?}", group.as_str())).collect();
    Err(review.forbidden(&format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        review.user.name.as_str(),
        groups.join(" "),
        missing.join("\n")
    )))
}

/// What of `wanted` the user does not hold, told rule by rule.
fn missing(review: &Review<'_>, wanted: &[Rule]) -> Option<Vec<String>> {
    let namespace = review.key.namespace.as_str();
    let rules = review.authorizer.rules(review.user, namespace, review.view);
    let held: Vec<Rule> =
        rules.resources.iter().chain(&rules.paths).filter_map(|rule| Rule::deserialize(rule).ok()).collect();
    let lacking: Vec<Rule> =
        wanted.iter().flat_map(single).filter(|one| !held.iter().any(|rule| covers(rule, one))).collect();
    if lacking.is_empty() {
        return None;
    }
    let mut told: Vec<String> = compact(lacking).iter().map(describe).collect();
    told.sort();
    Some(told)
}

/// A rule as rules of one verb on one resource or path each.
fn single(rule: &Rule) -> Vec<Rule> {
    let mut out = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let base = Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    out.push(base.clone());
                }
                for name in &rule.resource_names {
                    out.push(Rule { resource_names: vec![name.clone()], ..base.clone() });
                }
            }
        }
        for path in &rule.paths {
            out.push(Rule { verbs: vec![verb.clone()], paths: vec![path.clone()], ..Rule::default() });
        }
    }
    out
}

fn has(list: &[Name], wanted: &[Name]) -> bool {
    list.iter().any(|name| name == "*") || wanted.iter().all(|name| list.contains(name))
}

/// Whether a held rule gives all that a single one does.
fn covers(held: &Rule, one: &Rule) -> bool {
    let resource = |wanted: &Name| {
        let sub = wanted.split_once('/').map(|(_, sub)| sub);
        held.resources
            .iter()
            .any(|r| r == "*" || r == wanted || sub.is_some_and(|sub| r.strip_prefix("*/") == Some(sub)))
    };
    let path = |wanted: &Name| {
        held.paths.iter().any(|held| {
            held == wanted || held.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
        })
    };
    let names = held.resource_names.is_empty()
        || !one.resource_names.is_empty()
            && one.resource_names.iter().all(|n| held.resource_names.contains(n));
    has(&held.verbs, &one.verbs)
        && has(&held.api_groups, &one.api_groups)
        && one.resources.iter().all(resource)
        && one.paths.iter().all(path)
        && names
}

/// Rules on one resource each, with all their verbs together.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    let mut known = BTreeMap::new();
    for rule in rules {
        if rule.resources.is_empty() {
            out.push(rule);
            continue;
        }
        let key = (rule.api_groups.clone(), rule.resources.clone(), rule.resource_names.clone());
        match known.get(&key).and_then(|at| out.get_mut::<usize>(*at)) {
            Some(same) => same.verbs.extend(rule.verbs),
            None => {
                known.insert(key, out.len());
                out.push(rule);
            }
        }
    }
    out
}

/// `{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`.
fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.paths),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let told = parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| {
        let quoted: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_str())).collect();
        format!("{what}:[{}]", quoted.join(" "))
    });
    format!("{{{}}}", told.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(value: Value) -> Vec<Rule> {
        rules_of(&json!({"rules": value}))
    }

    #[test]
    fn what_is_lacking_is_told_by_resource_with_its_verbs_together() {
        let wanted =
            rules(json!([{"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list"]}]));
        let told: Vec<String> =
            compact(wanted.iter().flat_map(single).collect()).iter().map(describe).collect();
        assert_eq!(
            told,
            [
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}",
                "{APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}"
            ]
        );
    }

    #[test]
    fn a_rule_covers_what_it_gives_and_no_more() {
        let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let scale = json!([{"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["get"]}]);
        let named =
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}]);
        let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
        let deployment =
            json!([{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]}]);
        let paths = json!([{"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}]);
        let path = json!([{"nonResourceURLs": ["/logs/x"], "verbs": ["get"]}]);
        for (held, wanted, expected) in [
            (&all, &pods, true),
            (&all, &path, false),
            (&scale, &deployment, true),
            (&scale, &pods, false),
            (&named, &pods, false),
            (&pods, &named, true),
            (&named, &named, true),
            (&paths, &path, true),
            (&path, &paths, false),
        ] {
            let (held, wanted) = (rules(held.clone()), rules(wanted.clone()));
            let got = wanted.iter().flat_map(single).all(|one| held.iter().any(|rule| covers(rule, &one)));
            assert_eq!(got, expected, "{held:?} {wanted:?}");
        }
    }
}
