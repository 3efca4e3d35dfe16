//! What should change: [`Plan`].

use std::convert::Infallible;

use serde_json::Value;

use crate::meta::{Meta, OwnerReference};
use crate::object::{Key, Kind, Name, Object};
use crate::store::Revision;
use crate::time::Timestamp;

/// What one look at the world says should change.
///
/// `writes` happen in order; the first that fails ends the plan, and its key is looked at again. Nothing is lost
/// by that, for the next look starts from what is.
#[derive(Debug)]
#[must_use = "a plan changes nothing until the runner carries it out"]
pub struct Plan<E = Infallible> {
    /// Changes of objects, in order.
    pub writes: Vec<Write>,
    /// What to tell people.
    pub events: Vec<Note>,
    /// Requests to the outside, for the controller's own executor.
    pub effects: Vec<E>,
    /// When to look again.
    pub wake: Wake,
}

impl<E> Default for Plan<E> {
    fn default() -> Self {
        Plan { writes: Vec::new(), events: Vec::new(), effects: Vec::new(), wake: Wake::OnChange }
    }
}

impl<E> Plan<E> {
    /// All is as it should be.
    pub fn nothing() -> Self {
        Plan::default()
    }

    /// One write.
    pub fn write(write: Write) -> Self {
        Plan { writes: vec![write], ..Plan::default() }
    }

    /// Whether nothing would happen.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty() && self.effects.is_empty()
    }

    /// This, then `write`.
    pub fn and(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// This, and tell people.
    pub fn note(mut self, note: Note) -> Self {
        self.events.push(note);
        self
    }

    /// This, and ask the outside for `effect`.
    pub fn effect(mut self, effect: E) -> Self {
        self.effects.push(effect);
        self
    }

    /// This, and look again at `at` or earlier.
    pub fn wake_at(mut self, at: Timestamp) -> Self {
        self.wake = match self.wake {
            Wake::At(already) => Wake::At(already.min(at)),
            Wake::OnChange => Wake::At(at),
        };
        self
    }
}

/// When a key is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// When something that concerns it changes.
    OnChange,
    /// Also at this moment.
    At(Timestamp),
}

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The object's kind.
    pub kind: Kind,
    /// The object's key. With an empty name, [`Action::Create`] lets the server make one from `generateName`.
    pub key: Key,
    /// `status`, `scale`, `binding`, …; empty for the object itself.
    pub subresource: &'static str,
    /// The object must be this one.
    pub uid: Option<Name>,
    /// The object must not have changed since.
    pub revision: Option<Revision>,
    /// What is done.
    pub action: Action,
}

/// What is done to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates it.
    Create(Value),
    /// Replaces it.
    Replace(Value),
    /// Changes the fields that a JSON merge patch names (RFC 7386).
    Merge(Value),
    /// Deletes it.
    Delete {
        /// Seconds of grace; `None`: what the object says.
        grace: Option<i64>,
        /// `Background`, `Foreground` or `Orphan`; `None`: what the kind's default is.
        propagation: Option<Propagation>,
    },
}

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay.
    Orphan,
}

impl Write {
    fn new(kind: Kind, key: Key, action: Action) -> Write {
        Write { kind, key, subresource: "", uid: None, revision: None, action }
    }

    /// Creates an object; its `metadata` says which.
    pub fn create(kind: Kind, object: Value) -> Write {
        let text = |field: &str| Name::from(object["metadata"][field].as_str().unwrap_or_default());
        let key = Key { namespace: text("namespace"), name: text("name") };
        Write::new(kind, key, Action::Create(object))
    }

    /// Changes the fields that `patch` names.
    pub fn merge(kind: Kind, key: Key, patch: Value) -> Write {
        Write::new(kind, key, Action::Merge(patch))
    }

    /// Changes the fields that `patch` names, if `object` has not changed since it was seen.
    pub fn merge_seen<T: Object>(object: &crate::Item<T>, patch: Value) -> Write {
        Write::merge(T::KIND, object.key(), patch).seen(object.meta(), object.revision())
    }

    /// Replaces an object; its `metadata` says which.
    pub fn replace(kind: Kind, object: Value) -> Write {
        let Write { kind, key, .. } = Write::create(kind, Value::clone(&object));
        Write::new(kind, key, Action::Replace(object))
    }

    /// Deletes an object in the default way.
    pub fn delete(kind: Kind, key: Key) -> Write {
        Write::new(kind, key, Action::Delete { grace: None, propagation: None })
    }

    /// Deletes exactly the object that was seen.
    pub fn delete_seen<T: Object>(object: &crate::Item<T>) -> Write {
        let mut write = Write::delete(T::KIND, object.key());
        write.uid = Some(object.meta().uid.clone());
        write
    }

    /// This, on a subresource.
    pub fn on(mut self, subresource: &'static str) -> Write {
        self.subresource = subresource;
        self
    }

    /// This, only if the object is still the one, and in the state, that was seen.
    pub fn seen(mut self, meta: &Meta, revision: Revision) -> Write {
        self.uid = Some(meta.uid.clone());
        self.revision = Some(revision);
        self
    }
}

/// Something that people should know, which becomes an Event.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object that it is about.
    pub about: Reference,
    /// Whether it is a cause for worry: `Warning` or `Normal`.
    pub warning: bool,
    /// One CamelCase word, `SuccessfulCreate`.
    pub reason: Name,
    /// A sentence.
    pub message: String,
}

/// Names an object for people and for the garbage collector.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// `apps/v1`.
    pub api_version: Name,
    /// `ReplicaSet`.
    pub kind: Name,
    /// Namespace and name.
    pub key: Key,
    /// The UID.
    pub uid: Name,
    /// The revision at which it was seen.
    pub resource_version: Name,
    /// A part of the object, `spec.containers{web}`.
    pub field_path: Name,
}

impl Reference {
    /// Names a typed object.
    pub fn to<T: Object>(object: &crate::Item<T>) -> Reference {
        let meta = object.meta();
        Reference {
            api_version: T::KIND.api_version(),
            kind: T::KIND.kind,
            key: meta.key(),
            uid: meta.uid.clone(),
            resource_version: smol_str::format_smolstr!("{}", object.revision()),
            field_path: Name::default(),
        }
    }
}

impl From<(&OwnerReference, &Name)> for Reference {
    /// An owner seen from an object in `namespace`.
    fn from((owner, namespace): (&OwnerReference, &Name)) -> Reference {
        Reference {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            key: Key { namespace: namespace.clone(), name: owner.name.clone() },
            uid: owner.uid.clone(),
            ..Reference::default()
        }
    }
}

impl Note {
    /// Something ordinary about `object`.
    pub fn normal<T: Object>(
        object: &crate::Item<T>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Note {
        Note {
            about: Reference::to(object),
            warning: false,
            reason: Name::new_static(reason),
            message: message.into(),
        }
    }

    /// Something worrying about `object`.
    pub fn warning<T: Object>(
        object: &crate::Item<T>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Note {
        Note { warning: true, ..Note::normal(object, reason, message) }
    }
}

/// Why a write or an effect did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to do about it depends on this.
    pub reason: FailureReason,
    /// The API's or the executor's own words.
    pub message: String,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The object has changed since it was seen: look again.
    Conflict,
    /// The object is not there.
    NotFound,
    /// An object of that name is there already.
    AlreadyExists,
    /// The API does not allow it: the object is invalid, or a policy or quota forbids it.
    Refused,
    /// The other side is away or busy: try again later.
    Unavailable,
}
