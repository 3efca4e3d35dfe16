//! Which class claims and volumes are of.

use crate::meta::Meta;
use crate::object::Name;

/// The annotation that names the class, from before there was a field. It wins.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The class of a claim or a volume whose field says `class`.
pub fn class_of<'a>(meta: &'a Meta, class: &'a Name) -> &'a Name {
    meta.annotations.get(CLASS_ANNOTATION).unwrap_or(class)
}
