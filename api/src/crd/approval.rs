//! Approval of definitions in Kubernetes' own groups.

use serde_json::Value;

use crate::validation::error::Errors;
use crate::validation::path::{Path, Read};

const APPROVED: &str = "api-approved.kubernetes.io";

/// What the annotation says of a group's approval.
#[derive(PartialEq)]
pub(crate) enum Approval {
    /// The group is no one's.
    NotNeeded,
    /// There is no annotation.
    Missing,
    /// By the document at this address.
    Approved(String),
    /// It says that it is not.
    Bypassed(String),
    /// It says something else.
    Unclear(String),
}

/// Whether a definition in one of Kubernetes' own groups was approved.
pub(crate) fn of(object: &Value) -> Approval {
    let group = object["spec"].text("group");
    let own = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|owner| group.strip_suffix(owner).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let note = object["metadata"]["annotations"].text(APPROVED);
    let address = note
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/'));
    match note {
        _ if !own => Approval::NotNeeded,
        "" => Approval::Missing,
        note if note.starts_with("unapproved") => Approval::Bypassed(note.into()),
        note if address => Approval::Approved(note.into()),
        note => Approval::Unclear(note.into()),
    }
}

/// Kubernetes' own groups take definitions only with approval.
pub(super) fn check(e: &mut Errors, object: &Value, old: Option<&Value>) {
    let kind = |a: &Approval| std::mem::discriminant(a);
    let state = of(object);
    if old.is_some_and(|old| kind(&of(old)) == kind(&state)) {
        return;
    }
    let meta = Path::root("metadata");
    let annotations = meta.field("annotations");
    let at = annotations.key(APPROVED);
    match state {
        Approval::Missing => {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
            e.required(at, why);
        }
        Approval::Unclear(note) => {
            let why = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            e.invalid_text(at, &note, why);
        }
        _ => {}
    }
}
