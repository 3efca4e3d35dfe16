#!/usr/bin/env python3
"""Writes the typed views in core/src/kinds from the OpenAPI facts of Kubernetes 1.36.

    benches/gen/kinds.py ../shared/openapi core/src/kinds && cargo fmt -p orlop-core

Which types are views, and in which file they live, is chosen below; a field of any other type is a `Value`.
"""
import json, os, re, sys

src, out = sys.argv[1:3]
schemas = {}
for f in sorted(os.listdir(f"{src}/v3")):
    schemas.update(json.load(open(f"{src}/v3/{f}")).get("components", {}).get("schemas", {}))

CORE = "io.k8s.api.core.v1."
FILES = {
    "pod": (CORE, """Pod PodSpec PodStatus Container ContainerPort EnvVar EnvVarSource EnvFromSource ObjectFieldSelector
        ResourceFieldSelector ConfigMapKeySelector SecretKeySelector ConfigMapEnvSource SecretEnvSource
        ResourceRequirements Probe ExecAction HTTPGetAction HTTPHeader TCPSocketAction GRPCAction Lifecycle
        LifecycleHandler SleepAction VolumeMount Affinity NodeAffinity NodeSelector NodeSelectorTerm
        NodeSelectorRequirement PreferredSchedulingTerm PodAffinity PodAntiAffinity PodAffinityTerm
        WeightedPodAffinityTerm Toleration TopologySpreadConstraint PodSchedulingGate PodReadinessGate
        LocalObjectReference HostAlias PodDNSConfig PodDNSConfigOption PodSecurityContext SecurityContext
        PodCondition PodIP HostIP ContainerStatus ContainerState ContainerStateRunning ContainerStateTerminated
        ContainerStateWaiting PodTemplateSpec PodOS PodResourceClaim ContainerResizePolicy EphemeralContainer"""),
    "volume": (CORE, """Volume ConfigMapVolumeSource SecretVolumeSource KeyToPath EmptyDirVolumeSource
        HostPathVolumeSource ProjectedVolumeSource VolumeProjection ConfigMapProjection SecretProjection
        DownwardAPIProjection DownwardAPIVolumeSource DownwardAPIVolumeFile ServiceAccountTokenProjection
        PersistentVolumeClaimVolumeSource EphemeralVolumeSource PersistentVolumeClaimTemplate CSIVolumeSource
        NFSVolumeSource GCEPersistentDiskVolumeSource AWSElasticBlockStoreVolumeSource ISCSIVolumeSource
        RBDVolumeSource PersistentVolume PersistentVolumeSpec PersistentVolumeStatus VolumeNodeAffinity
        CSIPersistentVolumeSource LocalVolumeSource PersistentVolumeClaim PersistentVolumeClaimSpec
        PersistentVolumeClaimStatus VolumeResourceRequirements TypedLocalObjectReference TypedObjectReference
        ObjectReference"""),
    "node": (CORE, """Node NodeSpec NodeStatus Taint NodeCondition NodeAddress NodeSystemInfo ContainerImage
        AttachedVolume NodeDaemonEndpoints DaemonEndpoint"""),
    "service": (CORE, """Service ServiceSpec ServicePort ServiceStatus LoadBalancerStatus LoadBalancerIngress
        SessionAffinityConfig ClientIPConfig Endpoints EndpointSubset EndpointAddress EndpointPort"""),
    "config": (CORE, """Namespace NamespaceSpec NamespaceStatus NamespaceCondition ServiceAccount ConfigMap Secret
        Event EventSource EventSeries"""),
    "quota": (CORE, """ResourceQuota ResourceQuotaSpec ResourceQuotaStatus ScopeSelector
        ScopedResourceSelectorRequirement LimitRange LimitRangeSpec LimitRangeItem"""),
    "rbac": ("io.k8s.api.rbac.v1.", "ClusterRole AggregationRule PolicyRule"),
    "workload": ("io.k8s.api.apps.v1.", """Deployment DeploymentSpec DeploymentStatus DeploymentCondition
        DeploymentStrategy RollingUpdateDeployment ReplicaSet ReplicaSetSpec ReplicaSetStatus ReplicaSetCondition
        DaemonSet DaemonSetSpec DaemonSetStatus StatefulSet StatefulSetSpec StatefulSetStatus ControllerRevision"""),
    "batch": ("io.k8s.api.batch.v1.", "Job JobSpec JobStatus JobCondition"),
    "discovery": ("io.k8s.api.discovery.v1.", """EndpointSlice Endpoint EndpointConditions EndpointPort
        EndpointHints ForZone ForNode"""),
    "networking": ("io.k8s.api.networking.v1.", """Ingress IngressSpec IngressRule HTTPIngressRuleValue
        HTTPIngressPath IngressBackend IngressServiceBackend ServiceBackendPort IngressTLS IngressStatus
        IngressLoadBalancerStatus IngressLoadBalancerIngress IngressClass IngressClassSpec IPAddress IPAddressSpec
        ParentReference ServiceCIDR ServiceCIDRSpec"""),
    "policy": ("io.k8s.api.policy.v1.", """PodDisruptionBudget PodDisruptionBudgetSpec
        PodDisruptionBudgetStatus"""),
    "storage": ("io.k8s.api.storage.v1.", """StorageClass CSINode CSINodeSpec CSINodeDriver VolumeNodeResources
        CSIDriver CSIDriverSpec"""),
    "scheduling": ("io.k8s.api.scheduling.v1.", "PriorityClass"),
    "coordination": ("io.k8s.api.coordination.v1.", "Lease LeaseSpec"),
}
MODULE = {}
for module, (prefix, names) in FILES.items():
    for n in names.split():
        MODULE[prefix + n] = module
