//! Reads the table of built-in resources.
//!
//! `resources.txt` has one line for each version, resource and subresource:
//!
//! ```text
//! version apps/v1
//!  deployments Deployment deployment namespaced short=deploy in=all verbs=all at=deployments
//!   scale autoscaling/v1/Scale get,patch,update
//! ```
//! `in=` are categories, `at=` is the place below `/registry`, absent for what is not stored.

use std::sync::{Arc, LazyLock};

use super::{Inner, Resource, Scheme, Subresource};
use crate::object::{Kind, Name};
use crate::schema::Schema;

pub(super) static BUILTIN: LazyLock<Scheme> =
    LazyLock::new(|| parse(include_str!("../schema/resources.txt"), Schema::builtin()));

pub(super) static OPTIONAL: LazyLock<Scheme> =
    LazyLock::new(|| parse(include_str!("../schema/optional-resources.txt"), Schema::builtin()));

const ALL: &str = "create,delete,deletecollection,get,list,patch,update,watch";

fn parse(text: &'static str, schema: &Arc<Schema>) -> Scheme {
    let mut inner = Inner::default();
    let (mut group, mut version) = ("", "");
    let mut current: Option<Resource> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("  ") {
            let mut words = rest.split(' ');
            let mut next = || words.next().expect("a subresource has three words");
            let (name, kind, verbs) = (next(), next(), next());
            let mut parts = kind.rsplit('/').map(Name::new_static);
            let mut part = || parts.next().unwrap_or_default();
            let (kind, version, group) = (part(), part(), part());
            let sub = Subresource { name: Name::new_static(name), group, version, kind, verbs: list(verbs) };
            let resource = current.as_mut().expect("a subresource follows its resource");
            resource.subresources =
                std::mem::take(&mut resource.subresources).into_iter().chain([sub]).collect();
            continue;
        }
        if let Some(done) = current.take() {
            inner.insert(Arc::new(done));
        }
        if let Some(rest) = line.strip_prefix("version ") {
            (group, version) = rest.split_once('/').expect("group/version");
        } else if let Some(rest) = line.strip_prefix(' ') {
            current = Some(resource(rest, group, version, schema));
        }
    }
    if let Some(done) = current {
        inner.insert(Arc::new(done));
    }
    Scheme { inner: Arc::new(inner) }
}

fn list(text: &'static str) -> Box<[Name]> {
    text.split(',').map(Name::new_static).collect()
}

fn resource(
    line: &'static str,
    group: &'static str,
    version: &'static str,
    schema: &Arc<Schema>,
) -> Resource {
    let mut words = line.split(' ');
    let mut next = || words.next().expect("a resource has four words and marks");
    let (plural, kind, singular, scope) = (next(), next(), next(), next());
    let kind = match scope {
        "namespaced" => Kind::namespaced(group, version, kind, plural),
        _ => Kind::cluster(group, version, kind, plural),
    };
    let ty = schema.by_kind(group, version, &kind.kind).expect("every resource has a type");
    let mut resource = Resource {
        stored_as: stored_as(&kind),
        singular: Name::new_static(singular),
        list_kind: smol_str::format_smolstr!("{}List", kind.kind),
        short_names: Box::default(),
        categories: Box::default(),
        storage_prefix: Name::default(),
        verbs: Box::default(),
        subresources: Box::default(),
        schema: schema.clone(),
        ty,
        custom: false,
        kind,
    };
    for word in words {
        let (mark, rest) = word.split_once('=').expect("marks are name=value");
        match mark {
            "short" => resource.short_names = list(rest),
            "in" => resource.categories = list(rest),
            "verbs" => resource.verbs = list(if rest == "all" { ALL } else { rest }),
            "at" => resource.storage_prefix = Name::new_static(rest),
            _ => unreachable!("a mark of a resource: {word}"),
        }
    }
    resource
}

/// Two resources are served in versions other than the one that Kubernetes stores.
fn stored_as(kind: &Kind) -> Kind {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("autoscaling", "horizontalpodautoscalers") => {
            Kind { version: Name::new_static("v2"), ..kind.clone() }
        }
        ("events.k8s.io", "events") => Kind::namespaced("", "v1", "Event", "events"),
        _ => kind.clone(),
    }
}
