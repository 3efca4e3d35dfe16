//! Reading a configuration strictly, with the path of everything that is wrong: [`Reader`], [`Invalid`].

use std::cell::RefCell;
use std::fmt;

use serde_json::Value;

/// One thing that is wrong with a configuration, in Kubernetes' form: `field: Kind of error: value: detail`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Where: `profiles[0].plugins.filter.enabled[1].name`.
    pub field: String,
    /// What is wrong there.
    pub what: Wrong,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wrong {
    /// No such field.
    Unknown,
    /// It must be given; the detail may be empty.
    Required(String),
    /// Its value cannot be used: the value, and why.
    Value(String, String),
    /// Its value is none of those that are known: the value, and those.
    Unsupported(String, Vec<String>),
    /// Its value stands there twice.
    Duplicate(String),
    /// It may not be given, and why.
    Forbidden(String),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match &self.what {
            Wrong::Unknown => write!(f, "strict decoding error: unknown field {field:?}"),
            Wrong::Required(detail) if detail.is_empty() => write!(f, "{field}: Required value"),
            Wrong::Required(detail) => write!(f, "{field}: Required value: {detail}"),
            Wrong::Value(value, detail) => write!(f, "{field}: Invalid value: {value}: {detail}"),
            Wrong::Unsupported(value, known) => {
                let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
                write!(f, "{field}: Unsupported value: {value:?}: supported values: {}", known.join(", "))
            }
            Wrong::Duplicate(value) => write!(f, "{field}: Duplicate value: {value:?}"),
            Wrong::Forbidden(detail) => write!(f, "{field}: Forbidden: {detail}"),
        }
    }
}

/// What was found wrong so far.
pub(super) type Problems = RefCell<Vec<Invalid>>;

/// A value of a configuration, with its path.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    value: &'a Value,
    path: String,
    problems: &'a Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(value: &'a Value, path: &str, problems: &'a Problems) -> Reader<'a> {
        Reader { value, path: path.to_owned(), problems }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    pub(super) fn raw(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_given(&self) -> bool {
        !self.value.is_null()
    }

    pub(super) fn complain(&self, what: Wrong) {
        self.problems.borrow_mut().push(Invalid { field: self.path.clone(), what });
    }

    /// The value cannot be used.
    pub(super) fn refuse(&self, detail: impl Into<String>) {
        self.complain(Wrong::Value(self.value.to_string(), detail.into()));
    }

    fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// One field; absent and `null` are the same.
    pub(super) fn get(&self, name: &str) -> Reader<'a> {
        const NULL: &Value = &Value::Null;
        Reader {
            value: self.value.get(name).unwrap_or(NULL),
            path: self.child(name),
            problems: self.problems,
        }
    }

    /// Complains unless it is an object with no other fields than these.
    pub(super) fn object(&self, known: &[&str]) {
        match self.value {
            Value::Null => {}
            Value::Object(fields) => {
                for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
                    self.get(name).complain(Wrong::Unknown);
                }
            }
            _ => self.refuse("must be an object"),
        }
    }

    pub(super) fn items(&self) -> Vec<Reader<'a>> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, value)| Reader {
                    value,
                    path: format!("{}[{at}]", self.path),
                    problems: self.problems,
                })
                .collect(),
            _ => {
                self.refuse("must be a list");
                Vec::new()
            }
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => {
                self.refuse("must be a string");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self) -> Option<&'a str> {
        let text = self.text();
        if !self.is_given() || text == Some("") {
            self.complain(Wrong::Required(String::new()));
            return None;
        }
        text
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.value {
            Value::Null => None,
            Value::Bool(flag) => Some(*flag),
            _ => {
                self.refuse("must be true or false");
                None
            }
        }
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self.value {
            Value::Null => None,
            number if number.is_i64() => number.as_i64(),
            _ => {
                self.refuse("must be a whole number");
                None
            }
        }
    }

    /// A number that must lie in a range, which `detail` describes.
    pub(super) fn int_in(&self, range: impl std::ops::RangeBounds<i64>, detail: &str) -> Option<i64> {
        let number = self.int()?;
        if !range.contains(&number) {
            self.refuse(detail);
            return None;
        }
        Some(number)
    }

    /// A text that must be one of these.
    pub(super) fn one_of(&self, known: &[&str]) -> Option<&'a str> {
        let text = self.text()?;
        if !known.contains(&text) {
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            self.complain(Wrong::Unsupported(text.to_owned(), known));
            return None;
        }
        Some(text)
    }
}
