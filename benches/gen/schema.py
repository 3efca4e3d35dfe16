#!/usr/bin/env python3
"""Writes the tables that core embeds: core/src/schema/types.txt and core/src/schema/resources.txt.

Usage: schema.py SHARED/openapi CORE/src/schema

Input are the OpenAPI v3 documents, aggregated discovery and protobuf numbers of one Kubernetes version. What they do
not say, namely which Go fields are pointers and which lack `omitempty` (it decides whether a zero is written), is
listed below. The forms of both tables are described in core/src/schema/table.rs and core/src/scheme/table.rs.
"""
import glob
import json
import os
import sys

source, target = sys.argv[1:3]

# Booleans and numbers that are no pointers: zero and absent are the same, and neither is written.
PLAIN = set("""
paused authenticated denied readOnly stdin stdinOnce tty chapAuthDiscovery chapAuthSession unschedulable hostIPC
hostNetwork hostPID sslEnabled publishNotReadyAddresses clusterScope globalDefault preserveUnknownFields deprecated
exclusiveMaximum exclusiveMinimum nullable uniqueItems x-kubernetes-embedded-resource x-kubernetes-int-or-string
insecureSkipTLSVerify minReadySeconds observedGeneration numberAvailable numberUnavailable updatedNumberScheduled
availableReplicas readyReplicas updatedReplicas unavailableReplicas currentReplicas fullyLabeledReplicas
DeploymentStatus.replicas AWSElasticBlockStoreVolumeSource.partition GCEPersistentDiskVolumeSource.partition active
failed succeeded hostPort sizeBytes signal Event.count EventSeries.count deprecatedCount DeviceSubRequest.count
ExactDeviceRequest.count failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds nodePort
healthCheckNodePort number CustomResourceColumnDefinition.priority generation code retryAfterSeconds
""".split())
NOT_PLAIN = set("""
HorizontalPodAutoscalerStatus.observedGeneration AzureDiskVolumeSource.readOnly MutatingWebhook.timeoutSeconds
ValidatingWebhook.timeoutSeconds ClientIPConfig.timeoutSeconds FileKeySelector.optional
""".split())
# Texts that are pointers: an empty one is a value of its own.
POINTER = set("""
HPAScalingRules.policies
matchPolicy failurePolicy MutatingWebhook.reinvocationPolicy sideEffects RuleWithOperations.scope
NamedRuleWithOperations.scope parameterNotFoundAction ServiceReference.path Validation.reason url selectPolicy timeZone
completionMode managedBy podReplacementPolicy failedIndexes PodFailurePolicyOnExitCodesRequirement.containerName
succeededIndexes holderIdentity preferredHolder strategy localhostProfile secretNamespace CSIVolumeSource.fsType
AzureDiskVolumeSource.fsType AzureDiskVolumeSource.kind AzureDiskVolumeSource.cachingMode
ClusterTrustBundleProjection.name ClusterTrustBundleProjection.signerName Container.restartPolicy
EphemeralContainer.restartPolicy stopSignal EndpointAddress.nodeName appProtocol endpointsNamespace
HostPathVolumeSource.type initiatorName ipMode LocalVolumeSource.fsType PersistentVolumeClaimSpec.storageClassName
volumeAttributesClassName volumeMode currentVolumeAttributesClassName PodDNSConfigOption.value resourceClaimName
resourceClaimTemplateName podGroupName fsGroupChangePolicy seLinuxChangePolicy supplementalGroupsPolicy
hostnameOverride preemptionPolicy runtimeClassName error procMount internalTrafficPolicy ipFamilyPolicy
loadBalancerClass trafficDistribution nodeAffinityPolicy nodeTaintsPolicy TypedLocalObjectReference.apiGroup
TypedObjectReference.apiGroup TypedObjectReference.namespace mountPropagation recursiveReadOnly gmsaCredentialSpec
gmsaCredentialSpecName runAsUserName Endpoint.hostname Endpoint.nodeName Endpoint.zone
discovery.v1.EndpointPort.name discovery.v1.EndpointPort.protocol IngressClassParametersReference.apiGroup
IngressClassParametersReference.namespace IngressClassParametersReference.scope pathType ingressClassName
NetworkPolicyPort.protocol unhealthyPodEvictionPolicy Device.nodeName DeviceAttribute.string DeviceAttribute.version
extendedResourceName distinctAttribute matchAttribute shareID ResourceSliceSpec.nodeName fsGroupPolicy reclaimPolicy
volumeBindingMode persistentVolumeName deprecationWarning labelSelectorPath ValidationRule.reason
x-kubernetes-list-type x-kubernetes-map-type propagationPolicy Preconditions.resourceVersion Preconditions.uid
capacityKey GRPCAction.service
""".split())
NOT_POINTER = set("""
JSONSchemaProps.id SubjectRulesReviewStatus.evaluationError TokenReviewStatus.error ComponentCondition.error
NodeConfigStatus.error ExternalDocumentation.url
""".split())
# Without `omitempty`, although the documents list no zero default: written as null where absent.
KEEP = set("""
TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup boundObjectRef autoscaling.v2.HorizontalPodAutoscalerStatus.currentMetrics
EndpointSlice.endpoints EndpointSlice.ports ClusterRole.rules Role.rules DeviceClaim.requests topologyKeys
CustomResourceDefinitionStatus.conditions ControllerRevision.data eventTime firstTimestamp lastTimestamp
deprecatedFirstTimestamp deprecatedLastTimestamp lastObservedTime startedAt finishedAt VolumeError.time
expirationTimestamp
""".split())
CONDITION_TIMES = {"lastTransitionTime", "lastProbeTime", "lastUpdateTime", "lastHeartbeatTime"}
# With `omitempty`, although the documents list a zero default.
OMIT = set("""
ScaleSpec.replicas ReplicationControllerSpec.minReadySeconds LocalObjectReference.name ConfigMapEnvSource.name
ConfigMapKeySelector.name ConfigMapProjection.name ConfigMapVolumeSource.name SecretEnvSource.name
SecretKeySelector.name SecretProjection.name FileKeySelector.optional AzureDiskVolumeSource.readOnly
""".split())
NOT_KEPT_REQUIRED = set("""
ScopeSelector.matchExpressions validationActions
""".split())

