//! Which kinds are served, under which names, and where their objects are stored: [`Scheme`].

mod table;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::object::{Key, Kind, Name, Scope};
use crate::schema::{Schema, StructId};

/// Everything that is served: the built-in resources and those that definitions add.
///
/// Cheap to clone; a clone that is changed leaves the original as it was.
#[derive(Clone)]
pub struct Scheme {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    resources: Vec<Arc<Resource>>,
    /// By (group, version, plural).
    by_plural: FxHashMap<(Name, Name, Name), Arc<Resource>>,
    /// By (group, version, kind).
    by_kind: FxHashMap<(Name, Name, Name), Arc<Resource>>,
    /// By storage prefix: the version that is stored.
    by_prefix: FxHashMap<Name, Arc<Resource>>,
}

/// One resource in one served version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Group, version, kind, plural, scope.
    pub kind: Kind,
    /// The kind as which its objects are stored; another one where versions share a storage (`autoscaling/v1`,
    /// events of both groups).
    pub stored_as: Kind,
    /// `deployment`.
    pub singular: Name,
    /// `DeploymentList`.
    pub list_kind: Name,
    /// `deploy`.
    pub short_names: Box<[Name]>,
    /// `all`.
    pub categories: Box<[Name]>,
    /// Where its objects are stored below `/registry/`, without slashes at the ends: `services/specs`. Empty for what
    /// is not stored (reviews, bindings).
    pub storage_prefix: Name,
    /// Sorted; `create`, `delete`, …
    pub verbs: Box<[Name]>,
    /// Sorted by name.
    pub subresources: Box<[Subresource]>,
    /// The arena of its type.
    pub schema: Arc<Schema>,
    /// The type of its objects.
    pub ty: StructId,
    /// From a definition rather than built in.
    pub custom: bool,
}

/// A part of an object with a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `scale`.
    pub name: Name,
    /// The kind that it speaks, in discovery's form: group and version are empty where they are the resource's own.
    pub group: Name,
    /// See `group`.
    pub version: Name,
    /// `Scale`.
    pub kind: Name,
    /// Sorted.
    pub verbs: Box<[Name]>,
}

/// A version that Kubernetes serves only where it is asked to (`--runtime-config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionalVersion {
    /// `scheduling.k8s.io/v1alpha2`: Workload and PodGroup, for gangs of pods (KEP-4671).
    SchedulingV1Alpha2,
}

impl OptionalVersion {
    /// Group and version: `scheduling.k8s.io/v1alpha2`.
    pub fn as_str(self) -> &'static str {
        match self {
            OptionalVersion::SchedulingV1Alpha2 => "scheduling.k8s.io/v1alpha2",
        }
    }
}

/// The first part of every storage key.
pub const REGISTRY: &str = "/registry/";

impl Scheme {
    /// The resources of Kubernetes 1.36.
    pub fn builtin() -> Scheme {
        table::BUILTIN.clone()
    }

    /// This, and a version that is not served by default.
    pub fn with(mut self, version: OptionalVersion) -> Scheme {
        let (group, version) = split_api_version(version.as_str());
        let wanted = |r: &&Arc<Resource>| r.kind.group == group && r.kind.version == version;
        for resource in table::OPTIONAL.resources().filter(wanted) {
            self.insert((**resource).clone());
        }
        self
    }

