//! A number or a text: ports by number or name, amounts by count or percentage.

use serde::{Deserialize, Serialize};

use crate::object::Name;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// `80`.
    Int(i32),
    /// `"http"`, `"25%"`.
    String(Name),
}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}
