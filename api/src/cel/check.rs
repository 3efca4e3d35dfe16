//! Whether types fit, and which function each call means.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Complaint, Const, Expr, Fold, Kind, Offset};
use super::library::signatures::{Signature, signatures};
use super::types::{Bindings, Type};
use super::{Env, library};

/// What is known of an expression's parts.
#[derive(Debug, Default)]
pub(super) struct Checked {
    types: HashMap<u32, Type>,
    /// The overloads that a call may mean, by name.
    overloads: HashMap<u32, Vec<&'static str>>,
}

impl Checked {
    pub(super) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(&expr.id).unwrap_or(&Type::Dyn)
    }

    pub(super) fn overloads(&self, expr: &Expr) -> &[&'static str] {
        self.overloads.get(&expr.id).map_or(&[], Vec::as_slice)
    }
}

/// Checks an expression; calls of functions with dots in their names become what they are.
pub(super) fn check(root: &mut Expr, env: &Env) -> Result<Checked, Vec<Complaint>> {
    let mut checker = Checker {
        env,
        scopes: Vec::new(),
        bindings: Bindings::default(),
        next: 0,
        out: Checked::default(),
        complaints: Vec::new(),
    };
    checker.expr(root);
    let Checker { bindings, mut out, mut complaints, .. } = checker;
    for ty in out.types.values_mut() {
        *ty = bindings.resolve(ty, Some(&Type::Dyn));
    }
    if complaints.is_empty() {
        library::literals(root, &mut complaints);
    }
    if complaints.is_empty() {
        return Ok(out);
    }
    complaints.sort_by_key(|c| c.at);
    Err(complaints)
}

struct Checker<'a> {
    env: &'a Env,
    scopes: Vec<(String, Type)>,
    bindings: Bindings,
    next: u32,
    out: Checked,
    complaints: Vec<Complaint>,
}

