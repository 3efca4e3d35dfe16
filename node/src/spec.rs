//! What the runtime is asked to make of a pod: [`sandbox`] and [`container`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use orlop_core::kinds::{Container, Pod};
use orlop_core::rules::Quantity;
use orlop_core::runtime::{ContainerSpec, DnsConfig, Port, Protocol, SandboxSpec, bind_port};
use orlop_core::{Key, Name};

use crate::config::NodeConfig;
use crate::objects::{Holder, Objects};
use crate::pod::Role;
use crate::pod::restart::is_task;
use crate::volumes;

/// The pod's sandbox.
pub(crate) fn sandbox(config: &NodeConfig, pod: &Pod, attempt: u32, addresses: Vec<IpAddr>) -> SandboxSpec {
    let meta = &pod.metadata;
    let hostname = match () {
        () if pod.spec.host_network => config.name.clone(),
        () if !pod.spec.hostname.is_empty() => pod.spec.hostname.clone(),
        // A host name has at most 63 characters, and does not end with a hyphen.
        () => Name::from(meta.name.get(..63).unwrap_or(&meta.name).trim_end_matches(['-', '.'])),
    };
    let bind = addresses.first().and_then(|ip| config.mirror.as_ref()?.of(*ip));
    SandboxSpec {
        uid: meta.uid.clone(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        node: config.name.clone(),
        attempt,
        hostname,
        addresses,
        bind,
        host_network: pod.spec.host_network,
        dns: dns(config, pod),
        ports: pod.spec.containers.iter().flat_map(|container| ports(config, container)).collect(),
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
    }
}

fn dns(config: &NodeConfig, pod: &Pod) -> DnsConfig {
    let mut dns = DnsConfig::default();
    let cluster = match pod.spec.dns_policy.as_str() {
        "None" | "Default" => false,
        "ClusterFirst" if pod.spec.host_network => false,
        _ => true,
    };
    if cluster && !config.cluster_dns.is_empty() {
        let (namespace, domain) = (&pod.metadata.namespace, &config.cluster_domain);
        dns.servers = config.cluster_dns.clone();
        dns.searches = vec![
            smol_str::format_smolstr!("{namespace}.svc.{domain}"),
            smol_str::format_smolstr!("svc.{domain}"),
            domain.clone(),
        ];
        dns.options = vec![Name::new_static("ndots:5")];
    }
    if let Some(own) = &pod.spec.dns_config {
        dns.servers.extend(own.nameservers.iter().cloned());
        dns.searches.extend(own.searches.iter().cloned());
        for option in &own.options {
            dns.options.retain(|present| present.split(':').next() != Some(option.name.as_str()));
            dns.options.push(match option.value.as_str() {
                "" => option.name.clone(),
                value => smol_str::format_smolstr!("{}:{value}", option.name),
            });
        }
    }
    dns
}

fn ports(config: &NodeConfig, container: &Container) -> Vec<Port> {
    let port = |port: &orlop_core::kinds::ContainerPort| {
        let number = u16::try_from(port.container_port).ok().filter(|number| *number != 0)?;
        Some(Port {
            name: port.name.clone(),
            container: number,
            bind: bind_port(number, config.unprivileged_from),
            host: port.host_port.and_then(|host| u16::try_from(host).ok()).unwrap_or(0),
            protocol: Protocol::parse(&port.protocol)?,
        })
    };
    container.ports.iter().filter_map(port).collect()
}

/// What a container needs to know of its pod.
pub(crate) struct PodFacts<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) config: &'a NodeConfig,
    pub(crate) objects: &'a Objects,
    pub(crate) addresses: &'a [IpAddr],
}

/// One container.
///
/// # Errors
/// A sentence, where its environment names something that does not exist.
pub(crate) fn container(
    facts: &PodFacts<'_>,
    container: &Container,
    attempt: u32,
    role: Role,
) -> Result<ContainerSpec, String> {
    let env = environment(facts, container)?;
    let by_name: BTreeMap<&str, &str> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expanded = |words: &[Name]| words.iter().map(|word| expand(word, &by_name)).collect();
    let amount = |of: &BTreeMap<Name, Quantity>, name: &str| of.get(name).cloned().unwrap_or_default();
    let limits = &container.resources.limits;
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt,
        image: container.image.clone(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone(),
        ports: ports(facts.config, container),
        mounts: container
            .volume_mounts
            .iter()
            .map(|mount| volumes::mount(facts, container, mount, &by_name))
            .collect::<Result<_, _>>()?,
        tty: container.tty,
        stdin: container.stdin,
        one_shot: matches!(role, Role::Init | Role::Ephemeral) || is_task(facts.pod, container),
        init: role == Role::Init,
        stop_signal: container.lifecycle.as_ref().map(|l| l.stop_signal.clone()).unwrap_or_default(),
        cpu_request_milli: amount(&container.resources.requests, "cpu").milli_value(),
        cpu_limit_milli: amount(limits, "cpu").milli_value(),
        memory_limit_bytes: amount(limits, "memory").value(),
        env,
    })
}

