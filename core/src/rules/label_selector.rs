//! Selecting objects by their labels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::Name;

/// The structured form of a label selector. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<Name, Name>,
    /// Requirements, all of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: Name,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Name,
    /// What the operator compares with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Name>,
}
