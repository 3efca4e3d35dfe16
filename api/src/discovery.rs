//! What is served, in the forms in which clients ask: one document for each group and version, or aggregated.

use orlop_core::Scope;
use orlop_core::scheme::{Resource, Scheme, Subresource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The order in which the API server of custom resources names their verbs.
const CUSTOM_VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// `/api`: the versions of the legacy group. `server` is the address at which clients reach this server.
pub fn api_versions(server: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    })
}

/// `/apis`: every group but the legacy one.
pub fn api_groups(scheme: &Scheme) -> Value {
    let groups: Vec<Value> = groups(scheme).into_iter().map(|group| group_entry(&group)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/G`: one group's versions.
pub fn api_group(scheme: &Scheme, group: &str) -> Option<Value> {
    let group = groups(scheme).into_iter().find(|g| g.name == group)?;
    let mut out = Map::new();
    out.insert("kind".to_owned(), "APIGroup".into());
    out.insert("apiVersion".to_owned(), "v1".into());
    if let Value::Object(entry) = group_entry(&group) {
        out.extend(entry);
    }
    Some(Value::Object(out))
}

/// `/api/V`, `/apis/G/V`: the resources of one version.
pub fn resources(scheme: &Scheme, group: &str, version: &str) -> Option<Value> {
    let mut out = Vec::new();
    for resource in of_version(scheme, group, version) {
        out.push(resource_entry(resource));
        out.extend(subresources(resource).map(|sub| subresource_entry(resource, sub)));
    }
    if out.is_empty() {
        return None;
    }
    // The legacy group's document has no apiVersion, as long as there is a Kubernetes.
    Some(if group.is_empty() {
        json!({"kind": "APIResourceList", "groupVersion": version, "resources": out})
    } else {
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": format!("{group}/{version}"),
            "resources": out,
        })
    })
}

/// `/api` in aggregated form (`apidiscovery.k8s.io/v2`).
pub fn aggregated_api(scheme: &Scheme) -> Value {
    let versions: Vec<Value> = scheme
        .groups()
        .iter()
        .filter(|(name, _)| name.is_empty())
        .flat_map(|(_, versions)| versions)
        .map(|version| aggregated_version(scheme, "", version))
        .collect();
    aggregated(vec![json!({"metadata": {}, "versions": versions})])
}

/// `/apis` in aggregated form.
pub fn aggregated_apis(scheme: &Scheme) -> Value {
    let items = groups(scheme).into_iter().map(|group| {
        let versions: Vec<Value> =
            group.versions.iter().map(|version| aggregated_version(scheme, &group.name, version)).collect();
        json!({"metadata": {"name": group.name}, "versions": versions})
    });
    aggregated(items.collect())
}

struct Group {
    name: String,
    /// Preferred ones first.
    versions: Vec<String>,
}

/// The named groups: built-in ones in Kubernetes' order, then those of definitions by name.
fn groups(scheme: &Scheme) -> Vec<Group> {
    let is_custom = |name: &str| scheme.resources().filter(|r| r.kind.group == name).all(|r| r.custom);
    let mut builtin = Vec::new();
    let mut custom = Vec::new();
    for (name, versions) in scheme.groups().into_iter().filter(|(name, _)| !name.is_empty()) {
        let mut versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
        if is_custom(&name) {
            versions.sort_by(|a, b| version_rank(b).cmp(&version_rank(a)).then_with(|| a.cmp(b)));
            custom.push(Group { name: name.to_string(), versions });
        } else {
            builtin.push(Group { name: name.to_string(), versions });
        }
    }
    custom.sort_by(|a, b| a.name.cmp(&b.name));
    builtin.extend(custom);
    builtin
}

/// The rank of a version among others: general ones above beta above alpha, later above earlier; other names last.
fn version_rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    match &rest[end..] {
        "" => Some((3, major, 0)),
        level => {
            let (rank, minor) = level
                .strip_prefix("beta")
                .map(|minor| (2, minor))
                .or_else(|| level.strip_prefix("alpha").map(|minor| (1, minor)))?;
            Some((rank, major, minor.parse().ok()?))
        }
    }
}

fn group_entry(group: &Group) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{}/{v}", group.name), "version": v});
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group.name, "versions": versions, "preferredVersion": preferred})
}

fn of_version<'a>(
    scheme: &'a Scheme,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> {
    scheme.resources().map(AsRef::as_ref).filter(move |r| r.kind.group == group && r.kind.version == version)
}

/// Subresources by name; those of definitions: status before scale.
fn subresources(resource: &Resource) -> impl Iterator<Item = &Subresource> {
    let mut subs: Vec<&Subresource> = resource.subresources.iter().collect();
    if resource.custom {
        subs.sort_by_key(|s| s.name != "status");
    }
    subs.into_iter()
}

fn verbs(resource: &Resource) -> Vec<&str> {
    if resource.custom {
        return CUSTOM_VERBS.into_iter().filter(|verb| resource.allows(verb)).collect();
    }
    resource.verbs.iter().map(AsRef::as_ref).collect()
}

fn resource_entry(resource: &Resource) -> Value {
    let mut out = json!({
        "name": resource.kind.plural,
        "singularName": resource.singular,
        "namespaced": resource.kind.scope == Scope::Namespaced,
        "kind": resource.kind.kind,
        "verbs": verbs(resource),
    });
    names(resource, &mut out);
    if resource.is_stored() {
        out["storageVersionHash"] = storage_hash(resource).into();
    }
    out
}

fn names(resource: &Resource, out: &mut Value) {
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
}

fn subresource_entry(resource: &Resource, sub: &Subresource) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), format!("{}/{}", resource.kind.plural, sub.name).into());
    out.insert("singularName".to_owned(), "".into());
    out.insert("namespaced".to_owned(), (resource.kind.scope == Scope::Namespaced).into());
    if !sub.version.is_empty() {
        out.insert("group".to_owned(), sub.group.as_str().into());
        out.insert("version".to_owned(), sub.version.as_str().into());
    }
    out.insert("kind".to_owned(), sub.kind.as_str().into());
    out.insert("verbs".to_owned(), json!(sub.verbs));
    Value::Object(out)
}

/// Tells clients whether two versions share a storage: a hash of the kind as which objects are stored.
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine;
    let kind = &resource.stored_as;
    // Definitions are still stored in the form in which they were first published.
    let version = if kind.plural == "customresourcedefinitions" { "v1beta1" } else { kind.version.as_str() };
    let digest = Sha256::digest(format!("{}/{version}/{}", kind.group, kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn aggregated(items: Vec<Value>) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(scheme: &Scheme, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = of_version(scheme, group, version)
        .map(|resource| {
            // Built-in kinds are told without their own group and version; those of definitions with them.
            let own = |sub: Option<&Subresource>| {
                let kind = &resource.kind;
                let (group, version, name) = match sub {
                    Some(sub) if !sub.version.is_empty() => {
                        (sub.group.as_str(), sub.version.as_str(), sub.kind.as_str())
                    }
                    Some(sub) if resource.custom => (kind.group.as_str(), kind.version.as_str(), sub.kind.as_str()),
                    Some(sub) => ("", "", sub.kind.as_str()),
                    None if resource.custom => (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()),
                    None => ("", "", kind.kind.as_str()),
                };
                json!({"group": group, "version": version, "kind": name})
            };
            let mut out = json!({
                "resource": resource.kind.plural,
                "responseKind": own(None),
                "scope": match resource.kind.scope {
                    Scope::Namespaced => "Namespaced",
                    Scope::Cluster => "Cluster",
                },
                "singularResource": resource.singular,
                "verbs": verbs(resource),
            });
            names(resource, &mut out);
            let subs: Vec<Value> = subresources(resource)
                .map(|sub| json!({"subresource": sub.name, "responseKind": own(Some(sub)), "verbs": sub.verbs}))
                .collect();
            if !subs.is_empty() {
                out["subresources"] = subs.into();
            }
            out
        })
        .collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}