fn environment(facts: &PodFacts<'_>, container: &Container) -> Result<Vec<(Name, Name)>, String> {
    let namespace = &facts.pod.metadata.namespace;
    let data = |holder: Holder, name: &Name, optional: bool| match facts
        .objects
        .data(holder, &Key::new(namespace.clone(), name.clone()))
    {
        Some(data) => Ok(data),
        None if optional || !facts.config.volumes => Ok(BTreeMap::new()),
        None => Err(format!("{} {:?} not found", holder.noun(), name.as_str())),
    };
    let services = match facts.config.service_environment {
        true => {
            facts.objects.services.environment(namespace, facts.pod.spec.enable_service_links != Some(false))
        }
        false => Vec::new(),
    };
    let mut env: Vec<(Name, Name)> = Vec::new();
    for source in &container.env_from {
        let (config_map, secret) = (source.config_map_ref.as_ref(), source.secret_ref.as_ref());
        let from = config_map
            .map(|s| (Holder::ConfigMap, &s.name, s.optional))
            .or_else(|| secret.map(|s| (Holder::Secret, &s.name, s.optional)));
        let Some((holder, name, optional)) = from else { continue };
        for (key, value) in data(holder, name, optional == Some(true))? {
            let name = smol_str::format_smolstr!("{}{key}", source.prefix);
            env.push((name, String::from_utf8_lossy(&value).into()));
        }
    }
    for var in &container.env {
        let value = match &var.value_from {
            None => {
                let known: BTreeMap<&str, &str> =
                    services.iter().chain(&env).map(|(n, v)| (n.as_str(), v.as_str())).collect();
                expand(&var.value, &known)
            }
            Some(from) => {
                let key_of = |holder: Holder, name: &Name, key: &Name, optional: bool| {
                    let data = data(holder, name, optional)?;
                    match data.get(key.as_str()) {
                        Some(value) => Ok(Some(Name::from(String::from_utf8_lossy(value)))),
                        None if optional || !facts.config.volumes => Ok(None),
                        None => {
                            let kind = if holder == Holder::ConfigMap { "ConfigMap" } else { "Secret" };
                            Err(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
                        }
                    }
                };
                let value = if let Some(source) = &from.config_map_key_ref {
                    key_of(Holder::ConfigMap, &source.name, &source.key, source.optional == Some(true))?
                } else if let Some(source) = &from.secret_key_ref {
                    key_of(Holder::Secret, &source.name, &source.key, source.optional == Some(true))?
                } else if let Some(field) = &from.field_ref {
                    Some(field_of(facts, &field.field_path))
                } else {
                    from.resource_field_ref.as_ref().map(|resource| resource_of(facts, container, resource))
                };
                match value {
                    Some(value) => value,
                    None => continue,
                }
            }
        };
        env.push((var.name.clone(), value));
    }
    // What the container is told of its own stands above what it is told of Services.
    let own: BTreeSet<Name> = env.iter().map(|(name, _)| name.clone()).collect();
    env.extend(services.into_iter().filter(|(name, _)| !own.contains(name)));
    Ok(env)
}

pub(crate) fn field_of(facts: &PodFacts<'_>, path: &str) -> Name {
    let meta = &facts.pod.metadata;
    let list = |ips: &[IpAddr]| Name::from(ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let first = |ips: &[IpAddr]| ips.first().map(|ip| Name::from(ip.to_string())).unwrap_or_default();
    let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => facts.config.name.clone(),
        "spec.serviceAccountName" => facts.pod.spec.service_account_name.clone(),
        "status.podIP" => first(facts.addresses),
        "status.podIPs" => list(facts.addresses),
        "status.hostIP" => first(&facts.config.addresses),
        "status.hostIPs" => list(&facts.config.addresses),
        _ => subscript("metadata.labels['")
            .and_then(|key| meta.labels.get(key))
            .or_else(|| subscript("metadata.annotations['").and_then(|key| meta.annotations.get(key)))
            .cloned()
            .unwrap_or_default(),
    }
}

pub(crate) fn resource_of(
    facts: &PodFacts<'_>,
    own: &Container,
    field: &orlop_core::kinds::ResourceFieldSelector,
) -> Name {
    let mut all = facts.pod.spec.containers.iter().chain(&facts.pod.spec.init_containers);
    let container = match field.container_name.as_str() {
        "" => own,
        name => all.find(|c| c.name == name).unwrap_or(own),
    };
    let given = |amounts: &BTreeMap<Name, Quantity>, name: &str| {
        amounts.get(name).filter(|amount| amount.milli_value() != 0).cloned()
    };
    let amount = match field.resource.split_once('.') {
        Some(("requests", name)) => given(&container.resources.requests, name),
        // Without a limit the node's own size is what a container may use.
        Some(("limits", name @ ("cpu" | "memory" | "ephemeral-storage"))) => {
            given(&container.resources.limits, name).or_else(|| given(facts.config.allocatable(), name))
        }
        Some(("limits", name)) => given(&container.resources.limits, name),
        _ => return Name::default(),
    };
    let amount = amount.unwrap_or_default();
    let (milli, divisor) =
        (i128::from(amount.milli_value()), field.divisor.as_ref().map_or(0, |d| i128::from(d.milli_value())));
    let divisor = if divisor <= 0 { 1000 } else { divisor };
    // Rounded up, as a CPU limit of 100m means one processor.
    smol_str::format_smolstr!("{}", (milli + divisor - 1) / divisor)
}

/// Puts the values of variables where `$(NAME)` stands; `$$` is a dollar, and an unknown name stays as it is.
pub(crate) fn expand(text: &str, env: &BTreeMap<&str, &str>) -> Name {
    if !text.contains('$') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        rest = if let Some(tail) = tail.strip_prefix('$') {
            out.push('$');
            tail
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..at + name.len() + 3]),
            }
            after
        } else {
            out.push('$');
            tail
        };
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_in_kubernetes() {
        let env = BTreeMap::from([("A", "1"), ("B", "two")]);
        for (text, expected) in [
            ("$(A)-$(B)", "1-two"),
            ("$$(A)", "$(A)"),
            ("$(C) $A $", "$(C) $A $"),
            ("plain", "plain"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }
}
