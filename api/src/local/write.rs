//! Creating and changing objects.

use std::sync::Arc;

use orlop_core::store::{Compare, Entry, Op};
use orlop_core::{Body as StoredBody, Stored};
use serde_json::Value;
use serde_json::value::RawValue;

use super::admit::{Admitted, Answer, Call, Then};
use super::body::{self, Expect};
use super::served::DEFINITIONS;
use super::spelling::{self, Spelling};
use super::{empty, hooks, kinds, likeness, meta, services};
use crate::admission::{self, Operation, Review};
use crate::request::{Body, MediaType, PatchType};
use crate::status::{Cause, Status};
use crate::strategy::Strategy;
use crate::tree::{items, text};

/// Creates an object.
pub(crate) fn create(call: &mut Call<'_>, body: Option<&Body>) -> Result<Admitted, Status> {
    likeness::create(call, body, decide_new)
}

fn decide_new(call: &mut Call<'_>, body: Option<&Body>) -> Result<Admitted, Status> {
    let (value, _) = read(call, body)?;
    create_object(call, value).map_err(|status| empty::spelt(status, typed(call), || as_sent(call, body)))
}

fn typed<'a>(call: &Call<'a>) -> (&'a orlop_core::schema::Schema, orlop_core::schema::StructId) {
    (&call.resource.schema, call.resource.ty)
}

/// What a body holds, with what means nothing.
fn as_sent(call: &Call<'_>, body: Option<&Body>) -> Option<Value> {
    let decoded = body::decode(body, &call.served.scheme, orlop_core::codec::decode_untyped_json);
    decoded.ok().map(|parsed| parsed.value)
}

/// Decodes a body that holds an object of the requested kind; and whether it wants nobody to own a field.
fn read(call: &mut Call<'_>, body: Option<&Body>) -> Result<(Value, bool), Status> {
    let mut parsed = body::object(body, Expect::of(call.resource), &call.served.scheme)?;
    let forgets = names_no_owner(&parsed.value);
    body::conform(call.resource, &mut parsed, &call.options.field_validation, &mut call.warnings)?;
    call.spelling = spelling::sent(call.resource, body, &parsed.value);
    Ok((parsed.value, forgets))
}

/// Whether `managedFields` is there and empty. That is another way to say what a single empty entry says: forget all.
/// Clients that know nothing of the field leave it out.
fn names_no_owner(value: &Value) -> bool {
    value["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty)
}

/// Puts the single empty entry where [`names_no_owner`] was true, since decoding drops what is empty.
fn forget_owners(value: &mut Value) {
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert("managedFields".into(), serde_json::json!([{}]));
    }
}

fn create_object(call: &mut Call<'_>, value: Value) -> Result<Admitted, Status> {
    create_owned(call, value, false)
}

/// `owned`: who owns the object's fields is known already.
fn create_owned(call: &mut Call<'_>, mut value: Value, owned: bool) -> Result<Admitted, Status> {
    let strategy = Strategy::of(call.resource);
    meta::check_namespace(call, &mut value)?;
    hooks::default(call, &mut value);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        // What only the server may say is owned by nobody.
        crate::tree::metadata(&mut value).shift_remove(field);
    }
    if !owned {
        hooks::own_new(call, &mut value);
    }
    let given = match text(&value, &["metadata", "name"]) {
        "" => text(&value, &["metadata", "generateName"]),
        name => name,
    };
    call.key.name = given.into();
    admit(call, Operation::Create, &mut value, None)?;
    meta::prepare_new(call, &mut value, strategy)?;
    kinds::prepare_new(call, &mut value, strategy);
    services::prepare(call, &mut value, None)?;
    let causes = hooks::validate_new(call, &value);
    let causes = services::allocate(call, &mut value, None, causes)?;
    if !causes.is_empty() {
        return Err(call.invalid(causes));
    }
    call.warnings.extend(hooks::warnings(call, &value, None));
    let labels = value["metadata"].get("labels").cloned();
    kinds::settle_new(call, &mut value);
    if spelling::unsettled(call.resource, labels.as_ref(), &value) {
        call.spelling = Spelling::Unsettled;
    }
    meta::name_owners_once(&mut value);
    judge(call, Operation::Create, &mut value, None)?;
    if call.current()?.is_some() {
        let kind = call.kind();
        return Err(Status::already_exists(&kind.group, &kind.plural, &call.key.name));
    }
    let body = call.spelling.mark(call.encode(&value)?);
    let txn = call.put(body.clone(), None)?;
    let answer = Answer::Written(call.kind().clone(), call.shown_body(body));
    Ok(Admitted { txn, then: settle(call)?, ..call.answer(201, answer) })
}

