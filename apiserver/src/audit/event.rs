//! One request on its way through the log: [`Pending`].

use std::any::Any;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use orlop_api::auth::Decision;
use orlop_api::{Body, User};
use orlop_core::scheme::Scheme;
use orlop_core::{Name, Timestamp};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::policy::Wanted;
use super::{Level, Log, source, user_info};
use crate::body::{Answer, AnswerBody, Notes};

/// A request of which something is to be noted.
pub(crate) struct Pending {
    log: Arc<Log>,
    id: Name,
    event: Value,
    annotations: Map<String, Value>,
    wanted: Wanted,
    received: Timestamp,
}

impl Pending {
    pub(super) fn new(log: Arc<Log>, id: Name, event: Value, wanted: Wanted, received: Timestamp) -> Pending {
        Pending { log, id, event, annotations: Map::new(), wanted, received }
    }

    /// Takes whom the request is made for, where that is somebody else than who has authenticated.
    pub(crate) fn acts_as(&mut self, user: &User) {
        self.event["impersonatedUser"] = user_info(user);
    }

    /// Takes what the authoriser says of the request. One that is refused before has no such answer.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        let word = if decision.permits() { "allow" } else { "forbid" };
        self.annotations.insert("authorization.k8s.io/decision".into(), word.into());
        self.annotations.insert("authorization.k8s.io/reason".into(), decision.reason.as_str().into());
    }

    /// Takes what was sent. It may name the object that the path does not name.
    pub(crate) fn sent(&mut self, body: &Body, scheme: &Scheme) {
        let Some(object) = body.tree(scheme) else { return };
        if let Some(about) = self.event.get_mut("objectRef").and_then(Value::as_object_mut) {
            for field in ["name", "namespace", "uid"] {
                if let Some(text) = object["metadata"][field].as_str().filter(|text| !text.is_empty())
                    && !about.contains_key(field)
                {
                    about.insert(field.to_owned(), text.into());
                }
            }
        }
        if self.wanted.level >= Level::Request {
            self.put("requestObject", object);
        }
    }

    fn put(&mut self, field: &str, mut object: Value) {
        if object.is_object() || object.is_array() {
            if self.wanted.omit_managed_fields {
                forget_managed_fields(&mut object);
            }
            self.event[field] = object;
        }
    }

    /// Notes that a stage is reached, with what is known of it beyond what is known of the request.
    pub(super) fn note(&self, stage: &'static str, more: &Map<String, Value>) {
        if self.wanted.omit_stages.iter().any(|omitted| omitted == stage) {
            return;
        }
        let mut event = self.event.clone();
        event["stage"] = stage.into();
        if let Some(map) = event.as_object_mut() {
            map.extend(more.clone());
            map.insert("requestReceivedTimestamp".into(), self.received.to_micro_string().into());
            map.insert("stageTimestamp".into(), self.log.clock.now().to_micro_string().into());
            if !self.annotations.is_empty() {
                map.insert("annotations".into(), self.annotations.clone().into());
            }
        }
        self.log.sink.note(&event.to_string());
    }

    /// Notes how the request was answered. One that lasts, such as a watch or a session, is noted when its answer
    /// begins, and again when it is over.
    pub(crate) async fn answered(mut self, mut answer: Answer, lasting: bool) -> Answer {
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            answer.headers_mut().insert(source::AUDIT_ID, id);
        }
        if let Some(Notes(notes)) = answer.extensions().get() {
            self.annotations.extend(notes.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
        }
        let status = answer.status();
        let mut told = json!({"metadata": {}, "code": status.as_u16()});
        if lasting && (status.is_success() || status.is_informational()) {
            let more = Map::from_iter([("responseStatus".to_owned(), told)]);
            self.note("ResponseStarted", &more);
            let end = End { noted: Some((self, more)) };
            if let Some(session) = answer.extensions().get::<SessionEnd>() {
                // The answer is over at once, and what it has agreed to begins.
                session.keep(end);
                return answer;
            }
            let (head, body) = answer.into_parts();
            return http::Response::from_parts(head, Lasting { body, _end: end }.boxed_unsync());
        }
        let wants_answer = self.wanted.level == Level::RequestResponse;
        let deletes = self.event["verb"].as_str().is_some_and(|verb| verb.starts_with("delete"));
        if !status.is_success() || wants_answer || deletes {
            let (head, body) = answer.into_parts();
            // The body of an answer cannot fail.
            let bytes: Bytes = match body.collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(never) => match never {},
            };
            let said = said(head.headers.get(CONTENT_TYPE), &bytes);
            if said["kind"] == "Status" {
                // Refusals quote what they refuse.
                let fields = if self.wanted.secret {
                    &["status", "reason"][..]
                } else {
                    &["status", "reason", "message", "details"]
                };
                for &field in fields {
                    if let Some(value) = said.get(field) {
                        told[field] = value.clone();
                    }
                }
            }
            if wants_answer {
                self.put("responseObject", said);
            }
            answer = http::Response::from_parts(head, Full::new(bytes).boxed_unsync());
        }
        let more = Map::from_iter([("responseStatus".to_owned(), told)]);
        if lasting {
            self.note("ResponseStarted", &more);
        }
        self.note("ResponseComplete", &more);
        answer
    }
}

/// What an answer says; null where it is no object.
fn said(content_type: Option<&HeaderValue>, bytes: &Bytes) -> Value {
    let value = match content_type.is_some_and(|media| media.as_bytes().ends_with(b"yaml")) {
        true => {
            let text = std::str::from_utf8(bytes).ok();
            text.and_then(|text| orlop_core::yaml::decode(text).ok()).map(|decoded| decoded.value)
        }
        false => serde_json::from_slice(bytes).ok(),
    };
    value.unwrap_or_default()
}

fn forget_managed_fields(object: &mut Value) {
    let forget = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.shift_remove("managedFields");
        }
    };
    forget(object);
    if let Some(Value::Array(items)) = object.get_mut("items") {
        items.iter_mut().for_each(forget);
    }
}

/// Notes the end of what lasts when it is dropped.
struct End {
    noted: Option<(Pending, Map<String, Value>)>,
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some((pending, more)) = self.noted.take() {
            pending.note("ResponseComplete", &more);
        }
    }
}

/// A body whose end is noted, be it that the server is through or that the client has gone.
struct Lasting {
    body: AnswerBody,
    _end: End,
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// What is dropped when a session ends. The session holds one clone; another travels with the answer that begins it.
#[derive(Clone, Default)]
pub(crate) struct SessionEnd(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

impl SessionEnd {
    fn keep(&self, until_then: impl Any + Send) {
        *self.0.lock() = Some(Box::new(until_then));
    }
}