# Where the order of declaration, in which Kubernetes writes, is not that of the protobuf numbers: fields that stand
# directly behind another one.
BEHIND = {
    "MutatingWebhook": "matchPolicy failurePolicy, matchConditions reinvocationPolicy, sideEffects objectSelector",
    "ValidatingWebhook": "matchPolicy failurePolicy, sideEffects objectSelector",
    "ReplicaSetSpec": "minReadySeconds replicas",
    "ReplicationControllerSpec": "minReadySeconds replicas",
    "TokenRequestSpec": "boundObjectRef expirationSeconds",
    "HPAScalingRules": "stabilizationWindowSeconds -",
    "CronJobSpec": "timeZone schedule",
    "JobSpec": "podFailurePolicy activeDeadlineSeconds, successPolicy podFailurePolicy, backoffLimit successPolicy, "
    "backoffLimitPerIndex backoffLimit, maxFailedIndexes backoffLimitPerIndex",
    "CertificateSigningRequestCondition": "status type",
    "CertificateSigningRequestSpec": "signerName request, expirationSeconds signerName, usages expirationSeconds",
    "ConfigMap": "immutable metadata",
    "Secret": "immutable metadata",
    "Container": "restartPolicy resizePolicy, resizePolicy resources, restartPolicyRules restartPolicy, "
    "terminationMessagePolicy terminationMessagePath, volumeDevices volumeMounts, startupProbe readinessProbe, "
    "envFrom ports",
    "EphemeralContainer": "restartPolicy resizePolicy, resizePolicy resources, restartPolicyRules restartPolicy, "
    "terminationMessagePolicy terminationMessagePath, volumeDevices volumeMounts, startupProbe readinessProbe, "
    "envFrom ports",
    "NodeSpec": "podCIDRs podCIDR",
    "PersistentVolumeClaimSpec": "selector accessModes",
    "PodSpec": "initContainers volumes, ephemeralContainers containers, automountServiceAccountToken serviceAccount, "
    "shareProcessNamespace hostIPC",
    "PodStatus": "observedGeneration -, nominatedNodeName reason, hostIPs hostIP, podIPs podIP, "
    "initContainerStatuses startTime",
    "ServicePort": "appProtocol protocol",
    "ServiceSpec": "clusterIPs clusterIP, ipFamilies sessionAffinityConfig, ipFamilyPolicy ipFamilies",
    "EndpointSlice": "addressType metadata",
    "HTTPIngressPath": "pathType path",
    "IngressSpec": "ingressClassName -",
    "APIResource": "singularName name",
    "OwnerReference": "apiVersion -",
}

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "qty",
    META + "Time": "time",
    META + "MicroTime": "utime",
    META + "FieldsV1": "any:fields",
    META + "Patch": "any:object",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any:raw",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "ios",
}
EXT = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
SCALARS |= {
    EXT + "JSON": "any:json",
    EXT + "JSONSchemaPropsOrArray": "any:schema-or-array",
    EXT + "JSONSchemaPropsOrBool": "any:schema-or-bool",
    EXT + "JSONSchemaPropsOrStringArray": "any:schema-or-strings",
}

