//! What containers find where volumes are mounted.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use orlop_core::Kind;
use orlop_core::runtime::MountSource;
use orlop_runtime_mock::Policy;
use serde_json::json;

use crate::world::{World, config, pod, pods};

fn world() -> World {
    let mut world = World::new(config(), Policy::default());
    let object = |kind: &str, name: &str, data| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "data": data});
    let settings = object("ConfigMap", "settings", json!({"colour": "blue", "size": "9"}));
    world.put(&Kind::namespaced("", "v1", "ConfigMap", "configmaps"), settings);
    let keys = object("Secret", "keys", json!({"key": "c2VjcmV0"}));
    world.put(&Kind::namespaced("", "v1", "Secret", "secrets"), keys);
    world
}

/// The mounts of a pod's container, once it runs.
fn check(yaml: &str, expected: Expect) {
    let mut world = world();
    let mut pod = pod(yaml);
    pod["metadata"]["labels"] = json!({"app": "web", "tier": "say \"hi\"\n"});
    world.put(&pods(), pod);
    world.run(3.0);
    let mut out = String::new();
    let (_, spec, _) = world.machine.running().next().expect("it runs");
    for mount in &spec.mounts {
        let mode = if mount.read_only { "ro" } else { "rw" };
        match &mount.source {
            MountSource::Files(files) => {
                writeln!(out, "{} {mode}", mount.path).unwrap();
                for (path, bytes) in files {
                    writeln!(out, "  {path}: {}", String::from_utf8_lossy(bytes).replace('\n', " | "))
                        .unwrap();
                }
            }
            other => writeln!(out, "{} {mode} {other:?}", mount.path).unwrap(),
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn objects_are_shown_as_files_by_key() {
    check(
        "
name: web
volumes:
- {name: all, configMap: {name: settings}}
- {name: some, secret: {secretName: keys, items: [{key: key, path: deep/private}]}}
- {name: none, configMap: {name: absent, optional: true}}
- {name: work, emptyDir: {}}
containers:
- name: main
  volumeMounts:
  - {name: all, mountPath: /all}
  - {name: some, mountPath: /some}
  - {name: none, mountPath: /none}
  - {name: work, mountPath: /work}
",
        expect![[r#"
            /all ro
              colour: blue
              size: 9
            /some ro
              deep/private: secret
            /none ro
            /work rw Empty
        "#]],
    );
}

/// The downward API and projected volumes were empty directories.
#[test]
fn a_pod_is_shown_to_itself() {
    check(
        "
name: web
volumes:
- name: info
  downwardAPI:
    items:
    - {path: labels, fieldRef: {fieldPath: metadata.labels}}
    - {path: name, fieldRef: {fieldPath: metadata.name}}
    - {path: app, fieldRef: {fieldPath: \"metadata.labels['app']\"}}
    - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
- name: together
  projected:
    sources:
    - {configMap: {name: settings, items: [{key: size, path: size}]}}
    - {secret: {name: keys}}
    - {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}
    - {serviceAccountToken: {path: token}}
containers:
- name: main
  resources: {limits: {cpu: 250m}}
  volumeMounts:
  - {name: info, mountPath: /info}
  - {name: together, mountPath: /together}
",
        expect![[r#"
            /info ro
              app: web
              cpu: 250
              labels: app="web" | tier="say \"hi\"\n"
              name: web
            /together ro
              key: secret
              namespace: default
              size: 9
        "#]],
    );
}

/// A file that was mounted by `subPath` appeared as a directory with all files.
#[test]
fn a_part_of_a_volume_is_mounted_alone() {
    check(
        "
name: web
volumes:
- {name: settings, configMap: {name: settings, items: [{key: colour, path: look/colour}, {key: size, path: size}]}}
- {name: host, hostPath: {path: /data/}}
containers:
- name: main
  env: [{name: WHICH, value: size}]
  volumeMounts:
  - {name: settings, mountPath: /etc/colour.conf, subPath: look/colour}
  - {name: settings, mountPath: /etc/look, subPath: look}
  - {name: settings, mountPath: /etc/size.conf, subPathExpr: $(WHICH)}
  - {name: settings, mountPath: /etc/nothing, subPath: siz}
  - {name: host, mountPath: /logs, subPath: logs/web}
",
        expect![[r#"
            /etc/colour.conf ro
              : blue
            /etc/look ro
              colour: blue
            /etc/size.conf ro
              : 9
            /etc/nothing ro
            /logs rw Host("/data/logs/web")
        "#]],
    );
}

/// A key that does not exist holds the pod back until it does.
#[test]
fn a_key_is_waited_for() {
    let mut world = world();
    world.trace.clear();
    world.pod(
        "{name: web, volumes: [{name: v, configMap: {name: settings, items: [{key: shape, path: shape}]}}]}",
    );
    world.run(5.0);
    let told =
        "MountVolume.SetUp failed for volume \"v\" : configmap references non-existent config key: shape";
    assert_eq!(world.trace.matches(told).count(), 1, "{}", world.trace);
    assert_eq!(world.machine.running().count(), 0);
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default", "uid": "u"},
        "data": {"shape": "round"},
    });
    world.put(&Kind::namespaced("", "v1", "ConfigMap", "configmaps"), settings);
    world.run(5.0);
    assert_eq!(world.machine.running().count(), 1, "{}", world.trace);
}

/// What variables hold was never looked at: `..` led to any file of the machine.
#[test]
fn no_variable_leads_out_of_a_volume() {
    for (value, message) in [("../../etc", true), ("/etc", true), ("logs/..x", false)] {
        let mut world = world();
        world.put(
            &pods(),
            pod(&format!(
                "
name: web
volumes:
- {{name: host, hostPath: {{path: /data}}}}
containers:
- name: main
  env: [{{name: WHERE, value: {value:?}}}]
  volumeMounts:
  - {{name: host, mountPath: /host, subPathExpr: $(WHERE)}}
"
            )),
        );
        world.run(3.0);
        let status = &world.get("web").expect("it is there")["status"]["containerStatuses"][0]["state"];
        let waiting = &status["waiting"];
        assert_eq!(waiting["reason"] == "CreateContainerConfigError", message, "{value}: {status}");
        if message {
            let expected = format!("subPath {value:?} leads out of volume host");
            assert!(waiting["message"].as_str().is_some_and(|m| m.contains(&expected)), "{status}");
        }
    }
}
