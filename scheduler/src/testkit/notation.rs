//! A cluster in a small notation, to be read and to be pasted into a test: [`Scene`].

use std::fmt;
use std::str::FromStr;

use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim, StorageClass};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::facts::{NodeFacts, PodFacts};
use crate::snapshot::Snapshot;
use crate::volumes::{ClaimFacts, ClassFacts, VolumeFacts};

/// A cluster, one object a line.
///
/// ```text
/// node a  cpu=4 mem=8Gi pods=10 gpu=2 zone=x disk=ssd taint=gpu:NoSchedule cordoned image=ml:2@3000000
/// pod  p1 cpu=1 on=a app=web prio=5 port=80 tolerate=gpu select=disk:ssd near=app:web/zone apart=app:web/host
/// pod  p2 spread=zone:1 gate=later by=other-scheduler claim=data prefer=zone:x
/// class fast wait makes
/// claim data class=fast size=1Gi mode=ReadWriteOnce volume=v1
/// volume v1 class=fast size=2Gi zone=x for=data
/// ```
/// `res:example.com/disk=2` is any other resource, of a node or asked for by a pod. Words that are not known are labels. A node has its `kubernetes.io/hostname`; `zone` and `host` stand for the
/// well-known labels. Pods without `on` are pending. All is in namespace `default`.
///
/// A scene prints as what it is read from, but for the white space.
///
/// ```
/// use orlop_scheduler::testkit::Scene;
///
/// let scene: Scene = "node a cpu=2\npod p cpu=1".parse()?;
/// assert_eq!(scene.to_string(), "node a cpu=2\npod p cpu=1\n");
/// assert_eq!(scene.pending()[0].requests.cpu_milli, 1000);
/// assert!("nod a".parse::<Scene>().is_err());
/// # Ok::<(), orlop_scheduler::testkit::BadLine>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The lines.
    pub lines: Vec<Line>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `node`, `pod`, `class`, `claim` or `volume`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What is said of it: words, some with a value.
    pub words: Vec<(String, Option<String>)>,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line:?}: {message}")]
pub struct BadLine {
    /// The line.
    pub line: String,
    /// What is wrong with it.
    pub message: String,
}

const KINDS: [&str; 5] = ["node", "pod", "class", "claim", "volume"];

impl FromStr for Line {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Line, BadLine> {
        let bad = |message: &str| BadLine { line: text.to_owned(), message: message.to_owned() };
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        let kind = KINDS.into_iter().find(|kind| *kind == first);
        let kind = kind.ok_or_else(|| bad("begins with none of node, pod, class, claim, volume"))?;
        let name = words.next().ok_or_else(|| bad("has no name"))?.to_owned();
        let words = words.map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
        let line = Line { kind, name, words: words.collect() };
        // What is wrong with the words shows when they are used.
        line.change().map_err(|message| bad(&message))?;
        Ok(line)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        self.words.iter().try_for_each(|(key, value)| match value {
            Some(value) => write!(f, " {key}={value}"),
            None => write!(f, " {key}"),
        })
    }
}

impl FromStr for Scene {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Scene, BadLine> {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).map(str::parse);
        Ok(Scene { lines: lines.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Scene {
    /// The cluster: everything but the pending pods.
    ///
    /// # Panics
    /// When a line that was not parsed but made is wrong.
    pub fn snapshot(&self) -> Snapshot {
        let mut cluster = Snapshot::new();
        self.lines.iter().for_each(|line| cluster.apply(line.known_change()));
        cluster
    }

    /// The pods that are on no node, in the order of the lines.
    ///
    /// # Panics
    /// When a line that was not parsed but made is wrong.
    pub fn pending(&self) -> Vec<PodFacts> {
        let pods = self.lines.iter().filter(|line| line.kind == "pod" && line.get("on").is_none());
        pods.filter_map(|line| match line.known_change() {
            Change::Pod(facts) => Some(facts),
            _ => None,
        })
        .collect()
    }

    /// The scenes with one line or one word less; a node and a pending pod remain.
    pub(super) fn smaller(&self) -> impl Iterator<Item = Scene> + '_ {
        let remains = |scene: &Scene| {
            let is_pending = |line: &Line| line.kind == "pod" && line.get("on").is_none();
            scene.lines.iter().any(|line| line.kind == "node") && scene.lines.iter().any(is_pending)
        };
        let fewer_lines = (0..self.lines.len()).rev().map(|at| {
            let mut scene = self.clone();
            scene.lines.remove(at);
            scene
        });
        let fewer_words = self.lines.iter().enumerate().flat_map(move |(at, line)| {
            // A bound pod stays bound.
            let words = (0..line.words.len()).filter(|word| line.words[*word].0 != "on");
            words.map(move |word| {
                let mut scene = self.clone();
                scene.lines[at].words.remove(word);
                scene
            })
        });
        fewer_lines.chain(fewer_words).filter(remains)
    }

    /// The cluster, and the same built up in the opposite order.
    pub(super) fn both_ways(&self) -> (Snapshot, Snapshot) {
        let changes: Vec<Change> = self.lines.iter().map(Line::known_change).collect();
        let (mut there, mut back) = (Snapshot::new(), Snapshot::new());
        changes.iter().rev().cloned().for_each(|change| back.apply(change));
        changes.into_iter().for_each(|change| there.apply(change));
        (there, back)
    }
}

fn topology(key: &str) -> &str {
    match key {
        "zone" => "topology.kubernetes.io/zone",
        "host" => "kubernetes.io/hostname",
        other => other,
    }
}

/// What a word's value must look like, as an error.
fn split<'a>(key: &str, value: &'a str, by: char, form: &str) -> Result<(&'a str, &'a str), String> {
    value.split_once(by).ok_or_else(|| format!("{key}={value}: is to be {form}"))
}

fn number(key: &str, value: &str) -> Result<i64, String> {
    value.parse().map_err(|_| format!("{key}={value}: is to be a number"))
}

impl Line {
    fn get(&self, key: &str) -> Option<&str> {
        self.words.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_deref().unwrap_or_default())
    }

