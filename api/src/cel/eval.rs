//! Running an expression.
//!
//! Costs are counted as Kubernetes counts them: one for a name, a selection or a call, more for what walks through a
//! text or a list. A run that costs more than its limit ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Const, Expr, Fold, Kind};
use super::library::authz::Ask;
use super::value::{Key, Opaque, Value, concatenated, equal};
use super::{library, macros};

/// The values of variables. One that is not there has no value, which is an error only where it is asked for.
#[derive(Clone, Default)]
pub(crate) struct Activation<'a> {
    values: BTreeMap<String, Result<Value, String>>,
    ask: Option<&'a Ask<'a>>,
}

impl<'a> Activation<'a> {
    pub(crate) fn with(mut self, name: &str, value: Value) -> Activation<'a> {
        self.values.insert(name.into(), Ok(value));
        self
    }

    /// Who answers questions of who may do what; without it nobody may.
    pub(crate) fn asking(self, ask: &'a Ask<'a>) -> Activation<'a> {
        Activation { ask: Some(ask), ..self }
    }

    /// Sets a variable to a value, or to why it has none.
    pub(crate) fn set(&mut self, name: &str, value: Result<Value, String>) {
        self.values.insert(name.into(), value);
    }
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// It went wrong.
    Error(String),
    /// It cost more than it may.
    TooExpensive,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(why) => f.write_str(why),
            Failure::TooExpensive => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

type Outcome = Result<Value, Failure>;

fn error<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Error(why.into()))
}

pub(super) fn evaluate(root: &Expr, values: &Activation<'_>, limit: u64) -> Result<(Value, u64), Failure> {
    let mut run = Run { values, scopes: Vec::new(), cost: 0, limit };
    let value = run.expr(root)?;
    Ok((value, run.cost))
}

struct Run<'a> {
    values: &'a Activation<'a>,
    scopes: Vec<(&'a str, Value)>,
    cost: u64,
    limit: u64,
}

