//! The rules of other modules, as a write goes through them.

use orlop_core::scheme::Resource;
use serde_json::Value;

use super::admit::Call;
use crate::apply::{self, ApplyError};
use crate::managed_fields::{self, Writer};
use crate::patch::{self, PatchError};
use crate::request::PatchType;
use crate::status::{Cause, Details, Status};
use crate::validation::{self, FieldError};
use crate::{defaults, tree};

/// Fills in defaults.
pub(super) fn default(call: &Call<'_>, value: &mut Value) {
    if call.resource.custom {
        let ty = orlop_core::schema::Type::Struct(call.resource.ty);
        super::custom::default(&call.resource.schema, &ty, value);
        if let Some(custom) = call.served.custom(call.kind()) {
            crate::crd::prune::drop_nulls(&custom.ask.node, value);
        }
        return;
    }
    defaults::apply(call.kind(), value);
    defaults::settle(call.kind(), value);
    super::kinds::complete(call, value);
}

/// The object as its stored version has it, whose rules are those of the kind.
fn as_stored(call: &Call<'_>, value: &Value) -> Option<Value> {
    let body = call.encode(value).ok()?;
    serde_json::from_slice(body.bytes()).ok()
}

fn is_other_version(call: &Call<'_>) -> bool {
    call.resource.kind != call.resource.stored_as && !call.resource.custom
}

fn causes(errors: &[FieldError]) -> Vec<Cause> {
    errors.iter().map(FieldError::cause).collect()
}

/// What is wrong with a new object.
pub(super) fn validate_new(call: &Call<'_>, value: &Value) -> Vec<Cause> {
    if is_other_version(call) {
        let Some(stored) = as_stored(call, value) else { return Vec::new() };
        if call.kind().group == "events.k8s.io" {
            return causes(&validation::new_event(&stored));
        }
        return causes(&validation::create(&call.resource.stored_as, &stored));
    }
    let errors = match call.served.custom(call.kind()) {
        Some(custom) => crate::crd::object::create(&custom.ask, custom.scale.as_ref(), value),
        None => validation::create(call.kind(), value),
    };
    causes(&errors)
}

/// What is wrong with a change. An amount that is only written in another way, `3` for `"3"`, is no change.
pub(super) fn validate_change(call: &Call<'_>, value: &Value, old: &Value) -> Vec<Cause> {
    let causes = changed(call, value, old);
    if causes.is_empty() {
        return causes;
    }
    let written = orlop_core::codec::canonical(&call.resource.schema, call.resource.ty, value);
    if changed(call, &written, old).is_empty() { Vec::new() } else { causes }
}

fn changed(call: &Call<'_>, value: &Value, old: &Value) -> Vec<Cause> {
    if let Some(custom) = call.served.custom(call.kind()) {
        let status = call.subresource == "status";
        return causes(&crate::crd::object::update(&custom.ask, custom.scale.as_ref(), old, value, status));
    }
    let both = is_other_version(call).then(|| as_stored(call, old).zip(as_stored(call, value))).flatten();
    let (old, new) = both.as_ref().map_or((old, value), |(old, new)| (old, new));
    let kind = &call.resource.stored_as;
    match call.subresource.as_str() {
        "" if call.kind().group == "events.k8s.io" => causes(&validation::changed_event(old, new)),
        "" | "scale" => causes(&validation::update(kind, old, new)),
        "status" if call.kind().plural == "customresourcedefinitions" => {
            causes(&crate::crd::definition::update_status(old, new))
        }
        subresource => causes(&validation::update_subresource(kind, subresource, old, new)),
    }
}

/// What people are warned of although it is accepted.
pub(super) fn warnings(call: &Call<'_>, value: &Value, old: Option<&Value>) -> Vec<String> {
    if !call.subresource.is_empty() || call.resource.custom {
        return Vec::new();
    }
    if call.kind().plural == "customresourcedefinitions" && call.kind().group == "apiextensions.k8s.io" {
        return crate::crd::definition::warnings(value);
    }
    validation::warnings(call.kind(), value, old)
}

