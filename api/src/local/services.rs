//! Services: their families, addresses and node ports. Ports are taken in the transaction that writes the Service;
//! addresses by one before it, since the IPAddress that notes one has a revision of its own for Kubernetes' clients.

use std::net::IpAddr;
use std::sync::Arc;

use orlop_core::store::{Compare, Op, Revision, Txn, View};
use orlop_core::{Body, Entropy, Key, Kind};
use orlop_netplan::ipam::{IpError, ServiceRange};
use serde_json::{Value, json};

use super::admit::Call;
use crate::managed_fields::{self, Writer};
use crate::status::{Cause, Status};
use crate::tree::{at, copy, items, object, text};

const IP_ADDRESS: Kind = Kind::cluster("networking.k8s.io", "v1", "IPAddress", "ipaddresses");
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Below here a key stands for each node port that is taken.
pub(crate) const NODE_PORTS: &str = "/registry/ranges/servicenodeports/";

fn is_service(call: &Call<'_>) -> bool {
    call.kind().plural == "services" && call.kind().group.is_empty()
}

fn needs_address(spec: &Value) -> bool {
    matches!(text(spec, &["type"]), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(spec: &Value) -> bool {
    match text(spec, &["type"]) {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn needs_health_port(spec: &Value) -> bool {
    text(spec, &["type"]) == "LoadBalancer" && text(spec, &["externalTrafficPolicy"]) == "Local"
}

fn cluster_ips(spec: &Value) -> Vec<&str> {
    items(spec, &["clusterIPs"])
        .iter()
        .filter_map(Value::as_str)
        .filter(|ip| !ip.is_empty() && *ip != "None")
        .collect()
}

fn node_ports(spec: &Value) -> Vec<u16> {
    let mut ports: Vec<u16> = items(spec, &["ports"])
        .iter()
        .map(|p| &p["nodePort"])
        .chain([&spec["healthCheckNodePort"]])
        .filter_map(Value::as_i64)
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Carries over what an update leaves out, and drops what another type has no use for. Runs before validation.
pub(super) fn prepare(call: &Call<'_>, value: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if !is_service(call) || !call.subresource.is_empty() {
        return Ok(());
    }
    if let Some(old) = old.and_then(|old| old.get("spec")) {
        patch_allocated(old, value);
        drop_unused(old, value);
    }
    let spec = object(value, "spec");
    // One address may be given by the older field alone.
    let single = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let several = spec.get("clusterIPs").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if !single.is_empty() && !several {
        spec.insert("clusterIPs".into(), json!([single]));
    }
    let asked = wanted_families(&value["spec"]);
    families(call, value);
    // A change to a single family drops the other; who asks for both at once contradicts themselves.
    let both = matches!(asked.as_slice(), [one, other] if one != other);
    if old.is_none() && both && text(value, &["spec", "ipFamilyPolicy"]) == "SingleStack" {
        let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        let cause = Cause::invalid("spec.ipFamilyPolicy", &"SingleStack".into(), why);
        return Err(call.invalid(vec![cause]));
    }
    Ok(())
}

/// An update that leaves addresses and ports out means to keep them.
fn patch_allocated(old: &Value, value: &mut Value) {
    let new = object(value, "spec");
    let new_view = Value::Object(new.clone());
    let address = |spec: &Value| needs_address(spec);
    // The older field was changed alone: the newer one follows.
    if new.get("clusterIPs") == old.get("clusterIPs") && new.get("clusterIP") != old.get("clusterIP") {
        let ip = text(&new_view, &["clusterIP"]).to_owned();
        match new.get_mut("clusterIPs") {
            Some(Value::Array(all)) if !ip.is_empty() && !all.is_empty() => all[0] = ip.into(),
            _ => {
                new.shift_remove("clusterIPs");
            }
        }
    }
    let new_view = Value::Object(new.clone());
    if address(old) && address(&new_view) {
        if text(&new_view, &["clusterIP"]).is_empty() {
            copy(new, old.get("clusterIP"), "clusterIP");
        }
        if items(&new_view, &["clusterIPs"]).is_empty() && new.get("clusterIP") == old.get("clusterIP") {
            copy(new, old.get("clusterIPs"), "clusterIPs");
        }
    }
    if needs_node_ports(old) && needs_node_ports(&new_view) {
        // Ports keep theirs by name, protocol and number, else by place in a list of one.
        let olds = items(old, &["ports"]).to_vec();
        let used: Vec<i64> =
            items(&new_view, &["ports"]).iter().filter_map(|p| p["nodePort"].as_i64()).collect();
        if let Some(Value::Array(ports)) = new.get_mut("ports") {
            for port in ports.iter_mut().filter(|p| p["nodePort"].as_i64().unwrap_or_default() == 0) {
                let same = |o: &&Value| {
                    o["port"] == port["port"]
                        && o["protocol"] == port["protocol"]
                        && o.get("name") == port.get("name")
                };
                let kept = olds.iter().find(same).and_then(|o| o["nodePort"].as_i64());
                if let Some(kept) = kept.filter(|kept| *kept != 0 && !used.contains(kept)) {
                    port["nodePort"] = kept.into();
                }
            }
        }
    }
    if needs_health_port(old)
        && needs_health_port(&new_view)
        && new_view["healthCheckNodePort"].as_i64().unwrap_or_default() == 0
    {
        copy(new, old.get("healthCheckNodePort"), "healthCheckNodePort");
    }
}

/// What was allocated for the old type, and is the same in the new object, goes with that type.
pub(crate) fn drop_unused(old: &Value, value: &mut Value) {
    let new = object(value, "spec");
    let view = Value::Object(new.clone());
    let same = |field: &str| view.get(field) == old.get(field);
    if needs_address(old) && !needs_address(&view) && same("clusterIP") && same("clusterIPs") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            new.shift_remove(field);
        }
    }
    let had_ports = matches!(text(old, &["type"]), "NodePort" | "LoadBalancer");
    let has_ports = matches!(text(&view, &["type"]), "NodePort" | "LoadBalancer");
    if had_ports && !has_ports {
        let olds = items(old, &["ports"]).to_vec();
        if let Some(Value::Array(ports)) = new.get_mut("ports") {
            for port in ports {
                let unchanged = olds.iter().any(|o| o["nodePort"] == port["nodePort"]);
                if unchanged && let Some(port) = port.as_object_mut() {
                    port.shift_remove("nodePort");
                }
            }
        }
        if same("externalTrafficPolicy") {
            new.shift_remove("externalTrafficPolicy");
        }
    }
    if needs_health_port(old) && !needs_health_port(&view) && same("healthCheckNodePort") {
        new.shift_remove("healthCheckNodePort");
    }
    if text(old, &["type"]) == "LoadBalancer" && text(&view, &["type"]) != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(field) {
                new.shift_remove(field);
            }
        }
        if let Some(status) = value.get_mut("status") {
            status["loadBalancer"] = json!({});
        }
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Which IP families a Service has, and how many: from its addresses, its wishes, the cluster. What the cluster cannot
/// give is said by [`check_families`].
fn families(call: &Call<'_>, value: &mut Value) {
    let spec = value["spec"].clone();
    if !needs_address(&spec) {
        if text(&spec, &["type"]) == "ExternalName" {
            let spec = object(value, "spec");
            spec.shift_remove("ipFamilies");
            spec.shift_remove("ipFamilyPolicy");
        }
        return;
    }
    let offered: Vec<&str> = call.config.service_ranges.iter().map(|r| family(r.addr())).collect();
    let mut wanted: Vec<String> = wanted_families(&spec);
    for ip in cluster_ips(&spec).iter().skip(wanted.len()) {
        let Ok(parsed) = ip.parse::<IpAddr>() else { break };
        wanted.push(family(parsed).to_owned());
    }
    let anywhere = is_anywhere(&spec);
    let policy = match text(&spec, &["ipFamilyPolicy"]) {
        "" if anywhere => "RequireDualStack",
        "" => "SingleStack",
        policy => policy,
    };
    if wanted.is_empty() {
        wanted.extend(offered.first().map(|f| (*f).to_owned()));
    }
    let second = match wanted[..] {
        [ref only] if policy != "SingleStack" && (offered.len() > 1 || anywhere) => {
            Some(if only == "IPv4" { "IPv6" } else { "IPv4" })
        }
        _ => None,
    };
    wanted.extend(second.map(str::to_owned));
    let spec = object(value, "spec");
    spec.insert("ipFamilies".into(), wanted.into());
    spec.insert("ipFamilyPolicy".into(), policy.into());
}

fn wanted_families(spec: &Value) -> Vec<String> {
    items(spec, &["ipFamilies"]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A Service without address and selector may be of any family: its endpoints are somebody else's.
fn is_anywhere(spec: &Value) -> bool {
    text(spec, &["clusterIP"]) == "None" && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

/// What the cluster's ranges do not offer.
fn check_families(call: &Call<'_>, spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !needs_address(spec) || is_anywhere(spec) {
        return causes;
    }
    let offered: Vec<&str> = call.config.service_ranges.iter().map(|r| family(r.addr())).collect();
    for (at, ip) in cluster_ips(spec).iter().enumerate() {
        let Ok(parsed) = ip.parse::<IpAddr>() else { continue };
        if !offered.contains(&family(parsed)) {
            let why = format!("{} is not configured on this cluster", family(parsed));
            causes.push(Cause::invalid(&format!("spec.clusterIPs[{at}]"), &json!([ip]), &why));
        }
    }
    if causes.is_empty() {
        for (at, name) in wanted_families(spec).iter().enumerate() {
            if !offered.contains(&name.as_str()) {
                let field = format!("spec.ipFamilies[{at}]");
                causes.push(Cause::invalid(&field, &name.as_str().into(), "not configured on this cluster"));
            }
        }
    }
    if text(spec, &["ipFamilyPolicy"]) == "RequireDualStack" && offered.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &"RequireDualStack".into(), why));
    }
    causes
}

/// Fields about which Kubernetes judges before it allocates.
fn is_about_addresses(cause: &Cause) -> bool {
    ["spec.clusterIP", "spec.ipFamil"].iter().any(|start| cause.field.starts_with(start))
}

/// Takes the addresses and ports that the Service lacks or asks for, and gives back those that it no longer has.
///
/// `causes` is what validation says of the Service as it was asked for: what is wrong with its addresses counts before
/// anything is allocated; the rest is judged again afterwards.
pub(super) fn allocate(
    call: &mut Call<'_>,
    value: &mut Value,
    old: Option<&Value>,
    causes: Vec<Cause>,
) -> Result<Vec<Cause>, Status> {
    if !is_service(call) || !call.subresource.is_empty() {
        return Ok(causes);
    }
    let mut early: Vec<Cause> = causes.into_iter().filter(is_about_addresses).collect();
    if early.is_empty() {
        early = check_families(call, &value["spec"]);
    }
    if !early.is_empty() {
        return Err(call.invalid(early));
    }
    let none = Value::Null;
    let old_spec = old.and_then(|old| old.get("spec")).unwrap_or(&none).clone();
    addresses(call, value, &old_spec)?;
    ports(call, value, &old_spec)?;
    Ok(match old {
        Some(old) => super::hooks::validate_change(call, value, old),
        None => super::hooks::validate_new(call, value),
    })
}

fn address_key(call: &Call<'_>, ip: &str) -> Option<Arc<str>> {
    call.served.scheme.storage_key(&IP_ADDRESS, &Key::cluster(ip)).map(Arc::from)
}

fn addresses(call: &mut Call<'_>, value: &mut Value, old: &Value) -> Result<(), Status> {
    let spec = value["spec"].clone();
    let had = cluster_ips(old);
    let headless = text(&spec, &["clusterIP"]) == "None";
    let mut given: Vec<String> = cluster_ips(&spec).into_iter().map(str::to_owned).collect();
    if needs_address(&spec) && !headless {
        for ip in given.iter().filter(|ip| !had.contains(&ip.as_str())) {
            take_address(call, ip)?;
        }
        let families: Vec<String> =
            items(&spec, &["ipFamilies"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        for name in families.iter().skip(given.len()) {
            let ip = free_address(call, name)?;
            given.push(ip);
        }
        let spec = object(value, "spec");
        spec.insert("clusterIP".into(), given.first().cloned().unwrap_or_default().into());
        spec.insert("clusterIPs".into(), given.clone().into());
        for ip in &given {
            if !had.contains(&ip.as_str()) {
                note_address(call, ip)?;
            }
        }
    } else if headless {
        object(value, "spec").insert("clusterIPs".into(), json!(["None"]));
    }
    for ip in had.iter().filter(|ip| !given.iter().any(|g| g == *ip)) {
        let op = address_key(call, ip).map(Op::Delete);
        call.txn.ops.extend(op);
    }
    Ok(())
}

fn range_for(call: &Call<'_>, name: &str) -> Option<ServiceRange> {
    call.config.service_ranges.iter().find(|r| family(r.addr()) == name).map(|r| ServiceRange::new(*r))
}

fn taken(call: &Call<'_>, ip: IpAddr) -> bool {
    address_key(call, &ip.to_string()).is_some_and(|key| call.view.get(&key).is_some())
}

fn take_address(call: &Call<'_>, ip: &str) -> Result<(), Status> {
    let refuse = |error: IpError| {
        let why = format!("failed to allocate IP {ip}: {error}");
        call.invalid(vec![Cause::invalid("spec.clusterIPs", &json!([ip]), &why)])
    };
    let parsed: IpAddr = ip.parse().map_err(|_| refuse(IpError::NotInRange))?;
    let range = range_for(call, family(parsed)).ok_or_else(|| refuse(IpError::NotInRange))?;
    // What is only tried takes nothing, and does not look who else has it.
    range.check(parsed, |ip| !call.options.dry_run && taken(call, ip)).map_err(refuse)
}

fn free_address(call: &mut Call<'_>, name: &str) -> Result<String, Status> {
    let range = range_for(call, name);
    if let (true, Some(range)) = (call.options.dry_run, &range) {
        // Kubernetes looks for no free address then, and names that of the network.
        return Ok(range.net().network().to_string());
    }
    let mut entropy: Entropy = call.entropy.clone();
    let found =
        range.ok_or(IpError::Full).and_then(|range| range.allocate(|ip| taken(call, ip), &mut entropy));
    *call.entropy = entropy;
    found
        .map(|ip| ip.to_string())
        .map_err(|error| Status::internal(&format!("failed to allocate a serviceIP: {error}")))
}

/// The IPAddress object by which everyone sees that an address is taken.
fn note_address(call: &mut Call<'_>, ip: &str) -> Result<(), Status> {
    let resource = call.served.scheme.storage(&IP_ADDRESS).ok_or_else(Status::no_resource)?.clone();
    let key = address_key(call, ip).ok_or_else(Status::no_resource)?;
    let parsed: Option<IpAddr> = ip.parse().ok();
    let uid = call.entropy.uuid();
    let object = json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip,
            "uid": uid,
            "creationTimestamp": call.now.to_string(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": parsed.map_or("IPv4", family),
                MANAGED_BY: ALLOCATOR,
            },
        },
        "spec": {"parentRef": {
            "resource": "services", "namespace": call.key.namespace, "name": call.key.name,
        }},
    });
    let mut object = object;
    let by = Writer {
        manager: "kube-apiserver",
        api_version: "networking.k8s.io/v1",
        subresource: "",
        now: call.now,
        reset: &[],
    };
    let managed = managed_fields::create(&mut object, &by, &resource.schema, resource.ty);
    let body = super::convert::encode_with(call.served, &resource, &object, managed.as_deref())?;
    call.before.compares.push(Compare { key: key.clone(), revision: Revision(0) });
    call.before.ops.push(Op::Put(key, body));
    Ok(())
}

