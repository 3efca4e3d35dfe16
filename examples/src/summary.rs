//! What runs where, and the addresses that work.

use std::fmt::Write;

use orlop::Cluster;
use orlop::api::Status;
use orlop::base::kinds::{Ingress, Node, Pod};
use orlop::base::{Item, Key};
use orlop::netplan::What;
use orlop::node::MIRROR_ANNOTATION;
use serde_json::{Value, json};

use crate::progress::{Readiness, ready};

/// The cluster's state, for a table or for machines.
pub(crate) struct Summary {
    nodes: Vec<[String; 4]>,
    pods: Vec<[String; 5]>,
    addresses: Vec<[String; 3]>,
}

/// Looks at the cluster.
pub(crate) async fn summarise(cluster: &Cluster) -> Result<Summary, Status> {
    let pods = cluster.list::<Pod>("").await?;
    let mut nodes = Vec::new();
    for node in cluster.list::<Node>("").await? {
        let role = match node.metadata.label("node-role.kubernetes.io/control-plane") {
            Some(_) => "control plane",
            None => "worker",
        };
        let zone = node.metadata.label("topology.kubernetes.io/zone").unwrap_or_default();
        let count = pods.iter().filter(|pod| pod.spec.node_name == node.metadata.name).count();
        nodes.push([node.metadata.name.to_string(), role.to_owned(), zone.to_owned(), count.to_string()]);
    }
    let shown = pods.iter().filter(|pod| pod.metadata.annotation(MIRROR_ANNOTATION).is_none());
    let pods = shown
        .map(|pod| {
            [
                pod.metadata.namespace.to_string(),
                pod.metadata.name.to_string(),
                state(pod),
                pod.spec.node_name.to_string(),
                pod.status.pod_ip.to_string(),
            ]
        })
        .collect();
    Ok(Summary { nodes, pods, addresses: addresses(cluster).await? })
}

/// What a pod waits for, where it says so; else how far it is.
fn state(pod: &Item<Pod>) -> String {
    if ready(pod) {
        return "ready".to_owned();
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let mut waiting = statuses.filter_map(|status| status.state.waiting.as_ref()).map(|w| &w.reason);
    waiting.rfind(|reason| !reason.is_empty()).unwrap_or(&pod.status.phase).to_string()
}

/// Where everything is reached: what, the address in the cluster, how to try it from here.
async fn addresses(cluster: &Cluster) -> Result<Vec<[String; 3]>, Status> {
    let ingresses = cluster.list::<Ingress>("").await?;
    let mut rows = Vec::new();
    // The rows of the DNS are this Service's.
    let dns = Key::new("kube-system", "kube-dns");
    for published in cluster.published() {
        for entry in &published.addresses {
            if matches!(&entry.what, What::Service { service, .. } if *service == dns) {
                continue;
            }
            let what = match &entry.what {
                What::Dns => format!("DNS ({})", entry.protocol),
                What::Ingress => "Ingress".to_owned(),
                What::Service { service, port } => named("Service", &service.to_string(), port),
                What::NodePort { service, port, node } => {
                    format!("{} on {node}", named("NodePort", &service.to_string(), port))
                }
            };
            let at = match &entry.at {
                Ok(at) => at,
                Err(why) => {
                    rows.push([what, entry.wanted.to_string(), format!("not reachable: {why}")]);
                    continue;
                }
            };
            match &entry.what {
                What::Ingress if !ingresses.is_empty() => {
                    for (host, path) in ingresses.iter().flat_map(hosts) {
                        let header =
                            if host.is_empty() { String::new() } else { format!(" -H 'Host: {host}'") };
                        rows.push([
                            format!("Ingress {host}{path}"),
                            entry.wanted.to_string(),
                            format!("curl{header} http://{at}{path}"),
                        ]);
                    }
                }
                What::Ingress => {}
                What::Dns => {
                    let tcp = if entry.protocol.as_str() == "TCP" { " +tcp" } else { "" };
                    let query = format!(
                        "dig @{} -p {}{tcp} kubernetes.default.svc.cluster.local",
                        at.ip(),
                        at.port()
                    );
                    rows.push([what, entry.wanted.to_string(), query]);
                }
                _ if entry.protocol.as_str() == "TCP" => {
                    let tls = entry.wanted.port() == 443 || what.ends_with(":https");
                    let with = if tls { "curl -k https" } else { "curl http" };
                    rows.push([what, entry.wanted.to_string(), format!("{with}://{at}")]);
                }
                _ => rows.push([what, entry.wanted.to_string(), at.to_string()]),
            }
        }
    }
    Ok(rows)
}

fn named(kind: &str, service: &str, port: &str) -> String {
    if port.is_empty() { format!("{kind} {service}") } else { format!("{kind} {service}:{port}") }
}

/// The hosts and paths of an Ingress.
fn hosts(ingress: &Item<Ingress>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for rule in &ingress.spec.rules {
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        for path in paths {
            let path = if path.path.is_empty() { "/" } else { path.path.as_str() };
            out.push((rule.host.to_string(), path.to_owned()));
        }
    }
    out
}

impl Summary {
    /// Tables for people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        table(&mut out, &["NODE", "ROLE", "ZONE", "PODS"], &self.nodes);
        if !self.pods.is_empty() {
            out.push('\n');
            table(&mut out, &["NAMESPACE", "POD", "STATE", "NODE", "ADDRESS"], &self.pods);
        }
        if !self.addresses.is_empty() {
            out.push('\n');
            table(&mut out, &["WHAT", "IN THE CLUSTER", "FROM HERE"], &self.addresses);
        }
        out
    }

    /// The same for machines.
    pub(crate) fn json(&self, readiness: &Readiness, problems: &[String], server: Option<String>) -> Value {
        let rows = |names: &[&str], rows: &mut dyn Iterator<Item = &[String]>| -> Vec<Value> {
            rows.map(|row| {
                let pairs =
                    names.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.as_str().into()));
                Value::Object(pairs.collect())
            })
            .collect()
        };
        json!({
            "ready": readiness.is_ready() && problems.is_empty(),
            "server": server,
            "workloads": readiness.workloads,
            "problems": problems,
            "nodes": rows(&["name", "role", "zone", "pods"], &mut self.nodes.iter().map(|r| r.as_slice())),
            "pods": rows(&["namespace", "name", "state", "node", "address"], &mut self.pods.iter().map(|r| r.as_slice())),
            "addresses": rows(&["what", "inCluster", "fromHere"], &mut self.addresses.iter().map(|r| r.as_slice())),
        })
    }
}

/// Aligned columns.
pub(crate) fn table<const N: usize>(out: &mut String, head: &[&str; N], rows: &[[String; N]]) {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}   ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(*head);
    for row in rows {
        line(std::array::from_fn(|at| row[at].as_str()));
    }
}
