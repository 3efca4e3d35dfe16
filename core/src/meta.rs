//! Object metadata as views see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Key, Kind, Name};
use crate::time::Timestamp;

/// Labels or annotations.
pub type Labels = BTreeMap<Name, Name>;

/// The part of `metadata` that decisions need.
///
/// `managedFields` is left out: only the API reads it, from the object's bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// The object's name within its namespace.
    pub name: Name,
    /// The prefix from which the server made the name.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub generate_name: Name,
    /// Empty for objects of cluster scope.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub namespace: Name,
    /// Unique in time and space; empty before the object is stored.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub uid: Name,
    /// The revision at which this state was committed; empty in stored bytes, which do not know it.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub resource_version: Name,
    /// Counts the changes of the desired state.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// When the object was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// Set while the object is being deleted: when its grace ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// The grace, in seconds, that the deletion grants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// What selectors select on.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Data for tools.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Objects that this one goes with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Who must still act before a deleted object goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<Name>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Meta {
    /// The object's key.
    pub fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The owner that controls this object, if any.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|r| r.controller)
    }

    /// Whether `owner` controls this object.
    pub fn is_controlled_by(&self, owner: &Meta) -> bool {
        self.controller().is_some_and(|r| r.uid == owner.uid)
    }

    /// Whether deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// One annotation's text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(Name::as_str)
    }

    /// One label's text.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(Name::as_str)
    }
}

/// A reference to an object that owns this one; both live in one namespace, or the owner in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// `apps/v1`.
    pub api_version: Name,
    /// `ReplicaSet`.
    pub kind: Name,
    /// The owner's name.
    pub name: Name,
    /// The owner's UID: an owner made anew under the same name is another one.
    pub uid: Name,
    /// Whether the owner manages this object; at most one does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub block_owner_deletion: bool,
}

impl OwnerReference {
    /// The reference by which `owner` controls an object.
    pub fn controller_of(kind: &Kind, owner: &Meta) -> OwnerReference {
        OwnerReference {
            api_version: kind.api_version(),
            kind: kind.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: true,
            block_owner_deletion: true,
        }
    }
}