    fn known_change(&self) -> Change {
        self.change().unwrap_or_else(|message| panic!("{self}: {message}"))
    }

    /// The object of the API.
    ///
    /// # Errors
    /// Says which word is wrong.
    pub fn object(&self) -> Result<Value, String> {
        match self.kind {
            "node" => self.node(),
            "pod" => self.pod(),
            "class" => Ok(self.class()),
            "claim" => Ok(self.claim()),
            _ => Ok(self.volume()),
        }
    }

    /// What a snapshot is told of it.
    ///
    /// # Errors
    /// Says which word is wrong.
    pub fn change(&self) -> Result<Change, String> {
        let object = self.object()?;
        let wrong = |error: serde_json::Error| error.to_string();
        Ok(match self.kind {
            "node" => Change::Node(NodeFacts::from_json(&object).map_err(wrong)?),
            "pod" => Change::Pod(PodFacts::from_json(&object).map_err(wrong)?),
            "class" => Change::Class(ClassFacts::from(&StorageClass::deserialize(&object).map_err(wrong)?)),
            "claim" => {
                Change::Claim(ClaimFacts::from(&PersistentVolumeClaim::deserialize(&object).map_err(wrong)?))
            }
            _ => Change::Volume(VolumeFacts::from(&PersistentVolume::deserialize(&object).map_err(wrong)?)),
        })
    }

    fn node(&self) -> Result<Value, String> {
        let name = &self.name;
        let mut node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
        });
        let mut taints = Vec::new();
        for (key, value) in &self.words {
            let value = value.as_deref().unwrap_or_default();
            let allocatable = &mut node["status"]["allocatable"];
            match key.as_str() {
                "cpu" | "pods" => allocatable[key] = value.into(),
                "mem" => allocatable["memory"] = value.into(),
                "gpu" => allocatable["example.com/gpu"] = value.into(),
                "cordoned" => node["spec"]["unschedulable"] = true.into(),
                "image" => {
                    let (name, size) = split(key, value, '@', "NAME@BYTES")?;
                    node["status"]["images"] = json!([{"names": [name], "sizeBytes": number(key, size)?}]);
                }
                "taint" => {
                    let (key, effect) = split(key, value, ':', "KEY:EFFECT")?;
                    taints.push(json!({"key": key, "effect": effect}));
                }
                key => match key.strip_prefix("res:") {
                    Some(resource) => allocatable[resource] = value.into(),
                    None => node["metadata"]["labels"][topology(key)] = value.into(),
                },
            }
        }
        node["spec"]["taints"] = taints.into();
        Ok(node)
    }

    fn pod(&self) -> Result<Value, String> {
        let name = &self.name;
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {}},
            "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {}}}]},
        });
        for (key, value) in &self.words {
            let value = value.as_deref().unwrap_or_default();
            pod_word(&mut pod, key, value)?;
        }
        // An empty selector counts nothing: pods are spread with those of their own labels.
        let labels = pod["metadata"]["labels"].clone();
        let constraints = pod["spec"].get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
        for constraint in constraints.into_iter().flatten() {
            constraint["labelSelector"] = json!({"matchLabels": labels});
        }
        Ok(pod)
    }

    fn class(&self) -> Value {
        let has = |word: &str| self.words.iter().any(|(key, _)| key == word);
        json!({
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": self.name},
            "provisioner": if has("makes") { "example.com/disks" } else { "kubernetes.io/no-provisioner" },
            "volumeBindingMode": if has("wait") { "WaitForFirstConsumer" } else { "Immediate" },
        })
    }

    fn claim(&self) -> Value {
        let (name, volume) = (&self.name, self.get("volume"));
        let mut claim = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "annotations": {}},
            "spec": {
                "accessModes": [self.get("mode").unwrap_or("ReadWriteOnce")],
                "resources": {"requests": {"storage": self.get("size").unwrap_or("1Gi")}},
                "storageClassName": self.get("class").unwrap_or_default(),
            },
            "status": {"phase": if volume.is_some() { "Bound" } else { "Pending" }},
        });
        if let Some(volume) = volume {
            claim["spec"]["volumeName"] = volume.into();
            claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
        }
        claim
    }

    fn volume(&self) -> Value {
        let mut volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.name, "labels": {}},
            "spec": {
                "accessModes": ["ReadWriteOnce", "ReadWriteOncePod"],
                "capacity": {"storage": self.get("size").unwrap_or("1Gi")},
                "storageClassName": self.get("class").unwrap_or_default(),
            },
            "status": {"phase": if self.get("for").is_some() { "Bound" } else { "Available" }},
        });
        if let Some(zone) = self.get("zone") {
            let key = topology("zone");
            volume["metadata"]["labels"][key] = zone.into();
            let term = json!({"matchExpressions": [{"key": key, "operator": "In", "values": [zone]}]});
            volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [term]}});
        }
        if let Some(claim) = self.get("for") {
            volume["spec"]["claimRef"] =
                json!({"namespace": "default", "name": claim, "uid": format!("uid-{claim}")});
        }
        volume
    }
}

