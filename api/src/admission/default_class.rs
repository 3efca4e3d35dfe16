//! Claims and ingresses that name no class get the default one.

use orlop_core::rules::volume::CLASS_ANNOTATION;
use orlop_core::{Kind, Stored};

use super::Review;
use crate::status::Status;
use crate::tree::{object, text};

const STORAGE_CLASS: Kind = Kind::cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses");
const INGRESS_CLASS: Kind = Kind::cluster("networking.k8s.io", "v1", "IngressClass", "ingressclasses");

fn marked(class: &Stored, annotations: &[&str]) -> bool {
    // The header has no annotations; classes are few.
    let tree = class.to_value();
    annotations.iter().any(|a| text(&tree, &["metadata", "annotations", a]) == "true")
}

fn name(class: &Stored) -> String {
    text(&class.to_value(), &["metadata", "name"]).to_owned()
}

/// The newest of the default classes, by the commit that created it.
fn newest(review: &Review<'_>, kind: &Kind, annotations: &[&str]) -> Option<Stored> {
    let prefix = review.scheme.storage_range(kind, "")?;
    let classes = review.view.range(&prefix, "", usize::MAX);
    let defaults = classes.into_iter().filter(|class| marked(&class.object, annotations));
    defaults.max_by_key(|class| class.created).map(|class| class.object)
}

pub(super) fn storage(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.creates("", "persistentvolumeclaims")
        || review.object.pointer("/spec/storageClassName").is_some_and(|c| !c.is_null())
        || !text(review.object, &["metadata", "annotations", CLASS_ANNOTATION]).is_empty()
    {
        return Ok(());
    }
    let annotations =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(class) = newest(review, &STORAGE_CLASS, &annotations) {
        object(review.object, "spec").insert("storageClassName".into(), name(&class).into());
    }
    Ok(())
}

pub(super) fn ingress(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.creates("networking.k8s.io", "ingresses")
        || review.object.pointer("/spec/ingressClassName").is_some_and(|c| !c.is_null())
        || !text(review.object, &["metadata", "annotations", "kubernetes.io/ingress.class"]).is_empty()
    {
        return Ok(());
    }
    let annotations = ["ingressclass.kubernetes.io/is-default-class"];
    if let Some(class) = newest(review, &INGRESS_CLASS, &annotations) {
        object(review.object, "spec").insert("ingressClassName".into(), name(&class).into());
    }
    Ok(())
}
