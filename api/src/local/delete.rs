//! Deleting objects: grace, finalizers, dependents.

use std::time::Duration;

use orlop_core::store::{Entry, Op};
use orlop_core::{Name, Stored, Timestamp};
use serde_json::Value;

use super::admit::{Admitted, Answer, Call, Then};
use super::served::DEFINITIONS;
use super::write::{removal, review, unchanged};
use super::{body, meta, services};
use crate::admission::{self, Operation};
use crate::request::{Body, DeleteOptions};
use crate::status::{Cause, Details, Status};
use crate::strategy::Strategy;
use crate::tree::{items, metadata, object, text};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Held by a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a deletion asks for: the query's options, or those of the body, which count for more. The second part says
/// that the body asks for a dry run.
pub(crate) fn options(
    query: &DeleteOptions,
    body: Option<&Body>,
    scheme: &orlop_core::scheme::Scheme,
) -> Result<(DeleteOptions, bool), Status> {
    let mut options = query.clone();
    let mut dry_run = false;
    let empty = matches!(body, Some(Body::Bytes(_, bytes)) if bytes.is_empty());
    if let (Some(given), false) = (body, empty) {
        let tree = body::decode(Some(given), scheme, orlop_core::codec::decode_json)
            .map_err(Status::bad_request)?
            .value;
        options = DeleteOptions::default();
        if !matches!(text(&tree, &["kind"]), "" | "DeleteOptions") {
            let (kind, version) = (text(&tree, &["kind"]), text(&tree, &["apiVersion"]));
            let registry = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
            return Err(Status::bad_request(format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"{registry}\""
            )));
        }
        options.grace_period_seconds = match &tree["gracePeriodSeconds"] {
            Value::Null => None,
            Value::Number(n) if n.is_i64() => n.as_i64(),
            _ => {
                return Err(Status::bad_request(
                    "json: cannot unmarshal value into DeleteOptions.gracePeriodSeconds of type int64",
                ));
            }
        };
        let name = |value: &Value| value.as_str().filter(|t| !t.is_empty()).map(Name::from);
        options.propagation_policy = name(&tree["propagationPolicy"]);
        options.orphan_dependents = tree["orphanDependents"].as_bool();
        options.uid = name(&tree["preconditions"]["uid"]);
        options.resource_version = name(&tree["preconditions"]["resourceVersion"]);
        for item in items(&tree, &["dryRun"]) {
            if item != "All" {
                let cause = Cause::unsupported("dryRun", &tree["dryRun"], &["All"]);
                return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
            }
            dry_run = true;
        }
    }
    check(&options)?;
    Ok((options, dry_run))
}

fn check(options: &DeleteOptions) -> Result<(), Status> {
    let Some(policy) = &options.propagation_policy else { return Ok(()) };
    let value = Value::from(policy.as_str());
    let cause = if options.orphan_dependents.is_some() {
        Cause::invalid(
            "propagationPolicy",
            &value,
            "orphanDependents and deletionPropagation cannot be both set",
        )
    } else if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
        Cause::unsupported("propagationPolicy", &value, &["Foreground", "Background", "Orphan", "nil"])
    } else {
        return Ok(());
    };
    Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]))
}

/// Deletes one object.
pub(crate) fn delete(call: &mut Call<'_>, options: &DeleteOptions) -> Result<Admitted, Status> {
    let entry = call.existing()?;
    let old = call.tree(&entry.object);
    delete_object(call, &entry, old, options)
}

/// [`delete`] of an object whose state is `old`, which may say more than what is stored.
pub(crate) fn delete_object(
    call: &mut Call<'_>,
    entry: &Entry,
    old: Value,
    options: &DeleteOptions,
) -> Result<Admitted, Status> {
    check_preconditions(call, &entry.object, options)?;
    judge(call, &old)?;
    warn(call, options);
    if call.kind().group.is_empty() && call.kind().plural == "namespaces" {
        return namespace(call, entry, old, options);
    }
    let strategy = Strategy::of(call.resource);
    let finalizers = finalizers(entry, options, strategy);
    let mut value = old.clone();
    let grace = match pod_grace(call, &mut value, options) {
        Grace::Pending => {
            let answer = Answer::Stored(call.kind().clone(), call.shown(&entry.object));
            return Ok(call.answer(code(options), answer));
        }
        Grace::Now(seconds) => Some(seconds),
        Grace::None => None,
    };
    let fresh_finalizers = finalizers.iter().map(String::as_str).ne(entry
        .object
        .body
        .header()
        .finalizers
        .iter()
        .map(|f| f.as_str()));
    let held = !finalizers.is_empty();
    if grace.is_none() && !held {
        return removed(call, entry, strategy);
    }
    if fresh_finalizers {
        set_finalizers(&mut value, &finalizers);
    }
    if grace.is_none() {
        mark_held(call, &mut value);
    }
    if entry.key.starts_with(DEFINITIONS) {
        super::crd::mark_ending(&mut value, call.now);
    }
    let body = call.encode(&value)?;
    let kind = call.kind().clone();
    if body.bytes() == entry.object.body.bytes() {
        let answer = Answer::Stored(kind, call.shown(&entry.object));
        return Ok(call.answer(code(options), answer));
    }
    let goes = grace == Some(0) && !held;
    let also = if goes { services::release(call, &old) } else { Vec::new() };
    let txn = call.put(body.clone(), Some(entry))?;
    let code = if goes { 200 } else { code(options) };
    let mut admitted = Admitted { txn, ..call.answer(code, Answer::Written(kind, call_shown(call, body))) };
    if goes {
        admitted.then = Then::Remove { key: entry.key.clone(), also };
    } else if let Some(definition) = entry.key.strip_prefix(DEFINITIONS) {
        admitted.then = Then::Settle(definition.into());
    }
    Ok(admitted)
}

