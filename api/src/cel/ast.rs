//! Expressions as trees.

use std::sync::Arc;

/// A place in the source, in characters from its start.
pub(super) type Offset = usize;

#[derive(Clone, Debug)]
pub(super) struct Expr {
    /// Its number within its expression.
    pub(super) id: u32,
    pub(super) at: Offset,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Const(Const),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        function: String,
        args: Vec<Expr>,
    },
    /// Items; the indices of those that are left out where they are none.
    List(Vec<Expr>, Vec<usize>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<FieldInit>,
    },
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Expr,
    pub(super) value: Expr,
    pub(super) optional: bool,
}

#[derive(Clone, Debug)]
pub(super) struct FieldInit {
    pub(super) name: String,
    pub(super) value: Expr,
    pub(super) optional: bool,
}

/// What macros over lists and maps become: a loop that carries one value.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub(super) range: Expr,
    pub(super) var: String,
    /// Where there are two, the first is the key or index.
    pub(super) var2: Option<String>,
    pub(super) accu: String,
    pub(super) init: Expr,
    pub(super) condition: Expr,
    pub(super) step: Expr,
    pub(super) result: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Const {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

impl Expr {
    /// Whether it names a variable anywhere.
    pub(super) fn names(&self, variable: &str) -> bool {
        let any = |exprs: &[Expr]| exprs.iter().any(|e| e.names(variable));
        match &self.kind {
            Kind::Const(_) => false,
            Kind::Ident(name) => name == variable,
            Kind::Select { operand, .. } => operand.names(variable),
            Kind::Call { target, args, .. } => {
                target.as_ref().is_some_and(|t| t.names(variable)) || any(args)
            }
            Kind::List(items, _) => any(items),
            Kind::Map(entries) => entries.iter().any(|e| e.key.names(variable) || e.value.names(variable)),
            Kind::Struct { fields, .. } => fields.iter().any(|f| f.value.names(variable)),
            Kind::Fold(fold) => [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
                .iter()
                .any(|e| e.names(variable)),
        }
    }

    /// `a.b.c`, where it is that.
    pub(super) fn qualified(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified()?)),
            _ => None,
        }
    }
}

/// A complaint about a place in the source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Complaint {
    pub(super) at: Offset,
    pub(super) text: String,
}

impl Complaint {
    pub(super) fn new(at: Offset, text: impl Into<String>) -> Complaint {
        Complaint { at, text: text.into() }
    }

    /// With line and column, and the line itself with a mark below the place.
    pub(super) fn shown(&self, source: &str) -> String {
        let (mut line, mut column) = (1, 0);
        for c in source.chars().take(self.at) {
            if c == '\n' {
                line += 1;
                column = 0;
            } else {
                column += 1;
            }
        }
        let text = source.lines().nth(line - 1).unwrap_or_default();
        format!("ERROR: <input>:{line}:{}: {}\n | {text}\n | {}^", column + 1, self.text, ".".repeat(column))
    }
}
