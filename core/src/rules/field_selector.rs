//! Selecting objects by a few of their fields: `metadata.name=web,status.phase!=Running`.

use std::fmt;
use std::str::FromStr;

use crate::object::Name;

use super::selector::InvalidSelector;

/// One condition on a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The path, `status.phase`.
    pub field: Name,
    /// Whether the field must have another value.
    pub negated: bool,
    /// The value.
    pub value: Name,
}

/// Conditions on fields, all of which must hold. A field that is absent has the empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// The conditions.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object whose fields `get` reads.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (get(&r.field).unwrap_or("") == r.value) != r.negated)
    }

    /// The value that a field must have, if only one will do.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.field == field && !r.negated).map(|r| r.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if requirement.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}", requirement.field)?;
            for c in requirement.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for FieldSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<FieldSelector, InvalidSelector> {
        let mut terms = split_unescaped(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, negated, value)) = split_term(term) else {
                return Err(InvalidSelector(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let value = unescaped(value)?;
            // No field and no value: nothing is asked.
            if !field.is_empty() || !value.is_empty() {
                requirements.push(FieldRequirement { field: field.into(), negated, value });
            }
        }
        Ok(FieldSelector { requirements })
    }
}

/// At commas that no backslash precedes.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (at, _) in term.char_indices() {
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = term[at..].strip_prefix(operator) {
                return Some((&term[..at], negated, value));
            }
        }
    }
    None
}

fn unescaped(value: &str) -> Result<Name, InvalidSelector> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    let message = format!("invalid field selector: invalid escape sequence: \\{other}");
                    return Err(InvalidSelector(message));
                }
            },
            ',' | '=' => {
                let message =
                    format!("invalid field selector: unescaped character in value: {}", u32::from(c));
                return Err(InvalidSelector(message));
            }
            c => out.push(c),
        }
    }
    Ok(out.into())
}
