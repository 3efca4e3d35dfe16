//! Reading: one object, or a part of a collection at one revision.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_core::rules::{FieldSelector, Selector};
use orlop_core::scheme::{REGISTRY, Resource, Scheme};
use orlop_core::store::{Entry, Revision, Store, StoreError, View};
use orlop_core::{Name, Scope};
use serde_json::json;

use super::convert;
use super::served::Served;
use crate::fields::FieldFilter;
use crate::request::{List, ListOptions, Request, Response};
use crate::status::{Cause, Status};

/// How many entries are read at a time while a selector picks from them.
const BATCH: usize = 512;

/// What a list or watch selects.
pub(super) struct Selection {
    pub(super) prefix: String,
    labels: Selector,
    fields: FieldFilter,
}

impl Selection {
    pub(super) fn new(request: &Request, resource: &Resource, served: &Served) -> Result<Selection, Status> {
        let options = &request.options.list;
        let labels: Selector =
            options.label_selector.parse().map_err(|e| Status::bad_request(format!("{e}")))?;
        let fields: FieldSelector =
            options.field_selector.parse().map_err(|e| Status::bad_request(format!("{e}")))?;
        let custom = served.custom(&resource.kind).map(|c| c.selectable.clone()).unwrap_or_default();
        let fields = FieldFilter::new(&resource.kind, fields, custom)?;
        let scheme = &served.scheme;
        let mut prefix = scheme
            .storage_range(&resource.kind, &request.key.namespace)
            .ok_or_else(Status::method_not_allowed)?;
        // One object by name, or one namespace, is read as such.
        let namespaced = resource.kind.scope == Scope::Namespaced;
        let across = namespaced && request.key.namespace.is_empty();
        if across && let Some(namespace) = fields.exact("metadata.namespace").filter(|n| !n.is_empty()) {
            prefix.push_str(namespace);
            prefix.push('/');
        }
        Ok(Selection { prefix, labels, fields })
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The only name that is selected.
    fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name").filter(|n| !n.is_empty() && !n.contains('/'))
    }

    pub(super) fn matches(&self, scheme: &Scheme, entry: &Entry) -> bool {
        if self.is_everything() {
            return true;
        }
        if !self.labels.matches(&*entry.object.body) {
            return false;
        }
        self.fields.is_everything()
            || scheme
                .by_storage_key(&entry.key)
                .is_some_and(|(_, key)| self.fields.matches(&key, &entry.object))
    }
}

/// The revision of a query, where it names one. 0 and nothing are the same to a store that is always current.
pub(super) fn asked_revision(options: &ListOptions) -> Result<Option<u64>, String> {
    match options.resource_version.as_deref() {
        None | Some("" | "0") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            )
        }),
    }
}

/// Reads one object.
pub(super) fn get(
    request: &Request,
    resource: &std::sync::Arc<Resource>,
    served: &Served,
    view: &dyn View,
) -> Result<Response, Status> {
    let asked = asked_revision(&request.options.list).map_err(Status::plain)?;
    check_future(asked, view)?;
    let key =
        served.scheme.storage_key(&resource.kind, &request.key).ok_or_else(Status::method_not_allowed)?;
    let kind = &resource.kind;
    let entry =
        view.get(&key).ok_or_else(|| Status::not_found(&kind.group, &kind.plural, &request.key.name))?;
    let shown = convert::shown(served, resource, &entry.object);
    let payload = crate::request::Payload::Object(kind.clone(), shown);
    Ok(Response { code: 200, warnings: Vec::new(), payload, committed: None })
}

fn check_future(asked: Option<u64>, view: &dyn View) -> Result<(), Status> {
    let latest = view.revision().0;
    match asked {
        Some(asked) if asked > latest => Err(Status::future_revision(&asked.to_string(), latest)),
        _ => Ok(()),
    }
}

