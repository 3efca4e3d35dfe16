//! What is wrong with a field, in Kubernetes' words.

use std::fmt::Write as _;

use orlop_core::rules::quote::go_quoted as quoted;
use serde_json::Value;

use super::path::Path;
use crate::status::Cause;

/// What kind of complaint it is; the names are those of the causes in a `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorType {
    /// Something that the value refers to is not there.
    NotFound,
    /// The field has no value.
    Required,
    /// The value has been used before in the list.
    Duplicate,
    /// The value breaks a rule.
    Invalid,
    /// The value is none of those that there are.
    NotSupported,
    /// The field may not be set, or not be changed, here.
    Forbidden,
    /// The value is too long.
    TooLong,
    /// The list has too many items.
    TooMany,
    /// The value is of another type.
    TypeInvalid,
}

impl ErrorType {
    /// The reason of a cause, `FieldValueRequired`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }
}

/// One complaint about one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of complaint it is.
    pub error_type: ErrorType,
    /// The field's path, `spec.containers[0].image`.
    pub field: String,
    /// What is wrong, as a part of a sentence; may be empty.
    pub detail: String,
    /// The whole sentence but for the field, `Invalid value: "x": must be …`.
    pub message: String,
}

impl FieldError {
    /// A complaint: the start of its sentence, `Invalid value: "x"`, and what is wrong, if there is more to say.
    pub(crate) fn new(error_type: ErrorType, field: String, start: String, detail: &str) -> FieldError {
        let message = if detail.is_empty() { start } else { format!("{start}: {detail}") };
        FieldError { error_type, field, detail: detail.to_owned(), message }
    }

    /// A value that breaks a rule.
    pub(crate) fn invalid(field: String, value: &Value, detail: &str) -> FieldError {
        FieldError::new(ErrorType::Invalid, field, format!("Invalid value: {value}"), detail)
    }

    /// A field that has no value.
    pub(crate) fn required(field: String) -> FieldError {
        FieldError::new(ErrorType::Required, field, "Required value".into(), "")
    }

    /// The complaint as a part of a `Status`.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.error_type.as_str().to_owned(),
            message: self.message.clone(),
            field: self.field.clone(),
        }
    }
}

/// All complaints as the message of a `Status` tells them: `[a: Required value, b: Invalid value: …]`.
pub fn summary(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = format!("{}: {}", error.field, error.message);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.len() {
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Collects complaints.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub(crate) Vec<FieldError>);

impl Errors {
    pub(crate) fn push(&mut self, error_type: ErrorType, path: Path<'_>, start: String, detail: &str) {
        self.0.push(FieldError::new(error_type, path.to_string(), start, detail));
    }

    pub(crate) fn required(&mut self, path: Path<'_>, detail: &str) {
        self.push(ErrorType::Required, path, "Required value".into(), detail);
    }

    pub(crate) fn forbidden(&mut self, path: Path<'_>, detail: &str) {
        self.push(ErrorType::Forbidden, path, "Forbidden".into(), detail);
    }

    pub(crate) fn invalid(&mut self, path: Path<'_>, value: &Value, detail: &str) {
        self.push(ErrorType::Invalid, path, format!("Invalid value: {}", shown(value)), detail);
    }

    pub(crate) fn invalid_text(&mut self, path: Path<'_>, value: &str, detail: &str) {
        self.push(ErrorType::Invalid, path, format!("Invalid value: {}", quoted(value)), detail);
    }

    /// A complaint that does not show the value.
    pub(crate) fn invalid_unshown(&mut self, path: Path<'_>, detail: &str) {
        self.push(ErrorType::Invalid, path, "Invalid value".to_owned(), detail);
    }

    pub(crate) fn duplicate(&mut self, path: Path<'_>, value: &Value) {
        self.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", shown(value)), "");
    }

    /// A repetition that is explained.
    pub(crate) fn duplicate_why(&mut self, path: Path<'_>, value: &Value, detail: &str) {
        self.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", shown(value)), detail);
    }

    pub(crate) fn duplicate_text(&mut self, path: Path<'_>, value: &str) {
        self.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", quoted(value)), "");
    }

    pub(crate) fn not_found(&mut self, path: Path<'_>, value: &str) {
        self.push(ErrorType::NotFound, path, format!("Not found: {}", quoted(value)), "");
    }

    /// A list has more than `max` items: `count` of them.
    pub(crate) fn too_many(&mut self, path: Path<'_>, count: usize, max: usize) {
        let detail = format!("must have at most {max} item{}", if max == 1 { "" } else { "s" });
        self.push(ErrorType::TooMany, path, format!("Too many: {count}"), &detail);
    }

    pub(crate) fn too_long(&mut self, path: Path<'_>, max: usize) {
        self.push(ErrorType::TooLong, path, "Too long".into(), &format!("may not be more than {max} bytes"));
    }

    pub(crate) fn unsupported(&mut self, path: Path<'_>, value: &Value, supported: &[&str]) {
        let mut detail = String::from("supported values: ");
        for (i, value) in supported.iter().enumerate() {
            let _ = write!(detail, "{}{value:?}", if i > 0 { ", " } else { "" });
        }
        self.push(ErrorType::NotSupported, path, format!("Unsupported value: {}", shown(value)), &detail);
    }

    /// Complaints of a rule about a text.
    pub(crate) fn rule(&mut self, path: Path<'_>, value: &str, complaints: Vec<String>) {
        for complaint in complaints {
            self.invalid_text(path, value, &complaint);
        }
    }
}
