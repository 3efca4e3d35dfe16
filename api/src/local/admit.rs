//! The decision about one request: what to commit, and what to answer.

use std::sync::Arc;

use orlop_core::codec;
use orlop_core::scheme::{REGISTRY, Resource};
use orlop_core::store::{Compare, Entry, Op, Revision, Txn, View};
use orlop_core::{Body, Entropy, Key, Kind, Name, Scope, Stored, Timestamp};
use serde_json::Value;

use super::config::Config;
use super::likeness::Drawn;
use super::served::Served;
use crate::admission::webhook::Conversation;
use crate::request::{List, Options, Payload, Request, Response, User, Verb};
use crate::status::{Cause, Status};

/// Everything that a decision is made from.
pub(crate) struct Call<'a> {
    pub(crate) user: &'a User,
    pub(crate) options: &'a Options,
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) key: Key,
    pub(crate) subresource: Name,
    pub(crate) view: &'a dyn View,
    pub(crate) served: &'a Served,
    pub(crate) config: &'a Config,
    pub(crate) now: Timestamp,
    pub(crate) entropy: &'a mut Entropy,
    pub(crate) warnings: Vec<String>,
    /// What the audit log is told besides, by key.
    pub(crate) audit: Vec<(String, String)>,
    /// The managed fields of an object that is created, as text, as long as they are not in its tree.
    pub(crate) managed: Option<Vec<u8>>,
    /// What was drawn from chance for an object that is created.
    pub(crate) drawn: Vec<Drawn>,
    /// Preconditions and operations beside those of the object itself.
    pub(crate) txn: Txn,
    /// How the object is to be stored.
    pub(crate) spelling: super::spelling::Spelling,
    /// What is committed before, and taken back where the object is not written after all.
    pub(crate) before: Txn,
    /// What webhooks were asked and answered.
    pub(crate) hooks: &'a mut Conversation,
    /// What is drawn from quotas.
    pub(crate) charges: Vec<crate::admission::Charge>,
    /// What was charged already, when this was decided before.
    pub(crate) paid: &'a super::charge::Paid,
}

/// What is the same for all that is decided at once.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) view: &'a dyn View,
    pub(super) served: &'a Served,
    pub(super) config: &'a Config,
    pub(super) now: Timestamp,
}

/// What was decided.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) txn: Txn,
    /// What is committed before.
    pub(crate) before: Txn,
    /// What is to be charged before.
    pub(crate) charges: Vec<crate::admission::Charge>,
    pub(crate) then: Then,
    pub(crate) answer: Answer,
    pub(crate) code: u16,
    pub(crate) warnings: Vec<String>,
    /// What the audit log is told besides.
    pub(crate) audit: Vec<(String, String)>,
}

/// What a decision leaves in its call that is told even of a refusal.
#[derive(Debug)]
pub(crate) struct Noticed {
    key: Key,
    warnings: Vec<String>,
    audit: Vec<(String, String)>,
}

/// What follows the first commit.
#[derive(Debug, Default)]
pub(crate) enum Then {
    #[default]
    Nothing,
    /// The object, marked as deleted by the commit, goes, unless someone has written it meanwhile.
    Remove { key: Arc<str>, also: Vec<Op> },
    /// A definition has changed.
    Settle(Name),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An object; its revision is that of the last commit.
    Written(Kind, Arc<Body>),
    /// An object as it is stored, or as it would be.
    Stored(Kind, Stored),
    /// A tree; with the revision of the commit if it is an object's.
    Value(Kind, Value, bool),
    Status(Status),
}

impl Answer {
    /// The answer once everything is committed.
    pub(crate) fn into_response(
        self,
        code: u16,
        warnings: Vec<String>,
        audit: Vec<(String, String)>,
        committed: Option<Revision>,
    ) -> Response {
        let payload = match self {
            Answer::Written(kind, body) => {
                Payload::Object(kind, Stored { body, revision: committed.unwrap_or_default() })
            }
            Answer::Stored(kind, stored) => Payload::Object(kind, stored),
            Answer::Value(kind, mut value, versioned) => {
                if let (true, Some(revision)) = (versioned, committed) {
                    crate::tree::metadata(&mut value)
                        .insert("resourceVersion".into(), revision.to_string().into());
                }
                Payload::Value(kind, value)
            }
            Answer::Status(status) => Payload::Status(status),
        };
        Response { code, warnings, audit, payload, committed }
    }
}