/// Who writes, for the notes about who owns which field.
fn with_writer<T>(call: &Call<'_>, then: impl FnOnce(&Writer<'_>) -> T) -> T {
    let manager = match call.options.field_manager.as_str() {
        "" => "unknown",
        manager => manager,
    };
    let reset: &[&str] = match call.subresource.as_str() {
        "" if call.kind().plural == "certificatesigningrequests" => &["spec", "status"],
        "status" if call.resource.custom => &["spec", "metadata"],
        "" | "finalize" if call.resource.subresource("status").is_some() => &["status"],
        "status" | "approval" => &["spec"],
        _ => &[],
    };
    let api_version = call.kind().api_version();
    let subresource = call.subresource.as_str();
    then(&Writer { manager, api_version: &api_version, subresource, now: call.now, reset })
}

/// Notes who owns the fields of what is asked rather than stored.
pub(crate) fn own_review(call: &Call<'_>, value: &mut Value) {
    let (schema, ty) = (&call.resource.schema, call.resource.ty);
    with_writer(call, |by| managed_fields::update_on_write(None, value, by, schema, ty));
}

/// Notes who owns the fields of a new object.
pub(super) fn own_new(call: &mut Call<'_>, value: &mut Value) {
    let (schema, ty) = (&call.resource.schema, call.resource.ty);
    super::complete::complete(schema, ty, value);
    call.managed = with_writer(call, |by| managed_fields::create(value, by, schema, ty));
}

/// Notes who owns the fields that `value` has and `live` has not, or not so.
pub(super) fn own(call: &Call<'_>, live: &Value, value: &mut Value) {
    let (schema, ty) = (&call.resource.schema, call.resource.ty);
    super::complete::complete(schema, ty, value);
    with_writer(call, |by| match call.subresource.as_str() {
        "scale" => crate::subresources::scale::own(call, live, value, by),
        _ => managed_fields::update_on_write(Some(live), value, by, schema, ty),
    });
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
pub(super) fn apply(
    call: &mut Call<'_>,
    live: Option<&Value>,
    mut config: Value,
) -> Result<Option<Value>, Status> {
    check_config(call, live, &mut config)?;
    let (schema, ty) = (call.resource.schema.clone(), call.resource.ty);
    let force = call.options.force;
    let applied = with_writer(call, |by| {
        apply::apply_over(&managed_fields::blank(&schema, ty), live, &config, by, force, &schema, ty)
    });
    let mut applied = applied.map_err(|error| match error {
        ApplyError::Conflict { message, causes } => {
            let details = Details { causes, ..Details::default() };
            let reason = "Conflict".to_owned();
            Status { code: 409, reason, message, details: Some(Box::new(details)), ..Status::default() }
        }
        ApplyError::BadRequest(why) => Status::bad_request(why),
        ApplyError::Schema(why) => Status::plain(why),
    })?;
    if live == Some(&applied) {
        return Ok(None);
    }
    let complaints = orlop_core::codec::conform(&schema, ty, &mut applied, &[])
        .map_err(|e| Status::plain(format!("failed to create typed patch object: {}", e.message)))?;
    call.warnings.extend(complaints);
    Ok(Some(applied))
}

/// A configuration must be of the object that the path names.
fn check_config(call: &Call<'_>, live: Option<&Value>, config: &mut Value) -> Result<(), Status> {
    let kind = call.kind();
    let (version, given) = (tree::text(config, &["apiVersion"]), tree::text(config, &["kind"]));
    if version != kind.api_version() || given != kind.kind {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={given}")));
    }
    let name = tree::text(config, &["metadata", "name"]);
    if !name.is_empty() && name != call.key.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.key.name
        )));
    }
    super::meta::check_uid(call, tree::text(config, &["metadata", "uid"]), live)?;
    let asked = tree::text(config, &["metadata", "resourceVersion"]).to_owned();
    if let Some(live) = live
        && !asked.is_empty()
        && asked != tree::text(live, &["metadata", "resourceVersion"])
    {
        return Err(call.stale());
    }
    if let Some(meta) = config.get_mut("metadata") {
        tree::remove(meta, "resourceVersion");
    }
    Ok(())
}