impl<'a> Run<'a> {
    fn spend(&mut self, cost: u64) -> Result<(), Failure> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Failure::TooExpensive) } else { Ok(()) }
    }

    fn expr(&mut self, expr: &'a Expr) -> Outcome {
        match &expr.kind {
            Kind::Const(value) => Ok(match value {
                Const::Null => Value::Null,
                Const::Bool(b) => Value::Bool(*b),
                Const::Int(n) => Value::Int(*n),
                Const::Uint(n) => Value::Uint(*n),
                Const::Double(n) => Value::Double(*n),
                Const::String(text) => Value::String(text.clone()),
                Const::Bytes(bytes) => Value::Bytes(bytes.clone()),
            }),
            Kind::Ident(name) => {
                self.spend(1)?;
                self.variable(name)
            }
            Kind::Select { operand, field, test } => {
                if let (Kind::Ident(root), false) = (&operand.kind, *test)
                    && matches!(root.as_str(), "variables" | "authorizer")
                    && let Some(value) = self.values.values.get(&format!("{root}.{field}"))
                {
                    self.spend(2)?;
                    return value.clone().map_err(Failure::Error);
                }
                let of = self.expr(operand)?;
                self.spend(1)?;
                if *test { has(&of, field).map(Value::Bool) } else { select(&of, field) }
            }
            Kind::List(items, optional) => {
                self.spend(10)?;
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let value = self.expr(item)?;
                    match value {
                        Value::Optional(value) if optional.contains(&i) => {
                            out.extend(value.map(Arc::unwrap_or_clone));
                        }
                        value => out.push(value),
                    }
                }
                Ok(Value::list(out))
            }
            Kind::Map(entries) => {
                self.spend(30)?;
                let mut out = BTreeMap::new();
                for entry in entries {
                    let key = self.expr(&entry.key)?;
                    let value = self.expr(&entry.value)?;
                    let Some(key) = Key::of(&key) else {
                        return error(format!("unsupported key type: {}", key.type_name()));
                    };
                    let value = match value {
                        Value::Optional(value) if entry.optional => match value {
                            Some(value) => Arc::unwrap_or_clone(value),
                            None => continue,
                        },
                        value => value,
                    };
                    if out.insert(key, value).is_some() {
                        return error("Failed with repeated key");
                    }
                }
                Ok(Value::Map(Arc::new(out)))
            }
            Kind::Struct { name, fields } => {
                self.spend(40)?;
                let mut out = BTreeMap::new();
                for field in fields {
                    match self.expr(&field.value)? {
                        Value::Optional(value) if field.optional => {
                            out.extend(value.map(|v| (field.name.clone(), Arc::unwrap_or_clone(v))));
                        }
                        value => {
                            out.insert(field.name.clone(), value);
                        }
                    }
                }
                Ok(Value::opaque(Opaque::Made(name.clone(), out)))
            }
            Kind::Call { target, function, args } => self.call(target.as_deref(), function, args),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn variable(&self, name: &str) -> Outcome {
        if let Some((_, value)) = self.scopes.iter().rev().find(|(n, _)| *n == name) {
            return Ok(value.clone());
        }
        match self.values.values.get(name) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(why)) => error(why.as_str()),
            None => match library::convert::type_named(name) {
                Some(ty) => Ok(Value::Type(ty)),
                None => error(format!("no such attribute(s): {name}")),
            },
        }
    }

    fn call(&mut self, target: Option<&'a Expr>, function: &str, args: &'a [Expr]) -> Outcome {
        match (function, args) {
            ("_&&_", [a, b]) => return self.either(a, b, false),
            ("_||_", [a, b]) => return self.either(a, b, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.expr(condition)? {
                    Value::Bool(true) => self.expr(yes),
                    Value::Bool(false) => self.expr(no),
                    _ => error("no such overload"),
                };
            }
            ("@not_strictly_false", [condition]) => {
                return match self.expr(condition) {
                    Err(Failure::TooExpensive) => Err(Failure::TooExpensive),
                    Ok(Value::Bool(false)) => Ok(Value::Bool(false)),
                    _ => Ok(Value::Bool(true)),
                };
            }
            ("_+_", [so_far, more]) if matches!(&so_far.kind, Kind::Ident(n) if n == macros::ACCU) => {
                return self.grown(more);
            }
            ("or" | "orValue", [other]) if target.is_some() => {
                let of = self.expr(target.unwrap_or(other))?;
                self.spend(1)?;
                return match (of, function) {
                    (Value::Optional(Some(value)), "orValue") => Ok(Arc::unwrap_or_clone(value)),
                    (some @ Value::Optional(Some(_)), _) => Ok(some),
                    (Value::Optional(None), _) => self.expr(other),
                    _ => error("no such overload"),
                };
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        if let Some(target) = target {
            values.push(self.expr(target)?);
        }
        for arg in args {
            values.push(self.expr(arg)?);
        }
        let before = library::cost_before(function, &values);
        self.spend(before)?;
        if let ("check", [Value::Opaque(of), Value::String(verb)]) = (function, values.as_slice())
            && let Opaque::Question(question) = &**of
        {
            let decision = self.values.ask.map(|ask| question.ask(verb, ask)).unwrap_or_default();
            return Ok(Value::opaque(Opaque::Decision(decision)));
        }
        let result = library::call(function, &values).map_err(Failure::Error)?;
        self.spend(library::cost_after(function, &result))?;
        Ok(result)
    }

    /// `so far + more` without copying what there is.
    fn grown(&mut self, more: &'a Expr) -> Outcome {
        let more = self.expr(more)?;
        self.spend(2)?;
        let Some((_, so_far)) = self.scopes.iter_mut().rev().find(|(n, _)| *n == macros::ACCU) else {
            return error("no such attribute(s)");
        };
        match (std::mem::replace(so_far, Value::Null), more) {
            (Value::List(list), Value::List(more)) => {
                let list = Arc::unwrap_or_clone(list);
                Ok(Value::List(Arc::new(concatenated(list, &more))))
            }
            (a, b) => library::call("_+_", &[a, b]).map_err(Failure::Error),
        }
    }

    /// `a && b`, `a || b`: what one side decides needs nothing of the other, not even that it has a value.
    fn either(&mut self, a: &'a Expr, b: &'a Expr, deciding: bool) -> Outcome {
        let first = self.expr(a);
        match &first {
            Ok(Value::Bool(value)) if *value == deciding => return first,
            Err(Failure::TooExpensive) => return first,
            _ => {}
        }
        let second = self.expr(b);
        match (&first, &second) {
            (_, Ok(Value::Bool(value))) if *value == deciding => second,
            (_, Err(Failure::TooExpensive)) => second,
            (Err(_), _) => first,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_)) | Err(_)) => second,
            _ => error("no such overload"),
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Outcome {
        let range = self.expr(&fold.range)?;
        let init = self.expr(&fold.init)?;
        let depth = self.scopes.len();
        self.scopes.push((&fold.accu, init));
        let outcome = self.rounds(fold, &range, depth);
        if let Err(failure) = outcome {
            self.scopes.truncate(depth);
            return Err(failure);
        }
        let result = self.expr(&fold.result);
        self.scopes.truncate(depth);
        result
    }

    fn rounds(&mut self, fold: &'a Fold, range: &Value, depth: usize) -> Result<(), Failure> {
        // An error in one round is no error where another round decides.
        let mut failed: Option<Failure> = None;
        let decides = matches!(&fold.step.kind, Kind::Call { function, .. } if function == "_&&_" || function == "_||_");
        let mut round = |run: &mut Self, first: Value, second: Option<Value>| -> Result<bool, Failure> {
            run.scopes.push((&fold.var, first));
            if let (Some(var), Some(second)) = (&fold.var2, second) {
                run.scopes.push((var, second));
            }
            let go_on = match run.expr(&fold.condition) {
                Ok(Value::Bool(go_on)) => go_on,
                Ok(_) => return error("no such overload"),
                Err(failure) => return Err(failure),
            };
            if !go_on {
                run.scopes.truncate(depth + 1);
                return Ok(false);
            }
            let step = run.expr(&fold.step);
            run.scopes.truncate(depth + 1);
            match step {
                Ok(value) => run.scopes[depth].1 = value,
                Err(failure @ Failure::Error(_)) if decides => failed = Some(failure),
                Err(failure) => return Err(failure),
            }
            Ok(true)
        };
        match range {
            Value::List(list) => {
                for (i, item) in list.items.iter().enumerate() {
                    let index = Value::Int(i64::try_from(i).unwrap_or(i64::MAX));
                    let (first, second) =
                        if fold.var2.is_some() { (index, Some(item.clone())) } else { (item.clone(), None) };
                    if !round(self, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    if !round(self, key.value(), fold.var2.is_some().then(|| value.clone()))? {
                        break;
                    }
                }
            }
            _ => return error("no such overload"),
        }
        let deciding = matches!(&fold.step.kind, Kind::Call { function, .. } if function == "_||_");
        match failed {
            Some(failure) if !matches!(self.scopes[depth].1, Value::Bool(b) if b == deciding) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// A field's value.
fn select(of: &Value, field: &str) -> Outcome {
    match of {
        Value::Map(map) => match map.get(&Key::String(Arc::from(field))) {
            Some(value) => Ok(value.clone()),
            None => error(format!("no such key: {field}")),
        },
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(of)) => {
            Ok(if has(of, field)? { Value::some(select(of, field)?) } else { Value::Optional(None) })
        }
        Value::Opaque(made) => match &**made {
            Opaque::Made(_, fields) => match fields.get(field) {
                Some(value) => Ok(value.clone()),
                None => error(format!("no such key: {field}")),
            },
            _ => error("no such overload"),
        },
        _ => error(format!("no such key: {field}")),
    }
}

/// Whether there is such a field.
fn has(of: &Value, field: &str) -> Result<bool, Failure> {
    match of {
        Value::Map(map) => Ok(map.contains_key(&Key::String(Arc::from(field)))),
        Value::Optional(None) => Ok(false),
        Value::Optional(Some(of)) => has(of, field),
        Value::Opaque(made) => match &**made {
            Opaque::Made(_, fields) => Ok(fields.contains_key(field)),
            _ => error("no such overload"),
        },
        _ => error("no such overload"),
    }
}

/// The optional value of a field or at an index.
pub(super) fn optional(of: &Value, key: &Value) -> Result<Value, String> {
    let text = |failure: Failure| failure.to_string();
    match (of, key) {
        (Value::Optional(None), _) => Ok(Value::Optional(None)),
        (Value::Optional(Some(of)), key) => optional(of, key),
        (Value::List(list), Value::Int(i)) => {
            let item = usize::try_from(*i).ok().and_then(|i| list.items.get(i));
            Ok(item.map_or(Value::Optional(None), |item| Value::some(item.clone())))
        }
        (Value::Map(map), key) => {
            let found = Key::of(key).and_then(|key| map.get(&key));
            Ok(found.map_or(Value::Optional(None), |value| Value::some(value.clone())))
        }
        (of, Value::String(field)) if has(of, field).map_err(text)? => {
            Ok(Value::some(select(of, field).map_err(text)?))
        }
        (Value::Opaque(_), _) => Ok(Value::Optional(None)),
        _ => Err("no such overload".into()),
    }
}

/// The value at an index.
pub(super) fn index(of: &Value, key: &Value) -> Result<Value, String> {
    match (of, key) {
        (Value::Optional(_), key) => optional(of, key),
        (Value::List(list), key) => {
            let at = match key {
                Value::Int(i) => *i,
                Value::Uint(i) => i64::try_from(*i).unwrap_or(i64::MAX),
                Value::Double(d) if d.fract() == 0.0 => *d as i64,
                _ => return Err("no such overload".into()),
            };
            let item = usize::try_from(at).ok().and_then(|i| list.items.get(i));
            item.cloned().ok_or_else(|| format!("index out of bounds: {at}"))
        }
        (Value::Map(map), key) => match Key::of(key).and_then(|key| map.get(&key)) {
            Some(value) => Ok(value.clone()),
            None => Err(format!("no such key: {}", library::convert::to_text(key).unwrap_or_default())),
        },
        (of, Value::String(field)) => select(of, field).map_err(|f| f.to_string()),
        _ => Err("no such overload".into()),
    }
}

/// Whether something is in a list or a key of a map.
pub(super) fn contains(item: &Value, of: &Value) -> Result<bool, String> {
    match of {
        Value::List(list) => Ok(list.items.iter().any(|known| equal(known, item))),
        Value::Map(map) => Ok(Key::of(item).is_some_and(|key| map.contains_key(&key))),
        _ => Err("no such overload".into()),
    }
}