    /// Every resource in every served version, in the order of discovery.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.inner.resources.iter()
    }

    /// The resource of a request path.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.inner.by_plural.get(&(group.into(), version.into(), plural.into()))
    }

    /// The resource whose objects carry this group, version and kind. Kinds without a resource of their own (`Scale`,
    /// `Status`) have only a type: [`Scheme::type_of`].
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.inner.by_kind.get(&(group.into(), version.into(), kind.into()))
    }

    /// The resource of an object with these `apiVersion` and `kind`.
    pub fn by_api_version(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = split_api_version(api_version);
        self.by_kind(group, version, kind)
    }

    /// Resources by a kind's name alone, in the order of discovery.
    pub fn by_kind_name<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources().filter(move |r| r.kind.kind == kind)
    }

    /// The type of a kind, whether it has a resource or not.
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<(Arc<Schema>, StructId)> {
        if let Some(resource) = self.by_kind(group, version, kind) {
            return Some((resource.schema.clone(), resource.ty));
        }
        let schema = Schema::builtin();
        schema.by_kind(group, version, kind).map(|ty| (schema.clone(), ty))
    }

    /// The resource that stores the objects of `kind`, whichever version that names; for a version that is not
    /// served, any of the same group and plural.
    pub fn storage(&self, kind: &Kind) -> Option<&Arc<Resource>> {
        let served = self
            .resource(&kind.group, &kind.version, &kind.plural)
            .or_else(|| self.resources().find(|r| r.kind.same_resource(kind)))?;
        self.inner.by_prefix.get(&served.storage_prefix)
    }

    /// Where an object is stored: `/registry/pods/default/web-0`.
    ///
    /// `None` for a kind that is not served or not stored.
    pub fn storage_key(&self, kind: &Kind, key: &Key) -> Option<String> {
        let mut out = self.storage_range(kind, &key.namespace)?;
        out.push_str(&key.name);
        Some(out)
    }

    /// The prefix of the storage keys of all objects of a kind, or of those of one namespace; ends with a slash.
    pub fn storage_range(&self, kind: &Kind, namespace: &str) -> Option<String> {
        let resource = self.storage(kind)?;
        let mut out = String::with_capacity(96);
        out.push_str(REGISTRY);
        out.push_str(&resource.storage_prefix);
        out.push('/');
        if resource.kind.scope == Scope::Namespaced && !namespace.is_empty() {
            out.push_str(namespace);
            out.push('/');
        }
        Some(out)
    }

    /// The resource, in its stored version, and the object that a storage key stands for.
    pub fn by_storage_key(&self, storage_key: &str) -> Option<(&Arc<Resource>, Key)> {
        let rest = storage_key.strip_prefix(REGISTRY)?;
        let (first, after) = rest.split_once('/')?;
        let (resource, name) = match self.inner.by_prefix.get(first) {
            Some(resource) => (resource, after),
            None => {
                let end = first.len() + 1 + after.find('/')?;
                (self.inner.by_prefix.get(&rest[..end])?, &rest[end + 1..])
            }
        };
        match resource.kind.scope {
            Scope::Cluster => {
                (!name.is_empty() && !name.contains('/')).then(|| (resource, Key::cluster(name)))
            }
            Scope::Namespaced => {
                let (namespace, name) = name.split_once('/')?;
                (!name.is_empty() && !name.contains('/')).then(|| (resource, Key::new(namespace, name)))
            }
        }
    }

    /// Groups and their served versions, preferred ones first. The legacy group is the empty name.
    pub fn groups(&self) -> Vec<(Name, Vec<Name>)> {
        let mut groups: Vec<(Name, Vec<Name>)> = Vec::new();
        for resource in self.resources() {
            let Kind { group, version, .. } = &resource.kind;
            let at = match groups.iter().position(|(g, _)| g == group) {
                Some(at) => at,
                None => {
                    groups.push((group.clone(), Vec::new()));
                    groups.len() - 1
                }
            };
            if !groups[at].1.contains(version) {
                groups[at].1.push(version.clone());
            }
        }
        groups
    }

    /// Adds a resource, or replaces the one of the same group, version and plural.
    pub fn insert(&mut self, resource: Resource) {
        self.remove(&resource.kind.group, &resource.kind.version, &resource.kind.plural);
        Arc::make_mut(&mut self.inner).insert(Arc::new(resource));
    }

    /// Takes a resource away; whether it was there.
    pub fn remove(&mut self, group: &str, version: &str, plural: &str) -> bool {
        let Some(resource) = self.resource(group, version, plural).cloned() else { return false };
        let inner = Arc::make_mut(&mut self.inner);
        let Kind { group, version, kind, plural, .. } = &resource.kind;
        inner.resources.retain(|r| !Arc::ptr_eq(r, &resource));
        inner.by_plural.remove(&(group.clone(), version.clone(), plural.clone()));
        inner.by_kind.remove(&(group.clone(), version.clone(), kind.clone()));
        if inner.by_prefix.get(&resource.storage_prefix).is_some_and(|r| Arc::ptr_eq(r, &resource)) {
            inner.by_prefix.remove(&resource.storage_prefix);
        }
        true
    }
}

impl Inner {
    fn insert(&mut self, resource: Arc<Resource>) {
        let Kind { group, version, kind, plural, .. } = resource.kind.clone();
        self.by_plural.insert((group.clone(), version.clone(), plural), resource.clone());
        self.by_kind.insert((group, version, kind), resource.clone());
        if !resource.storage_prefix.is_empty() && resource.kind == resource.stored_as {
            self.by_prefix.insert(resource.storage_prefix.clone(), resource.clone());
        }
        self.resources.push(resource);
    }
}

impl Resource {
    /// Whether the verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// Whether its objects are stored.
    pub fn is_stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// `DeploymentList`'s type.
    pub fn list_type(&self) -> Option<StructId> {
        self.schema.by_kind(&self.kind.group, &self.kind.version, &self.list_kind)
    }
}

/// `apps/v1` as group and version; `v1` has the empty group.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
