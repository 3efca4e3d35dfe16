//! MutatingAdmissionPolicies: what they change in a write.

use serde_json::{Value, json};

use super::expressions;
use super::policy::{self, Policy};
use super::{Operation, Review};
use crate::auth::{Attributes, Decision};
use crate::cel;
use crate::managed_fields::{At, merge};
use crate::patch;
use crate::request::User;
use crate::status::Status;

/// The name of policies among those that are asked twice.
const SORT: &str = "policies";

/// Lets the policies change the object, each as the one before it has left it.
pub(super) fn mutate(review: &mut Review<'_>) -> Result<(), Status> {
    if review.operation == Operation::Delete || review.object.is_null() {
        return Ok(());
    }
    let known = policy::all(review, "MutatingAdmissionPolicy", "mutatingadmissionpolicies");
    if known.is_empty() {
        return Ok(());
    }
    review.hooks.rounds.enter(SORT, review.object);
    for candidate in known {
        if !review.hooks.rounds.asks(SORT, &candidate.policy.name) {
            continue;
        }
        let bindings = candidate.about(review);
        if bindings.is_empty() {
            continue;
        }
        let before = review.object.clone();
        for binding in bindings {
            run(review, &candidate.policy, binding)?;
        }
        let if_needed = candidate.policy.spec["reinvocationPolicy"] == "IfNeeded";
        let changed = before != *review.object;
        review.hooks.rounds.asked(SORT, candidate.policy.name.clone(), changed, if_needed);
    }
    review.hooks.rounds.leave(SORT, review.object);
    Ok(())
}

fn run(review: &mut Review<'_>, policy: &Policy, binding: &Value) -> Result<(), Status> {
    let at = binding["metadata"]["name"].as_str().unwrap_or_default();
    let refuse = |review: &Review<'_>, why: &str| {
        review.forbidden(&format!("policy '{}' with binding '{at}' denied request: {why}", policy.name))
    };
    let open = policy.spec["failurePolicy"] == "Ignore";
    let params = match policy.params(review, binding) {
        Ok(params) => params,
        Err(_) if open => return Ok(()),
        Err(why) => return Err(refuse(review, &format!("failed to configure binding: {why}"))),
    };
    for param in params {
        match changed(review, policy, param.as_ref()) {
            Ok(None) => {}
            Ok(Some(object)) => *review.object = object,
            Err(_) if open => {}
            Err(why) => return Err(refuse(review, &why)),
        }
    }
    Ok(())
}

/// The object as the policy would have it; `None` where it is content.
fn changed(review: &mut Review<'_>, policy: &Policy, param: Option<&Value>) -> Result<Option<Value>, String> {
    let (authorizer, view) = (review.authorizer, review.view);
    let ask =
        |user: &User, attributes: &Attributes| -> Decision { authorizer.authorize(user, attributes, view) };
    let before = review.object.clone();
    for (ty, expression) in &policy.mutations {
        let mut values = expressions::activation(review, &ask);
        values.set("params", Ok(param.map_or(cel::Value::Null, cel::Value::from_json)));
        if !policy.applies(&values)? {
            break;
        }
        let values = policy.with_variables(values);
        let result = expression.run(&values);
        let result =
            result.map_err(|why| format!("expression '{}' resulted in error: {why}", expression.source));
        let made = match ty.as_str() {
            "JSONPatch" => result.and_then(|result| patched(review.object, &result)),
            _ => result.and_then(|result| applied(review, &result)),
        };
        let made = made.and_then(|object| super::remade(review, object));
        match made {
            Ok(object) => *review.object = object,
            Err(why) => {
                *review.object = before;
                return Err(why);
            }
        }
    }
    let after = std::mem::replace(review.object, before);
    let changed = after != *review.object;
    Ok(changed.then_some(after))
}

fn patched(object: &Value, result: &cel::Value) -> Result<Value, String> {
    let cel::Value::List(list) = result else { return Err("must be a list of patches".into()) };
    let mut operations = Vec::with_capacity(list.items.len());
    for item in &list.items {
        let json = item.to_json().ok_or("a patch holds what JSON cannot say")?;
        let mut operation = serde_json::Map::new();
        for field in ["op", "from", "path", "value"] {
            if let Some(value) = json.get(field) {
                operation.insert(field.to_owned(), value.clone());
            }
        }
        operations.push(Value::Object(operation));
    }
    patch::json(object.clone(), &Value::Array(operations)).map_err(|e| format!("JSON Patch: {e}"))
}

fn applied(review: &Review<'_>, result: &cel::Value) -> Result<Value, String> {
    let mut config = result.to_json().ok_or("a configuration holds what JSON cannot say")?;
    let Some(map) = config.as_object_mut() else { return Err("must be an object".into()) };
    if let Some(meta) = map.get("metadata") {
        let own = ["name", "namespace", "uid", "resourceVersion", "generation", "managedFields"];
        if let Some(field) = own.iter().find(|field| !meta[**field].is_null()) {
            return Err(format!("metadata.{field} may not be changed"));
        }
    }
    let kind = review.object_kind();
    map.insert("apiVersion".into(), kind.api_version().as_str().into());
    map.insert("kind".into(), json!(kind.kind.as_str()));
    let (schema, ty) = match review.sort {
        Some(sort) => review.scheme.type_of(&sort.group, &sort.version, &sort.kind),
        None => {
            let resource = review.scheme.resource(&kind.group, &kind.version, &kind.plural);
            resource.map(|resource| (resource.schema.clone(), resource.ty))
        }
    }
    .ok_or("the kind is not served")?;
    let at = At::root(&schema, ty);
    crate::managed_fields::to_set(at, &config, false)?;
    Ok(merge(at, review.object, &config))
}
