//! What a request asks for, in the terms of authorisation.

use http::request::Parts;
use orlop_api::Verb;
use orlop_api::auth::{Attributes, Target};
use orlop_core::Name;
use orlop_core::rules::FieldSelector;

use crate::negotiate::sent;
use crate::path::{Route, route, verb};
use crate::query::Query;

/// The attributes of a request to `path`, percent-decoded.
pub(crate) fn asked(head: &Parts, path: &str, query: &Query) -> Attributes {
    let method = Name::from(head.method.as_str().to_ascii_lowercase());
    let Route::Resource(target) = route(path) else {
        return Attributes { verb: method, target: Target::Path(path.into()) };
    };
    let word = match verb(&head.method, &target, query, &sent(&head.headers)) {
        Some(Ok(verb)) => Name::new_static(match verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch(_) => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }),
        _ => method,
    };
    let mut key = target.key;
    if key.name.is_empty() && matches!(word.as_str(), "list" | "watch") {
        // A collection of which one object is selected by its name is that object, to rules and to logs.
        let selector = query.get("fieldSelector").unwrap_or_default().parse::<FieldSelector>();
        if let Some(name) = selector.ok().as_ref().and_then(|selector| selector.exact("metadata.name")) {
            key.name = name.into();
        }
    }
    if target.resource.group.is_empty() && target.resource.plural == "namespaces" {
        key.namespace = key.name.clone();
    }
    Attributes {
        verb: word,
        target: Target::Resource {
            group: target.resource.group,
            resource: target.resource.plural,
            subresource: target.subresource.split('/').next().unwrap_or_default().into(),
            key,
        },
    }
}