impl Response {
    pub(crate) fn list(kind: Kind, list: List, warnings: Vec<String>) -> Response {
        Response { warnings, ..Response::of(Payload::List(kind, list)) }
    }

    pub(crate) fn of(payload: Payload) -> Response {
        Response { code: 200, warnings: Vec::new(), audit: Vec::new(), payload, committed: None }
    }
}

impl<'a> Call<'a> {
    /// A decision that is to be made.
    pub(super) fn new(
        request: &'a Request,
        resource: &'a Arc<Resource>,
        moment: Moment<'a>,
        entropy: &'a mut Entropy,
        (hooks, paid): (&'a mut Conversation, &'a super::charge::Paid),
    ) -> Call<'a> {
        Call {
            user: &request.user,
            options: &request.options,
            resource,
            key: request.key.clone(),
            subresource: request.subresource.clone(),
            view: moment.view,
            served: moment.served,
            config: moment.config,
            now: moment.now,
            entropy,
            warnings: Vec::new(),
            audit: Vec::new(),
            managed: None,
            drawn: Vec::new(),
            txn: Txn::default(),
            spelling: super::spelling::Spelling::default(),
            before: Txn::default(),
            hooks,
            charges: Vec::new(),
            paid,
        }
    }

    pub(crate) fn kind(&self) -> &'a Kind {
        &self.resource.kind
    }

    /// The object's place in the store.
    pub(crate) fn storage_key(&self) -> Result<Arc<str>, Status> {
        let kind = self.kind();
        self.served.scheme.storage_key(kind, &self.key).map(Arc::from).ok_or_else(Status::no_resource)
    }

    /// The object as it is.
    pub(crate) fn current(&self) -> Result<Option<Entry>, Status> {
        Ok(self.view.get(&self.storage_key()?))
    }

    /// The object as it is, or that it is not found.
    pub(crate) fn existing(&self) -> Result<Entry, Status> {
        self.current()?.ok_or_else(|| self.not_found())
    }

    /// One object of another kind.
    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Entry> {
        self.view.get(&self.served.scheme.storage_key(kind, key)?)
    }

    pub(crate) fn not_found(&self) -> Status {
        let kind = self.kind();
        Status::not_found(&kind.group, &kind.plural, &self.key.name)
    }

    pub(crate) fn stale(&self) -> Status {
        let kind = self.kind();
        Status::stale(&kind.group, &kind.plural, &self.key.name)
    }

    pub(crate) fn conflict(&self, why: &str) -> Status {
        let kind = self.kind();
        Status::conflict(&kind.group, &kind.plural, &self.key.name, why)
    }

    /// A conflict in the words of Kubernetes' storage.
    pub(crate) fn precondition(&self, what: &str, asked: &str, found: &str) -> Status {
        match super::meta::precondition(self, what, asked, found) {
            Ok(why) => self.conflict(&why),
            Err(status) => status,
        }
    }

    pub(crate) fn invalid(&self, causes: Vec<Cause>) -> Status {
        // Causes are found in the stored version, which may be of another group.
        let kind = &self.resource.stored_as;
        Status::invalid(&kind.group, &kind.kind, &self.key.name, causes)
    }

    /// An answer without a write.
    pub(crate) fn answer(&mut self, code: u16, answer: Answer) -> Admitted {
        Admitted {
            txn: Txn::default(),
            before: std::mem::take(&mut self.before),
            charges: std::mem::take(&mut self.charges),
            then: Then::Nothing,
            answer,
            code,
            warnings: std::mem::take(&mut self.warnings),
            audit: std::mem::take(&mut self.audit),
        }
    }

    /// A write of the object's body, provided that it is as it was seen; `None` says that it must be new.
    pub(crate) fn put(&mut self, body: Arc<Body>, seen: Option<&Entry>) -> Result<Txn, Status> {
        let key = self.storage_key()?;
        Ok(self.put_at(key, body, seen.map_or(Revision(0), |e| e.object.revision)))
    }

    /// [`Call::put`] for who knows the object's place.
    pub(crate) fn put_at(&mut self, key: Arc<str>, body: Arc<Body>, revision: Revision) -> Txn {
        let mut txn = std::mem::take(&mut self.txn);
        txn.compares.push(Compare { key: key.clone(), revision });
        txn.ops.push(Op::Put(key, body));
        txn
    }

    /// The same call, on another view. What is noticed there is told here by [`Call::take_over`].
    pub(crate) fn on<'b>(&'b mut self, view: &'b dyn View) -> Call<'b> {
        Call {
            user: self.user,
            options: self.options,
            resource: self.resource,
            key: self.key.clone(),
            subresource: self.subresource.clone(),
            view,
            served: self.served,
            config: self.config,
            now: self.now,
            entropy: &mut *self.entropy,
            warnings: std::mem::take(&mut self.warnings),
            audit: std::mem::take(&mut self.audit),
            managed: self.managed.take(),
            drawn: std::mem::take(&mut self.drawn),
            txn: std::mem::take(&mut self.txn),
            spelling: self.spelling,
            before: std::mem::take(&mut self.before),
            hooks: &mut *self.hooks,
            charges: std::mem::take(&mut self.charges),
            paid: self.paid,
        }
    }

    /// What is left of the call when it has been decided.
    pub(crate) fn end(self) -> Noticed {
        Noticed { key: self.key, warnings: self.warnings, audit: self.audit }
    }

    pub(crate) fn take_over(&mut self, noticed: Noticed) {
        let Noticed { key, warnings, audit } = noticed;
        self.key = key;
        self.warnings.extend(warnings);
        self.audit.extend(audit);
    }

    /// Encodes the object as it is stored.
    pub(crate) fn encode(&self, value: &Value) -> Result<Arc<Body>, Status> {
        super::convert::encode_with(self.served, self.resource, value, self.managed.as_deref())
    }

    /// Puts managed fields that are kept as text into the object's tree.
    pub(crate) fn spell_out(&mut self, value: &mut Value) {
        // It was written as JSON a moment ago.
        if let Some(managed) = self.managed.take().and_then(|text| serde_json::from_slice(&text).ok()) {
            crate::managed_fields::put(value, managed);
        }
    }

    /// The stored object with these fields changed.
    pub(crate) fn changed(&self, entry: &Entry, changes: Vec<codec::Change>) -> Result<Arc<Body>, Status> {
        if self.resource.kind == self.resource.stored_as {
            let (schema, ty) = (&self.resource.schema, self.resource.ty);
            if let Some(body) = codec::splice(schema, ty, &entry.object.body, &changes) {
                return Ok(Arc::new(body));
            }
        }
        let mut tree = self.tree(&entry.object);
        for change in changes {
            crate::tree::object(&mut tree, change.part).insert(change.field.to_owned(), change.value);
        }
        self.encode(&tree)
    }

    /// The object as this version's clients see it, as a tree.
    pub(crate) fn tree(&self, stored: &Stored) -> Value {
        super::convert::tree(self.served, self.resource, stored)
    }

    /// The object as this version's clients see it.
    pub(crate) fn shown(&self, stored: &Stored) -> Stored {
        super::convert::shown(self.served, self.resource, stored)
    }

    /// The body as this version's clients see it.
    pub(crate) fn shown_body(&self, body: Arc<Body>) -> Arc<Body> {
        self.shown(&Stored { body, revision: Revision(0) }).body
    }
}

/// What a request names, checked as far as that goes without its body.
pub(crate) fn check_scope(request: &Request, resource: &Resource) -> Result<(), Status> {
    let namespaced = resource.kind.scope == Scope::Namespaced;
    let (has_namespace, named) = (!request.key.namespace.is_empty(), !request.key.name.is_empty());
    if !namespaced && has_namespace {
        return Err(Status::no_resource());
    }
    if namespaced && !has_namespace {
        // Across namespaces, collections can only be read.
        return match request.verb {
            Verb::List | Verb::Watch if !named => Ok(()),
            _ if named => Err(Status::no_resource()),
            _ => Err(Status::method_not_allowed()),
        };
    }
    Ok(())
}

/// The word for a verb in authorisation and in what a resource allows.
pub(crate) fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::List => "list",
        Verb::Watch => "watch",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch(_) => "patch",
        Verb::Delete => "delete",
        Verb::DeleteCollection => "deletecollection",
    }
}

/// Where a namespace is stored.
pub(crate) fn namespace_key(name: &str) -> String {
    format!("{REGISTRY}namespaces/{name}")
}
