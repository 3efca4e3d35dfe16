//! How the kinds differ in what may be done with them.

use orlop_core::scheme::Resource;

/// The rules of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// `metadata.generation` counts changes of the desired state.
    pub(crate) generation: bool,
    /// The generation stays what it was at first: nothing that is wanted can change.
    pub(crate) generation_stays: bool,
    /// Labels are a part of the desired state.
    pub(crate) generation_counts_labels: bool,
    /// Annotations are a part of the desired state.
    pub(crate) generation_counts_annotations: bool,
    /// A replacement of an absent object creates it.
    pub(crate) create_on_update: bool,
    /// A replacement need not say which state it replaces.
    pub(crate) unconditional_update: bool,
    /// A deletion answers with the object.
    pub(crate) returns_deleted: bool,
    /// Dependents stay behind unless a deletion says otherwise.
    pub(crate) orphans_by_default: bool,
    /// What a client says about the status at creation is dropped.
    pub(crate) resets_status: bool,
    /// A change of the status leaves the labels alone.
    pub(crate) status_keeps_labels: bool,
    /// Of a new object's name, nothing follows but the name: no label, no other field, and no rule asks more of it than
    /// that it is one, which every DNS label is.
    pub(crate) name_alone: bool,
}

const GENERATION: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

const CREATE_ON_UPDATE: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
];

const CONDITIONAL_ONLY: &[(&str, &str)] = &[
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
];

const RETURNS_DELETED: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

const NAME_ALONE: &[(&str, &str)] = &[
    ("", "configmaps"),
    ("", "persistentvolumeclaims"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("", "secrets"),
    ("", "serviceaccounts"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "networkpolicies"),
];

const ORPHANS: &[(&str, &str)] = &[("", "replicationcontrollers"), ("batch", "jobs")];

impl Strategy {
    pub(crate) fn of(resource: &Resource) -> Strategy {
        let (group, plural) = (resource.kind.group.as_str(), resource.kind.plural.as_str());
        let key = (group, plural);
        let admission = group == "admissionregistration.k8s.io";
        // A node reports its status as it registers.
        let resets_status = resource.subresource("status").is_some() && key != ("", "nodes");
        Strategy {
            generation: resource.custom || admission || GENERATION.contains(&key),
            generation_stays: key == ("scheduling.k8s.io", "priorityclasses"),
            generation_counts_labels: key == ("discovery.k8s.io", "endpointslices"),
            generation_counts_annotations: matches!(
                key,
                ("discovery.k8s.io", "endpointslices") | ("apps", "deployments")
            ),
            create_on_update: CREATE_ON_UPDATE.contains(&key),
            unconditional_update: !(resource.custom || admission || CONDITIONAL_ONLY.contains(&key)),
            returns_deleted: group == "resource.k8s.io" || RETURNS_DELETED.contains(&key),
            orphans_by_default: ORPHANS.contains(&key),
            resets_status,
            status_keeps_labels: matches!(key, ("apps", "deployments")),
            name_alone: NAME_ALONE.contains(&key),
        }
    }
}