RENAMED = {"io.k8s.api.discovery.v1.EndpointPort": "EndpointSlicePort", "io.k8s.api.core.v1.EndpointPort": "EndpointPort"}
SHARED = {
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": "crate::Meta",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector": "crate::rules::LabelSelector",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "crate::rules::Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "crate::rules::IntOrString",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "crate::Timestamp",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "crate::Timestamp",
}
# Booleans for which absent and false differ.
TRISTATE = set("""automountServiceAccountToken enableServiceLinks shareProcessNamespace optional runAsNonRoot
    privileged allowPrivilegeEscalation readOnlyRootFilesystem hostUsers started setHostnameAsFQDN controller
    allocateLoadBalancerNodePorts ready serving terminating immutable attachRequired podInfoOnMount
    allowVolumeExpansion suspend""".split())
PLAIN_BOOL = {("ContainerStatus", "ready")}
KEYWORDS = {"type", "ref", "match"}
PLURAL = {"Endpoints": "endpoints", "IngressClass": "ingressclasses", "Ingress": "ingresses", "IPAddress": "ipaddresses"}

def snake(s):
    s = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", s)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", s).lower().replace("-", "_").replace("_i_ps", "_ips").replace("_ur_ls", "_urls")

def camel(s):
    parts = s.split("_")
    return parts[0] + "".join(p[:1].upper() + p[1:] for p in parts[1:])

def name_of(full):
    return RENAMED.get(full, full.rsplit(".", 1)[1])

def rust(p, module):
    if "allOf" in p:
        p = dict(p, **p["allOf"][0])
    if "$ref" in p:
        ref = p["$ref"].rsplit("/", 1)[1]
        if ref in SHARED:
            return SHARED[ref], ref
        if ref in MODULE:
            m = MODULE[ref]
            return (name_of(ref) if m == module else f"super::{name_of(ref)}"), ref
        return "serde_json::Value", ref
    t = p.get("type")
    if t == "string":
        return "Name", None
    if t == "boolean":
        return "bool", None
    if t == "integer":
        return ("i32" if p.get("format") == "int32" else "i64"), None
    if t == "number":
        return "f64", None
    if t == "array":
        return f"Vec<{rust(p['items'], module)[0]}>", None
    if t == "object" and "additionalProperties" in p:
        return f"BTreeMap<Name, {rust(p['additionalProperties'], module)[0]}>", None
    return "serde_json::Value", None

