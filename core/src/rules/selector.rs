//! Selectors in force: requirements, ready to match.

use std::fmt;

use crate::body::Body;
use crate::meta::Labels;
use crate::object::Name;

use super::names;

/// Labels that a selector can look into.
pub trait LabelSet {
    /// One label's text.
    fn label(&self, key: &str) -> Option<&str>;
}

impl LabelSet for Labels {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(Name::as_str)
    }
}

impl LabelSet for Body {
    fn label(&self, key: &str) -> Option<&str> {
        Body::label(self, key)
    }
}

/// Sorted by key.
impl LabelSet for [(Name, Name)] {
    fn label(&self, key: &str) -> Option<&str> {
        let at = self.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        Some(self[at].1.as_str())
    }
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The value is this one.
    Equals,
    /// The same, written `==`.
    DoubleEquals,
    /// There is no such label, or its value is another.
    NotEquals,
    /// The value is one of these.
    In,
    /// There is no such label, or its value is none of these.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is no such label.
    DoesNotExist,
    /// The value is a greater integer.
    GreaterThan,
    /// The value is a lesser integer.
    LessThan,
}

impl Operator {
    /// The operator as it is called in messages, `notin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::In => "in",
            Operator::NotIn => "notin",
            Operator::Exists => "exists",
            Operator::DoesNotExist => "!",
            Operator::GreaterThan => "gt",
            Operator::LessThan => "lt",
        }
    }
}

/// One condition on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: Name,
    operator: Operator,
    /// Sorted.
    values: Vec<Name>,
}

/// A selector that is not valid, and why, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSelector(pub(super) String);

impl Requirement {
    /// A condition on the label `key`.
    ///
    /// # Errors
    /// When key or values are not valid for labels, or the operator wants other values.
    pub fn new(key: Name, operator: Operator, values: Vec<Name>) -> Result<Requirement, InvalidSelector> {
        let mut errors = Vec::new();
        let wrong = names::label_key(&key);
        if !wrong.is_empty() {
            errors.push(invalid("key", &quoted(&key), &wrong.join("; ")));
        }
        let all = || {
            if values.is_empty() {
                return "null".to_owned();
            }
            format!("[{}]", values.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(","))
        };
        let complaint = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(complaint.map(|complaint| invalid("values", &all(), complaint)));
        for (i, value) in values.iter().enumerate() {
            let integer = matches!(operator, Operator::GreaterThan | Operator::LessThan);
            if integer && value.parse::<i64>().is_err() {
                let complaint = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(invalid(&format!("values[{i}]"), &quoted(value), complaint));
            }
        }
        for (i, value) in values.iter().enumerate() {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.push(invalid(&format!("values[{i}][{key}]"), &quoted(value), &wrong.join("; ")));
            }
        }
        match errors.len() {
            0 => {
                let mut values = values;
                values.sort();
                Ok(Requirement { key, operator, values })
            }
            1 => Err(InvalidSelector(errors.remove(0))),
            _ => Err(InvalidSelector(format!("[{}]", errors.join(", ")))),
        }
    }

    /// The label.
    pub fn key(&self) -> &Name {
        &self.key
    }

    /// How it is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// With what; sorted.
    pub fn values(&self) -> &[Name] {
        &self.values
    }

    /// Whether these labels fulfil the requirement.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized)) -> bool {
        self.accepts(labels.label(&self.key))
    }

    fn accepts(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok();
        let compared = |wanted| {
            let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
            let value = value.and_then(|v| v.parse::<i64>().ok());
            value.zip(bound).is_some_and(|(value, bound)| value.cmp(&bound) == wanted)
        };
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => value.is_some_and(listed),
            Operator::NotEquals | Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compared(std::cmp::Ordering::Greater),
            Operator::LessThan => compared(std::cmp::Ordering::Less),
        }
    }
}

pub(super) fn quoted(s: &str) -> String {
    serde_json::Value::from(s).to_string()
}

pub(super) fn invalid(field: &str, value: &str, detail: &str) -> String {
    format!("{field}: Invalid value: {value}: {detail}")
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, operator, values } = self;
        match operator {
            Operator::Exists => return write!(f, "{key}"),
            Operator::DoesNotExist => return write!(f, "!{key}"),
            Operator::In | Operator::NotIn => {
                return write!(f, "{key} {} ({})", operator.as_str(), values.join(","));
            }
            Operator::GreaterThan => write!(f, "{key}>")?,
            Operator::LessThan => write!(f, "{key}<")?,
            _ => write!(f, "{key}{}", operator.as_str())?,
        }
        f.write_str(values.first().map_or("", Name::as_str))
    }
}

/// Requirements, all of which must hold; or a selector that selects nothing.
///
/// Read from text by `FromStr`, from the structured form by [`super::LabelSelector::to_selector`]; displays the
/// canonical text.
///
/// ```
/// use orlop_core::rules::Selector;
///
/// let selector: Selector = "tier in (web,cache),!legacy".parse()?;
/// assert!(selector.matches(&[("tier".into(), "web".into())].into_iter().collect::<orlop_core::Labels>()));
/// # Ok::<(), orlop_core::rules::InvalidSelector>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Sorted by key; `None` selects nothing.
    requirements: Option<Vec<Requirement>>,
}

impl Default for Selector {
    fn default() -> Selector {
        Selector::everything()
    }
}

impl Selector {
    /// Selects all.
    pub const fn everything() -> Selector {
        Selector { requirements: Some(Vec::new()) }
    }

    /// Selects nothing.
    pub const fn nothing() -> Selector {
        Selector { requirements: None }
    }

    /// Selects what fulfils all of these.
    pub fn new(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements: Some(requirements) }
    }

    /// Selects what has exactly these labels, whether or not they are valid.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a Name, &'a Name)>) -> Selector {
        let requirement = |(key, value): (&Name, &Name)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        Selector::new(labels.into_iter().map(requirement).collect())
    }

    /// The requirements; `None` if it selects nothing.
    pub fn requirements(&self) -> Option<&[Requirement]> {
        self.requirements.as_deref()
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it selects an object with these labels.
    pub fn matches(&self, labels: &(impl LabelSet + ?Sized)) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|r| r.matches(labels)))
    }

    /// The form that people are shown: the text, or `<none>`.
    pub fn formatted(&self) -> String {
        let text = self.to_string();
        if text.is_empty() { "<none>".to_owned() } else { text }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().flatten().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}
