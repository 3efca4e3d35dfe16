//! Turns notes into Event objects, and keeps a noisy source from flooding the store: [`Recorder`].

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHasher;
use serde_json::json;

use crate::object::{Key, Kind, Name};
use crate::plan::{Action, Failure, FailureReason, Note, Write};
use crate::rules::names;
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
/// five minutes. What is not written for that reason is counted nevertheless, and told with the next that is.
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

/// Messages of one kind of event, one less than are told apart.
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
        let kind = format!("{source}\0{}\0{}", note.warning, note.reason);
        let event = if self.combine(&kind, &note.message, now) {
            note.message.insert_str(0, "(combined from similar events): ");
            kind
        } else {
            format!("{kind}\0{}\0{}", about.field_path, note.message)
        };
        let write = self.observe(event, now, component, note);
        // client-go asks last: what is not written was counted.
        self.may_write(&source, now).then_some(write)
    }

    /// The write that counts the event, or makes it known.
    fn observe(&mut self, event: String, now: Timestamp, component: &str, note: Note) -> Write {
        if let Some(told) = self.told.get(&event) {
            told.count += 1;
            let patch = json!({
                "count": told.count,
                "lastTimestamp": now.to_string(),
                "message": note.message,
            });
            told.note.message = note.message;
            return Write::merge(EVENT, told.key.clone(), patch);
        }
        // Two events of one moment still get two names.
        self.last_stamp = now.nanos().max(self.last_stamp + 1);
        let namespace = match note.about.key.namespace.as_str() {
            "" => Name::new_static("default"),
            namespace => Name::from(namespace),
        };
        let key = Key { namespace, name: event_name(&note.about.key.name, self.last_stamp, &event) };
        let object = event_object(&key, component, &note, 1, now, now);
        self.told.put(event, Told { key, component: component.to_owned(), note, count: 1, first: now });
        Write::create(EVENT, object)
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
        if similar.messages.iter().any(|m| m == message) {
            return false;
        }
        // client-go takes the tenth in and any one of the ten out again. Here that is the tenth.
        let combined = similar.messages.len() + 1 >= SIMILAR_MAX;
        if !combined {
            similar.messages.push(message.to_owned());
        }
        combined
    }
}

/// The name of an Event: that of the object and the moment, and, where that is no name, a UUID made of the moment and
/// what the event says.
fn event_name(about: &str, stamp: i64, event: &str) -> Name {
    let name = smol_str::format_smolstr!("{about}.{stamp:x}");
    if names::dns_subdomain(&name).is_empty() {
        return name;
    }
    let mut hasher = FxHasher::default();
    event.hash(&mut hasher);
    let id = u128::from(stamp.unsigned_abs()) << 64 | u128::from(hasher.finish());
    crate::entropy::uuid(id.to_be_bytes())
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

/// A map that forgets what was not asked for the longest.
struct Remembered<V> {
    map: BTreeMap<Arc<str>, (u64, V)>,
    /// When each was last asked for, by a count of all that is asked.
    order: BTreeMap<u64, Arc<str>>,
    asked: u64,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Remembered { map: BTreeMap::new(), order: BTreeMap::new(), asked: 0 }
    }
}

impl<V> Remembered<V> {
    fn get(&mut self, key: &str) -> Option<&mut V> {
        let (last, value) = self.map.get_mut(key)?;
        self.asked += 1;
        if let Some(key) = self.order.remove(last) {
            self.order.insert(self.asked, key);
        }
        *last = self.asked;
        Some(value)
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values().map(|(_, value)| value)
    }

