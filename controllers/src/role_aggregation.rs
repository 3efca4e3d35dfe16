//! ClusterRole aggregation: roles that collect the rules of those that their selectors choose.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{ClusterRole, PolicyRule};
use orlop_core::{Item, Key, Plan, World, Write};
use serde_json::json;

/// Collects. See the module's documentation.
pub struct RoleAggregationController;

impl Controller for RoleAggregationController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        // Any role may be what another one collects.
        watches.mapped::<ClusterRole>(|_, world| {
            let collecting = world.all::<ClusterRole>().filter(|role| role.aggregation_rule.is_some());
            collecting.map(|role| Key::cluster(role.metadata.name.clone())).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        let Some(role) = world.get::<ClusterRole>(key).filter(|role| !role.metadata.is_terminating()) else {
            return Plan::nothing();
        };
        let Some(rules) = collected(role, world) else { return Plan::nothing() };
        if rules == role.rules {
            return Plan::nothing();
        }
        Plan::write(Write::merge_seen(role, json!({"rules": rules})))
    }
}

/// The rules of all roles that are chosen, selector by selector, in order of names, each rule once.
fn collected(role: &Item<ClusterRole>, world: &World) -> Option<Vec<PolicyRule>> {
    let aggregation = role.aggregation_rule.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in &aggregation.cluster_role_selectors {
        let mut chosen: Vec<_> = world
            .all::<ClusterRole>()
            .filter(|other| {
                other.metadata.name != role.metadata.name && selector.matches(&other.metadata.labels)
            })
            .collect();
        chosen.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for rule in chosen.into_iter().flat_map(|other| &other.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}