pub(super) fn port_key(port: u16) -> Arc<str> {
    format!("{NODE_PORTS}{port}").into()
}

fn ports(call: &mut Call<'_>, value: &mut Value, old: &Value) -> Result<(), Status> {
    let spec = value["spec"].clone();
    let had = node_ports(old);
    let range = call.config.node_ports;
    let mut mine: Vec<u16> = Vec::new();
    // A port may serve several protocols of one Service.
    let mut by_protocol: Vec<(u16, String)> = Vec::new();
    let mut list = items(&spec, &["ports"]).to_vec();
    let allocates = needs_node_ports(&spec);
    for (index, port) in list.iter().enumerate() {
        let Some(asked) = port["nodePort"].as_i64().filter(|p| *p != 0) else { continue };
        let refuse = |why: String| {
            let field = format!("spec.ports[{index}].nodePort");
            call.invalid(vec![Cause::invalid(&field, &asked.into(), &why)])
        };
        let protocol = text(port, &["protocol"]).to_owned();
        let asked32 = i32::try_from(asked).unwrap_or(-1);
        let shared = by_protocol.iter().any(|(p, other)| i64::from(*p) == asked && *other != protocol);
        let twice = by_protocol.iter().any(|(p, other)| i64::from(*p) == asked && *other == protocol);
        let taken = |p: u16| twice || !shared && !had.contains(&p) && call.view.get(&port_key(p)).is_some();
        let got = range.check(asked32, taken).map_err(|e| refuse(e.to_string()))?;
        by_protocol.push((got, protocol));
        mine.push(got);
    }
    if allocates {
        let mut entropy = call.entropy.clone();
        for at in 0..list.len() {
            if list[at]["nodePort"].as_i64().unwrap_or_default() != 0 {
                continue;
            }
            // Ports of one number under several protocols share their node port.
            let shared = list.iter().enumerate().find(|(other, p)| {
                *other != at
                    && p["port"] == list[at]["port"]
                    && p["protocol"] != list[at]["protocol"]
                    && p["nodePort"].as_i64().unwrap_or_default() != 0
            });
            let got =
                match shared.and_then(|(_, p)| p["nodePort"].as_i64()).and_then(|p| u16::try_from(p).ok()) {
                    Some(port) => port,
                    None => {
                        let taken = |p: u16| {
                            mine.contains(&p) || had.contains(&p) || call.view.get(&port_key(p)).is_some()
                        };
                        range
                            .allocate(taken, &mut entropy)
                            .map_err(|e| Status::internal(&format!("failed to allocate a nodePort: {e}")))?
                    }
                };
            list[at]["nodePort"] = got.into();
            mine.push(got);
        }
        *call.entropy = entropy;
    }
    if !list.is_empty() {
        object(value, "spec").insert("ports".into(), list.into());
    }
    health_port(call, value, old, &mut mine)?;
    mine.sort_unstable();
    mine.dedup();
    for port in mine.iter().filter(|p| !had.contains(p)) {
        note_port(call, *port)?;
    }
    for port in had.iter().filter(|p| !mine.contains(p)) {
        call.txn.ops.push(Op::Delete(port_key(*port)));
    }
    Ok(())
}

