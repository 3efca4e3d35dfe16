//! Turns notes into Event objects, and keeps a noisy source from flooding the store: [`Recorder`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::json;

use crate::object::{Key, Kind, Name};
use crate::plan::{Action, Failure, FailureReason, Note, Write};
use crate::time::Timestamp;

/// The kind of Event objects.
pub const EVENT: Kind = Kind::namespaced("", "v1", "Event", "events");

/// How many different messages of one kind of event are written within [`SIMILAR_WINDOW`] before they are combined.
const SIMILAR_MAX: usize = 10;
/// How long events count as similar.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// How many events one source may write about one object at once.
const BURST: f64 = 25.0;
/// How long it takes until one more may be written.
const REFILL: Duration = Duration::from_secs(300);
/// How many events, kinds of event and sources are remembered.
const REMEMBERED: usize = 4096;

/// Writes Events as client-go's recorder does: an event that was told before is counted, many that differ in their
/// message alone are combined after ten in ten minutes, and one source may write 25 about one object, then one in
/// five minutes.
#[derive(Default)]
pub struct Recorder {
    told: Remembered<Told>,
    similar: Remembered<Similar>,
    spam: Remembered<Bucket>,
    last_stamp: i64,
}

/// An event that was written.
struct Told {
    key: Key,
    component: String,
    note: Note,
    count: u32,
    first: Timestamp,
}

/// Messages of one kind of event.
struct Similar {
    messages: Vec<String>,
    last: Timestamp,
}

/// What one source may still write about one object.
struct Bucket {
    tokens: f64,
    last: Timestamp,
}

impl Recorder {
    /// A recorder that has told nothing yet.
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// The write that makes `note` of `component` known; `None` where it would be spam.
    pub fn record(&mut self, now: Timestamp, component: &str, mut note: Note) -> Option<Write> {
        let about = &note.about;
        let source =
            format!("{component}\0{}\0{}\0{}\0{}", about.api_version, about.kind, about.key, about.uid);
        if !self.may_write(&source, now) {
            return None;
        }
        let kind = format!("{source}\0{}\0{}\0{}", about.field_path, note.warning, note.reason);
        let combined = self.combine(&kind, &note.message, now);
        if combined {
            note.message.insert_str(0, "(combined from similar events): ");
        }
        let event = if combined { kind } else { format!("{kind}\0{}", note.message) };
        if let Some(told) = self.told.get(&event) {
            told.count += 1;
            let patch = json!({
                "count": told.count,
                "lastTimestamp": now.to_string(),
                "message": note.message,
            });
            return Some(Write::merge(EVENT, told.key.clone(), patch));
        }
        // Two events of one moment still get two names.
        self.last_stamp = now.nanos().max(self.last_stamp + 1);
        let name = smol_str::format_smolstr!("{}.{:x}", note.about.key.name, self.last_stamp);
        let namespace = match note.about.key.namespace.as_str() {
            "" => Name::new_static("default"),
            namespace => Name::from(namespace),
        };
        let key = Key { namespace, name };
        let object = event_object(&key, component, &note, 1, now, now);
        self.told.put(event, Told { key, component: component.to_owned(), note, count: 1, first: now });
        Some(Write::create(EVENT, object))
    }

    /// What to write instead when a write of this recorder failed: an event that was to be counted may have expired
    /// meanwhile, and is written anew.
    pub fn on_failure(&mut self, now: Timestamp, write: &Write, failure: &Failure) -> Option<Write> {
        if failure.reason != FailureReason::NotFound || !matches!(write.action, Action::Merge(_)) {
            return None;
        }
        let told = self.told.values().find(|told| told.key == write.key)?;
        Some(Write::create(
            EVENT,
            event_object(&told.key, &told.component, &told.note, told.count, told.first, now),
        ))
    }