/// A definition that changes changes what is served.
fn settle(call: &Call<'_>) -> Result<Then, Status> {
    let key = call.storage_key()?;
    Ok(match key.strip_prefix(DEFINITIONS) {
        Some(name) => Then::Settle(name.into()),
        None => Then::Nothing,
    })
}

/// Replaces an object, or a part of it.
pub(crate) fn update(call: &mut Call<'_>, body: Option<&Body>) -> Result<Admitted, Status> {
    let (mut value, forgets) = read(call, body)?;
    meta::check_name(call, &value)?;
    meta::check_namespace(call, &mut value)?;
    let Some(entry) = call.current()? else {
        let may = Strategy::of(call.resource).create_on_update && call.subresource.is_empty();
        return if may { create_object(call, value) } else { Err(call.not_found()) };
    };
    if forgets {
        forget_owners(&mut value);
    }
    let old = call.tree(&entry.object);
    hooks::default(call, &mut value);
    replace(call, &entry, &old, value)
        .map_err(|status| empty::spelt(status, typed(call), || as_sent(call, body)))
}

/// Changes parts of an object.
pub(crate) fn patch(call: &mut Call<'_>, ty: PatchType, body: Option<&Body>) -> Result<Admitted, Status> {
    if ty == PatchType::Apply {
        return apply(call, body);
    }
    if ty == PatchType::Strategic && call.resource.custom {
        return Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ]));
    }
    let sent = body;
    let mut patch = body::decode(body, &call.served.scheme, orlop_core::codec::decode_untyped_json)
        .map_err(Status::bad_request)?;
    if ty == PatchType::Strategic && patch.value.is_array() {
        let why = "json: cannot unmarshal array into Go value of type map[string]interface {}";
        return Err(Status::bad_request(why));
    }
    let entry = call.existing()?;
    let old = call.tree(&entry.object);
    let strange = if ty == PatchType::Json { strange_operations(&mut patch) } else { Vec::new() };
    let given = (ty == PatchType::Strategic).then(|| patch.value.clone());
    let patched = hooks::patch(call.resource, ty, &old, std::mem::take(&mut patch.value))?;
    let forgets = names_no_owner(&patched);
    let mut parsed = body::Parsed { value: patched, ..patch };
    conform_patched(call, &mut parsed, given.as_ref(), strange)?;
    let mut value = parsed.value;
    if forgets {
        forget_owners(&mut value);
    }
    meta::check_name(call, &value)?;
    meta::check_uid(call, text(&value, &["metadata", "uid"]), Some(&old))?;
    meta::check_namespace(call, &mut value)?;
    hooks::default(call, &mut value);
    replace(call, &entry, &old, value).map_err(|status| {
        empty::spelt(status, typed(call), || hooks::patch(call.resource, ty, &old, as_sent(call, sent)?).ok())
    })
}

/// What strict decoding says of a JSON patch itself. Keys that come twice in it say nothing of what it makes.
fn strange_operations(patch: &mut body::Parsed) -> Vec<String> {
    let mut strange: Vec<String> = std::mem::take(&mut patch.duplicates)
        .iter()
        .map(|duplicate| format!("json patch duplicate field \"{}\"", duplicate.path))
        .collect();
    for (i, operation) in patch.value.as_array().into_iter().flatten().enumerate() {
        for key in operation.as_object().into_iter().flatten().map(|(key, _)| key) {
            if !["op", "path", "from", "value"].contains(&key.as_str()) {
                strange.push(format!("json patch unknown field \"[{i}].{key}\""));
            }
        }
    }
    strange
}