/// The rules of the parameters of lists and watches.
pub(super) fn check_options(options: &ListOptions, watch: bool) -> Result<(), Status> {
    let mut causes = Vec::new();
    let matching = options.resource_version_match.as_str();
    let version = options.resource_version.as_deref().unwrap_or_default();
    let forbidden = |why: &str| Cause::forbidden("resourceVersionMatch", why);
    if watch {
        let initial = options.send_initial_events.is_some();
        if !matching.is_empty() && !initial {
            causes.push(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if initial && matching != "NotOlderThan" {
            causes.push(forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
        }
        if (initial || !matching.is_empty()) && matching != "NotOlderThan" && !matching.is_empty() {
            causes.push(Cause::unsupported("resourceVersionMatch", &json!(matching), &["NotOlderThan"]));
        }
        if !options.continue_token.is_empty() {
            causes.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
        }
    } else {
        if options.send_initial_events.is_some() {
            causes.push(Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if !matching.is_empty() {
            if version.is_empty() {
                causes
                    .push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !options.continue_token.is_empty() {
                causes.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                let known = ["Exact", "NotOlderThan", ""];
                causes.push(Cause::unsupported("resourceVersionMatch", &json!(matching), &known));
            }
            if matching == "Exact" && version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                causes.push(forbidden(why));
            }
        }
    }
    match causes.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes)),
    }
}

/// Where a list goes on: at which revision (`None`: the latest), behind which key.
struct Start {
    revision: Option<Revision>,
    after: String,
}

fn encode_token(revision: Revision, start: &str) -> String {
    // Kubernetes' own form, so that tools that look into tokens find what they know.
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision.0, "start": format!("{start}\0")});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// Reads a token; `prefix` is what the list reads.
fn decode_token(token: &str, prefix: &str) -> Result<Start, Status> {
    let invalid = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|e| invalid(e.to_string()))?;
    let tree = orlop_core::codec::decode_json(&bytes).map_err(|e| invalid(e.message))?.value;
    if tree["v"] != "meta.k8s.io/v1" {
        return Err(invalid("server does not recognize this encoded version".into()));
    }
    let start = tree["start"].as_str().unwrap_or_default();
    if start.is_empty() || start.contains("../") || start.contains("/..") {
        return Err(invalid(format!("continue key is not valid: {start}")));
    }
    let start = start.trim_start_matches('/').trim_end_matches('\0');
    let revision = match tree["rv"].as_i64() {
        Some(-1) => None,
        Some(rv) if rv > 0 => Some(Revision(rv.unsigned_abs())),
        _ => return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into())),
    };
    Ok(Start { revision, after: format!("{prefix}{start}") })
}

