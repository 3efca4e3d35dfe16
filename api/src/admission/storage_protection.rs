//! Volumes, claims and attribute classes that are in use stay until they are not.

use super::Review;
use crate::status::Status;
use crate::tree::{items, metadata};

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    let finalizer = if review.creates("", "persistentvolumes") {
        "kubernetes.io/pv-protection"
    } else if review.creates("", "persistentvolumeclaims") {
        "kubernetes.io/pvc-protection"
    } else if review.creates("storage.k8s.io", "volumeattributesclasses") {
        "kubernetes.io/vac-protection"
    } else {
        return Ok(());
    };
    let mut finalizers = items(review.object, &["metadata", "finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.into());
        metadata(review.object).insert("finalizers".into(), finalizers.into());
    }
    Ok(())
}
