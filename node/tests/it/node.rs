//! The Node, its lease and its system pods.

use expect_test::expect;
use orlop_core::{Key, Kind};
use orlop_node::{Role, system_pods};
use orlop_runtime_mock::{Fault, Policy};
use serde_json::Value;

use crate::world::{World, config};

fn node(world: &World) -> Value {
    let kind = Kind::cluster("", "v1", "Node", "nodes");
    world.object(&kind, &Key::cluster("n1")).expect("the node is registered").clone()
}

fn lease(world: &World) -> Value {
    let kind = Kind::namespaced("coordination.k8s.io", "v1", "Lease", "leases");
    world.object(&kind, &Key::new("kube-node-lease", "n1")).expect("there is a lease").clone()
}

#[test]
fn a_node_registers_and_reports() {
    let mut world = World::new(config(), Policy::default());
    world.run(1.0);
    let shown = serde_yaml::to_string(&node(&world)).unwrap();
    expect![[r#"
        apiVersion: v1
        kind: Node
        metadata:
          name: n1
          labels:
            beta.kubernetes.io/arch: amd64
            beta.kubernetes.io/os: linux
            kubernetes.io/arch: amd64
            kubernetes.io/hostname: n1
            kubernetes.io/os: linux
          uid: uid-1
          creationTimestamp: 2026-01-01T00:00:00Z
        spec:
          podCIDR: 10.244.1.0/24
          podCIDRs:
          - 10.244.1.0/24
        status:
          addresses:
          - type: InternalIP
            address: 172.18.0.2
          - type: Hostname
            address: n1
          allocatable:
            cpu: '4'
            ephemeral-storage: 100Gi
            memory: 16Gi
            pods: '110'
          capacity:
            cpu: '4'
            ephemeral-storage: 100Gi
            memory: 16Gi
            pods: '110'
          conditions:
          - type: MemoryPressure
            status: 'False'
            lastHeartbeatTime: 2026-01-01T00:00:00Z
            lastTransitionTime: 2026-01-01T00:00:00Z
            reason: KubeletHasSufficientMemory
            message: kubelet has sufficient memory available
          - type: DiskPressure
            status: 'False'
            lastHeartbeatTime: 2026-01-01T00:00:00Z
            lastTransitionTime: 2026-01-01T00:00:00Z
            reason: KubeletHasNoDiskPressure
            message: kubelet has no disk pressure
          - type: PIDPressure
            status: 'False'
            lastHeartbeatTime: 2026-01-01T00:00:00Z
            lastTransitionTime: 2026-01-01T00:00:00Z
            reason: KubeletHasSufficientPID
            message: kubelet has sufficient PID available
          - type: Ready
            status: 'True'
            lastHeartbeatTime: 2026-01-01T00:00:00Z
            lastTransitionTime: 2026-01-01T00:00:00Z
            reason: KubeletReady
            message: kubelet is posting ready status
          daemonEndpoints:
            kubeletEndpoint:
              Port: 10250
          nodeInfo:
            architecture: amd64
            bootID: ''
            containerRuntimeVersion: mock://0.1.0
            kernelVersion: unknown
            kubeProxyVersion: ''
            kubeletVersion: v1.36.2+orlop-0.1.0
            machineID: ''
            operatingSystem: linux
            osImage: Orlop
            systemUUID: ''
    "#]]
    .assert_eq(&shown);
}

#[test]
fn the_lease_is_renewed_and_the_status_seldom() {
    let mut world = World::new(config(), Policy::default());
    world.run(1.0);
    let writes = world.writes;
    let owner = &lease(&world)["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&"Node".into(), &node(&world)["metadata"]["uid"]));
    assert_eq!(lease(&world)["spec"]["renewTime"], "2026-01-01T00:00:00.000000Z");
    world.run(25.0);
    assert_eq!(lease(&world)["spec"]["renewTime"], "2026-01-01T00:00:20.000000Z");
    assert_eq!(world.writes, writes, "nothing but the lease");
    world.run(300.0);
    assert_eq!(world.writes, writes + 1, "a heartbeat every five minutes");
}

#[test]
fn a_registration_that_fails_is_tried_again() {
    let mut world = World::new(config(), Policy::default());
    world.machine.inject(
        world.now,
        Fault::FailCalls {
            count: 2,
            call: "list".into(),
            error: orlop_core::runtime::RuntimeError::Unavailable("away".into()),
        },
    );
    world.refuse_writes = 3;
    world.run(5.0);
    let ready = node(&world)["status"]["conditions"][3].clone();
    assert_eq!((&ready["type"], &ready["status"]), (&"Ready".into(), &"True".into()));
    lease(&world);
}

#[test]
fn what_runs_on_the_node_is_shown_as_mirror_pods() {
    let mut config = config();
    config.system_pods = system_pods(Role::ControlPlane, "n1", "0.1.0");
    config.system_pods.extend(system_pods(Role::Worker, "n1", "0.1.0"));
    let mut world = World::new(config, Policy::default());
    world.run(3.0);
    let key = Key::new("kube-system", "kube-apiserver-n1");
    world.remove(&crate::world::pods(), &key);
    world.run(3.0);
    expect![[r#"
          Starting n1: Starting kubelet.
        0.00 kube-apiserver-n1 ?
        0.00 kube-controller-manager-n1 ?
        0.00 kube-scheduler-n1 ?
        0.00 store-n1 ?
        0.00 node-agent-n1 ?
        0.00 kube-proxy-n1 ?
        0.00 dns-n1 ?
        1.00 kube-apiserver-n1 Running ready kube-apiserver=running+
        1.00 kube-controller-manager-n1 Running ready kube-controller-manager=running+
        1.00 kube-scheduler-n1 Running ready kube-scheduler=running+
        1.00 store-n1 Running ready store=running+
        1.00 node-agent-n1 Running ready node-agent=running+
        1.00 kube-proxy-n1 Running ready kube-proxy=running+
        1.00 dns-n1 Running ready dns=running+
        3.00 kube-apiserver-n1 gone
        3.00 kube-apiserver-n1 ?
        4.00 kube-apiserver-n1 Running ready kube-apiserver=running+
    "#]]
    .assert_eq(&world.trace);
    assert_eq!(world.machine.running().count(), 0, "nothing of it goes through the runtime");
    let pod = world.object(&crate::world::pods(), &key).expect("it is made anew");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Node");
    assert_eq!(pod["status"]["podIP"], "172.18.0.2");
    let writes = world.writes;
    world.run(60.0);
    assert_eq!(world.writes, writes);
}
