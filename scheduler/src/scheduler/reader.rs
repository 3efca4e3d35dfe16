//! Facts of pods, most of which are like one that was read before: [`Reader`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use orlop_core::body::Malformed;
use orlop_core::kinds::Pod;
use orlop_core::{Body, Key, Object, Stored};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::facts::PodFacts;

/// So many pods that others may be like are kept.
const SAMPLES: usize = 16;
/// So many lengths of pods that came once are remembered.
const LENGTHS: usize = 64;
/// What the names of the volumes begin with that the API adds for a pod's token; then comes chance.
const TOKEN_VOLUME: &str = "kube-api-access-";
/// How much chance.
const CHANCE: usize = 5;

/// Reads the facts of pods. Pods that come of one template differ in their metadata, of which a body's header has what
/// counts, and in the names of the volumes that the API has added. Where a pod's text is otherwise that of one that was
/// read before, so are its facts, and it costs a comparison instead of a decoding.
#[derive(Default)]
pub(super) struct Reader {
    /// Those that were met last come first.
    samples: VecDeque<Sample>,
    /// How long pods are behind their metadata that came once: only what comes again becomes a sample.
    lengths: VecDeque<usize>,
}

/// A pod that others may be like.
struct Sample {
    body: Arc<Body>,
    /// Where its metadata ends. What follows is its *rest*.
    start: usize,
    /// Where in that the letters are that differ from pod to pod, and say nothing.
    chance: Vec<Range<usize>>,
    facts: Arc<PodFacts>,
    /// Nothing in the facts was made of the pod's labels or namespace but these themselves.
    any_labels: bool,
}

impl Reader {
    /// The facts of a pod.
    ///
    /// # Errors
    /// When it is not of a Pod's form.
    pub(super) fn read(&mut self, key: &Key, stored: &Stored) -> Result<PodFacts, Malformed> {
        if let Some(at) = self.samples.iter().position(|sample| sample.is_like(key, stored)) {
            if at > 0
                && let Some(sample) = self.samples.remove(at)
            {
                self.samples.push_front(sample);
            }
            return Ok(self.samples[0].facts_of(key, stored));
        }
        let pod = stored.decode::<Pod>()?;
        let facts = PodFacts::from(&pod);
        self.keep(&pod, &facts, stored);
        Ok(facts)
    }

    fn keep(&mut self, pod: &Pod, facts: &PodFacts, stored: &Stored) {
        // What is on a node differs in what the node says of it.
        if !facts.node.is_empty() {
            return;
        }
        let Some(start) = rest_of(stored) else { return };
        let len = stored.body.bytes().len() - start;
        if !self.lengths.contains(&len) {
            self.lengths.truncate(LENGTHS - 1);
            self.lengths.push_front(len);
            return;
        }
        if let Some(sample) = Sample::of(pod, facts, stored, start) {
            self.samples.truncate(SAMPLES - 1);
            self.samples.push_front(sample);
        }
    }
}

/// Where the metadata ends, if the pod's spec and status are behind it.
fn rest_of(stored: &Stored) -> Option<usize> {
    #[derive(Deserialize)]
    struct Parts<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
        #[serde(borrow)]
        spec: &'a RawValue,
        #[serde(borrow)]
        status: Option<&'a RawValue>,
    }
    let bytes = stored.body.bytes();
    let parts: Parts<'_> = serde_json::from_slice(bytes).ok()?;
    let at = |part: &RawValue| part.get().as_ptr().addr() - bytes.as_ptr().addr();
    let end = at(parts.metadata) + parts.metadata.get().len();
    let behind = at(parts.spec) > end && parts.status.is_none_or(|status| at(status) > end);
    behind.then_some(end)
}

impl Sample {
    fn of(pod: &Pod, facts: &PodFacts, stored: &Stored, start: usize) -> Option<Sample> {
        // The name of a claim that is made for a pod has the pod's own.
        if facts.is_terminating() || facts.claims.iter().any(|claim| claim.ephemeral) {
            return None;
        }
        let text = std::str::from_utf8(&stored.body.bytes()[start..]).ok()?;
        let mut chance = Vec::new();
        for volume in &pod.spec.volumes {
            let name = volume.name.as_str();
            if name.len() == TOKEN_VOLUME.len() + CHANCE && name.starts_with(TOKEN_VOLUME) {
                let quoted = format!("\"name\":\"{name}\"");
                let ends = text.match_indices(&quoted).map(|(at, _)| at + quoted.len() - 1);
                chance.extend(ends.map(|end| end - CHANCE..end));
            }
        }
        chance.sort_unstable_by_key(|letters| letters.start);
        let any_labels = facts.affinity.is_empty()
            && facts.anti_affinity.is_empty()
            && facts.preferred_affinity.is_empty()
            && facts.spread.is_empty();
        let body = stored.body.clone();
        let sample = Sample { body, start, chance, facts: Arc::new(facts.clone()), any_labels };
        sample.holds().then_some(sample)
    }

    fn rest(&self) -> &[u8] {
        &self.body.bytes()[self.start..]
    }

    /// Whether other letters make the same facts.
    fn holds(&self) -> bool {
        if self.chance.is_empty() {
            return true;
        }
        let mut other = self.body.bytes().to_vec();
        for (n, letters) in self.chance.iter().enumerate() {
            for byte in &mut other[self.start + letters.start..self.start + letters.end] {
                *byte = b'a' + u8::try_from(n % 26).unwrap_or(0);
            }
        }
        Pod::from_json(&other).is_ok_and(|pod| PodFacts::from(&pod) == *self.facts)
    }

