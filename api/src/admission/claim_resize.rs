//! Claims grow only where their class lets them.

use orlop_core::kinds::{PersistentVolumeClaim, StorageClass};
use orlop_core::rules::volume::class_of;
use orlop_core::{Key, Object};
use serde::Deserialize;

use super::{Operation, Review};
use crate::status::Status;

pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    let (Operation::Update, true, Some(old)) =
        (review.operation, review.is("", "persistentvolumeclaims"), review.old)
    else {
        return Ok(());
    };
    let read = |value| PersistentVolumeClaim::deserialize(value).unwrap_or_default();
    let (new, old) = (read(&*review.object), read(old));
    let size = |claim: &PersistentVolumeClaim| claim.spec.resources.requests.get("storage").cloned();
    if size(&new) == size(&old) {
        return Ok(());
    }
    if old.status.phase != "Bound" {
        return Err(review.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let class = class_of(&new.metadata, &new.spec.storage_class_name);
    let class = review.get(&StorageClass::KIND, &Key::cluster(class.clone()));
    let grows = class
        .and_then(|class| class.decode::<StorageClass>().ok())
        .is_some_and(|class| class.allow_volume_expansion == Some(true));
    if grows {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(review.forbidden(why))
}
