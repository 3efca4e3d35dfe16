//! What is asked of the API, and what it answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use orlop_core::store::Revision;
use orlop_core::{Key, Kind, Name, Stored};
use parking_lot::Mutex;
use serde_json::Value;

use crate::status::Status;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:kube-system:default`, `alice`.
    pub name: Name,
    /// The identity provider's own identifier.
    pub uid: Name,
    /// `system:masters`, …
    pub groups: Vec<Name>,
    /// What authentication adds, by key.
    pub extra: Vec<(Name, Vec<Name>)>,
}

impl User {
    /// The user, who is in the group of all who are authenticated, too.
    pub fn authenticated(mut self) -> User {
        let group = Name::new_static("system:authenticated");
        if !self.groups.contains(&group) {
            self.groups.push(group);
        }
        self
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection.
    Watch,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes parts of an object.
    Patch(PatchType),
    /// Deletes an object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, with its directives.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The encoding of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// JSON.
    #[default]
    Json,
    /// YAML 1.1 as kubectl means it.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

/// A request body.
#[derive(Clone, Debug)]
pub enum Body {
    /// As it came over the wire.
    Bytes(MediaType, Bytes),
    /// A tree, from a caller in this process.
    Value(Value),
}

/// The resource that a request path names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResourceId {
    /// Empty for the legacy group.
    pub group: Name,
    /// `v1`.
    pub version: Name,
    /// `pods`.
    pub plural: Name,
}

impl From<&Kind> for ResourceId {
    fn from(kind: &Kind) -> Self {
        ResourceId { group: kind.group.clone(), version: kind.version.clone(), plural: kind.plural.clone() }
    }
}

/// One request, already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub user: User,
    /// What is to be done.
    pub verb: Verb,
    /// To which kind of object.
    pub resource: ResourceId,
    /// To which object; an empty name for collections, an empty namespace for all of them.
    pub key: Key,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: Name,
    /// The query parameters.
    pub options: Options,
    /// The body.
    pub body: Option<Body>,
}

/// The query parameters of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Decide and answer, but write nothing.
    pub dry_run: bool,
    /// Who owns the fields that are written; empty: derived from the user agent.
    pub field_manager: Name,
    /// `Strict`, `Warn` or `Ignore`; empty: the default of the verb.
    pub field_validation: Name,
    /// Server-side apply takes fields from other managers.
    pub force: bool,
    /// What lists and watches select.
    pub list: ListOptions,
    /// How a deletion goes about it, as far as the query says so; a body counts for more.
    pub delete: DeleteOptions,
    /// Which part of a container's log is wanted.
    pub log: LogOptions,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// How long the object may take to end, in seconds; `None`: the default of its kind.
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`; `None`: the default of its kind.
    pub propagation_policy: Option<Name>,
    /// The older way to say `Orphan` or `Background`.
    pub orphan_dependents: Option<bool>,
    /// Only this object, not another one of the same name.
    pub uid: Option<Name>,
    /// Only in this state.
    pub resource_version: Option<Name>,
}

/// Which part of a container's log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; empty: the only one, or the default one.
    pub container: Name,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// The log of the instance before the last restart.
    pub previous: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what is at most this old, in seconds.
    pub since_seconds: Option<i64>,
    /// Only what was written at this moment or later, in RFC 3339.
    pub since_time: Option<Name>,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
}

/// What lists and watches select, and how they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// A label selector in text form.
    pub label_selector: String,
    /// A field selector in text form.
    pub field_selector: String,
    /// The greatest number of objects in one answer; 0: all.
    pub limit: u64,
    /// Where the previous answer stopped.
    pub continue_token: String,
    /// The revision to read at, or to watch from.
    pub resource_version: Option<String>,
    /// `Exact` or `NotOlderThan`.
    pub resource_version_match: String,
    /// How long a watch lasts, in seconds.
    pub timeout_seconds: Option<u64>,
    /// The watch tells its progress.
    pub allow_watch_bookmarks: bool,
    /// The watch begins with what is there.
    pub send_initial_events: Option<bool>,
}

/// What the API answers. Objects are kept as they are stored; the caller chooses how to render them.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status code.
    pub code: u16,
    /// Warnings for people, as kubectl prints them.
    pub warnings: Vec<String>,
    /// What the audit log is told besides, by key: what admission policies and webhooks have to say.
    pub audit: Vec<(String, String)>,
    /// What is answered.
    pub payload: Payload,
    /// The last commit that the call made, if it made one.
    pub committed: Option<Revision>,
}

