//! What containers find in their environment.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use orlop_core::Kind;
use orlop_runtime_mock::Policy;
use serde_json::{Value, json};

use crate::world::{World, config};

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn check(pod: &str, expected: Expect) {
    let mut world = World::new(config(), Policy::default());
    let kind = Kind::namespaced("", "v1", "Service", "services");
    let https = json!([{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}]);
    let dns = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    for object in [
        service("default", "kubernetes", json!({"clusterIP": "10.96.0.1", "ports": https})),
        service("default", "redis-primary", json!({"clusterIP": "10.96.0.11", "ports": [{"port": 6379}]})),
        service("default", "headless", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
        service("default", "outside", json!({"type": "ExternalName", "externalName": "example.org"})),
        service("default", "six", json!({"clusterIP": "fd00::1", "ports": dns})),
        service("other", "elsewhere", json!({"clusterIP": "10.96.0.12", "ports": [{"port": 80}]})),
    ] {
        world.put(&kind, object);
    }
    world.pod(pod);
    world.run(3.0);
    let mut out = String::new();
    let (_, spec, _) = world.machine.running().next().expect("it runs");
    for (name, value) in &spec.env {
        writeln!(out, "{name}={value}").unwrap();
    }
    for argument in &spec.args {
        writeln!(out, "{argument}").unwrap();
    }
    expected.assert_eq(&out);
}

/// No program in a pod found the API: nobody told it where that is.
#[test]
fn services_are_told_by_the_environment() {
    check(
        "
name: web
containers:
- name: main
  args: ['--api=$(KUBERNETES_SERVICE_HOST)']
  env:
  - {name: URL, value: 'https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT_HTTPS)'}
  - {name: SIX_SERVICE_HOST, value: mine}
",
        expect![[r#"
            URL=https://10.96.0.1:443
            SIX_SERVICE_HOST=mine
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443
            KUBERNETES_PORT=tcp://10.96.0.1:443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
            REDIS_PRIMARY_SERVICE_HOST=10.96.0.11
            REDIS_PRIMARY_SERVICE_PORT=6379
            REDIS_PRIMARY_PORT=tcp://10.96.0.11:6379
            REDIS_PRIMARY_PORT_6379_TCP_PROTO=tcp
            REDIS_PRIMARY_PORT_6379_TCP_PORT=6379
            REDIS_PRIMARY_PORT_6379_TCP_ADDR=10.96.0.11
            REDIS_PRIMARY_PORT_6379_TCP=tcp://10.96.0.11:6379
            SIX_SERVICE_PORT=53
            SIX_SERVICE_PORT_DNS=53
            SIX_SERVICE_PORT_DNS_TCP=53
            SIX_PORT=udp://[fd00::1]:53
            SIX_PORT_53_UDP_PROTO=udp
            SIX_PORT_53_UDP_PORT=53
            SIX_PORT_53_UDP_ADDR=fd00::1
            SIX_PORT_53_UDP=udp://[fd00::1]:53
            SIX_PORT_53_TCP_PROTO=tcp
            SIX_PORT_53_TCP_PORT=53
            SIX_PORT_53_TCP_ADDR=fd00::1
            SIX_PORT_53_TCP=tcp://[fd00::1]:53
            --api=10.96.0.1
        "#]],
    );
}

#[test]
fn without_links_the_api_alone_is_told() {
    check(
        "{name: web, enableServiceLinks: false}",
        expect![[r#"
        KUBERNETES_SERVICE_HOST=10.96.0.1
        KUBERNETES_SERVICE_PORT=443
        KUBERNETES_SERVICE_PORT_HTTPS=443
        KUBERNETES_PORT=tcp://10.96.0.1:443
        KUBERNETES_PORT_443_TCP_PROTO=tcp
        KUBERNETES_PORT_443_TCP_PORT=443
        KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
        KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
    "#]],
    );
}

/// What a container has not asked for was told as if it had asked for the whole node.
#[test]
fn only_limits_fall_back_on_the_node() {
    let field = |resource: &str| json!({"name": resource.to_uppercase(), "valueFrom": {"resourceFieldRef": {"resource": resource}}});
    let fields: Vec<Value> =
        ["requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "limits.ephemeral-storage"]
            .iter()
            .map(|resource| field(resource))
            .collect();
    let container = json!({
        "name": "main", "env": fields,
        "resources": {"limits": {"cpu": "1500m"}, "requests": {"cpu": "0"}},
    });
    let pod = json!({"name": "web", "enableServiceLinks": false, "containers": [container]});
    check(
        &pod.to_string(),
        expect![[r#"
        REQUESTS.CPU=0
        REQUESTS.MEMORY=0
        LIMITS.CPU=2
        LIMITS.MEMORY=17179869184
        LIMITS.EPHEMERAL-STORAGE=107374182400
        KUBERNETES_SERVICE_HOST=10.96.0.1
        KUBERNETES_SERVICE_PORT=443
        KUBERNETES_SERVICE_PORT_HTTPS=443
        KUBERNETES_PORT=tcp://10.96.0.1:443
        KUBERNETES_PORT_443_TCP_PROTO=tcp
        KUBERNETES_PORT_443_TCP_PORT=443
        KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1
        KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443
    "#]],
    );
}
