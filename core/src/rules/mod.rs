//! Rules that several parts share: quantities, selectors, tolerations, pod resources.

mod int_or_string;
mod label_selector;
mod quantity;

pub use int_or_string::IntOrString;
pub use label_selector::{LabelSelector, LabelSelectorRequirement};
pub use quantity::Quantity;
