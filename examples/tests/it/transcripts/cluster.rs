//! The cluster of the recordings: their nodes, and their kubelet's rules.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop::base::kinds::NodeSystemInfo;
use orlop::base::{Key, Kind, Write};
use orlop::{Cluster, NodeSpec};
use serde_json::json;

use super::observe::Observer;

const TOKEN: &str = "token-admin";
/// Who the recorded kubectl was.
const TOKENS: &str = "token-admin,admin,u-admin,\"system:masters\"";

/// A running cluster with the namespace of a scenario.
pub(super) async fn start(namespace: &str, labels: &BTreeMap<String, String>) -> Cluster {
    let mut builder = Cluster::builder()
        .no_nodes()
        .serve(([127, 0, 0, 1], 0).into())
        .token_file(TOKENS)
        .expect("a token")
        .recorded_kubelet()
        .volumes();
    for (name, zone, number, control_plane) in [
        ("control-a", "zone-a", 0, true),
        ("worker-a", "zone-a", 1, false),
        ("worker-b", "zone-b", 2, false),
        ("worker-c", "zone-c", 3, false),
    ] {
        let node = if control_plane { NodeSpec::control_plane(name) } else { NodeSpec::worker(name) };
        builder = builder.node(
            node.zone("region-1", zone)
                .address(std::net::IpAddr::from([192, 0, 2, 20 + number]))
                .pod_cidr(format!("10.244.{number}.0/24").parse().expect("a network"))
                .capacity("cpu", "4")
                .capacity("memory", "16Gi")
                .capacity("pods", "110")
                .capacity("ephemeral-storage", "100Gi")
                .info(NodeSystemInfo {
                    boot_id: format!("b{number}").into(),
                    container_runtime_version: "fake://1.0".into(),
                    kernel_version: "6.1.0".into(),
                    kubelet_version: "v1.36.2".into(),
                    machine_id: format!("m{number}").into(),
                    os_image: "Fake Linux".into(),
                    system_uuid: format!("s{number}").into(),
                    ..NodeSystemInfo::default()
                }),
        );
    }
    let cluster = builder.start().await.expect("a cluster that starts");
    let link = cluster.link("setup");
    link.perform(Write::create(
        Kind::cluster("", "v1", "Namespace", "namespaces"),
        json!({"metadata": {"name": namespace, "labels": labels}}),
    ))
    .await
    .expect("a namespace");
    for (kind, name) in [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")] {
        cluster
            .wait_for(
                &named(&cluster, kind).expect("a kind"),
                &Key::new(namespace, name),
                Duration::from_secs(10),
                |_| true,
            )
            .await
            .expect("what a namespace has");
    }
    cluster
}

/// A kind by its name alone.
fn named(cluster: &Cluster, kind: &str) -> Option<Kind> {
    cluster.scheme().by_kind_name(kind).next().map(|resource| resource.stored_as.clone())
}

/// What kubectl is given.
pub(super) fn kubeconfig(cluster: &Cluster, namespace: &str) -> String {
    // Cluster, user and context have the recorded name.
    cluster.kubeconfig_with_token(TOKEN, namespace).expect("a served cluster").replace("orlop", "rec")
}

/// Follows everything that kubectl or a controller changes in the namespaces of a scenario.
pub(super) async fn observe(cluster: &Cluster) -> Observer {
    let followed = [
        "Pod",
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "CronJob",
        "ControllerRevision",
        "Service",
        "EndpointSlice",
        "Endpoints",
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "Ingress",
        "NetworkPolicy",
        "ResourceQuota",
        "LimitRange",
        "ReplicationController",
        "Role",
        "RoleBinding",
        "Event",
    ];
    let kinds = followed.iter().filter_map(|kind| named(cluster, kind)).collect();
    Observer::start(&cluster.link("observer"), kinds).await
}
