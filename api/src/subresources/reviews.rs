//! Kinds that are asked rather than stored: who am I, may I, whose token is this.

use orlop_core::{Key, Name};
use serde_json::{Map, Value, json};

use crate::auth::{Attributes, ISSUER, Target};
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
    crate::local::own_review(call, &mut review);
    let kind = call.kind().clone();
    crate::local::observe(call, crate::admission::Operation::Create, &kind, &mut review, None)?;
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
    let mut audiences: Vec<Name> =
        items(review, &["spec", "audiences"]).iter().filter_map(Value::as_str).map(Name::from).collect();
    if audiences.is_empty() {
        audiences.push(Name::new_static(ISSUER));
    }
    let status = match call.config.authenticator.authenticate(&token, &audiences, call.view, call.now) {
        Ok(Some((user, good_for))) => {
            let good_for: Vec<&str> = good_for.iter().map(Name::as_str).collect();
            let mut status = json!({"authenticated": true, "user": user_info(&user.authenticated())});
            if !good_for.is_empty() {
                status["audiences"] = good_for.into();
            }
            status
        }
        Ok(None) => json!({"user": {}}),
        Err(error) => json!({"user": {}, "error": error}),
    };
    if let Some(map) = review.as_object_mut() {
        map.insert("status".into(), status);
    }
    Ok(())
}

/// What is asked about, from a review's spec.
fn attributes(review: &Value) -> Attributes {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() {
        return Attributes {
            verb: text(path, &["verb"]).into(),
            target: Target::Path(text(path, &["path"]).into()),
        };
    }
    Attributes {
        verb: text(resource, &["verb"]).into(),
        target: Target::Resource {
            group: text(resource, &["group"]).into(),
            resource: text(resource, &["resource"]).into(),
            subresource: text(resource, &["subresource"]).into(),
            key: Key::new(text(resource, &["namespace"]), text(resource, &["name"])),
        },
    }
}

/// What is wrong with what is asked.
fn wrong_attributes(review: &Value) -> Vec<Cause> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), path.is_null()) {
        (true, true) => vec![Cause::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            vec![Cause::invalid("spec.nonResourceAttributes", &shown_path(path), why)]
        }
        _ => Vec::new(),
    }
}

fn shown_path(path: &Value) -> Value {
    json!({"Path": text(path, &["path"]), "Verb": text(path, &["verb"])})
}

const SELECTORS: [&str; 2] = ["fieldSelector", "labelSelector"];
const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// What is wrong with the selectors by which what is asked is narrowed.
fn wrong_selectors(review: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in SELECTORS {
        let Some(selector) = at(review, &["spec", "resourceAttributes", field]).filter(|s| !s.is_null())
        else {
            continue;
        };
        let place = format!("spec.resourceAttributes.{field}");
        let (raw, requirements) = (text(selector, &["rawSelector"]), items(selector, &["requirements"]));
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            causes.push(Cause::invalid(&format!("{place}.rawSelector"), &raw.into(), why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!("when {place} is specified, requirements or rawSelector is required");
            causes.push(Cause::required(&format!("{place}.requirements"), &why));
        }
        for (index, requirement) in requirements.iter().enumerate() {
            let at_requirement = format!("{place}.requirements[{index}]");
            let values = &requirement["values"];
            let given = !items(requirement, &["values"]).is_empty();
            match text(requirement, &["operator"]) {
                "In" | "NotIn" if !given => {
                    let why = "must be specified when `operator` is 'In' or 'NotIn'";
                    causes.push(Cause::required(&format!("{at_requirement}.values"), why));
                }
                "Exists" | "DoesNotExist" if given && !values.is_null() => {
                    let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    causes.push(Cause::forbidden(&format!("{at_requirement}.values"), why));
                }
                _ => {}
            }
            if text(requirement, &["key"]).is_empty() {
                causes.push(Cause::required(&format!("{at_requirement}.key"), "must be specified"));
            }
        }
    }
    causes
}

/// The selector that narrows nothing, since nobody knows its operators.
fn ignored_selector(review: &Value) -> Option<String> {
    SELECTORS.iter().find_map(|field| {
        let path = ["spec", "resourceAttributes", field, "requirements"];
        let unknown = items(review, &path)
            .iter()
            .any(|requirement| !OPERATORS.contains(&text(requirement, &["operator"])));
        unknown.then(|| format!("spec.resourceAttributes.{field} ignored due to parse error"))
    })
}

/// Reviews have no metadata but what the server itself notes; a local one has its namespace.
fn wrong_metadata(review: &Value, local: bool) -> Option<Cause> {
    let meta = review.get("metadata").and_then(Value::as_object)?;
    let given = meta.iter().any(|(field, value)| {
        let empty =
            value.is_null() || value == "" || value.as_object().is_some_and(serde_json::Map::is_empty);
        !empty && field != "managedFields" && !(local && field == "namespace")
    });
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    given.then(|| Cause::invalid("metadata", &Value::Object(meta.clone()), why))
}

fn refused(causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", "", "", causes)) }
}

fn decide(call: &mut Call<'_>, review: &mut Value, user: &User) {
    let decision = call.config.authorizer.authorize(user, &attributes(review), call.view);
    let mut status = json!({"allowed": decision.permits()});
    if decision.denied {
        status["denied"] = true.into();
    }
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    if let Some(ignored) = ignored_selector(review) {
        status["evaluationError"] = ignored.into();
    }
    if let Some(map) = review.as_object_mut() {
        map.insert("status".into(), status);
    }
}

fn own_access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let mut causes = wrong_attributes(review);
    causes.extend(wrong_selectors(review));
    causes.extend(wrong_metadata(review, false));
    refused(causes)?;
    let user = call.user.clone();
    decide(call, review, &user);
    Ok(())
}

fn subject(review: &Value) -> User {
    let spec = &review["spec"];
    let texts = |value: &Value| -> Vec<Name> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Name::from).collect()
    };
    User {
        name: text(spec, &["user"]).into(),
        uid: text(spec, &["uid"]).into(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (Name::from(k.to_lowercase()), texts(v)))
            .collect(),
    }
}

/// What is wrong with a review about somebody else.
fn wrong_review(review: &Value) -> Vec<Cause> {
    let mut causes = wrong_attributes(review);
    let user = subject(review);
    if user.name.is_empty() && user.groups.is_empty() {
        let why = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &"".into(), why));
    }
    causes.extend(wrong_selectors(review));
    causes
}

fn access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let mut causes = wrong_review(review);
    causes.extend(wrong_metadata(review, false));
    refused(causes)?;
    let user = subject(review);
    decide(call, review, &user);
    Ok(())
}

fn local_access(call: &mut Call<'_>, review: &mut Value) -> Result<(), Status> {
    let mut causes = wrong_review(review);
    causes.extend(wrong_metadata(review, true));
    let resource = at(review, &["spec", "resourceAttributes"]).filter(|r| !r.is_null());
    if let Some(asked) = resource.map(|r| text(r, &["namespace"])).filter(|ns| *ns != call.key.namespace) {
        let why = "must match metadata.namespace";
        causes.push(Cause::invalid("spec.resourceAttributes.namespace", &asked.into(), why));
    }
    if let Some(path) = at(review, &["spec", "nonResourceAttributes"]).filter(|p| !p.is_null()) {
        let why = "disallowed on this kind of request";
        causes.push(Cause::invalid("spec.nonResourceAttributes", &shown_path(path), why));
    }
    refused(causes)?;
    crate::tree::metadata(review).insert("namespace".into(), call.key.namespace.as_str().into());
    let user = subject(review);
    decide(call, review, &user);
    Ok(())
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
