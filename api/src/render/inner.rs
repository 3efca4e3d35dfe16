//! What tables and metadata are made from: the object as Kubernetes keeps it in memory. Annotations that only a
//! conversion to a version writes are not there yet, and metrics are those of the newest version.

use std::borrow::Cow;
use std::sync::Arc;

use orlop_core::schema::Schema;
use orlop_core::{Body, Kind, Stored, codec};
use serde_json::Value;

use crate::local::autoscaler;
use crate::local::kinds::TEMPLATE_GENERATION;

/// Kept with the object, so that its row is kept with this in turn. `None`: it cannot be made.
struct Inner(Option<Arc<Body>>);

/// The object without what its version adds.
pub(super) fn inner<'a>(kind: &Kind, stored: &'a Stored) -> Cow<'a, Stored> {
    let (annotations, older): (&[&str], bool) = match (kind.group.as_str(), kind.plural.as_str()) {
        ("apps", "daemonsets") => (&[TEMPLATE_GENERATION], false),
        ("autoscaling", "horizontalpodautoscalers") if kind.version == "v1" => {
            (&autoscaler::ANNOTATIONS, true)
        }
        _ => return Cow::Borrowed(stored),
    };
    let inner = stored.body.kept(|| Inner(strip(kind, stored, annotations, older)));
    match &inner.0 {
        Some(body) => Cow::Owned(Stored { body: Arc::clone(body), revision: stored.revision }),
        None => Cow::Borrowed(stored),
    }
}

fn strip(kind: &Kind, stored: &Stored, annotations: &[&str], older: bool) -> Option<Arc<Body>> {
    let mut value = stored.to_value();
    if older {
        autoscaler::to_v2(&mut value);
    }
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(found) = meta.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.iter().for_each(|name| drop(found.shift_remove(*name)));
        if found.is_empty() {
            meta.shift_remove("annotations");
        }
    }
    let version = if older { "v2" } else { &kind.version };
    let schema = Schema::builtin();
    let ty = schema.by_kind(&kind.group, version, &kind.kind)?;
    codec::encode(schema, ty, &value).ok().map(Arc::new)
}