impl Checker<'_> {
    fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Param(self.next)
    }

    fn complain(&mut self, at: Offset, text: String) -> Type {
        self.complaints.push(Complaint::new(at, text));
        Type::Error
    }

    fn shown(&self, ty: &Type) -> String {
        self.bindings.resolve(ty, Some(&Type::Dyn)).to_string()
    }

    fn variable(&self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            return Some(ty.clone());
        }
        self.env.variables.get(name).cloned()
    }

    fn expr(&mut self, expr: &mut Expr) -> Type {
        let ty = self.kind(expr);
        self.out.types.insert(expr.id, ty.clone());
        ty
    }

    fn kind(&mut self, expr: &mut Expr) -> Type {
        let (id, at) = (expr.id, expr.at);
        match &mut expr.kind {
            Kind::Const(value) => match value {
                Const::Null => Type::Null,
                Const::Bool(_) => Type::Bool,
                Const::Int(_) => Type::Int,
                Const::Uint(_) => Type::Uint,
                Const::Double(_) => Type::Double,
                Const::String(_) => Type::String,
                Const::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => {
                if let Some(ty) = self.variable(name).or_else(|| named_type(name)) {
                    return ty;
                }
                let text = format!("undeclared reference to '{name}' (in container '')");
                self.complain(at, text)
            }
            Kind::Select { operand, field, test } => {
                let (field, test) = (field.clone(), *test);
                // A name with dots may be a variable's, or a type's.
                if let (Some(root), false) = (operand.qualified(), test)
                    && let Some(ty) = self.env.variables.get(&format!("{root}.{field}"))
                {
                    return ty.clone();
                }
                if !test
                    && let Some(ty) = operand.qualified().and_then(|q| named_type(&format!("{q}.{field}")))
                {
                    expr.kind = Kind::Ident(match &ty {
                        Type::Meta(of) if **of == Type::Timestamp => "google.protobuf.Timestamp".into(),
                        _ => "google.protobuf.Duration".into(),
                    });
                    return ty;
                }
                let of = self.expr(operand);
                let ty = self.select(at, &of, &field);
                if test { Type::Bool } else { ty }
            }
            Kind::Call { .. } => self.call(id, at, expr),
            Kind::List(items, optional) => {
                let optional = optional.clone();
                let mut of: Option<Type> = None;
                for (i, item) in items.iter_mut().enumerate() {
                    let place = item.at;
                    let mut ty = self.expr(item);
                    if optional.contains(&i) {
                        ty = self.unwrapped(place, &ty);
                    }
                    of = Some(self.joined(of, ty));
                }
                Type::list(of.unwrap_or_else(|| self.fresh()))
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (None, None);
                for entry in entries {
                    let ty = self.expr(&mut entry.key);
                    key = Some(self.joined(key, ty));
                    let place = entry.value.at;
                    let mut ty = self.expr(&mut entry.value);
                    if entry.optional {
                        ty = self.unwrapped(place, &ty);
                    }
                    value = Some(self.joined(value, ty));
                }
                let key = key.unwrap_or_else(|| self.fresh());
                Type::map(key, value.unwrap_or_else(|| self.fresh()))
            }
            Kind::Struct { name, fields } => {
                let name = name.clone();
                for field in fields {
                    self.expr(&mut field.value);
                }
                match name.as_str() {
                    "JSONPatch" if self.env.constructs => Type::Opaque("JSONPatch"),
                    name if self.env.constructs && (name == "Object" || name.starts_with("Object.")) => {
                        Type::Opaque("Object")
                    }
                    _ => self.complain(at, format!("undeclared reference to '{name}' (in container '')")),
                }
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    /// The type that both fit into; anything, where there is none.
    fn joined(&mut self, known: Option<Type>, ty: Type) -> Type {
        let Some(known) = known else { return ty };
        let [a, b] = [&known, &ty].map(std::slice::from_ref);
        if self.bindings.try_fit(b, a) {
            // What is less particular stands for both.
            if known == Type::Null { ty } else { known }
        } else {
            Type::Dyn
        }
    }

    fn unwrapped(&mut self, at: Offset, ty: &Type) -> Type {
        match self.bindings.resolve(ty, None) {
            Type::Optional(of) => (*of).clone(),
            ty if ty.is_dyn() => Type::Dyn,
            ty => {
                let text = format!("expected type 'optional_type({ty})' but found '{ty}'");
                self.complain(at, text)
            }
        }
    }

    fn select(&mut self, at: Offset, of: &Type, field: &str) -> Type {
        match self.bindings.resolve(of, None) {
            Type::Optional(of) => Type::optional(self.select(at, &of, field)),
            Type::Map(of) => of.1.clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None => self.complain(at, format!("undefined field '{field}'")),
            },
            Type::Opaque("Object") | Type::Dyn | Type::Error | Type::Param(_) => Type::Dyn,
            other => {
                self.complain(at, format!("type '{}' does not support field selection", self.shown(&other)))
            }
        }
    }

    fn call(&mut self, id: u32, at: Offset, expr: &mut Expr) -> Type {
        let Kind::Call { target, function, args } = &mut expr.kind else { return Type::Error };
        // `sets.contains(…)` is no call of what `sets` has.
        if let Some(namespace) = target.as_ref().and_then(|t| t.qualified())
            && signatures().contains_key(format!("{namespace}.{function}").as_str())
            && self.variable(namespace.split('.').next().unwrap_or_default()).is_none()
        {
            *function = format!("{namespace}.{function}");
            *target = None;
        }
        let name = function.clone();
        let mut types = Vec::with_capacity(args.len() + 1);
        let member = target.is_some();
        if let Some(target) = target {
            types.push(self.expr(target));
        }
        for arg in args.iter_mut() {
            let ty = self.expr(arg);
            types.push(ty);
        }
        match name.as_str() {
            "_?._" => {
                let Kind::Const(Const::String(field)) = &args[1].kind else { return Type::Error };
                let field = field.to_string();
                let ty = self.select(at, &types[0].clone(), &field);
                self.out.overloads.insert(id, vec!["select_optional_field"]);
                return match ty {
                    already @ Type::Optional(_) => already,
                    ty => Type::optional(ty),
                };
            }
            "cel.@mapInsert" => {
                self.out.overloads.insert(id, vec!["@mapInsert"]);
                let map = match types.len() {
                    3 => Type::map(types[1].clone(), types[2].clone()),
                    _ => types[1].clone(),
                };
                self.bindings.try_fit(std::slice::from_ref(&map), &types[..1]);
                return types[0].clone();
            }
            _ => {}
        }
        let Some(candidates) = signatures().get(name.as_str()) else {
            return self.complain(at, format!("undeclared reference to '{name}' (in container '')"));
        };
        let mut result: Option<Type> = None;
        let mut meant = Vec::new();
        let base = self.bindings.clone();
        for candidate in candidates.iter().filter(|c| c.member == member && c.params.len() == types.len()) {
            let (params, returned) = self.instance(candidate);
            // Each overload is tried by itself; only what the first one binds stays.
            let mut bindings = if result.is_some() { base.clone() } else { self.bindings.clone() };
            if !bindings.try_fit(&types, &params) {
                continue;
            }
            meant.push(candidate.overload);
            let returned = bindings.resolve(&returned, None);
            match &result {
                None => {
                    result = Some(returned);
                    self.bindings = bindings;
                }
                Some(known) if *known == returned => {}
                Some(_) => result = Some(Type::Dyn),
            }
        }
        let Some(result) = result else {
            let shown: Vec<String> = types.iter().map(|t| self.shown(t)).collect();
            let applied = match (member, shown.split_first()) {
                (true, Some((target, args))) => format!("{target}.({})", args.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            return self
                .complain(at, format!("found no matching overload for '{name}' applied to '{applied}'"));
        };
        self.out.overloads.insert(id, meant);
        result
    }

    /// A signature with parameters of its own.
    fn instance(&mut self, signature: &Signature) -> (Vec<Type>, Type) {
        let mut own: HashMap<u32, Type> = HashMap::new();
        let mut params = Vec::with_capacity(signature.params.len());
        for param in &signature.params {
            params.push(self.renewed(param, &mut own));
        }
        let result = self.renewed(&signature.result, &mut own);
        (params, result)
    }

    fn renewed(&mut self, ty: &Type, own: &mut HashMap<u32, Type>) -> Type {
        match ty {
            Type::Param(n) => {
                if let Some(known) = own.get(n) {
                    return known.clone();
                }
                let fresh = self.fresh();
                own.insert(*n, fresh.clone());
                fresh
            }
            Type::List(of) => Type::list(self.renewed(of, own)),
            Type::Optional(of) => Type::optional(self.renewed(of, own)),
            Type::Meta(of) => Type::Meta(Arc::new(self.renewed(of, own))),
            Type::Map(of) => Type::map(self.renewed(&of.0, own), self.renewed(&of.1, own)),
            other => other.clone(),
        }
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let at = fold.range.at;
        let range = self.expr(&mut fold.range);
        let accu = self.expr(&mut fold.init);
        let (first, second) = match self.bindings.resolve(&range, None) {
            Type::List(of) => match fold.var2 {
                Some(_) => (Type::Int, (*of).clone()),
                None => ((*of).clone(), Type::Dyn),
            },
            Type::Map(of) => (of.0.clone(), of.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) | Type::Opaque("Object") => (Type::Dyn, Type::Dyn),
            other => {
                let shown = self.shown(&other);
                let text = format!(
                    "expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.complain(at, text);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var) = &fold.var2 {
            self.scopes.push((var.clone(), second));
        }
        let condition = self.expr(&mut fold.condition);
        self.wanted(fold.condition.at, &condition, &Type::Bool);
        let step = self.expr(&mut fold.step);
        self.wanted(fold.step.at, &step, &accu);
        self.scopes.truncate(depth + 1);
        let result = self.expr(&mut fold.result);
        self.scopes.truncate(depth);
        self.bindings.resolve(&result, None)
    }

    fn wanted(&mut self, at: Offset, found: &Type, wanted: &Type) {
        if !self.bindings.try_fit(std::slice::from_ref(found), std::slice::from_ref(wanted)) {
            let text = format!("expected type '{}' but found '{}'", self.shown(wanted), self.shown(found));
            self.complain(at, text);
        }
    }
}

/// The type that a name stands for.
fn named_type(name: &str) -> Option<Type> {
    let of = match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Meta(Arc::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        _ => return None,
    };
    Some(Type::Meta(Arc::new(of)))
}
