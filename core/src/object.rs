//! What an object is called and what it is: [`Kind`], [`Key`], [`Object`].

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
pub use smol_str::SmolStr as Name;

use crate::meta::Meta;

/// Whether the objects of a kind live in a namespace or in the cluster as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// One object for each name.
    Cluster,
    /// One object for each namespace and name.
    Namespaced,
}

/// A kind of object as the API names it: group, version, kind, plural resource name and scope.
///
/// Cheap to clone; `const`-constructible for the kinds that a program knows at compile time. Two kinds are the
/// same resource when [`Kind::same_resource`] says so: the version is a way to look at an object, not a part of its
/// identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// API group; empty for the legacy group of Pods and Services.
    pub group: Name,
    /// API version, `v1`.
    pub version: Name,
    /// The kind in an object's `kind` field, `Deployment`.
    pub kind: Name,
    /// The plural resource name in paths, `deployments`.
    pub plural: Name,
    /// Namespaced or not.
    pub scope: Scope,
}

impl Kind {
    /// A kind whose objects live in namespaces.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Kind {
        Kind::new_static(group, version, kind, plural, Scope::Namespaced)
    }

    /// A kind whose objects belong to the whole cluster.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Kind {
        Kind::new_static(group, version, kind, plural, Scope::Cluster)
    }

    const fn new_static(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        scope: Scope,
    ) -> Kind {
        Kind {
            group: Name::new_static(group),
            version: Name::new_static(version),
            kind: Name::new_static(kind),
            plural: Name::new_static(plural),
            scope,
        }
    }

    /// `apps/v1`, or `v1` in the legacy group: what an object carries as `apiVersion`.
    pub fn api_version(&self) -> Name {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            smol_str::format_smolstr!("{}/{}", self.group, self.version)
        }
    }

    /// Whether both name the same stored objects, whatever the version.
    pub fn same_resource(&self, other: &Kind) -> bool {
        self.plural == other.plural && self.group == other.group
    }
}

impl fmt::Display for Kind {
    /// `deployments.apps`, or `pods` in the legacy group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// The name of one object within its kind. Ordered by namespace, then name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Empty for objects of cluster scope.
    pub namespace: Name,
    /// The object's name.
    pub name: Name,
}

impl Key {
    /// The key of a namespaced object.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object of cluster scope.
    pub fn cluster(name: impl Into<Name>) -> Key {
        Key { namespace: Name::default(), name: name.into() }
    }
}

impl fmt::Display for Key {
    /// `namespace/name`, or `name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl FromStr for Key {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Key, Self::Err> {
        Ok(match s.split_once('/') {
            Some((namespace, name)) => Key::new(namespace, name),
            None => Key::cluster(s),
        })
    }
}

/// A Rust type that is a view of one kind of object.
///
/// Implemented for the built-in views in [`crate::kinds`] and by users for their own kinds or for a leaner view of a
/// built-in one: a view deserialises only the fields that it declares, so two views of one kind may live side by
/// side. Kinds that are known only at run time are read untyped through [`crate::World::objects`].
///
/// ```
/// use orlop_core::{Kind, Meta, Object};
///
/// #[derive(serde::Deserialize)]
/// struct Bucket {
///     metadata: Meta,
///     spec: BucketSpec,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct BucketSpec {
///     region: String,
/// }
///
/// impl Object for Bucket {
///     const KIND: Kind = Kind::namespaced("storage.example.com", "v1", "Bucket", "buckets");
///     fn meta(&self) -> &Meta {
///         &self.metadata
///     }
/// }
/// ```
pub trait Object: DeserializeOwned + Send + Sync + 'static {
    /// The kind that this type is a view of.
    const KIND: Kind;

    /// The object's metadata.
    fn meta(&self) -> &Meta;

    /// The object's key.
    fn key(&self) -> Key {
        self.meta().key()
    }

    /// Decodes the object's JSON. A crate whose kinds many others read says this for them itself, so that a program has
    /// one such function for a kind, and not one from each crate that reads it.
    ///
    /// # Errors
    /// When a field that the type declares is not of the declared type.
    fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
}
