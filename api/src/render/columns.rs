//! The columns of a table, and who fills them.

use orlop_core::Timestamp;
use serde_json::{Value, json};

use super::cells;

/// One column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `boolean`, `number` or `date`.
    pub ty: String,
    /// `name` where the column holds the object's name.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0: always shown; otherwise only in wide output.
    pub priority: i64,
}

/// A column that is known at compile time.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) ty: &'static str,
    pub(crate) format: &'static str,
    pub(crate) priority: i64,
}

/// How one built-in kind is printed.
pub(crate) struct Printer {
    pub(crate) columns: &'static [Known],
    pub(crate) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

impl Known {
    pub(crate) const fn text(name: &'static str) -> Known {
        Known { name, ty: "string", format: "", priority: 0 }
    }

    pub(crate) const fn wide(name: &'static str) -> Known {
        Known { name, ty: "string", format: "", priority: 1 }
    }

    pub(crate) const fn typed(name: &'static str, ty: &'static str) -> Known {
        Known { name, ty, format: "", priority: 0 }
    }

    pub(crate) fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.ty, "format": self.format, "description": "",
               "priority": self.priority})
    }
}

impl Column {
    pub(crate) fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.ty, "format": self.format, "description": self.description,
               "priority": self.priority})
    }
}

pub(crate) const NAME: Known = Known { name: "Name", ty: "string", format: "name", priority: 0 };
pub(crate) const AGE: Known = Known::text("Age");

/// Name and time of creation: how a kind is printed of which nothing better is known.
static PLAIN: Printer = Printer {
    columns: &[NAME, Known { name: "Created At", ty: "date", format: "", priority: 0 }],
    cells: |o, _| vec![o["metadata"]["name"].clone(), created(o)],
};

fn created(object: &Value) -> Value {
    match &object["metadata"]["creationTimestamp"] {
        Value::Null => "<unknown>".into(),
        at => at.clone(),
    }
}

/// The printer of a built-in kind.
pub(crate) fn printer(group: &str, plural: &str) -> &'static Printer {
    cells::printer(group, plural).unwrap_or(&PLAIN)
}