/// The body of a [`Response`].
#[derive(Clone, Debug)]
pub enum Payload {
    /// An object as it is stored.
    Object(Kind, Stored),
    /// An object that is not stored so: a dry run's result, a Scale, a review.
    Value(Kind, Value),
    /// A collection at one revision.
    List(Kind, List),
    /// An outcome without an object.
    Status(Status),
    /// Plain text as it comes: a log.
    Stream(ByteStream),
}

/// Bytes as they come. Clones share one stream, which only one of them can take.
#[derive(Clone)]
pub struct ByteStream(Arc<Mutex<Option<BoxBytes>>>);

/// What [`ByteStream`] holds.
pub type BoxBytes = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl ByteStream {
    /// Wraps a stream.
    pub fn new(stream: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> ByteStream {
        ByteStream(Arc::new(Mutex::new(Some(Box::pin(stream)))))
    }

    /// The stream; `None` if it was taken before.
    pub fn take(&self) -> Option<BoxBytes> {
        self.0.lock().take()
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}

/// A part of a collection.
#[derive(Clone, Debug)]
pub struct List {
    /// The revision at which all objects were read.
    pub revision: Revision,
    /// The objects, in order of their keys.
    pub items: Vec<Stored>,
    /// Where the next part begins; empty: this was the last.
    pub continue_token: String,
    /// How many objects come after these, where that is known.
    pub remaining: Option<u64>,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchFrame {
    /// The object is new to the watcher.
    Added(Kind, Stored),
    /// The object has changed.
    Modified(Kind, Stored),
    /// The object is gone, or no longer selected; as it was last, with the revision at which it left.
    Deleted(Kind, Stored),
    /// All up to this revision has been told. `initial_end` closes the initial events.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// Whether this closes the initial events.
        initial_end: bool,
    },
    /// The watch cannot go on.
    Error(Status),
}

impl Request {
    /// The request that a plan's write stands for.
    pub fn from_write(user: &User, manager: &Name, write: orlop_core::Write) -> Request {
        use orlop_core::{Action, plan::Propagation};
        let preconditions = |uid: &Option<Name>, revision: &Option<Revision>| {
            let mut map = serde_json::Map::new();
            if let Some(uid) = uid {
                map.insert("uid".into(), uid.as_str().into());
            }
            if let Some(revision) = revision {
                map.insert("resourceVersion".into(), revision.to_string().into());
            }
            map
        };
        let expected = preconditions(&write.uid, &write.revision);
        let with_expected = |mut object: Value| {
            for (field, value) in &expected {
                object["metadata"][field] = value.clone();
            }
            object
        };
        let (verb, body) = match write.action {
            Action::Create(object) => (Verb::Create, object),
            Action::Replace(object) => (Verb::Update, with_expected(object)),
            Action::Merge(patch) => (Verb::Patch(PatchType::Merge), with_expected(patch)),
            Action::Delete { grace, propagation } => {
                let mut options = serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1"});
                if let Some(grace) = grace {
                    options["gracePeriodSeconds"] = grace.into();
                }
                if let Some(propagation) = propagation {
                    options["propagationPolicy"] = match propagation {
                        Propagation::Background => "Background",
                        Propagation::Foreground => "Foreground",
                        Propagation::Orphan => "Orphan",
                    }
                    .into();
                }
                if !expected.is_empty() {
                    options["preconditions"] = Value::Object(expected.clone());
                }
                (Verb::Delete, options)
            }
        };
        Request {
            user: user.clone(),
            verb,
            resource: ResourceId::from(&write.kind),
            key: write.key,
            subresource: Name::new_static(write.subresource),
            options: Options { field_manager: manager.clone(), ..Options::default() },
            body: Some(Body::Value(body)),
        }
    }
}

impl Response {
    /// The revision of the object that was written or read; 0 where there is none.
    pub fn revision(&self) -> Revision {
        match &self.payload {
            Payload::Object(_, stored) => stored.revision,
            Payload::List(_, list) => list.revision,
            Payload::Value(_, value) => Revision(
                value["metadata"]["resourceVersion"]
                    .as_str()
                    .and_then(|v| v.parse().ok())
                    .unwrap_or_default(),
            ),
            Payload::Status(_) | Payload::Stream(_) => self.committed.unwrap_or_default(),
        }
    }
}
