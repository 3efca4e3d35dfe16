//! Kinds that are asked rather than stored: who am I, may I, whose token is this.

use orlop_core::{Key, Name};
use serde_json::{Map, Value, json};

use crate::auth::{Attributes, Target};
use crate::local::{Admitted, Answer, Call, body};
use crate::request::{Body, User};
use crate::status::{Cause, Status};
use crate::tree::{at, items, object, text};

/// Answers a review. `None`: the kind is none.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Option<Result<Admitted, Status>> {
    type Answering = fn(&mut Call<'_>, &mut Value) -> Result<(), Status>;
    let kind = call.kind();
    let answering: Answering = match (kind.group.as_str(), kind.plural.as_str()) {
        ("authentication.k8s.io", "selfsubjectreviews") => whoami,
        ("authentication.k8s.io", "tokenreviews") => token,
        ("authorization.k8s.io", "selfsubjectaccessreviews") => own_access,
        ("authorization.k8s.io", "subjectaccessreviews") => access,
        ("authorization.k8s.io", "localsubjectaccessreviews") => local_access,
        ("authorization.k8s.io", "selfsubjectrulesreviews") => own_rules,
        _ => return None,
    };
    Some(review(call, given, answering))
}

fn review(
    call: &mut Call<'_>,
    given: Option<&Body>,
    answering: fn(&mut Call<'_>, &mut Value) -> Result<(), Status>,
) -> Result<Admitted, Status> {
    let mut parsed = body::object(given, body::Expect::of(call.resource), &call.served.scheme)?;
    body::conform(call.resource, &mut parsed, &call.options.field_validation, &mut call.warnings)?;
    let mut review = parsed.value;
    answering(call, &mut review)?;
    let shown = orlop_core::codec::canonical(&call.resource.schema, call.resource.ty, &review);
    Ok(call.answer(201, Answer::Value(call.kind().clone(), shown, false)))
}

fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.as_str().into());
    }
    let texts = |names: &[Name]| Value::from(names.iter().map(Name::as_str).collect::<Vec<_>>());
    if !user.groups.is_empty() {
        info.insert("groups".into(), texts(&user.groups));
    }
    if !user.extra.is_empty() {
        let extra: Map<String, Value> = user.extra.iter().map(|(k, v)| (k.to_string(), texts(v))).collect();
        info.insert("extra".into(), extra.into());
    }
    info.into()
}

fn whoami(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let now = call.now.to_string();
    crate::tree::metadata(review).insert("creationTimestamp".into(), now.into());
    object(review, "status").insert("userInfo".into(), user_info(call.user));
    Ok(())
}

fn token(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let token = text(review, &["spec", "token"]).to_owned();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<Name> =
        items(review, &["spec", "audiences"]).iter().filter_map(Value::as_str).map(Name::from).collect();
    let status = match call.config.authenticator.authenticate(&token, &audiences, call.now) {
        Ok((user, audiences)) => {
            let audiences: Vec<&str> = audiences.iter().map(Name::as_str).collect();
            let mut status = json!({"authenticated": true, "user": user_info(&user)});
            if !audiences.is_empty() {
                status["audiences"] = audiences.into();
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error}),
    };
    if let Some(map) = review.as_object_mut() {
        map.insert("status".into(), status);
    }
    Ok(())
}

/// What is asked about, from a review's spec.
fn attributes(review: &Value) -> Result<Attributes, Cause> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), path.is_null()) {
        (true, true) => Err(Cause::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        (false, false) => {
            let shown = json!({"Path": text(path, &["path"]), "Verb": text(path, &["verb"])});
            let why = "cannot be specified in combination with resourceAttributes";
            Err(Cause::invalid("spec.nonResourceAttributes", &shown, why))
        }
        (false, true) => Ok(Attributes {
            verb: text(resource, &["verb"]).into(),
            target: Target::Resource {
                group: text(resource, &["group"]).into(),
                resource: text(resource, &["resource"]).into(),
                subresource: text(resource, &["subresource"]).into(),
                key: Key::new(text(resource, &["namespace"]), text(resource, &["name"])),
            },
        }),
        (true, false) => Ok(Attributes {
            verb: text(path, &["verb"]).into(),
            target: Target::Path(text(path, &["path"]).into()),
        }),
    }
}

fn decide(call: &mut Call<'_>, review: &mut Value, user: &User) -> Result<(), Status> {
    let asked =
        attributes(review).map_err(|cause| Status::invalid("authorization.k8s.io", "", "", vec![cause]))?;
    let decision = call.config.authorizer.authorize(user, &asked, call.view);
    let mut status = json!({"allowed": decision.allowed});
    if decision.denied {
        status["denied"] = true.into();
    }
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    if let Some(map) = review.as_object_mut() {
        map.insert("status".into(), status);
    }
    Ok(())
}

fn own_access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let user = call.user.clone();
    decide(call, review, &user)
}

fn subject(review: &Value) -> Result<User, Status> {
    let spec = &review["spec"];
    let texts = |value: &Value| -> Vec<Name> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Name::from).collect()
    };
    let user = User {
        name: text(spec, &["user"]).into(),
        uid: text(spec, &["uid"]).into(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (Name::from(k.to_lowercase()), texts(v)))
            .collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        let cause = Cause::invalid("spec.user", &"".into(), why);
        return Err(Status::invalid("authorization.k8s.io", "", "", vec![cause]));
    }
    Ok(user)
}

fn access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let user = subject(review)?;
    decide(call, review, &user)
}

fn local_access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let asked =
        at(review, &["spec", "resourceAttributes", "namespace"]).and_then(Value::as_str).unwrap_or_default();
    if asked != call.key.namespace {
        let why = "must match metadata.namespace";
        let cause = Cause::invalid("spec.resourceAttributes.namespace", &asked.into(), why);
        return Err(Status::invalid("authorization.k8s.io", "", "", vec![cause]));
    }
    crate::tree::metadata(review).insert("namespace".into(), call.key.namespace.as_str().into());
    let user = subject(review)?;
    decide(call, review, &user)
}

fn own_rules(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let namespace = text(review, &["spec", "namespace"]).to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = call.config.authorizer.rules(call.user, &namespace, call.view);
    let mut status = json!({
        "resourceRules": rules.resources, "nonResourceRules": rules.paths, "incomplete": rules.incomplete,
    });
    if !rules.error.is_empty() {
        status["evaluationError"] = rules.error.into();
    }
    if let Some(map) = review.as_object_mut() {
        map.insert("status".into(), status);
    }
    Ok(())
}