/// What a patch makes of an object must still be one. Of a strategic merge patch, `given`, errors quote the patch; of
/// any other, what it made.
fn conform_patched(
    call: &mut Call<'_>,
    parsed: &mut body::Parsed,
    given: Option<&Value>,
    strange: Vec<String>,
) -> Result<(), Status> {
    let made = given.is_none().then(|| parsed.value.clone());
    let result = orlop_core::codec::conform(
        &call.resource.schema,
        call.resource.ty,
        &mut parsed.value,
        &parsed.duplicates,
    );
    let invalid = |why: &str| {
        let quoted = match (given, &made) {
            (Some(patch), _) => crate::patch::spelt(patch),
            (None, made) => made.as_ref().map(Value::to_string).unwrap_or_default(),
        };
        Status::invalid("", "", "", vec![Cause::invalid("patch", &quoted.into(), why)])
    };
    let (version, kind) = (text(&parsed.value, &["apiVersion"]), text(&parsed.value, &["kind"]));
    let own = call.kind();
    if !call.resource.custom && !kind.is_empty() && (version != own.api_version() || kind != own.kind) {
        let package = version.rsplit('/').next().unwrap_or_default();
        return Err(invalid(&format!(
            "converting ({package}.{kind}) to (core.{}): unknown conversion",
            own.kind
        )));
    }
    let result = result.map(|complaints| strange.into_iter().chain(complaints).collect::<Vec<_>>());
    match (result, call.options.field_validation.as_str()) {
        (Err(e), _) if given.is_some() => Err(invalid(&crate::patch::restored(&e.message))),
        (Err(e), _) => Err(invalid(&e.message)),
        (Ok(complaints), "Strict") if !complaints.is_empty() => {
            Err(invalid(&format!("strict decoding error: {}", complaints.join(", "))))
        }
        (Ok(_), "Ignore" | "Strict") => Ok(()),
        (Ok(complaints), _) => {
            call.warnings.extend(complaints);
            Ok(())
        }
    }
}

/// Server-side apply.
fn apply(call: &mut Call<'_>, body: Option<&Body>) -> Result<Admitted, Status> {
    if call.options.field_manager.is_empty() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
    }
    let bytes = match body {
        Some(Body::Bytes(MediaType::Json | MediaType::Yaml, bytes)) => {
            body::yaml(bytes).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?.value
        }
        other => {
            body::decode(other, &call.served.scheme, orlop_core::codec::decode_untyped_json)
                .map_err(Status::bad_request)?
                .value
        }
    };
    let entry = call.current()?;
    let old = entry.as_ref().map(|entry| call.tree(&entry.object));
    if entry.is_none() && !call.subresource.is_empty() {
        return Err(call.not_found());
    }
    let applied = hooks::apply(call, old.as_ref(), bytes)?;
    match (entry, old) {
        (Some(entry), Some(old)) => {
            let Some(mut value) = applied else {
                let answer = Answer::Stored(call.kind().clone(), call.shown(&entry.object));
                return Ok(call.answer(200, answer));
            };
            hooks::default(call, &mut value);
            change(call, &entry, &old, value)
        }
        _ => {
            let mut value = applied.unwrap_or_default();
            crate::tree::metadata(&mut value).insert("name".into(), call.key.name.as_str().into());
            create_owned(call, value, true)
        }
    }
}

/// Puts `value` in the place of `old`, as far as the subresource allows, and notes who now owns which fields.
pub(crate) fn replace(
    call: &mut Call<'_>,
    entry: &Entry,
    old: &Value,
    mut value: Value,
) -> Result<Admitted, Status> {
    let strategy = Strategy::of(call.resource);
    if let Some(meta) = old.get("metadata").and_then(Value::as_object) {
        meta::check_preconditions(call, &value, meta, strategy)?;
    }
    if call.subresource == "status" && strategy.status_keeps_labels {
        // What does not count is owned by nobody.
        let labels = crate::tree::at(old, &["metadata", "labels"]).cloned();
        crate::tree::copy(crate::tree::metadata(&mut value), labels.as_ref(), "labels");
    }
    hooks::own(call, old, &mut value);
    change(call, entry, old, value)
}

