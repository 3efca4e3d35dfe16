//! Tokens of service accounts (KEP-1205).

use std::time::Duration;

use orlop_core::{Key, Kind, Name};
use serde_json::Value;

use crate::admission::Operation;
use crate::auth::{Exactly, ISSUER, TokenClaims};
use crate::local::{Admitted, Answer, Call, body};
use crate::managed_fields::{self, Writer};
use crate::request::Body;
use crate::status::{Cause, Status};
use crate::tree::{at, items, metadata, object, text};

const TOKEN_REQUEST: Kind = Kind::namespaced("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests");
const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_LEAST: i64 = 600;
/// What admission asks for the tokens that it mounts into pods. Clients that read such a token only once are borne
/// with: it is good for a year, and from this on its use is warned of.
const SECONDS_MOUNTED: i64 = 3607;
const SECONDS_EXTENDED: u64 = 365 * 24 * 3600;

/// Issues a token.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect =
        body::Expect { kind: "TokenRequest", group: "authentication.k8s.io", version: "v1", custom: false };
    let mut request = body::object(given, expect, &call.served.scheme)?.value;
    let entry = call.existing()?;
    let named = text(&request, &["metadata", "name"]);
    if !named.is_empty() && named != call.key.name {
        let why = "must match the service account name if specified";
        let cause = Cause::invalid("metadata.name", &named.into(), why);
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &call.key.name, vec![cause]));
    }
    let namespace = text(&request, &["metadata", "namespace"]);
    if !namespace.is_empty() && namespace != call.key.namespace {
        let why = "must match the service account namespace if specified";
        let cause = Cause::invalid("metadata.namespace", &namespace.into(), why);
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &call.key.name, vec![cause]));
    }
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
    crate::local::restrict_token(call, &mut request)?;
    crate::local::observe(call, Operation::Create, &TOKEN_REQUEST, &mut request, None)?;
    let bound = bound(call, &request)?;
    let mut audiences: Vec<Name> =
        items(&request, &["spec", "audiences"]).iter().filter_map(Value::as_str).map(Name::from).collect();
    if audiences.is_empty() {
        audiences.push(Name::new_static(ISSUER));
    }
    let asked = Duration::from_secs(seconds.unsigned_abs());
    let extended = seconds == SECONDS_MOUNTED && bound.pod.is_some() && audiences == [ISSUER];
    let account_uid = entry.object.body.header().uid.clone();
    let claims = TokenClaims {
        account: call.key.clone(),
        account_uid: account_uid.clone(),
        audiences: audiences.clone(),
        issued: call.now,
        lasts: if extended { Duration::from_secs(SECONDS_EXTENDED) } else { asked },
        warn_after: extended.then_some(asked),
        id: call.entropy.uuid(),
        ..bound
    };
    let signed = call.config.tokens.issue(&claims)?;
    object(&mut request, "spec").insert("expirationSeconds".into(), seconds.into());
    own(call, &mut request);
    let meta = metadata(&mut request);
    meta.insert("name".into(), call.key.name.as_str().into());
    meta.insert("namespace".into(), call.key.namespace.as_str().into());
    meta.insert("uid".into(), account_uid.as_str().into());
    meta.insert("creationTimestamp".into(), call.now.to_string().into());
    let spec = object(&mut request, "spec");
    spec.entry("boundObjectRef".to_owned()).or_insert(Value::Null);
    let audiences: Vec<&str> = audiences.iter().map(Name::as_str).collect();
    spec.insert("audiences".into(), audiences.into());
    let status = object(&mut request, "status");
    status.insert("token".into(), signed.into());
    status.insert("expirationTimestamp".into(), (call.now + asked).to_string().into());
    Ok(call.answer(201, Answer::Value(TOKEN_REQUEST, request, false)))
}

/// Notes who asks for what, as for any other object.
fn own(call: &Call<'_>, request: &mut Value) {
    let scheme = &call.served.scheme;
    let Some((schema, ty)) = scheme.type_of("authentication.k8s.io", "v1", "TokenRequest") else { return };
    let by = Writer {
        manager: if call.options.field_manager.is_empty() { "unknown" } else { &call.options.field_manager },
        api_version: "authentication.k8s.io/v1",
        subresource: "token",
        now: call.now,
        reset: &["status"],
    };
    managed_fields::update_on_write(None, request, &by, &schema, ty);
}

/// The object that the token is bound to must be there, and the one that is meant.
fn bound(call: &Call<'_>, request: &Value) -> Result<TokenClaims, Status> {
    let mut claims = TokenClaims::default();
    let Some(reference) = at(request, &["spec", "boundObjectRef"]).filter(|r| !r.is_null()) else {
        return Ok(claims);
    };
    let (kind, name, uid) =
        (text(reference, &["kind"]), text(reference, &["name"]), text(reference, &["uid"]));
    let version = text(reference, &["apiVersion"]);
    let node = Kind::cluster("", "v1", "Node", "nodes");
    let (resource, key) = match (version, kind) {
        ("v1", "Pod") => {
            (Kind::namespaced("", "v1", "Pod", "pods"), Key::new(call.key.namespace.clone(), name))
        }
        ("v1", "Secret") => {
            (Kind::namespaced("", "v1", "Secret", "secrets"), Key::new(call.key.namespace.clone(), name))
        }
        ("v1", "Node") => (node.clone(), Key::cluster(name)),
        _ => {
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
            &resource.kind,
            name,
            &format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    let exactly: Exactly = (name.into(), current);
    match kind {
        "Pod" => {
            let pod = found.object.to_value();
            let on = text(&pod, &["spec", "nodeName"]);
            if !on.is_empty() {
                let uid =
                    call.get(&node, &Key::cluster(on)).map(|node| node.object.body.header().uid.clone());
                claims.node = Some((on.into(), uid.unwrap_or_default()));
            }
            claims.pod = Some(exactly);
        }
        "Secret" => claims.secret = Some(exactly),
        _ => claims.node = Some(exactly),
    }
    Ok(claims)
}