    /// Puts in what is not there.
    fn put(&mut self, key: String, value: V) {
        if self.map.len() >= REMEMBERED
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.map.remove(&oldest);
        }
        self.asked += 1;
        let key: Arc<str> = key.into();
        self.order.insert(self.asked, key.clone());
        self.map.insert(key, (self.asked, value));
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
        // What was told by itself goes on being counted by itself.
        assert_eq!(told(&mut recorder, 12, "try 1"), "x2: try 1");
        assert_eq!(told(&mut recorder, 700, "try 12"), "new: try 12");
    }

    /// Fields of one object are not kept apart when events are combined, only when they are counted.
    #[test]
    fn combines_over_all_fields_of_an_object() {
        let mut recorder = Recorder::new();
        let mut tell = |field: u8, message: &str| {
            let mut note = note(message);
            note.about.field_path = format!("spec.containers{{{field}}}").into();
            match recorder.record(Timestamp::from_secs(1), "kubelet", note).map(|write| write.action) {
                Some(Action::Create(event)) => event["message"].as_str().unwrap().to_owned(),
                other => format!("{other:?}"),
            }
        };
        for n in 1..10 {
            assert_eq!(tell(n, &format!("try {n}")), format!("try {n}"));
        }
        assert_eq!(tell(10, "try 10"), "(combined from similar events): try 10");
        assert_eq!(tell(2, "try 1"), "try 1", "the same message, of another field");
    }

    #[test]
    fn a_noisy_source_is_slowed_down() {
        let mut recorder = Recorder::new();
        let written = (0..40).filter(|_| told(&mut recorder, 1, "noise") != "nothing").count();
        assert_eq!(written, 25);
        // What was not written was counted: client-go says 41, too.
        assert_eq!(told(&mut recorder, 302, "noise"), "x41: noise");
    }

    /// What was swallowed counts among similar messages, and can be the first of its kind.
    #[test]
    fn what_is_swallowed_is_remembered() {
        let mut recorder = Recorder::new();
        for _ in 0..25 {
            told(&mut recorder, 1, "noise");
        }
        for n in 1..10 {
            assert_eq!(told(&mut recorder, 1, &format!("try {n}")), "nothing");
        }
        let at = Timestamp::from_secs(302);
        let combined = recorder.record(at, "kubelet", note("try 10")).unwrap();
        assert!(matches!(&combined.action, Action::Merge(patch) if patch["count"] == 2), "{combined:?}");
        // It was never written, so it is not found, and written now with all that it counts.
        let gone = Failure { reason: FailureReason::NotFound, message: String::new() };
        let Some(Action::Create(event)) = recorder.on_failure(at, &combined, &gone).map(|write| write.action)
        else {
            panic!("it is written anew")
        };
        assert_eq!(
            (&event["count"], &event["message"]),
            (&json!(2), &json!("(combined from similar events): try 10"))
        );
    }

    /// Events about objects of long or odd names were invalid, and so were lost.
    #[test]
    fn events_have_valid_names() {
        for about in ["web", &"x".repeat(250), "system:kube-scheduler"] {
            let mut recorder = Recorder::new();
            let mut named = BTreeMap::new();
            for message in ["a", "b"] {
                let mut note = note(message);
                note.about.key.name = about.into();
                let write = recorder.record(Timestamp::from_secs(1), "kubelet", note).unwrap();
                let Action::Create(event) = write.action else { panic!("a new event") };
                let name = event["metadata"]["name"].as_str().unwrap().to_owned();
                assert_eq!(names::dns_subdomain(&name), Vec::<String>::new(), "{name}");
                assert_eq!(name.starts_with(&format!("{about}.")), about == "web", "{name}");
                named.insert(name, message);
            }
            assert_eq!(named.len(), 2, "each has a name of its own");
        }
    }

    /// What is told again and again is not forgotten for what was told once.
    #[test]
    fn forgets_what_was_not_told_for_the_longest() {
        let mut remembered = Remembered::default();
        for n in 0..REMEMBERED {
            remembered.put(n.to_string(), n);
        }
        assert_eq!(remembered.get("0"), Some(&mut 0));
        remembered.put("new".to_owned(), 0);
        assert_eq!(remembered.map.len(), REMEMBERED);
        assert!(remembered.get("0").is_some() && remembered.get("1").is_none());
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