/// [`replace`] for an object whose managed fields are settled.
fn change(call: &mut Call<'_>, entry: &Entry, old: &Value, mut value: Value) -> Result<Admitted, Status> {
    let mut strategy = Strategy::of(call.resource);
    if call.subresource == "status" {
        // What a status comes with is not what is wanted.
        strategy.generation_counts_labels = false;
        strategy.generation_counts_annotations = false;
    }
    meta::keep(old, &mut value);
    kinds::merge(call, old, &mut value, strategy);
    services::prepare(call, &mut value, Some(old))?;
    admit(call, Operation::Update, &mut value, Some(old))?;
    let before = Spelling::of(entry);
    if !call.subresource.is_empty() {
        // What it does not write, it does not spell anew.
        call.spelling = if before == Spelling::Spaced { before } else { Spelling::Settled };
    }
    let respelt = (before == Spelling::Spaced) != (call.spelling == Spelling::Spaced);
    let mut causes = hooks::validate_change(call, &value, old);
    if let Some(field) = spelling::fixed(call.resource).filter(|_| respelt && causes.is_empty()) {
        causes.push(Cause::invalid(field, &value[field], "field is immutable"));
    }
    let causes = services::allocate(call, &mut value, Some(old), causes)?;
    if !causes.is_empty() {
        return Err(call.invalid(causes));
    }
    call.warnings.extend(hooks::warnings(call, &value, Some(old)));
    meta::name_owners_once(&mut value);
    judge(call, Operation::Update, &mut value, Some(old))?;
    let mut body = call.encode(&value)?;
    if let Some(admitted) = gone(call, entry, &value, &body)? {
        return Ok(admitted);
    }
    // A status without a path of its own is a part of what is wanted.
    let status_apart = call.resource.subresource("status").is_some() || !call.resource.custom;
    if strategy.generation
        && !strategy.generation_stays
        && (respelt || desires_other(&entry.object.body, &body, strategy, status_apart))
    {
        let generation = entry.object.body.header().generation + 1;
        crate::tree::metadata(&mut value).insert("generation".into(), generation.into());
        body = call.encode(&value)?;
    }
    body = call.spelling.mark(body);
    if body.bytes() == entry.object.body.bytes() {
        let answer = Answer::Stored(call.kind().clone(), call.shown(&entry.object));
        return Ok(call.answer(200, answer));
    }
    let txn = call.put(body.clone(), Some(entry))?;
    let answer = Answer::Written(call.kind().clone(), call.shown_body(body));
    Ok(Admitted { txn, then: settle(call)?, ..call.answer(200, answer) })
}

/// The end of an object that is being deleted and that nobody waits for any more.
fn gone(
    call: &mut Call<'_>,
    entry: &Entry,
    value: &Value,
    body: &Arc<StoredBody>,
) -> Result<Option<Admitted>, Status> {
    let namespace = call.kind().plural == "namespaces" && call.kind().group.is_empty();
    let deleted = entry.object.body.header().deleted.is_some();
    let no_grace = namespace || value["metadata"]["deletionGracePeriodSeconds"] == 0;
    let held = !items(value, &["metadata", "finalizers"]).is_empty()
        || namespace && !items(value, &["spec", "finalizers"]).is_empty();
    if !deleted || !no_grace || held {
        return Ok(None);
    }
    let mut admitted = super::delete::remove(call, entry)?;
    let last = Stored { body: body.clone(), revision: entry.object.revision };
    admitted.answer = Answer::Stored(call.kind().clone(), call.shown(&last));
    Ok(Some(admitted))
}

/// Whether two states differ in anything but metadata and status.
fn desires_other(old: &StoredBody, new: &StoredBody, strategy: Strategy, status_apart: bool) -> bool {
    type Fields<'a> = std::collections::BTreeMap<&'a str, &'a RawValue>;
    fn parts(body: &StoredBody, status_apart: bool) -> Fields<'_> {
        let mut fields: Fields<'_> = serde_json::from_slice(body.bytes()).unwrap_or_default();
        for field in ["kind", "apiVersion", "metadata"] {
            fields.remove(field);
        }
        if status_apart {
            fields.remove("status");
        }
        fields
    }
    let (a, b) = (parts(old, status_apart), parts(new, status_apart));
    let differ = a.len() != b.len() || a.iter().zip(&b).any(|((k, v), (l, w))| k != l || v.get() != w.get());
    if differ || !strategy.generation_counts_labels && !strategy.generation_counts_annotations {
        return differ;
    }
    let (a, b) = (metadata_of(old).unwrap_or_default(), metadata_of(new).unwrap_or_default());
    strategy.generation_counts_labels && a.labels != b.labels
        || strategy.generation_counts_annotations && a.annotations != b.annotations
}