mods = []
for module, (prefix, names) in FILES.items():
    text, imports = [], set()
    for n in names.split():
        s = schemas[prefix + n]
        rn = name_of(prefix + n)
        group = prefix.split(".")[2]
        text.append(f"/// `{n}` of {group}/{prefix.split('.')[3]}.\n#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]\n#[serde(default, rename_all = \"camelCase\")]\npub struct {rn} {{")
        required = set(s.get("required", []))
        top = bool(s.get("x-kubernetes-group-version-kind"))
        for f, p in s.get("properties", {}).items():
            if top and f in ("apiVersion", "kind"):
                continue
            t, ref = rust(p, module)
            inner = p.get("allOf", [{}])[0].get("$ref", p.get("$ref", ""))
            rs = snake(f)
            attrs = []
            ident = f"r#{rs}" if rs in KEYWORDS else rs
            if camel(rs) != f:
                attrs.append(f'rename = "{f}"')
            if t == "bool":
                if f in TRISTATE and (rn, f) not in PLAIN_BOOL:
                    t = "Option<bool>"
            elif t in ("i32", "i64", "f64"):
                if f not in required and not rn.endswith("Status"):
                    t = f"Option<{t}>"
            elif t == "serde_json::Value":
                pass
            elif ref and not (f in required and t != "crate::Timestamp") and not (f in ("metadata", "spec", "status", "template", "strategy", "resources", "state", "lastState", "updateStrategy", "nodeInfo") ):
                t = f"Option<{t}>"
            elif ref and t == "crate::Timestamp":
                t = "Option<crate::Timestamp>"
            if rn == "ReplicaSetSpec" and f == "template" or rn in ("EphemeralContainer",) and False:
                pass
            if inner.endswith("MicroTime"):
                attrs.append('serialize_with = "super::micro_time"')
            if "BTreeMap" in t:
                imports.add("BTreeMap")
            if not t.startswith("Option<") and t != "serde_json::Value":
                attrs.append('deserialize_with = "super::or_default"')
            attrs.append('skip_serializing_if = "super::is_default"')
            text.append(f"    #[serde({', '.join(attrs)})]\n    pub {ident}: {t},")
        text.append("}\n")
        if top:
            gvk = s["x-kubernetes-group-version-kind"][0]
            plural = PLURAL.get(n)
            if not plural:
                low = n.lower()
                plural = low[:-1] + "ies" if low.endswith("y") else low + ("es" if low.endswith("s") else "s")
            cluster = n in ("Node", "PersistentVolume", "Namespace", "StorageClass", "CSINode", "CSIDriver", "PriorityClass", "IngressClass", "IPAddress", "ServiceCIDR", "ClusterRole")
            text.append(f'impl Object for {rn} {{\n    const KIND: Kind = Kind::{"cluster" if cluster else "namespaced"}("{gvk["group"]}", "{gvk["version"]}", "{gvk["kind"]}", "{plural}");\n    fn meta(&self) -> &crate::Meta {{\n        &self.metadata\n    }}\n\n    super::decoded_here!();\n}}\n')
    body = "\n".join(text)
    head = f"//! Views of {prefix.split('.')[2]}/{prefix.split('.')[3]}. Generated by `benches/gen/kinds.py`.\n\n"
    if imports:
        head += "use std::collections::BTreeMap;\n\n"
    head += "use serde::{Deserialize, Serialize};\n\n"
    head += "use crate::object::" + ("{Kind, Name, Object};" if "impl Object" in body else "Name;") + "\n\n"
    open(f"{out}/{module}.rs", "w").write(head + body)
    mods.append(module)

open(f"{out}/mod.rs", "w").write("""//! Typed views of the built-in kinds that Orlop itself decides on. Generated by `benches/gen/kinds.py`.
//!
//! A view has the fields of its kind under Kubernetes' names in snake case; what a field means is said in
//! Kubernetes' API reference. Absent and empty are one: a missing string is empty, a missing list has no items; only
//! where absence means something else is a field an `Option`.
#![allow(missing_docs, reason = "the API reference documents the fields")]

/// [`Object::from_json`](crate::Object::from_json) as one function of this crate. A small one would be made anew by every
/// crate that calls it, and with it the decoding of the whole kind.
macro_rules! decoded_here {
    () => {
        #[inline(never)]
        fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
            serde_json::from_slice(json)
        }
    };
}
use decoded_here;

""" + "".join(f"mod {m};\n" for m in sorted(mods)) + "\n" + "".join(f"pub use {m}::*;\n" for m in sorted(mods)) + """
/// Whether a field may be left out when it is written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a field in which null, too, means nothing: some lists are written so when they are empty.
pub(crate) fn or_default<'de, D: serde::Deserializer<'de>, T: Default + serde::Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

/// Writes a time with microseconds.
pub(crate) fn micro_time<S: serde::Serializer>(time: &Option<crate::Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&time.to_micro_string()),
        None => serializer.serialize_none(),
    }
}
""")
