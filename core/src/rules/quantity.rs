//! Amounts of resources.

use serde::{Deserialize, Serialize};

/// An amount: `100m`, `1Gi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantity(String);