fn metadata_of(body: &StoredBody) -> Option<orlop_core::Meta> {
    #[derive(serde::Deserialize)]
    struct Top {
        metadata: orlop_core::Meta,
    }
    serde_json::from_slice::<Top>(body.bytes()).ok().map(|top| top.metadata)
}

/// Where policies and the configurations of webhooks are stored.
const OBSERVERS: [&str; 4] = [
    "/registry/mutatingadmissionpolicies/",
    "/registry/mutatingwebhookconfigurations/",
    "/registry/validatingadmissionpolicies/",
    "/registry/validatingwebhookconfigurations/",
];

/// Whether a policy, a webhook or an embedder's own admission may look at what is decided.
pub(super) fn is_observed(call: &Call<'_>) -> bool {
    !call.config.admission.is_empty()
        || OBSERVERS.iter().any(|range| !call.view.range(range, "", 1).is_empty())
}

/// Runs admission's changes.
fn admit(
    call: &mut Call<'_>,
    operation: Operation,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let plugins = call.config.admission.clone();
    // Policies, webhooks and an embedder's own see the object in full.
    if is_observed(call) {
        call.spell_out(value);
    }
    let mut review = review(call, operation, value, old);
    admission::run(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.mutate(&mut review))
}

/// Runs admission's judgements, after all changes.
fn judge(
    call: &mut Call<'_>,
    operation: Operation,
    value: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let plugins = call.config.admission.clone();
    let mut review = review(call, operation, value, old);
    admission::judge(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.validate(&review))?;
    admission::charge(&mut review)
}

/// Admission of what is asked and not written: a session, a binding, an eviction, a token, a scale, a review; `sort` says
/// which. Policies, webhooks and an embedder's own see it, and may change what is asked.
pub(crate) fn observe(
    call: &mut Call<'_>,
    operation: Operation,
    sort: &orlop_core::Kind,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let plugins = call.config.admission.clone();
    if !is_observed(call) {
        return Ok(());
    }
    let mut kind = sort.clone();
    if let Some(map) = object.as_object_mut() {
        map.insert("kind".into(), kind.kind.as_str().into());
        map.insert("apiVersion".into(), kind.api_version().as_str().into());
    }
    kind.plural = call.resource.kind.plural.clone();
    let mut review = Review { sort: Some(&kind), ..review(call, operation, object, old) };
    admission::change_asked(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.mutate(&mut review))?;
    admission::judge_asked(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.validate(&review))
}

/// Admission of a request for a token, by the rules that concern it.
pub(crate) fn restrict_token(call: &mut Call<'_>, request: &mut Value) -> Result<(), Status> {
    admission::restrict_token(&mut review(call, Operation::Create, request, None))
}

pub(super) fn review<'r>(
    call: &'r mut Call<'_>,
    operation: Operation,
    object: &'r mut Value,
    old: Option<&'r Value>,
) -> Review<'r> {
    Review {
        operation,
        kind: &call.resource.kind,
        sort: None,
        key: call.key.clone(),
        subresource: &call.subresource,
        user: call.user,
        dry_run: call.options.dry_run,
        object,
        old,
        view: call.view,
        scheme: &call.served.scheme,
        now: call.now,
        entropy: call.entropy,
        warnings: &mut call.warnings,
        authorizer: &*call.config.authorizer,
        audit: &mut call.audit,
        drawn: &mut call.drawn,
        hooks: call.hooks,
        charges: &mut call.charges,
        paid: call.paid,
    }
}

/// Whether the object is still the one that was seen, as a condition of a transaction.
pub(super) fn unchanged(entry: &Entry) -> Compare {
    Compare { key: entry.key.clone(), revision: entry.object.revision }
}

/// Removing the object.
pub(super) fn removal(entry: &Entry) -> Op {
    Op::Delete(entry.key.clone())
}