fn health_port(
    call: &mut Call<'_>,
    value: &mut Value,
    old: &Value,
    mine: &mut Vec<u16>,
) -> Result<(), Status> {
    if !needs_health_port(&value["spec"]) {
        return Ok(());
    }
    let range = call.config.node_ports;
    let had = old["healthCheckNodePort"].as_i64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
    let asked = at(value, &["spec", "healthCheckNodePort"]).and_then(Value::as_i64).filter(|p| *p != 0);
    let taken = |p: u16| mine.contains(&p) || Some(p) != had && call.view.get(&port_key(p)).is_some();
    let got = match asked {
        Some(asked) => range.check(i32::try_from(asked).unwrap_or(-1), taken).map_err(|e| {
            Status::internal(&format!("failed to allocate requested HealthCheck NodePort {asked}: {e}"))
        })?,
        None => {
            let mut entropy = call.entropy.clone();
            let got = range
                .allocate(taken, &mut entropy)
                .map_err(|e| Status::internal(&format!("failed to allocate a HealthCheck NodePort : {e}")))?;
            *call.entropy = entropy;
            got
        }
    };
    object(value, "spec").insert("healthCheckNodePort".into(), got.into());
    mine.push(got);
    Ok(())
}

fn note_port(call: &mut Call<'_>, port: u16) -> Result<(), Status> {
    let key = port_key(port);
    let note = json!({"metadata": {"name": port.to_string(), "service": call.key.to_string()}});
    let body = Body::parse(note.to_string().into()).map_err(|e| Status::internal(&e.to_string()))?;
    call.txn.compares.push(Compare { key: key.clone(), revision: Revision(0) });
    call.txn.ops.push(Op::Put(key, Arc::new(body)));
    Ok(())
}

