//! Tokens of service accounts.

use orlop_core::{Key, Kind};
use serde_json::Value;

use crate::auth::TokenRequest;
use crate::local::{Admitted, Answer, Call, body};
use crate::request::Body;
use crate::status::{Cause, Status};
use crate::tree::{at, items, metadata, object, text};

const TOKEN_REQUEST: Kind = Kind::namespaced("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests");
const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_LEAST: i64 = 600;

/// Issues a token.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect =
        body::Expect { kind: "TokenRequest", group: "authentication.k8s.io", version: "v1", custom: false };
    let mut request = body::object(given, expect, &call.served.scheme)?.value;
    let entry = call.existing()?;
    let seconds =
        at(&request, &["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(SECONDS_DEFAULT);
    let refuse = |why: &str| {
        let cause = Cause::invalid("spec.expirationSeconds", &seconds.into(), why);
        Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]))
    };
    if seconds < SECONDS_LEAST {
        return refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        return refuse("may not specify a duration larger than 2^32 seconds");
    }
    let named = text(&request, &["metadata", "name"]);
    if !named.is_empty() && named != call.key.name {
        let why = "must match the service account name if specified";
        let cause = Cause::invalid("metadata.name", &named.into(), why);
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &call.key.name, vec![cause]));
    }
    let bound = bound(call, &request)?;
    let token = TokenRequest {
        account: call.key.clone(),
        account_uid: entry.object.body.header().uid.clone(),
        audiences: items(&request, &["spec", "audiences"])
            .iter()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect(),
        expiration_seconds: seconds,
        bound_to: bound,
    };
    let (signed, expires) = call.config.tokens.issue(&token, call.now)?;
    let created = call.now.to_string();
    let meta = metadata(&mut request);
    meta.insert("name".into(), call.key.name.as_str().into());
    meta.insert("namespace".into(), call.key.namespace.as_str().into());
    meta.insert("creationTimestamp".into(), created.into());
    let spec = object(&mut request, "spec");
    spec.insert("expirationSeconds".into(), seconds.into());
    spec.entry("boundObjectRef".to_owned()).or_insert(Value::Null);
    if token.audiences.is_empty() {
        let audience = "https://kubernetes.default.svc.cluster.local";
        spec.insert("audiences".into(), vec![audience].into());
    }
    let status = object(&mut request, "status");
    status.insert("token".into(), signed.into());
    status.insert("expirationTimestamp".into(), expires.to_string().into());
    Ok(call.answer(201, Answer::Value(TOKEN_REQUEST, request, false)))
}

type Bound = Option<(orlop_core::Name, orlop_core::Name, orlop_core::Name)>;

/// The object that the token is bound to must be there, and the one that is meant.
fn bound(call: &Call<'_>, request: &Value) -> Result<Bound, Status> {
    let Some(reference) = at(request, &["spec", "boundObjectRef"]).filter(|r| !r.is_null()) else {
        return Ok(None);
    };
    let (kind, name, uid) =
        (text(reference, &["kind"]), text(reference, &["name"]), text(reference, &["uid"]));
    let (resource, key) = match kind {
        "Pod" => (Kind::namespaced("", "v1", "Pod", "pods"), Key::new(call.key.namespace.clone(), name)),
        "Secret" => {
            (Kind::namespaced("", "v1", "Secret", "secrets"), Key::new(call.key.namespace.clone(), name))
        }
        "Node" => (Kind::cluster("", "v1", "Node", "nodes"), Key::cluster(name)),
        _ => {
            let version = text(reference, &["apiVersion"]);
            let group_version =
                if version.contains('/') { version.to_owned() } else { format!("/{version}") };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {group_version}, Kind={kind}"
            )));
        }
    };
    let found = call.get(&resource, &key).ok_or_else(|| Status::not_found("", &resource.plural, name))?;
    let current = found.object.body.header().uid.clone();
    if !uid.is_empty() && uid != current {
        return Err(Status::conflict(
            "",
            &resource.plural,
            name,
            &format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    Ok(Some((kind.into(), name.into(), current)))
}
