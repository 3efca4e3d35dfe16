//! Priority and fairness: which requests wait, which go ahead, and which are sent away when a server has more to do
//! than it can (KEP-1040).
//!
//! A request is classified by the first FlowSchema that fits ([`FlowControl::classify`]); its PriorityLevelConfiguration
//! says how many seats such requests may take together, and how the others wait ([`Queues`]). Everything here is pure;
//! the HTTP shell waits.

mod bootstrap;
mod queues;

use orlop_core::Name;
use orlop_core::store::View;
use serde::Deserialize;

use crate::auth::{Attributes, Target};
use crate::request::User;

pub use bootstrap::bootstrap;
pub use queues::{Arrival, LevelLimits, Queues, Queuing, Ticket};

const SCHEMAS: &str = "/registry/flowschemas/";
const LEVELS: &str = "/registry/prioritylevelconfigurations/";

/// What a cluster's FlowSchemas and PriorityLevelConfigurations say.
#[derive(Clone, Debug, Default)]
pub struct FlowControl {
    /// In order of precedence.
    schemas: Vec<FlowSchema>,
    levels: Vec<Level>,
}

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The FlowSchema.
    pub schema: Name,
    /// The PriorityLevelConfiguration.
    pub level: Name,
    /// What tells this flow from others of the schema: a user, a namespace, or nothing.
    pub distinguisher: Name,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FlowSchema {
    metadata: orlop_core::Meta,
    spec: FlowSchemaSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FlowSchemaSpec {
    priority_level_configuration: Named,
    matching_precedence: i64,
    distinguisher_method: Option<Distinguisher>,
    rules: Vec<Rules>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    namespace: Name,
    name: Name,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Distinguisher {
    r#type: Name,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rules {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subject {
    kind: Name,
    user: Option<Named>,
    group: Option<Named>,
    service_account: Option<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceRule {
    verbs: Vec<Name>,
    api_groups: Vec<Name>,
    resources: Vec<Name>,
    cluster_scope: bool,
    namespaces: Vec<Name>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<Name>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<Name>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Level {
    metadata: orlop_core::Meta,
    spec: LevelSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LevelSpec {
    r#type: Name,
    limited: Option<Limited>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Limited {
    nominal_concurrency_shares: Option<i64>,
    lendable_percent: i64,
    borrowing_limit_percent: Option<i64>,
    limit_response: LimitResponse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LimitResponse {
    r#type: Name,
    queuing: Option<QueuingSpec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct QueuingSpec {
    queues: usize,
    hand_size: usize,
    queue_length_limit: usize,
}

impl Default for QueuingSpec {
    fn default() -> Self {
        QueuingSpec { queues: 64, hand_size: 8, queue_length_limit: 50 }
    }
}

fn any(list: &[Name], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Subject {
    fn is(&self, user: &User) -> bool {
        match self.kind.as_str() {
            "User" => self.user.as_ref().is_some_and(|named| named.name == "*" || named.name == user.name),
            "Group" => self
                .group
                .as_ref()
                .is_some_and(|named| named.name == "*" || user.groups.contains(&named.name)),
            "ServiceAccount" => self.service_account.as_ref().is_some_and(|named| {
                let own =
                    user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                own.is_some_and(|(namespace, name)| {
                    named.namespace == namespace && (named.name == "*" || named.name == name)
                })
            }),
            _ => false,
        }
    }
}

impl Rules {
    fn fits(&self, user: &User, asked: &Attributes) -> bool {
        let rule = match &asked.target {
            Target::Path(path) => self.non_resource_rules.iter().any(|rule| {
                let paths = rule.paths.iter().any(|allowed| match allowed.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => allowed == path,
                });
                paths && any(&rule.verbs, &asked.verb)
            }),
            Target::Resource { group, resource, subresource, key } => {
                self.resource_rules.iter().any(|rule| {
                    let whole = match subresource.as_str() {
                        "" => resource.to_string(),
                        subresource => format!("{resource}/{subresource}"),
                    };
                    let place = match key.namespace.as_str() {
                        "" => rule.cluster_scope,
                        namespace => any(&rule.namespaces, namespace),
                    };
                    place
                        && any(&rule.verbs, &asked.verb)
                        && any(&rule.api_groups, group)
                        && any(&rule.resources, &whole)
                })
            }
        };
        rule && self.subjects.iter().any(|subject| subject.is(user))
    }
}

impl FlowControl {
    /// What the objects in `view` say.
    pub fn read(view: &dyn View) -> FlowControl {
        fn all<T: for<'de> Deserialize<'de>>(view: &dyn View, prefix: &str) -> Vec<T> {
            view.range(prefix, "", usize::MAX).iter().filter_map(|entry| entry.object.decode().ok()).collect()
        }
        let mut schemas: Vec<FlowSchema> = all(view, SCHEMAS);
        schemas.sort_by(|a, b| {
            let order = a.spec.matching_precedence.cmp(&b.spec.matching_precedence);
            order.then_with(|| a.metadata.name.cmp(&b.metadata.name))
        });
        FlowControl { schemas, levels: all(view, LEVELS) }
    }

    /// Where a request belongs; `None`: no schema fits, or its level is not there.
    pub fn classify(&self, user: &User, asked: &Attributes) -> Option<Flow> {
        let fits = |schema: &&FlowSchema| {
            let level = &schema.spec.priority_level_configuration.name;
            self.levels.iter().any(|l| l.metadata.name == *level)
                && schema.spec.rules.iter().any(|rules| rules.fits(user, asked))
        };
        let schema = self.schemas.iter().find(fits)?;
        let method = schema.spec.distinguisher_method.as_ref().map_or("", |method| method.r#type.as_str());
        let distinguisher = match (method, &asked.target) {
            ("ByUser", _) => user.name.clone(),
            ("ByNamespace", Target::Resource { key, .. }) => key.namespace.clone(),
            _ => Name::default(),
        };
        Some(Flow {
            schema: schema.metadata.name.clone(),
            level: schema.spec.priority_level_configuration.name.clone(),
            distinguisher,
        })
    }

    /// Whether requests of a level neither wait nor take seats.
    pub fn is_exempt(&self, level: &str) -> bool {
        self.levels.iter().any(|l| l.metadata.name == level && l.spec.r#type == "Exempt")
    }

    /// How a server with so many seats divides them among the levels; those that are exempt are not among them.
    pub fn limits(&self, seats: usize) -> Vec<(Name, LevelLimits)> {
        let limited = || self.levels.iter().filter(|level| level.spec.r#type != "Exempt");
        let shares = |level: &Level| {
            let limited = level.spec.limited.as_ref();
            limited.and_then(|l| l.nominal_concurrency_shares).unwrap_or(30).clamp(0, 1 << 20) as usize
        };
        let total: usize = limited().map(shares).sum::<usize>().max(1);
        let percent = |of: usize, percent: i64| of * percent.clamp(0, 1 << 20) as usize / 100;
        limited()
            .map(|level| {
                let spec = level.spec.limited.clone().unwrap_or_default();
                let nominal = (seats * shares(level)).div_ceil(total);
                let queuing = (spec.limit_response.r#type == "Queue").then(|| {
                    let queuing = spec.limit_response.queuing.clone().unwrap_or_default();
                    Queuing {
                        queues: queuing.queues.clamp(1, 1 << 20),
                        hand: queuing.hand_size.max(1),
                        length: queuing.queue_length_limit,
                    }
                });
                let limits = LevelLimits {
                    nominal,
                    lendable: percent(nominal, spec.lendable_percent.min(100)),
                    borrowable: spec.borrowing_limit_percent.map(|p| percent(nominal, p)),
                    queuing,
                };
                (level.metadata.name.clone(), limits)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_core::Key;

    fn defaults() -> FlowControl {
        let mut control = FlowControl::default();
        for (kind, object) in bootstrap() {
            match kind.kind.as_str() {
                "FlowSchema" => control.schemas.push(serde_json::from_value(object).unwrap()),
                _ => control.levels.push(serde_json::from_value(object).unwrap()),
            }
        }
        control.schemas.sort_by_key(|schema| schema.spec.matching_precedence);
        control
    }

    fn flow(user: &str, groups: &[&str], verb: &str, target: &str) -> String {
        let user = User {
            name: user.into(),
            groups: groups.iter().map(|group| Name::from(*group)).collect(),
            ..User::default()
        };
        let target = match target.strip_prefix('/') {
            Some(_) => Target::Path(target.into()),
            None => {
                let (group, resource) = target.split_once(' ').unwrap_or(("", target));
                Target::Resource {
                    group: group.into(),
                    resource: resource.into(),
                    subresource: "".into(),
                    key: Key::new("shop", ""),
                }
            }
        };
        let flow = defaults().classify(&user, &Attributes { verb: verb.into(), target }).expect("a flow");
        format!("{} {} {}", flow.schema, flow.level, flow.distinguisher)
    }

    #[test]
    fn requests_belong_where_kubernetes_puts_them() {
        let everyone = "system:authenticated";
        assert_eq!(flow("ada", &["system:masters"], "list", "pods"), "exempt exempt ");
        assert_eq!(flow("ada", &[everyone], "list", "pods"), "global-default global-default ada");
        assert_eq!(flow("x", &["system:unauthenticated"], "get", "/healthz"), "probes exempt ");
        let node = ["system:nodes", everyone];
        assert_eq!(
            flow("system:node:n", &node, "update", "coordination.k8s.io leases"),
            "system-node-high node-high system:node:n"
        );
        assert_eq!(flow("system:node:n", &node, "list", "pods"), "system-nodes system system:node:n");
        let robot = ["system:serviceaccounts", everyone];
        assert_eq!(
            flow("system:serviceaccount:shop:robot", &robot, "get", "pods"),
            "service-accounts workload-low system:serviceaccount:shop:robot"
        );
        assert_eq!(
            flow("system:serviceaccount:kube-system:dns", &robot, "get", "pods"),
            "kube-system-service-accounts workload-high shop"
        );
    }

    #[test]
    fn levels_share_the_seats() {
        let limits: Vec<String> = defaults()
            .limits(600)
            .iter()
            .map(|(name, limits)| format!("{name} {} {}", limits.nominal, limits.lendable))
            .collect();
        assert_eq!(
            limits.join(", "),
            "catch-all 13 0, system 74 24, node-high 98 24, leader-election 25 0, workload-high 98 49, workload-low 245 220, global-default 49 24"
        );
    }
}
