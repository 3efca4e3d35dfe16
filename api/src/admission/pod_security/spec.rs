//! A pod as the checks look at it, and the words in which they complain.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use crate::tree::{at, items, text};

/// A pod, or a template of one.
pub(super) struct Spec<'a> {
    pub(super) annotations: &'a Value,
    pub(super) spec: &'a Value,
    /// Init containers, containers, ephemeral containers.
    pub(super) containers: Vec<&'a Value>,
}

impl<'a> Spec<'a> {
    pub(super) fn of(pod: &'a Value) -> Spec<'a> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        Spec {
            annotations: &pod["metadata"]["annotations"],
            spec: &pod["spec"],
            containers: lists.iter().flat_map(|list| items(pod, &["spec", list])).collect(),
        }
    }

    /// A field of the pod's own security context.
    pub(super) fn security(&self, path: &[&str]) -> Option<&'a Value> {
        at(self.spec.get("securityContext")?, path).filter(|v| !v.is_null())
    }

    /// The names of the containers for which a test holds.
    pub(super) fn containers_where(&self, mut test: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|c| test(c)).map(|c| text(c, &["name"])).collect()
    }

    /// Whether the pod has users of its own: root in it is nobody outside (KEP-127).
    pub(super) fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// Windows knows neither capabilities nor escalation nor seccomp.
    pub(super) fn is_windows(&self) -> bool {
        text(self.spec, &["os", "name"]) == "windows"
    }
}

/// A field of a container's security context.
pub(super) fn security<'a>(container: &'a Value, path: &[&str]) -> Option<&'a Value> {
    at(container.get("securityContext")?, path).filter(|v| !v.is_null())
}

pub(super) fn violation(reason: &str, detail: String) -> Violation {
    Violation { reason: reason.to_owned(), detail }
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    format!("\"{}\"", names.into_iter().collect::<Vec<_>>().join("\", \""))
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn told(containers: &[&str]) -> String {
    let word = plural("container", "containers", containers.len());
    format!("{word} {}", quoted(containers.iter().copied()))
}

/// Who has set a value that is not allowed: the pod, containers, or both.
#[derive(Default)]
pub(super) struct Setters<'a> {
    pub(super) pod: bool,
    pub(super) containers: Vec<&'a str>,
    pub(super) values: BTreeSet<String>,
}

impl<'a> Setters<'a> {
    /// Looks at a field of all security contexts; `wrong` names a value that is not allowed.
    pub(super) fn find(
        spec: &Spec<'a>,
        path: &[&str],
        wrong: impl Fn(&Value) -> Option<String>,
    ) -> Setters<'a> {
        let mut found = Setters::default();
        if let Some(value) = spec.security(path).and_then(&wrong) {
            found.pod = true;
            found.values.insert(value);
        }
        found.containers = spec.containers_where(|container| {
            let value = security(container, path).and_then(&wrong);
            let bad = value.is_some();
            found.values.extend(value);
            bad
        });
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.pod && self.containers.is_empty()
    }

    /// `pod and containers "a", "b"`.
    pub(super) fn told(&self) -> String {
        let mut all = Vec::new();
        if self.pod {
            all.push("pod".to_owned());
        }
        if !self.containers.is_empty() {
            all.push(told(&self.containers));
        }
        all.join(" and ")
    }
}
