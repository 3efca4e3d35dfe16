//! What a request path asks for: [`Route`].

use http::Method;
use orlop_api::{PatchType, ResourceId, Verb};
use orlop_core::{Key, Name};

use crate::query::Query;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// An object or a collection.
    Resource(Target),
    /// `/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`, `/api/v1`: its parts behind the first.
    Discovery(Vec<Name>),
    /// Anything else: `/healthz`, `/version`, `/openapi/v3`, …
    Other,
}

/// The object or collection that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// The resource.
    pub(crate) resource: ResourceId,
    /// Namespace and name, as far as the path has them.
    pub(crate) key: Key,
    /// The subresource; with what follows it, for those that are paths themselves.
    pub(crate) subresource: Name,
    /// The path begins with the deprecated `watch/`.
    pub(crate) watch: bool,
}

/// Reads a path. Segments must be percent-decoded already; empty ones do not count.
pub(crate) fn route(path: &str) -> Route {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let names = |parts: &[&str]| parts.iter().map(|part| Name::from(*part)).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api"] | ["api", _] | ["apis"] | ["apis", _] | ["apis", _, _] => {
            return Route::Discovery(names(&parts));
        }
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Route::Other,
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        // The subresources of a Namespace share their place with the resources in it.
        ["namespaces", _, "status" | "finalize", ..] | ["namespaces"] | ["namespaces", _] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", String::new()),
        [plural, name, subresource @ ..] => (*plural, *name, subresource.join("/")),
        [] => return Route::Other,
    };
    Route::Resource(Target {
        resource: ResourceId { group: group.into(), version: version.into(), plural: plural.into() },
        key: Key::new(namespace, name),
        subresource: subresource.into(),
        watch,
    })
}

/// The media types of patches, and what they are.
const PATCHES: [(&str, PatchType); 4] = [
    ("application/json-patch+json", PatchType::Json),
    ("application/merge-patch+json", PatchType::Merge),
    ("application/strategic-merge-patch+json", PatchType::Strategic),
    ("application/apply-patch+yaml", PatchType::Apply),
];

/// What a method does to `target`. `None`: the method is not known.
///
/// # Errors
/// A patch whose media type is not that of a patch.
pub(crate) fn verb(
    method: &Method,
    target: &Target,
    query: &Query,
    content_type: &str,
) -> Option<Result<Verb, ()>> {
    let named = !target.key.name.is_empty();
    Some(Ok(match *method {
        // Of one object, only the deprecated path is a watch.
        Method::GET | Method::HEAD if target.watch || query.flag("watch") && !named => Verb::Watch,
        Method::GET | Method::HEAD if named => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => match PATCHES.iter().find(|(media, _)| *media == content_type) {
            Some((_, patch)) => Verb::Patch(*patch),
            None => return Some(Err(())),
        },
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match route(path) {
            Route::Resource(t) => format!(
                "{}/{} {} {} {}{}",
                t.resource.group,
                t.resource.version,
                t.resource.plural,
                t.key,
                t.subresource,
                if t.watch { " watch" } else { "" }
            ),
            Route::Discovery(parts) => format!("discovery {}", parts.join("/")),
            Route::Other => "other".into(),
        }
    }

    #[test]
    fn paths_mean_what_they_mean_to_kubernetes() {
        for (path, expected) in [
            ("/api", "discovery api"),
            ("/apis/apps/v1", "discovery apis/apps/v1"),
            ("/api/v1/pods", "/v1 pods  "),
            ("/api/v1/namespaces/default/pods/web/log", "/v1 pods default/web log"),
            ("/api/v1/namespaces/default", "/v1 namespaces default "),
            ("/api/v1/namespaces/default/status", "/v1 namespaces default status"),
            ("/api/v1/namespaces/default/services/web/proxy/a/b", "/v1 services default/web proxy/a/b"),
            ("/apis/apps/v1/watch/namespaces/default/deployments", "apps/v1 deployments default/  watch"),
            ("/apis/apps/v1//deployments/", "apps/v1 deployments  "),
            ("/healthz", "other"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
    }
}
