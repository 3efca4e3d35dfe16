//! Nothing is created in a namespace that is absent or going; some namespaces stay.

use orlop_core::{Name, Scope};
use serde::Deserialize;

use super::{Operation, Review};
use crate::local::namespace_key;
use crate::status::{Cause, Status};

const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What is read of a namespace.
#[derive(Deserialize)]
struct Namespace {
    #[serde(default)]
    status: Phase,
}

#[derive(Default, Deserialize)]
struct Phase {
    #[serde(default)]
    phase: Name,
}

pub(super) fn check(review: &mut Review<'_>) -> Result<(), Status> {
    if review.operation == Operation::Delete {
        let protected = review.is("", "namespaces") && PROTECTED.contains(&review.key.name.as_str());
        return match protected {
            true => Err(review.forbidden("this namespace may not be deleted")),
            false => Ok(()),
        };
    }
    if review.operation != Operation::Create || review.kind.scope != Scope::Namespaced {
        return Ok(());
    }
    // Access may be asked about anywhere.
    if review.kind.group == "authorization.k8s.io" {
        return Ok(());
    }
    let namespace = review.key.namespace.as_str();
    let Some(entry) = review.view.get(&namespace_key(namespace)) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let terminating = entry.object.body.header().deleted.is_some()
        || entry.object.body.known::<Namespace>().is_ok_and(|n| n.status.phase == "Terminating");
    if !terminating {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = review.forbidden(&why);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    Err(status)
}
