//! Which kinds come first, and what a mistyped kind may have meant.

use orlop_core::scheme::Scheme;

/// Kinds that others refer to, in the order in which they are made. Everything else comes behind, in the order given.
const FIRST: [&str; 34] = [
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "CSIDriver",
    "IngressClass",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ServiceCIDR",
    "Service",
    "Endpoints",
    "EndpointSlice",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "Job",
    "CronJob",
    "Ingress",
];

pub(super) fn rank(kind: &str) -> usize {
    FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len())
}

/// Says that a kind is not served, and which one may have been meant.
pub(super) fn unknown_kind(api_version: &str, kind: &str, scheme: &Scheme) -> String {
    let elsewhere: Vec<String> =
        scheme.by_kind_name(kind).map(|resource| resource.kind.api_version().to_string()).collect();
    if !elsewhere.is_empty() {
        return format!(
            "there is no {kind} in {api_version}, but there is one in {}",
            elsewhere.join(" and ")
        );
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let near = scheme
        .resources()
        .map(|resource| &resource.kind)
        .filter(|known| known.group == group)
        .map(|known| (distance(&kind.to_lowercase(), &known.kind.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2.min(kind.len() / 3));
    match near {
        Some((_, known)) => {
            format!("{kind:?} is no kind that is served; {} of {} is", known.kind, known.api_version())
        }
        None => format!(
            "{kind:?} of {api_version} is no kind that is served; if it is a custom one, apply its CustomResourceDefinition first"
        ),
    }
}

/// How many letters must be changed, added or dropped to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_may_have_been_meant() {
        let scheme = Scheme::builtin();
        let said = |api_version, kind| unknown_kind(api_version, kind, &scheme);
        assert!(said("apps/v1", "Deploymnet").contains("Deployment of apps/v1"));
        assert!(said("v1", "Deployment").contains("in apps/v1"));
        assert!(said("example.com/v1", "Widget").contains("CustomResourceDefinition"));
        // A short word is near to any other.
        assert!(said("example.com/v1", "Foo").contains("CustomResourceDefinition"));
        assert!(said("v1", "Foo").contains("CustomResourceDefinition"));
    }

    #[test]
    fn what_others_need_comes_first() {
        assert!(rank("Namespace") < rank("ConfigMap") && rank("ConfigMap") < rank("Deployment"));
        assert!(rank("Deployment") < rank("Widget"));
    }
}