    /// Whether a pod has the same facts but for who it is.
    ///
    /// What follows upon the sample's metadata is balanced and begins with a comma and a quoted name: at the end of another
    /// text that is well-formed it can only be the same part of that.
    fn is_like(&self, key: &Key, stored: &Stored) -> bool {
        let bytes = stored.body.bytes();
        let known = self.rest();
        let Some(start) = bytes.len().checked_sub(known.len()) else { return false };
        let rest = &bytes[start..];
        let mut at = 0;
        for letters in &self.chance {
            let plain = rest[letters.clone()].iter().all(u8::is_ascii_alphanumeric);
            if !plain || rest[at..letters.start] != known[at..letters.start] {
                return false;
            }
            at = letters.end;
        }
        let header = stored.body.header();
        rest[at..] == known[at..]
            && header.deleted.is_none()
            && (self.any_labels
                || (key.namespace == self.facts.key.namespace
                    && header.labels.iter().map(|(k, v)| (k, v)).eq(&self.facts.labels)))
    }

    fn facts_of(&self, key: &Key, stored: &Stored) -> PodFacts {
        let header = stored.body.header();
        let mut facts = PodFacts::clone(&self.facts);
        facts.key = key.clone();
        facts.uid = header.uid.clone();
        facts.owner = header.owners.iter().find(|owner| owner.controller).cloned();
        facts.created = header.created;
        if self.any_labels {
            facts.labels = header.labels.iter().cloned().collect();
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use orlop_core::Revision;
    use serde_json::{Value, json};

    use super::*;

    fn stored(pod: &Value) -> Stored {
        let body = Body::parse(pod.to_string().into()).expect("an object");
        Stored { body: Arc::new(body), revision: Revision(1) }
    }

    fn pod(n: usize) -> Value {
        let volume = format!("{TOKEN_VOLUME}x{:04}", n * 7);
        json!({
            "kind": "Pod",
            "metadata": {
                "name": format!("p{n}"), "namespace": "default", "uid": format!("uid-{n}"),
                "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", n % 60),
                "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Set", "name": format!("s{n}"), "uid": "u",
                    "controller": true}],
            },
            "spec": {
                "volumes": [{"name": volume, "projected": {}}],
                "containers": [{
                    "name": "c", "image": "x", "resources": {"requests": {"cpu": "100m"}},
                    "volumeMounts": [{"name": volume, "mountPath": "/t"}],
                }],
            },
            "status": {"phase": "Pending"},
        })
    }

    /// Reads pods one after the other and compares with what each says itself; answers how many were like another.
    fn check(pods: impl IntoIterator<Item = Value>) -> usize {
        let mut reader = Reader::default();
        let mut like = 0;
        for pod in pods {
            let stored = stored(&pod);
            let facts = PodFacts::from(&stored.decode::<Pod>().expect("a pod"));
            like += usize::from(reader.samples.iter().any(|sample| sample.is_like(&facts.key, &stored)));
            assert_eq!(reader.read(&facts.key, &stored).expect("a pod"), facts, "{pod}");
        }
        like
    }

    #[test]
    fn pods_of_a_template_are_alike() {
        assert_eq!(check((0..10).map(pod)), 8);
        let labelled = |n: usize| {
            let mut pod = pod(n);
            pod["metadata"]["labels"] = json!({"app": format!("web-{n}"), "n": "1"});
            pod["metadata"]["namespace"] = format!("ns-{n}").into();
            pod
        };
        assert_eq!(check((0..10).map(labelled)), 8);
    }

    /// Each differs from the others in one thing that counts, at the same length.
    #[test]
    fn what_counts_is_seen() {
        let changed = |n: usize, change: fn(&mut Value)| {
            let mut pod = pod(n);
            change(&mut pod);
            pod
        };
        let changes: [fn(&mut Value); 8] = [
            |_| {},
            |pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m".into(),
            |pod| pod["spec"]["containers"][0]["image"] = "y".into(),
            |pod| pod["spec"]["nodeName"] = "a".into(),
            |pod| pod["spec"]["nodeName"] = "b".into(),
            |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
            |pod| pod["status"]["phase"] = "Success".into(),
            |pod| pod["status"]["phase"] = "Succeeded".into(),
        ];
        let pods = (0..4).flat_map(|round| {
            changes.into_iter().enumerate().map(move |(n, change)| changed(round * 8 + n, change))
        });
        assert!(check(pods) > 0);
    }

    /// Where facts were made of labels and namespaces, those must be the same, too.
    #[test]
    fn terms_are_made_of_labels() {
        let spread = |n: usize| {
            let mut pod = pod(n);
            pod["metadata"]["labels"]["app"] = format!("web-{}", n % 2).into();
            pod["spec"]["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {}, "matchLabelKeys": ["app"],
            }]);
            pod
        };
        assert!(check((0..12).map(spread)) > 0);
        let near = |n: usize| {
            let mut pod = pod(n);
            pod["metadata"]["namespace"] = format!("ns-{}", n % 2).into();
            pod["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                [{"labelSelector": {}, "topologyKey": "zone"}]}});
            pod
        };
        assert!(check((0..12).map(near)) > 0);
    }

    /// A gate may be called like the volume: then the letters count.
    #[test]
    fn a_name_that_counts_is_no_chance() {
        let gated = |n: usize| {
            let mut pod = pod(n);
            pod["spec"]["schedulingGates"] = json!([{"name": pod["spec"]["volumes"][0]["name"]}]);
            pod
        };
        assert_eq!(check((0..10).map(gated)), 0);
        let claims = |n: usize| {
            let mut pod = pod(n);
            pod["spec"]["volumes"][0] = json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {}}});
            pod
        };
        assert_eq!(check((0..10).map(claims)), 0);
    }
}
