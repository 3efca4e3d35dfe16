//! The paths of the API and what can be done there.

use orlop_core::Scope;
use orlop_core::scheme::{Resource, Scheme, Subresource};

use super::types::{META, custom_name};

/// One path.
pub(super) struct Item {
    pub(super) path: String,
    /// The names in its braces.
    pub(super) in_path: Vec<&'static str>,
    /// Query parameters of every operation.
    pub(super) query: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) action: Option<&'static str>,
    /// Group, version and kind that it is about.
    pub(super) kind: Option<[String; 3]>,
    pub(super) query: Vec<&'static str>,
    pub(super) body: Option<Body>,
    pub(super) codes: &'static [&'static str],
    pub(super) answer: Answer,
}

pub(super) enum Body {
    /// An object of this type; whether there must be one.
    Object(String, bool),
    /// A patch in any of the forms.
    Patch,
}

pub(super) enum Answer {
    /// An object of this type.
    Object(String),
    /// One, or many as a stream.
    Watchable(String),
    /// Lines of a log.
    Log,
    /// Whatever the other side says.
    Anything,
    /// A text of this media type; no body is consumed.
    Text(&'static str),
    /// JSON of this type only.
    Json(String),
}

/// Paths that are no resources.
pub(super) struct WellKnown {
    pub(super) path: &'static str,
    id: &'static str,
    tag: &'static str,
    media: &'static str,
}

pub(super) const WELL_KNOWN: [WellKnown; 3] = [
    WellKnown {
        path: "/.well-known/openid-configuration/",
        id: "getServiceAccountIssuerOpenIDConfiguration",
        tag: "WellKnown",
        media: "application/json",
    },
    WellKnown {
        path: "/openid/v1/jwks/",
        id: "getServiceAccountIssuerOpenIDKeyset",
        tag: "openid",
        media: "application/jwk-set+json",
    },
    WellKnown { path: "/version/", id: "getCodeVersion", tag: "version", media: "application/json" },
];

const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const DELETE: [&str; 5] = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
const LOG: [&str; 9] = [
    "container",
    "follow",
    "insecureSkipTLSVerifyBackend",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "stream",
    "tailLines",
    "timestamps",
];
/// Kinds whose deletion answers with the object rather than a Status.
const ANSWERED_BY_OBJECT: [(&str, &str); 16] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// `api/v1` or `apis/apps/v1`: the name of a version's document.
pub(super) fn home(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Every path of one of v3's documents.
pub(super) fn of_document(scheme: &Scheme, document: &str) -> Vec<Item> {
    let parts: Vec<&str> = document.split('/').collect();
    let meta = |name: &str| Answer::Object(format!("{META}{name}"));
    match parts.as_slice() {
        ["api"] => vec![single("/api/", "getCoreAPIVersions", "core", meta("APIVersions"))],
        ["apis"] => vec![single("/apis/", "getAPIVersions", "apis", meta("APIGroupList"))],
        ["apis", group] => {
            let names = Names::new(group, "");
            let id = format!("get{}APIGroup", names.id);
            vec![single(&format!("/apis/{group}/"), &id, &names.tag, meta("APIGroup"))]
        }
        ["api", version] => of_version(scheme, "", version),
        ["apis", group, version] => of_version(scheme, group, version),
        _ => {
            let path = format!("/{document}/");
            let found = WELL_KNOWN.iter().find(|w| w.path == path);
            let item = |w: &WellKnown| {
                let answer = match w.path {
                    "/version/" => Answer::Json("io.k8s.apimachinery.pkg.version.Info".to_owned()),
                    _ => Answer::Text(w.media),
                };
                single(w.path, w.id, w.tag, answer)
            };
            found.map(item).into_iter().collect()
        }
    }
}

fn single(path: &str, id: &str, tag: &str, answer: Answer) -> Item {
    let operation = Operation {
        method: "get",
        id: id.to_owned(),
        tag: tag.to_owned(),
        action: None,
        kind: None,
        query: Vec::new(),
        body: None,
        codes: &["200"],
        answer,
    };
    Item { path: path.to_owned(), in_path: Vec::new(), query: Vec::new(), operations: vec![operation] }
}

/// How a group and version are called in operation ids (`AppsV1`) and tags (`apps_v1`).
struct Names {
    id: String,
    tag: String,
}

impl Names {
    fn new(group: &str, version: &str) -> Names {
        let short = match group {
            "" => "core",
            _ => group.strip_suffix(".k8s.io").unwrap_or(group),
        };
        let words: Vec<String> = short.split(['.', '-']).map(title).collect();
        let id = words.concat();
        let mut tag = id.clone();
        tag[..1].make_ascii_lowercase();
        if version.is_empty() {
            return Names { id, tag };
        }
        Names { id: id + &title(version), tag: format!("{tag}_{version}") }
    }
}

fn title(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn of_version(scheme: &Scheme, group: &str, version: &str) -> Vec<Item> {
    let names = Names::new(group, version);
    let home = home(group, version);
    let resources = format!("get{}APIResources", names.id);
    let list = Answer::Object(format!("{META}APIResourceList"));
    let mut out = vec![single(&format!("/{home}/"), &resources, &names.tag, list)];
    for resource in scheme.resources().filter(|r| r.kind.group == group && r.kind.version == version) {
        Describe { scheme, resource, names: &names, home: &home }.items(&mut out);
    }
    out.retain(|item| !item.operations.is_empty());
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

struct Describe<'a> {
    scheme: &'a Scheme,
    resource: &'a Resource,
    names: &'a Names,
    home: &'a str,
}

impl Describe<'_> {
    fn items(&self, out: &mut Vec<Item>) {
        let plural = &self.resource.kind.plural;
        let home = self.home;
        let namespaced = self.resource.kind.scope == Scope::Namespaced;
        let (within, in_path) =
            if namespaced { ("namespaces/{namespace}/", vec!["namespace"]) } else { ("", Vec::new()) };
        let with_name: Vec<&str> = ["name"].into_iter().chain(in_path.iter().copied()).collect();
        let of = if namespaced { "Namespaced" } else { "" };
        out.push(self.item(format!("/{home}/{within}{plural}"), in_path.clone(), self.collection(of)));
        out.push(self.item(format!("/{home}/{within}{plural}/{{name}}"), with_name.clone(), self.object(of)));
        if namespaced && self.resource.allows("list") {
            out.push(self.item(
                format!("/{home}/{plural}"),
                Vec::new(),
                vec![self.list("", "ForAllNamespaces")],
            ));
        }
        if self.resource.allows("watch") {
            let watch = |of: &str, behind: &str, action| vec![self.watch(of, behind, action)];
            let path = format!("/{home}/watch/{within}{plural}");
            out.push(self.item(format!("{path}/{{name}}"), with_name.clone(), watch(of, "", "watch")));
            out.push(self.item(path, in_path.clone(), watch(of, "List", "watchlist")));
            if namespaced {
                let all = watch("", "ListForAllNamespaces", "watchlist");
                out.push(self.item(format!("/{home}/watch/{plural}"), Vec::new(), all));
            }
        }
        for sub in &self.resource.subresources {
            let path = format!("/{home}/{within}{plural}/{{name}}/{}", sub.name);
            if sub.kind.ends_with("Options") {
                let query = connect_parameters(&sub.name);
                let mut item = self.item(path.clone(), with_name.clone(), self.connect(of, sub, ""));
                item.query = query.to_vec();
                out.push(item);
                if sub.name == "proxy" {
                    let mut in_path = with_name.clone();
                    in_path.push("path");
                    let mut item =
                        self.item(format!("{path}/{{path}}"), in_path, self.connect(of, sub, "WithPath"));
                    item.query = query.to_vec();
                    out.push(item);
                }
            } else {
                out.push(self.item(path, with_name.clone(), self.sub(of, sub)));
            }
        }
    }

    /// A path; the parameters of an only operation stand with the path.
    fn item(&self, path: String, in_path: Vec<&'static str>, mut operations: Vec<Operation>) -> Item {
        let connects = operations.iter().any(|o| o.action == Some("connect"));
        let mut query = if connects { Vec::new() } else { vec!["pretty"] };
        if let [only] = operations.as_mut_slice() {
            query.append(&mut only.query);
        }
        query.sort_unstable();
        Item { path, in_path, query, operations }
    }

    fn type_name(&self, kind: &str) -> String {
        let own = &self.resource.kind;
        if self.resource.custom {
            return custom_name(own, kind);
        }
        self.named(&own.group, &own.version, kind)
    }

    fn named(&self, group: &str, version: &str, kind: &str) -> String {
        let found = self.scheme.type_of(group, version, kind);
        let list = || {
            let schema = &self.resource.schema;
            schema.by_kind(group, version, kind).map(|id| (schema.clone(), id))
        };
        found.or_else(list).map(|(schema, id)| schema[id].name.to_string()).unwrap_or_default()
    }

    fn operation(
        &self,
        method: &'static str,
        verb: &str,
        of: &str,
        behind: &str,
        action: &'static str,
    ) -> Operation {
        let kind = &self.resource.kind;
        Operation {
            method,
            id: format!("{verb}{of}{}{behind}", kind.kind),
            tag: self.names.tag.clone(),
            action: Some(action),
            kind: Some([kind.group.to_string(), kind.version.to_string(), kind.kind.to_string()]),
            query: Vec::new(),
            body: None,
            codes: &["200"],
            answer: Answer::Object(self.type_name(&kind.kind)),
        }
    }

    fn id(&self, verb: &str) -> String {
        format!("{verb}{}", self.names.id)
    }

    fn list(&self, of: &str, behind: &str) -> Operation {
        Operation {
            query: LIST.to_vec(),
            answer: Answer::Watchable(self.type_name(&self.resource.list_kind)),
            ..self.operation("get", &self.id("list"), of, behind, "list")
        }
    }

    fn watch(&self, of: &str, behind: &str, action: &'static str) -> Operation {
        Operation {
            query: LIST.to_vec(),
            answer: Answer::Watchable(format!("{META}WatchEvent")),
            ..self.operation("get", &self.id("watch"), of, behind, action)
        }
    }

    fn collection(&self, of: &str) -> Vec<Operation> {
        let resource = self.resource;
        let own = self.type_name(&resource.kind.kind);
        let mut out = Vec::new();
        if resource.allows("list") {
            out.push(self.list(of, ""));
        }
        if resource.allows("create") {
            out.push(Operation {
                query: WRITE.to_vec(),
                body: Some(Body::Object(own, true)),
                codes: &["200", "201", "202"],
                ..self.operation("post", &self.id("create"), of, "", "post")
            });
        }
        if resource.allows("deletecollection") {
            let mut query: Vec<&str> =
                LIST.into_iter().filter(|p| !matches!(*p, "allowWatchBookmarks" | "watch")).collect();
            query.extend(DELETE);
            query.sort_unstable();
            out.push(Operation {
                query,
                body: Some(Body::Object(format!("{META}DeleteOptions"), false)),
                answer: Answer::Object(format!("{META}Status")),
                ..self.operation(
                    "delete",
                    &self.id("delete"),
                    &format!("Collection{of}"),
                    "",
                    "deletecollection",
                )
            });
        }
        out
    }

    fn object(&self, of: &str) -> Vec<Operation> {
        let resource = self.resource;
        let mut out = self.read_and_write(of, "", &resource.verbs, &self.type_name(&resource.kind.kind));
        if resource.allows("delete") {
            let place = (resource.kind.group.as_str(), resource.kind.plural.as_str());
            let mut operation = Operation {
                query: DELETE.to_vec(),
                body: Some(Body::Object(format!("{META}DeleteOptions"), false)),
                codes: &["200", "202"],
                ..self.operation("delete", &self.id("delete"), of, "", "delete")
            };
            if !ANSWERED_BY_OBJECT.contains(&place) {
                operation.answer = Answer::Object(format!("{META}Status"));
            }
            out.push(operation);
        }
        out
    }

    fn read_and_write(&self, of: &str, behind: &str, verbs: &[orlop_core::Name], ty: &str) -> Vec<Operation> {
        let allows = |verb: &str| verbs.iter().any(|v| v == verb);
        let answer = || Answer::Object(ty.to_owned());
        let mut out = Vec::new();
        if allows("get") {
            out.push(Operation {
                answer: answer(),
                ..self.operation("get", &self.id("read"), of, behind, "get")
            });
        }
        if allows("update") {
            out.push(Operation {
                query: WRITE.to_vec(),
                body: Some(Body::Object(ty.to_owned(), true)),
                codes: &["200", "201"],
                answer: answer(),
                ..self.operation("put", &self.id("replace"), of, behind, "put")
            });
        }
        if allows("patch") {
            out.push(Operation {
                query: WRITE.into_iter().chain(["force"]).collect(),
                body: Some(Body::Patch),
                codes: &["200", "201"],
                answer: answer(),
                ..self.operation("patch", &self.id("patch"), of, behind, "patch")
            });
        }
        out
    }

    fn sub(&self, of: &str, sub: &Subresource) -> Vec<Operation> {
        let behind = title(&sub.name);
        let own = &self.resource.kind;
        let (group, version) =
            if sub.version.is_empty() { (&own.group, &own.version) } else { (&sub.group, &sub.version) };
        let ty = if self.resource.custom && sub.version.is_empty() {
            self.type_name(&sub.kind)
        } else {
            self.named(group, version, &sub.kind)
        };
        let mut out = self.read_and_write(of, &behind, &sub.verbs, &ty);
        if sub.name == "log" {
            for operation in &mut out {
                operation.query = LOG.to_vec();
                operation.answer = Answer::Log;
            }
        }
        if sub.verbs.iter().any(|v| v == "create") {
            out.push(Operation {
                query: WRITE.to_vec(),
                body: Some(Body::Object(ty.clone(), true)),
                codes: &["200", "201", "202"],
                answer: Answer::Object(ty),
                ..self.operation("post", &self.id("create"), of, &behind, "post")
            });
        }
        for operation in &mut out {
            operation.kind = Some([group.to_string(), version.to_string(), sub.kind.to_string()]);
        }
        out
    }

    fn connect(&self, of: &str, sub: &Subresource, behind: &str) -> Vec<Operation> {
        let methods: &[&str] = match sub.name.as_str() {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let own = &self.resource.kind;
        let operation = |method: &&'static str| {
            let verb = format!("{}{}", self.id("connect"), title(method));
            Operation {
                kind: Some([own.group.to_string(), own.version.to_string(), sub.kind.to_string()]),
                answer: Answer::Anything,
                ..self.operation(method, &verb, of, &format!("{}{behind}", title(&sub.name)), "connect")
            }
        };
        methods.iter().map(operation).collect()
    }
}

fn connect_parameters(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "exec" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "attach" => &["container", "stderr", "stdin", "stdout", "tty"],
        "portforward" => &["ports"],
        _ => &["path"],
    }
}
