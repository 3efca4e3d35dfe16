//! CEL, the Common Expression Language, as Kubernetes 1.36 speaks it.
//!
//! `compile(source, env) -> Program`, then `program.evaluate(values, limit)`. Expressions are parsed, macros expanded,
//! types checked against what the environment declares; a [`Program`] knows the type of its result, what it may cost
//! at most ([`Program::estimate`]), and never runs longer than the limit that it is given. Nothing here reads a clock.
//!
//! Start at [`compile`]; the language is in [`parse`], [`check`] and [`eval`], the functions in [`library`].

mod ast;
mod check;
mod cost;
pub(crate) mod decl;
mod eval;
mod lex;
pub(crate) mod library;
mod macros;
mod parse;
#[cfg(test)]
mod tests;
mod types;
mod value;

use std::collections::BTreeMap;

pub(crate) use decl::Decl;
pub(crate) use eval::{Activation, Failure};
pub(crate) use lex::WORDS;
pub(crate) use library::authz::Authority;
pub(crate) use types::{ObjectType, Type};
pub(crate) use value::{Opaque, Value};

/// What an expression may name.
#[derive(Clone, Default)]
pub(crate) struct Env {
    variables: BTreeMap<String, Type>,
    /// Whether `Object{…}` and `JSONPatch{…}` make values of their own.
    pub(crate) constructs: bool,
}

impl Env {
    /// Declares a variable.
    pub(crate) fn with(mut self, name: &str, ty: Type) -> Env {
        self.variables.insert(name.into(), ty);
        self
    }
}

/// An expression whose types fit.
#[derive(Debug)]
pub(crate) struct Program {
    root: ast::Expr,
    checked: check::Checked,
}

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, one complaint a line, with its place.
pub(crate) fn compile(source: &str, env: &Env) -> Result<Program, String> {
    let mut root = parse::parse(source).map_err(|e| e.shown(source))?;
    let checked = check::check(&mut root, env)
        .map_err(|errors| errors.iter().map(|e| e.shown(source)).collect::<Vec<_>>().join("\n"))?;
    Ok(Program { root, checked })
}

impl Program {
    /// The type of its result.
    pub(crate) fn result_type(&self) -> &Type {
        self.checked.type_of(&self.root)
    }

    /// Whether it names a variable.
    pub(crate) fn names(&self, variable: &str) -> bool {
        self.root.names(variable)
    }

    /// What it may cost at most, given what is known of its variables' sizes.
    pub(crate) fn estimate(&self, variables: &BTreeMap<&str, &Decl>) -> u64 {
        cost::estimate(&self.root, &self.checked, variables)
    }

    /// Its result, and what it cost.
    ///
    /// # Errors
    /// Where it has no result, or costs more than the limit.
    pub(crate) fn evaluate(&self, values: &Activation<'_>, limit: u64) -> Result<(Value, u64), Failure> {
        eval::evaluate(&self.root, values, limit)
    }
}