/// Adds to a list in a pod's spec.
fn push(pod: &mut Value, at: &[&str], item: Value) {
    let mut here = &mut pod["spec"];
    for key in at {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        here = &mut here[*key];
    }
    match here {
        Value::Array(items) => items.push(item),
        none => *none = json!([item]),
    }
}

fn pod_word(pod: &mut Value, key: &str, value: &str) -> Result<(), String> {
    let container = &mut pod["spec"]["containers"][0];
    match key {
        "cpu" => container["resources"]["requests"]["cpu"] = value.into(),
        "mem" => container["resources"]["requests"]["memory"] = value.into(),
        "gpu" => container["resources"]["requests"]["example.com/gpu"] = value.into(),
        "image" => container["image"] = value.into(),
        "port" => {
            let port = number(key, value)?;
            container["ports"] = json!([{"containerPort": port, "hostPort": port}]);
        }
        "on" => pod["spec"]["nodeName"] = value.into(),
        "prio" => pod["spec"]["priority"] = number(key, value)?.into(),
        "by" => pod["spec"]["schedulerName"] = value.into(),
        "gang" => pod["spec"]["schedulingGroup"] = json!({"podGroupName": value}),
        "gate" => push(pod, &["schedulingGates"], json!({"name": value})),
        "tolerate" => push(pod, &["tolerations"], json!({"key": value, "operator": "Exists"})),
        "claim" => {
            push(pod, &["volumes"], json!({"name": value, "persistentVolumeClaim": {"claimName": value}}));
        }
        "select" => {
            let (key, value) = split(key, value, ':', "KEY:VALUE")?;
            pod["spec"]["nodeSelector"] = json!({topology(key): value});
        }
        "prefer" => {
            let (key, value) = split(key, value, ':', "KEY:VALUE")?;
            let term =
                json!({"matchExpressions": [{"key": topology(key), "operator": "In", "values": [value]}]});
            let at = ["affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution"];
            push(pod, &at, json!({"weight": 1, "preference": term}));
        }
        "near" | "apart" => {
            let (labels, topology_key) = split(key, value, '/', "LABEL:VALUE/TOPOLOGY")?;
            let (label, text) = split(key, labels, ':', "LABEL:VALUE/TOPOLOGY")?;
            let kind = if key == "near" { "podAffinity" } else { "podAntiAffinity" };
            let at = ["affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution"];
            let selector = json!({"matchLabels": {label: text}});
            push(pod, &at, json!({"labelSelector": selector, "topologyKey": topology(topology_key)}));
        }
        "spread" => {
            let (over, skew) = split(key, value, ':', "TOPOLOGY:SKEW")?;
            let constraint = json!({
                "topologyKey": topology(over),
                "maxSkew": number(key, skew)?,
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {},
            });
            push(pod, &["topologySpreadConstraints"], constraint);
        }
        key => match key.strip_prefix("res:") {
            Some(resource) => container["resources"]["requests"][resource] = value.into(),
            None => pod["metadata"]["labels"][key] = value.into(),
        },
    }
    Ok(())
}