    fn may_write(&mut self, source: &str, now: Timestamp) -> bool {
        let Some(bucket) = self.spam.get(source) else {
            self.spam.put(source.to_owned(), Bucket { tokens: BURST - 1.0, last: now });
            return true;
        };
        let refill = now.since(bucket.last).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.last = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    fn combine(&mut self, kind: &str, message: &str, now: Timestamp) -> bool {
        let Some(similar) = self.similar.get(kind) else {
            self.similar.put(kind.to_owned(), Similar { messages: vec![message.to_owned()], last: now });
            return false;
        };
        if now.since(similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < SIMILAR_MAX && !similar.messages.iter().any(|m| m == message) {
            similar.messages.push(message.to_owned());
        }
        similar.messages.len() >= SIMILAR_MAX
    }
}

fn event_object(
    key: &Key,
    component: &str,
    note: &Note,
    count: u32,
    first: Timestamp,
    last: Timestamp,
) -> serde_json::Value {
    let about = &note.about;
    let mut involved = json!({"kind": about.kind, "name": about.key.name, "apiVersion": about.api_version});
    for (field, text) in [
        ("namespace", &about.key.namespace),
        ("uid", &about.uid),
        ("resourceVersion", &about.resource_version),
        ("fieldPath", &about.field_path),
    ] {
        if !text.is_empty() {
            involved[field] = text.as_str().into();
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "involvedObject": involved,
        "reason": note.reason,
        "message": note.message,
        "source": {"component": component},
        "firstTimestamp": first.to_string(),
        "lastTimestamp": last.to_string(),
        "count": count,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reportingComponent": component,
        "reportingInstance": "",
    })
}

/// A map that forgets what came in first.
struct Remembered<V> {
    map: BTreeMap<String, V>,
    order: VecDeque<String>,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Remembered { map: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<V> Remembered<V> {
    fn get(&mut self, key: &str) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }

    fn put(&mut self, key: String, value: V) {
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.map.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Reference;

    fn note(message: &str) -> Note {
        let about = Reference { kind: "Pod".into(), key: Key::new("default", "web"), ..Reference::default() };
        Note { about, warning: true, reason: "BackOff".into(), message: message.to_owned() }
    }

    fn told(recorder: &mut Recorder, secs: i64, message: &str) -> String {
        match recorder.record(Timestamp::from_secs(secs), "kubelet", note(message)).map(|w| w.action) {
            None => "nothing".into(),
            Some(Action::Create(event)) => format!("new: {}", event["message"].as_str().unwrap()),
            Some(Action::Merge(patch)) => {
                format!("x{}: {}", patch["count"], patch["message"].as_str().unwrap())
            }
            Some(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn counts_what_was_told_before() {
        let mut recorder = Recorder::new();
        assert_eq!(told(&mut recorder, 1, "again"), "new: again");
        assert_eq!(told(&mut recorder, 2, "again"), "x2: again");
        assert_eq!(told(&mut recorder, 3, "other"), "new: other");
    }

    #[test]
    fn combines_what_differs_in_its_message_alone() {
        let mut recorder = Recorder::new();
        for n in 1..10 {
            assert_eq!(told(&mut recorder, n, &format!("try {n}")), format!("new: try {n}"));
        }
        assert_eq!(told(&mut recorder, 10, "try 10"), "new: (combined from similar events): try 10");
        assert_eq!(told(&mut recorder, 11, "try 11"), "x2: (combined from similar events): try 11");
        assert_eq!(told(&mut recorder, 700, "try 12"), "new: try 12");
    }

    #[test]
    fn a_noisy_source_is_slowed_down() {
        let mut recorder = Recorder::new();
        let written = (0..40).filter(|_| told(&mut recorder, 1, "noise") != "nothing").count();
        assert_eq!(written, 25);
        assert_eq!(told(&mut recorder, 302, "noise"), "x26: noise");
    }

    #[test]
    fn an_expired_event_is_written_anew() {
        let mut recorder = Recorder::new();
        told(&mut recorder, 1, "again");
        let at = Timestamp::from_secs(2);
        let count = recorder.record(at, "kubelet", note("again")).unwrap();
        let gone = Failure { reason: FailureReason::NotFound, message: String::new() };
        let anew = recorder.on_failure(at, &count, &gone).unwrap();
        assert!(matches!(anew.action, Action::Create(event) if event["count"] == 2));
    }
}
