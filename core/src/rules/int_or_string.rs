//! A number or a text: ports by number or name, amounts by count or percentage.

use std::fmt;

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

/// A text that is not a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPercentage {
    /// It does not end in `%`.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    Unit,
    /// There is no whole number before the `%`.
    #[error("invalid value for IntOrString: invalid value {0:?}")]
    Number(Name),
}

impl IntOrString {
    /// The count; of a percentage, that part of `total`, rounded as asked.
    ///
    /// # Errors
    /// When it is a text, but not a percentage.
    pub fn scaled(&self, total: i32, round_up: bool) -> Result<i32, InvalidPercentage> {
        let text = match self {
            IntOrString::Int(count) => return Ok(*count),
            IntOrString::String(text) => text,
        };
        let number = text.strip_suffix('%').ok_or(InvalidPercentage::Unit)?;
        let percent: i64 = number.parse().map_err(|_| InvalidPercentage::Number(text.clone()))?;
        let hundredfold = i128::from(percent) * i128::from(total);
        let whole = hundredfold.div_euclid(100) + i128::from(round_up && hundredfold.rem_euclid(100) != 0);
        Ok(i32::try_from(whole).unwrap_or(if whole < 0 { i32::MIN } else { i32::MAX }))
    }
}

impl From<i32> for IntOrString {
    fn from(count: i32) -> Self {
        IntOrString::Int(count)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        IntOrString::String(text.into())
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntOrString::Int(count) => count.fmt(f),
            IntOrString::String(text) => text.fmt(f),
        }
    }
}
