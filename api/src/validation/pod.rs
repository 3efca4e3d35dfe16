//! Pods and pod templates.

use orlop_core::rules::names::{dns_label, dns_subdomain, label_key};
use serde_json::{Value, json};

use super::common::{self, ip, labels, named_if_set, one_of};
use super::error::Errors;
use super::path::{Path, Read};
use super::volume::{self, Place, Volumes};
use super::{affinity, container, meta, placement, security};

/// What a pod's rules depend on.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) spec: &'a Value,
    /// Seconds that the pod has to end.
    pub(super) grace: i64,
}

const NO_POD: Place<'static> = Place { pod: "", is_pod: false };

/// The rules of a pod, whether new or changed, but for those of its metadata.
pub(super) fn common_rules(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let at = Path::root("spec");
    annotations(e, &Path::root("metadata").field("annotations"), &object["metadata"]["annotations"], spec);
    pod_spec(e, &at, spec, &[], Place { pod: object["metadata"].text("name"), is_pod: true });
    if spec.text("serviceAccountName").is_empty() {
        let volumes = at.field("volumes");
        for (i, v) in spec.list("volumes").iter().enumerate() {
            let projected = volumes.index(i);
            let projected = projected.field("projected");
            let sources = projected.field("sources");
            for (j, source) in v["projected"].list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    e.forbidden(
                        sources.index(j).field("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = at.field(list);
        for (i, container) in spec.list(list).iter().enumerate() {
            let image = container.text("image");
            if image.trim().len() != image.len() {
                let text = "must not have leading or trailing whitespace";
                e.invalid_text(containers.index(i).field("image"), image, text);
            }
        }
    }
}

pub(super) fn pod(e: &mut Errors, object: &Value) {
    meta::create(e, object, dns_subdomain);
    common_rules(e, object);
    let spec = &object["spec"];
    let at = Path::root("spec");
    if !spec.is_empty("ephemeralContainers") {
        e.forbidden(at.field("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.is_empty("schedulingGates") {
        e.forbidden(at.field("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// Annotations that mean something to Kubernetes.
pub(super) fn annotations(e: &mut Errors, at: &Path<'_>, annotations: &Value, spec: &Value) {
    let annotation = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let Some(mirror) = annotation("kubernetes.io/config.mirror")
        && spec.text("nodeName").is_empty()
    {
        let text = "must set spec.nodeName if mirror pod annotation is set";
        e.invalid_text(at.key("kubernetes.io/config.mirror"), mirror, text);
    }
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    if let Some(cost) = annotation(COST) {
        let number = cost.parse::<i32>().ok().filter(|n| !cost.starts_with('+') && n.to_string() == cost);
        if number.is_none() {
            e.invalid_text(at.key(COST), cost, "must be a 32bit integer");
        }
    }
}

/// Labels and annotations of what is made from a template.
pub(super) fn labelled(e: &mut Errors, at: &Path<'_>, meta: &Value) {
    labels(e, at.field("labels"), &meta["labels"]);
    meta::annotations(e, at.field("annotations"), &meta["annotations"]);
}

/// The template of whatever makes pods, without the question whether a selector chooses it.
pub(super) fn template(e: &mut Errors, at: &Path<'_>, template: &Value, claims: &[&str]) {
    labelled(e, at, &template["metadata"]);
    annotations(e, &at.field("annotations"), &template["metadata"]["annotations"], &template["spec"]);
    pod_spec(e, &at.field("spec"), &template["spec"], claims, NO_POD);
    if !template["spec"].is_empty("ephemeralContainers") {
        let spec = at.field("spec");
        e.forbidden(spec.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

pub(super) fn pod_spec(e: &mut Errors, at: &Path<'_>, spec: &Value, claims: &[&str], place: Place<'_>) {
    let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    let of = Of { spec, grace };
    let list = at.field("volumes");
    let volumes = match claims {
        [] => volume::volumes(e, &list, spec.list("volumes"), place),
        claims => {
            let mut claims = claims.to_vec();
            claims.dedup();
            // Claims become volumes, before those that the template has under other names.
            let claimed =
                claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
            let others = spec.list("volumes").iter().filter(|v| !claims.contains(&v.text("name")));
            let all: Vec<Value> = claimed.chain(others.cloned()).collect();
            volume::volumes(e, &list, &all, place)
        }
    };
    resource_claims(e, &at.field("resourceClaims"), spec.list("resourceClaims"));
    containers(e, at, of, &volumes);
    pod_resources(e, &at.field("resources"), spec);
    host_network(e, &at.field("containers"), spec, place);
    one_of(e, at, spec, "restartPolicy", &["Always", "OnFailure", "Never"]);
    one_of(e, at, spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    labels(e, at.field("nodeSelector"), &spec["nodeSelector"]);
    security::of_pod(e, &at.field("securityContext"), spec);
    affinity::affinity(e, &at.field("affinity"), &spec["affinity"]);
    dns(e, at, spec);
    let gates = at.field("readinessGates");
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let condition = gate.text("conditionType");
        e.rule(gates.index(i).field("conditionType"), condition, label_key(condition));
    }
    let gates = at.field("schedulingGates");
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        e.rule(gates.index(i), name, label_key(name));
        if spec.list("schedulingGates")[..i].iter().any(|other| other.text("name") == name) {
            e.duplicate_text(gates.index(i), name);
        }
    }
    placement::spread(e, &at.field("topologySpreadConstraints"), spec.list("topologySpreadConstraints"));
    host_users(e, at, spec);
    for field in ["serviceAccountName", "nodeName"] {
        named_if_set(e, at, spec, field, dns_subdomain);
    }
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|s| !(1..=i64::from(i32::MAX)).contains(&s)) {
        e.invalid(at.field("activeDeadlineSeconds"), deadline, "must be between 1 and 2147483647, inclusive");
    }
    for field in ["hostname", "subdomain"] {
        named_if_set(e, at, spec, field, dns_label);
    }
    placement::tolerations(e, &at.field("tolerations"), spec.list("tolerations"));
    let aliases = at.field("hostAliases");
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let at = aliases.index(i);
        ip(e, at.field("ip"), alias.text("ip"));
        let hosts = at.field("hostnames");
        for (i, host) in alias.list("hostnames").iter().filter_map(Value::as_str).enumerate() {
            e.rule(hosts.index(i), host, dns_subdomain(host));
        }
    }
    named_if_set(e, at, spec, "priorityClassName", dns_subdomain);
    if let Some(class) = spec["runtimeClassName"].as_str() {
        e.rule(at.field("runtimeClassName"), class, dns_subdomain(class));
    }
    if spec.has("preemptionPolicy") {
        one_of(e, at, spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"]);
    }
    if spec.has("overhead") {
        container::resources(e, &at.field("overhead"), &json!({"limits": spec["overhead"]}));
    }
    system(e, at, spec);
}

fn resource_claims(e: &mut Errors, list: &Path<'_>, claims: &[Value]) {
    let mut names: Vec<&str> = Vec::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = list.index(i);
        let name = claim.text("name");
        match name {
            "" => e.required(at.field("name"), ""),
            name => {
                e.rule(at.field("name"), name, dns_label(name));
                if names.contains(&name) {
                    e.duplicate_text(at.field("name"), name);
                }
                names.push(name);
            }
        }
        let (by_name, by_template) =
            (claim["resourceClaimName"].as_str(), claim["resourceClaimTemplateName"].as_str());
        match (by_name, by_template) {
            (Some(_), Some(_)) => {
                let text =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                e.invalid(at, claim, text);
            }
            (None, None) => {
                let text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                e.invalid(at, claim, text);
            }
            _ => {}
        }
        for (field, text) in [("resourceClaimName", by_name), ("resourceClaimTemplateName", by_template)] {
            if let Some(text) = text {
                e.rule(at.field(field), text, dns_subdomain(text));
            }
        }
    }
}

/// What the pod as a whole may use.
fn pod_resources(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    const KNOWN: [&str; 2] = ["cpu", "memory"];
    let resources = &spec["resources"];
    if resources.is_null() {
        return;
    }
    if !resources.is_empty("claims") {
        e.forbidden(at.field("claims"), "claims may not be set for Resources at pod-level");
    }
    for list in ["limits", "requests"] {
        for (name, _) in resources.entries(list) {
            if !KNOWN.contains(&name) && !name.starts_with("hugepages-") {
                e.unsupported(at.field(list).key(name), &name.into(), &KNOWN);
            }
        }
    }
    container::resources(e, at, resources);
    let total = |name: &str| {
        let amounts = spec.list("containers").iter();
        let amounts = amounts.filter_map(|c| common::quantity(&c["resources"]["requests"][name]));
        amounts.reduce(|a, b| a + b)
    };
    for (name, value) in resources.entries("requests") {
        if let (Some(asked), Some(sum)) = (common::quantity(value), total(name))
            && sum > asked
        {
            let text = format!("must be greater than or equal to aggregate container requests of {sum}");
            e.invalid_text(at.field("requests").key(name), &asked.to_string(), &text);
        }
    }
}

/// In the network of its node, a pod's ports are the node's.
fn host_network(e: &mut Errors, list: &Path<'_>, spec: &Value, place: Place<'_>) {
    if !spec.is_true("hostNetwork") {
        return;
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        let at = list.index(i);
        let at = at.field("ports");
        for (i, port) in container.list("ports").iter().enumerate() {
            let (host, own) = (port.int("hostPort"), port.int("containerPort"));
            if (place.is_pod || host != 0) && host != own {
                let text = "must match `containerPort` when `hostNetwork` is true";
                e.invalid(at.index(i).field("hostPort"), &host.into(), text);
            }
        }
    }
}

fn host_users(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    const WHY: &str = "when `hostUsers` is false";
    if spec["hostUsers"] != false {
        return;
    }
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec.is_true(field) {
            e.forbidden(at.field(field), WHY);
        }
    }
}

/// What only makes sense on some operating system.
fn system(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
    const POD_FIELDS: [(&str, bool); 14] = [
        ("appArmorProfile", true),
        ("seLinuxOptions", true),
        ("hostUsers", false),
        ("hostPID", false),
        ("hostIPC", false),
        ("seccompProfile", true),
        ("fsGroup", true),
        ("fsGroupChangePolicy", true),
        ("sysctls", true),
        ("shareProcessNamespace", false),
        ("runAsUser", true),
        ("runAsGroup", true),
        ("supplementalGroups", true),
        ("supplementalGroupsPolicy", true),
    ];
    const CONTAINER_FIELDS: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    if !spec.has("os") {
        return;
    }
    let context = at.field("securityContext");
    let each = |e: &mut Errors, fields: &[&str], why: &str| {
        for name in LISTS {
            let list = at.field(name);
            for (i, container) in spec.list(name).iter().enumerate() {
                let path = list.index(i);
                let path = path.field("securityContext");
                for field in fields.iter().filter(|field| container["securityContext"].has(field)) {
                    e.forbidden(path.field(field), why);
                }
            }
        }
    };
    match spec["os"].text("name") {
        "" => e.required(at.field("os").field("name"), "cannot be empty"),
        "linux" => {
            const WHY: &str = "windows options cannot be set for a linux pod";
            if spec["securityContext"].has("windowsOptions") {
                e.forbidden(context.field("windowsOptions"), WHY);
            }
            each(e, &["windowsOptions"], WHY);
        }
        "windows" => {
            const WHY: &str = "cannot be set for a windows pod";
            for (field, inside) in POD_FIELDS {
                let set = match (inside, field) {
                    (true, _) => !spec["securityContext"].is_empty(field),
                    (false, "hostUsers" | "shareProcessNamespace") => spec.has(field),
                    (false, _) => spec.is_true(field),
                };
                if set {
                    e.forbidden(if inside { context.field(field) } else { at.field(field) }, WHY);
                }
            }
            each(e, &CONTAINER_FIELDS, WHY);
        }
        _ => e.unsupported(at.field("os"), &spec["os"]["name"], &["linux", "windows"]),
    }
}

fn containers(e: &mut Errors, at: &Path<'_>, of: Of<'_>, volumes: &Volumes) {
    let spec = of.spec;
    let list = at.field("containers");
    let mut names: Vec<&str> = Vec::new();
    if spec.is_empty("containers") {
        e.required(list, "");
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        let at = list.index(i);
        container::common(e, &at, container, of, volumes);
        unique(e, &at, container, &mut names);
        container::running(e, &at, container, of);
        container::restart_policy(e, &at, container);
    }
    container::host_ports(e, &list, spec.list("containers"));
    let list = at.field("initContainers");
    for (i, container) in spec.list("initContainers").iter().enumerate() {
        let at = list.index(i);
        container::common(e, &at, container, of, volumes);
        container::restart_policy(e, &at, container);
        unique(e, &at, container, &mut names);
        // They run one by one.
        container::host_ports(e, &list, std::slice::from_ref(container));
        if container.text("restartPolicy") == "Always" {
            container::running(e, &at, container, of);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(field) {
                    e.forbidden(
                        at.field(field),
                        "may not be set for init containers without restartPolicy=Always",
                    );
                }
            }
        }
    }
    let list = at.field("ephemeralContainers");
    let others: Vec<&str> = names.clone();
    for (i, container) in spec.list("ephemeralContainers").iter().enumerate() {
        let at = list.index(i);
        container::common(e, &at, container, of, volumes);
        unique(e, &at, container, &mut names);
        ephemeral(e, &at, container, &others);
    }
}

/// What a container that joins a running pod may not have.
fn ephemeral(e: &mut Errors, at: &Path<'_>, container: &Value, others: &[&str]) {
    const NOT: &str = "cannot be set for an Ephemeral Container";
    let target = container.text("targetContainerName");
    if !target.is_empty() && !others.contains(&target) {
        e.not_found(at.field("targetContainerName"), target);
    }
    for field in [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ] {
        if !container.is_empty(field) {
            e.forbidden(at.field(field), NOT);
        }
    }
    let list = at.field("volumeMounts");
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !mount.text(field).is_empty() {
                e.forbidden(list.index(i).field(field), NOT);
            }
        }
    }
}

fn unique<'a>(e: &mut Errors, at: &Path<'_>, container: &'a Value, names: &mut Vec<&'a str>) {
    let name = container.text("name");
    match names.contains(&name) {
        true => e.duplicate_text(at.field("name"), name),
        false => names.push(name),
    }
}

fn dns(e: &mut Errors, at: &Path<'_>, spec: &Value) {
    let config = &spec["dnsConfig"];
    let path = at.field("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            e.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            let text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            e.required(path.field("nameservers"), text);
        }
    }
    let list = path.field("nameservers");
    if servers.len() > 3 {
        e.invalid(list, &config["nameservers"], "must not have more than 3 nameservers");
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        ip(e, list.index(i), server);
    }
    let list = path.field("searches");
    let searches: Vec<&str> = config.list("searches").iter().filter_map(Value::as_str).collect();
    if searches.len() > 32 {
        e.invalid(list, &config["searches"], "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let text = "must not have more than 2048 characters (including spaces) in the search list";
        e.invalid(list, &config["searches"], text);
    }
    for (i, search) in config.list("searches").iter().filter_map(Value::as_str).enumerate() {
        let domain = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            e.rule(list.index(i), search, search_domain(domain));
        }
    }
    let list = path.field("options");
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            e.required(list.index(i), "must not be empty");
        }
    }
}

/// A domain that names are looked up in; unlike others it may have underscores.
fn search_domain(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 253 {
        errors.push("must be no more than 253 characters".to_owned());
    }
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        part.bytes().next().is_some_and(word)
            && part.bytes().next_back().is_some_and(word)
            && part.bytes().all(|b| word(b) || b == b'-' || b == b'_')
    };
    if !name.split('.').all(part) {
        errors.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    errors
}