/// What gives back the addresses of Services that are not there: of one that was never written because the process
/// ended right after its address was taken.
pub(super) fn unused(served: &super::Served, view: &dyn View) -> Vec<Txn> {
    let services = Kind::namespaced("", "v1", "Service", "services");
    let Some(prefix) = served.scheme.storage_range(&IP_ADDRESS, "") else { return Vec::new() };
    let mut out = Vec::new();
    for entry in view.range(&prefix, "", usize::MAX) {
        let address = entry.object.to_value();
        let parent = &address["spec"]["parentRef"];
        if text(parent, &["resource"]) != "services"
            || text(&address, &["metadata", "labels", MANAGED_BY]) != ALLOCATOR
        {
            continue;
        }
        let key = Key::new(text(parent, &["namespace"]), text(parent, &["name"]));
        let service = served.scheme.storage_key(&services, &key).and_then(|key| view.get(&key));
        let ip = text(&address, &["metadata", "name"]);
        if service.is_none_or(|s| !cluster_ips(&s.object.to_value()["spec"]).contains(&ip)) {
            let compare = Compare { key: entry.key.clone(), revision: entry.object.revision };
            out.push(Txn { compares: vec![compare], ops: vec![Op::Delete(entry.key.clone())] });
        }
    }
    out
}

/// What gives back everything that a Service holds.
pub(super) fn release(call: &Call<'_>, old: &Value) -> Vec<Op> {
    if !is_service(call) {
        return Vec::new();
    }
    let spec = &old["spec"];
    let addresses = cluster_ips(spec).into_iter().filter_map(|ip| address_key(call, ip)).map(Op::Delete);
    let ports = node_ports(spec).into_iter().map(|port| Op::Delete(port_key(port)));
    addresses.chain(ports).collect()
}
