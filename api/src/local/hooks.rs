//! The rules of other modules, as a write goes through them.

use orlop_core::scheme::Resource;
use serde_json::Value;

use super::admit::Call;
use crate::patch::{self, PatchError};
use crate::request::PatchType;
use crate::status::{Cause, Status};
use crate::validation::{self, FieldError};
use crate::{defaults, tree};

/// Fills in defaults.
pub(super) fn default(call: &Call<'_>, value: &mut Value) {
    if call.resource.custom {
        let ty = orlop_core::schema::Type::Struct(call.resource.ty);
        return super::custom::default(&call.resource.schema, &ty, value);
    }
    defaults::apply(call.kind(), value);
    defaults::settle(call.kind(), value);
}

/// What is wrong with a new object.
pub(super) fn validate_new(call: &Call<'_>, value: &Value) -> Vec<Cause> {
    // Other versions of a kind are told apart by rules that know only the stored one.
    if call.resource.kind != call.resource.stored_as && !call.resource.custom {
        return Vec::new();
    }
    let mut causes: Vec<Cause> =
        validation::create(call.kind(), value).iter().map(FieldError::cause).collect();
    if call.resource.custom {
        let name = tree::text(value, &["metadata", "name"]);
        for why in orlop_core::rules::names::dns_subdomain(name) {
            causes.push(Cause::invalid("metadata.name", &name.into(), &why));
        }
    }
    causes
}

/// What is wrong with a change.
pub(super) fn validate_change(call: &Call<'_>, value: &Value, old: &Value) -> Vec<Cause> {
    // Other versions of a kind are told apart by rules that know only the stored one.
    let stored_version = call.resource.kind == call.resource.stored_as || call.resource.custom;
    match call.subresource.as_str() {
        "" | "scale" if stored_version => {
            let mut causes: Vec<Cause> =
                validation::update(call.kind(), old, value).iter().map(FieldError::cause).collect();
            causes.extend(super::kinds::check_change(call, value, old));
            causes
        }
        "status" => super::kinds::check_status(call, value, old),
        _ => Vec::new(),
    }
}

/// Notes who owns the fields that `value` has and `live` has not, or not so.
pub(super) fn own(_call: &Call<'_>, live: Option<&Value>, value: &mut Value) -> Result<(), Status> {
    let managed = live.and_then(|live| tree::at(live, &["metadata", "managedFields"]));
    tree::copy(tree::metadata(value), managed, "managedFields");
    Ok(())
}

/// Applies a patch of any kind but server-side apply.
pub(crate) fn patch(resource: &Resource, ty: PatchType, old: &Value, patch: Value) -> Result<Value, Status> {
    let patched = match ty {
        PatchType::Json => patch::json(old.clone(), &patch),
        PatchType::Strategic => patch::strategic(old.clone(), patch, &resource.schema, resource.ty),
        PatchType::Merge | PatchType::Apply => patch::merge(old.clone(), patch),
    };
    patched.map_err(refusal)
}

fn refusal(error: PatchError) -> Status {
    match error {
        PatchError::BadRequest(why) => Status::bad_request(why),
        // What was wrong is not told: Kubernetes' answer is the generic one.
        PatchError::Unprocessable(_) => {
            Status::unprocessable("the server rejected our request due to an error in our request")
        }
        PatchError::TooLarge(why) => Status::too_large(why),
        PatchError::Conflict(why) => {
            Status { code: 409, reason: "Conflict".into(), message: why, ..Status::default() }
        }
        PatchError::Internal(why) => Status::plain(why),
    }
}

/// Server-side apply: the object after it, with its managed fields. `None`: it changes nothing.
pub(super) fn apply(_call: &Call<'_>, live: Option<&Value>, patch: Value) -> Result<Option<Value>, Status> {
    match live {
        Some(live) => patch::merge(live.clone(), patch).map(Some).map_err(refusal),
        None => Ok(Some(patch)),
    }
}