fn call_shown(call: &Call<'_>, body: std::sync::Arc<orlop_core::Body>) -> std::sync::Arc<orlop_core::Body> {
    call.shown_body(body)
}

/// A deletion that has begun answers 202 only where the client has said that dependents go.
fn code(options: &DeleteOptions) -> u16 {
    if options.orphan_dependents == Some(false) { 202 } else { 200 }
}

/// An object that goes at once.
fn removed(call: &mut Call<'_>, entry: &Entry, strategy: Strategy) -> Result<Admitted, Status> {
    let mut admitted = remove(call, entry)?;
    admitted.answer = if strategy.returns_deleted {
        Answer::Written(call.kind().clone(), call.shown(&entry.object).body)
    } else {
        let kind = call.kind();
        Answer::Status(Status::success(
            0,
            Some(Details {
                name: call.key.name.to_string(),
                group: kind.group.to_string(),
                kind: kind.plural.to_string(),
                uid: entry.object.body.header().uid.to_string(),
                ..Details::default()
            }),
        ))
    };
    Ok(admitted)
}

/// The transaction that removes an object and gives back what it held.
pub(super) fn remove(call: &mut Call<'_>, entry: &Entry) -> Result<Admitted, Status> {
    let mut txn = std::mem::take(&mut call.txn);
    txn.compares.push(unchanged(entry));
    txn.ops.push(removal(entry));
    let old = call.tree(&entry.object);
    txn.ops.extend(services::release(call, &old));
    let then = match call.served.custom(call.kind()) {
        // It may have been the last one that a definition waits for.
        Some(custom) => Then::Settle(custom.definition.clone()),
        None => match entry.key.strip_prefix(DEFINITIONS) {
            Some(definition) => Then::Settle(definition.into()),
            None => Then::Nothing,
        },
    };
    let answer = Answer::Stored(call.kind().clone(), entry.object.clone());
    Ok(Admitted { txn, then, ..call.answer(200, answer) })
}

fn judge(call: &mut Call<'_>, old: &Value) -> Result<(), Status> {
    let plugins = call.config.admission.clone();
    let mut nothing = Value::Null;
    let mut review = review(call, Operation::Delete, &mut nothing, Some(old));
    admission::run(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.mutate(&mut review))?;
    admission::judge(&mut review)?;
    plugins.iter().try_for_each(|plugin| plugin.validate(&review))
}

fn check_preconditions(call: &Call<'_>, stored: &Stored, options: &DeleteOptions) -> Result<(), Status> {
    let kind = call.kind();
    let refuse = |what: &str, asked: &str, found: &str, end: &str| {
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({found}). The object might have been {end}"
        );
        Status::conflict(&kind.group, &kind.kind, &call.key.name, &why)
    };
    if let Some(uid) = &options.uid
        && *uid != stored.body.header().uid
    {
        return Err(refuse("UID", uid, &stored.body.header().uid, "deleted and then recreated"));
    }
    if let Some(version) = &options.resource_version
        && *version != stored.revision.to_string()
    {
        return Err(refuse("ResourceVersion", version, &stored.revision.to_string(), "modified"));
    }
    Ok(())
}

fn warn(call: &mut Call<'_>, options: &DeleteOptions) {
    let kind = call.kind();
    if kind.group == "batch"
        && kind.plural == "jobs"
        && options.propagation_policy.is_none()
        && options.orphan_dependents.is_none()
    {
        call.warnings.push(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"
                .into(),
        );
    }
}