/// Reads a part of a collection.
pub(super) fn list<S: Store>(
    request: &Request,
    resource: &std::sync::Arc<Resource>,
    served: &Served,
    store: &S,
) -> Result<List, Status> {
    let options = &request.options.list;
    check_options(options, false)?;
    let selection = Selection::new(request, resource, served)?;
    let bad = |why: String| Status::bad_request(format!("invalid resource version: {why}"));
    let asked = asked_revision(options).map_err(bad)?;
    let latest = store.view();
    let (view, after) = if options.continue_token.is_empty() {
        check_future(asked, &*latest)?;
        // A limit makes any named revision an exact one.
        let exact = options.resource_version_match == "Exact"
            || options.limit > 0 && options.resource_version_match.is_empty();
        match asked {
            Some(asked) if exact => (at(store, Revision(asked), None)?, String::new()),
            _ => (latest, String::new()),
        }
    } else {
        if asked.is_some() {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let start = decode_token(&options.continue_token, &selection.prefix)?;
        match start.revision {
            Some(revision) => {
                (at(store, revision, Some(&start.after[selection.prefix.len()..]))?, start.after)
            }
            None => (latest, start.after),
        }
    };
    // Reading at revision 0 ignores limits, as Kubernetes' cache does.
    let limit = if options.resource_version.as_deref() == Some("0") { 0 } else { options.limit };
    Ok(read(&*view, &selection, &after, limit, resource, served))
}

/// The store as it was; a token whose revision is gone names another to go on with.
fn at<S: Store>(
    store: &S,
    revision: Revision,
    token_start: Option<&str>,
) -> Result<std::sync::Arc<dyn View>, Status> {
    store.view_at(revision).map_err(|error| match (error, token_start) {
        (StoreError::Future { asked, latest }, _) => Status::future_revision(&asked.to_string(), latest.0),
        (StoreError::Expired { .. }, Some(start)) => {
            let token = json!({"v": "meta.k8s.io/v1", "rv": -1, "start": format!("/{start}\0")});
            let mut status = Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            status.continue_token = URL_SAFE_NO_PAD.encode(token.to_string());
            status
        }
        (StoreError::Expired { .. }, None) => Status::expired(
            "The resourceVersion for the provided list is too old.",
        ),
        (other, _) => Status::unavailable(other.to_string()),
    })
}

fn read(
    view: &dyn View,
    selection: &Selection,
    after: &str,
    limit: u64,
    resource: &std::sync::Arc<Resource>,
    served: &Served,
) -> List {
    let mut list =
        List { revision: view.revision(), items: Vec::new(), continue_token: String::new(), remaining: None };
    let prefix = &selection.prefix;
    let one = resource.kind.scope == Scope::Cluster
        || prefix[REGISTRY.len()..].matches('/').count() > resource_depth(served, resource);
    if let (Some(name), true, true) = (selection.name(), one, after.is_empty()) {
        let found = view.get(&format!("{prefix}{name}")).filter(|e| selection.matches(&served.scheme, e));
        list.items = found.iter().map(|e| convert::shown(served, resource, &e.object)).collect();
        return list;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let everything = selection.is_everything();
    let mut after = after.to_owned();
    loop {
        let want = match (limit, everything) {
            (0, _) => usize::MAX,
            (limit, true) => limit - list.items.len(),
            (_, false) => BATCH,
        };
        let batch = view.range(prefix, &after, want);
        let ended = batch.len() < want;
        for entry in batch {
            after.clear();
            after.push_str(&entry.key);
            if !selection.matches(&served.scheme, &entry) {
                continue;
            }
            list.items.push(convert::shown(served, resource, &entry.object));
            if limit > 0 && list.items.len() == limit {
                let remaining = view.count(prefix, &after);
                if remaining > 0 {
                    list.continue_token =
                        encode_token(list.revision, &format!("/{}", &after[prefix.len()..]));
                    list.remaining = everything.then_some(remaining as u64);
                }
                return list;
            }
        }
        if ended || limit == 0 {
            return list;
        }
    }
}

/// How many slashes the range of all objects of a kind has behind the registry's.
fn resource_depth(served: &Served, resource: &Resource) -> usize {
    served
        .scheme
        .storage_range(&resource.kind, "")
        .map_or(1, |range| range[REGISTRY.len()..].matches('/').count())
}

/// One field selector for one name, for a watch of one object.
pub(super) fn select_name(options: &mut ListOptions, name: &Name) {
    let one = format!("metadata.name={name}");
    options.field_selector =
        if options.field_selector.is_empty() { one } else { format!("{},{one}", options.field_selector) };
}

/// For tests of tokens: what a token says.
#[cfg(test)]
fn token_tree(token: &str) -> serde_json::Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_kubernetes_form() {
        let token = encode_token(Revision(2027), "/p2");
        assert_eq!(token_tree(&token), json!({"v": "meta.k8s.io/v1", "rv": 2027, "start": "/p2\0"}));
        let start = decode_token(&token, "/registry/configmaps/a/").unwrap();
        assert_eq!(
            (start.revision, start.after.as_str()),
            (Some(Revision(2027)), "/registry/configmaps/a/p2")
        );
        assert!(decode_token("bm90IGpzb24", "/").is_err());
    }
}
