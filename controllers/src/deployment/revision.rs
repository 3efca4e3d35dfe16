//! Annotations of ReplicaSets: revisions, and the sizes that proportional scaling starts from.

use orlop_core::{Labels, Name};

use super::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY};

/// The list of former revisions is cut at this many characters.
const HISTORY_CHARS: usize = 2000;

/// The revision of a ReplicaSet; 0 if it has none.
pub(super) fn revision(annotations: &Labels) -> i64 {
    annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn is_private(annotation: &str) -> bool {
    matches!(
        annotation,
        "kubectl.kubernetes.io/last-applied-configuration"
            | "deprecated.deployment.rollback.to"
            | REVISION
            | REVISION_HISTORY
            | DESIRED_REPLICAS
            | MAX_REPLICAS
    )
}

fn set(annotations: &mut Labels, name: &'static str, value: impl Into<Name>) -> bool {
    let value = value.into();
    annotations.insert(Name::new_static(name), value.clone()) != Some(value)
}

/// Gives the ReplicaSet of the present template the Deployment's annotations and a revision of at least `next`, and
/// answers whether that changed anything.
pub(super) fn annotate(set_annotations: &mut Labels, deployment: &Labels, next: i64) -> bool {
    let mut changed = false;
    for (name, value) in deployment.iter().filter(|(name, _)| !is_private(name)) {
        if set_annotations.get(name) != Some(value) {
            set_annotations.insert(name.clone(), value.clone());
            changed = true;
        }
    }
    let before = set_annotations.get(REVISION).cloned();
    let number = match before.as_deref().unwrap_or("") {
        "" => 0,
        text => match text.parse::<i64>() {
            Ok(number) => number,
            // Somebody else's: it is left alone.
            Err(_) => return false,
        },
    };
    if number >= next {
        return changed;
    }
    set(set_annotations, REVISION, next.to_string());
    if let Some(before) = before {
        // A former template is in use again: its former revisions are remembered.
        remember(set_annotations, &before);
    }
    true
}

fn remember(annotations: &mut Labels, revision: &str) {
    let history = annotations.get(REVISION_HISTORY).cloned().unwrap_or_default();
    if history.is_empty() {
        set(annotations, REVISION_HISTORY, revision);
        return;
    }
    let mut revisions: Vec<&str> = history.split(',').collect();
    let mut length = history.len() + revision.len() + 1;
    while length > HISTORY_CHARS && !revisions.is_empty() {
        length -= revisions.remove(0).len() + 1;
    }
    if length <= HISTORY_CHARS {
        revisions.push(revision);
        set(annotations, REVISION_HISTORY, revisions.join(","));
    }
}

/// Notes for which size of the Deployment the ReplicaSet was scaled, and answers whether that changed anything.
pub(super) fn note_sizes(annotations: &mut Labels, desired: i32, most: i32) -> bool {
    let desired = set(annotations, DESIRED_REPLICAS, desired.to_string());
    let most = set(annotations, MAX_REPLICAS, most.to_string());
    desired || most
}

/// The size of the Deployment for which the ReplicaSet was scaled.
pub(super) fn desired(annotations: &Labels) -> Option<i32> {
    annotations.get(DESIRED_REPLICAS)?.parse().ok()
}

/// The most pods that the Deployment might have had then.
pub(super) fn most(annotations: &Labels) -> Option<i32> {
    annotations.get(MAX_REPLICAS)?.parse().ok()
}