/// The finalizers of an object once the deletion has said what becomes of its dependents.
fn finalizers(entry: &Entry, options: &DeleteOptions, strategy: Strategy) -> Vec<String> {
    let now: Vec<&str> = entry.object.body.header().finalizers.iter().map(|f| f.as_str()).collect();
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        // What was said before holds.
        (None, None) if now.contains(&ORPHAN) => (true, false),
        (None, None) if now.contains(&FOREGROUND) => (false, true),
        (None, None) => (strategy.orphans_by_default, false),
    };
    let mut out: Vec<String> =
        now.iter().filter(|f| **f != ORPHAN && **f != FOREGROUND).map(|f| (*f).to_owned()).collect();
    out.extend(orphan.then(|| ORPHAN.to_owned()));
    out.extend(foreground.then(|| FOREGROUND.to_owned()));
    if entry.key.starts_with(DEFINITIONS) && !out.iter().any(|f| f == CLEANUP) {
        out.push(CLEANUP.to_owned());
    }
    // The order counts only where the set changes.
    let same = out.len() == now.len() && now.iter().all(|f| out.iter().any(|o| o == f));
    if same { now.into_iter().map(str::to_owned).collect() } else { out }
}

fn set_finalizers(value: &mut Value, finalizers: &[String]) {
    let meta = metadata(value);
    if finalizers.is_empty() {
        meta.shift_remove("finalizers");
    } else {
        meta.insert("finalizers".into(), finalizers.to_vec().into());
    }
}

/// Marks an object that finalizers hold.
fn mark_held(call: &Call<'_>, value: &mut Value) {
    let definition = call.kind().plural == "customresourcedefinitions";
    let deleted = !metadata(value).get("deletionTimestamp").is_none_or(Value::is_null);
    if !deleted {
        let grace = (!definition).then_some(0);
        meta::mark_deleted(value, call.now, grace, !definition);
    }
}

enum Grace {
    /// The deletion has begun and will not end sooner.
    Pending,
    /// The object may take this many seconds.
    Now(i64),
    /// Its kind knows no grace.
    None,
}

/// Pods on a node may take their time. A later deletion can only shorten what an earlier one has granted.
fn pod_grace(call: &Call<'_>, pod: &mut Value, options: &DeleteOptions) -> Grace {
    if call.kind().plural != "pods" || !call.kind().group.is_empty() {
        return Grace::None;
    }
    let meta = metadata(pod);
    let deleted =
        meta.get("deletionTimestamp").and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok());
    let granted = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if let Some(deleted) = deleted {
        // Without any grace left, only finalizers hold the pod.
        let Some(granted) = granted.filter(|g| *g != 0) else { return Grace::None };
        let asked = options.grace_period_seconds.unwrap_or(granted);
        if asked >= granted {
            return Grace::Pending;
        }
        let asked = asked.max(0);
        let at = deleted - seconds(granted) + seconds(asked);
        meta.insert("deletionTimestamp".into(), at.to_string().into());
        meta.insert("deletionGracePeriodSeconds".into(), asked.into());
        return Grace::Now(asked);
    }
    let spec = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let mut grace = options.grace_period_seconds.or(spec).unwrap_or_default();
    if text(pod, &["spec", "nodeName"]).is_empty()
        || matches!(text(pod, &["status", "phase"]), "Failed" | "Succeeded")
    {
        grace = 0;
    }
    if grace < 0 {
        grace = 1;
    }
    meta::mark_deleted(pod, call.now + seconds(grace), Some(grace), true);
    Grace::Now(grace)
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or_default())
}

/// A namespace first says that it is going; it goes once its content has, and its finalizers.
fn namespace(
    call: &mut Call<'_>,
    entry: &Entry,
    mut value: Value,
    options: &DeleteOptions,
) -> Result<Admitted, Status> {
    let kind = call.kind().clone();
    if entry.object.body.header().deleted.is_some() {
        let held = !items(&value, &["spec", "finalizers"]).is_empty()
            || !items(&value, &["metadata", "finalizers"]).is_empty();
        if !held {
            return removed(call, entry, Strategy::of(call.resource));
        }
        let answer = Answer::Stored(kind, call.shown(&entry.object));
        return Ok(call.answer(code(options), answer));
    }
    metadata(&mut value).insert("deletionTimestamp".into(), call.now.to_string().into());
    object(&mut value, "status").insert("phase".into(), "Terminating".into());
    let body = call.encode(&value)?;
    let txn = call.put(body.clone(), Some(entry))?;
    Ok(Admitted { txn, ..call.answer(code(options), Answer::Written(kind, body)) })
}

/// What removes an object after the commit that marked it.
pub(crate) fn removal_ops(key: &std::sync::Arc<str>, also: &[Op]) -> Vec<Op> {
    let mut ops = vec![Op::Delete(key.clone())];
    ops.extend_from_slice(also);
    ops
}