schemas = {}
for path in sorted(glob.glob(source + "/v3/*.json")):
    doc = json.load(open(path))
    schemas.update(doc.get("components", {}).get("schemas") or {})
# Served nowhere but in the version document of OpenAPI v2.
v2 = json.load(open(source + "/v2.json"))["definitions"]
for name in v2:
    schemas.setdefault(name, v2[name])
proto = json.load(open(source + "/protobuf.json"))


def message_of(name):
    return proto.get(name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_"))


def spelt(field):
    """A JSON name as it is in protobuf, but for small and capital letters."""
    return field.lower().replace("-", "").replace("$", "")


def numbers(message, prefix, fields, out):
    """Maps names of fields to number paths, going into embedded messages."""
    for name, fact in message.items():
        number, ty = fact[0], fact[1]
        if name.lower() in fields:
            out[name.lower()] = prefix + [number]
        elif ty.startswith(".") and len(fact) == 2:
            numbers(proto[ty[1:]], prefix + [number], fields, out)


def named(names, name, field):
    short = name.rsplit(".", 1)[1]
    package = ".".join(name.split(".")[-3:-1])
    return bool({field, f"{short}.{field}", f"{package}.{short}.{field}"} & names)


def ref(schema):
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "allOf" in schema:
        return schema["allOf"][0]["$ref"].rsplit("/", 1)[1]
    return None


def type_of(schema, package):
    target = ref(schema)
    if target:
        if target in SCALARS:
            return SCALARS[target]
        home, short = target.rsplit(".", 1)
        return short if home == package else f"{alias(home)}:{short}"
    kind, form = schema.get("type"), schema.get("format")
    if kind == "array":
        item = type_of(schema["items"], package)
        mark = {None: "", "atomic": "a", "set": "s"}.get(schema.get("x-kubernetes-list-type"))
        if mark is None:
            mark = "m(" + ",".join(schema["x-kubernetes-list-map-keys"]) + ")"
        return f"[{item}]{mark}"
    if kind == "object" and "additionalProperties" in schema:
        mark = {None: "", "atomic": "a", "granular": ""}[schema.get("x-kubernetes-map-type")]
        return "{" + type_of(schema["additionalProperties"], package) + "}" + mark
    if kind == "string":
        return "bytes" if form == "byte" else "str"
    if kind == "integer":
        return {"int32": "i32", "int64": "i64"}[form]
    return {"boolean": "bool", "number": "f64", "object": "any:object", None: "any:json"}[kind]


ALIASES = {}


def alias(package):
    if package not in ALIASES:
        short = package.removeprefix("io.k8s.").removeprefix("api.").removeprefix("apimachinery.pkg.apis.")
        ALIASES[package] = short.split("pkg.apis.")[-1]
    return ALIASES[package]


def field_line(name, field, schema, required, number, package):
    ty = type_of(schema, package)
    marks = []
    default = schema.get("default")
    zero = default in ({}, "", 0, False) and default is not None
    is_list_or_map = ty[0] in "[{"
    keep = zero and not named(OMIT, name, field)
    keep = keep or named(KEEP, name, field)
    keep = keep or (name.endswith("Condition") and field in CONDITION_TIMES)
    keep = keep or (is_list_or_map and field in required and not named(NOT_KEPT_REQUIRED, name, field))
    if ty in ("bool", "i32", "i64", "f64"):
        pointer = named(NOT_PLAIN, name, field) or not (zero or named(PLAIN, name, field))
    elif ty == "str":
        pointer = not (zero and field != "service") and named(POINTER, name, field) and not named(NOT_POINTER, name, field)
    elif is_list_or_map or ty == "bytes":
        # Lists are no pointers; but of some, an empty one is refused where an absent one is defaulted.
        pointer = named(POINTER, name, field)
    else:
        # A struct that is no pointer is always written; a pointer without `omitempty` is written as null.
        pointer = not keep or named(KEEP, name, field)
    if field in required:
        marks.append("!")
    if keep:
        marks.append("&")
    if pointer:
        marks.append("*")
    if default is not None and not (zero and keep and not pointer):
        marks.append("=" + json.dumps(default, separators=(",", ":")))
    values = schema.get("enum") or schema.get("items", {}).get("enum") or schema.get("additionalProperties", {}).get("enum")
    if values:
        marks.append("|" + "|".join(values).replace(" ", "~"))
    if schema.get("x-kubernetes-map-type") == "granular":
        marks.append("granular")
    strategy = schema.get("x-kubernetes-patch-strategy")
    if strategy:
        marks.append("^" + strategy)
    if "x-kubernetes-patch-merge-key" in schema:
        marks.append("^" + ":" + schema["x-kubernetes-patch-merge-key"])
    if number:
        marks.append("#" + ".".join(map(str, number)))
    return " ".join([f" {field}", ty, *marks])


packages = {}
for name in sorted(schemas):
    if name not in SCALARS:
        packages.setdefault(name.rsplit(".", 1)[0], []).append(name)
for package in packages:
    alias(package)
assert len(set(ALIASES.values())) == len(ALIASES), ALIASES

out = ["# Written by benches/gen/schema.py; see table.rs for its form."]
for package, names in packages.items():
    out.append(f"package {package} {ALIASES[package]}")
    for name in names:
        schema = schemas[name]
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        marks = []
        if schema.get("x-kubernetes-map-type") == "atomic":
            marks.append("atomic")
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) == 1:
            marks += [f"kind={k['group']}/{k['version']}/{k['kind']}" for k in kinds]
        if "x-kubernetes-unions" in schema:
            marks.append("unions=" + json.dumps(schema["x-kubernetes-unions"], separators=(",", ":")))
        found = {}
        message = message_of(name)
        if message:
            marks.append("proto")
            wanted = {spelt(f) for f in properties}
            numbers(message, [], wanted - ({"kind", "apiversion"} if kinds else set()), found)
        short = name.rsplit(".", 1)[1]
        if short in BEHIND and ".autoscaling.v1." not in name:
            known = [pair.split() for pair in BEHIND[short].split(", ")]
            marks.append("behind=" + ",".join("/".join(pair) for pair in known if pair[0] in properties))
        out.append(" ".join(["type " + short, *marks]))
        for field in sorted(properties):
            number = found.get(spelt(field))
            assert not number or len(number) <= 3, (name, field)
            out.append(field_line(name, field, properties[field], required, number, package))
            if message and not number and not (kinds and field in ("kind", "apiVersion")):
                print("no protobuf number:", name, field, file=sys.stderr)
