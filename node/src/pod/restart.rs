//! Whether a container runs again after its end, and with whom.

use orlop_core::kinds::{Container, Pod};
use orlop_core::runtime::Exit;
use serde_json::Value;

use super::unit::Role;
use crate::config::NodeConfig;

/// What follows from a container's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It has ended for good.
    Nothing,
    /// It runs again.
    Again,
    /// All containers of the pod run again, from the first init container on.
    AllAgain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    fn parse(text: &str) -> Option<Policy> {
        match text {
            "Always" => Some(Policy::Always),
            "OnFailure" => Some(Policy::OnFailure),
            "Never" => Some(Policy::Never),
            _ => None,
        }
    }

    /// A container's own policy stands above its pod's.
    fn of(container: &Container, pod: Policy) -> Policy {
        Policy::parse(&container.restart_policy).unwrap_or(pod)
    }

    fn of_pod(pod: &Pod) -> Policy {
        Policy::parse(&pod.spec.restart_policy).unwrap_or(Policy::Always)
    }
}

/// Whether a container is meant to end by itself and to stay ended, if it ends well.
pub(crate) fn is_task(pod: &Pod, container: &Container) -> bool {
    Policy::of(container, Policy::of_pod(pod)) != Policy::Always
}

/// Whether a container's end may have all containers of its pod run again.
pub(crate) fn may_restart_all(container: &Container) -> bool {
    container.restart_policy_rules.iter().any(|rule| rule["action"] == "RestartAllContainers")
}

/// What decides over a pod's containers after their end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restarts {
    /// `None`: every end is final.
    pod: Option<Policy>,
}

impl Restarts {
    pub(crate) fn of(config: &NodeConfig, pod: &Pod) -> Restarts {
        Restarts { pod: config.restarts.then(|| Policy::of_pod(pod)) }
    }

    /// What follows from this end. A container's rules come first (KEP-5307, KEP-5532), then its own policy, then its
    /// pod's; an init container that has done its part is not run again by a policy.
    pub(crate) fn after(self, container: &Container, role: Role, exit: &Exit) -> After {
        let Some(pod) = self.pod.filter(|_| role != Role::Ephemeral) else { return After::Nothing };
        let rules = match container.restart_policy.is_empty() {
            true => &[][..],
            false => &container.restart_policy_rules,
        };
        let action = rules.iter().find(|rule| matches(rule, exit.code)).map(|rule| &rule["action"]);
        if action.is_some_and(|action| action == "RestartAllContainers") {
            return After::AllAgain;
        }
        if role == Role::Init && exit.code == 0 {
            return After::Nothing;
        }
        if action.is_some_and(|action| action == "Restart") {
            return After::Again;
        }
        let again = match Policy::of(container, pod) {
            Policy::Always => true,
            Policy::OnFailure => exit.code != 0,
            Policy::Never => false,
        };
        if again { After::Again } else { After::Nothing }
    }
}

/// Whether a rule is about an end with this code.
fn matches(rule: &Value, code: i32) -> bool {
    let codes = &rule["exitCodes"];
    let named = codes["values"].as_array().is_some_and(|values| values.iter().any(|value| *value == code));
    match codes["operator"].as_str() {
        Some("In") => named,
        Some("NotIn") => !named,
        _ => false,
    }
}
