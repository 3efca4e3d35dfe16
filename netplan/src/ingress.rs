//! Ingress v1: which Service an HTTP request goes to.
//!
//! Precedence, as the API documentation lays it down: an exact host before a wildcard, a wildcard before rules without
//! host; then the longest path, an exact one before a prefix of equal length; then the older Ingress. What no rule takes
//! goes to a default backend. `ImplementationSpecific` paths are prefixes here, and one without `pathType` too.

use std::collections::BTreeMap;

use orlop_core::kinds::{Ingress, IngressBackend, IngressClass};
use orlop_core::{Item, Key, Name, Timestamp};

/// The controller name by which an IngressClass names Orlop.
pub const CONTROLLER: &str = "orlop.dev/ingress";

/// The annotation that names a class in the old way.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// Where requests go, for all Ingresses together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// By exact host, in lower case.
    exact: BTreeMap<Name, Vec<Path>>,
    /// By what follows the first label of a wildcard host: `example.com` for `*.example.com`.
    wildcard: BTreeMap<Name, Vec<Path>>,
    /// Rules without host.
    any: Vec<Path>,
    /// For what no rule takes.
    default: Option<Route>,
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The Ingress that says so.
    pub ingress: Key,
    /// The Service, in the Ingress' namespace.
    pub service: Name,
    /// The Service's port.
    pub port: BackendPort,
}

/// A Service's port as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendPort {
    /// By number.
    Number(u16),
    /// By name.
    Name(Name),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    path: Name,
    exact: bool,
    route: Route,
}

impl Path {
    fn matches(&self, path: &str) -> bool {
        if self.exact {
            return self.path == path;
        }
        let prefix = self.path.strip_suffix('/').unwrap_or(&self.path);
        // Element by element: /foo takes /foo, /foo/ and /foo/bar, but not /foobar.
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Routes {
    /// The routes that these Ingresses lay down: those of classes whose controller is [`CONTROLLER`], those of a
    /// class that there is not, and those of none if no class is the default one of somebody else.
    pub fn new<'a>(
        ingresses: impl IntoIterator<Item = &'a Item<Ingress>>,
        classes: impl IntoIterator<Item = &'a Item<IngressClass>>,
    ) -> Routes {
        let classes: Vec<_> = classes.into_iter().collect();
        let mut ours: Vec<&Item<Ingress>> =
            ingresses.into_iter().filter(|ingress| is_ours(ingress, &classes)).collect();
        // The older one wins a tie; paths are sorted stably later.
        ours.sort_by_key(|i| (i.metadata.creation_timestamp.unwrap_or(Timestamp::MAX), i.metadata.key()));
        let mut routes = Routes::default();
        for ingress in ours {
            routes.add(ingress);
        }
        let lists = routes.exact.values_mut().chain(routes.wildcard.values_mut()).chain([&mut routes.any]);
        lists.for_each(|paths| {
            paths.sort_by_key(|path| (std::cmp::Reverse(path.path.trim_end_matches('/').len()), !path.exact));
        });
        routes
    }

    fn add(&mut self, ingress: &Ingress) {
        let key = ingress.metadata.key();
        for rule in &ingress.spec.rules {
            let host: Name = rule.host.to_ascii_lowercase().into();
            let paths = match host.strip_prefix("*.") {
                Some(domain) => self.wildcard.entry(domain.into()).or_default(),
                None if host.is_empty() => &mut self.any,
                None => self.exact.entry(host).or_default(),
            };
            let http = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
            paths.extend(http.iter().filter_map(|path| {
                let root = || Name::new_static("/");
                Some(Path {
                    path: if path.path.is_empty() { root() } else { path.path.clone() },
                    exact: path.path_type == "Exact",
                    route: route(&key, &path.backend)?,
                })
            }));
            // A rule without paths sends all requests for its host to the default backend.
            if http.is_empty()
                && let Some(route) = ingress.spec.default_backend.as_ref().and_then(|b| route(&key, b))
            {
                paths.push(Path { path: Name::new_static("/"), exact: false, route });
            }
        }
        if let Some(backend) = &ingress.spec.default_backend
            && self.default.is_none()
        {
            self.default = route(&key, backend);
        }
    }

    /// Where a request for `host` (a port behind it does not count) and `path` (without its query) goes.
    ///
    /// ```
    /// use orlop_netplan::ingress::Routes;
    ///
    /// assert_eq!(Routes::default().route("example.com", "/"), None);
    /// ```
    pub fn route(&self, host: &str, path: &str) -> Option<&Route> {
        let host = host_name(host).to_ascii_lowercase();
        let first = |paths: Option<&'_ Vec<Path>>| -> Option<usize> {
            paths?.iter().position(|candidate| candidate.matches(path))
        };
        let exact = self.exact.get(host.as_str());
        if let Some(at) = first(exact) {
            return exact.map(|paths| &paths[at].route);
        }
        // A wildcard stands for exactly one label.
        let wildcard = host.split_once('.').filter(|(label, _)| !label.is_empty());
        let wildcard = wildcard.and_then(|(_, domain)| self.wildcard.get(domain));
        if let Some(at) = first(wildcard) {
            return wildcard.map(|paths| &paths[at].route);
        }
        let any = self.any.iter().find(|candidate| candidate.matches(path));
        any.map(|path| &path.route).or(self.default.as_ref())
    }

    /// Whether there is any route.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_empty() && self.default.is_none()
    }

    /// Host (empty: any; with `*.` for wildcards), path and target of every rule, for tables.
    pub fn iter(&self) -> impl Iterator<Item = (Name, &str, &Route)> {
        let exact = self.exact.iter().map(|(host, paths)| (host.clone(), paths));
        let wildcard = self.wildcard.iter().map(|(d, paths)| (smol_str::format_smolstr!("*.{d}"), paths));
        let any = [(Name::default(), &self.any)];
        exact
            .chain(wildcard)
            .chain(any)
            .flat_map(|(host, paths)| paths.iter().map(move |p| (host.clone(), p.path.as_str(), &p.route)))
    }
}

/// A host without its port, also where the host is an IPv6 address in brackets.
fn host_name(host: &str) -> &str {
    if let Some(end) = host.rfind(']') {
        return &host[..=end];
    }
    host.split_once(':').map_or(host, |(name, _)| name).trim_end_matches('.')
}

fn route(ingress: &Key, backend: &IngressBackend) -> Option<Route> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match port.number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0) {
        Some(number) => BackendPort::Number(number),
        None if !port.name.is_empty() => BackendPort::Name(port.name.clone()),
        None => return None,
    };
    Some(Route { ingress: ingress.clone(), service: service.name.clone(), port })
}

fn is_ours(ingress: &Ingress, classes: &[&Item<IngressClass>]) -> bool {
    let named = match ingress.metadata.annotation(CLASS_ANNOTATION) {
        Some(class) if ingress.spec.ingress_class_name.is_empty() => class,
        _ => ingress.spec.ingress_class_name.as_str(),
    };
    if named.is_empty() {
        // The API fills the default class in when an Ingress is made; what has none is anybody's.
        let default =
            |c: &&&Item<IngressClass>| c.metadata.annotation(DEFAULT_CLASS_ANNOTATION) == Some("true");
        let mut defaults = classes.iter().filter(default).peekable();
        return defaults.peek().is_none() || defaults.any(|c| c.spec.controller == CONTROLLER);
    }
    // A class that nobody has defined is nobody else's: manifests for other controllers work as they are.
    classes.iter().find(|class| class.metadata.name == named).is_none_or(|c| c.spec.controller == CONTROLLER)
}