with open(os.path.join(target, "types.txt"), "w") as f:
    f.write("\n".join(out) + "\n")

# Where Kubernetes keeps what, below /registry: the plural name, but for these.
PREFIXES = {
    ("", "nodes"): "minions",
    ("", "services"): "services/specs",
    ("", "endpoints"): "services/endpoints",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}
out = ["# Written by benches/gen/schema.py; see scheme/table.rs for its form."]
for path in ("discovery-api.json", "discovery-apis.json"):
    for group in json.load(open(f"{source}/{path}"))["items"]:
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            out.append(f"version {name}/{version['version']}")
            for r in version["resources"]:
                line = [" " + r["resource"], r["responseKind"]["kind"], r["singularResource"], r["scope"].lower()]
                if r.get("shortNames"):
                    line.append("short=" + ",".join(r["shortNames"]))
                if r.get("categories"):
                    line.append("in=" + ",".join(r["categories"]))
                verbs = ",".join(r["verbs"])
                line.append("verbs=" + {"create,delete,deletecollection,get,list,patch,update,watch": "all"}.get(verbs, verbs))
                if "watch" in r["verbs"]:
                    line.append("at=" + PREFIXES.get((name, r["resource"]), r["resource"]))
                out.append(" ".join(line))
                for s in r.get("subresources", []):
                    k = s["responseKind"]
                    gvk = k["kind"] if not k["version"] else f"{k['group']}/{k['version']}/{k['kind']}"
                    out.append(f"  {s['subresource']} {gvk} {','.join(s['verbs'])}")
with open(os.path.join(target, "resources.txt"), "w") as f:
    f.write("\n".join(out) + "\n")
