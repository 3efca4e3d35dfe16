//! Rules that several parts share: quantities, selectors, tolerations, pod resources.

mod decimal;
pub mod duration;
mod field_selector;
mod int_or_string;
mod label_selector;
pub mod names;
pub mod node_affinity;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod pod;
pub mod pod_resources;
pub(crate) mod quantity;
pub mod quota;
pub mod quote;
#[cfg(feature = "schedules")]
pub mod schedule;
mod selector;
mod selector_text;
pub mod taints;
pub mod volume;

pub use field_selector::{FieldRequirement, FieldSelector};
pub use int_or_string::{IntOrString, InvalidPercentage};
pub use label_selector::{LabelSelector, LabelSelectorRequirement};
pub use quantity::{Format, InvalidQuantity, Quantity};
pub use selector::{InvalidSelector, LabelSet, Operator, Requirement, Selector};
