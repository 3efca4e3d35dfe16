//! The structured form of label selectors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::Name;

use super::selector::{InvalidSelector, LabelSet, Operator, Requirement, Selector, quoted};

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

impl LabelSelector {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// The selector in force. For an optional field use [`Selector::nothing`] where it is absent.
    ///
    /// # Errors
    /// When a key, value or operator is not valid.
    pub fn to_selector(&self) -> Result<Selector, InvalidSelector> {
        let mut requirements = Vec::with_capacity(self.match_labels.len() + self.match_expressions.len());
        for (key, value) in &self.match_labels {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value.clone()])?);
        }
        for LabelSelectorRequirement { key, operator, values } in &self.match_expressions {
            let operator = match operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let message = format!("{} is not a valid label selector operator", quoted(other));
                    return Err(InvalidSelector(message));
                }
            };
            requirements.push(Requirement::new(key.clone(), operator, values.clone())?);
        }
        Ok(Selector::new(requirements))
    }

    /// Whether it selects an object with these labels; an invalid selector selects nothing. To match many objects, make
    /// a [`Selector`] once.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized)) -> bool {
        self.to_selector().is_ok_and(|selector| selector.matches(labels))
    }

    /// The form that people are shown: the text, `<none>`, or `<error>`.
    pub fn formatted(&self) -> String {
        self.to_selector().map_or_else(|_| "<error>".to_owned(), |selector| selector.formatted())
    }
}
